/* panels.h - the family of kernel sets that lies in panels (see gemm.h), of any
 * element type.
 *
 * In networks of FM_BFLOAT16 the operands of all products are bfloat16 numbers that lie
 * in floats: an emulation, slower than float32, for machines without instructions
 * for them. A product of two such numbers is exact in float; sums are floats.
 * Rounded are: X as it is gathered, activations after f, deltas after f', and
 * W into a copy that the update refreshes. W, b, the optimizer's state, outputs and
 * losses stay floats.
 *
 * Layouts:
 *   X, acts, slope     panels over features, ld rows
 *   params, wide       W in panels over outputs, fan_in rows; then b, padded
 *   params, narrow     W^T in panels over features, fan_out rows; then b, padded
 *   params, rounded    and, in FM_PARAMS only, a rounded copy of W
 *   transposed         W^T in panels over features, fan_out rows (wide, not first)
 *   delta              panels over outputs, ld rows (narrow: none, FM_OUTPUT serves)
 *   output             Z^T (fan_out, ld) row-major
 *   squares            sums of w^2 over a shard's features: [shard of features][output]
 */
#ifndef FM_PANELS_H
#define FM_PANELS_H

#include "kernels/family.h"
#include "kernels/finish.h"
#include "kernels/gather.h"
#include "kernels/normalize.h"
#include "kernels/params.h"
#include "kernels/residual.h"

/* ----------------------------------------------------------------- memory */

/* W as products read it, in the layout of FM_PARAMS. */
FM_INLINE T *fm_operands(const fm_stage *s)
{
    return s->rounds ? fm_bias(s, FM_PARAMS) + fm_padded(s->to->width) : fm_weights(s, FM_PARAMS);
}

static size_t fm_value_bytes(int part, const fm_value *v)
{
    const int64_t ld = fm_ld(v->max_rows);
    if (part == FM_OUTPUT)
        return fm_bytes(ld, v->width, 0);
    return part == FM_DELTA && fm_is_narrow(v) ? 0 : fm_panels_bytes(ld, v->width);
}

static size_t fm_param_bytes(int part, const fm_stage *s)
{
    const size_t bytes = fm_float_param_bytes(part, s);
    size_t both;
    if (part == FM_TRANSPOSED && bytes != SIZE_MAX)
        return fm_is_narrow(s->to) ? 0 : fm_bytes(s->to->width, fm_padded(s->from->width), 0);
    if (!s->rounds || part != FM_PARAMS || bytes == SIZE_MAX)
        return bytes;
    return __builtin_add_overflow(bytes, (size_t)fm_weights_size(s) * sizeof(T), &both) ? SIZE_MAX
                                                                                        : both;
}

typedef struct {
    fm_run_sums gradient;             /* unless it is kept */
    fm_run_sums half[FM_PART_LEVELS]; /* of a shard, the sums over the second halves of the parts */
    fm_feature_rows lists[FM_MAX_PARTS]; /* those of a stage's parts, where fm_lists_features */
} fm_shard_scratch;

FM_INLINE int fm_lists_features(const fm_stage *s)
{
    return !fm_is_narrow(s->to) && s->to->max_rows <= FM_MAX_BLOCK &&
           fm_may_list(s->from->width, s->to->width);
}

static size_t fm_scratch_bytes(const fm_stage *s)
{
    const int forward = fm_may_list(s->from->width, s->to->width);
    const int backward = fm_may_list(s->to->width, s->from->width);
    const size_t rows = forward || backward ? sizeof(fm_row_terms) : 0;
    const size_t lists = fm_lists_features(s) ? (size_t)s->parts * sizeof(fm_feature_rows) : 0;
    const size_t shard = offsetof(fm_shard_scratch, lists) + lists;
    return rows > shard ? rows : shard;
}

/* ------------------------------------------------------------------------- X */

