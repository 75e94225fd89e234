/* params.h - row-major parameters in and out, and what follows from W. */
#ifndef FM_PARAMS_H
#define FM_PARAMS_H

#include "kernels/layout.h"

/* to (cols, rows) = from (rows, cols)^T, both with a step between rows. */
static void fm_transpose(T *to, ptrdiff_t to_step, const T *from, ptrdiff_t from_step, int64_t rows,
                         int64_t cols)
{
    const int64_t whole_rows = rows - rows % FM_LANES, whole_cols = cols - cols % FM_LANES;
    for (int64_t r = 0; r < whole_rows; r += FM_LANES)
        for (int64_t c = 0; c < whole_cols; c += FM_LANES)
            v_transpose(to + c * to_step + r, to_step, from + r * from_step + c, from_step);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = r < whole_rows ? whole_cols : 0; c < cols; c++)
            to[c * to_step + r] = from[r * from_step + c];
}

/* W^T (n, f) in panels over f, from W (f, n) in panels over n: for features
 * f0..f1 and one panel j of outputs. */
static void fm_refresh_transposed(const fm_layer *l, int64_t j, int64_t f0, int64_t f1)
{
    const int64_t N = l->fan_out, width = N - j * FM_PANEL < FM_PANEL ? N - j * FM_PANEL : FM_PANEL;
    const T *W = fm_operands(l) + j * l->fan_in * FM_PANEL;
    T *WT = l->part[FM_TRANSPOSED];
    for (int64_t f = f0; f < f1; f += FM_PANEL) {
        const int64_t height = f1 - f < FM_PANEL ? f1 - f : FM_PANEL;
        fm_transpose(WT + (f * N + j * FM_PANEL * FM_PANEL), FM_PANEL, W + f * FM_PANEL, FM_PANEL,
                     height, width);
    }
}

/* Sums of squares of one unit, output by output; order of terms as in
 * kernels.h: a chain along features (wide), 16 virtual lanes (narrow). */
static void fm_refresh_squares(const fm_layer *l, int64_t f0, int64_t f1, int64_t j)
{
    T *squares = (T *)l->part[FM_SQUARES] + f0 / FM_UNIT_FEATURES * l->fan_out;
    if (fm_is_narrow(l)) {
        const T *W = fm_weights(l, FM_PARAMS);
        for (int64_t n = 0; n < l->fan_out; n++) {
            V lanes[FM_GROUP];
            for (int g = 0; g < FM_GROUP; g++)
                lanes[g] = v_zero();
            for (int64_t f = f0, g = 0; f < f1; f += FM_LANES, g = (g + 1) % FM_GROUP) {
                V w = v_load(W + (f / FM_PANEL * l->fan_out + n) * FM_PANEL + f % FM_PANEL);
                w = fm_keep_below(w, f, f1);
                lanes[g] = v_fma(w, w, lanes[g]);
            }
            squares[n] = fm_sum16(lanes);
        }
        return;
    }
    const T *W = fm_weights(l, FM_PARAMS) + j * l->fan_in * FM_PANEL;
    const int64_t n0 = j * FM_PANEL;
    for (int64_t v = 0; v < FM_PANEL && n0 + v < l->fan_out; v += FM_LANES) {
        V sum = v_zero();
        for (int64_t f = f0; f < f1; f++) {
            V w = v_load(W + f * FM_PANEL + v);
            sum = v_fma(w, w, sum);
        }
        int64_t left = l->fan_out - n0 - v;
        v_store_part(squares + n0 + v, sum, left < FM_LANES ? (int)left : FM_LANES);
    }
}

