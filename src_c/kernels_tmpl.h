/* kernels_tmpl.h - one kernel set: fills a struct fm_kernels for the ISA and
 * element type whose simd/ header was included before. isa/<isa>_f32.c,
 * isa/<isa>_f64.c and isa/<isa>_bf16.c include it once each.
 *
 * With FM_BF16 the operands of all products are bfloat16 numbers that lie in
 * floats: an emulation, slower than float32, for machines without instructions
 * for them. A product of two such numbers is exact in float; sums are floats.
 * Rounded are: X as it is gathered, activations after f, deltas after f', and
 * W into a copy that the update refreshes. W, b, the solver's state, outputs and
 * losses stay floats.
 *
 * Layouts of this family of sets (see gemm.h for panels):
 *   input, acts        panels over features, ld rows
 *   params, wide       W in panels over outputs, fan_in rows; then b, padded
 *   params, narrow     W^T in panels over features, fan_out rows; then b, padded
 *   params, FM_BF16    and, in FM_PARAMS only, a rounded copy of W
 *   transposed         W^T in panels over features, fan_out rows (wide, not first)
 *   delta              panels over outputs, ld rows (narrow: none, FM_OUTPUT serves)
 *   output             Z^T (fan_out, ld) row-major
 *   squares            sums of w^2 over a unit's features: [unit of features][output]
 */
#include <math.h>
#include <stdlib.h>

#include "kernels.h"

#include "activations.h"
#include "gemm.h"
#include "losses.h"
#include "optimizers.h"

/* --------------------------------------------------------------- operands */

#ifndef FM_BF16
#define FM_BF16 0
#endif
#ifndef FM_PACKED
#define FM_PACKED 0 /* 1: this serves kernels_bf16.h, which takes what it can use */
#endif

/* What a product reads in place of x: x rounded to bfloat16, the nearest one and
 * of two the even one. NaN stays. */
FM_INLINE V v_operand(V x)
{
#if FM_BF16
    const VU bits = (VU)x;
    const VU rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    return v_select(v_eq(x, x), (V)rounded, x);
#else
    return x;
#endif
}

/* x[0..n) in place. */
FM_INLINE void fm_to_operands(T *x, int64_t n)
{
    int64_t i = 0;
    if (!FM_BF16)
        return;
    for (; i + FM_LANES <= n; i += FM_LANES)
        v_store(x + i, v_operand(v_load(x + i)));
    if (i < n)
        v_store_part(x + i, v_operand(v_load_part(x + i, (int)(n - i))), (int)(n - i));
}

/* ----------------------------------------------------------------- layouts */

FM_INLINE int64_t fm_panels(int64_t cols) { return (cols + FM_PANEL - 1) / FM_PANEL; }

FM_INLINE int64_t fm_padded(int64_t cols) { return fm_panels(cols) * FM_PANEL; }

/* Rows between panels: odd, so that panels do not all start in one cache set. */
FM_INLINE int64_t fm_ld(int64_t max_rows) { return max_rows | 1; }

FM_INLINE int fm_is_narrow(const fm_layer *l)
{
    return !FM_PACKED && l->is_output && l->fan_out <= FM_NARROW;
}

FM_INLINE int64_t fm_weights_size(const fm_layer *l)
{
    return fm_is_narrow(l) ? fm_padded(l->fan_in) * l->fan_out : l->fan_in * fm_padded(l->fan_out);
}

FM_INLINE T *fm_weights(const fm_layer *l, int part) { return l->part[part]; }

FM_INLINE T *fm_bias(const fm_layer *l, int part)
{
    return l->part[part] ? fm_weights(l, part) + fm_weights_size(l) : NULL;
}

/* W as products read it, in the layout of FM_PARAMS. */
FM_INLINE T *fm_operands(const fm_layer *l)
{
    return FM_BF16 ? fm_bias(l, FM_PARAMS) + fm_padded(l->fan_out) : fm_weights(l, FM_PARAMS);
}

/* a * b + c elements in bytes; SIZE_MAX on overflow. */
static size_t fm_bytes(int64_t a, int64_t b, int64_t c)
{
    size_t n;
    if (__builtin_mul_overflow(a, b, &n) || __builtin_add_overflow(n, (size_t)c, &n) ||
        __builtin_mul_overflow(n, sizeof(T), &n) || n > PTRDIFF_MAX)
        return SIZE_MAX;
    return n;
}

