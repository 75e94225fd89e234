/* functions.h - activation functions of vectors, their derivatives, and losses in stable forms:
 * the bodies for rows of the tables.
 *
 *     v_<name>(z, parameters)     a = f(z)
 *     v_d<name>(a, parameters)    f'(z) from the output a where that determines it, else
 *     v_d<name>(z, parameters)    from z: gelu, silu, mish, hardswish
 *
 * Built on vmath.h, and like it the same bits on every ISA with a fused multiply-add. f(NaN) is
 * NaN, f(+-inf) the limit, and f(z) underflows only where the exact result does. Definitions, and
 * values of parameters that are constants here, are PyTorch's; softplus has no threshold.
 *
 * Largest errors in units in the last place, and nanoseconds per element, as in vmath.h; those of
 * f' are absolute, in units of 2^-24 (f32) and 2^-53 (f64), times two where f' is above 1; from a
 * they include the error of a, and the time is that of f and f' together:
 *                     f32             f64
 *     leaky_relu      0.50  0.05      0.50  0.17
 *     leaky_relu'     0.00  0.09      0.00  0.18
 *     elu             1.78  0.36      2.36  1.03
 *     elu'            2.04  0.46      2.09  1.20
 *     selu            1.91  0.38      1.75  1.04
 *     selu'           2.31  0.46      2.29  1.21
 *     celu            2.21  0.48      2.59  1.37
 *     celu'           1.98  0.65      2.05  1.77
 *     gelu            2.80  1.57      2.55  4.79
 *     gelu'           1.97  1.08      1.80  3.48
 *     silu            2.47  0.59      2.21  1.54
 *     silu'           1.91  0.71      1.85  1.72
 *     mish            2.64  0.89      2.68  2.08
 *     mish'           3.08  1.01      2.56  2.32
 *     softsign        1.50  0.13      1.47  0.40
 *     softsign'       1.85  0.15      1.87  0.40
 *     relu6           0.00  0.05      0.00  0.18
 *     relu6'          0.00  0.12      0.00  0.22
 *     hardsigmoid     1.34  0.07      1.34  0.18
 *     hardsigmoid'    0.09  0.16      0.09  0.30
 *     hardswish       2.47  0.09      2.44  0.19
 *     hardswish'      0.67  0.10      0.67  0.20
 *     softplus'       1.22  2.46      1.17  6.69
 *     log_cosh        4.43  1.60      5.23  4.09
 *     logistic_loss   1.56  1.49      1.71  3.83
 */
#ifndef FM_FUNCTIONS_H
#define FM_FUNCTIONS_H

#include <float.h>

#include "simd/vmath.h"

/* Maas, Hannun, Ng (2013), "Rectifier nonlinearities improve neural network acoustic models",
 * ICML. slope >= 0. */
FM_INLINE V v_leaky_relu(V z, V slope) { return v_select(v_lt(v_zero(), z), z, slope * z); }
FM_INLINE V v_dleaky_relu(V a, V slope) { return v_select(v_lt(v_zero(), a), v_set1(1), slope); }

/* Clevert, Unterthiner, Hochreiter (2016), "Fast and accurate deep network learning by exponential
 * linear units (ELUs)", ICLR. alpha >= 0. */
FM_INLINE V v_elu(V z, V alpha) { return v_select(v_lt(v_zero(), z), z, alpha * v_expm1(z)); }
FM_INLINE V v_delu(V a, V alpha) { return v_select(v_lt(v_zero(), a), v_set1(1), a + alpha); }

/* Klambauer, Unterthiner, Mayr, Hochreiter (2017), "Self-normalizing neural networks", NeurIPS:
 * scale and scale * alpha of its equation 14, to T's digits. */
#define FM_SELU_SCALE ((T)1.0507009873554804934193349852946)
#define FM_SELU_ALPHA ((T)1.7580993408473768599402175208123)

FM_INLINE V v_selu(V z)
{
    return v_select(v_lt(v_zero(), z), v_set1(FM_SELU_SCALE) * z,
                    v_set1(FM_SELU_ALPHA) * v_expm1(z));
}
FM_INLINE V v_dselu(V a)
{
    return v_select(v_lt(v_zero(), a), v_set1(FM_SELU_SCALE), a + v_set1(FM_SELU_ALPHA));
}

/* Barron (2017), "Continuously differentiable exponential linear units", arXiv:1704.07483.
 * alpha > 0. */
FM_INLINE V v_celu(V z, V alpha)
{
    return v_select(v_lt(v_zero(), z), z, alpha * v_expm1(z / alpha));
}
FM_INLINE V v_dcelu(V a, V alpha)
{
    return v_select(v_lt(v_zero(), a), v_set1(1), a / alpha + v_set1(1));
}

