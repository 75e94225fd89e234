/* loss.h - raw outputs to outputs, losses and delta. */
#ifndef FM_LOSS_H
#define FM_LOSS_H

#include "kernels/params.h"
#include "kernels/row_loss.h"

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
    fm_output_activation(&l->activation, l->part[FM_OUTPUT], fm_ld(l->max_rows), l->fan_out, r0,
                         r1);
}

static void fm_loss(const fm_layer *l, double *row_loss, const fm_choice *loss,
                    const fm_batch *batch, int64_t r0, int64_t r1)
{
    fm_finish_outputs(l, r0, r1);
    fm_rows_loss(l, row_loss, loss, batch, r0, r1);
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

#endif
