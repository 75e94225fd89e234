/* losses.h - the code of the rows of losses.def, on vectors of samples.
 *
 *     fm_loss_<name>(y, a, p)    the loss of target y and output a = f(z)
 *     fm_dloss_<name>(y, a, p)   its derivative by a, ln a or logit a, as the row says
 *     fm_loss_in_double(row, y, a, p)  where the loss of a number that T holds may overflow T
 *
 * p holds the values of the row's parameters, as in activations.h.
 */
#ifndef FM_LOSSES_H
#define FM_LOSSES_H

#include <float.h>
#include <math.h>

#include "simd/vmath.h"
#include "tables/tables.h"

#if FM_F64
#define FM_EPSILON DBL_EPSILON
#define FM_LARGEST DBL_MAX
#define FM_SMALLEST DBL_MIN
#else
#define FM_EPSILON FLT_EPSILON
#define FM_LARGEST FLT_MAX
#define FM_SMALLEST FLT_MIN
#endif

/* Probabilities enter a logarithm clipped to [eps, 1 - eps]. NaN stays NaN. */
FM_INLINE V fm_clip(V p) { return v_min(v_set1(1 - FM_EPSILON), v_max(v_set1(FM_EPSILON), p)); }

/* Positive outputs enter a logarithm or a quotient as positive normal numbers. */
FM_INLINE V fm_positive(V a) { return v_clamp(a, FM_SMALLEST, FM_LARGEST); }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* as in activations.h */

FM_INLINE V fm_loss_squared_error(V y, V a, const fm_constants *p)
{
    V e = y - a;
    return v_set1((T)0.5) * e * e;
}
FM_INLINE V fm_dloss_squared_error(V y, V a, const fm_constants *p) { return a - y; }

FM_INLINE V fm_loss_absolute_error(V y, V a, const fm_constants *p) { return v_abs(y - a); }
FM_INLINE V fm_dloss_absolute_error(V y, V a, const fm_constants *p)
{
    V e = a - y; /* 0 and NaN stay */
    return v_select(v_lt(v_zero(), e), v_set1(1), v_select(v_lt(e, v_zero()), v_set1(-1), e));
}

FM_INLINE V fm_loss_huber(V y, V a, const fm_constants *p)
{
    V e = v_abs(y - a), delta = v_const(p->huber.delta), half = v_set1((T)0.5);
    return v_select(v_lt(delta, e), delta * (e - half * delta), half * e * e);
}
FM_INLINE V fm_dloss_huber(V y, V a, const fm_constants *p)
{
    V delta = v_const(p->huber.delta);
    return v_max(v_neg(delta), v_min(delta, a - y));
}

FM_INLINE V fm_loss_quantile(V y, V a, const fm_constants *p)
{
    V e = y - a, q = v_const(p->quantile.levels);
    return v_max(q * e, (q - v_set1(1)) * e);
}
FM_INLINE V fm_dloss_quantile(V y, V a, const fm_constants *p)
{
    V e = a - y, q = v_const(p->quantile.levels); /* 0 and NaN stay */
    return v_select(v_lt(v_zero(), e), v_set1(1) - q, v_select(v_lt(e, v_zero()), v_neg(q), e));
}

FM_INLINE V fm_loss_log_cosh(V y, V a, const fm_constants *p) { return v_log_cosh(y - a); }
FM_INLINE V fm_dloss_log_cosh(V y, V a, const fm_constants *p) { return v_tanh(a - y); }

/* Half the deviance; y log(y / a) is 0 where y is 0. */
FM_INLINE V fm_loss_poisson(V y, V a, const fm_constants *p)
{
    return v_select(v_eq(y, v_zero()), v_zero(), y * v_log(y / fm_positive(a))) - y + a;
}
FM_INLINE V fm_dloss_poisson(V y, V a, const fm_constants *p) { return a - y; }

FM_INLINE V fm_loss_gamma(V y, V a, const fm_constants *p)
{
    V ratio = y / fm_positive(a);
    return ratio - v_set1(1) - v_log(ratio);
}
FM_INLINE V fm_dloss_gamma(V y, V a, const fm_constants *p)
{
    return v_set1(1) - y / fm_positive(a);
}

/* Half the deviance, y (y^s - a^s) / s - (y^t - a^t) / t with s = 1 - power, t = 2 - power,
 * where a factor e^x - 1 with x = s ln(y / a) or t ln(y / a) keeps what cancels. */
