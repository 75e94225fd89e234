/* optimizers.h - the code of the rows of optimizers.def, on vectors.
 *
 *     fm_update_<name>(w, g, slot, s, p)   the new weights
 *
 * g is the gradient of the mini-batch's mean loss, L2 term included; slot[0], ... is
 * the state, advanced in place; s holds the scalars of the step (fm_pace), p the values
 * of the row's parameters.
 *
 * What is infinite or NaN in g is so in the new weights: a fit that diverges ends alike
 * on every path (DESIGN.md, D13).
 */
#ifndef FM_OPTIMIZERS_H
#define FM_OPTIMIZERS_H

#include <float.h>

#include "simd/vmath.h"
#include "tables/tables.h"

typedef struct {
    V rate, second_rate, epsilon, keep;
} fm_scalars;

/* A smaller epsilon would be flushed to zero: 0 / 0 where there is no gradient. */
FM_INLINE V fm_epsilon(double epsilon)
{
    const double smallest = FM_F64 ? DBL_MIN : FLT_MIN;
    return v_const(epsilon > smallest ? epsilon : smallest);
}

FM_INLINE fm_scalars fm_scalars_of(const fm_pace *pace, int decay)
{
    return (fm_scalars){.rate = v_const(pace->rate),
                        .second_rate = v_const(pace->second_rate),
                        .epsilon = fm_epsilon(pace->epsilon),
                        .keep = v_const(decay ? pace->keep : 1)};
}

/* A running average of x. */
FM_INLINE V fm_average(double decay, V average, V x)
{
    return v_fma(v_const(decay), average, v_const(1 - decay) * x);
}

FM_INLINE V fm_update_sgd(V w, V g, V *slot, const fm_scalars *s, const fm_constants *p)
{
    const V momentum = v_const(p->sgd.momentum);
    const V step = s->rate * g, velocity = momentum * slot[0] - step;
    slot[0] = velocity;
    return p->sgd.nesterov != 0 ? w + (momentum * velocity - step) : w + velocity;
}

FM_INLINE V fm_update_adam(V w, V g, V *slot, const fm_scalars *s, const fm_constants *p)
{
    slot[0] = fm_average(p->adam.beta_1, slot[0], g);
    slot[1] = fm_average(p->adam.beta_2, slot[1], g * g);
    return w - s->rate * slot[0] / (v_sqrt(slot[1]) + s->epsilon);
}

FM_INLINE V fm_update_adamw(V w, V g, V *slot, const fm_scalars *s, const fm_constants *p)
{
    slot[0] = fm_average(p->adamw.beta_1, slot[0], g);
    slot[1] = fm_average(p->adamw.beta_2, slot[1], g * g);
    return w * s->keep - s->rate * slot[0] / (v_sqrt(slot[1]) + s->epsilon);
}

FM_INLINE V fm_update_nadam(V w, V g, V *slot, const fm_scalars *s, const fm_constants *p)
{
    slot[0] = fm_average(p->nadam.beta_1, slot[0], g);
    slot[1] = fm_average(p->nadam.beta_2, slot[1], g * g);
    const V ahead = v_fma(s->rate, slot[0], s->second_rate * g);
    return w * s->keep - ahead / (v_sqrt(slot[1]) + s->epsilon);
}

FM_INLINE V fm_update_radam(V w, V g, V *slot, const fm_scalars *s, const fm_constants *p)
{
    slot[0] = fm_average(p->radam.beta_1, slot[0], g);
    slot[1] = fm_average(p->radam.beta_2, slot[1], g * g);
    const V rate = s->second_rate + s->rate / (v_sqrt(slot[1]) + s->epsilon);
    return w * s->keep - rate * slot[0];
}

FM_INLINE V fm_update_amsgrad(V w, V g, V *slot, const fm_scalars *s, const fm_constants *p)
{
    slot[0] = fm_average(p->amsgrad.beta_1, slot[0], g);
    slot[1] = fm_average(p->amsgrad.beta_2, slot[1], g * g);
    slot[2] = v_max(slot[2], slot[1]);
    return w * s->keep - s->rate * slot[0] / (v_sqrt(slot[2]) + s->epsilon);
}

FM_INLINE V fm_update_rmsprop(V w, V g, V *slot, const fm_scalars *s, const fm_constants *p)
{
    slot[0] = fm_average(p->rmsprop.rho, slot[0], g * g);
    const V step = g / (v_sqrt(slot[0]) + fm_epsilon(p->rmsprop.epsilon));
    slot[1] = v_fma(v_const(p->rmsprop.momentum), slot[1], step);
    return w - s->rate * slot[1];
}

FM_INLINE V fm_update_adagrad(V w, V g, V *slot, const fm_scalars *s, const fm_constants *p)
{
    slot[0] = v_fma(g, g, slot[0]);
    return w - s->rate * g / (v_sqrt(slot[0]) + fm_epsilon(p->adagrad.epsilon));
}

FM_INLINE V fm_update_adadelta(V w, V g, V *slot, const fm_scalars *s, const fm_constants *p)
{
    const V epsilon = fm_epsilon(p->adadelta.epsilon);
    slot[0] = fm_average(p->adadelta.rho, slot[0], g * g);
    const V step = v_sqrt(slot[1] + epsilon) / v_sqrt(slot[0] + epsilon) * g;
    slot[1] = fm_average(p->adadelta.rho, slot[1], step * step);
    return w - s->rate * step;
}

/* -1, 0 or 1; NaN for what is not finite. */
FM_INLINE V fm_sign(V x)
{
    const V sign = v_select(v_eq(x, v_zero()), v_zero(), v_sign_of(v_const(1), x));
    return sign + x * v_zero();
}

FM_INLINE V fm_update_lion(V w, V g, V *slot, const fm_scalars *s, const fm_constants *p)
{
    const V direction = fm_sign(fm_average(p->lion.beta_1, slot[0], g));
    slot[0] = fm_average(p->lion.beta_2, slot[0], g);
    return w * s->keep - s->rate * direction;
}

#endif