/* Rows in random order miss every cache that X does not fit into. Asking for them
 * some rows ahead took 20-100-1 on a million rows from 40 to 35 us per step; what
 * follows the first bytes of a row, the hardware's prefetcher sees coming. */
enum { FM_ROWS_AHEAD = 16, FM_BYTES_AHEAD = 256 };

FM_INLINE void fm_prefetch_row(const fm_batch *batch, int64_t r)
{
    const fm_matrix *X = batch->X;
    const char *from = (const char *)X->data + fm_batch_row(batch, r) * X->row_stride;
    const int64_t row_bytes = (X->n_cols - 1) * X->col_stride;
    for (int64_t at = 0; at <= row_bytes && at < FM_BYTES_AHEAD; at += 64)
        __builtin_prefetch(from + at);
    if (row_bytes > 0 && row_bytes < FM_BYTES_AHEAD)
        __builtin_prefetch(from + row_bytes);
}

static void fm_gather(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const fm_batch *batch = pass->batch;
    const fm_matrix *X = batch->X;
    const int64_t K = X->n_cols, ld = fm_ld(s->from->max_rows);
    const int plain = fm_is_plain(X);
    FM_ASSERT_ROWS(s->from, pass, r0, r1);
    for (int64_t r = r0; r < r1; r++) {
        if (batch->rows && r + FM_ROWS_AHEAD < r1)
            fm_prefetch_row(batch, r + FM_ROWS_AHEAD);
        const int64_t row = fm_batch_row(batch, r);
        T *to = (T *)s->from->part[FM_ACTS] + r * FM_PANEL;
        int64_t k = 0;
        if (plain) {
            const T *from = (const T *)((const char *)X->data + row * X->row_stride);
            for (; k + FM_PANEL <= K; k += FM_PANEL, to += ld * FM_PANEL)
                FM_EACH_VECTOR(v)
                    v_store(to + v, v_load(from + k + v));
        } else {
            for (; k + FM_PANEL <= K; k += FM_PANEL, to += ld * FM_PANEL)
                fm_read_row(to, X, row, k, FM_PANEL);
        }
        if (k == K)
            continue;
        if (plain) {
            const T *from = (const T *)((const char *)X->data + row * X->row_stride) + k;
            FM_EACH_VECTOR(v) {
                const int64_t left = K - k - v;
                v_store(to + v, left >= FM_LANES ? v_load(from + v)
                                : left > 0       ? v_load_part(from + v, (int)left)
                                                 : v_zero());
            }
        } else {
            fm_read_row(to, X, row, k, K - k);
        }
        if (FM_PADDING != 0 || !plain) /* else the last vector brought it along */
            fm_pad(to + K - k, FM_PANEL - (K - k));
    }
    for (int64_t j = 0; j < fm_panels(K) && s->from->rounds; j++)
        fm_round(fm_panel(s->from, FM_ACTS, j, r0), (r1 - r0) * FM_PANEL);
    if (fm_drops(s->from, pass))
        fm_drop_rows(s->from, pass, s->from->part[FM_ACTS], r0, r1);
}

/* --------------------------------------------------------- forward, backward */

static void fm_forward(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const fm_value *to = s->to;
    const int64_t K = s->from->width, N = to->width, ld = fm_ld(to->max_rows);
    const T *A = s->from->part[FM_ACTS], *W = fm_operands(s), *bias = fm_bias(s, FM_PARAMS);
    FM_ASSERT_ROWS(s->to, pass, r0, r1);
    FM_ASSERT(s->from->part[FM_ACTS] && s->part[FM_PARAMS]);
    if (fm_is_narrow(to)) {
        fm_gemm_dot(to->part[FM_OUTPUT], ld, A, ld * FM_PANEL, W, K, N, r0, r1, bias);
        return;
    }
    const fm_epilogue end = {.bias = bias, .floor = fm_floor(to)};
    fm_gemm_rows(fm_raw(to), ld * FM_PANEL, A, FM_ALONG_PANEL, ld * FM_PANEL, W, K, N, r0, r1, 0,
                 &end, pass->scratch);
    if (!to->is_output && !s->is_projection)
        fm_activate_rows(to, pass, r0, r1);
}

