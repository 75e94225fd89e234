#include "../x86_bf16.h"
#ifdef FM_HAS_AVX512BF16
#ifdef __clang__
#pragma clang attribute push(                                                          \
    __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx512bf16,avx2,fma"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx512bf16,avx2,fma")
#endif
#define FM_ISA avx512bf16
#define FM_F64 0
#define FM_AMX 0
#include "../simd/avx512bf16.h"

#include "../kernels_bf16.h"

#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int fm_not_for_this_architecture; /* C wants something in a file */
#endif
