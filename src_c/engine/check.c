/* check.c - whether the engine's arguments make sense; see check.h. */
#include "engine/check.h"

static int is_share(double p) { return p >= 0 && p < 1; }

static int is_layer(const fm_layer *layer, int is_output)
{
    const fm_table_row *row = fm_activation_row(layer->activation.row);
    if (layer->width < 1 || !fm_is_choice(row, &layer->activation))
        return 0;
    if (is_output)
        return (row->where & FM_FOR_OUTPUT) && layer->dropout == 0 && !layer->residual &&
               layer->normalization == FM_NO_NORM;
    return (row->where & FM_FOR_HIDDEN) && is_share(layer->dropout) &&
           (unsigned)layer->normalization <= FM_LAYER_NORM;
}

static int is_network(const fm_network *n)
{
    if ((n->dtype != FM_FLOAT32 && n->dtype != FM_FLOAT64 && n->dtype != FM_BFLOAT16) ||
        n->n_inputs < 1 || n->n_layers < 1 || !is_share(n->input_dropout))
        return 0;
    for (int l = 0; l < n->n_layers; l++)
        if (!is_layer(&n->layers[l], l + 1 == n->n_layers))
            return 0;
    return 1;
}

static int is_loss(const fm_config *c)
{
    const fm_table_row *row = fm_loss_row(c->loss.row);
    if (!fm_is_choice(row, &c->loss))
        return 0;
    if (!c->loss_parameters)
        return 1;
    for (int64_t k = 0; k < c->network.layers[c->network.n_layers - 1].width; k++)
        if (!fm_is_in_bounds(&row->parameters[0], c->loss_parameters[k]))
            return 0;
    return row->parameters[0].per_output;
}

fm_status fm_check_config(const fm_config *c)
{
    if (!is_network(&c->network) || !is_loss(c) ||
        (c->optimizer.row != FM_OPTIMIZER_none &&
         !fm_is_choice(fm_optimizer_row(c->optimizer.row), &c->optimizer)) ||
        c->max_rows < 1 || c->max_nnz < 0 || !is_share(c->averaging) || !(c->max_grad_norm >= 0))
        return FM_BAD_ARGUMENT;
    return FM_OK;
}

int fm_has_slot(const fm_net *net, int slot)
{
    return slot >= -1 && slot < net->plan.use.n_slots + net->plan.use.averages;
}

/* Row numbers and labels. */
static fm_status check_rows(const fm_batch *data, int64_t n_outputs, fm_watch *watch)
{
    const int32_t *labels = data->y->labels;
    for (int64_t i = 0; i < data->n_rows; i++) {
        const int64_t row = fm_batch_row(data, i);
        if (row < 0 || row >= data->X->n_rows)
            return FM_BAD_DATA;
        if (labels && (labels[row] < 0 || labels[row] >= n_outputs))
            return FM_BAD_DATA;
        if (fm_ends_at_row(watch, 0, i))
            return FM_INTERRUPTED;
    }
    return FM_OK;
}

static int64_t index_at(const void *array, int bytes, int64_t i)
{
    return bytes == 4 ? ((const int32_t *)array)[i] : ((const int64_t *)array)[i];
}

/* Rows of CSR X lie within its arrays and columns, and no block_rows consecutive ones
 * have more than max_nnz non-zeros. */
static fm_status check_csr(const fm_batch *batch, int64_t block_rows, int64_t max_nnz,
                           fm_watch *watch)
{
    const fm_matrix *X = batch->X;
    int64_t block_nnz = 0;
    if (X->index_bytes != 4 && X->index_bytes != 8)
        return FM_BAD_CSR;
    for (int64_t i = 0; i < batch->n_rows; i++) {
        const int64_t row = fm_batch_row(batch, i);
        const int64_t begin = index_at(X->indptr, X->index_bytes, row);
        const int64_t end = index_at(X->indptr, X->index_bytes, row + 1);
        if (begin < 0 || end < begin || end > X->nnz)
            return FM_BAD_CSR;
        for (int64_t e = begin; e < end; e++) {
            const int64_t col = index_at(X->indices, X->index_bytes, e);
            if (col < 0 || col >= X->n_cols)
                return FM_BAD_CSR;
        }
        block_nnz = end - begin + (i % block_rows ? block_nnz : 0);
        if (block_nnz > max_nnz)
            return FM_BAD_CSR;
        if (fm_ends(watch, 0, 2.0 * (double)(end - begin + 8)))
            return FM_INTERRUPTED;
    }
    return FM_OK;
}