static void fm_forward_csr(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const fm_batch *batch = pass->batch;
    const fm_matrix *X = batch->X;
    const int64_t K = s->from->width, N = s->to->width, ld = fm_ld(s->to->max_rows);
    const int narrow = fm_is_narrow(s->to), raw = s->raw_W != NULL, rounds = raw && s->rounds;
    const T *W = raw ? s->raw_W : fm_operands(s);
    const T *bias = raw ? s->raw_b : fm_bias(s, FM_PARAMS);
    const ptrdiff_t panel = raw ? FM_PANEL : K * FM_PANEL;
    const V floor = v_set1(fm_floor(s->to));
    fm_csr_chunk chunk;
    FM_ASSERT_ROWS(s->to, pass, r0, r1);
    FM_ASSERT(X->indices && !s->from->part[FM_ACTS] && (s->raw_W || s->part[FM_PARAMS]));
    for (int64_t r = r0; r < r1; r++) {
        const int64_t row = fm_batch_row(batch, r);
        const int64_t begin = fm_index(X->indptr, X->index_bytes, row);
        const int64_t end = fm_index(X->indptr, X->index_bytes, row + 1);
        if (narrow) { /* few outputs: one scalar chain each */
            T *Z = (T *)s->to->part[FM_OUTPUT] + r;
            T z[FM_NARROW] = {0};
            for (int64_t i = begin; i < end; i += FM_CSR_CHUNK) {
                int n = fm_read_kept(&chunk, s->from, pass, i, end, r);
                for (int e = 0; e < n; e++) {
                    const int64_t f = chunk.feature[e];
                    const T *w = raw ? W + f * N : W + f / FM_PANEL * N * FM_PANEL + f % FM_PANEL;
                    for (int64_t k = 0; k < N; k++) {
                        const V weight = v_set1(w[raw ? k : k * FM_PANEL]);
                        z[k] = v_fma(v_set1(chunk.value[e]), rounds ? v_rounded(weight) : weight,
                                     v_set1(z[k]))[0];
                    }
                }
            }
            for (int64_t k = 0; k < N; k++)
                Z[k * ld] = z[k] + bias[k];
            continue;
        }
        T *Z = fm_raw(s->to) + r * FM_PANEL;
        for (int64_t j = 0; j < fm_panels(N); j++)
            FM_EACH_VECTOR(v)
                v_store(Z + j * ld * FM_PANEL + v, v_zero());
        for (int64_t i = begin; i < end; i += FM_CSR_CHUNK) {
            int n = fm_read_kept(&chunk, s->from, pass, i, end, r);
            for (int64_t j = 0; j < fm_panels(N); j++) {
                int64_t width = raw && N - j * FM_PANEL < FM_PANEL ? N - j * FM_PANEL : FM_PANEL;
                fm_add_chunk(Z + j * ld * FM_PANEL, &chunk, n, W + j * panel, raw ? N : FM_PANEL,
                             width, j + 1 < fm_panels(N) ? panel : 0, rounds);
            }
        }
        for (int64_t j = 0; j < fm_panels(N); j++)
            FM_EACH_VECTOR(v) {
                T *z = Z + j * ld * FM_PANEL + v;
                int64_t left = N - j * FM_PANEL - v;
                int c = left >= FM_LANES ? FM_LANES : left > 0 ? (int)left : 0;
                v_store(z, v_max(floor, v_load(z) + v_load_part(bias + j * FM_PANEL + v, c)));
            }
    }
    if (!s->to->is_output && !s->is_projection)
        fm_activate_rows(s->to, pass, r0, r1);
}

