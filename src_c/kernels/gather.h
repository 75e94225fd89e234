/* gather.h - rows of dense X, of any type and stride, into the input layout. */
#ifndef FM_GATHER_H
#define FM_GATHER_H

#include "kernels/layout.h"

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

#endif
