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

/* The sum over n outputs a, ld apart, in double. */
static double fm_sum_in_double(const fm_choice *loss, const T *y, const T *a, int64_t ld, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += fm_loss_in_double(loss, (double)y[k], (double)a[k * ld]);
    return sum;
}

typedef V fm_loss_function(V y, V a, const fm_constants *p);

/* The outputs of an output layer, in FM_OUTPUT, -> delta in place, for columns r0..r1;
 * row_loss[r]. f, df, canonical and mean are constants: a row of the table. */
FM_INLINE void fm_rows_loss_by(fm_loss_function *f, fm_loss_function *df, const int canonical,
                               const int mean, const fm_value *v, const fm_pass *pass, int64_t r0,
                               int64_t r1)
{
    const fm_batch *batch = pass->batch;
    const fm_constants p = fm_constants_of(pass->loss);
    const int activation = v->activation.row;
    const int by_label = batch->y->labels != NULL; /* then one log serves all outputs */
    const int mixes = activation != canonical && activation == FM_ACT_softmax;
    const int64_t n = v->width, ld = fm_ld(v->max_rows);
    for (int64_t r = r0; r < r1; r += FM_LANES) {
        T *A = (T *)v->part[FM_OUTPUT] + r;
        const T *of = v->part[FM_Z] ? (const T *)v->part[FM_Z] + r : A; /* f' is computed from */
        const int c = r1 - r < FM_LANES ? (int)(r1 - r) : FM_LANES;
        const fm_row_targets t = fm_gather_targets(batch, n, r, c);
        V sum = v_zero(), of_label = v_zero(), mixed = v_zero();
        for (int64_t k = 0; k < n; k++) {
            V a = v_load_part(A + k * ld, c), y = fm_target(batch, &t, k);
            if (by_label)
                of_label += y * a;
            else
                sum += f(y, a, &p);
            if (mixes)
                mixed += df(y, a, &p) * a;
        }
        if (by_label)
            sum = f(v_set1(1), of_label, &p);
        if (mean)
            sum = sum / v_set1((T)n);
        for (int i = 0; i < c; i++) {
            pass->row_loss[r + i] = (double)sum[i];
            if (sum[i] > FM_LARGEST && !by_label)
                pass->row_loss[r + i] = fm_sum_in_double(pass->loss, t.values[i], A + i, ld, n) /
                                        (mean ? (double)n : 1);
        }
        for (int64_t k = 0; k < n; k++) {
            V a = v_load_part(A + k * ld, c), y = fm_target(batch, &t, k), d;
            if (activation == canonical)
                d = (a - y) * t.weight;
            else if (mixes)
                d = a * (df(y, a, &p) - mixed) * t.weight;
            else
                d = fm_dactivation(&v->activation, df(y, a, &p), v_load_part(of + k * ld, c)) *
                    t.weight;
            v_store_part(A + k * ld, d, c);
        }
    }
}

static void fm_rows_loss(const fm_value *v, const fm_pass *pass, int64_t r0, int64_t r1)
{
    switch (pass->loss->row) {
#define FM_LOSS(name, class_name, targets, output, canonical, mean, ...)                        \
    case FM_LOSS_##name:                                                                        \
        fm_rows_loss_by(fm_loss_##name, fm_dloss_##name, FM_ACT_##canonical, mean, v, pass, r0, \
                        r1);                                                                    \
        break;
#include "tables/losses.def"
    default: break;
    }
}

#endif