/* Panels <-> Z^T, for rows r0..r1 of wide outputs. */
static void fm_transpose_output(const fm_value *v, int to_panels, int64_t r0, int64_t r1)
{
    const int64_t N = v->width, ld = fm_ld(v->max_rows);
    T *Z = v->part[FM_DELTA], *ZT = v->part[FM_OUTPUT];
    for (int64_t j = 0; j < fm_panels(N); j++) {
        const int64_t width = N - j * FM_PANEL < FM_PANEL ? N - j * FM_PANEL : FM_PANEL;
        T *z = Z + (j * ld + r0) * FM_PANEL, *zt = ZT + j * FM_PANEL * ld + r0;
        if (to_panels)
            fm_transpose(z, FM_PANEL, zt, ld, width, r1 - r0);
        else
            fm_transpose(zt, ld, z, FM_PANEL, r1 - r0, width);
    }
}

static void fm_collect_outputs(const fm_value *v, int64_t r0, int64_t r1)
{
    if (!fm_is_narrow(v))
        fm_transpose_output(v, 0, r0, r1);
}

static void fm_spread_delta(const fm_value *v, int64_t r0, int64_t r1)
{
    for (int64_t n = 0; n < v->width && v->rounds_delta; n++)
        fm_round((T *)v->part[FM_OUTPUT] + n * fm_ld(v->max_rows) + r0, r1 - r0);
    if (!fm_is_narrow(v))
        fm_transpose_output(v, 1, r0, r1);
}

static void fm_backward(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const fm_value *from = s->from, *to = s->to;
    const int64_t ld = fm_ld(to->max_rows), a_panel = ld * FM_PANEL;
    const int narrow = fm_is_narrow(to), masks = from->activation.row == FM_ACT_relu;
    const int slopes = from->derivative == FM_FROM_PREACTIVATION && !fm_drops(from, pass);
    const fm_epilogue end = {.mask = masks && s->ends_delta ? fm_derivative_of(from) : NULL,
                             .slope = slopes && s->ends_delta ? from->part[FM_SLOPE] : NULL};
    FM_ASSERT_ROWS(s->to, pass, r0, r1);
    FM_ASSERT(pass->training && s->from->part[FM_ACTS] && s->from->part[FM_DELTA]);
    fm_gemm_rows(from->part[FM_DELTA], a_panel, to->part[narrow ? FM_OUTPUT : FM_DELTA],
                 narrow ? FM_ACROSS : FM_ALONG_PANEL, narrow ? ld : a_panel,
                 narrow ? fm_operands(s) : s->part[FM_TRANSPOSED], to->width, from->width, r0, r1,
                 s->adds_delta, &end, pass->scratch);
    const int is_delta = (masks || slopes) && !from->rounds_delta && !fm_drops(from, pass);
    for (int64_t j = 0; j < fm_panels(from->width) && s->ends_delta && !is_delta; j++)
        fm_finish_delta(from, pass, j, r0, r1, masks || slopes);
}

/* ------------------------------------------------------------------ gradient */

/* W^T (n, f) in panels over f, from W (f, n) in panels over n. */
static void fm_refresh_transposed(const fm_stage *s, const fm_shard *u)
{
    const int64_t N = s->to->width, left = N - u->j * FM_PANEL;
    const int64_t width = left < FM_PANEL ? left : FM_PANEL;
    const T *W = fm_operands(s) + u->j * s->from->width * FM_PANEL;
    T *WT = s->part[FM_TRANSPOSED];
    for (int64_t f = u->f0; f < u->f1; f += FM_PANEL) {
        const int64_t height = u->f1 - f < FM_PANEL ? u->f1 - f : FM_PANEL;
        fm_transpose(WT + (f * N + u->j * FM_PANEL * FM_PANEL), FM_PANEL, W + f * FM_PANEL,
                     FM_PANEL, height, width);
    }
}

