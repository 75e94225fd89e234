/* selftest.c - whether two kernel sets compute the same on a small network.
 *
 * Kernel sets for rarely exercised instructions are checked against the emulation
 * before first use: a mistake of theirs, of the compiler, a hypervisor or the CPU then
 * costs speed and no results. The numbers are chosen so that every sum is exact in any
 * order, while operands have to be rounded: results must agree to the bit. Steps and
 * gradients over several blocks of rows, dense and CSR; a layer whose derivative follows
 * from its outputs, and one that keeps it. Such sets are for dense layers only.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/net.h"

/* More than one block of 32 and of 128 in every direction, and remainders. */
enum { ROWS = 75, BLOCK = 40, FEW = 5, N_LAYERS = 3 };
enum { INPUTS = 150, FIRST = 70, SECOND = 40, OUTPUTS = 37 };
static const fm_layer layers[N_LAYERS] = {
    {.width = FIRST, .activation = {.row = FM_ACT_relu}},
    {.width = SECOND, .activation = {.row = FM_ACT_hardswish}},
    {.width = OUTPUTS, .activation = {.row = FM_ACT_identity}},
};
static const fm_network network = {
    .dtype = FM_BFLOAT16, .n_inputs = INPUTS, .n_layers = N_LAYERS, .layers = layers};
enum {
    BEFORE_SECOND = (INPUTS + 1) * FIRST,
    BEFORE_OUTPUTS = BEFORE_SECOND + (FIRST + 1) * SECOND,
    N_PARAMS = BEFORE_OUTPUTS + (SECOND + 1) * OUTPUTS,
    N_RESULTS = 2 * N_PARAMS + (ROWS + FEW) * OUTPUTS + 2
};

typedef struct {
    float X[ROWS * INPUTS], y[ROWS * OUTPUTS], params[N_PARAMS];
    float values[ROWS * INPUTS]; /* X once more, in CSR */
    int32_t indices[ROWS * INPUTS], indptr[ROWS + 1];
    float results[2][N_RESULTS];
} memory;

/* Numbers next to 0, 1 and 2, to which they are rounded as bfloat16. Zeros keep the sums
 * small, and so do those that are set in make(): no sum takes more than 23 bits. */
static void fill(float *to, int64_t n, uint32_t seed)
{
    static const float near[16] = {1, -1, 1 + 0x1p-8f, -1 - 0x1p-8f, 2 - 0x1p-8f};
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u; /* Knuth, Lewis: as in Numerical Recipes */
        to[i] = near[seed >> 28];
    }
}

static void make(memory *m)
{
    fill(m->X, ROWS * INPUTS, 1);
    fill(m->params, N_PARAMS, 2);
    for (int i = 0; i < FIRST; i++)
        m->params[BEFORE_SECOND - 1 - i] = -0x1p-9f; /* so that activations are rounded */
    for (int i = 1; i < INPUTS * FIRST; i += 2)
        m->params[i] = 0;
    /* Multiples of 8, plus 4: there hardswish is exact, and so is its derivative. */
    for (int i = BEFORE_SECOND; i < BEFORE_OUTPUTS - SECOND; i++)
        m->params[i] *= (i - BEFORE_SECOND) % 5 ? 0 : 8;
    for (int i = 0; i < SECOND; i++)
        m->params[BEFORE_OUTPUTS - 1 - i] = 4;
    for (int i = 0; i < ROWS * OUTPUTS; i++)
        m->y[i] = 0.5f; /* so that deltas are rounded */
    int32_t nnz = 0;
    for (int r = 0; r < ROWS; r++) {
        m->indptr[r] = nnz;
        for (int k = 0; k < INPUTS; k++) {
            m->indices[nnz] = k;
            m->values[nnz] = m->X[r * INPUTS + k];
            nnz += m->values[nnz] != 0;
        }
    }
    m->indptr[ROWS] = nnz;
}

static void cut(fm_parameters to[N_LAYERS], float *params)
{
    int64_t fan_in = INPUTS;
    for (int l = 0; l < N_LAYERS; l++) {
        to[l].W = params;
        to[l].b = params + fan_in * layers[l].width;
        params += (fan_in + 1) * layers[l].width;
        fan_in = layers[l].width;
    }
}

/* One step on all rows, or the gradient of all of them in blocks, into params. */
static fm_status train(float *params, double *loss, const fm_kernels *k, memory *m,
                       const fm_matrix *X, int updates)
{
    int64_t order[ROWS], step = 0;
    for (int r = 0; r < ROWS; r++)
        order[r] = (r * 7 + 3) % ROWS;
    const fm_config config = {
        .network = network,
        .loss = {.row = FM_LOSS_squared_error},
        .optimizer = {.row = updates ? FM_OPTIMIZER_sgd : FM_OPTIMIZER_none},
        .max_rows = updates ? ROWS : BLOCK,
        .max_nnz = X->nnz,
    };
    const fm_targets y = {.values = m->y};
    fm_parameters start[N_LAYERS], result[N_LAYERS];
    cut(start, m->params);
    cut(result, params);
    fm_net *net;
    fm_status status = fm_net_build(&net, k, &config);
    if (status != FM_OK)
        return status;
    status = fm_net_load(net, -1, start);
    if (status == FM_OK && updates)
        status = fm_net_train(net, loss, &step, X, &y, NULL, order, ROWS, ROWS, 0x1p-10, 1);
    else if (status == FM_OK)
        status = fm_net_loss_grad(net, loss, result, X, &y, NULL, 1);
    if (status == FM_OK && updates)
        status = fm_net_store(net, -1, result);
    fm_net_free(net);
    return status;
}

static fm_status run(float *results, const fm_kernels *k, memory *m, fm_matrix X)
{
    fm_watch watch = {.work = 0};
    double loss[2];
    fm_parameters start[N_LAYERS];
    fm_status status = train(results, &loss[0], k, m, &X, 1);
    results += N_PARAMS;
    if (status == FM_OK)
        status = train(results, &loss[1], k, m, &X, 0);
    results += N_PARAMS;
    cut(start, m->params);
    for (int few = 0; few < 2 && status == FM_OK; few++) {
        X.n_rows = few ? FEW : ROWS;
        status = fm_predict_on(k, results, &X, &network, start, 0, &watch, 1);
        results += X.n_rows * OUTPUTS;
    }
    for (int i = 0; i < 2 && status == FM_OK; i++)
        results[i] = (float)loss[i];
    return status;
}

int fm_selftest(const fm_kernels *set, const fm_kernels *emulation)
{
    memory *m = malloc(sizeof(*m));
    if (!m)
        return 0;
    make(m);
    const fm_matrix dense = {.dtype = FM_FLOAT32,
                             .n_rows = ROWS,
                             .n_cols = INPUTS,
                             .data = m->X,
                             .row_stride = INPUTS * sizeof(float),
                             .col_stride = sizeof(float)};
    const fm_matrix csr = {.dtype = FM_FLOAT32,
                           .n_rows = ROWS,
                           .n_cols = INPUTS,
                           .data = m->values,
                           .indices = m->indices,
                           .indptr = m->indptr,
                           .nnz = m->indptr[ROWS],
                           .index_bytes = 4};
    int same = 1;
    for (int sparse = 0; sparse < 2 && same; sparse++) {
        const fm_matrix X = sparse ? csr : dense;
        same =
            run(m->results[0], set, m, X) == FM_OK && run(m->results[1], emulation, m, X) == FM_OK;
        for (int i = 0; i < N_RESULTS && same; i++)
            same = m->results[0][i] == m->results[1][i];
    }
    free(m);
    return same;
}
