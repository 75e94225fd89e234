#define FM_ISA generic
#define FM_F64 0
#define FM_BF16 1
#include "../simd/generic.h"

#include "../kernels_tmpl.h"
