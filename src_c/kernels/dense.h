/* dense.h - forward and backward through a layer of panels. */
#ifndef FM_DENSE_H
#define FM_DENSE_H

#include "kernels/layout.h"
#include "kernels/activate.h"

static void fm_activate_rows(const fm_layer *l, int64_t r0, int64_t r1)
{
    const int row = l->activation.row;
    const int in_epilogue = row == FM_ACT_identity || row == FM_ACT_relu;
    if (in_epilogue && !FM_BF16)
        return;
    for (int64_t j = 0; j < fm_panels(l->fan_out); j++) {
        T *A = (T *)l->part[FM_ACTS] + (j * fm_ld(l->max_rows) + r0) * FM_PANEL;
        if (!in_epilogue)
            fm_activate(&l->activation, A, (r1 - r0) * FM_PANEL);
        fm_to_operands(A, (r1 - r0) * FM_PANEL);
    }
}

FM_INLINE T fm_floor(const fm_layer *l)
{
    return !l->is_output && l->activation.row == FM_ACT_relu ? 0 : (T)-INFINITY;
}

static void fm_forward(const fm_layer *l, void *scratch, int64_t r0, int64_t r1)
{
    const int64_t K = l->fan_in, ld = fm_ld(l->max_rows);
    const T *W = fm_operands(l), *bias = fm_bias(l, FM_PARAMS);
    if (fm_is_narrow(l)) {
        fm_gemm_dot(l->part[FM_OUTPUT], ld, l->input, ld * FM_PANEL, W, K, l->fan_out, r0, r1,
                    bias);
        return;
    }
    fm_gemm_rows(l->part[l->is_output ? FM_DELTA : FM_ACTS], ld * FM_PANEL, l->input,
                 FM_ALONG_PANEL, ld * FM_PANEL, W, K, l->fan_out, r0, r1, bias, fm_floor(l), NULL,
                 scratch);
    if (!l->is_output)
        fm_activate_rows(l, r0, r1);
}

static void fm_backward(const fm_layer *l, const fm_layer *below, void *scratch, int64_t r0,
                        int64_t r1)
{
    const int64_t ld = fm_ld(l->max_rows), a_panel = ld * FM_PANEL;
    const int narrow = fm_is_narrow(l);
    const T *A = below->part[FM_ACTS], *mask = below->activation.row == FM_ACT_relu ? A : NULL;
    T *D = below->part[FM_DELTA];
    fm_gemm_rows(D, a_panel, l->part[narrow ? FM_OUTPUT : FM_DELTA],
                 narrow ? FM_ACROSS : FM_ALONG_PANEL, narrow ? ld : a_panel,
                 narrow ? fm_operands(l) : l->part[FM_TRANSPOSED], l->fan_out, l->fan_in, r0, r1,
                 NULL, 0, mask, scratch);
    if (!mask && below->activation.row != FM_ACT_identity)
        for (int64_t j = 0; j < fm_panels(below->fan_out); j++)
            fm_activate_backward(&below->activation, D + (j * ld + r0) * FM_PANEL,
                                 A + (j * ld + r0) * FM_PANEL, (r1 - r0) * FM_PANEL);
    for (int64_t j = 0; j < fm_panels(below->fan_out) && FM_BF16; j++)
        fm_to_operands(D + (j * ld + r0) * FM_PANEL, (r1 - r0) * FM_PANEL);
}

#endif
