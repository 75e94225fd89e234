/* api.c - entry points that choose a kernel set: they check, choose, and pass on. */
#include "engine/check.h"
#include "engine/net.h"

#include <stdlib.h>

/* Whether products and activations are all there is. */
static int is_plain(const fm_network *network, int training)
{
    int plain = fm_is_dense(network);
    if (training)
        plain &= network->input_dropout == 0;
    for (int l = 0; l < network->n_layers && training; l++)
        plain &= network->layers[l].dropout == 0;
    return plain;
}

fm_status fm_net_create(fm_net **out, const fm_config *config)
{
    *out = NULL;
    fm_status status = fm_check_config(config);
    if (status != FM_OK)
        return status;
    const fm_network *network = &config->network;
    const fm_kernels *kernels =
        fm_select_kernels(config->isa, network->dtype, is_plain(network, 1), &status);
    return kernels ? fm_net_build(out, kernels, config) : status;
}

fm_status fm_check_finite(const fm_matrix *X, const char *isa)
{
    fm_status status = FM_BAD_ARGUMENT;
    if (X->indices || (X->dtype != FM_FLOAT32 && X->dtype != FM_FLOAT64))
        return status;
    const fm_kernels *kernels = fm_select_kernels(isa, X->dtype, 1, &status);
    if (!kernels)
        return status;
    fm_matrix rows = *X;
    if (llabs(X->row_stride) < llabs(X->col_stride)) { /* columns are nearer in memory */
        rows.n_rows = X->n_cols, rows.row_stride = X->col_stride;
        rows.n_cols = X->n_rows, rows.col_stride = X->row_stride;
    }
    const fm_batch all = {.X = &rows, .n_rows = rows.n_rows};
    return kernels->rows_finite(&all, 0, rows.n_rows) ? FM_OK : FM_NOT_FINITE;
}

fm_status fm_predict(void *out, const fm_matrix *X, const fm_network *network,
                     const fm_parameters *parameters, const char *isa, int check_finite,
                     const fm_interrupt *interrupt, int n_threads)
{
    fm_watch watch = {.interrupt = interrupt ? *interrupt : (fm_interrupt){NULL, NULL}};
    fm_status status = fm_check_prediction(X, network, &watch, n_threads);
    if (status != FM_OK)
        return status;
    const fm_kernels *kernels =
        fm_select_kernels(isa, network->dtype, is_plain(network, 0), &status);
    if (!kernels)
        return status;
    return fm_predict_on(kernels, out, X, network, parameters, check_finite, &watch, n_threads);
}