static void fm_refresh(const fm_stage *s, const fm_shard *u)
{
    const T *W = fm_weights(s, FM_PARAMS) + u->at;
    for (int64_t i = 0; i < u->n && s->rounds; i += FM_LANES)
        v_store(fm_operands(s) + u->at + i, v_rounded(v_load(W + i)));
    if (s->part[FM_TRANSPOSED])
        fm_refresh_transposed(s, u);
    if (s->part[FM_SQUARES])
        fm_refresh_squares(s, u);
}

/* dW of features f0..f1 from the non-zeros of a CSR batch. Wide: panel of delta,
 * G (features, NR); narrow: delta^T, G (panels of features, n, NR). */
static void fm_gradient_csr(const fm_stage *s, const fm_buckets *buckets, int64_t f0, int64_t f1,
                            const T *D, int64_t ld, T *G, int resume)
{
    const int narrow = fm_is_narrow(s->to);
    const int64_t u = f0 / FM_SHARD_FEATURES, N = s->to->width;
    const T *value = buckets->value;
    if (!resume)
        memset(G, 0, (size_t)(narrow ? fm_padded(f1 - f0) * N : (f1 - f0) * FM_PANEL) * sizeof(T));
    for (int64_t i = buckets->start[u]; i < buckets->start[u + 1]; i++) {
        const int64_t f = buckets->feature[i];
        const V x = v_set1(value[i]);
        if (narrow) {
            T *g = G + f / FM_PANEL * N * FM_PANEL + f % FM_PANEL;
            for (int64_t n = 0; n < N; n++)
                g[n * FM_PANEL] =
                    v_fma(x, v_set1(D[n * ld + buckets->row[i]]), v_set1(g[n * FM_PANEL]))[0];
        } else {
            T *g = G + f * FM_PANEL;
            const T *d = D + (int64_t)buckets->row[i] * FM_PANEL;
            FM_EACH_VECTOR(v)
                v_store(g + v, v_fma(x, v_load(d + v), v_load(g + v)));
        }
    }
}

/* dW of a shard over one part of the rows. */
static void fm_sum_part(const fm_stage *s, const fm_pass *pass, const fm_shard *u, int first,
                        int part, T *G)
{
    const int narrow = fm_is_narrow(s->to), resume = pass->resume;
    const int64_t N = s->to->width, ld = fm_ld(s->to->max_rows), m = pass->batch->n_rows;
    const int64_t r0 = fm_part_row(m, s->parts, part), r1 = fm_part_row(m, s->parts, part + 1);
    const T *D = narrow ? (T *)s->to->part[FM_OUTPUT] + r0 : fm_panel(s->to, FM_DELTA, u->j, r0);
    const T *A = s->from->part[FM_ACTS];
    const int half = !narrow && fm_half_panel(N - u->j * FM_PANEL);
    fm_feature_rows *lists = NULL;
    if (!A) {
        fm_gradient_csr(s, pass->batch->buckets, u->f0, u->f1, D, ld, G, resume);
        return;
    }
    A += r0 * FM_PANEL;
    if (narrow) {
        fm_gemm_narrow(G, D, ld, N, A, ld * FM_PANEL, u->f0, u->f1 - u->f0, r1 - r0, resume);
        return;
    }
    A += u->f0 / FM_PANEL * ld * FM_PANEL;
    if (fm_lists_features(s))
        lists = &((fm_shard_scratch *)pass->scratch)->lists[part];
    if (lists && (first || lists->first != u->f0))
        fm_list_features(lists, u->f0, u->f1 - u->f0, A, ld * FM_PANEL, r1 - r0);
    fm_gemm_columns(G, A, ld * FM_PANEL, u->f1 - u->f0, D, r1 - r0, half, resume, lists);
}

/* db: the sum of delta over m rows. Wide: of one panel, (NR,), in four chains by
 * row mod 4 because one would wait for each addition; narrow: (n,), by fm_sum16. */
