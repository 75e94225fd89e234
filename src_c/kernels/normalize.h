/* normalize.h - batch and layer normalisation, forward and back.
 *
 * A stage takes rows z to y = scale * x + shift, x being z less a mean and divided by a
 * standard deviation, whose variance is increased by FM_NORM_EPSILON:
 *   batch   of each column, over the whole mini-batch (Ioffe, Szegedy 2015, "Batch
 *           normalization: accelerating deep network training by reducing internal
 *           covariate shift", arXiv:1502.03167); in prediction, running averages
 *   layer   of each row (Ba, Kiros, Hinton 2016, "Layer normalization", arXiv:1607.06450)
 * Sample weights have no part in these. In training x takes the place of z. With d the
 * delta of y, and means over the column or the row,
 *   delta of z = (scale d - mean(scale d) - x mean(scale d x)) / deviation
 *
 * Sums over rows are four chains by row mod 4, sums over a row's columns 16 chains by
 * column mod 16: the same on every ISA.
 *
 * FM_PARAMS: scale, shift; FM_RUNNING: mean, variance; FM_STATISTICS: of batches, by
 * column, those below; of layers 1 / deviation by row.
 */
#ifndef FM_NORMALIZE_H
#define FM_NORMALIZE_H

#include "kernels/finish.h"

enum { FM_MEAN, FM_INVERSE, FM_VARIANCE, FM_SUM_D, FM_SUM_DX };

FM_INLINE T *fm_statistics(const fm_stage *s, int which, int64_t j)
{
    return (T *)s->part[FM_STATISTICS] + which * fm_padded(s->to->width) + j * FM_PANEL;
}

FM_INLINE V fm_inverse_deviation(V variance)
{
    return v_set1(1) / v_sqrt(variance + v_set1((T)FM_NORM_EPSILON));
}

/* ------------------------------------------------- sums over the rows of a panel */

FM_INLINE V fm_add_chains(const V sum[4]) { return (sum[0] + sum[1]) + (sum[2] + sum[3]); }

enum { FM_PLAIN, FM_SQUARED, FM_PRODUCT, FM_SCALED, FM_SCALED_PRODUCT };

/* sum and a, (a - mean)^2 or a * b of one vector. */
FM_INLINE V fm_add_term(const int what, V sum, const T *a, const T *b, V mean)
{
    const V x = v_load(a), e = x - mean;
    if (what == FM_PLAIN)
        return sum + x;
    return what == FM_SQUARED ? v_fma(e, e, sum) : v_fma(x, v_load(b), sum);
}

/* The sum of such terms over m rows, in four chains by row mod 4. */
FM_INLINE V fm_sum_column(const int what, const T *a, const T *b, V mean, int64_t m)
{
    V sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int64_t r = 0;
    for (; r + 4 <= m; r += 4, a += 4 * FM_PANEL, b += 4 * FM_PANEL)
        FM_EACH(i, 4)
            sum[i] = fm_add_term(what, sum[i], a + i * FM_PANEL, b + i * FM_PANEL, mean);
    FM_EACH(i, 3)
        if (r + i < m)
            sum[i] = fm_add_term(what, sum[i], a + i * FM_PANEL, b + i * FM_PANEL, mean);
    return fm_add_chains(sum);
}

FM_INLINE V fm_sum_rows(const T *x, int64_t m)
{
    return fm_sum_column(FM_PLAIN, x, x, v_zero(), m);
}

FM_INLINE V fm_sum_products_of_rows(const T *x, const T *y, int64_t m)
{
    return fm_sum_column(FM_PRODUCT, x, y, v_zero(), m);
}

/* Mean and variance of panels j0..j1 over all rows of a mini-batch. */
static void fm_column_statistics(const fm_stage *s, const fm_pass *pass, int64_t j0, int64_t j1)
{
    const int64_t m = pass->batch->n_rows;
    const V n = v_set1((T)m);
    for (int64_t j = j0; j < j1; j++)
        for (int v = 0; v < FM_PANEL; v += FM_LANES) {
            const T *z = fm_panel(s->from, FM_ACTS, j, 0) + v;
            const V mean = fm_sum_rows(z, m) / n;
            const V variance = fm_sum_column(FM_SQUARED, z, z, mean, m) / n;
            v_store(fm_statistics(s, FM_MEAN, j) + v, mean);
            v_store(fm_statistics(s, FM_VARIANCE, j) + v, variance);
            v_store(fm_statistics(s, FM_INVERSE, j) + v, fm_inverse_deviation(variance));
        }
}

