/* vmath_references.h - the functions of test_vmath.c in the precision R, from libm and by other
 * formulas than the tested ones where there is a choice. */
#define PARAMETER(x) ((R)(T)(x))
#define SLOPE PARAMETER(0.01)
#define ALPHA PARAMETER(1.7)
#define TARGET PARAMETER(0.3)
#define DIGITS(x) (sizeof(R) > 8 ? (R)x##L : (R)x)

static R ref_logistic(R x) { return 1 / (1 + REF(exp)(-x)); }

static R ref_softplus(R x) { return REF(fmax)(x, 0) + REF(log1p)(REF(exp)(-REF(fabs)(x))); }

static R ref_log_cosh(R x)
{
    R a = REF(fabs)(x), s = REF(sinh)(REF(fmin)(a, 1) / 2);
    return a < 1 ? REF(log1p)(2 * s * s) : a + REF(log1p)(REF(exp)(-2 * a)) - REF(log)(2);
}

static R ref_logistic_loss(R z)
{
    return TARGET * ref_softplus(-z) + (1 - TARGET) * ref_softplus(z);
}

/* erfc(-x / sqrt 2) / 2. An error of x / sqrt 2 would come out x^2 times as large: u + d is it
 * with twice the digits, and d enters by the derivative. */
static R ref_normal_cdf(R x)
{
    if (isinf(x))
        return x > 0;
    const R high = REF(sqrt)((R)0.5), low = REF(fma)(-high, high, (R)0.5) / (2 * high);
    const R two_by_sqrt_pi = DIGITS(1.12837916709551257389615890312154517);
    R u = -x * high, d = REF(fma)(-x, high, -u) - x * low;
    return (REF(erfc)(u) - d * two_by_sqrt_pi * REF(exp)(-u * u)) / 2;
}

static R ref_leaky_relu(R x) { return x > 0 ? x : SLOPE * x; }
static R ref_dleaky_relu(R x) { return x > 0 ? 1 : SLOPE; }

static R ref_elu(R x) { return x > 0 ? x : ALPHA * REF(expm1)(x); }
static R ref_delu(R x) { return x > 0 ? 1 : ALPHA * REF(exp)(x); }

static R ref_selu(R x)
{
    const R scale = DIGITS(1.0507009873554804934193349852946);
    return x > 0 ? scale * x : scale * DIGITS(1.6732632423543772848170429916717) * REF(expm1)(x);
}
static R ref_dselu(R x)
{
    const R scale = DIGITS(1.0507009873554804934193349852946);
    return x > 0 ? scale : scale * DIGITS(1.6732632423543772848170429916717) * REF(exp)(x);
}

static R ref_celu(R x) { return x > 0 ? x : ALPHA * REF(expm1)(x / ALPHA); }
static R ref_dcelu(R x) { return x > 0 ? 1 : REF(exp)(x / ALPHA); }

static R ref_gelu(R x) { return x < -100 ? 0 : x * ref_normal_cdf(x); }
static R ref_dgelu(R x)
{
    const R density = DIGITS(0.398942280401432677939946059934381868);
    return isinf(x) ? x > 0 : ref_normal_cdf(x) + x * density * REF(exp)(-x * x / 2);
}

static R ref_silu(R x) { return x < -10000 ? 0 : x * ref_logistic(x); }
static R ref_dsilu(R x) { return isinf(x) ? x > 0 : ref_logistic(x) * (1 + x * ref_logistic(-x)); }

static R ref_mish(R x) { return x < -10000 ? 0 : x * REF(tanh)(ref_softplus(x)); }
static R ref_dmish(R x)
{
    R s = ref_softplus(x), c = REF(cosh)(REF(fmin)(s, 5000));
    return isinf(x) ? x > 0 : REF(tanh)(s) + x * ref_logistic(x) / c / c;
}

static R ref_softsign(R x) { return isinf(x) ? REF(copysign)(1, x) : x / (1 + REF(fabs)(x)); }
static R ref_dsoftsign(R x) { return 1 / ((1 + REF(fabs)(x)) * (1 + REF(fabs)(x))); }

static R ref_relu6(R x) { return isnan(x) ? x : REF(fmin)(6, REF(fmax)(0, x)); }
static R ref_drelu6(R x) { return x > 0 && x < 6; }

static R ref_hardsigmoid(R x) { return ref_relu6(x + 3) / 6; }
static R ref_dhardsigmoid(R x) /* the last x below 3 gives x + 3 = 6 in T, and output 1 */
{
    return x > -3 && (T)(x + 3) < 6 ? (R)1 / 6 : 0;
}

static R ref_hardswish(R x) { return x < -3 ? 0 : x * ref_hardsigmoid(x); }
static R ref_dhardswish(R x) { return x <= -3 ? 0 : x < 3 ? x / 3 + (R)0.5 : 1; }
