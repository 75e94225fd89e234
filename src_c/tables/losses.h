/* losses.h - the table of losses: raw outputs Z -> loss of each row, and delta.
 *
 * A row is (name, canonical output activation, mean over outputs). Its
 * functions take vectors of samples, one output at a time:
 *     fm_loss_<name>(y, a)    the loss of target y and output a = f(z)
 *     fm_dloss_<name>(y, a)   its derivative by a
 * With the canonical activation delta = a - y; any other goes through the chain
 * rule, delta = dloss * f'(z), for softmax delta = a (g - sum(g a)).
 * A row's loss is the sum over outputs, or their mean where the table says so;
 * delta always belongs to the sum (as in scikit-learn, whose convention this is).
 *
 * Everything here works on Z^T, (n_outputs, ld): lanes are samples, so sums over
 * outputs need no sum across lanes and have one order on every ISA.
 *
 * Sources: cross-entropy with its canonical link, and delta: Bishop (2006),
 * "Pattern Recognition and Machine Learning", sections 4.3.6 and 5.3; Poisson
 * deviance: McCullagh, Nelder (1989), "Generalized Linear Models", section 2.3.
 */
#ifndef FM_LOSSES_H
#define FM_LOSSES_H

#include "tables/activations.h"

#define FM_LOSSES(X)                     \
    X(squared_error, FM_ACT_identity, 1) \
    X(poisson, FM_ACT_exp, 0)            \
    X(log_loss, FM_ACT_softmax, 0)       \
    X(binary_log_loss, FM_ACT_logistic, 0)

enum {
#define FM_ROW(name, canonical, mean) FM_LOSS_##name,
    FM_LOSSES(FM_ROW)
#undef FM_ROW
        FM_N_LOSSES
};

#ifdef FM_LANES /* inside a kernel set */

#include <float.h>

#if FM_F64
#define FM_EPSILON DBL_EPSILON
#else
#define FM_EPSILON FLT_EPSILON
#endif

/* Probabilities enter a logarithm clipped to [eps, 1 - eps]. NaN stays NaN. */
FM_INLINE V fm_clip(V p) { return v_min(v_set1(1 - FM_EPSILON), v_max(v_set1(FM_EPSILON), p)); }

FM_INLINE V fm_loss_squared_error(V y, V a)
{
    V e = y - a;
    return v_set1((T)0.5) * e * e;
}
FM_INLINE V fm_dloss_squared_error(V y, V a) { return a - y; }

/* Half the deviance; y log(y / a) is 0 where y is 0. */
FM_INLINE V fm_loss_poisson(V y, V a)
{
    return v_select(v_eq(y, v_zero()), v_zero(), y * v_log(y / a)) - y + a;
}
FM_INLINE V fm_dloss_poisson(V y, V a) { return v_set1(1) - y / a; }

FM_INLINE V fm_loss_log_loss(V y, V a) { return v_neg(y * v_log(fm_clip(a))); }
FM_INLINE V fm_dloss_log_loss(V y, V a) { return v_neg(y / fm_clip(a)); }

FM_INLINE V fm_loss_binary_log_loss(V y, V a)
{
    V p = fm_clip(a), one = v_set1(1);
    return v_neg(y * v_log(p) + (one - y) * v_log(one - p));
}
FM_INLINE V fm_dloss_binary_log_loss(V y, V a)
{
    V p = fm_clip(a);
    return (p - y) / (p * (v_set1(1) - p));
}

/* Z (n, ld) -> softmax over n for columns r0..r1, in place. */
static void fm_softmax(T *Z, int64_t ld, int64_t n, int64_t r0, int64_t r1)
{
    for (int64_t r = r0; r < r1; r += FM_LANES) {
        int c = r1 - r < FM_LANES ? (int)(r1 - r) : FM_LANES;
        V top = v_load_part(Z + r, c), sum = v_zero();
        for (int64_t k = 1; k < n; k++)
            top = v_max(top, v_load_part(Z + k * ld + r, c));
        for (int64_t k = 0; k < n; k++) {
            V e = v_exp(v_load_part(Z + k * ld + r, c) - top);
            sum += e;
            v_store_part(Z + k * ld + r, e, c);
        }
        for (int64_t k = 0; k < n; k++)
            v_store_part(Z + k * ld + r, v_load_part(Z + k * ld + r, c) / sum, c);
    }
}

/* Z (n, ld) -> f(Z) for columns r0..r1, in place. */
static void fm_output_activation(int activation, T *Z, int64_t ld, int64_t n, int64_t r0,
                                 int64_t r1)
{
    if (activation == FM_ACT_softmax)
        fm_softmax(Z, ld, n, r0, r1);
    else
        for (int64_t k = 0; k < n; k++)
            fm_activate(activation, Z + k * ld + r0, r1 - r0);
}

