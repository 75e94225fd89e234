/* simd/avx512bf16.h - AVX-512 with dot products of pairs of bfloat16 numbers.
 * See common.h; beyond it:
 *
 *   v_dot2(c, a, b)   lane by lane c + a_0 b_0 + a_1 b_1, the 32 bits of a lane of
 *                     a and b being two bfloat16 numbers. In what order the CPU
 *                     adds and rounds is its own business.
 *
 * FM_INTRINSICS names a file that a test puts in place of the compiler's headers.
 */
#ifndef FM_SIMD_BF16_H
#define FM_SIMD_BF16_H

#include "simd/x86_bf16.h"

#if defined(FM_HAS_AVX512BF16) || defined(FM_INTRINSICS)

#ifdef FM_INTRINSICS
#include FM_INTRINSICS
#else
#define FM_ISA avx512bf16
#define FM_TARGET "avx512f,avx512dq,avx512vl,avx512bw,avx512bf16,avx2,fma"
#include "simd/avx512.h"
#endif

FM_INLINE V v_dot2(V c, V a, V b) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }

#endif
#endif
