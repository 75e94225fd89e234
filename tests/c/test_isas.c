/* test_isas.c - what networks compute, as checksums: the same on every kernel set
 * with a fused multiply-add, on this machine and on others.
 *
 *     test_isas            fails if two such sets of this machine differ
 *     test_isas > a.txt    on two machines with one C library: the files are equal
 *     test_isas 5          every fifth network only, for emulators
 *
 * One line per network: checksum of the sets with FMA, checksum of generic. Every
 * row of the tables of activations, losses and optimizers is in it, dense and CSR X,
 * all that a layer may have, clipping and averaging, and sizes that fill no tile. That
 * the numbers are right is checked in Python.
 *
 * C libraries agree on pow to a unit in the last place of a double. Compiled with
 * ROUNDED_POW the files are equal on systems with different ones.
 */
#include "fastmlp.h"

#include "arrays.h"
#include "check.h"
#include "rows.h"
#include <math.h>
#include <string.h>

#ifdef ROUNDED_POW /* the linker sends the engine's calls here: --wrap, see the Makefile */
double __real_pow(double x, double y);
double __wrap_pow(double x, double y) { return (float)__real_pow(x, y); }
#endif

enum { MAX_LAYERS = 4, MAX_ROWS = 600, MAX_NNZ = 100000 };

/* ----------------------------------------------------------------- numbers */

static uint64_t random_state;

static double random_number(void) /* in [-1, 1), exact as a float */
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15; /* splitmix64, Steele et al. 2014 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (double)((z ^ (z >> 31)) >> 40) * 0x1p-23 - 1;
}

static size_t item(fm_dtype dtype) { return dtype == FM_FLOAT64 ? 8 : 4; }

static void *random_array(fm_dtype dtype, int64_t n, double scale, double shift)
{
    void *array = malloc((size_t)n * item(dtype));
    CHECK(array);
    for (int64_t i = 0; i < n; i++) {
        double x = shift + scale * random_number();
        if (dtype == FM_FLOAT64)
            ((double *)array)[i] = x;
        else
            ((float *)array)[i] = (float)x;
    }
    return array;
}

static void add_to_checksum(uint64_t *sum, const void *array, fm_dtype dtype, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double x = dtype == FM_FLOAT64 ? ((const double *)array)[i] : ((const float *)array)[i];
        uint64_t bits = 0;
        if (!isnan(x)) /* the bits of a NaN are the machine's business */
            memcpy(&bits, &x, sizeof(x));
        *sum = (*sum ^ bits) * 0x9e3779b97f4a7c15;
        *sum ^= *sum >> 32;
    }
}

/* ---------------------------------------------------------------- networks */

typedef struct {
    fm_dtype dtype;
    int n_layers;
    int64_t units[MAX_LAYERS + 1];
    int64_t n_rows, batch;
    int csr, zeros;
    fm_choice out, loss, optimizer;
    fm_layer hidden; /* all hidden layers, but for the width */
    double max_grad_norm, averaging;
} network;

static fm_layer layer_of(const network *net, int l)
{
    fm_layer layer = l + 1 < net->n_layers ? net->hidden : (fm_layer){.activation = net->out};
    layer.width = net->units[l + 1];
    return layer;
}

static int64_t length_of(const network *net, int l, int kind)
{
    const fm_layer layer = layer_of(net, l);
    return n_numbers(&layer, net->units[l], kind);
}

static void draw_params(const network *net, fm_parameters *params)
{
    for (int l = 0; l < net->n_layers; l++)
        for (int kind = 0; kind < N_KINDS; kind++) {
            const int64_t n = length_of(net, l, kind);
            const double width = 1 / sqrt((double)net->units[l]);
            *array_of(&params[l], kind) =
                n ? random_array(net->dtype, n, width, centre(kind)) : NULL;
        }
}

static void free_params(const network *net, fm_parameters *params)
{
    for (int l = 0; l < net->n_layers; l++)
        for (int kind = 0; kind < N_KINDS; kind++)
            free(*array_of(&params[l], kind));
}

static void add_params_to_checksum(uint64_t *sum, const network *net, fm_parameters *params)
{
    for (int l = 0; l < net->n_layers; l++)
        for (int kind = 0; kind < N_KINDS; kind++)
            add_to_checksum(sum, *array_of(&params[l], kind), net->dtype, length_of(net, l, kind));
}

