/* optimizers.h - the code of the rows of optimizers.def, on vectors.
 *
 *     fm_update_<name>(w, g, slot, rate, p)   the new weights
 *
 * g is the gradient of the mini-batch's mean loss, L2 term included; slot[0], ... is
 * the state, advanced in place; rate is the step's (fm_step_rate); p holds the values
 * of the row's parameters.
 */
#ifndef FM_OPTIMIZERS_H
#define FM_OPTIMIZERS_H

#include <float.h>

#include "simd/vmath.h"
#include "tables/tables.h"

FM_INLINE V fm_update_sgd(V w, V g, V *slot, V rate, const fm_constants *p)
{
    const V momentum = v_const(p->sgd.momentum);
    const V step = rate * g, velocity = momentum * slot[0] - step;
    slot[0] = velocity;
    return p->sgd.nesterov != 0 ? w + (momentum * velocity - step) : w + velocity;
}

/* A smaller epsilon would be flushed to zero: 0 / 0 where there is no gradient. */
FM_INLINE double fm_epsilon(double epsilon)
{
    const double smallest = FM_F64 ? DBL_MIN : FLT_MIN;
    return epsilon > smallest ? epsilon : smallest;
}

FM_INLINE V fm_update_adam(V w, V g, V *slot, V rate, const fm_constants *p)
{
    const V beta_1 = v_const(p->adam.beta_1), beta_2 = v_const(p->adam.beta_2);
    const V m = v_fma(beta_1, slot[0], v_const(1 - p->adam.beta_1) * g);
    const V v = v_fma(beta_2, slot[1], v_const(1 - p->adam.beta_2) * (g * g));
    slot[0] = m;
    slot[1] = v;
    return w - rate * m / (v_sqrt(v) + v_const(fm_epsilon(p->adam.epsilon)));
}

#endif
