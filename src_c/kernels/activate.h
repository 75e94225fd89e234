/* activate.h - the rows of the table of activations, run over arrays. */
#ifndef FM_ACTIVATE_H
#define FM_ACTIVATE_H

#include "kernels/assert.h"
#include "tables/activations.h"

typedef V fm_act_function(V z, const fm_constants *p);
typedef V fm_dact_function(V d, V x, const fm_constants *p);

/* a[0..n) = f(a[0..n)), in place; f is a constant. */
FM_INLINE void fm_activate_by(fm_act_function *f, const fm_choice *choice, T *a, int64_t n)
{
    const fm_constants p = fm_constants_of(choice);
    int64_t i = 0;
    for (; i + FM_LANES <= n; i += FM_LANES)
        v_store(a + i, f(v_load(a + i), &p));
    if (i < n)
        v_store_part(a + i, f(v_load_part(a + i, (int)(n - i)), &p), (int)(n - i));
}

/* d[0..n) *= f', in place; x as for f, which is a constant. n is a multiple of FM_LANES. */
FM_INLINE void fm_activate_backward_by(fm_dact_function *f, const fm_choice *choice, T *d,
                                       const T *x, int64_t n)
{
    FM_ASSERT(n % FM_LANES == 0);
    const fm_constants p = fm_constants_of(choice);
    for (int64_t i = 0; i < n; i += FM_LANES)
        v_store(d + i, f(v_load(d + i), v_load(x + i), &p));
}

/* One loop per row of the table, so that the choice is made once per call and not
 * per vector. Coupled rows are not for these. */
static void fm_activate(const fm_choice *activation, T *a, int64_t n)
{
    switch (activation->row) {
#define FM_COUPLED(...)
#define FM_ACTIVATION(name, ...) \
    case FM_ACT_##name: fm_activate_by(fm_act_##name, activation, a, n); break;
#include "tables/activations.def"
    default: break;
    }
}

static void fm_activate_backward(const fm_choice *activation, T *d, const T *x, int64_t n)
{
    switch (activation->row) {
#define FM_COUPLED(...)
#define FM_ACTIVATION(name, ...) \
    case FM_ACT_##name: fm_activate_backward_by(fm_dact_##name, activation, d, x, n); break;
#include "tables/activations.def"
    default: break;
    }
}

/* d * f' of one vector. */
static V fm_dactivation(const fm_choice *activation, V d, V x)
{
    const fm_constants p = fm_constants_of(activation);
    switch (activation->row) {
#define FM_COUPLED(...)
#define FM_ACTIVATION(name, ...) \
    case FM_ACT_##name: return fm_dact_##name(d, x, &p);
#include "tables/activations.def"
    default: return d;
    }
}

#endif