/* Sums of delta, and of delta times x, of panels j0..j1 over all rows of a mini-batch. */
static void fm_column_deltas(const fm_stage *s, const fm_pass *pass, int64_t j0, int64_t j1)
{
    const int64_t m = pass->batch->n_rows;
    for (int64_t j = j0; j < j1; j++)
        for (int v = 0; v < FM_PANEL; v += FM_LANES) {
            const T *d = fm_panel(s->to, FM_DELTA, j, 0) + v;
            const T *x = fm_panel(s->from, FM_ACTS, j, 0) + v;
            v_store(fm_statistics(s, FM_SUM_D, j) + v, fm_sum_rows(d, m));
            v_store(fm_statistics(s, FM_SUM_DX, j) + v, fm_sum_products_of_rows(d, x, m));
        }
}

/* ------------------------------------------------- sums over the columns of a row */

/* The sum of n numbers of a row, step elements between panels: of a, of (a - mean)^2, of
 * a * scale, or of a * scale * b. */
FM_INLINE T fm_sum_row(const int what, const T *a, const T *b, const T *scale, V mean,
                       ptrdiff_t step, int64_t n)
{
    V lanes[FM_GROUP];
    FM_EACH(g, FM_GROUP)
        lanes[g] = v_zero();
    for (int64_t c = 0, i = 0; c < n; c += FM_LANES, i++) {
        const ptrdiff_t at = c / FM_PANEL * step + c % FM_PANEL;
        V x = v_load(a + at);
        if (what == FM_SQUARED)
            x = (x - mean) * (x - mean);
        if (what == FM_SCALED || what == FM_SCALED_PRODUCT)
            x = x * v_load(scale + c);
        if (what == FM_SCALED_PRODUCT)
            x = x * v_load(b + at);
        lanes[i % FM_GROUP] += n - c < FM_LANES ? fm_keep_below(x, c, n) : x;
    }
    return fm_sum16(lanes);
}

/* ------------------------------------------------------------------------ forward */

/* y = scale * x + shift of one vector; x takes the place of z in training. */
FM_INLINE void fm_normalize_vector(T *y, T *z, V mean, V inverse, V scale, V shift, V floor,
                                   int keeps_x)
{
    const V x = (v_load(z) - mean) * inverse;
    if (keeps_x)
        v_store(z, x);
    v_store(y, v_max(floor, v_fma(x, scale, shift)));
}

static void fm_normalize_columns(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const T *scale = fm_weights(s, FM_PARAMS), *shift = fm_bias(s, FM_PARAMS);
    const V floor = v_set1(fm_floor(s->to));
    for (int64_t j = 0; j < fm_panels(s->to->width); j++)
        for (int v = 0; v < FM_PANEL; v += FM_LANES) {
            const int64_t c = j * FM_PANEL + v;
            V mean, inverse;
            if (pass->training) {
                mean = v_load(fm_statistics(s, FM_MEAN, j) + v);
                inverse = v_load(fm_statistics(s, FM_INVERSE, j) + v);
            } else {
                mean = v_load(fm_weights(s, FM_RUNNING) + c);
                inverse = fm_inverse_deviation(v_load(fm_bias(s, FM_RUNNING) + c));
            }
            T *z = fm_panel(s->from, FM_ACTS, j, r0) + v, *y = fm_raw_panel(s->to, j, r0) + v;
            for (int64_t r = r0; r < r1; r++, z += FM_PANEL, y += FM_PANEL)
                fm_normalize_vector(y, z, mean, inverse, v_load(scale + c), v_load(shift + c),
                                    floor, pass->training);
        }
}

static void fm_normalize_row(const fm_stage *s, const fm_pass *pass, int64_t r)
{
    const T *scale = fm_weights(s, FM_PARAMS), *shift = fm_bias(s, FM_PARAMS);
    const int64_t N = s->to->width;
    const ptrdiff_t step = fm_ld(s->to->max_rows) * FM_PANEL;
    const V n = v_set1((T)N), floor = v_set1(fm_floor(s->to));
    T *z = fm_panel(s->from, FM_ACTS, 0, r), *y = fm_raw_panel(s->to, 0, r);
    const V mean = v_set1(fm_sum_row(FM_PLAIN, z, NULL, NULL, v_zero(), step, N)) / n;
    const V square = v_set1(fm_sum_row(FM_SQUARED, z, NULL, NULL, mean, step, N)) / n;
    const V inverse = fm_inverse_deviation(square);
    if (pass->training)
        ((T *)s->part[FM_STATISTICS])[r] = inverse[0];
    for (int64_t c = 0; c < fm_padded(N); c += FM_LANES) {
        const ptrdiff_t at = c / FM_PANEL * step + c % FM_PANEL;
        fm_normalize_vector(y + at, z + at, mean, inverse, v_load(scale + c), v_load(shift + c),
                            floor, pass->training);
    }
}

