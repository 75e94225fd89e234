/* activations.h - the code of the rows of activations.def, on vectors.
 *
 *     fm_act_<name>(z, slope, p)   a = f(z); rows of FM_FROM_PREACTIVATION: *slope = f'(z) too
 *     fm_dact_<name>(d, a, p)      d * f' from a; rows of FM_FROM_OUTPUT
 *
 *     fm_dlog_<name>(d, a)      d * f' / f where a > 0 and f' may be too small for T
 *
 * p holds the values of the row's parameters: p-><name>.<parameter>, doubles, which
 * v_const makes a vector of. Where nobody wants the slope, the compiler leaves it out.
 *
 * Built on vmath.h, and like it the same bits on every ISA with a fused multiply-add. f(NaN) is
 * NaN, f(+-inf) the limit, and f(z) underflows only where the exact result does. Definitions, and
 * values of parameters that are constants here, are PyTorch's; softplus has no threshold.
 *
 * Largest errors in units in the last place, and nanoseconds per element, as in vmath.h; those of
 * f' are absolute, in units of 2^-24 (f32) and 2^-53 (f64), times two where f' is above 1. The time
 * of f' is that of both, and its error from a includes that of a:
 *                     f32             f64
 *     leaky_relu      0.50  0.05      0.50  0.17
 *     leaky_relu'     0.00  0.09      0.00  0.18
 *     elu             1.78  0.36      2.36  1.03
 *     elu'            2.04  0.46      2.09  1.20
 *     selu            1.91  0.38      1.75  1.04
 *     selu'           2.31  0.46      2.29  1.21
 *     celu            2.21  0.48      2.59  1.37
 *     celu'           1.98  0.65      2.05  1.77
 *     gelu            2.98  1.03      2.56  3.11
 *     gelu'           2.27  1.17      2.35  3.38
 *     silu            2.47  0.59      2.21  1.54
 *     silu'           1.91  0.85      1.85  2.06
 *     mish            2.64  0.89      2.68  2.08
 *     mish'           3.08  1.35      2.56  3.00
 *     softplus'       1.22  2.46      1.17  6.69
 *     softsign        1.50  0.13      1.47  0.40
 *     softsign'       1.85  0.15      1.87  0.40
 *     relu6           0.00  0.05      0.00  0.18
 *     relu6'          0.00  0.12      0.00  0.22
 *     hardswish       2.47  0.09      2.44  0.19
 *     hardswish'      0.67  0.18      0.67  0.36
 *     hardsigmoid     1.34  0.07      1.34  0.18
 *     hardsigmoid'    0.09  0.16      0.09  0.30
 */
#ifndef FM_ACTIVATIONS_H
#define FM_ACTIVATIONS_H

#include <float.h>

#include "simd/vmath.h"
#include "tables/tables.h"

/* A row's function takes what some row needs, and mostly not all of it. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

FM_INLINE V fm_act_identity(V z, V *slope, const fm_constants *p) { return z; }
FM_INLINE V fm_dact_identity(V d, V a, const fm_constants *p) { return d; }

FM_INLINE V fm_act_logistic(V z, V *slope, const fm_constants *p) { return v_logistic(z); }
FM_INLINE V fm_dact_logistic(V d, V a, const fm_constants *p) { return d * a * (v_set1(1) - a); }

FM_INLINE V fm_act_tanh(V z, V *slope, const fm_constants *p) { return v_tanh(z); }
FM_INLINE V fm_dact_tanh(V d, V a, const fm_constants *p) { return d * v_fnma(a, a, v_set1(1)); }

/* max(0, NaN) is NaN: a diverging network must show it. */
FM_INLINE V fm_act_relu(V z, V *slope, const fm_constants *p) { return v_max(v_zero(), z); }
FM_INLINE V fm_dact_relu(V d, V a, const fm_constants *p)
{
    return v_select(v_eq(a, v_zero()), v_zero(), d);
}

/* high where x > 0, else low. */
FM_INLINE V v_by_sign(V x, V high, V low) { return v_select(v_lt(v_zero(), x), high, low); }