static void fm_gradient_bias(const fm_stage *s, const T *D, int64_t ld, int64_t m, T *g, int resume)
{
    if (!fm_is_narrow(s->to)) {
        V sum[4][FM_NV];
        FM_EACH(i, 4)
            FM_EACH(v, FM_NV)
                sum[i][v] = i == 0 && resume ? v_load(g + v * FM_LANES) : v_zero();
        int64_t r = 0;
        for (; r + 4 <= m; r += 4)
            FM_EACH(i, 4)
                FM_EACH(v, FM_NV)
                    sum[i][v] += v_load(D + (r + i) * FM_PANEL + v * FM_LANES);
        FM_EACH(i, 3)
            FM_EACH(v, FM_NV)
                if (r + i < m)
                    sum[i][v] += v_load(D + (r + i) * FM_PANEL + v * FM_LANES);
        FM_EACH(v, FM_NV)
            v_store(g + v * FM_LANES, (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]));
        return;
    }
    for (int64_t n = 0; n < s->to->width; n++) {
        V lanes[FM_GROUP];
        FM_EACH(i, FM_GROUP)
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

static void fm_sum_bias_part(const fm_stage *s, const fm_pass *pass, const fm_shard *u, int part,
                             T *g)
{
    const int64_t ld = fm_ld(s->to->max_rows), m = pass->batch->n_rows;
    const int64_t r0 = fm_part_row(m, s->parts, part), r1 = fm_part_row(m, s->parts, part + 1);
    const T *D = fm_is_narrow(s->to) ? (T *)s->to->part[FM_OUTPUT] + r0
                                     : fm_panel(s->to, FM_DELTA, u->j, r0);
    fm_gradient_bias(s, D, ld, r1 - r0, g, pass->resume);
    if (fm_is_narrow(s->to)) /* the update runs over the padding too */
        memset(g + s->to->width, 0, (size_t)(fm_padded(s->to->width) - s->to->width) * sizeof(T));
}

/* What is summed: dW or db of a shard. */
typedef struct {
    const fm_stage *stage;
    const fm_pass *pass;
    const fm_shard *shard;
    int first; /* see fm_sum_weights */
    int biases;
    int64_t n; /* numbers */
} fm_summing;

static void fm_sum_parts(const fm_summing *x, int begin, int end, T *G, fm_run_sums *half)
{
    if (end - begin > 1) {
        const int middle = (begin + end) / 2;
        fm_sum_parts(x, begin, middle, G, half);
        fm_sum_parts(x, middle, end, *half, half + 1);
        for (int64_t i = 0; i < x->n; i += FM_LANES)
            v_store(G + i, v_load(G + i) + v_load(*half + i));
    } else if (fm_part_row(x->pass->batch->n_rows, x->stage->parts, begin) ==
               fm_part_row(x->pass->batch->n_rows, x->stage->parts, end)) {
        memset(G, 0, (size_t)x->n * sizeof(T));
    } else if (x->biases) {
        fm_sum_bias_part(x->stage, x->pass, x->shard, begin, G);
    } else {
        fm_sum_part(x->stage, x->pass, x->shard, x->first, begin, G);
    }
}

static void fm_sum_weights(const fm_stage *s, const fm_pass *pass, const fm_shard *u, int first,
                           T *G)
{
    const fm_summing what = {s, pass, u, first, 0, u->n};
    fm_shard_scratch *scratch = pass->scratch;
    if (s->parts == 1)
        fm_sum_part(s, pass, u, first, 0, G);
    else
        fm_sum_parts(&what, pass->first_part, pass->end_part, G, scratch->half);
}

static void fm_sum_biases(const fm_stage *s, const fm_pass *pass, const fm_shard *u, T *g)
{
    const int64_t N = s->to->width, n = fm_is_narrow(s->to) ? fm_padded(N) : FM_PANEL;
    const fm_summing what = {s, pass, u, 0, 1, n};
    fm_shard_scratch *scratch = pass->scratch;
    if (s->parts == 1)
        fm_sum_bias_part(s, pass, u, 0, g);
    else
        fm_sum_parts(&what, pass->first_part, pass->end_part, g, scratch->half);
}

#endif