static void fm_normalize(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    FM_ASSERT_ROWS(s->to, pass, r0, r1);
    if (s->normalization == FM_BATCH_NORM)
        fm_normalize_columns(s, pass, r0, r1);
    else
        for (int64_t r = r0; r < r1; r++)
            fm_normalize_row(s, pass, r);
    fm_activate_rows(s->to, pass, r0, r1);
}

/* --------------------------------------------------------------------------- back */

static void fm_normalize_columns_back(const fm_stage *s, const fm_pass *pass, int64_t r0,
                                      int64_t r1)
{
    const V n = v_set1((T)pass->batch->n_rows);
    for (int64_t j = 0; j < fm_panels(s->to->width); j++)
        for (int v = 0; v < FM_PANEL; v += FM_LANES) {
            const V factor = v_load(fm_weights(s, FM_PARAMS) + j * FM_PANEL + v) *
                             v_load(fm_statistics(s, FM_INVERSE, j) + v);
            const V mean_d = v_load(fm_statistics(s, FM_SUM_D, j) + v) / n;
            const V mean_dx = v_load(fm_statistics(s, FM_SUM_DX, j) + v) / n;
            const T *d = fm_panel(s->to, FM_DELTA, j, r0) + v;
            const T *x = fm_panel(s->from, FM_ACTS, j, r0) + v;
            T *out = fm_panel(s->from, FM_DELTA, j, r0) + v;
            for (int64_t i = 0; i < (r1 - r0) * FM_PANEL; i += FM_PANEL)
                v_store(out + i, factor * v_fnma(v_load(x + i), mean_dx, v_load(d + i) - mean_d));
        }
}

static void fm_normalize_row_back(const fm_stage *s, int64_t r)
{
    const T *scale = fm_weights(s, FM_PARAMS);
    const int64_t N = s->to->width;
    const ptrdiff_t step = fm_ld(s->to->max_rows) * FM_PANEL;
    const V n = v_set1((T)N), inverse = v_set1(((T *)s->part[FM_STATISTICS])[r]);
    const T *d = fm_panel(s->to, FM_DELTA, 0, r), *x = fm_panel(s->from, FM_ACTS, 0, r);
    T *out = fm_panel(s->from, FM_DELTA, 0, r);
    const V mean_d = v_set1(fm_sum_row(FM_SCALED, d, NULL, scale, v_zero(), step, N)) / n;
    const V mean_dx = v_set1(fm_sum_row(FM_SCALED_PRODUCT, d, x, scale, v_zero(), step, N)) / n;
    for (int64_t c = 0; c < fm_padded(N); c += FM_LANES) {
        const ptrdiff_t at = c / FM_PANEL * step + c % FM_PANEL;
        const V g = v_load(d + at) * v_load(scale + c) - mean_d;
        v_store(out + at, inverse * v_fnma(v_load(x + at), mean_dx, g));
    }
}

static void fm_normalize_back(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    FM_ASSERT_ROWS(s->to, pass, r0, r1);
    if (s->normalization == FM_BATCH_NORM)
        fm_normalize_columns_back(s, pass, r0, r1);
    else
        for (int64_t r = r0; r < r1; r++)
            fm_normalize_row_back(s, r);
    for (int64_t j = 0; j < fm_panels(s->from->width) && s->from->rounds_delta; j++)
        fm_round(fm_panel(s->from, FM_DELTA, j, r0), (r1 - r0) * FM_PANEL);
}

/* ----------------------------------------------------------------------- gradient */

/* Of scale and shift of panel j: in FM_GRADIENT, or in room (2, NR). */
static void fm_norm_gradient(const fm_stage *s, const fm_pass *pass, int64_t j, T *g[2], T *room)
{
    const int64_t m = pass->batch->n_rows;
    const int keeps = s->part[FM_GRADIENT] != NULL;
    g[0] = keeps ? fm_weights(s, FM_GRADIENT) + j * FM_PANEL : room;
    g[1] = keeps ? fm_bias(s, FM_GRADIENT) + j * FM_PANEL : room + FM_PANEL;
    for (int v = 0; v < FM_PANEL; v += FM_LANES) {
        const T *d = fm_panel(s->to, FM_DELTA, j, 0) + v;
        const T *x = fm_panel(s->from, FM_ACTS, j, 0) + v;
        V sums[2] = {fm_sum_products_of_rows(d, x, m), fm_sum_rows(d, m)};
        FM_EACH(i, 2) {
            if (pass->resume)
                sums[i] += v_load(g[i] + v);
            v_store(g[i] + v, sums[i]);
        }
    }
}

#endif