/* Data for a network, in mini-batches. */
static fm_status check_data(const fm_net *net, const fm_batch *data, int64_t batch_size,
                            fm_watch *watch, int n_threads)
{
    const fm_plan *plan = &net->plan;
    const fm_matrix *X = data->X;
    const fm_targets *y = data->y;
    const int64_t n_outputs = fm_plan_outputs(plan)->width, block = plan->use.max_rows;
    if (X->n_cols != plan->values[0].width || !X->indices != !net->max_nnz || n_threads < 0)
        return FM_BAD_ARGUMENT;
    if ((y->labels != NULL) == (y->values != NULL))
        return FM_BAD_ARGUMENT;
    if (y->labels && (fm_loss_row(net->loss.row)->targets != FM_TARGETS_CLASS || n_outputs == 1))
        return FM_BAD_ARGUMENT;
    fm_status status = check_rows(data, n_outputs, watch);
    for (int64_t i = 0; X->indices && status == FM_OK && i < data->n_rows; i += batch_size) {
        const fm_batch batch = fm_batch_part(data, i, batch_size);
        status = check_csr(&batch, block, net->max_nnz, watch);
    }
    return status;
}

/* Batch normalisation sees a mini-batch as a whole, and needs two rows for a variance. */
static int normalizes_batches(const fm_plan *plan, int64_t n_rows, int64_t batch_size)
{
    if (!plan->use.whole_batches || n_rows == 0)
        return 1;
    const int64_t rows = n_rows < batch_size ? n_rows : batch_size, last = n_rows % batch_size;
    return rows <= plan->use.max_rows && rows > 1 && last != 1;
}

fm_status fm_check_training(const fm_net *net, const fm_batch *data, int64_t batch_size,
                            int64_t step, fm_watch *watch, int n_threads)
{
    const int64_t block = net->plan.use.max_rows;
    if (net->step.optimizer.row == FM_OPTIMIZER_none || data->n_rows < 0 || batch_size < 1 ||
        step < 0)
        return FM_BAD_ARGUMENT;
    /* Larger batches than announced would need a gradient kept between blocks. */
    if (batch_size > block && data->n_rows > block && !net->plan.use.keeps_gradient)
        return FM_BAD_ARGUMENT;
    if (!normalizes_batches(&net->plan, data->n_rows, batch_size))
        return FM_BAD_ARGUMENT;
    return check_data(net, data, batch_size, watch, n_threads);
}

fm_status fm_check_gradient(const fm_net *net, const fm_batch *data, fm_watch *watch, int n_threads)
{
    if (!net->plan.use.keeps_gradient || data->n_rows < 1 ||
        !normalizes_batches(&net->plan, data->n_rows, data->n_rows))
        return FM_BAD_ARGUMENT;
    return check_data(net, data, data->n_rows, watch, n_threads);
}

fm_status fm_check_prediction(const fm_matrix *X, const fm_network *network, fm_watch *watch,
                              int n_threads)
{
    if (!is_network(network) || X->n_cols != network->n_inputs || X->n_rows < 0 || n_threads < 0)
        return FM_BAD_ARGUMENT;
    const fm_batch all = {.X = X, .n_rows = X->n_rows};
    return X->indices && X->n_rows > 0 ? check_csr(&all, 1, X->nnz, watch) : FM_OK;
}
