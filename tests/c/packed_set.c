/* packed_set.c - kernels/block_set.h on C versions of the instructions, for any CPU:
 * with FM_AMX=1 fm_kernels_emulated_amx_bf16, with 0 ..._avx512bf16_bf16. */
#define FM_INTRINSICS "emulated.h"
#if FM_AMX
#define FM_ISA emulated_amx
#include "simd/amx.h"
#else
#define FM_ISA emulated_avx512bf16
#include "simd/avx512bf16.h"
#endif

#include "kernels/block_set.h"
