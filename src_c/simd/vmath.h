/* vmath.h - exp, log, tanh and the logistic function of vectors.
 *
 * The same operations in the same order on every ISA, so the same bits on every
 * ISA with a fused multiply-add. NaN gives NaN. The polynomials are minimax
 * fits (Remez exchange in 50 digits; their leading coefficients rounded to T
 * first and the rest fitted again).
 *
 * Largest errors in units in the last place (tests/c/test_vmath.c: f32 all 2^32
 * arguments, f64 2^28 random ones), nanoseconds per element in L1 (AVX2, Zen 3,
 * gcc 12):
 *                 f32             f64
 *     exp         1.08  0.32      1.08  0.91
 *     log         0.84  0.61      0.85  1.65
 *     tanh        2.53  0.43      2.58  1.14
 *     logistic    2.48  0.36      2.47  1.03
 */
#ifndef FM_VMATH_H
#define FM_VMATH_H

/* ln 2 in two parts: the first is so short that k * LN2_HI is exact for every
 * exponent k, with or without a fused multiply-add. */
#if FM_F64
#define FM_LN2_HI 0x1.62e42fefa38p-1
#define FM_LN2_LO 0x1.ef35793c7673p-45
#define FM_LOG2E 0x1.71547652b82fep0
#else
#define FM_LN2_HI 0x1.62e4p-1f
#define FM_LN2_LO 0x1.7f7d1cp-20f
#define FM_LOG2E 0x1.715476p0f
#endif

/* c[0] + c[step] x + c[2 step] x^2 + ..., n terms. */
FM_INLINE V v_poly(V x, const T *c, int n, int step)
{
    V p = v_set1(c[(n - 1) * step]);
    for (int i = n - 2; i >= 0; i--)
        p = v_fma(p, x, v_set1(c[i * step]));
    return p;
}

/* x = k ln 2 + r with an integer k and |r| <= ln 2 / 2. Returns k + offset as
 * the low bits of a number. |k + offset| < 2^(FM_MANTISSA - 2). */
FM_INLINE V v_split_exp(V x, T offset, V *r)
{
    V magic = v_set1(FM_MAGIC + offset);
    V t = v_fma(x, v_set1(FM_LOG2E), magic);
    V k = t - magic;
    *r = v_fnma(k, v_set1(FM_LN2_LO), v_fnma(k, v_set1(FM_LN2_HI), x));
    return t;
}

/* e^r - 1 = r + r^2 g(r) for |r| <= ln 2 / 2, with an error relative to it of
 * 2^-26.1 (f32), 2^-55.2 (f64) by the fit. Even and odd terms apart: as many
 * operations as Horner's rule in half the time. */
FM_INLINE V v_expm1_reduced(V r)
{
#if FM_F64
    static const T g[] = {0.5,
                          0x1.555555555553ep-3,
                          0x1.5555555553b0ep-5,
                          0x1.1111111118d0fp-7,
                          0x1.6c16c179fe847p-10,
                          0x1.a01a0171ae122p-13,
                          0x1.a019b39d94c20p-16,
                          0x1.71de976f07804p-19,
                          0x1.2897651e1a1b8p-22,
                          0x1.ae491483a1e64p-26};
    enum { ODD = 5, EVEN = 5 };
#else
    static const T g[] = {0.5f, 0x1.5554b6p-3f, 0x1.5555a8p-5f, 0x1.1223f4p-7f, 0x1.6c6844p-10f};
    enum { ODD = 2, EVEN = 3 };
#endif
    V rr = r * r;
    return v_fma(rr, v_fma(r, v_poly(rr, g + 1, ODD, 2), v_poly(rr, g, EVEN, 2)), r);
}

/* After rounding e^x is zero from LO down and infinite from HI up; 1 + e^x and
 * 1 - e^x are one from NONE down. */
#if FM_F64
#define FM_EXP_LO (-746)
#define FM_EXP_NONE (-40)
#define FM_EXP_HI 710
#else
#define FM_EXP_LO (-104)
#define FM_EXP_NONE (-20)
#define FM_EXP_HI 89
#endif

FM_INLINE V v_clamp(V x, T lo, T hi)
{
    return v_max(v_set1(lo), v_min(v_set1(hi), x)); /* in this order NaN stays */
}

/* e^x. Underflow is gradual (unless the CPU flushes subnormals): 2^k is applied
 * as 2^(k/2) 2^(k - k/2), which are in range for every k. */