FM_INLINE V fm_act_leaky_relu(V z, V *slope, const fm_constants *p)
{
    return v_by_sign(z, z, v_const(p->leaky_relu.slope) * z);
}
FM_INLINE V fm_dact_leaky_relu(V d, V a, const fm_constants *p)
{
    return v_by_sign(a, d, d * v_const(p->leaky_relu.slope));
}

FM_INLINE V fm_act_elu(V z, V *slope, const fm_constants *p)
{
    return v_by_sign(z, z, v_const(p->elu.alpha) * v_expm1(z));
}
FM_INLINE V fm_dact_elu(V d, V a, const fm_constants *p)
{
    return v_by_sign(a, d, d * (a + v_const(p->elu.alpha)));
}

/* scale and scale * alpha of the paper's equation 14. */
#define FM_SELU_SCALE 1.0507009873554804934193349852946
#define FM_SELU_ALPHA 1.7580993408473768599402175208123

FM_INLINE V fm_act_selu(V z, V *slope, const fm_constants *p)
{
    return v_by_sign(z, v_const(FM_SELU_SCALE) * z, v_const(FM_SELU_ALPHA) * v_expm1(z));
}
FM_INLINE V fm_dact_selu(V d, V a, const fm_constants *p)
{
    return d * v_by_sign(a, v_const(FM_SELU_SCALE), a + v_const(FM_SELU_ALPHA));
}

/* alpha, or a bound beyond which f is 'relu' or 'identity' but for rounding errors: 1 / alpha must
 * be finite, and z / alpha must neither be 0 / 0 nor be flushed to zero. */
FM_INLINE double fm_celu_alpha(const fm_constants *p)
{
    const double least = FM_F64 ? DBL_MIN : FLT_MIN, most = FM_F64 ? 0x1p200 : 0x1p60;
    const double alpha = p->celu.alpha;
    return alpha < least ? least : alpha > most ? most : alpha;
}

FM_INLINE V fm_act_celu(V z, V *slope, const fm_constants *p)
{
    const V alpha = v_const(fm_celu_alpha(p));
    return v_by_sign(z, z, alpha * v_expm1(z / alpha));
}
FM_INLINE V fm_dact_celu(V d, V a, const fm_constants *p)
{
    return v_by_sign(a, d, d * v_fma(a, v_const(1 / fm_celu_alpha(p)), v_set1(1)));
}

/* z Phi(z) = max(0, z) - |z| Phi(-|z|), and f'(z) + f'(-z) = 1. */
FM_INLINE V fm_act_gelu(V z, V *slope, const fm_constants *p)
{
    V x = v_min(v_set1(FM_NORMAL_NONE), v_abs(z)), low, d; /* d: f'(-|z|) */
    V tail = v_normal_tail(x, &low, &d);
    *slope = v_by_sign(z, v_set1(1) - d, d);
    return v_max(v_zero(), z) - v_fma(x, tail, x * low) * v_set1(FM_NORMAL_DOWN);
}

/* z / (1 + e^-z) by w = e^-|z|, which cannot overflow; f'(z) + f'(-z) = 1. */
FM_INLINE V fm_act_silu(V z, V *slope, const fm_constants *p)
{
    V x = v_neg(v_abs(z)), one = v_set1(1), low = v_set1(2 * FM_EXP_LO);
    V w = v_exp(x), u = one / (one + w);
    V d = w * u * v_fma(v_max(low, x), u, one); /* f'(-|z|) */
    *slope = v_by_sign(z, one - d, d);
    return v_by_sign(z, z, v_mul_exp(v_max(low, z), x)) / (one + w);
}

/* z tanh(ln(1 + e^z)). With w = e^-|z| it is
 *   z w (1 - (w^2 + w) / (w^2 + 2 w + 2))   for z <= 0,   z (1 - 2 w^2 / (2 w^2 + 2 w + 1))
 * for z > 0, where w is small and its error damped in both tails. */