static size_t fm_panels_bytes(int64_t rows, int64_t cols)
{
    return cols > INT64_MAX - FM_PANEL ? SIZE_MAX : fm_bytes(rows, fm_padded(cols), 0);
}

static int64_t fm_feature_units(const fm_layer *l)
{
    return (l->fan_in + FM_UNIT_FEATURES - 1) / FM_UNIT_FEATURES;
}

static size_t fm_part_bytes(int part, const fm_layer *l)
{
    const int narrow = fm_is_narrow(l);
    if (l->fan_in > INT64_MAX - FM_UNIT_FEATURES || l->fan_out > INT64_MAX - FM_PANEL)
        return SIZE_MAX;
    switch (part) {
    case FM_TRANSPOSED: return narrow ? 0 : fm_bytes(l->fan_out, fm_padded(l->fan_in), 0);
    case FM_SQUARES: return fm_bytes(fm_feature_units(l), l->fan_out, 0);
    case FM_ACTS: return l->is_output ? 0 : fm_panels_bytes(fm_ld(l->max_rows), l->fan_out);
    case FM_DELTA: return narrow ? 0 : fm_panels_bytes(fm_ld(l->max_rows), l->fan_out);
    case FM_OUTPUT: return l->is_output ? fm_bytes(fm_ld(l->max_rows), l->fan_out, 0) : 0;
    default: break;
    }
    const int64_t rows = narrow ? fm_padded(l->fan_in) : l->fan_in;
    const int64_t cols = narrow ? l->fan_out : fm_padded(l->fan_out);
    const size_t bytes = fm_bytes(rows, cols, fm_padded(l->fan_out));
    size_t both;
    if (!FM_BF16 || part != FM_PARAMS || bytes == SIZE_MAX)
        return bytes;
    return __builtin_add_overflow(bytes, fm_bytes(rows, cols, 0), &both) ? SIZE_MAX : both;
}

static size_t fm_input_bytes(int64_t max_rows, int64_t n_features)
{
    return fm_panels_bytes(fm_ld(max_rows), n_features);
}

/* ------------------------------------------------ parameters in and out */

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

/* ------------------------------------------------------------------ input */

FM_INLINE int fm_is_plain(const fm_matrix *X)
{
    return X->dtype == (FM_F64 ? FM_FLOAT64 : FM_FLOAT32) && X->col_stride == sizeof(T);
}

/* n elements of a row of X, any type and stride, as T. */
static void fm_read_row(T *to, const fm_matrix *X, int64_t row, int64_t col, int64_t n)
{
    const char *from = (const char *)X->data + row * X->row_stride + col * X->col_stride;
    if (fm_is_plain(X))
        memcpy(to, from, (size_t)n * sizeof(T));
    else if (X->dtype == FM_FLOAT32)
        for (int64_t i = 0; i < n; i++, from += X->col_stride)
            to[i] = (T) * (const float *)from;
    else
        for (int64_t i = 0; i < n; i++, from += X->col_stride)
            to[i] = (T) * (const double *)from;
}

static void fm_read_whole_row(void *to, const fm_matrix *X, int64_t row)
{
    fm_read_row(to, X, row, 0, X->n_cols);
}

static int fm_rows_finite(const fm_batch *batch, int64_t r0, int64_t r1)
{
    const fm_matrix *X = batch->X;
    int64_t K = X->n_cols;
    if (!batch->rows && X->row_stride == K * X->col_stride) { /* as well one long row */
        K *= r1 - r0;
        r1 = r0 + 1;
    }
    V seen[4] = {v_zero(), v_zero(), v_zero(), v_zero()}; /* chains, for their latency */
    double seen_one = 0; /* 0 times a finite number is 0, else NaN */
    for (int64_t r = r0; r < r1; r++) {
        const char *from = (const char *)X->data + fm_batch_row(batch, r) * X->row_stride;
        int64_t k = 0;
        if (fm_is_plain(X)) {
            const T *x = (const T *)from;
            for (; k + 4 * FM_LANES <= K; k += 4 * FM_LANES)
                for (int c = 0; c < 4; c++)
                    seen[c] = v_fold_finite(seen[c], v_load(x + k + c * FM_LANES));
            for (; k + FM_LANES <= K; k += FM_LANES)
                seen[0] = v_fold_finite(seen[0], v_load(x + k));
        }
        for (; k < K; k++) {
            const char *x = from + k * X->col_stride;
            seen_one += 0 * (double)(X->dtype == FM_FLOAT32 ? (T) * (const float *)x
                                                            : (T) * (const double *)x);
        }
    }
    return v_all_finite((seen[0] + seen[1]) + (seen[2] + seen[3])) && seen_one == 0;
}

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

