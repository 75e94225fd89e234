/* csr.h - what reads the non-zeros of CSR rows: the first layer, and its gradient. */
#ifndef FM_CSR_H
#define FM_CSR_H

#include "kernels/dense.h"

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
        FM_EACH(v, FM_NV)
            acc[v] = v_load(z + v * FM_LANES);
        for (int e = 0; e < n; e++) {
            const T *w = W + chunk->feature[e] * row_step;
            V x = v_set1(chunk->value[e]);
            FM_EACH(v, FM_NV)
                acc[v] = v_fma(x, v_operand(v_load(w + v * FM_LANES)), acc[v]);
        }
        FM_EACH(v, FM_NV)
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
            FM_EACH_VECTOR(v)
                v_store(g + v, v_fma(x, v_load(d + v), v_load(g + v)));
        }
    }
}

#endif
