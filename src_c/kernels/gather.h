/* gather.h - rows of dense X, of any type and stride. */
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
                FM_EACH(c, 4)
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

#endif