static void fm_gather(void *input, const fm_batch *batch, int64_t max_rows, int64_t r0, int64_t r1)
{
    const fm_matrix *X = batch->X;
    const int64_t K = X->n_cols, ld = fm_ld(max_rows);
    const int plain = fm_is_plain(X);
    for (int64_t r = r0; r < r1; r++) {
        if (batch->rows && r + FM_ROWS_AHEAD < r1)
            fm_prefetch_row(batch, r + FM_ROWS_AHEAD);
        const int64_t row = fm_batch_row(batch, r);
        T *to = (T *)input + r * FM_PANEL;
        int64_t k = 0;
        if (plain) {
            const T *from = (const T *)((const char *)X->data + row * X->row_stride);
            for (; k + FM_PANEL <= K; k += FM_PANEL, to += ld * FM_PANEL)
                for (int v = 0; v < FM_PANEL; v += FM_LANES)
                    v_store(to + v, v_operand(v_load(from + k + v)));
        } else {
            for (; k + FM_PANEL <= K; k += FM_PANEL, to += ld * FM_PANEL) {
                fm_read_row(to, X, row, k, FM_PANEL);
                fm_to_operands(to, FM_PANEL);
            }
        }
        if (k == K)
            continue;
        if (plain) {
            const T *from = (const T *)((const char *)X->data + row * X->row_stride) + k;
            for (int v = 0; v < FM_PANEL; v += FM_LANES) {
                const int64_t left = K - k - v;
                v_store(to + v, left >= FM_LANES ? v_load(from + v)
                                : left > 0       ? v_load_part(from + v, (int)left)
                                                 : v_zero());
            }
        } else {
            fm_read_row(to, X, row, k, K - k);
            for (int64_t i = K - k; i < FM_PANEL; i++)
                to[i] = 0;
        }
        fm_to_operands(to, FM_PANEL);
    }
}

/* -------------------------------------------------------------------- CSR */

FM_INLINE int64_t fm_index(const void *array, int bytes, int64_t i)
{
    return bytes == 4 ? ((const int32_t *)array)[i] : ((const int64_t *)array)[i];
}

FM_INLINE T fm_value(const fm_matrix *X, int64_t i)
{
    const T x =
        X->dtype == FM_FLOAT32 ? (T)((const float *)X->data)[i] : (T)((const double *)X->data)[i];
    return FM_BF16 ? v_operand(v_set1(x))[0] : x;
}

/* A run of non-zeros of one row, converted. */
enum { FM_CSR_CHUNK = 128 };
typedef struct {
    int64_t feature[FM_CSR_CHUNK];
    T value[FM_CSR_CHUNK];
} fm_csr_chunk;

static int fm_read_chunk(fm_csr_chunk *chunk, const fm_matrix *X, int64_t i, int64_t end)
{
    int n = end - i < FM_CSR_CHUNK ? (int)(end - i) : FM_CSR_CHUNK;
    for (int e = 0; e < n; e++) {
        chunk->feature[e] = fm_index(X->indices, X->index_bytes, i + e);
        chunk->value[e] = fm_value(X, i + e);
    }
    return n;
}

/* z[0..width) += values of the chunk times rows of W, from column 0 of a panel:
 * row f at W + f * row_step. width is FM_PANEL or, at a row-major edge, less.
 * Row-major W has not been rounded, what has is not changed by rounding it again. */
FM_INLINE void fm_add_chunk(T *z, const fm_csr_chunk *chunk, int n, const T *W, ptrdiff_t row_step,
                            int64_t width)
{
    if (width == FM_PANEL) {
        V acc[FM_NV];
        _Pragma("GCC unroll 16")
        for (int v = 0; v < FM_NV; v++)
            acc[v] = v_load(z + v * FM_LANES);
        for (int e = 0; e < n; e++) {
            const T *w = W + chunk->feature[e] * row_step;
            V x = v_set1(chunk->value[e]);
            _Pragma("GCC unroll 16")
            for (int v = 0; v < FM_NV; v++)
                acc[v] = v_fma(x, v_operand(v_load(w + v * FM_LANES)), acc[v]);
        }
        _Pragma("GCC unroll 16")
        for (int v = 0; v < FM_NV; v++)
            v_store(z + v * FM_LANES, acc[v]);
        return;
    }
    for (int64_t i = 0; i < width; i += FM_LANES) {
        int c = width - i < FM_LANES ? (int)(width - i) : FM_LANES;
        V acc = v_load(z + i);
        for (int e = 0; e < n; e++)
            acc = v_fma(v_set1(chunk->value[e]),
                        v_operand(v_load_part(W + chunk->feature[e] * row_step + i, c)), acc);
        v_store(z + i, acc);
    }
}

