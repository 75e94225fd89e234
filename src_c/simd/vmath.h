/* vmath.h - elementary functions of vectors, those that activations and losses are made of.
 *
 * The same operations in the same order on every ISA, so the same bits on every
 * ISA with a fused multiply-add. NaN gives NaN. The polynomials are minimax
 * fits but for v_mills (Remez exchange in 50 digits; their leading coefficients rounded to T
 * first and the rest fitted again).
 *
 * Largest errors in units in the last place (tests/c/test_vmath.c, 2^26 and 2^23 random arguments;
 * exp, log, tanh, logistic: f32 all 2^32, f64 2^28; normal_cdf: f32 all of its range),
 * nanoseconds per element in L1 (AVX2, Zen 4, gcc 12):
 *                     f32             f64
 *     exp             1.08  0.34      1.08  0.97
 *     expm1           1.67  0.29      2.05  0.88
 *     log             0.84  0.61      0.85  1.64
 *     log1p           1.37  0.44      1.29  1.25
 *     tanh            2.53  0.44      2.58  1.20
 *     logistic        2.49  0.38      2.47  1.06
 *     softplus        1.66  1.33      1.61  3.56
 *     normal_cdf      2.52  1.56      2.06  4.73
 *     log_cosh        4.43  1.60      5.23  4.09
 *     logistic_loss   1.56  1.49      1.71  3.83
 */
#ifndef FM_VMATH_H
#define FM_VMATH_H

#include <math.h>

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

/* A number given in double. */
FM_INLINE V v_const(double x) { return v_set1((T)x); }

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

/* 2^k, given in the low bits of a number, as a product of two powers which are in range for
 * every k, so that underflow is gradual (unless the CPU flushes subnormals). */
FM_INLINE V v_split_power(V t, V *s2)
{
    VU bits = (VU)v_bits(t); /* whose top bits wrap */
    VU half = (bits << (FM_MANTISSA - 1)) & ~(((TU)1 << FM_MANTISSA) - 1);
    *s2 = v_from_bits((VI)((bits << FM_MANTISSA) - half));
    return v_from_bits((VI)half);
}

/* y e^x for |y| <= 2 |FM_EXP_LO|, zero where that rounds to zero. */
FM_INLINE V v_mul_exp(V y, V x)
{
    V r, s2;
    V t = v_split_exp(v_clamp(x, FM_EXP_LO - 8, FM_EXP_HI), 2 * FM_BIAS, &r);
    V z = y * v_split_power(t, &s2);
    return v_fma(z, v_expm1_reduced(r), z) * s2;
}

FM_INLINE V v_exp(V x) { return v_mul_exp(v_set1(1), x); }