/* Where the targets and weights of up to FM_LANES rows come from. Lanes past the
 * last row repeat the first. */
typedef struct {
    const T *values[FM_LANES]; /* (n_outputs,) of each row, or unset */
    V label;                   /* class index of each row */
    V weight;
} fm_row_targets;

FM_INLINE fm_row_targets fm_gather_targets(const fm_batch *batch, int64_t n, int64_t r, int c)
{
    fm_row_targets t;
    T label[FM_LANES] = {0}, weight[FM_LANES];
    for (int i = 0; i < FM_LANES; i++) {
        const int64_t row = fm_batch_row(batch, r + (i < c ? i : 0));
        if (batch->y->labels)
            label[i] = (T)batch->y->labels[row];
        else
            t.values[i] = (const T *)batch->y->values + row * n;
        weight[i] = batch->row_weights ? (T)batch->row_weights[r + (i < c ? i : 0)] : 1;
    }
    t.label = v_load(label);
    t.weight = v_load(weight);
    return t;
}

FM_INLINE V fm_target(const fm_batch *batch, const fm_row_targets *t, int64_t k)
{
    if (batch->y->labels)
        return v_select(v_eq(t->label, v_set1((T)k)), v_set1(1), v_zero());
    T y[FM_LANES];
    for (int i = 0; i < FM_LANES; i++)
        y[i] = t->values[i][k];
    return v_load(y);
}

/* Outputs A (n, ld) -> delta in place, for columns r0..r1; row_loss[r]. */
#define FM_ROW(name, canonical, mean)                                                         \
    static void fm_rows_##name(T *A, int64_t ld, int64_t n, double *row_loss, int activation, \
                               const fm_batch *batch, int64_t r0, int64_t r1)                 \
    {                                                                                         \
        const int by_label = batch->y->labels != NULL; /* then one log serves all outputs */  \
        for (int64_t r = r0; r < r1; r += FM_LANES) {                                         \
            int c = r1 - r < FM_LANES ? (int)(r1 - r) : FM_LANES;                             \
            fm_row_targets t = fm_gather_targets(batch, n, r, c);                             \
            V loss = v_zero(), of_label = v_zero(), mixed = v_zero();                         \
            for (int64_t k = 0; k < n; k++) {                                                 \
                V a = v_load_part(A + k * ld + r, c), y = fm_target(batch, &t, k), d;         \
                if (by_label)                                                                 \
                    of_label += y * a;                                                        \
                else                                                                          \
                    loss += fm_loss_##name(y, a);                                             \
                if (activation == canonical) {                                                \
                    d = (a - y) * t.weight;                                                   \
                } else if (activation == FM_ACT_softmax) {                                    \
                    mixed += fm_dloss_##name(y, a) * a;                                       \
                    continue;                                                                 \
                } else {                                                                      \
                    d = fm_dactivation(activation, fm_dloss_##name(y, a), a) * t.weight;      \
                }                                                                             \
                v_store_part(A + k * ld + r, d, c);                                           \
            }                                                                                 \
            if (activation != canonical && activation == FM_ACT_softmax)                      \
                for (int64_t k = 0; k < n; k++) {                                             \
                    V a = v_load_part(A + k * ld + r, c), y = fm_target(batch, &t, k);        \
                    V d = a * (fm_dloss_##name(y, a) - mixed) * t.weight;                     \
                    v_store_part(A + k * ld + r, d, c);                                       \
                }                                                                             \
            if (by_label)                                                                     \
                loss = fm_loss_##name(v_set1(1), of_label);                                   \
            if (mean)                                                                         \
                loss = loss / v_set1((T)n);                                                   \
            for (int i = 0; i < c; i++)                                                       \
                row_loss[r + i] = (double)loss[i];                                            \
        }                                                                                     \
    }

static V fm_dactivation(int activation, V d, V a)
{
    switch (activation) {
#define FM_CASE(name, where) \
    case FM_ACT_##name: return fm_dact_##name(d, a);
        FM_ELEMENTWISE_ACTIVATIONS(FM_CASE)
#undef FM_CASE
    default: return d;
    }
}

FM_LOSSES(FM_ROW)
#undef FM_ROW

static void fm_rows_loss(int loss, T *A, int64_t ld, int64_t n, double *row_loss, int activation,
                         const fm_batch *batch, int64_t r0, int64_t r1)
{
    switch (loss) {
#define FM_ROW(name, canonical, mean) \
    case FM_LOSS_##name: fm_rows_##name(A, ld, n, row_loss, activation, batch, r0, r1); break;
        FM_LOSSES(FM_ROW)
#undef FM_ROW
    default: break;
    }
}

#endif
#endif
