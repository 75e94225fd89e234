/* activate.h - the rows of the table of activations, run over arrays. */
#ifndef FM_ACTIVATE_H
#define FM_ACTIVATE_H

#include "kernels/assert.h"
#include "tables/activations.h"

typedef V fm_act_function(V z, V *slope, const fm_constants *p);
typedef V fm_dact_function(V d, V x, const fm_constants *p);

/* a[0..n) = f(a[0..n)), in place; f is a constant. n is a multiple of FM_LANES. */
FM_INLINE void fm_activate_by(fm_act_function *f, const fm_choice *choice, T *a, int64_t n)
{
    FM_ASSERT(n % FM_LANES == 0);
    const fm_constants p = fm_constants_of(choice);
    for (int64_t i = 0; i < n; i += FM_LANES) {
        V slope;
        v_store(a + i, f(v_load(a + i), &slope, &p));
    }
}

/* The same, and slopes[0..n) = f'. n is a multiple of FM_LANES. */
FM_INLINE void fm_activate_with_slopes_by(fm_act_function *f, const fm_choice *choice, T *a,
                                          T *slopes, int64_t n)
{
    FM_ASSERT(n % FM_LANES == 0);
    const fm_constants p = fm_constants_of(choice);
    for (int64_t i = 0; i < n; i += FM_LANES) {
        V slope;
        v_store(a + i, f(v_load(a + i), &slope, &p));
        v_store(slopes + i, slope);
    }
}

/* d[0..n) *= f', in place, f' from x by df, which is a constant. n is a multiple of FM_LANES. */
FM_INLINE void fm_activate_backward_by(fm_dact_function *df, const fm_choice *choice, T *d,
                                       const T *x, int64_t n)
{
    FM_ASSERT(n % FM_LANES == 0);
    const fm_constants p = fm_constants_of(choice);
    for (int64_t i = 0; i < n; i += FM_LANES)
        v_store(d + i, df(v_load(d + i), v_load(x + i), &p));
}

FM_INLINE V fm_times_slope(V d, V slope, const fm_constants *p)
{
    (void)p;
    return d * slope;
}

/* By what the derivative of a row is computed from. */
#define FM_DACT_FM_FROM_OUTPUT(name) fm_dact_##name
#define FM_DACT_FM_FROM_PREACTIVATION(name) fm_times_slope

/* One loop per row of the table, so that the choice is made once per call and not
 * per vector. Coupled rows are not for these. */
static void fm_activate_vectors(const fm_choice *activation, T *a, int64_t n)
{
    switch (activation->row) {
#define FM_COUPLED(...)
#define FM_ACTIVATION(name, ...) \
    case FM_ACT_##name: fm_activate_by(fm_act_##name, activation, a, n); break;
#include "tables/activations.def"
    default: break;
    }
}

/* The same for any n. */
static void fm_activate(const fm_choice *activation, T *a, int64_t n)
{
    const int left = (int)(n % FM_LANES);
    fm_activate_vectors(activation, a, n - left);
    if (left > 0) {
        T part[FM_LANES];
        v_store(part, v_load_part(a + n - left, left));
        fm_activate_vectors(activation, part, FM_LANES);
        v_store_part(a + n - left, v_load(part), left);
    }
}

/* For rows whose derivative the output does not determine. */
static void fm_activate_with_slopes(const fm_choice *activation, T *a, T *slopes, int64_t n)
{
    switch (activation->row) {
#define FM_COUPLED(...)
#define FM_ACTIVATION(name, class_name, where, derivative, ...)                  \
    case FM_ACT_##name:                                                          \
        if (derivative == FM_FROM_PREACTIVATION)                                 \
            fm_activate_with_slopes_by(fm_act_##name, activation, a, slopes, n); \
        break;
#include "tables/activations.def"
    default: break;
    }
}

/* x: the slopes, where there are some, else the outputs. */
static void fm_activate_backward(const fm_choice *activation, T *d, const T *x, int64_t n)
{
    switch (activation->row) {
#define FM_COUPLED(...)
#define FM_ACTIVATION(name, class_name, where, derivative, ...)                   \
    case FM_ACT_##name:                                                           \
        fm_activate_backward_by(FM_DACT_##derivative(name), activation, d, x, n); \
        break;
#include "tables/activations.def"
    default: break;
    }
}

/* d * f' of one vector of outputs. */
static V fm_dactivation(const fm_choice *activation, V d, V a)
{
    const fm_constants p = fm_constants_of(activation);
    switch (activation->row) {
#define FM_COUPLED(...)
#define FM_ACTIVATION(name, class_name, where, derivative, ...) \
    case FM_ACT_##name: return FM_DACT_##derivative(name)(d, a, &p);
#include "tables/activations.def"
    default: return d;
    }
}

#endif