/* Trains for two epochs, predicts, takes loss and gradient: a checksum of all. */
static uint64_t checksum(const network *net, const char *isa)
{
    const fm_dtype dtype = net->dtype;
    const int64_t n = net->n_rows, p = net->units[0], q = net->units[net->n_layers];
    uint64_t sum = 0;
    random_state = 7;

    void *X = random_array(dtype, n * p, 1, 0);
    for (int64_t i = 0; i < n * p && net->zeros; i++) /* but one in 16, in runs of 5 */
        if (i / 5 % 16)
            memset((char *)X + (size_t)i * item(dtype), 0, item(dtype));
    void *y = random_array(dtype, n * q, 0.4, 0.5); /* fits every loss */
    void *out = random_array(dtype, n * q, 0, 0);
    double *weights = random_array(FM_FLOAT64, n, 0.5, 1);
    int64_t order[2 * MAX_ROWS];
    for (int64_t i = 0; i < 2 * n; i++)
        order[i] = i * 31 % n;

    static int32_t indices[MAX_NNZ], indptr[MAX_ROWS + 1];
    fm_matrix matrix = {.n_rows = n, .n_cols = p, .data = X};
    matrix.dtype = dtype == FM_FLOAT64 ? FM_FLOAT64 : FM_FLOAT32;
    matrix.row_stride = (int64_t)item(dtype) * p;
    matrix.col_stride = (int64_t)item(dtype);
    if (net->csr) { /* every third feature, shifted from row to row */
        int32_t nnz = 0;
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = i % 3; j < p; j += 3)
                indices[nnz++] = (int32_t)j;
            indptr[i + 1] = nnz;
        }
        matrix.indices = indices;
        matrix.indptr = indptr;
        matrix.index_bytes = 4;
        matrix.nnz = nnz;
    }
    fm_targets targets = {.values = y};

    fm_parameters params[MAX_LAYERS];
    fm_layer layers[MAX_LAYERS];
    for (int l = 0; l < net->n_layers; l++)
        layers[l] = layer_of(net, l);
    draw_params(net, params);
    const fm_network structure = {
        .dtype = dtype, .n_inputs = p, .n_layers = net->n_layers, .layers = layers};
    fm_config config = {.network = structure,
                        .loss = net->loss,
                        .optimizer = net->optimizer,
                        .alpha = 1e-3,
                        .max_grad_norm = net->max_grad_norm,
                        .averaging = net->averaging,
                        .max_rows = net->batch,
                        .max_nnz = net->csr ? MAX_NNZ : 0,
                        .isa = isa};
    fm_net *handle;
    CHECK(fm_net_create(&handle, &config) == FM_OK);
    CHECK(fm_net_load(handle, -1, params) == FM_OK);

    double loss;
    int64_t step = 0;
    CHECK(fm_net_train(handle, &loss, &step, &matrix, &targets, weights, order, 2 * n, net->batch,
                       0.01, 0) == FM_OK);
    add_to_checksum(&sum, &loss, FM_FLOAT64, 1);
    const int n_slots = fm_optimizer_row(net->optimizer.row)->n_slots + (net->averaging > 0);
    for (int slot = n_slots - 1; slot >= -1; slot--) {
        CHECK(fm_net_store(handle, slot, params) == FM_OK);
        add_params_to_checksum(&sum, net, params);
    }
    fm_net_free(handle);

    for (int all = 0; all <= 1; all++) {
        matrix.n_rows = all ? n : 1;
        CHECK(fm_predict(out, &matrix, &structure, params, isa, 0, NULL, 0) == FM_OK);
        add_to_checksum(&sum, out, dtype, matrix.n_rows * q);
    }

    config.optimizer.row = -1;
    if (net->hidden.normalization == FM_BATCH_NORM)
        config.max_rows = n; /* the statistics are of all rows */
    CHECK(fm_net_create(&handle, &config) == FM_OK);
    CHECK(fm_net_load(handle, -1, params) == FM_OK);
    CHECK(fm_net_loss_grad(handle, &loss, params, &matrix, &targets, NULL, 0) == FM_OK);
    add_to_checksum(&sum, &loss, FM_FLOAT64, 1);
    add_params_to_checksum(&sum, net, params);
    fm_net_free(handle);

    free_params(net, params);
    free(X);
    free(y);
    free(out);
    free(weights);
    return sum;
}

