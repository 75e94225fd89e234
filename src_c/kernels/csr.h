/* csr.h - the non-zeros of CSR rows, of any type of index and value. */
#ifndef FM_CSR_H
#define FM_CSR_H

#include "kernels/layout.h"

FM_INLINE int64_t fm_index(const void *array, int bytes, int64_t i)
{
    return bytes == 4 ? ((const int32_t *)array)[i] : ((const int64_t *)array)[i];
}

/* A run of non-zeros of one row, converted. */
enum { FM_CSR_CHUNK = 128 };
typedef struct {
    int64_t feature[FM_CSR_CHUNK];
    T value[FM_CSR_CHUNK];
} fm_csr_chunk;

static int fm_read_chunk(fm_csr_chunk *chunk, const fm_matrix *X, int64_t i, int64_t end,
                         int rounds)
{
    int n = end - i < FM_CSR_CHUNK ? (int)(end - i) : FM_CSR_CHUNK;
    if (X->index_bytes == 4)
        for (int e = 0; e < n; e++)
            chunk->feature[e] = ((const int32_t *)X->indices)[i + e];
    else
        memcpy(chunk->feature, (const int64_t *)X->indices + i, (size_t)n * sizeof(int64_t));
    if (X->dtype == FM_FLOAT32)
        for (int e = 0; e < n; e++)
            chunk->value[e] = (T)((const float *)X->data)[i + e];
    else
        for (int e = 0; e < n; e++)
            chunk->value[e] = (T)((const double *)X->data)[i + e];
    if (rounds)
        fm_round(chunk->value, n);
    return n;
}

/* z[0..width) += values of the chunk times rows of W, from column 0 of a panel:
 * row f at W + f * row_step. width is FM_PANEL or, at a row-major edge, less.
 * next: from there to what is read next of the row, which is asked for. rounds, a constant: W is
 * read as bfloat16. */
FM_INLINE void fm_add_chunk_of(const int rounds, T *z, const fm_csr_chunk *chunk, int n, const T *W,
                               ptrdiff_t row_step, int64_t width, ptrdiff_t next)
{
    if (width == FM_PANEL) {
        V acc[FM_NV];
        FM_EACH(v, FM_NV)
            acc[v] = v_load(z + v * FM_LANES);
        for (int e = 0; e < n; e++) {
            const T *w = W + chunk->feature[e] * row_step;
            V x = v_set1(chunk->value[e]);
            __builtin_prefetch(w + next);
            FM_EACH(v, FM_NV) {
                const V weight = v_load(w + v * FM_LANES);
                acc[v] = v_fma(x, rounds ? v_rounded(weight) : weight, acc[v]);
            }
        }
        FM_EACH(v, FM_NV)
            v_store(z + v * FM_LANES, acc[v]);
        return;
    }
    for (int64_t i = 0; i < width; i += FM_LANES) {
        int c = width - i < FM_LANES ? (int)(width - i) : FM_LANES;
        V acc = v_load(z + i);
        for (int e = 0; e < n; e++) {
            const V weight = v_load_part(W + chunk->feature[e] * row_step + i, c);
            acc = v_fma(v_set1(chunk->value[e]), rounds ? v_rounded(weight) : weight, acc);
        }
        v_store(z + i, acc);
    }
}

static void fm_add_chunk(T *z, const fm_csr_chunk *chunk, int n, const T *W, ptrdiff_t row_step,
                         int64_t width, ptrdiff_t next, int rounds)
{
    if (rounds && !FM_F64)
        fm_add_chunk_of(1, z, chunk, n, W, row_step, width, next);
    else
        fm_add_chunk_of(0, z, chunk, n, W, row_step, width, next);
}

#endif