static void fm_activate_rows(const fm_layer *l, int64_t r0, int64_t r1)
{
    const int in_epilogue = l->activation == FM_ACT_identity || l->activation == FM_ACT_relu;
    if (in_epilogue && !FM_BF16)
        return;
    for (int64_t j = 0; j < fm_panels(l->fan_out); j++) {
        T *A = (T *)l->part[FM_ACTS] + (j * fm_ld(l->max_rows) + r0) * FM_PANEL;
        if (!in_epilogue)
            fm_activate(l->activation, A, (r1 - r0) * FM_PANEL);
        fm_to_operands(A, (r1 - r0) * FM_PANEL);
    }
}

FM_INLINE T fm_floor(const fm_layer *l)
{
    return !l->is_output && l->activation == FM_ACT_relu ? 0 : (T)-INFINITY;
}

static void fm_forward_csr(const fm_layer *l, const fm_batch *batch, int64_t r0, int64_t r1)
{
    const fm_matrix *X = batch->X;
    const int64_t K = l->fan_in, N = l->fan_out, ld = fm_ld(l->max_rows);
    const int narrow = fm_is_narrow(l), raw = l->raw_W != NULL;
    const T *W = raw ? l->raw_W : fm_operands(l);
    const T *bias = raw ? l->raw_b : fm_bias(l, FM_PARAMS);
    const V floor = v_set1(fm_floor(l));
    fm_csr_chunk chunk;
    for (int64_t r = r0; r < r1; r++) {
        const int64_t row = fm_batch_row(batch, r);
        const int64_t begin = fm_index(X->indptr, X->index_bytes, row);
        const int64_t end = fm_index(X->indptr, X->index_bytes, row + 1);
        if (narrow) { /* few outputs: one scalar chain each */
            T *Z = (T *)l->part[FM_OUTPUT] + r;
            T z[FM_NARROW] = {0};
            for (int64_t i = begin; i < end; i += FM_CSR_CHUNK) {
                int n = fm_read_chunk(&chunk, X, i, end);
                for (int e = 0; e < n; e++) {
                    const int64_t f = chunk.feature[e];
                    const T *w = raw ? W + f * N : W + f / FM_PANEL * N * FM_PANEL + f % FM_PANEL;
                    for (int64_t k = 0; k < N; k++)
                        z[k] = v_fma(v_set1(chunk.value[e]),
                                     v_operand(v_set1(w[raw ? k : k * FM_PANEL])), v_set1(z[k]))[0];
                }
            }
            for (int64_t k = 0; k < N; k++)
                Z[k * ld] = z[k] + bias[k];
            continue;
        }
        T *Z = (T *)l->part[l->is_output ? FM_DELTA : FM_ACTS] + r * FM_PANEL;
        for (int64_t j = 0; j < fm_panels(N); j++)
            for (int v = 0; v < FM_PANEL; v += FM_LANES)
                v_store(Z + j * ld * FM_PANEL + v, v_zero());
        for (int64_t i = begin; i < end; i += FM_CSR_CHUNK) {
            int n = fm_read_chunk(&chunk, X, i, end);
            for (int64_t j = 0; j < fm_panels(N); j++) {
                int64_t width = raw && N - j * FM_PANEL < FM_PANEL ? N - j * FM_PANEL : FM_PANEL;
                fm_add_chunk(Z + j * ld * FM_PANEL, &chunk, n,
                             raw ? W + j * FM_PANEL : W + j * K * FM_PANEL, raw ? N : FM_PANEL,
                             width);
            }
        }
        for (int64_t j = 0; j < fm_panels(N); j++)
            for (int v = 0; v < FM_PANEL; v += FM_LANES) {
                T *z = Z + j * ld * FM_PANEL + v;
                int64_t left = N - j * FM_PANEL - v;
                int c = left >= FM_LANES ? FM_LANES : left > 0 ? (int)left : 0;
                v_store(z, v_max(floor, v_load(z) + v_load_part(bias + j * FM_PANEL + v, c)));
            }
    }
    if (!l->is_output)
        fm_activate_rows(l, r0, r1);
}

