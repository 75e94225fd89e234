/* row_loss.h - outputs -> the loss of each row, and delta, by the table of losses.
 *
 * With the canonical activation delta = a - y; any other goes through the chain
 * rule, delta = dloss * f'(z), for softmax delta = a (g - sum(g a)).
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

/* The sum over n outputs a, ld apart, in double. */
static double fm_sum_in_double(const fm_choice *loss, const T *y, const T *a, int64_t ld, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += fm_loss_in_double(loss, (double)y[k], (double)a[k * ld]);
    return sum;
}

/* Row losses of lanes 0..c: those of T that overflow are summed again in double. */
FM_INLINE void fm_store_losses(double *row_loss, V sum, int c, const fm_choice *loss,
                               const fm_row_targets *t, const T *A, int64_t ld, int64_t n,
                               const int mean)
{
    const M overflows = v_lt(v_set1(FM_LARGEST), sum);
    for (int i = 0; i < c; i++)
        row_loss[i] = (double)sum[i];
    if (v_nonzero_lanes(v_select(overflows, v_set1(1), v_zero())) == 0)
        return;
    for (int i = 0; i < c; i++)
        if (sum[i] > FM_LARGEST)
            row_loss[i] =
                fm_sum_in_double(loss, t->values[i], A + i, ld, n) / (mean ? (double)n : 1);
}

typedef V fm_loss_function(V y, V a, const fm_constants *p);

/* Outputs whose targets are kept from the loss to delta: to gather them again took 12 %
 * of a step of 20-10-10. */
enum { FM_KEPT = 16 };

/* The outputs of an output layer, in FM_OUTPUT, -> delta in place, for columns r0..r1;
 * row_loss[r]. f, df and what the table says are constants. Losses of classes cannot
 * overflow, so that they and delta take one loop. */
FM_INLINE void fm_rows_loss_by(fm_loss_function *f, fm_loss_function *df,
                               const fm_target_kind targets, const int canonical, const int mean,
                               const fm_value *v, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const fm_batch *batch = pass->batch;
    const fm_constants p = fm_constants_of(pass->loss);
    const int activation = v->activation.row;
    const int of_numbers = targets != FM_TARGETS_CLASS && targets != FM_TARGETS_BINARY;
    const int by_label = !of_numbers && batch->y->labels != NULL; /* one log for all outputs */
    const int mixes = activation != canonical && activation == FM_ACT_softmax;
    const int at_once = !of_numbers && activation == canonical;
    const int64_t n = v->width, ld = fm_ld(v->max_rows);
    for (int64_t r = r0; r < r1; r += FM_LANES) {
        T *A = (T *)v->part[FM_OUTPUT] + r;
        const int c = r1 - r < FM_LANES ? (int)(r1 - r) : FM_LANES;
        const fm_row_targets t = fm_gather_targets(batch, n, r, c);
        V sum = v_zero(), of_label = v_zero(), mixed = v_zero(), kept[FM_KEPT];
        for (int64_t k = 0; k < n; k++) {
            V a = v_load_part(A + k * ld, c), y = fm_target(batch, &t, k);
            if (by_label)
                of_label += y * a;
            else
                sum += f(y, a, &p);
            if (mixes)
                mixed += df(y, a, &p) * a;
            if (at_once)
                v_store_part(A + k * ld, (a - y) * t.weight, c);
            else if (k < FM_KEPT)
                kept[k] = y;
        }
        if (by_label)
            sum = f(v_set1(1), of_label, &p);
        if (mean)
            sum = sum / v_set1((T)n);
        if (of_numbers)
            fm_store_losses(pass->row_loss + r, sum, c, pass->loss, &t, A, ld, n, mean);
        else
            for (int i = 0; i < c; i++)
                pass->row_loss[r + i] = (double)sum[i];
        for (int64_t k = 0; k < n && !at_once; k++) {
            V a = v_load_part(A + k * ld, c), d;
            V y = k < FM_KEPT ? kept[k] : fm_target(batch, &t, k);
            if (activation == canonical)
                d = (a - y) * t.weight;
            else if (mixes)
                d = a * (df(y, a, &p) - mixed) * t.weight;
            else
                d = fm_dactivation(&v->activation, df(y, a, &p), a) * t.weight;
            v_store_part(A + k * ld, d, c);
        }
    }
}

static void fm_rows_loss(const fm_value *v, const fm_pass *pass, int64_t r0, int64_t r1)
{
    switch (pass->loss->row) {
#define FM_LOSS(name, class_name, targets, output, canonical, mean, ...)                       \
    case FM_LOSS_##name:                                                                       \
        fm_rows_loss_by(fm_loss_##name, fm_dloss_##name, targets, FM_ACT_##canonical, mean, v, \
                        pass, r0, r1);                                                         \
        break;
#include "tables/losses.def"
    default: break;
    }
}

#endif
