/* finish.h - what becomes of a value in panels once its numbers, or its deltas, are summed:
 * the activation and dropout, forward and back, and rounding to operands of products.
 */
#ifndef FM_FINISH_H
#define FM_FINISH_H

#include "kernels/activate.h"
#include "kernels/buckets.h"
#include "kernels/family.h"

enum { FM_ROW_STEP = 1 };

/* Row r of panel j of a part of a value. */
FM_INLINE T *fm_panel(const fm_value *v, int part, int64_t j, int64_t r)
{
    return (T *)v->part[part] + (j * fm_ld(v->max_rows) + r) * FM_PANEL;
}

/* Where a product leaves Z; hidden values become A in place. */
FM_INLINE T *fm_raw(const fm_value *v) { return v->part[v->is_output ? FM_DELTA : FM_ACTS]; }

/* What f' is computed from. */
FM_INLINE const T *fm_derivative_of(const fm_value *v)
{
    return v->part[v->part[FM_SLOPE] ? FM_SLOPE : FM_ACTS];
}

FM_INLINE T *fm_raw_panel(const fm_value *v, int64_t j, int64_t r)
{
    return fm_raw(v) + (j * fm_ld(v->max_rows) + r) * FM_PANEL;
}

/* x: all panels of a value of the shape of v. */
static void fm_drop_rows(const fm_value *v, const fm_pass *pass, T *x, int64_t r0, int64_t r1)
{
    const fm_dropout dropout = fm_dropout_of(v, pass);
    for (int64_t j = 0; j < fm_panels(v->width); j++) {
        T *panel = x + (j * fm_ld(v->max_rows) + r0) * FM_PANEL;
        fm_drop_panel(&dropout, panel, j * FM_PANEL, r0, r1);
        if (v->rounds)
            fm_round(panel, (r1 - r0) * FM_PANEL);
    }
}

/* activates: unless the product's epilogue has done it. */
static void fm_activate_panels(const fm_value *v, const fm_pass *pass, int activates, int64_t r0,
                               int64_t r1)
{
    const int drops = fm_drops(v, pass), slopes = v->derivative == FM_FROM_PREACTIVATION;
    const fm_dropout dropout = fm_dropout_of(v, pass);
    for (int64_t j = 0; j < fm_panels(v->width); j++) {
        const int64_t at = (j * fm_ld(v->max_rows) + r0) * FM_PANEL, n = (r1 - r0) * FM_PANEL;
        T *A = (T *)v->part[FM_ACTS] + at;
        T *kept = v->part[FM_SLOPE] ? (T *)v->part[FM_SLOPE] + at : NULL;
        if (kept && slopes)
            fm_activate_with_slopes(&v->activation, A, kept, n);
        else if (activates)
            fm_activate_vectors(&v->activation, A, n);
        if (kept && !slopes)
            memcpy(kept, A, (size_t)n * sizeof(T));
        if (drops)
            fm_drop_panel(&dropout, A, j * FM_PANEL, r0, r1);
        if (v->rounds)
            fm_round(A, n);
    }
}

static void fm_activate_rows(const fm_value *v, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const int row = v->activation.row, activates = row != FM_ACT_identity && row != FM_ACT_relu;
    if (activates || v->rounds || fm_drops(v, pass))
        fm_activate_panels(v, pass, activates, r0, r1);
}

/* The least that a product leaves: relu happens in its epilogue. */
FM_INLINE T fm_floor(const fm_value *v)
{
    return !v->is_output && v->activation.row == FM_ACT_relu ? 0 : (T)-INFINITY;
}

/* Through dropout to panel j of delta. masked: dropped numbers are 0 already. */
static void fm_drop_back(const fm_dropout *d, T *delta, int masked, int64_t j, int64_t r0,
                         int64_t r1)
{
    if (!masked)
        fm_drop_panel(d, delta, j * FM_PANEL, r0, r1);
    else
        for (int64_t i = 0; i < (r1 - r0) * FM_PANEL; i += FM_LANES)
            v_store(delta + i, v_load(delta + i) * d->scale);
}

/* From dLoss/dA of rows r0..r1 of panel j to delta. has_slope: f' has been taken, the way
 * back through dropout is then a mask that was taken with it. */
static void fm_finish_delta(const fm_value *v, const fm_pass *pass, int64_t j, int64_t r0,
                            int64_t r1, int has_slope)
{
    const int64_t at = (j * fm_ld(v->max_rows) + r0) * FM_PANEL, n = (r1 - r0) * FM_PANEL;
    T *D = (T *)v->part[FM_DELTA] + at;
    if (fm_drops(v, pass)) {
        const fm_dropout dropout = fm_dropout_of(v, pass);
        fm_drop_back(&dropout, D, has_slope, j, r0, r1);
    }
    if (!has_slope && v->activation.row != FM_ACT_identity)
        fm_activate_backward(&v->activation, D, fm_derivative_of(v) + at, n);
    if (v->rounds_delta)
        fm_round(D, n);
}

#endif