FM_INLINE V fm_loss_tweedie(V y, V a, const fm_constants *p)
{
    V s = v_const(1 - p->tweedie.power), t = v_const(2 - p->tweedie.power);
    V log_a = v_log(fm_positive(a)), none = v_zero();
    M zero = v_eq(y, none);
    V log_ratio = v_select(zero, v_set1(-(T)INFINITY), v_log(y) - log_a);
    V of_y = y * v_exp(s * log_a) * v_expm1(s * log_ratio) / s;
    return v_select(zero, none, of_y) - v_exp(t * log_a) * v_expm1(t * log_ratio) / t;
}
FM_INLINE V fm_dloss_tweedie(V y, V a, const fm_constants *p)
{
    V s = v_const(1 - p->tweedie.power), t = v_const(2 - p->tweedie.power);
    V log_a = v_log(fm_positive(a));
    return v_exp(t * log_a) - y * v_exp(s * log_a);
}

FM_INLINE V fm_loss_log_loss(V y, V a, const fm_constants *p)
{
    return v_neg(y * v_log(fm_clip(a)));
}
FM_INLINE V fm_dloss_log_loss(V y, V a, const fm_constants *p) { return v_neg(y / fm_clip(a)); }

FM_INLINE V fm_loss_binary_log_loss(V y, V a, const fm_constants *p)
{
    V q = fm_clip(a), one = v_set1(1);
    return v_neg(y * v_log(q) + (one - y) * v_log(one - q));
}
FM_INLINE V fm_dloss_binary_log_loss(V y, V a, const fm_constants *p)
{
    V q = fm_clip(a);
    return (q - y) / (q * (v_set1(1) - q));
}

/* (1 - q)^gamma times the cross-entropy, a sum of it over classes if y is no single one. */
FM_INLINE V fm_loss_focal(V y, V a, const fm_constants *p)
{
    V q = fm_clip(a), gamma = v_const(p->focal.gamma);
    return v_neg(y * v_exp(gamma * v_log(v_set1(1) - q)) * v_log(q));
}
FM_INLINE V fm_dloss_focal(V y, V a, const fm_constants *p)
{
    V q = fm_clip(a), r = v_set1(1) - q, gamma = v_const(p->focal.gamma);
    return y * v_exp(gamma * v_log(r)) * (gamma * q * v_log(q) / r - v_set1(1));
}

FM_INLINE V fm_loss_binary_focal(V y, V a, const fm_constants *p)
{
    V q = fm_clip(a), r = v_set1(1) - q, one = v_set1(1), gamma = v_const(p->binary_focal.gamma);
    V log_q = v_log(q), log_r = v_log(r);
    return v_neg(y * v_exp(gamma * log_r) * log_q + (one - y) * v_exp(gamma * log_q) * log_r);
}
FM_INLINE V fm_dloss_binary_focal(V y, V a, const fm_constants *p)
{
    V q = fm_clip(a), r = v_set1(1) - q, one = v_set1(1), gamma = v_const(p->binary_focal.gamma);
    V log_q = v_log(q), log_r = v_log(r);
    V of_yes = v_exp(gamma * log_r) * (gamma * q * log_q - r);
    V of_no = v_exp(gamma * log_q) * (q - gamma * r * log_r);
    return y * of_yes + (one - y) * of_no;
}

#pragma GCC diagnostic pop

static double fm_tweedie_in_double(double y, double a, double s, double t)
{
    const double log_ratio = y == 0 ? -INFINITY : log(y / a);
    const double of_y = y == 0 ? 0 : y * pow(a, s) * expm1(s * log_ratio) / s;
    return of_y - pow(a, t) * expm1(t * log_ratio) / t;
}

static double fm_loss_in_double(int row, double y, double a, const fm_constants *p)
{
    const double e = fabs(y - a), q = p->quantile.levels, delta = p->huber.delta;
    const double positive = fmin(FM_LARGEST, fmax(FM_SMALLEST, a));
    switch (row) {
    case FM_LOSS_squared_error: return 0.5 * (y - a) * (y - a);
    case FM_LOSS_absolute_error: return e;
    case FM_LOSS_huber: return e > delta ? delta * (e - 0.5 * delta) : 0.5 * e * e;
    case FM_LOSS_quantile: return y > a ? q * e : (1 - q) * e;
    case FM_LOSS_log_cosh: return e - log(2) + log1p(exp(-2 * e));
    case FM_LOSS_poisson: return (y == 0 ? 0 : y * log(y / positive)) - y + a;
    case FM_LOSS_gamma: return y / positive - 1 - log(y / positive);
    case FM_LOSS_tweedie:
        return fm_tweedie_in_double(y, positive, 1 - p->tweedie.power, 2 - p->tweedie.power);
    default: return NAN;
    }
}

#endif
