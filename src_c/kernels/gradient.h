/* gradient.h - the gradient of a unit of weights, and its update. */
#ifndef FM_GRADIENT_H
#define FM_GRADIENT_H

#include "kernels/csr.h"
#include "kernels/params.h"
#include "kernels/update.h"

/* A unit of a wide layer is one panel of outputs by FM_UNIT_FEATURES features;
 * consecutive units share the features, whose activations then stay in cache.
 * A unit of a narrow layer is FM_UNIT_FEATURES features and all outputs. */
static int64_t fm_n_units(const fm_layer *l)
{
    return fm_feature_units(l) * (fm_is_narrow(l) ? 1 : fm_panels(l->fan_out));
}

static int64_t fm_unit_cost(const fm_layer *l, int64_t unit, int64_t n_rows)
{
    const int64_t width = fm_is_narrow(l) ? 1 : fm_panels(l->fan_out);
    const int64_t left = l->fan_in - unit / width * FM_UNIT_FEATURES;
    const int64_t features = left < FM_UNIT_FEATURES ? left : FM_UNIT_FEATURES;
    return features * (fm_is_narrow(l) ? l->fan_out : FM_PANEL) * (n_rows + 16);
}

/* db: the sum of delta over m rows. Wide: of one panel, (NR,), in four chains by
 * row mod 4 because one would wait for each addition; narrow: (n,), by fm_sum16. */
static void fm_gradient_bias(const fm_layer *l, const T *D, int64_t ld, int64_t m, T *g, int resume)
{
    if (!fm_is_narrow(l)) {
        V sum[4][FM_NV];
        for (int i = 0; i < 4; i++)
            for (int v = 0; v < FM_NV; v++)
                sum[i][v] = i == 0 && resume ? v_load(g + v * FM_LANES) : v_zero();
        int64_t r = 0;
        for (; r + 4 <= m; r += 4)
            for (int i = 0; i < 4; i++)
                for (int v = 0; v < FM_NV; v++)
                    sum[i][v] += v_load(D + (r + i) * FM_PANEL + v * FM_LANES);
        for (int i = 0; r < m; i++, r++)
            for (int v = 0; v < FM_NV; v++)
                sum[i][v] += v_load(D + r * FM_PANEL + v * FM_LANES);
        for (int v = 0; v < FM_NV; v++)
            v_store(g + v * FM_LANES, (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]));
        return;
    }
    for (int64_t n = 0; n < l->fan_out; n++) {
        V lanes[FM_GROUP];
        for (int i = 0; i < FM_GROUP; i++)
            lanes[i] = v_zero();
        for (int64_t r = 0; r < m; r += 16)
            FM_EACH(i, FM_GROUP) {
                int64_t left = m - r - i * FM_LANES;
                if (left > 0)
                    lanes[i] += v_load_part(D + n * ld + r + i * FM_LANES,
                                            left < FM_LANES ? (int)left : FM_LANES);
            }
        g[n] = (resume ? g[n] : 0) + fm_sum16(lanes);
    }
}

static void fm_gradient_unit(const fm_layer *l, const fm_batch *batch, int64_t unit,
                             const fm_gradient_use *use, fm_unit_scratch *scratch)
{
    const int narrow = fm_is_narrow(l), resume = use->resume;
    const int64_t N = l->fan_out, ld = fm_ld(l->max_rows), m = batch->n_rows;
    const int64_t width = narrow ? 1 : fm_panels(N), j = unit % width;
    const int64_t f0 = unit / width * FM_UNIT_FEATURES;
    const int64_t f1 = l->fan_in - f0 < FM_UNIT_FEATURES ? l->fan_in : f0 + FM_UNIT_FEATURES;
    const int64_t n = narrow ? fm_padded(f1 - f0) * N : (f1 - f0) * FM_PANEL;
    const int64_t at = narrow ? f0 * N : (j * l->fan_in + f0) * FM_PANEL;
    const T *D = narrow ? l->part[FM_OUTPUT] : (T *)l->part[FM_DELTA] + j * ld * FM_PANEL;
    T *G = l->part[FM_GRADIENT] ? fm_weights(l, FM_GRADIENT) + at : scratch->gradient;
    fm_feature_rows *lists = fm_lists_features(l) ? &scratch->lists : NULL;
    const int half = !narrow && fm_half_panel(N - j * FM_PANEL);

    if (half && G == scratch->gradient) /* the update runs over the padding too */
        memset(G, 0, (size_t)n * sizeof(T));
    if (!l->input)
        fm_gradient_csr(l, batch->buckets, f0, f1, D, ld, G, resume);
    else if (narrow)
        fm_gemm_narrow(G, D, ld, N, l->input, ld * FM_PANEL, f0, f1 - f0, m, resume);
    else {
        const T *A = (const T *)l->input + f0 / FM_PANEL * ld * FM_PANEL;
        if (lists && lists->first != f0)
            fm_list_features(lists, f0, f1 - f0, A, ld * FM_PANEL, m);
        fm_gemm_columns(G, A, ld * FM_PANEL, f1 - f0, D, m, half, resume, lists);
    }
    if (use->step) {
        fm_update(l, at, G, n, 1, use->step);
        fm_refresh(l, j, f0, f1);
    }
    if (f0 > 0)
        return;
    /* The first unit of every panel takes the biases along. */
    const int64_t nb = narrow ? fm_padded(N) : FM_PANEL, b0 = j * FM_PANEL;
    T bias_room[FM_PANEL > FM_NARROW ? FM_PANEL : FM_NARROW] = {0};
    T *g = l->part[FM_GRADIENT] ? fm_bias(l, FM_GRADIENT) + b0 : bias_room;
    fm_gradient_bias(l, D, ld, m, g, resume);
    if (use->step)
        fm_update(l, fm_weights_size(l) + b0, g, nb, 0, use->step);
}

/* Units u0..u1. Neighbours are panels of the same features and share lists. */
static void fm_gradient(const fm_layer *l, const fm_batch *batch, void *scratch, int64_t u0,
                        int64_t u1, const fm_gradient_use *use)
{
    fm_unit_scratch *room = scratch;
    if (fm_lists_features(l))
        room->lists.first = -1;
    for (int64_t u = u0; u < u1; u++)
        fm_gradient_unit(l, batch, u, use, room);
}

static void fm_scale_gradient(const fm_layer *l, double alpha, double inv_sum)
{
    const int64_t n = fm_weights_size(l);
    const T *W = fm_weights(l, FM_PARAMS);
    T *G = fm_weights(l, FM_GRADIENT), *g = fm_bias(l, FM_GRADIENT);
    for (int64_t i = 0; i < n; i++)
        G[i] = (G[i] + (T)alpha * W[i]) * (T)inv_sum;
    for (int64_t i = 0; i < l->fan_out; i++)
        g[i] *= (T)inv_sum;
}

/* |W|^2 in double, for weights whose squares overflow T. */
static double fm_sum_squares_in_double(const fm_layer *l)
{
    const T *W = fm_weights(l, FM_PARAMS);
    double sum = 0;
    for (int64_t i = 0; i < fm_weights_size(l); i++)
        sum += (double)W[i] * (double)W[i];
    return sum;
}

/* In plain C and one order, so that it is the same on every ISA. */
static double fm_sum_squares(const fm_layer *l)
{
    const T *squares = l->part[FM_SQUARES];
    const int64_t n = fm_feature_units(l) * l->fan_out;
    double sum[4] = {0};
    for (int64_t i = 0; i < n; i++)
        sum[i % 4] += (double)squares[i];
    const double total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    return isfinite(total) ? total : fm_sum_squares_in_double(l);
}

#endif
