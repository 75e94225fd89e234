/* simd/common.h - what the vector headers share: types, and the operations that
 * the vector extensions of gcc and clang already compile well on every ISA.
 *
 * A header simd/<isa>.h gives one translation unit an element type T (the unit
 * sets FM_F64 to 0 or 1 first) and a vector V of FM_LANES of them. On another
 * architecture it is empty, and so is what is defined under FM_LANES. It names
 * the instructions that the unit may use (FM_TARGET, for target.h; end.h ends it),
 * defines V, the sizes, includes this file, and adds the operations that need an
 * instruction of their own:
 *
 *   FM_ISA
 *   FM_LANES   elements of V
 *   FM_PANEL   columns of a packed panel: the NR of the matrix product
 *   FM_MR      rows of the micro-kernel's tile; FM_MR * FM_NV accumulators,
 *              FM_NV vectors of a panel and a broadcast fill the registers
 *   FM_KC      rows of a panel that stay in L1 while tiles pass by
 *   FM_MC      rows of a mini-batch that enter a gradient together (FM_KC)
 *   FM_A_BYTES of the rows whose tiles pass by, to stay in L2 (512 KB)
 *
 *   v_load(p)  v_store(p, v)  any alignment
 *   v_set1(x)
 *   v_fma(a, b, c)            a * b + c, rounded once (generic: twice)
 *   v_fnma(a, b, c)           c - a * b, likewise
 *   v_max(a, b)  v_min(a, b)  a > b ? a : b and a < b ? a : b; hence b when
 *                             either is NaN, and for two zeros
 *   v_sqrt(a)
 *   v_lt(a, b)  v_eq(a, b)    a mask M; false where either is NaN
 *   v_select(m, a, b)         a where m is set, else b
 *   v_drop(m, a)              0 where m is set, else a
 *   v_load_part(p, c)         the first c lanes from memory, the others 0; touches
 *                             no byte past them. Here in plain C, unless the ISA
 *                             can mask a load (FM_MASKED_LOAD)
 *
 *   v_mul_halves(a, b)        lanes of 64 bits: the low half of each times b. Here in
 *                             plain C, unless it is one instruction (FM_MUL_HALVES)
 *
 *   v_nonzero_lanes(a)        bit i is set where lane i is not zero (for -0 either
 *                             way). Here in plain C, unless a comparison's result
 *                             becomes bits in one instruction (FM_LANE_BITS)
 *
 * V takes + - * / and VI, VU (its lanes as integers) + - & | ^ ~ << >>, with
 * scalars too. There is no vector ?: in C (gcc 12). Every operation works lane
 * by lane and rounds as IEEE 754 says, so code written with them gives the same
 * bits on every ISA but generic.
 */
#ifndef FM_SIMD_COMMON_H
#define FM_SIMD_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef FM_F64
#define FM_F64 0
#endif

#define FM_INLINE static inline __attribute__((always_inline))

/* Loops over registers: unrolled, or they would lie in memory. */
#define FM_EACH(i, n)        \
    _Pragma("GCC unroll 16") \
    for (int i = 0; i < (n); i++)
/* v: where each vector of a panel's row begins. */
#define FM_EACH_VECTOR(v)    \
    _Pragma("GCC unroll 16") \
    for (int v = 0; v < FM_PANEL; v += FM_LANES)

#define FM_NV (FM_PANEL / FM_LANES)
#define FM_ISA_NAME FM_STRING(FM_ISA)
#define FM_STRING(name) FM_STRING_(name)
#define FM_STRING_(name) #name

#ifndef FM_MC
#define FM_MC FM_KC
#endif
#ifndef FM_A_BYTES
#define FM_A_BYTES (512 * 1024)
#endif

#if FM_F64
typedef double T;
typedef int64_t TI;
typedef uint64_t TU;
#define FM_MANTISSA 52 /* bits */
#define FM_BIAS 1023   /* of the exponent */
#else
typedef float T;
typedef int32_t TI;
typedef uint32_t TU;
#define FM_MANTISSA 23
#define FM_BIAS 127
#endif

typedef TI VI __attribute__((vector_size(FM_LANES * sizeof(TI))));
typedef TU VU __attribute__((vector_size(FM_LANES * sizeof(TU))));

/* The same bytes as lanes of 64 bits. */
typedef uint64_t VW __attribute__((vector_size(FM_LANES * sizeof(T))));

#ifndef FM_MUL_HALVES
FM_INLINE VW v_mul_halves(VW a, uint32_t b) { return (a & 0xffffffffu) * (uint64_t)b; }
#endif

FM_INLINE V v_set1(T x);

FM_INLINE V v_zero(void) { return (V){0}; }

FM_INLINE VI v_bits(V a) { return (VI)a; }

FM_INLINE V v_from_bits(VI a) { return (V)a; }

#define FM_SIGN_BIT ((TI)((TU)1 << (8 * sizeof(T) - 1)))

FM_INLINE V v_abs(V a) { return v_from_bits(v_bits(a) & ~FM_SIGN_BIT); }

FM_INLINE V v_neg(V a) { return v_from_bits(v_bits(a) ^ FM_SIGN_BIT); }

/* a, which must not be negative, with the sign of b. */
FM_INLINE V v_sign_of(V a, V b) { return v_from_bits(v_bits(a) | (v_bits(b) & FM_SIGN_BIT)); }

/* 1.5 * 2^FM_MANTISSA. Adding it to |a| < 2^(FM_MANTISSA - 2) rounds a to the
 * nearest integer, ties to even, and leaves that integer in the low bits: quicker
 * than instructions where the integer is wanted both as a number and as bits. */