static void compare(const network *net)
{
    static const char *dtype_names[] = {"f32", "f64", "bf16"};
    uint64_t fused = 0, plain = 0;
    const char *fused_by = NULL, *name;
    int available;
    for (int i = 0; (name = fm_isa_name(i, &available)); i++) {
        if (!available)
            continue;
        uint64_t sum = checksum(net, name);
        if (!strcmp(name, "generic")) {
            plain = sum;
            continue;
        }
        if (fused_by && sum != fused) {
            fprintf(stderr, "%s and %s differ:\n", fused_by, name);
            fused_by = "";
        }
        if (!fused_by) {
            fused = sum;
            fused_by = name;
        }
    }
    printf("%-4s %-8s %-8s %-15s %-4s %s ", dtype_names[net->dtype],
           fm_activation_row(net->hidden.activation.row)->name,
           fm_activation_row(net->out.row)->name, fm_loss_row(net->loss.row)->name,
           fm_optimizer_row(net->optimizer.row)->name,
           net->csr     ? "csr  "
           : net->zeros ? "zeros"
                        : "dense");
    for (int l = 0; l <= net->n_layers; l++)
        printf("%c%d", l ? '-' : ' ', (int)net->units[l]);
    static const char *norm_names[] = {"", " batch", " layer"};
    printf("%s%s%s%s%s%s", norm_names[net->hidden.normalization],
           net->hidden.residual ? " residual" : "", net->hidden.dropout > 0 ? " dropout" : "",
           net->hidden.no_bias ? " no-bias" : "", net->max_grad_norm > 0 ? " clipped" : "",
           net->averaging > 0 ? " averaged" : "");
    printf("  %016llx %016llx\n", (unsigned long long)fused, (unsigned long long)plain);
    fflush(stdout);
    CHECK(!fused_by || *fused_by);
}

/* In each combination sooner or later; every third network is plain. */
static void add_extras(network *net, int i)
{
    if (i % 3 == 0)
        return;
    net->hidden.normalization = (fm_normalization)(i % 4 % 3);
    net->hidden.residual = i % 5 < 2;
    net->hidden.dropout = i % 7 < 3 ? 0.3 : 0;
    net->hidden.no_bias = i % 11 < 4;
    net->max_grad_norm = i % 13 < 6 ? 0.5 : 0;
    net->averaging = i % 17 < 8 ? 0.9 : 0;
}

int main(int argc, char **argv)
{
    const int every = argc > 1 && atoi(argv[1]) > 0 ? atoi(argv[1]) : 1;
    /* Tiles and panels are 4 to 32 wide, chunks along k 256 and 512 long. */
    static const network shapes[] = {
        {.n_layers = 2, .units = {20, 100, 2}, .n_rows = 77, .batch = 30},
        {.n_layers = 3, .units = {33, 65, 17, 19}, .n_rows = 50, .batch = 50},
        {.n_layers = 3, .units = {5, 1, 3, 16}, .n_rows = 600, .batch = 530},
        {.n_layers = 1, .units = {1, 1}, .n_rows = 9, .batch = 1},
        {.n_layers = 2, .units = {520, 40, 10}, .n_rows = 31, .batch = 16},
        {.n_layers = 2, .units = {3, 530, 20}, .n_rows = 31, .batch = 16},
        {.n_layers = 2, .units = {150, 31, 33}, .n_rows = 40, .batch = 17, .csr = 1},
        {.n_layers = 2, .units = {150, 80, 3}, .n_rows = 60, .batch = 50, .zeros = 1},
    };
    enum { N_SHAPES = sizeof(shapes) / sizeof(shapes[0]) };
    /* Every loss with every output; the other rows take turns. */
    const fm_table_row *loss, *out;
    int i = 0;
    for (int dtype = FM_FLOAT32; dtype <= FM_BFLOAT16; dtype++)
        for (int l = 0; (loss = fm_loss_row(l)); l++)
            for (int o = 0; (out = fm_activation_row(o)); o++) {
                if (!(out->where & FM_FOR_OUTPUT))
                    continue;
                network net = shapes[i % N_SHAPES];
                net.dtype = (fm_dtype)dtype;
                net.hidden.activation = any_activation(FM_FOR_HIDDEN, i + i / N_SHAPES);
                net.out = fm_default_choice(out);
                net.loss = fm_default_choice(loss);
                net.optimizer = any_row(fm_optimizer_row, i);
                add_extras(&net, i);
                if (i++ % every == 0)
                    compare(&net);
            }
    return 0;
}
