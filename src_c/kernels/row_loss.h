/* row_loss.h - outputs -> the loss of each row, and delta, by the table of losses.
 *
 * With the canonical activation delta = a - y; any other goes through the chain
 * rule, delta = dloss * f'(z), for softmax delta = a (g - sum(g a)). What a loss
 * gives as its derivative by ln a or logit a meets that of ln f(z) or logit f(z)
 * where these are stable, and is divided by a or a (1 - a) elsewhere.
 *
 * Everything here works on Z^T, (n_outputs, ld): lanes are samples, so sums over
 * outputs need no sum across lanes and have one order on every ISA.
 */
#ifndef FM_ROW_LOSS_H
#define FM_ROW_LOSS_H

#include "kernels/activate.h"
#include "kernels/layout.h"
#include "tables/losses.h"

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
static void fm_output_activation(const fm_choice *activation, T *Z, int64_t ld, int64_t n,
                                 int64_t r0, int64_t r1)
{
    if (activation->row == FM_ACT_softmax)
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

/* Lists of lanes and not arrays: a load of what was just stored in parts has to wait. */
FM_INLINE fm_row_targets fm_gather_targets(const fm_batch *batch, int64_t n, int64_t r, int c)
{
    fm_row_targets t = {.label = v_zero(), .weight = v_set1(1)};
    int64_t at[FM_LANES], row[FM_LANES];
    FM_EACH(i, FM_LANES) {
        at[i] = r + (i < c ? i : 0);
        row[i] = fm_batch_row(batch, at[i]);
    }
#define FM_LABEL(i, labels) (T)(labels)[row[i]]
#define FM_WEIGHT(i, weights) (T)(weights)[at[i]]
    if (batch->y->labels)
        t.label = (V){FM_EACH_LANE(FM_LABEL, batch->y->labels)};
    else
        FM_EACH(i, FM_LANES)
            t.values[i] = (const T *)batch->y->values + row[i] * n;
    if (batch->row_weights)
        t.weight = (V){FM_EACH_LANE(FM_WEIGHT, batch->row_weights)};
#undef FM_LABEL
#undef FM_WEIGHT
    return t;
}

FM_INLINE V fm_target(const fm_batch *batch, const fm_row_targets *t, int64_t k)
{
#define FM_VALUE(i, k) t->values[i][k]
    if (batch->y->labels)
        return v_select(v_eq(t->label, v_set1((T)k)), v_set1(1), v_zero());
    return (V){FM_EACH_LANE(FM_VALUE, k)};
#undef FM_VALUE
}

/* The value of the loss's first parameter for output k, if each has its own. */
FM_INLINE void fm_take_parameter(fm_constants *p, const fm_pass *pass, int64_t k)
{
    if (pass->loss_parameters)
        p->in_order[0] = pass->loss_parameters[k];
}

/* The sum over n outputs a, ld apart, in double. */
static double fm_sum_in_double(const fm_pass *pass, const T *y, const T *a, int64_t ld, int64_t n)
{
    fm_constants p = fm_constants_of(pass->loss);
    double sum = 0;
    for (int64_t k = 0; k < n; k++) {
        fm_take_parameter(&p, pass, k);
        sum += fm_loss_in_double(pass->loss->row, (double)y[k], (double)a[k * ld], &p);
    }
    return sum;
}

/* Row losses of lanes 0..c: those of T that overflow are summed again in double. */
FM_INLINE void fm_store_losses(const fm_pass *pass, int64_t r, V sum, int c,
                               const fm_row_targets *t, const T *A, int64_t ld, int64_t n,
                               const int mean)
{
    const M fits = v_lt(sum, v_set1((T)INFINITY));
    for (int i = 0; i < c; i++)
        pass->row_loss[r + i] = (double)sum[i];
    if (v_nonzero_lanes(v_select(fits, v_zero(), v_set1(1))) == 0)
        return;
    for (int i = 0; i < c; i++)
        if (!(sum[i] <= FM_LARGEST))
            pass->row_loss[r + i] =
                fm_sum_in_double(pass, t->values[i], A + i, ld, n) / (mean ? (double)n : 1);
}

typedef V fm_loss_function(V y, V a, const fm_constants *p);

/* Outputs whose targets are kept from the loss to delta: to gather them again took 12 %
 * of a step of 20-10-10. */
enum { FM_KEPT = 16 };

/* What a row of the table says, and its code. */
typedef struct {
    fm_loss_function *f, *df;
    fm_target_kind targets;
    fm_loss_by by;
    int mean;
} fm_loss_code;

/* dloss by a where no output activation is known to be stable. */
FM_INLINE V fm_by_output(const fm_loss_by by, V d, V a)
{
    if (by == FM_BY_LOG)
        return d / fm_positive(a);
    if (by == FM_BY_LOGIT)
        return d / (fm_clip(a) * (v_set1(1) - fm_clip(a)));
    return d;
}

/* a times dloss by a, or dloss by ln a. */
FM_INLINE V fm_times_output(const fm_loss_by by, V d, V a)
{
    if (by == FM_BY_LOG)
        return d;
    return fm_by_output(by, d, a) * a;
}

/* dloss, by what the table says, to dloss / dz. Not for softmax. */
FM_INLINE V fm_by_preactivation(const fm_loss_by by, const fm_choice *activation, V d, V a)
{
    if (by == FM_BY_LOG)
        switch (activation->row) {
        case FM_ACT_exp: return fm_dlog_exp(d, a);
        case FM_ACT_softplus: return fm_dlog_softplus(d, a);
        case FM_ACT_logistic: return fm_dlog_logistic(d, a);
        default: break;
        }
    if (by == FM_BY_LOGIT && activation->row == FM_ACT_logistic)
        return d;
    return fm_dactivation(activation, fm_by_output(by, d, a), a);
}

/* dloss to delta, before the weights. mixed: of softmax, the sum of a times dloss by a. */
static V fm_chain(const fm_loss_code *code, const fm_choice *activation, V d, V a, V mixed)
{
    if (activation->row == FM_ACT_softmax)
        return fm_times_output(code->by, d, a) - a * mixed;
    return fm_by_preactivation(code->by, activation, d, a);
}

/* The outputs of an output layer, in FM_OUTPUT, -> delta in place, for columns r0..r1;
 * row_loss[r]. With a canonical activation the code is a constant. Losses of classes cannot
 * overflow, so that they and delta take one loop. */
FM_INLINE void fm_rows_loss_by(const fm_loss_code code, const int is_canonical, const fm_value *v,
                               const fm_pass *pass, int64_t r0, int64_t r1)
{
    const fm_batch *batch = pass->batch;
    fm_constants p = fm_constants_of(pass->loss);
    const int of_numbers = code.targets != FM_TARGETS_CLASS && code.targets != FM_TARGETS_BINARY;
    const int by_label = !of_numbers && batch->y->labels != NULL; /* one log for all outputs */
    const int mixes = !is_canonical && v->activation.row == FM_ACT_softmax;
    const int at_once = !of_numbers && is_canonical;
    const int64_t n = v->width, ld = fm_ld(v->max_rows);
    for (int64_t r = r0; r < r1; r += FM_LANES) {
        T *A = (T *)v->part[FM_OUTPUT] + r;
        const int c = r1 - r < FM_LANES ? (int)(r1 - r) : FM_LANES;
        const fm_row_targets t = fm_gather_targets(batch, n, r, c);
        V sum = v_zero(), of_label = v_zero(), mixed = v_zero(), kept[FM_KEPT];
        for (int64_t k = 0; k < n; k++) {
            V a = v_load_part(A + k * ld, c), y = fm_target(batch, &t, k);
            fm_take_parameter(&p, pass, k);
            if (by_label)
                of_label += y * a;
            else
                sum += code.f(y, a, &p);
            if (mixes)
                mixed += fm_times_output(code.by, code.df(y, a, &p), a);
            if (at_once)
                v_store_part(A + k * ld, (a - y) * t.weight, c);
            else if (k < FM_KEPT)
                kept[k] = y;
        }
        if (by_label)
            sum = code.f(v_set1(1), of_label, &p);
        if (code.mean)
            sum = sum / v_set1((T)n);
        if (of_numbers)
            fm_store_losses(pass, r, sum, c, &t, A, ld, n, code.mean);
        else
            for (int i = 0; i < c; i++)
                pass->row_loss[r + i] = (double)sum[i];
        for (int64_t k = 0; k < n && !at_once; k++) {
            const V a = v_load_part(A + k * ld, c);
            const V y = k < FM_KEPT ? kept[k] : fm_target(batch, &t, k);
            fm_take_parameter(&p, pass, k);
            V d = a - y;
            if (!is_canonical)
                d = fm_chain(&code, &v->activation, code.df(y, a, &p), a, mixed);
            v_store_part(A + k * ld, d * t.weight, c);
        }
    }
}

static const fm_loss_code fm_losses[] = {
#define FM_LOSS(name, class_name, targets, output, canonical, by, mean, ...) \
    [FM_LOSS_##name] = {fm_loss_##name, fm_dloss_##name, targets, by, mean},
#include "tables/losses.def"
};

/* Of any loss and activation, with calls per vector: a loop for each loss, everything
 * inlined, would be 70 KB of code. */
__attribute__((noinline)) static void fm_rows_loss_chained(const fm_value *v, const fm_pass *pass,
                                                           int64_t r0, int64_t r1)
{
    fm_rows_loss_by(fm_losses[pass->loss->row], 0, v, pass, r0, r1);
}

static void fm_rows_loss(const fm_value *v, const fm_pass *pass, int64_t r0, int64_t r1)
{
    switch (pass->loss->row) {
#define FM_LOSS(name, class_name, targets, output, canonical, by, mean, ...)                \
    case FM_LOSS_##name:                                                                    \
        if (FM_ACT_##canonical != FM_ACT_none && v->activation.row == FM_ACT_##canonical) { \
            const fm_loss_code code = {fm_loss_##name, fm_dloss_##name, targets, by, mean}; \
            fm_rows_loss_by(code, 1, v, pass, r0, r1);                                      \
            return;                                                                         \
        }                                                                                   \
        break;
#include "tables/losses.def"
    default: break;
    }
    fm_rows_loss_chained(v, pass, r0, r1);
}

#endif
