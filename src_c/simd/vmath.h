/* vmath.h - elementary functions of vectors, those that activations and losses are made of.
 *
 * The same operations in the same order on every ISA, so the same bits on every
 * ISA with a fused multiply-add. NaN gives NaN. The polynomials are minimax
 * fits but for v_mills and v_log_cosh (Remez exchange in 50 digits; their leading coefficients rounded to T
 * first and the rest fitted again).
 *
 * Largest errors in units in the last place (tests/c/test_vmath.c, 2^26 and 2^23 random arguments;
 * exp, log, tanh, logistic: f32 all 2^32, f64 2^28),
 * nanoseconds per element in L1 (AVX2, Zen 4, gcc 12):
 *                     f32             f64
 *     exp             1.08  0.34      1.08  0.97
 *     expm1           1.67  0.29      2.05  0.88
 *     log             0.84  0.61      0.85  1.64
 *     log1p           1.37  0.44      1.29  1.25
 *     tanh            2.53  0.44      2.58  1.20
 *     logistic        2.49  0.38      2.47  1.06
 *     softplus        1.66  1.33      1.61  3.56
 *     log_cosh        2.69  1.60      2.64  4.70
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

/* x^2, rounded, and what is missing. */
FM_INLINE V v_square(V x, V *low)
{
    V square = x * x;
#ifdef FM_NOT_FUSED
    V h = v_from_bits(v_bits(x) & ~(((TI)1 << (FM_MANTISSA / 2 + 1)) - 1)); /* h^2 is exact */
    *low = (h * h - square) + (x - h) * (x + h);
#else
    *low = v_fma(x, x, v_neg(square));
#endif
    return square;
}

/* The density of the standard normal distribution at 0, 1 / sqrt(2 pi). */
#define FM_DENSITY 0.39894228040143267793994605993438

/* Its lower tail Phi(-x) e^(x^2 / 2), Mills' ratio, as a quotient, 0 <= x <= FM_NORMAL_NONE. Times
 * x + 1 it is between 0.5 and FM_DENSITY: FM_DENSITY + p / q, where p / q is so small that its
 * rounding errors hardly matter. The relative error is 2^-26.5 (f32), 2^-56.5 (f64) by the fit
 * (least squares, reweighted until nearly minimax; coefficients rounded one after the other, the
 * rest fitted again). The scale of p and q, 17/16 in f32, was chosen from 1, 33/32, ... by the
 * largest error of gelu. */
FM_INLINE V v_mills(V x, V square, V *denominator)
{
#if FM_F64
    static const T p[] = {0x1.9deeb30af26bcp-4,  0x1.6932360b1cb0ep-2,  0x1.95c52d58a15b9p-2,
                          0x1.01c378d17254cp-2,  0x1.b2f90095d587ap-4,  0x1.0452fc5f3198ap-5,
                          0x1.c4f36b865a5ebp-8,  0x1.1d550490e6703p-10, 0x1.f6d3152dbb23cp-14,
                          0x1.1b22aca8c59cep-17, 0x1.3b6c61f26ea4bp-22};
    static const T q[] = {1,
                          0x1.3ec5049f578ccp+1,
                          0x1.73c900718bd56p+1,
                          0x1.0ca4b85c1a1b1p+1,
                          0x1.0bee90eb70c84p+0,
                          0x1.84749523315c2p-2,
                          0x1.a33d4437cd039p-4,
                          0x1.5258433f8828ap-6,
                          0x1.928af012e6702p-9,
                          0x1.52d246dcd3f64p-12,
                          0x1.6f36283a925c8p-16,
                          0x1.8b5316e87dd8fp-21};
#else
    static const T p[] = {0x1.b7cd9ap-4f, 0x1.2e1056p-2f, 0x1.5d8050p-3f, 0x1.86a254p-5f,
                          0x1.979470p-8f};
    static const T q[] = {0x1.1p+0f,      0x1.db4148p+0f, 0x1.65f156p+0f,
                          0x1.288e6cp-1f, 0x1.14a474p-3f, 0x1.feda60p-7f};
#endif
    enum { P = sizeof(p) / sizeof(p[0]), Q = sizeof(q) / sizeof(q[0]) };
    V pv = v_fma(x, v_poly(square, p + 1, P / 2, 2), v_poly(square, p, P - P / 2, 2));
    V qv = v_fma(x, v_poly(square, q + 1, Q / 2, 2), v_poly(square, q, Q - Q / 2, 2));
    *denominator = v_fma(qv, x, qv);
    return v_fma(v_const(FM_DENSITY), qv, pv);
}

