/* params.h - parameters: row-major in and out, their cut into shards, their squares. */
#ifndef FM_PARAMS_H
#define FM_PARAMS_H

#include "kernels/family.h"

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

/* Sums of squares of one shard, output by output; order of terms as in
 * kernels.h: a chain along features (wide), 16 virtual lanes (narrow). */
static void fm_refresh_squares(const fm_stage *s, const fm_shard *u)
{
    const int64_t f0 = u->f0, f1 = u->f1, n0 = u->j * FM_PANEL;
    T *squares = (T *)s->part[FM_SQUARES] + f0 / FM_SHARD_FEATURES * s->to->width;
    if (fm_is_narrow(s->to)) {
        const T *W = fm_weights(s, FM_PARAMS);
        for (int64_t n = 0; n < s->to->width; n++) {
            V lanes[FM_GROUP];
            FM_EACH(g, FM_GROUP)
                lanes[g] = v_zero();
            for (int64_t f = f0, g = 0; f < f1; f += FM_LANES, g = (g + 1) % FM_GROUP) {
                V w = v_load(W + (f / FM_PANEL * s->to->width + n) * FM_PANEL + f % FM_PANEL);
                w = fm_keep_below(w, f, f1);
                lanes[g] = v_fma(w, w, lanes[g]);
            }
            squares[n] = fm_sum16(lanes);
        }
        return;
    }
    const T *W = fm_weights(s, FM_PARAMS) + u->at;
    V sum[FM_NV];
    FM_EACH(v, FM_NV)
        sum[v] = v_zero();
    for (int64_t f = f0; f < f1; f++, W += FM_PANEL)
        FM_EACH(v, FM_NV) {
            const V w = v_load(W + v * FM_LANES);
            sum[v] = v_fma(w, w, sum[v]);
        }
    FM_EACH(v, FM_NV) {
        const int64_t left = s->to->width - n0 - v * FM_LANES;
        if (left > 0)
            v_store_part(squares + n0 + v * FM_LANES, sum[v],
                         left < FM_LANES ? (int)left : FM_LANES);
    }
}

static void fm_copy_in(const fm_stage *s, int part, const void *W, const void *b)
{
    const int64_t K = s->from->width, N = s->to->width;
    const T *from = W;
    T *to = fm_weights(s, part), *bias = fm_bias(s, part);
    if (fm_is_narrow(s->to)) {
        for (int64_t p = 0; p < fm_panels(K); p++)
            for (int64_t n = 0; n < N; n++)
                for (int64_t i = 0; i < FM_PANEL; i++) {
                    int64_t k = p * FM_PANEL + i;
                    to[(p * N + n) * FM_PANEL + i] = k < K ? from[k * N + n] : FM_PADDING;
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
                    fm_pad(row + width, FM_PANEL - width);
                }
            }
    }
    if (b)
        memcpy(bias, b, (size_t)N * sizeof(T));
    else
        memset(bias, 0, (size_t)N * sizeof(T));
    fm_pad(bias + N, fm_padded(N) - N);
}

static void fm_load_norm(const fm_stage *s, int part, const void *scale, const void *shift)
{
    const int64_t N = s->to->width;
    const void *const from[2] = {scale, shift};
    T *const to[2] = {fm_weights(s, part), fm_bias(s, part)};
    for (int i = 0; i < 2; i++) {
        memcpy(to[i], from[i], (size_t)N * sizeof(T));
        fm_pad(to[i] + N, fm_padded(N) - N);
    }
}

/* A parameter-like part is rows of FM_PANEL numbers, the last of which may be padding,
 * and then the biases. */
FM_INLINE int64_t fm_panel_rows(const fm_stage *s) { return fm_weights_size(s) / FM_PANEL; }

FM_INLINE int64_t fm_width_of_row(const fm_stage *s, int64_t row)
{
    const int64_t K = s->from->width, N = s->to->width;
    const int64_t left = fm_is_narrow(s->to) ? K - row / N * FM_PANEL : N - row / K * FM_PANEL;
    return left < FM_PANEL ? left : FM_PANEL;
}

FM_INLINE V fm_fold_finite(V seen, const T *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += FM_LANES)
        seen = v_fold_finite(seen, v_load_part(x + i, n - i < FM_LANES ? (int)(n - i) : FM_LANES));
    return seen;
}

static int fm_part_finite(const fm_stage *s, int part)
{
    if (s->kind == FM_NORM) {
        const V scale = fm_fold_finite(v_zero(), fm_weights(s, part), s->to->width);
        return v_all_finite(fm_fold_finite(scale, fm_bias(s, part), s->to->width));
    }
    V seen = fm_fold_finite(v_zero(), fm_bias(s, part), s->to->width);
    for (int64_t row = 0; row < fm_panel_rows(s); row++)
        seen = fm_fold_finite(seen, fm_weights(s, part) + row * FM_PANEL, fm_width_of_row(s, row));
    return v_all_finite(seen);
}

FM_INLINE int64_t fm_shards_across(const fm_stage *s)
{
    return fm_is_narrow(s->to) ? 1 : fm_panels(s->to->width);
}

/* Shards of a norm stage are panels. */
static int64_t fm_n_shards(const fm_stage *s)
{
    if (s->kind != FM_DENSE)
        return s->kind == FM_NORM ? fm_panels(s->to->width) : 0;
    return fm_feature_shards(s) * fm_shards_across(s);
}

FM_INLINE fm_shard fm_shard_number(const fm_stage *s, int64_t number)
{
    const int narrow = fm_is_narrow(s->to);
    const int64_t K = s->from->width, N = s->to->width;
    const int64_t across = fm_shards_across(s), down = fm_feature_shards(s);
    fm_shard u = {.j = s->csr ? number / down : number % across,
                  .f0 = (s->csr ? number % down : number / across) * FM_SHARD_FEATURES};
    u.f1 = K - u.f0 < FM_SHARD_FEATURES ? K : u.f0 + FM_SHARD_FEATURES;
    u.at = narrow ? u.f0 * N : (u.j * K + u.f0) * FM_PANEL;
    u.n = narrow ? fm_padded(u.f1 - u.f0) * N : (u.f1 - u.f0) * FM_PANEL;
    return u;
}

static void fm_load(const fm_stage *s, int part, const void *W, const void *b)
{
    if (s->kind == FM_NORM) {
        fm_load_norm(s, part, W, b);
        return;
    }
    fm_copy_in(s, part, W, b);
    for (int64_t i = 0; i < fm_n_shards(s) && part == FM_PARAMS; i++) {
        const fm_shard u = fm_shard_number(s, i);
        fm_refresh(s, &u);
    }
}

static void fm_store(const fm_stage *s, int part, void *W, void *b)
{
    const int64_t K = s->kind == FM_NORM ? 1 : s->from->width, N = s->to->width;
    const T *from = fm_weights(s, part);
    T *to = W;
    if (fm_is_narrow(s->to)) {
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
    if (b)
        memcpy(b, fm_bias(s, part), (size_t)N * sizeof(T));
}

#endif
