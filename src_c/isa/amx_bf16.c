#include "../x86_bf16.h"
#ifdef FM_HAS_AMX
#ifdef __clang__
#pragma clang attribute push(                                                                 \
    __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,amx-tile,amx-bf16"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,amx-tile,amx-bf16")
#endif
#define FM_ISA amx
#define FM_F64 0
#define FM_AMX 1
#include "../simd/amx.h"

#include "../kernels_bf16.h"

#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int fm_not_for_this_architecture; /* C wants something in a file */
#endif