/* Hendrycks, Gimpel (2016), "Gaussian error linear units (GELUs)", arXiv:1606.08415: z Phi(z).
 * z Phi(z) = max(0, z) - |z| Phi(-|z|), and f'(z) + f'(-z) = 1. */
FM_INLINE V v_gelu(V z)
{
    V x = v_min(v_set1(FM_NORMAL_NONE), v_abs(z));
    V c, ratio = v_mills(x, &c), y = x * ratio;
    return v_max(v_zero(), z) - v_mul_gauss(y, v_fma(x, ratio, v_neg(y)), c, x);
}
FM_INLINE V v_dgelu(V z)
{
    const T density = (T)0.39894228040143267793994605993438; /* 1 / sqrt(2 pi) */
    V x = v_min(v_set1(FM_NORMAL_NONE), v_abs(z));
    V c, ratio = v_mills(x, &c);
    V d = v_mul_gauss(v_fnma(x, v_set1(density), ratio), v_zero(), v_zero(), x); /* f'(-|z|) */
    return v_select(v_lt(v_zero(), z), v_set1(1) - d, d);
}

/* Elfwing, Uchibe, Doya (2018), "Sigmoid-weighted linear units for neural network function
 * approximation in reinforcement learning", Neural Networks 107: z / (1 + e^-z). With
 * w = e^-|z|, which cannot overflow; f'(z) + f'(-z) = 1. */
FM_INLINE V v_silu(V z)
{
    V x = v_neg(v_abs(z)), one = v_set1(1);
    V low = v_mul_exp(v_max(v_set1(2 * FM_EXP_LO), z), x);
    return v_select(v_lt(v_zero(), z), z, low) / (one + v_exp(x));
}
FM_INLINE V v_dsilu(V z)
{
    V x = v_max(v_set1(2 * FM_EXP_LO), v_neg(v_abs(z))), one = v_set1(1);
    V w = v_exp(x), u = one / (one + w);
    V d = w * u * v_fma(x, u, one); /* f'(-|z|) */
    return v_select(v_lt(v_zero(), z), one - d, d);
}

/* Misra (2020), "Mish: a self regularized non-monotonic activation function", BMVC:
 * z tanh(ln(1 + e^z)). With w = e^-|z| it is
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

/* Dugas, Bengio, Belisle, Nadeau, Garcia (2001), "Incorporating second-order functional knowledge
 * for better option pricing", NeurIPS. v_softplus is in vmath.h. */
FM_INLINE V v_dsoftplus(V a) { return v_neg(v_expm1(v_neg(a))); }

/* Bergstra, Desjardins, Lamblin, Bengio (2009), "Quadratic polynomials learn better image
 * features", technical report 1337, Universite de Montreal. */
FM_INLINE V v_softsign(V z)
{
    const T big = FM_F64 ? (T)DBL_MAX : FLT_MAX;
    V y = v_clamp(z, -big, big);
    return y / (v_set1(1) + v_abs(y));
}
FM_INLINE V v_dsoftsign(V a)
{
    V d = v_set1(1) - v_abs(a);
    return d * d;
}

/* 1 where lo < x < hi, else 0. */
FM_INLINE V v_inside(V x, T lo, T hi, V inside)
{
    return v_select(v_lt(v_set1(lo), x), v_select(v_lt(x, v_set1(hi)), inside, v_zero()), v_zero());
}

/* Krizhevsky (2010), "Convolutional deep belief networks on CIFAR-10", University of Toronto. */
FM_INLINE V v_relu6(V z) { return v_clamp(z, 0, 6); }
FM_INLINE V v_drelu6(V a) { return v_inside(a, 0, 6, v_set1(1)); }

/* Courbariaux, Bengio, David (2015), "BinaryConnect", NeurIPS, with the slope 1/6 of the next. */
FM_INLINE V v_hardsigmoid(V z) { return v_clamp(z + v_set1(3), 0, 6) * v_set1((T)1 / 6); }
/* The last number below 3 has the output 1 too, and so the derivative 0. */
FM_INLINE V v_dhardsigmoid(V a) { return v_inside(a, 0, 1, v_set1((T)1 / 6)); }

/* Howard et al. (2019), "Searching for MobileNetV3", ICCV. */
FM_INLINE V v_hardswish(V z) { return v_max(v_set1(-3), z) * v_hardsigmoid(z); }
FM_INLINE V v_dhardswish(V z)
{
    V middle = v_fma(z, v_set1((T)1 / 3), v_set1((T)0.5));
    return v_select(v_lt(z, v_set1(3)), v_inside(z, -3, 3, middle), v_set1(1));
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
