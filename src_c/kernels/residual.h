/* residual.h - residual connections (He, Zhang, Ren, Sun 2016, "Deep residual learning for
 * image recognition", CVPR): what a layer was given is added to what it puts out, after a
 * projection where the widths differ. A projection is a stage of its own, which leaves its
 * product where the sum is to be.
 */
#ifndef FM_RESIDUAL_H
#define FM_RESIDUAL_H

#include "kernels/finish.h"

/* Non-zeros of CSR X onto rows r0..r1 of a value. */
static void fm_add_nonzeros(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const fm_batch *batch = pass->batch;
    const fm_matrix *X = batch->X;
    fm_csr_chunk chunk;
    for (int64_t r = r0; r < r1; r++) {
        const int64_t row = fm_batch_row(batch, r);
        const int64_t end = fm_index(X->indptr, X->index_bytes, row + 1);
        for (int64_t i = fm_index(X->indptr, X->index_bytes, row); i < end; i += FM_CSR_CHUNK) {
            const int n = fm_read_kept(&chunk, s->skip, pass, i, end, r);
            for (int e = 0; e < n; e++) {
                const int64_t f = chunk.feature[e];
                fm_panel(s->to, FM_ACTS, f / FM_PANEL, r)[f % FM_PANEL] += chunk.value[e];
            }
        }
    }
}

static void fm_add(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const int scatters = s->skip && !s->skip->part[FM_ACTS];
    const int64_t n = (r1 - r0) * FM_PANEL;
    FM_ASSERT_ROWS(s->to, pass, r0, r1);
    for (int64_t j = 0; j < fm_panels(s->to->width); j++) {
        const T *a = fm_panel(s->from, FM_ACTS, j, r0);
        T *to = fm_panel(s->to, FM_ACTS, j, r0);
        const T *b = s->skip && !scatters ? fm_panel(s->skip, FM_ACTS, j, r0) : to;
        if (scatters)
            memcpy(to, a, (size_t)n * sizeof(T));
        for (int64_t i = 0; i < n && !scatters; i += FM_LANES)
            v_store(to + i, v_load(a + i) + v_load(b + i));
    }
    if (scatters)
        fm_add_nonzeros(s, pass, r0, r1);
    for (int64_t j = 0; j < fm_panels(s->to->width) && s->to->rounds; j++)
        fm_round(fm_panel(s->to, FM_ACTS, j, r0), n);
}

/* Delta of the sum to both that were added. */
static void fm_add_back(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const size_t bytes = (size_t)((r1 - r0) * FM_PANEL) * sizeof(T);
    FM_ASSERT_ROWS(s->to, pass, r0, r1);
    for (int64_t j = 0; j < fm_panels(s->to->width); j++) {
        const T *delta = fm_panel(s->to, FM_DELTA, j, r0);
        if (s->skip && s->skip->part[FM_DELTA])
            memcpy(fm_panel(s->skip, FM_DELTA, j, r0), delta, bytes);
        memcpy(fm_panel(s->from, FM_DELTA, j, r0), delta, bytes);
        fm_finish_delta(s->from, pass, j, r0, r1, 0);
    }
}

#endif