/* x Phi(-x) and e^(-x^2 / 2) are zero from NONE on; times UP they are normal numbers up to there. */
#if FM_F64
#define FM_NORMAL_NONE 39
#define FM_NORMAL_UP 0x1p512
#define FM_NORMAL_DOWN 0x1p-512
#else
#define FM_NORMAL_NONE 15
#define FM_NORMAL_UP 0x1p64f
#define FM_NORMAL_DOWN 0x1p-64f
#endif

/* Phi(-x) FM_NORMAL_UP as a sum with *low, and *slope = Phi(-x) - x phi(x). With x^2 = 2 k ln 2 + r
 *   Phi(-x) = n / d (1 + g) 2^-k,   g = e^(-r / 2) - 1,
 * and *low holds what is rounded away in n (1 / d) and in (1 + g). */
FM_INLINE V v_normal_tail(V x, V *low, V *slope)
{
    const T ln2_hi = 2 * FM_LN2_HI, ln2_lo = 2 * FM_LN2_LO;
    V square_low, square = v_square(x, &square_low);
    V t = v_fma(square, v_set1((T)(FM_LOG2E / 2)), v_set1(FM_MAGIC));
    V k = t - v_set1(FM_MAGIC);
    V r = v_fnma(k, v_set1(ln2_hi), square) + v_fnma(k, v_set1(ln2_lo), square_low);
    V g = v_expm1_reduced(v_set1((T)-0.5) * r);
    const VU down = (VU)v_bits(t) << FM_MANTISSA; /* unsigned: for NaN it is any number */
    V scale = v_from_bits((VI)((VU)v_bits(v_set1(FM_NORMAL_UP)) - down)); /* 2^-k */
    V d, n = v_mills(x, square, &d);
    V inverse = v_set1(1) / d, ratio = n * inverse, y = ratio * scale;
    V tail = v_fma(y, g, y);
    V missing = v_fnma(ratio, d, n); /* of n in ratio * d */
    *low = v_fma(y, g, v_fma(missing, inverse * scale, y - tail));
    V s = v_fnma(x, v_const(FM_DENSITY), ratio);
    *slope = v_fma(s, g, s) * scale * v_set1(FM_NORMAL_DOWN);
    return tail;
}

/* ln cosh x: x^2 times a polynomial of x^2 up to 1, with a relative error of 2^-27.2 (f32), 2^-57.1
 * (f64), and |x| - ln 2 + ln (1 + e^-2|x|) beyond. */
FM_INLINE V v_log_cosh(V x)
{
#if FM_F64
    static const T c[] = {0.5,
                          -0x1.555555555554cp-4,
                          0x1.6c16c16c15d25p-6,
                          -0x1.ba1ba1b991fccp-8,
                          0x1.1ea5d387ac86dp-9,
                          -0x1.833d98f9c72a9p-11,
                          0x1.0d0b1f6839fefp-12,
                          -0x1.7d9f566c4e5a6p-14,
                          0x1.12dbac3249951p-15,
                          -0x1.8ff99bbedbc44p-17,
                          0x1.22d2af62ac1e2p-18,
                          -0x1.9ad70cb418c63p-20,
                          0x1.094c4e791bb46p-21,
                          -0x1.1a6bab51076bdp-23,
                          0x1.a5128fbcc7d4ep-26,
                          -0x1.3d390a26bcfe8p-29};
#else
    static const T c[] = {0.5f,           -0x1.555550p-4f,  0x1.6c1432p-6f,  -0x1.b9bf8ap-8f,
                          0x1.1b88ccp-9f, -0x1.658f9ap-11f, 0x1.753b72p-13f, -0x1.b5e76ep-16f};
#endif
    enum { PAIRS = (int)(sizeof(c) / sizeof(c[0])) / 2 };
    V a = v_abs(x), u = a * a, uu = u * u;
    V small = u * v_fma(u, v_poly(uu, c + 1, PAIRS, 2), v_poly(uu, c, PAIRS, 2));
    V large = (a - v_const(0.69314718055994530941723212145818)) + v_log1p(v_exp(v_set1(-2) * a));
    return v_select(v_lt(a, v_set1(1)), small, large);
}

/* Cross-entropy of the target y in [0, 1] and logistic(z), by z: y ln(1 + e^-z) +
 * (1 - y) ln(1 + e^z), without a logarithm of a probability that was rounded to 0 or 1. */
FM_INLINE V v_logistic_loss(V y, V z)
{
    V a = v_abs(z);
    return v_fma(a, v_select(v_lt(v_zero(), z), v_set1(1) - y, y), v_softplus(v_neg(a)));
}

#endif