static void fm_fill_buckets(fm_buckets *buckets, const fm_batch *batch)
{
    const fm_matrix *X = batch->X;
    const int64_t units = (X->n_cols + FM_UNIT_FEATURES - 1) / FM_UNIT_FEATURES;
    int64_t *start = buckets->start;
    T *value = buckets->value;
    memset(start, 0, (size_t)(units + 1) * sizeof(*start));
    for (int pass = 0; pass < 2; pass++) { /* count, then place */
        for (int64_t r = 0; r < batch->n_rows; r++) {
            const int64_t row = fm_batch_row(batch, r);
            const int64_t end = fm_index(X->indptr, X->index_bytes, row + 1);
            for (int64_t i = fm_index(X->indptr, X->index_bytes, row); i < end; i++) {
                const int64_t f = fm_index(X->indices, X->index_bytes, i);
                const int64_t u = f / FM_UNIT_FEATURES;
                if (pass == 0) {
                    start[u + 1]++;
                } else {
                    const int64_t at = start[u]++;
                    buckets->feature[at] = (int32_t)(f % FM_UNIT_FEATURES);
                    buckets->row[at] = (int32_t)r;
                    value[at] = fm_value(X, i);
                }
            }
        }
        if (pass == 0)
            for (int64_t u = 0; u < units; u++)
                start[u + 1] += start[u];
    }
    for (int64_t u = units; u > 0; u--) /* placing moved every start to its end */
        start[u] = start[u - 1];
    start[0] = 0;
}

/* ------------------------------------------------------- forward, outputs */

static void fm_forward(const fm_layer *l, int64_t r0, int64_t r1)
{
    const int64_t K = l->fan_in, ld = fm_ld(l->max_rows);
    const T *W = fm_operands(l), *bias = fm_bias(l, FM_PARAMS);
    if (fm_is_narrow(l)) {
        fm_gemm_dot(l->part[FM_OUTPUT], ld, l->input, ld * FM_PANEL, W, K, l->fan_out, r0, r1,
                    bias);
        return;
    }
    fm_gemm_rows(l->part[l->is_output ? FM_DELTA : FM_ACTS], ld * FM_PANEL, l->input,
                 FM_ALONG_PANEL, ld * FM_PANEL, W, K, l->fan_out, r0, r1, bias, fm_floor(l), NULL);
    if (!l->is_output)
        fm_activate_rows(l, r0, r1);
}

/* Panels <-> Z^T, for rows r0..r1 of a wide output layer. */
static void fm_transpose_output(const fm_layer *l, int to_panels, int64_t r0, int64_t r1)
{
    const int64_t N = l->fan_out, ld = fm_ld(l->max_rows);
    T *Z = l->part[FM_DELTA], *ZT = l->part[FM_OUTPUT];
    for (int64_t j = 0; j < fm_panels(N); j++) {
        const int64_t width = N - j * FM_PANEL < FM_PANEL ? N - j * FM_PANEL : FM_PANEL;
        T *z = Z + (j * ld + r0) * FM_PANEL, *zt = ZT + j * FM_PANEL * ld + r0;
        if (to_panels)
            fm_transpose(z, FM_PANEL, zt, ld, width, r1 - r0);
        else
            fm_transpose(zt, ld, z, FM_PANEL, r1 - r0, width);
    }
}

/* Z -> f(Z) in FM_OUTPUT. */
static void fm_finish_outputs(const fm_layer *l, int64_t r0, int64_t r1)
{
    if (!fm_is_narrow(l))
        fm_transpose_output(l, 0, r0, r1);
    fm_output_activation(l->activation, l->part[FM_OUTPUT], fm_ld(l->max_rows), l->fan_out, r0, r1);
}

static void fm_loss(const fm_layer *l, double *row_loss, int loss, const fm_batch *batch,
                    int64_t r0, int64_t r1)
{
    fm_finish_outputs(l, r0, r1);
    fm_rows_loss(loss, l->part[FM_OUTPUT], fm_ld(l->max_rows), l->fan_out, row_loss, l->activation,
                 batch, r0, r1);
    for (int64_t n = 0; n < l->fan_out && FM_BF16; n++)
        fm_to_operands((T *)l->part[FM_OUTPUT] + n * fm_ld(l->max_rows) + r0, r1 - r0);
    if (!fm_is_narrow(l))
        fm_transpose_output(l, 1, r0, r1);
}

static void fm_outputs(const fm_layer *l, void *out, int64_t r0, int64_t r1)
{
    const int64_t N = l->fan_out, ld = fm_ld(l->max_rows);
    const T *ZT = l->part[FM_OUTPUT];
    fm_finish_outputs(l, r0, r1);
    fm_transpose(out, N, ZT + r0, ld, N, r1 - r0);
}

