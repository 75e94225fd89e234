#if defined(__x86_64__) || defined(_M_X64)
#ifdef __clang__
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")
#endif
#define FM_ISA avx512
#define FM_F64 1
#include "../simd/avx512.h"

#include "../kernels_tmpl.h"

#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int fm_not_for_this_architecture; /* C wants something in a file */
#endif
