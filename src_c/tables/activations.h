/* activations.h - the table of activation functions and their code.
 *
 * A row is (name, where, output_of_z): where it may stand (FM_FOR_HIDDEN,
 * FM_FOR_OUTPUT). Its functions work on vectors:
 *     fm_act_<name>(z)       a = f(z)
 *     fm_dact_<name>(d, a)   d * f'(z), the derivative written through a = f(z)
 * softmax couples the outputs of a sample and is therefore code in losses.h,
 * not an elementwise row; its table entry only names it.
 *
 * Sources: the derivatives are those of Rumelhart, Hinton, Williams (1986),
 * "Learning representations by back-propagating errors", Nature 323; relu:
 * Nair, Hinton (2010), "Rectified linear units improve restricted Boltzmann
 * machines", ICML.
 */
#ifndef FM_ACTIVATIONS_H
#define FM_ACTIVATIONS_H

#include "fastmlp.h"

#define FM_ELEMENTWISE_ACTIVATIONS(X)          \
    X(identity, FM_FOR_HIDDEN | FM_FOR_OUTPUT) \
    X(logistic, FM_FOR_HIDDEN | FM_FOR_OUTPUT) \
    X(tanh, FM_FOR_HIDDEN | FM_FOR_OUTPUT)     \
    X(relu, FM_FOR_HIDDEN | FM_FOR_OUTPUT)     \
    X(exp, FM_FOR_OUTPUT)

#define FM_ACTIVATIONS(X)         \
    FM_ELEMENTWISE_ACTIVATIONS(X) \
    X(softmax, FM_FOR_OUTPUT)

enum {
#define FM_ROW(name, where) FM_ACT_##name,
    FM_ACTIVATIONS(FM_ROW)
#undef FM_ROW
        FM_N_ACTIVATIONS
};

#ifdef FM_LANES /* inside a kernel set */

#include "simd/vmath.h"

FM_INLINE V fm_act_identity(V z) { return z; }
FM_INLINE V fm_dact_identity(V d, V a)
{
    (void)a;
    return d;
}

FM_INLINE V fm_act_logistic(V z) { return v_logistic(z); }
FM_INLINE V fm_dact_logistic(V d, V a) { return d * a * (v_set1(1) - a); }

FM_INLINE V fm_act_tanh(V z) { return v_tanh(z); }
FM_INLINE V fm_dact_tanh(V d, V a) { return d * v_fnma(a, a, v_set1(1)); }

/* max(0, NaN) is NaN: a diverging network must show it. */
FM_INLINE V fm_act_relu(V z) { return v_max(v_zero(), z); }
FM_INLINE V fm_dact_relu(V d, V a) { return v_select(v_eq(a, v_zero()), v_zero(), d); }

FM_INLINE V fm_act_exp(V z) { return v_exp(z); }
FM_INLINE V fm_dact_exp(V d, V a) { return d * a; }

/* a[0..n) = f(a[0..n)), in place. One loop per row of the table, so that the
 * choice is made once per call and not per vector. */
static void fm_activate(int activation, T *a, int64_t n)
{
    int64_t i = 0;
    switch (activation) {
#define FM_ROW(name, where)                                                                     \
    case FM_ACT_##name:                                                                         \
        for (; i + FM_LANES <= n; i += FM_LANES)                                                \
            v_store(a + i, fm_act_##name(v_load(a + i)));                                       \
        if (i < n)                                                                              \
            v_store_part(a + i, fm_act_##name(v_load_part(a + i, (int)(n - i))), (int)(n - i)); \
        break;
        FM_ELEMENTWISE_ACTIVATIONS(FM_ROW)
#undef FM_ROW
    default: break;
    }
}

/* d[0..n) *= f'(a[0..n)), in place. n is a multiple of FM_LANES. */
static void fm_activate_backward(int activation, T *d, const T *a, int64_t n)
{
    switch (activation) {
#define FM_ROW(name, where)                                               \
    case FM_ACT_##name:                                                   \
        for (int64_t i = 0; i < n; i += FM_LANES)                         \
            v_store(d + i, fm_dact_##name(v_load(d + i), v_load(a + i))); \
        break;
        FM_ELEMENTWISE_ACTIVATIONS(FM_ROW)
#undef FM_ROW
    default: break;
    }
}

#endif
#endif