/* --------------------------------------------------------------- backward */

static void fm_backward(const fm_layer *l, const fm_layer *below, int64_t r0, int64_t r1)
{
    const int64_t ld = fm_ld(l->max_rows), a_panel = ld * FM_PANEL;
    const int narrow = fm_is_narrow(l);
    const T *A = below->part[FM_ACTS], *mask = below->activation == FM_ACT_relu ? A : NULL;
    T *D = below->part[FM_DELTA];
    fm_gemm_rows(D, a_panel, l->part[narrow ? FM_OUTPUT : FM_DELTA],
                 narrow ? FM_ACROSS : FM_ALONG_PANEL, narrow ? ld : a_panel,
                 narrow ? fm_operands(l) : l->part[FM_TRANSPOSED], l->fan_out, l->fan_in, r0, r1,
                 NULL, 0, mask);
    if (!mask && below->activation != FM_ACT_identity)
        for (int64_t j = 0; j < fm_panels(below->fan_out); j++)
            fm_activate_backward(below->activation, D + (j * ld + r0) * FM_PANEL,
                                 A + (j * ld + r0) * FM_PANEL, (r1 - r0) * FM_PANEL);
    for (int64_t j = 0; j < fm_panels(below->fan_out) && FM_BF16; j++)
        fm_to_operands(D + (j * ld + r0) * FM_PANEL, (r1 - r0) * FM_PANEL);
}

/* --------------------------------------------------- gradient and update */

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

/* dW of features f0..f1 from the non-zeros of a CSR batch. Wide: panel of delta,
 * G (features, NR); narrow: delta^T, G (panels of features, n, NR). */
static void fm_gradient_csr(const fm_layer *l, const fm_buckets *buckets, int64_t f0, int64_t f1,
                            const T *D, int64_t ld, T *G, int resume)
{
    const int narrow = fm_is_narrow(l);
    const int64_t u = f0 / FM_UNIT_FEATURES, N = l->fan_out;
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
            _Pragma("GCC unroll 16")
            for (int v = 0; v < FM_PANEL; v += FM_LANES)
                v_store(g + v, v_fma(x, v_load(d + v), v_load(g + v)));
        }
    }
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
            _Pragma("GCC unroll 16")
        for (int i = 0; i < FM_GROUP; i++) {
            int64_t left = m - r - i * FM_LANES;
            if (left > 0)
                lanes[i] += v_load_part(D + n * ld + r + i * FM_LANES,
                                        left < FM_LANES ? (int)left : FM_LANES);
        }
        g[n] = (resume ? g[n] : 0) + fm_sum16(lanes);
    }
}

static void fm_gradient_unit(const fm_layer *l, const fm_batch *batch, int64_t unit,
                             const fm_gradient_use *use, fm_feature_rows *lists)
{
    const int narrow = fm_is_narrow(l), resume = use->resume;
    const int64_t N = l->fan_out, ld = fm_ld(l->max_rows), m = batch->n_rows;
    const int64_t width = narrow ? 1 : fm_panels(N), j = unit % width;
    const int64_t f0 = unit / width * FM_UNIT_FEATURES;
    const int64_t f1 = l->fan_in - f0 < FM_UNIT_FEATURES ? l->fan_in : f0 + FM_UNIT_FEATURES;
    const int64_t n = narrow ? fm_padded(f1 - f0) * N : (f1 - f0) * FM_PANEL;
    const int64_t at = narrow ? f0 * N : (j * l->fan_in + f0) * FM_PANEL;
    const T *D = narrow ? l->part[FM_OUTPUT] : (T *)l->part[FM_DELTA] + j * ld * FM_PANEL;
    T room[FM_UNIT_FEATURES * (FM_PANEL > FM_NARROW ? FM_PANEL : FM_NARROW)];
    T *G = l->part[FM_GRADIENT] ? fm_weights(l, FM_GRADIENT) + at : room;
    const int half = !narrow && fm_half_panel(N - j * FM_PANEL);

    if (half && G == room) /* the update runs over the padding too */
        memset(room, 0, (size_t)n * sizeof(T));
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
        T *s0 = fm_weights(l, FM_SLOTS), *s1 = fm_weights(l, FM_SLOTS + 1);
        fm_update(fm_weights(l, FM_PARAMS) + at, s0 + at, s1 ? s1 + at : NULL, G, n, 1, use->step);
        fm_refresh(l, j, f0, f1);
    }
    if (f0 > 0)
        return;
    /* The first unit of every panel takes the biases along. */
    const int64_t nb = narrow ? fm_padded(N) : FM_PANEL, b0 = j * FM_PANEL;
    T bias_room[FM_PANEL > FM_NARROW ? FM_PANEL : FM_NARROW] = {0};
    T *g = l->part[FM_GRADIENT] ? fm_bias(l, FM_GRADIENT) + b0 : bias_room;
    fm_gradient_bias(l, D, ld, m, g, resume);
    if (use->step) {
        T *s0 = fm_bias(l, FM_SLOTS), *s1 = fm_bias(l, FM_SLOTS + 1);
        fm_update(fm_bias(l, FM_PARAMS) + b0, s0 + b0, s1 ? s1 + b0 : NULL, g, nb, 0, use->step);
    }
}