FM_INLINE V v_mish(V z)
{
    V x = v_neg(v_abs(z)), one = v_set1(1), two = v_set1(2);
    V y = v_clamp(z, 2 * FM_EXP_LO, -2 * FM_EXP_LO);
    M up = v_lt(v_zero(), z);
    V w = v_exp(x), low = v_mul_exp(y, x);
    V n = w * v_select(up, w + w, w + one);
    V d = v_select(up, v_fma(w, two, one), w + two) + n;
    return v_fnma(v_select(up, y, low), n / d, v_select(up, z, low));
}
FM_INLINE V v_dmish(V z)
{
    V y = v_clamp(z, 2 * FM_EXP_LO, -2 * FM_EXP_LO), one = v_set1(1), two = v_set1(2);
    M up = v_lt(v_zero(), z);
    V w = v_exp(v_neg(v_abs(z)));
    V n = v_select(up, w + w + one, w * (w + two));
    V d = one / (n + v_select(up, w * (w + w), two));
    V q = v_select(up, w, one) * w * (one + w) * v_set1(4) * d; /* / d again: sigma (1 - t^2) */
    return d * v_fma(y, q, n);
}
FM_INLINE V fm_act_mish(V z, V *slope, const fm_constants *p)
{
    *slope = v_dmish(z);
    return v_mish(z);
}

FM_INLINE V fm_act_softplus(V z, V *slope, const fm_constants *p) { return v_softplus(z); }
FM_INLINE V fm_dact_softplus(V d, V a, const fm_constants *p)
{
    return d * v_neg(v_expm1(v_neg(a)));
}

FM_INLINE V fm_act_softsign(V z, V *slope, const fm_constants *p)
{
    const T big = FM_F64 ? (T)DBL_MAX : FLT_MAX;
    V y = v_clamp(z, -big, big);
    return y / (v_set1(1) + v_abs(y));
}
FM_INLINE V fm_dact_softsign(V d, V a, const fm_constants *p)
{
    V s = v_set1(1) - v_abs(a);
    return d * (s * s);
}

/* inside where lo < x < hi, else 0. */
FM_INLINE V v_inside(V x, T lo, T hi, V inside)
{
    return v_select(v_lt(v_set1(lo), x), v_select(v_lt(x, v_set1(hi)), inside, v_zero()), v_zero());
}

FM_INLINE V fm_act_relu6(V z, V *slope, const fm_constants *p) { return v_clamp(z, 0, 6); }
FM_INLINE V fm_dact_relu6(V d, V a, const fm_constants *p) { return v_inside(a, 0, 6, d); }

FM_INLINE V v_hardsigmoid(V z) { return v_clamp(z + v_set1(3), 0, 6) * v_set1((T)1 / 6); }

FM_INLINE V fm_act_hardswish(V z, V *slope, const fm_constants *p)
{
    V middle = v_fma(z, v_set1((T)1 / 3), v_set1((T)0.5));
    *slope = v_select(v_lt(z, v_set1(3)), v_inside(z, -3, 3, middle), v_set1(1));
    return v_max(v_set1(-3), z) * v_hardsigmoid(z);
}

/* The last number below 3 has the output 1 too, and so the derivative 0. */
FM_INLINE V fm_act_hardsigmoid(V z, V *slope, const fm_constants *p) { return v_hardsigmoid(z); }
FM_INLINE V fm_dact_hardsigmoid(V d, V a, const fm_constants *p)
{
    return v_inside(a, 0, 1, d * v_set1((T)1 / 6));
}

FM_INLINE V fm_act_exp(V z, V *slope, const fm_constants *p) { return v_exp(z); }
FM_INLINE V fm_dact_exp(V d, V a, const fm_constants *p) { return d * a; }

FM_INLINE V fm_dlog_exp(V d, V a) { return d; }
FM_INLINE V fm_dlog_logistic(V d, V a) { return d * (v_set1(1) - a); }
FM_INLINE V fm_dlog_softplus(V d, V a)
{
    return v_select(v_eq(a, v_zero()), d, d * (v_neg(v_expm1(v_neg(a))) / a));
}

#pragma GCC diagnostic pop

#endif
