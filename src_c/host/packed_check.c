/* packed_check.c - whether two kernel sets compute the same on a small network.
 *
 * Sets for instructions that few have seen work are held against the emulation
 * before anybody gets them: a mistake of theirs, of the compiler, a hypervisor or
 * the CPU then costs speed and no results. X, W and y are small integers, on which
 * sums in any order are exact, so every number must agree.
 */
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

/* More than one block of 32 and of 128 in every direction, and remainders. */
enum { ROWS = 75, INPUTS = 150, HIDDEN = 70, OUTPUTS = 37, N_LAYERS = 2 };
static const int64_t units[N_LAYERS + 1] = {INPUTS, HIDDEN, OUTPUTS};
enum {
    N_PARAMS = INPUTS * HIDDEN + HIDDEN + HIDDEN * OUTPUTS + OUTPUTS,
    N_RESULTS = ROWS * OUTPUTS + N_PARAMS
};

/* -1, 0 or 1. */
static void fill(float *to, int64_t n, uint32_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u; /* Knuth, Lewis: as in Numerical Recipes */
        to[i] = (float)((int)((seed >> 24) % 3) - 1);
    }
}

/* Memory for scratch, the input and all parts of the layers, zeroed; NULL if there is
 * none. Scratch comes first, and is more than enough. */
static char *lay_out(fm_layer *layers, const fm_kernels *k)
{
    char *memory = NULL;
    for (size_t used = 0;; used = 0) {
        for (int l = 0; l < N_LAYERS; l++)
            used += (k->scratch_bytes(&layers[l]) + 63) & ~(size_t)63;
        void *input = memory + used;
        used += k->input_bytes(ROWS, INPUTS);
        for (int l = 0; l < N_LAYERS; l++)
            for (int part = 0; part < FM_N_PARTS; part++) {
                const int wanted = part != FM_SLOTS + 1 && part != FM_GRADIENT &&
                                   part != FM_SQUARES && (part != FM_TRANSPOSED || l > 0);
                used = (used + 63) & ~(size_t)63;
                const size_t bytes = wanted ? k->part_bytes(part, &layers[l]) : 0;
                if (memory && bytes)
                    layers[l].part[part] = memory + used;
                used += bytes;
            }
        if (memory) {
            layers[0].input = input;
            layers[1].input = layers[0].part[FM_ACTS];
            return memory;
        }
        if (posix_memalign((void **)&memory, 64, used) != 0)
            return NULL;
        memset(memory, 0, used);
    }
}

/* Outputs before and parameters after one step of gradient descent. */
static int run(float *results, const fm_kernels *k, const float *X, const float *y, float *params)
{
    fm_layer layers[N_LAYERS] = {{0}};
    const fm_matrix matrix = {.dtype = FM_FLOAT32,
                              .n_rows = ROWS,
                              .n_cols = INPUTS,
                              .data = X,
                              .row_stride = INPUTS * sizeof(float),
                              .col_stride = sizeof(float)};
    const fm_targets targets = {.values = y};
    const fm_batch batch = {.X = &matrix, .y = &targets, .n_rows = ROWS};
    const fm_step step = {.optimizer = {.row = FM_OPTIMIZER_sgd}, .rate = 0x1p-10, .inv_sum = 1};
    const fm_choice loss = {.row = FM_LOSS_squared_error};
    const fm_gradient_use use = {.step = &step};
    double row_loss[ROWS];
    for (int l = 0; l < N_LAYERS; l++)
        layers[l] = (fm_layer){.fan_in = units[l],
                               .fan_out = units[l + 1],
                               .max_rows = ROWS,
                               .is_output = l + 1 == N_LAYERS,
                               .activation.row = l + 1 < N_LAYERS ? FM_ACT_relu : FM_ACT_identity};
    char *memory = lay_out(layers, k), *scratch = memory;
    if (!memory)
        return 0;
    for (int l = 0; l < N_LAYERS; l++) {
        k->load(&layers[l], FM_PARAMS, params, params + units[l] * units[l + 1]);
        params += (units[l] + 1) * units[l + 1];
    }
    k->gather((void *)layers[0].input, &batch, ROWS, 0, ROWS);
    k->forward(&layers[0], scratch, 0, ROWS);
    k->forward(&layers[1], scratch, 0, ROWS);
    k->outputs(&layers[1], results, 0, ROWS);
    k->forward(&layers[1], scratch, 0, ROWS);
    k->loss(&layers[1], row_loss, &loss, &batch, 0, ROWS);
    k->backward(&layers[1], &layers[0], scratch, 0, ROWS);
    results += ROWS * OUTPUTS;
    for (int l = 0; l < N_LAYERS; l++) {
        k->gradient(&layers[l], &batch, scratch, 0, k->n_units(&layers[l]), &use);
        k->store(&layers[l], FM_PARAMS, results, results + units[l] * units[l + 1]);
        results += (units[l] + 1) * units[l + 1];
    }
    free(memory);
    return 1;
}

int fm_packed_check(const fm_kernels *set, const fm_kernels *emulation)
{
    enum { TOTAL = ROWS * INPUTS + ROWS * OUTPUTS + N_PARAMS + 2 * N_RESULTS };
    float *X = malloc(TOTAL * sizeof(float));
    if (!X)
        return 0;
    float *y = X + ROWS * INPUTS, *params = y + ROWS * OUTPUTS;
    float *results = params + N_PARAMS, *ideal = results + N_RESULTS;
    fill(X, ROWS * INPUTS + ROWS * OUTPUTS + N_PARAMS, 1);
    int same = run(results, set, X, y, params) && run(ideal, emulation, X, y, params);
    for (int i = 0; i < N_RESULTS && same; i++)
        same = results[i] == ideal[i];
    free(X);
    return same;
}