#define FM_MAGIC ((T)((TI)3 << (FM_MANTISSA - 1)))

/* Shuffles by lane number: FM_EACH_LANE(f, h) lists f(0, h), f(1, h), ...
 * half, a power of two below FM_LANES, must be a constant. */
#if FM_LANES == 2
#define FM_EACH_LANE(f, h) f(0, h), f(1, h)
#elif FM_LANES == 4
#define FM_EACH_LANE(f, h) f(0, h), f(1, h), f(2, h), f(3, h)
#elif FM_LANES == 8
#define FM_EACH_LANE(f, h) f(0, h), f(1, h), f(2, h), f(3, h), f(4, h), f(5, h), f(6, h), f(7, h)
#else
#define FM_EACH_LANE(f, h)                                                                    \
    f(0, h), f(1, h), f(2, h), f(3, h), f(4, h), f(5, h), f(6, h), f(7, h), f(8, h), f(9, h), \
        f(10, h), f(11, h), f(12, h), f(13, h), f(14, h), f(15, h)
#endif
#define FM_SWAPPED(i, h) ((i) ^ (h))
#define FM_LOW(i, h) ((i) & (h) ? FM_LANES + ((i) ^ (h)) : (i))
#define FM_HIGH(i, h) ((i) & (h) ? FM_LANES + (i) : (i) ^ (h))

/* Lanes i and i ^ half change places. */
#define v_swap(a, half) __builtin_shufflevector(a, a, FM_EACH_LANE(FM_SWAPPED, half))
/* Seen as 2 x 2 blocks of half lanes: (a0 a1), (b0 b1) -> (a0 b0) and (a1 b1). */
#define v_mix_low(a, b, half) __builtin_shufflevector(a, b, FM_EACH_LANE(FM_LOW, half))
#define v_mix_high(a, b, half) __builtin_shufflevector(a, b, FM_EACH_LANE(FM_HIGH, half))

FM_INLINE V v_load(const T *p);

#ifndef FM_LANE_BITS
FM_INLINE uint32_t v_nonzero_lanes(V a)
{
    const VI set = v_bits(a) != 0;
    uint32_t lanes = 0;
    FM_EACH(i, FM_LANES)
        lanes |= (uint32_t)(set[i] & 1) << i;
    return lanes;
}
#endif

#ifndef FM_MASKED_LOAD
FM_INLINE V v_load_part(const T *p, int c)
{
    T x[FM_LANES] = {0};
    for (int i = 0; i < FM_LANES && i < c; i++)
        x[i] = p[i];
    return v_load(x);
}
#endif

FM_INLINE void v_store(T *p, V a);

/* The first c lanes into memory, touching no byte past them. */
FM_INLINE void v_store_part(T *p, V a, int c)
{
    if (c == FM_LANES) {
        v_store(p, a);
        return;
    }
    T x[FM_LANES];
    v_store(x, a);
    for (int i = 0; i < FM_LANES && i < c; i++)
        p[i] = x[i];
}

#define FM_TRANSPOSE_STEP(rows, half)                    \
    FM_EACH(i, FM_LANES)                                 \
        if (!(i & (half))) {                             \
            V a = (rows)[i], b = (rows)[i + (half)];     \
            (rows)[i] = v_mix_low(a, b, half);           \
            (rows)[i + (half)] = v_mix_high(a, b, half); \
        }

/* FM_LANES rows of FM_LANES columns, transposed: blocks of 1 x 1 change places
 * within 2 x 2, then those within 4 x 4, and so on. */
FM_INLINE void v_transpose(T *to, ptrdiff_t to_step, const T *from, ptrdiff_t from_step)
{
    V rows[FM_LANES];
    FM_EACH(i, FM_LANES)
        rows[i] = v_load(from + i * from_step);
    FM_TRANSPOSE_STEP(rows, 1)
#if FM_LANES >= 4
    FM_TRANSPOSE_STEP(rows, 2)
#endif
#if FM_LANES >= 8
    FM_TRANSPOSE_STEP(rows, 4)
#endif
#if FM_LANES >= 16
    FM_TRANSPOSE_STEP(rows, 8)
#endif
    FM_EACH(i, FM_LANES)
        v_store(to + i * to_step, rows[i]);
}

#define FM_SUM_STEP(rows, half)                                      \
    FM_EACH(i, half)                                                 \
        (rows)[i] = v_mix_low((rows)[i], (rows)[i + (half)], half) + \
                    v_mix_high((rows)[i], (rows)[i + (half)], half);

/* The sums over the lanes of FM_LANES vectors, one per lane. Of each vector lanes
 * half a vector apart are added first, and so on. The vectors are used up. */
FM_INLINE V v_sum_each(V rows[FM_LANES])
{
#if FM_LANES >= 16
    FM_SUM_STEP(rows, 8)
#endif
#if FM_LANES >= 8
    FM_SUM_STEP(rows, 4)
#endif
#if FM_LANES >= 4
    FM_SUM_STEP(rows, 2)
#endif
    FM_SUM_STEP(rows, 1)
    return rows[0];
}

/* A finiteness check that costs one fused multiply-add per vector: start with
 * zero, fold every vector in, ask v_all_finite at the end. */
FM_INLINE V v_fma(V a, V b, V c);

FM_INLINE V v_fold_finite(V seen, V a)
{
    return v_fma(a, v_zero(), seen); /* NaN once an a was NaN or infinite */
}

FM_INLINE int v_all_finite(V seen)
{
    for (int i = 0; i < FM_LANES; i++)
        if (seen[i] != seen[i])
            return 0;
    return 1;
}

#endif