FM_INLINE V v_exp(V x)
{
    V r;
    V t = v_split_exp(v_clamp(x, FM_EXP_LO, FM_EXP_HI), 2 * FM_BIAS, &r);
    VU bits = (VU)v_bits(t); /* whose top bits wrap */
    VU half = (bits << (FM_MANTISSA - 1)) & ~(((TU)1 << FM_MANTISSA) - 1);
    V s1 = v_from_bits((VI)half);
    V s2 = v_from_bits((VI)((bits << FM_MANTISSA) - half));
    return v_fma(s1, v_expm1_reduced(r), s1) * s2;
}

/* 1 / (1 + e^-x). Results that would be subnormal are zero. */
FM_INLINE V v_logistic(V x)
{
    V r, one = v_set1(1);
    V t = v_split_exp(v_clamp(v_neg(x), FM_EXP_NONE, FM_EXP_HI), FM_BIAS, &r);
    V s = v_from_bits(v_bits(t) << FM_MANTISSA); /* infinite if -x = FM_EXP_HI */
    return one / v_fma(s, one + v_expm1_reduced(r), one);
}

/* tanh |x| = h / (h + 1), h = (e^2|x| - 1) / 2, where an error of a large h is
 * damped (with e^-2|x| it is not: 2.5 ULP). Odd to the bit. */
FM_INLINE V v_tanh(V x)
{
    V r, half = v_set1((T)0.5);
    V y = v_min(v_set1(-FM_EXP_NONE / 2), v_abs(x));
    V t = v_split_exp(y + y, FM_BIAS - 1, &r);
    V s = v_from_bits(v_bits(t) << FM_MANTISSA); /* e^2|x| / 2 = s e^r */
    V h = v_fma(s, v_expm1_reduced(r), s - half);
    return v_sign_of(h / (h + v_set1(1)), x);
}

/* ln x, subnormal x included (unless the CPU takes them for zero).
 * x = 2^e m, m in [1/sqrt 2, sqrt 2], f = m - 1, s = f / (2 + f):
 *   ln m = ln (1 + s) / (1 - s) = f - (f^2/2 - s (f^2/2 + z R(z))),  z = s^2,
 * R with an error relative to ln m of 2^-30.2 (f32), 2^-59.5 (f64) by the fit. */
FM_INLINE V v_log(V x)
{
#if FM_F64
    static const T c[] = {0x1.5555555555592p-1, 0x1.999999997ff04p-2, 0x1.24924941e33b0p-2,
                          0x1.c71c521255396p-3, 0x1.74663d6884b69p-3, 0x1.39a1dabd45fcap-3,
                          0x1.2f04566a900bdp-3};
    const T min_normal = 0x1p-1022;
    const TI sqrt_half = 0x3fe6a09e667f3bcd;
#else
    static const T c[] = {0x1.55557ap-1f, 0x1.995ed6p-2f, 0x1.31e088p-2f};
    const T min_normal = 0x1p-126f;
    const TI sqrt_half = 0x3f3504f3;
#endif
    enum { TERMS = sizeof(c) / sizeof(c[0]) };
    const T up = (T)((TI)1 << (FM_MANTISSA + 1));
    M tiny = v_lt(x, v_set1(min_normal));
    V y = v_select(tiny, x * v_set1(up), x);

    /* bits = ((FM_BIAS + e) << FM_MANTISSA | fraction of m above sqrt(1/2)) */
    VU bits = (VU)v_bits(y) - ((TU)sqrt_half - ((TU)FM_BIAS << FM_MANTISSA));
    VI e_bits = (VI)(bits >> FM_MANTISSA) | v_bits(v_set1(FM_MAGIC));
    V e = v_from_bits(e_bits) -
          v_select(tiny, v_set1(FM_MAGIC + FM_BIAS + FM_MANTISSA + 1), v_set1(FM_MAGIC + FM_BIAS));
    V m = v_from_bits((VI)(bits & (((TU)1 << FM_MANTISSA) - 1)) + sqrt_half);

    V f = m - v_set1(1);
    V s = f / (f + v_set1(2));
    V z = s * s;
    V hff = v_set1((T)0.5) * f * f;
    V w = v_fma(s, v_fma(z, v_poly(z, c, TERMS, 1), hff), e * v_set1(FM_LN2_LO));
    V log_x = v_fma(e, v_set1(FM_LN2_HI), f - (hff - w));

    log_x = v_select(v_lt(x, v_set1((T)INFINITY)), log_x, x); /* inf and NaN */
    log_x = v_select(v_lt(x, v_zero()), v_set1((T)NAN), log_x);
    return v_select(v_eq(x, v_zero()), v_set1(-(T)INFINITY), log_x);
}

#endif