/* What follows from W changed in features f0..f1 of panel j (narrow: of all outputs). */
static void fm_refresh(const fm_layer *l, int64_t j, int64_t f0, int64_t f1)
{
    if (FM_BF16) {
        const int64_t N = l->fan_out;
        const int64_t at = fm_is_narrow(l) ? f0 * N : (j * l->fan_in + f0) * FM_PANEL;
        const int64_t n = fm_is_narrow(l) ? fm_padded(f1 - f0) * N : (f1 - f0) * FM_PANEL;
        const T *W = fm_weights(l, FM_PARAMS) + at;
        T *rounded = fm_operands(l) + at;
        for (int64_t i = 0; i < n; i += FM_LANES)
            v_store(rounded + i, v_operand(v_load(W + i)));
    }
    if (l->part[FM_TRANSPOSED])
        fm_refresh_transposed(l, j, f0, f1);
    if (l->part[FM_SQUARES])
        fm_refresh_squares(l, f0, f1, j);
}

static void fm_copy_in(const fm_layer *l, int part, const void *W, const void *b)
{
    const int64_t K = l->fan_in, N = l->fan_out;
    const T *from = W;
    T *to = fm_weights(l, part), *bias = fm_bias(l, part);
    if (fm_is_narrow(l)) {
        for (int64_t p = 0; p < fm_panels(K); p++)
            for (int64_t n = 0; n < N; n++)
                for (int64_t i = 0; i < FM_PANEL; i++) {
                    int64_t k = p * FM_PANEL + i;
                    to[(p * N + n) * FM_PANEL + i] = k < K ? from[k * N + n] : 0;
                }
    } else {
        for (int64_t k = 0; k < K; k++)
            for (int64_t j = 0; j < fm_panels(N); j++) {
                T *row = to + (j * K + k) * FM_PANEL;
                if (N - j * FM_PANEL >= FM_PANEL) {
                    memcpy(row, from + k * N + j * FM_PANEL, FM_PANEL * sizeof(T));
                } else {
                    int64_t width = N - j * FM_PANEL;
                    memcpy(row, from + k * N + j * FM_PANEL, (size_t)width * sizeof(T));
                    memset(row + width, 0, (size_t)(FM_PANEL - width) * sizeof(T));
                }
            }
    }
    memcpy(bias, b, (size_t)N * sizeof(T));
    memset(bias + N, 0, (size_t)(fm_padded(N) - N) * sizeof(T));
}

/* Whether all numbers of a parameter-like part are finite. */
static int fm_part_finite(const fm_layer *l, int part)
{
    const T *p = fm_weights(l, part);
    const int64_t n = fm_weights_size(l) + fm_padded(l->fan_out);
    V seen = v_zero();
    for (int64_t i = 0; i < n; i += FM_LANES)
        seen = v_fold_finite(seen, v_load(p + i));
    return v_all_finite(seen);
}

static void fm_load(const fm_layer *l, int part, const void *W, const void *b)
{
    const int64_t K = l->fan_in, N = l->fan_out;
    fm_copy_in(l, part, W, b);
    if (part == FM_PARAMS)
        for (int64_t f = 0; f < K; f += FM_UNIT_FEATURES)
            for (int64_t j = 0; j < (fm_is_narrow(l) ? 1 : fm_panels(N)); j++)
                fm_refresh(l, j, f, f + FM_UNIT_FEATURES < K ? f + FM_UNIT_FEATURES : K);
}

static void fm_store(const fm_layer *l, int part, void *W, void *b)
{
    const int64_t K = l->fan_in, N = l->fan_out;
    const T *from = fm_weights(l, part);
    T *to = W;
    if (fm_is_narrow(l)) {
        for (int64_t k = 0; k < K; k++)
            for (int64_t n = 0; n < N; n++)
                to[k * N + n] = from[(k / FM_PANEL * N + n) * FM_PANEL + k % FM_PANEL];
    } else {
        for (int64_t k = 0; k < K; k++)
            for (int64_t j = 0; j < fm_panels(N); j++) {
                int64_t width = N - j * FM_PANEL < FM_PANEL ? N - j * FM_PANEL : FM_PANEL;
                memcpy(to + k * N + j * FM_PANEL, from + (j * K + k) * FM_PANEL,
                       (size_t)width * sizeof(T));
            }
    }
    memcpy(b, fm_bias(l, part), (size_t)N * sizeof(T));
}

#endif
