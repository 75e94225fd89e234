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

#ifdef FM_INTRINSICS
#include FM_INTRINSICS
#else
#include "avx512.h"
#endif

FM_INLINE V v_dot2(V c, V a, V b) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }

#endif
