/* block_set.h - a kernel set in blocks of bfloat16 numbers; see set.h. */
#ifdef FM_LANES

#if defined(__GNUC__) /* of gemm.h only a part serves */
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#define FM_PACKED 1
#include "kernels/blocks.h"

#include "kernels/set.h"

#endif
#include "simd/end.h"
