/* loss.h - raw outputs to outputs, losses and delta. */
#ifndef FM_LOSS_H
#define FM_LOSS_H

#include "kernels/params.h"
#include "kernels/row_loss.h"

/* Z^T -> f(Z)^T in FM_OUTPUT. */
static void fm_activate_outputs(const fm_value *v, int64_t r0, int64_t r1)
{
    const int64_t ld = fm_ld(v->max_rows);
    fm_output_activation(&v->activation, v->part[FM_OUTPUT], ld, v->width, r0, r1);
}

static void fm_loss(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    FM_ASSERT_ROWS(s->to, pass, r0, r1);
    FM_ASSERT(s->to->is_output && pass->row_loss);
    fm_collect_outputs(s->to, r0, r1);
    fm_activate_outputs(s->to, r0, r1);
    fm_rows_loss(s->to, pass, r0, r1);
    fm_spread_delta(s->to, r0, r1);
}

static void fm_outputs(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const int64_t N = s->to->width, ld = fm_ld(s->to->max_rows);
    FM_ASSERT_ROWS(s->to, pass, r0, r1);
    FM_ASSERT(s->to->is_output && pass->out);
    fm_collect_outputs(s->to, r0, r1);
    fm_activate_outputs(s->to, r0, r1);
    fm_transpose((T *)pass->out + r0 * N, N, (T *)s->to->part[FM_OUTPUT] + r0, ld, N, r1 - r0);
}

#endif
