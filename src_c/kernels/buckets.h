/* buckets.h - the non-zeros of a CSR mini-batch by features, for the weight gradient. */
#ifndef FM_BUCKETS_H
#define FM_BUCKETS_H

#include "kernels/dropout.h"

static int64_t fm_n_buckets(const fm_matrix *X)
{
    return (X->n_cols + FM_SHARD_FEATURES - 1) / FM_SHARD_FEATURES;
}

/* Afterwards start holds where the non-zeros of each bucket begin. */
static void fm_count_nonzeros(fm_buckets *buckets, const fm_batch *batch, int64_t r0, int64_t r1)
{
    const fm_matrix *X = batch->X;
    const int64_t n = fm_n_buckets(X);
    int64_t *start = buckets->start;
    if (r0 == 0)
        memset(start, 0, (size_t)(n + 1) * sizeof(*start));
    for (int64_t r = r0; r < r1; r++) {
        const int64_t row = fm_batch_row(batch, r);
        const int64_t end = fm_index(X->indptr, X->index_bytes, row + 1);
        for (int64_t i = fm_index(X->indptr, X->index_bytes, row); i < end; i++)
            start[fm_index(X->indices, X->index_bytes, i) / FM_SHARD_FEATURES + 1]++;
    }
    for (int64_t u = 0; u < n && r1 == batch->n_rows; u++)
        start[u + 1] += start[u];
}

static void fm_place_chunk(fm_buckets *buckets, const fm_csr_chunk *chunk, int n, int64_t r)
{
    T *value = buckets->value;
    for (int e = 0; e < n; e++) {
        const int64_t f = chunk->feature[e], at = buckets->start[f / FM_SHARD_FEATURES]++;
        buckets->feature[at] = (int32_t)(f % FM_SHARD_FEATURES);
        buckets->row[at] = (int32_t)r;
        value[at] = chunk->value[e];
    }
}

static void fm_place_nonzeros(fm_buckets *buckets, const fm_value *v, const fm_pass *pass,
                              int64_t r0, int64_t r1)
{
    const fm_batch *batch = pass->batch;
    const fm_matrix *X = batch->X;
    int64_t *start = buckets->start;
    fm_csr_chunk chunk;
    for (int64_t r = r0; r < r1; r++) {
        const int64_t row = fm_batch_row(batch, r);
        const int64_t end = fm_index(X->indptr, X->index_bytes, row + 1);
        for (int64_t i = fm_index(X->indptr, X->index_bytes, row); i < end; i += FM_CSR_CHUNK) {
            const int n = fm_read_kept(&chunk, v, pass, i, end, r);
            fm_place_chunk(buckets, &chunk, n, r);
        }
    }
    if (r1 < batch->n_rows)
        return;
    for (int64_t u = fm_n_buckets(X); u > 0; u--) /* placing moved every start to its end */
        start[u] = start[u - 1];
    start[0] = 0;
}

#endif
