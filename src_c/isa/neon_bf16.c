#if defined(__aarch64__)
#define FM_ISA neon
#define FM_F64 0
#define FM_BF16 1
#include "../simd/neon.h"

#include "../kernels_tmpl.h"
#else
typedef int fm_not_for_this_architecture; /* C wants something in a file */
#endif
