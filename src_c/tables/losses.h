/* losses.h - the code of the rows of losses.def, on vectors of samples.
 *
 *     fm_loss_<name>(y, a, p)    the loss of target y and output a = f(z)
 *     fm_dloss_<name>(y, a, p)   its derivative by a
 *     fm_loss_in_double(loss, y, a)  where the loss of a number that T holds may overflow T
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
#else
#define FM_EPSILON FLT_EPSILON
#define FM_LARGEST FLT_MAX
#endif

/* Probabilities enter a logarithm clipped to [eps, 1 - eps]. NaN stays NaN. */
FM_INLINE V fm_clip(V p) { return v_min(v_set1(1 - FM_EPSILON), v_max(v_set1(FM_EPSILON), p)); }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* as in activations.h */

FM_INLINE V fm_loss_squared_error(V y, V a, const fm_constants *p)
{
    V e = y - a;
    return v_set1((T)0.5) * e * e;
}
FM_INLINE V fm_dloss_squared_error(V y, V a, const fm_constants *p) { return a - y; }

/* Half the deviance; y log(y / a) is 0 where y is 0. */
FM_INLINE V fm_loss_poisson(V y, V a, const fm_constants *p)
{
    return v_select(v_eq(y, v_zero()), v_zero(), y * v_log(y / a)) - y + a;
}
FM_INLINE V fm_dloss_poisson(V y, V a, const fm_constants *p) { return v_set1(1) - y / a; }

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

#pragma GCC diagnostic pop

static double fm_loss_in_double(const fm_choice *loss, double y, double a)
{
    switch (loss->row) {
    case FM_LOSS_squared_error: return 0.5 * (y - a) * (y - a);
    case FM_LOSS_poisson: return (y == 0 ? 0 : y * log(y / a)) - y + a;
    default: return INFINITY;
    }
}

#endif
