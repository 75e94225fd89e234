/* simd/avx512.h - AVX-512 F, BW, DQ, VL: 32 registers of 64 bytes, masks in
 * registers of their own. See common.h. */
#ifndef FM_SIMD_H
#define FM_SIMD_H

#if defined(__x86_64__)

#ifndef FM_TARGET
#define FM_TARGET "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"
#define FM_ISA avx512
#endif
#include "simd/target.h"

#include <immintrin.h>

#define FM_MR 14
#define FM_KC 512

#if FM_F64
typedef __m512d V;
typedef __mmask8 M;
#define FM_LANES 8
#define FM_PANEL 16
#define FM_OP(name) _mm512_##name##_pd
#define FM_CMP(a, b, how) _mm512_cmp_pd_mask(a, b, how)
#else
typedef __m512 V;
typedef __mmask16 M;
#define FM_LANES 16
#define FM_PANEL 32
#define FM_OP(name) _mm512_##name##_ps
#define FM_CMP(a, b, how) _mm512_cmp_ps_mask(a, b, how)
#endif

#define FM_MASKED_LOAD
#define FM_LANE_BITS
#define FM_MUL_HALVES
#include "simd/common.h"

FM_INLINE V v_load(const T *p) { return FM_OP(loadu)(p); }

FM_INLINE V v_load_part(const T *p, int c) { return FM_OP(maskz_loadu)((M)((1u << c) - 1), p); }

FM_INLINE void v_store(T *p, V a) { FM_OP(storeu)(p, a); }

FM_INLINE V v_set1(T x) { return FM_OP(set1)(x); }

FM_INLINE V v_fma(V a, V b, V c) { return FM_OP(fmadd)(a, b, c); }

FM_INLINE V v_fnma(V a, V b, V c) { return FM_OP(fnmadd)(a, b, c); }

FM_INLINE V v_max(V a, V b) { return FM_OP(max)(a, b); }

FM_INLINE V v_min(V a, V b) { return FM_OP(min)(a, b); }

FM_INLINE VW v_mul_halves(VW a, uint32_t b)
{
    return (VW)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(b));
}

FM_INLINE V v_sqrt(V a) { return FM_OP(sqrt)(a); }

FM_INLINE M v_lt(V a, V b) { return FM_CMP(a, b, _CMP_LT_OQ); }

FM_INLINE M v_eq(V a, V b) { return FM_CMP(a, b, _CMP_EQ_OQ); }

FM_INLINE uint32_t v_nonzero_lanes(V a) { return FM_CMP(a, v_zero(), _CMP_NEQ_UQ); }

FM_INLINE V v_select(M m, V a, V b) { return FM_OP(mask_blend)(m, b, a); }

FM_INLINE V v_drop(M m, V a) { return FM_OP(maskz_mov)((M)~m, a); }

#endif
#endif
