/* simd/avx2.h - AVX2 with FMA: 16 registers of 32 bytes. See common.h. */
#ifndef FM_SIMD_H
#define FM_SIMD_H

#if defined(__x86_64__)

#define FM_TARGET "avx2,fma"
#include "simd/target.h"

#include <immintrin.h>

#define FM_ISA avx2
#define FM_MR 6
/* Zen 3, 32 KB of L1, 512 KB of L2, share of the FMA peak at K = 512 and 2048: float32
 * 89 and 87 % with FM_KC 128, 89 and 84 % with 256; float64 85 and 81 %, without
 * FM_A_BYTES 78 and 76 %. */
#define FM_A_BYTES (160 * 1024)

#if FM_F64
typedef __m256d V;
#define FM_LANES 4
#define FM_PANEL 8
#define FM_KC 256
#define FM_MC 96
#define FM_OP(name) _mm256_##name##_pd
#else
typedef __m256 V;
#define FM_LANES 8
#define FM_PANEL 16
#define FM_KC 128
#define FM_MC 256
#define FM_OP(name) _mm256_##name##_ps
#endif

#define FM_MASKED_LOAD
#define FM_LANE_BITS
#define FM_MUL_HALVES
#include "simd/common.h"

typedef VI M;

FM_INLINE V v_load(const T *p) { return FM_OP(loadu)(p); }

FM_INLINE V v_load_part(const T *p, int c)
{
    static const TI mask[2 * FM_LANES] = {[0 ... FM_LANES - 1] = -1};
    return FM_OP(maskload)(p, _mm256_loadu_si256((const __m256i *)(mask + FM_LANES - c)));
}

FM_INLINE void v_store(T *p, V a) { FM_OP(storeu)(p, a); }

FM_INLINE V v_set1(T x) { return FM_OP(set1)(x); }

FM_INLINE V v_fma(V a, V b, V c) { return FM_OP(fmadd)(a, b, c); }

FM_INLINE V v_fnma(V a, V b, V c) { return FM_OP(fnmadd)(a, b, c); }

FM_INLINE V v_max(V a, V b) { return FM_OP(max)(a, b); }

FM_INLINE V v_min(V a, V b) { return FM_OP(min)(a, b); }

FM_INLINE VW v_mul_halves(VW a, uint32_t b)
{
    return (VW)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
}

FM_INLINE V v_sqrt(V a) { return FM_OP(sqrt)(a); }

FM_INLINE M v_lt(V a, V b) { return (M)FM_OP(cmp)(a, b, _CMP_LT_OQ); }

FM_INLINE M v_eq(V a, V b) { return (M)FM_OP(cmp)(a, b, _CMP_EQ_OQ); }

FM_INLINE uint32_t v_nonzero_lanes(V a)
{
    return (uint32_t)FM_OP(movemask)(FM_OP(cmp)(a, v_zero(), _CMP_NEQ_UQ));
}

FM_INLINE V v_select(M m, V a, V b) { return FM_OP(blendv)(b, a, (V)m); }

FM_INLINE V v_drop(M m, V a) { return FM_OP(andnot)((V)m, a); }

#endif
#endif
