/* csr.h - the non-zeros of CSR rows, of any type of index and value. */
#ifndef FM_CSR_H
#define FM_CSR_H

#include "kernels/layout.h"

FM_INLINE int64_t fm_index(const void *array, int bytes, int64_t i)
{
    return bytes == 4 ? ((const int32_t *)array)[i] : ((const int64_t *)array)[i];
}

FM_INLINE T fm_nonzero(const fm_matrix *X, int64_t i)
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
        chunk->value[e] = fm_nonzero(X, i + e);
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

#endif
