/* activations.h - the code of the rows of activations.def, on vectors.
 *
 *     fm_act_<name>(z, p)       a = f(z)
 *     fm_dact_<name>(d, x, p)   d * f'; x is a, or z where the row says so
 *
 * p holds the values of the row's parameters: p-><name>.<parameter>, doubles, which
 * v_const makes a vector of.
 */
#ifndef FM_ACTIVATIONS_H
#define FM_ACTIVATIONS_H

#include "simd/vmath.h"
#include "tables/tables.h"

/* A row's function takes what some row needs, and mostly not all of it. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

FM_INLINE V fm_act_identity(V z, const fm_constants *p) { return z; }
FM_INLINE V fm_dact_identity(V d, V a, const fm_constants *p) { return d; }

FM_INLINE V fm_act_logistic(V z, const fm_constants *p) { return v_logistic(z); }
FM_INLINE V fm_dact_logistic(V d, V a, const fm_constants *p) { return d * a * (v_set1(1) - a); }

FM_INLINE V fm_act_tanh(V z, const fm_constants *p) { return v_tanh(z); }
FM_INLINE V fm_dact_tanh(V d, V a, const fm_constants *p) { return d * v_fnma(a, a, v_set1(1)); }

/* max(0, NaN) is NaN: a diverging network must show it. */
FM_INLINE V fm_act_relu(V z, const fm_constants *p) { return v_max(v_zero(), z); }
FM_INLINE V fm_dact_relu(V d, V a, const fm_constants *p)
{
    return v_select(v_eq(a, v_zero()), v_zero(), d);
}

FM_INLINE V fm_act_exp(V z, const fm_constants *p) { return v_exp(z); }
FM_INLINE V fm_dact_exp(V d, V a, const fm_constants *p) { return d * a; }

#pragma GCC diagnostic pop

#endif