/* e^x - 1; an x above FM_EXP_HI - 1 counts as that. */
FM_INLINE V v_expm1(V x)
{
    V r;
    V t = v_split_exp(v_clamp(x, FM_EXP_NONE, FM_EXP_HI - 1), FM_BIAS, &r);
    V s = v_from_bits(v_bits(t) << FM_MANTISSA);
    return v_fma(s, v_expm1_reduced(r), s - v_set1(1));
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

/* x = 2^e (1 + f) with an integer e and 1 + f in [1/sqrt 2, sqrt 2], x normal. */
FM_INLINE V v_split_log(V x, V *f)
{
#if FM_F64
    const TI sqrt_half = 0x3fe6a09e667f3bcd;
#else
    const TI sqrt_half = 0x3f3504f3;
#endif
    /* bits = ((FM_BIAS + e) << FM_MANTISSA | fraction of 1 + f above sqrt(1/2)) */
    VU bits = (VU)v_bits(x) - ((TU)sqrt_half - ((TU)FM_BIAS << FM_MANTISSA));
    V m = v_from_bits((VI)(bits & (((TU)1 << FM_MANTISSA) - 1)) + sqrt_half);
    *f = m - v_set1(1);
    return v_from_bits((VI)(bits >> FM_MANTISSA) | v_bits(v_set1(FM_MAGIC)));
}

/* e ln 2 + ln (1 + f). With s = f / (2 + f)
 *   ln (1 + f) = ln (1 + s) / (1 - s) = f - (f^2/2 - s (f^2/2 + z R(z))),  z = s^2,
 * R with an error relative to ln (1 + f) of 2^-30.2 (f32), 2^-59.5 (f64) by the fit. */
FM_INLINE V v_log_reduced(V e, V f)
{
#if FM_F64
    static const T c[] = {0x1.5555555555592p-1, 0x1.999999997ff04p-2, 0x1.24924941e33b0p-2,
                          0x1.c71c521255396p-3, 0x1.74663d6884b69p-3, 0x1.39a1dabd45fcap-3,
                          0x1.2f04566a900bdp-3};
#else
    static const T c[] = {0x1.55557ap-1f, 0x1.995ed6p-2f, 0x1.31e088p-2f};
#endif
    enum { TERMS = sizeof(c) / sizeof(c[0]) };
    V s = f / (f + v_set1(2));
    V z = s * s;
    V hff = v_set1((T)0.5) * f * f;
    V w = v_fma(s, v_fma(z, v_poly(z, c, TERMS, 1), hff), e * v_set1(FM_LN2_LO));
    return v_fma(e, v_set1(FM_LN2_HI), f - (hff - w));
}

/* ln x, subnormal x included (unless the CPU takes them for zero). */
FM_INLINE V v_log(V x)
{
    const T min_normal = FM_F64 ? (T)0x1p-1022 : (T)0x1p-126;
    const T up = (T)((TI)1 << (FM_MANTISSA + 1));
    M tiny = v_lt(x, v_set1(min_normal));
    V f;
    V e = v_split_log(v_select(tiny, x * v_set1(up), x), &f) -
          v_select(tiny, v_set1(FM_MAGIC + FM_BIAS + FM_MANTISSA + 1), v_set1(FM_MAGIC + FM_BIAS));
    V log_x = v_log_reduced(e, f);
    log_x = v_select(v_lt(x, v_set1((T)INFINITY)), log_x, x); /* inf and NaN */
    log_x = v_select(v_lt(x, v_zero()), v_set1((T)NAN), log_x);
    return v_select(v_eq(x, v_zero()), v_set1(-(T)INFINITY), log_x);
}

/* ln (1 + x) for -1 < x <= 2^100, or NaN. 1 + x = 2^e (1 + f), where e may come from the
 * rounded sum but f must not: 2^-e x + (2^-e - 1) is rounded once. */
FM_INLINE V v_log1p(V x)
{
    V f, one = v_set1(1);
    V t = v_split_log(one + x, &f);
    V down = v_from_bits((v_bits(v_set1(FM_MAGIC + 2 * FM_BIAS)) - v_bits(t)) << FM_MANTISSA);
    return v_log_reduced(t - v_set1(FM_MAGIC + FM_BIAS), v_fma(x, down, down - one));
}

/* ln (1 + e^x). */
FM_INLINE V v_softplus(V x) { return v_max(v_zero(), x) + v_log1p(v_exp(v_neg(v_abs(x)))); }

/* y e^(-x^2 / 2) for |y| <= 1 is zero from here on. */
#if FM_F64
#define FM_NORMAL_NONE 39
#else
#define FM_NORMAL_NONE 15
#endif

/* (y + y_low) e^(c - x^2 / 2), 0 <= x <= FM_NORMAL_NONE; y_low and c correct rounding errors. A
 * relative error of x^2 would come out x^2 / 2 times as large: x^2 is h^2 + (x - h) (x + h), where
 * h, x with half its bits, has an exact square. */
FM_INLINE V v_mul_gauss(V y, V y_low, V c, V x)
{
    V h = v_from_bits(v_bits(x) & ~(((TI)1 << (FM_MANTISSA / 2 + 1)) - 1));
    V a = v_set1((T)-0.5) * h * h, b = v_set1((T)-0.5) * (x - h) * (x + h);
    V magic = v_set1(FM_MAGIC + 2 * FM_BIAS);
    V t = v_fma(a, v_set1(FM_LOG2E), magic);
    V k = t - magic;
    V r = v_fnma(k, v_set1(FM_LN2_HI), a) + v_fnma(k, v_set1(FM_LN2_LO), b + c);
    V s2, s1 = v_split_power(t, &s2);
    return (v_fma(y, v_expm1_reduced(r), y_low) + y) * s1 * s2;
}

/* Mills' ratio e^(x^2 / 2) Phi(-x) as ratio * e^c, 0 <= x <= FM_NORMAL_NONE. Times x + 5/4 it is
 * between 0.4 and 0.63 and level at 0, and a polynomial of (m - x) / (m + x), which maps the half
 * line to ]-1, 1] (Shepherd, Laframboise 1981, "Chebyshev approximation of (1 + 2x) exp(x^2)
 * erfc x in 0 <= x < inf", Mathematics of Computation 36), with a relative error of 2^-27.6 (f32),
 * 2^-55.2 (f64) by the fit (least squares, reweighted until nearly minimax). c takes back the rounding of x + 5/4 and of the quotient; without it
 * v_gelu is off by 3.6 ULP. 1 / w is near enough to 2 for that. */
FM_INLINE V v_mills(V x, V *c)
{
#if FM_F64
    static const T p[] = {0x1.e6356d6f765f3p-2,   0x1.f1a6da179bf88p-4,   0x1.05dd0fca88a8cp-4,
                          0x1.2bd247e1a2d98p-6,   -0x1.0a13323ed578cp-7,  -0x1.143cb8a9b6eabp-6,
                          -0x1.e21343e9c7ff1p-7,  -0x1.22fb9e576ad8fp-7,  -0x1.fc9dcc3f60cd4p-9,
                          -0x1.22cd1a9fbda82p-10, -0x1.8e5945b0bba10p-14, 0x1.56177d9e7689cp-14,
                          0x1.3b77bae09a1a0p-15,  0x1.2f9e5c70464bep-20,  -0x1.27d8d2aed7516p-18,
                          -0x1.22adfaabf2be7p-20, 0x1.b72ed689783e8p-22,  0x1.c7e93c19fb13ap-23,
                          -0x1.4454ca94e317cp-25, -0x1.1f28855e6266bp-25, 0x1.70f2f201d37d6p-28,
                          0x1.02703da9c06a7p-28,  -0x1.1109ccc88855dp-30};
    const T m = (T)5.5;
#else
    static const T p[] = {0x1.fb8d36p-2f,  0x1.1d4ad8p-3f,  0x1.716a3ap-5f,  -0x1.5dc040p-7f,
                          -0x1.9121e0p-6f, -0x1.031398p-6f, -0x1.3f3224p-8f, 0x1.08f4b2p-13f,
                          0x1.51b016p-11f, 0x1.9170e8p-14f, -0x1.4d4f9ap-14f};
    const T m = 4;
#endif
    enum { PAIRS = (int)(sizeof(p) / sizeof(p[0])) / 2 };
    const T k = (T)1.25;
    V t = v_set1(2 * m) / (x + v_set1(m)) - v_set1(1);
    V tt = t * t;
    V q = v_fma(t, v_poly(tt, p + 2, PAIRS, 2), v_poly(tt, p + 1, PAIRS, 2));
    V w = v_fma(t, q, v_set1(p[0])); /* last, so that only one rounding counts */
    V d = x + v_set1(k), ratio = w / d;
    V error = v_fma(ratio, d - v_set1(k) - x, v_fnma(ratio, d, w));
    *c = error + error;
    return ratio;
}

/* Phi(x), the distribution function of the standard normal distribution, to full relative
 * accuracy in its lower tail. */
FM_INLINE V v_normal_cdf(V x)
{
    V y = v_min(v_set1(FM_NORMAL_NONE), v_abs(x));
    V c, ratio = v_mills(y, &c);
    V p = v_mul_gauss(ratio, v_zero(), c, y);
    return v_select(v_lt(v_zero(), x), v_set1(1) - p, p);
}

/* ln cosh x = ln (1 + m^2 / (2 + 2 m)), m = e^|x| - 1, without cancellation anywhere. From
 * -FM_EXP_NONE on it is |x| - ln 2. */
FM_INLINE V v_log_cosh(V x)
{
    V a = v_abs(x), y = v_min(v_set1(-FM_EXP_NONE), a);
    V m = v_expm1(y);
    return v_log1p(m * m / (m + m + v_set1(2))) + (a - y);
}

/* Cross-entropy of the target y in [0, 1] and logistic(z), by z: y ln(1 + e^-z) +
 * (1 - y) ln(1 + e^z), without a logarithm of a probability that was rounded to 0 or 1. */
FM_INLINE V v_logistic_loss(V y, V z)
{
    V a = v_abs(z);
    return v_fma(a, v_select(v_lt(v_zero(), z), v_set1(1) - y, y), v_softplus(v_neg(a)));
}

#endif
