/* simd/generic.h - any CPU: vector extensions of gcc and clang on 16 bytes,
 * which become SSE2 on a plain x86-64 and scalar code where there is nothing.
 * No fused multiply-add, not even where the target has one: the rounding is the
 * same on all machines, and differs from the other headers'. See common.h. */
#ifndef FM_SIMD_H
#define FM_SIMD_H

#include <math.h>

#define FM_ISA generic
#define FM_NOT_FUSED
#define FM_MR 4
#define FM_KC 256

#if FM_F64
typedef double V __attribute__((vector_size(16)));
#define FM_LANES 2
#define FM_PANEL 8
#else
typedef float V __attribute__((vector_size(16)));
#define FM_LANES 4
#define FM_PANEL 16
#endif

#include "simd/common.h"

typedef VI M;

FM_INLINE V v_load(const T *p)
{
    V a;
    memcpy(&a, p, sizeof(a));
    return a;
}

FM_INLINE void v_store(T *p, V a) { memcpy(p, &a, sizeof(a)); }

FM_INLINE V v_set1(T x)
{
#if FM_F64
    return (V){x, x};
#else
    return (V){x, x, x, x};
#endif
}

FM_INLINE V v_fma(V a, V b, V c) { return a * b + c; }

FM_INLINE V v_fnma(V a, V b, V c) { return c - a * b; }

FM_INLINE V v_sqrt(V a)
{
    FM_EACH(i, FM_LANES)
        a[i] = (T)sqrt(a[i]); /* exact for float too: double has twice the bits */
    return a;
}

FM_INLINE M v_lt(V a, V b) { return a < b; }

FM_INLINE M v_eq(V a, V b) { return a == b; }

FM_INLINE V v_select(M m, V a, V b) { return v_from_bits((v_bits(a) & m) | (v_bits(b) & ~m)); }

FM_INLINE V v_drop(M m, V a) { return v_from_bits(v_bits(a) & ~(VI)m); }

FM_INLINE V v_max(V a, V b) { return v_select(v_lt(b, a), a, b); }

FM_INLINE V v_min(V a, V b) { return v_select(v_lt(a, b), a, b); }

#endif