/* Units u0..u1. Neighbours are panels of the same features and share lists. */
static void fm_gradient(const fm_layer *l, const fm_batch *batch, int64_t u0, int64_t u1,
                        const fm_gradient_use *use)
{
    fm_feature_rows lists;
    lists.first = -1;
    const int listed = !fm_is_narrow(l) && fm_may_list(l->fan_in, l->fan_out);
    for (int64_t u = u0; u < u1; u++)
        fm_gradient_unit(l, batch, u, use, listed ? &lists : NULL);
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

/* In plain C and one order, so that it is the same on every ISA. */
static double fm_sum_squares(const fm_layer *l)
{
    const T *squares = l->part[FM_SQUARES];
    const int64_t n = fm_feature_units(l) * l->fan_out;
    double sum[4] = {0};
    for (int64_t i = 0; i < n; i++)
        sum[i % 4] += (double)squares[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* ------------------------------------------------------- a few rows, raw W */

/* Some features of up to FM_FEW rows: their values, and their rows of W. */
enum { FM_FEW_K = 8 };
typedef struct {
    int n;
    T x[FM_FEW_K][FM_FEW];
    const T *W[FM_FEW_K];
} fm_few_features;

/* nv vectors of z (rows, N), from column n, += x W. */
FM_INLINE void fm_few_tile(const int rows, const int nv, T *z, int64_t N, int64_t n,
                           const fm_few_features *f)
{
    V acc[FM_FEW][4];
    _Pragma("GCC unroll 16")
    for (int i = 0; i < rows; i++)
        _Pragma("GCC unroll 16")
    for (int v = 0; v < nv; v++)
        acc[i][v] = v_load(z + i * N + n + v * FM_LANES);
    for (int k = 0; k < f->n; k++) {
        V w[4];
        _Pragma("GCC unroll 16")
        for (int v = 0; v < nv; v++)
            w[v] = v_operand(v_load(f->W[k] + n + v * FM_LANES));
        _Pragma("GCC unroll 16")
        for (int i = 0; i < rows; i++) {
            const V x = v_set1(f->x[k][i]);
            _Pragma("GCC unroll 16")
            for (int v = 0; v < nv; v++)
                acc[i][v] = v_fma(x, w[v], acc[i][v]);
        }
    }
    _Pragma("GCC unroll 16")
    for (int i = 0; i < rows; i++)
        _Pragma("GCC unroll 16")
    for (int v = 0; v < nv; v++)
        v_store(z + i * N + n + v * FM_LANES, acc[i][v]);
}

FM_INLINE void fm_few_add(const int rows, T *z, int64_t N, const fm_few_features *f)
{
    const int nv = rows == 1 ? 4 : 2;
    int64_t n = 0;
    for (; n + nv * FM_LANES <= N; n += nv * FM_LANES)
        fm_few_tile(rows, nv, z, N, n, f);
    for (; n + FM_LANES <= N; n += FM_LANES)
        fm_few_tile(rows, 1, z, N, n, f);
    if (n == N)
        return;
    const int c = (int)(N - n);
    V acc[FM_FEW];
    _Pragma("GCC unroll 16")
    for (int i = 0; i < rows; i++)
        acc[i] = v_load_part(z + i * N + n, c);
    for (int k = 0; k < f->n; k++) {
        const V w = v_operand(v_load_part(f->W[k] + n, c));
        _Pragma("GCC unroll 16")
        for (int i = 0; i < rows; i++)
            acc[i] = v_fma(v_set1(f->x[k][i]), w, acc[i]);
    }
    _Pragma("GCC unroll 16")
    for (int i = 0; i < rows; i++)
        v_store_part(z + i * N + n, acc[i], c);
}

/* z (rows, N) = x (rows, K) W + b with W row-major, for up to FM_FEW rows. Memory
 * sets the pace: W is read once, from front to back and some of its rows at a
 * time; rows that only meet zeros (dark pixels, half of what relu leaves) are not
 * read at all (0 times a finite weight adds nothing). Every element is one chain
 * along k, through z. */
FM_INLINE void fm_few_rows(const int rows, T *z, const T *x, const T *W, const T *b, int64_t K,
                           int64_t N)
{
    fm_few_features f;
    f.n = 0;
    memset(z, 0, (size_t)(rows * N) * sizeof(T));
    for (int64_t k = 0; k < K; k++) {
        int matters = 0;
        _Pragma("GCC unroll 16")
        for (int i = 0; i < rows; i++) {
            f.x[f.n][i] = x[i * K + k];
            matters |= x[i * K + k] != 0;
        }
        f.W[f.n] = W + k * N;
        f.n += matters;
        if (f.n == FM_FEW_K || k + 1 == K) {
            fm_few_add(rows, z, N, &f);
            f.n = 0;
        }
    }
    for (int i = 0; i < rows; i++)
        for (int64_t n = 0; n < N; n++)
            z[i * N + n] += b[n];
}

static void fm_predict_few(void *out, void *scratch, const void *x, int64_t n_rows, int n_layers,
                           const int64_t *units, const void *const *W, const void *const *b,
                           const int *activations)
{
    int64_t widest = 0;
    for (int i = 0; i <= n_layers; i++)
        widest = units[i] > widest ? units[i] : widest;
    const T *from = x;
    if (FM_BF16) { /* rounded into the room that the second layer writes to */
        from = memcpy((T *)scratch + FM_FEW * widest, x, (size_t)(n_rows * units[0]) * sizeof(T));
        fm_to_operands((T *)from, n_rows * units[0]);
    }
    for (int i = 0; i < n_layers; i++) {
        const int64_t K = units[i], N = units[i + 1];
        T *to = i + 1 == n_layers ? out : (T *)scratch + i % 2 * FM_FEW * widest;
        switch (n_rows) {
        case 1: fm_few_rows(1, to, from, W[i], b[i], K, N); break;
        case 2: fm_few_rows(2, to, from, W[i], b[i], K, N); break;
        case 3: fm_few_rows(3, to, from, W[i], b[i], K, N); break;
        default: fm_few_rows(4, to, from, W[i], b[i], K, N); break;
        }
        if (activations[i] != FM_ACT_softmax) {
            fm_activate(activations[i], to, n_rows * N);
            if (i + 1 < n_layers)
                fm_to_operands(to, n_rows * N);
            from = to;
            continue;
        }
        for (int64_t r = 0; r < n_rows; r++) /* a row is one column of Z^T with ld 1 */
            fm_softmax(to + r * N, 1, N, 0, 1);
    }
}

/* -------------------------------------------------------------------- set */

#define FM_JOIN_(a, b, c) a##b##c
#define FM_JOIN(a, b, c) FM_JOIN_(a, b, c)
#if FM_F64
#define FM_SUFFIX _f64
#elif FM_BF16
#define FM_SUFFIX _bf16
#else
#define FM_SUFFIX _f32
#endif

#if !FM_PACKED
extern const fm_kernels FM_JOIN(fm_kernels_, FM_ISA, FM_SUFFIX);
const fm_kernels FM_JOIN(fm_kernels_, FM_ISA, FM_SUFFIX) = {
    .isa = FM_ISA_NAME,
    .dtype = FM_F64 ? FM_FLOAT64 : FM_FLOAT32,
    .item = sizeof(T),
    .row_unit = 1,
    .part_bytes = fm_part_bytes,
    .input_bytes = fm_input_bytes,
    .load = fm_load,
    .store = fm_store,
    .rows_finite = fm_rows_finite,
    .gather = fm_gather,
    .fill_buckets = fm_fill_buckets,
    .forward = fm_forward,
    .forward_csr = fm_forward_csr,
    .loss = fm_loss,
    .outputs = fm_outputs,
    .backward = fm_backward,
    .n_units = fm_n_units,
    .unit_cost = fm_unit_cost,
    .gradient = fm_gradient,
    .scale_gradient = fm_scale_gradient,
    .sum_squares = fm_sum_squares,
    .read_row = fm_read_whole_row,
    .predict_few = fm_predict_few,
};
#endif
