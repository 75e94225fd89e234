/* simd/neon.h - aarch64: 32 registers of 16 bytes. See common.h. */
#ifndef FM_SIMD_H
#define FM_SIMD_H

#if defined(__aarch64__)

#include <arm_neon.h>

#define FM_ISA neon
#define FM_MR 6
#define FM_KC 256

#if FM_F64
typedef float64x2_t V;
#define FM_LANES 2
#define FM_PANEL 8
#define FM_OP(name) name##_f64
#define FM_SELECT(m, a, b) vbslq_f64((uint64x2_t)(m), a, b)
#else
typedef float32x4_t V;
#define FM_LANES 4
#define FM_PANEL 16
#define FM_OP(name) name##_f32
#define FM_SELECT(m, a, b) vbslq_f32((uint32x4_t)(m), a, b)
#endif

#define FM_MUL_HALVES
#include "simd/common.h"

typedef VI M;

FM_INLINE V v_load(const T *p) { return FM_OP(vld1q)(p); }

FM_INLINE void v_store(T *p, V a) { FM_OP(vst1q)(p, a); }

FM_INLINE V v_set1(T x) { return FM_OP(vdupq_n)(x); }

FM_INLINE V v_fma(V a, V b, V c) { return FM_OP(vfmaq)(c, a, b); }

FM_INLINE V v_fnma(V a, V b, V c) { return FM_OP(vfmsq)(c, a, b); }

FM_INLINE VW v_mul_halves(VW a, uint32_t b) { return (VW)vmull_n_u32(vmovn_u64((uint64x2_t)a), b); }

FM_INLINE V v_sqrt(V a) { return FM_OP(vsqrtq)(a); }

FM_INLINE M v_lt(V a, V b) { return (M)FM_OP(vcltq)(a, b); }

FM_INLINE M v_eq(V a, V b) { return (M)FM_OP(vceqq)(a, b); }

FM_INLINE V v_select(M m, V a, V b) { return FM_SELECT(m, a, b); }

FM_INLINE V v_drop(M m, V a) { return v_from_bits(v_bits(a) & ~(VI)m); }

/* fmax and fmin treat NaN and zeros in another way than x86's. */
FM_INLINE V v_max(V a, V b) { return v_select(v_lt(b, a), a, b); }

FM_INLINE V v_min(V a, V b) { return v_select(v_lt(a, b), a, b); }

#endif
#endif
