/* fuzz_engine.c - libFuzzer drives the entry points of fastmlp.h.
 *
 * The bytes of an input choose a network, data and a course of training: shapes,
 * rows of the tables, strides, CSR structures, orders, sample weights, thread
 * counts, dtypes and kernel sets, some of them broken. The numbers themselves come
 * from a generator that the input seeds, so that a short input is a whole problem.
 *
 * All arrays are allocations of their own and exactly as long as the header says;
 * the address sanitizer sees whoever reads beyond them. Besides, it must hold that
 *   - one thread and several give the same status and, if finite, the same bits,
 *   - so do one run of mini-batches and the same mini-batches in two runs,
 *   - a run that is interrupted leaves what a run of the mini-batches before leaves,
 *   - parameters come out of a network as they went in,
 *   - refused data leave the parameters alone, and the inputs are never written,
 *   - a failed allocation is FM_NO_MEMORY,
 *   - subnormal numbers count again after a call.
 */
#include "fastmlp.h"

#include "../c/check.h"
#include "../c/rows.h"
#include <math.h>
#include <string.h>

enum { MAX_LAYERS = 4, MAX_ARRAYS = 1024 };
#define MAX_WORK 1e6 /* multiply-adds of a pass over all rows */

/* ------------------------------------------------------------------ choices */

static struct {
    const uint8_t *bytes;
    size_t left;
    uint64_t random; /* state of splitmix64, Steele et al. 2014 */
} input;

static uint64_t random_bits(void)
{
    uint64_t z = input.random += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static double uniform(void) { return (double)(random_bits() >> 40) * 0x1p-23 - 1; }

/* Where the input ends, random choices go on. */
static int next_byte(void)
{
    if (!input.left)
        return (int)(random_bits() % 256);
    input.left--;
    return *input.bytes++;
}

/* A number below n, from the input. */
static int64_t pick(int64_t n)
{
    int64_t x = next_byte();
    if (n > 256)
        x = x << 8 | next_byte();
    return x % n;
}

/* Whether something that should rarely happen does. */
static int rarely(void) { return next_byte() >= 250; }

#define PICK(...) \
    ((const int64_t[]){__VA_ARGS__}[pick(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))])

typedef enum { ORDINARY, MOSTLY_ZERO, WIDE, SMALL_INTEGERS, SPECIAL, N_FLAVOURS } flavour;

static double number(flavour kind)
{
    static const double special[] = {NAN,   INFINITY, -INFINITY, 1e300, -1e300, 3e38,
                                     1e-40, 5e-324,   -0.0,      1e-30, 1e19,   0};
    const double x = uniform();
    switch (kind) {
    case MOSTLY_ZERO: return random_bits() % 8 ? 0 : x;
    case WIDE: return ldexp(x, (int)(random_bits() % 200) - 100);
    case SMALL_INTEGERS: return floor(3 * x);
    case SPECIAL: return random_bits() % 16 ? x : special[random_bits() % 12];
    default: return x;
    }
}

/* ------------------------------------------------------------------- arrays */

static long fail_in = -1; /* this many allocations of the engine from now one fails */
static int has_failed;

static int fails(void)
{
    if (fail_in < 0 || fail_in-- > 0)
        return 0;
    has_failed = 1;
    return 1;
}

/* The linker sends every allocation here: --wrap, see the Makefile. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_fm_aligned_alloc(size_t alignment, size_t bytes);

void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }

void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : __real_calloc(n, size); }

void *__wrap_fm_aligned_alloc(size_t alignment, size_t bytes)
{
    return fails() ? NULL : __real_fm_aligned_alloc(alignment, bytes);
}

static struct {
    void *memory[MAX_ARRAYS];
    size_t bytes[MAX_ARRAYS];
    uint64_t sum[MAX_ARRAYS]; /* what an input held, 0 for outputs */
    int n;
} arrays;

static uint64_t checksum(const void *memory, size_t bytes)
{
    uint64_t sum = 1469598103934665603u; /* FNV-1a, never 0 in practice */
    for (size_t i = 0; i < bytes; i++)
        sum = (sum ^ ((const uint8_t *)memory)[i]) * 1099511628211u;
    return sum;
}

/* An array that lasts until the end of the input. */
static void *new_array(int64_t n, size_t item)
{
    CHECK(arrays.n < MAX_ARRAYS);
    const int i = arrays.n++;
    arrays.bytes[i] = (size_t)n * item;
    arrays.memory[i] = malloc(arrays.bytes[i] ? arrays.bytes[i] : 1);
    CHECK(arrays.memory[i]);
    return arrays.memory[i];
}

static void seal_arrays(void)
{
    for (int i = 0; i < arrays.n; i++)
        arrays.sum[i] = checksum(arrays.memory[i], arrays.bytes[i]);
}

/* Those that were sealed must still hold what they held. */
static void free_arrays(void)
{
    for (int i = 0; i < arrays.n; i++) {
        CHECK(!arrays.sum[i] || arrays.sum[i] == checksum(arrays.memory[i], arrays.bytes[i]));
        free(arrays.memory[i]);
    }
    memset(&arrays, 0, sizeof(arrays));
}

/* FM_BFLOAT16 says how products are taken; its arrays are of float. */
static size_t item(fm_dtype dtype) { return dtype == FM_FLOAT64 ? 8 : 4; }

static void set(void *array, fm_dtype dtype, int64_t i, double x)
{
    if (dtype == FM_FLOAT64)
        ((double *)array)[i] = x;
    else
        ((float *)array)[i] = (float)x;
}

static double get(const void *array, fm_dtype dtype, int64_t i)
{
    return dtype == FM_FLOAT64 ? ((const double *)array)[i] : ((const float *)array)[i];
}

static void *new_numbers(fm_dtype dtype, int64_t n, flavour kind, double scale)
{
    void *array = new_array(n, item(dtype));
    for (int64_t i = 0; i < n; i++)
        set(array, dtype, i, scale * number(kind));
    return array;
}

/* ------------------------------------------------------------- the problem */

typedef struct {
    fm_parameters of[MAX_LAYERS];
} parameters;

typedef struct {
    fm_config config;
    int64_t units[MAX_LAYERS + 1]; /* widths of X and of the layers */
    fm_layer layers[MAX_LAYERS];
    fm_matrix X;
    fm_targets y;
    const double *sample_weight;
    const int64_t *order;
    int64_t n_order, batch_size;
    double learning_rate;
    int n_slots, n_threads, check_finite;
    parameters start, state[4];
} problem;

/* The arrays of a layer. */
enum { WEIGHTS, BIASES, SCALE, SHIFT, MEAN, VARIANCE, PROJECTION, N_KINDS };

static void **array_of(fm_parameters *p, int kind)
{
    void **const arrays[N_KINDS] = {&p->W,    &p->b,        &p->scale, &p->shift,
                                    &p->mean, &p->variance, &p->P};
    return arrays[kind];
}

static const void *array_in(const parameters *all, int l, int kind)
{
    fm_parameters p = all->of[l];
    return *array_of(&p, kind);
}

/* None where the layer has no such array. */
static int64_t n_numbers(const problem *p, int l, int kind)
{
    const fm_layer *layer = &p->layers[l];
    const int64_t fan_in = p->units[l], fan_out = p->units[l + 1];
    switch (kind) {
    case WEIGHTS: return fan_in * fan_out;
    case BIASES: return fan_out;
    case SCALE:
    case SHIFT: return layer->normalization == FM_NO_NORM ? 0 : fan_out;
    case MEAN:
    case VARIANCE: return layer->normalization == FM_BATCH_NORM ? fan_out : 0;
    default: return layer->residual && fan_in != fan_out ? fan_in * fan_out : 0;
    }
}

static parameters new_parameters(const problem *p, flavour flavour, double scale)
{
    parameters all = {0};
    for (int l = 0; l < p->config.network.n_layers; l++)
        for (int kind = 0; kind < N_KINDS; kind++) {
            const int is_matrix = kind == WEIGHTS || kind == PROJECTION;
            const double width = is_matrix ? scale / sqrt((double)p->units[l]) : scale;
            *array_of(&all.of[l], kind) =
                new_numbers(p->config.network.dtype, n_numbers(p, l, kind), flavour, width);
        }
    return all;
}

static const char *pick_isa(fm_dtype dtype)
{
    const char *(*name)(int, int *) = dtype == FM_BFLOAT16 ? fm_bfloat16_isa_name : fm_isa_name;
    int n = 0, available;
    while (name(n, NULL))
        n++;
    const char *isa = name((int)pick(n), &available);
    return available ? isa : NULL;
}

/* A row, each parameter its default, between its bounds, or next to one of them. */
static fm_choice pick_values(const fm_table_row *row)
{
    fm_choice choice = fm_default_choice(row);
    for (int i = 0; i < row->n_parameters; i++) {
        const fm_parameter *p = &row->parameters[i];
        const double high = isfinite(p->high) ? p->high : p->low + 2;
        switch (pick(4)) {
        case 0: choice.parameters[i] = p->is_switch ? (double)pick(2) : (p->low + high) / 2; break;
        case 1: choice.parameters[i] = fm_is_in_bounds(p, p->low) ? p->low : p->low + 1e-300; break;
        case 2: choice.parameters[i] = fm_is_in_bounds(p, high) ? high : p->initial; break;
        default: break;
        }
    }
    return choice;
}

static fm_choice pick_row(row_function *row_at)
{
    return pick_values(row_at((int)pick(count_rows(row_at))));
}

static fm_choice pick_activation(int where)
{
    return pick_values(fm_activation_row(any_activation(where, (int)pick(32)).row));
}

/* Rows and widths; more than MAX_WORK would make an input last for seconds. */
static int64_t pick_shape(problem *p)
{
    fm_config *c = &p->config;
    int64_t rows = PICK(1, 2, 3, 5, 6, 7, 12, 16, 17, 33, 64, 100, 167, 169, 300, 1025, 2100);
    double work = 0;
    c->network.n_layers = 1 + (int)pick(MAX_LAYERS);
    for (int l = 0; l <= c->network.n_layers; l++)
        p->units[l] = PICK(1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100, 129, 257, 400);
    for (int l = 0; l < c->network.n_layers; l++)
        work += (double)p->units[l] * (double)p->units[l + 1];
    while (rows > 1 && work * (double)rows > MAX_WORK)
        rows /= 2;
    return rows;
}

static void pick_network(problem *p, int64_t rows, int sparse)
{
    fm_config *c = &p->config;
    for (int l = 0; l < c->network.n_layers; l++)
        p->layers[l] = (fm_layer){.width = p->units[l + 1],
                                  .activation = pick_activation(
                                      l + 1 < c->network.n_layers ? FM_FOR_HIDDEN : FM_FOR_OUTPUT)};
    for (int l = 0; l + 1 < c->network.n_layers && pick(2); l++) {
        p->layers[l].no_bias = (int)pick(2);
        p->layers[l].normalization = (fm_normalization)PICK(0, 0, 1, 2);
        p->layers[l].dropout = pick(2) ? 0 : (double)pick(10) / 10;
        p->layers[l].residual = (int)pick(2);
    }
    c->network.input_dropout = pick(4) ? 0 : 0.3;
    c->seed = (uint32_t)pick(2);
    c->network.n_inputs = p->units[0];
    c->network.layers = p->layers;
    c->loss = pick_row(fm_loss_row);
    c->loss_parameters = NULL;
    if (fm_loss_row(c->loss.row)->parameters[0].per_output && pick(2)) {
        const int64_t n = c->network.layers[c->network.n_layers - 1].width;
        double *each = new_array(n, sizeof(*each));
        for (int64_t k = 0; k < n; k++)
            each[k] = rarely() ? number(SPECIAL) : 0.5 + 0.4 * uniform();
        c->loss_parameters = each;
    }
    c->optimizer.row = -1;
    if (pick(8)) {
        c->optimizer = pick_row(fm_optimizer_row);
        c->max_grad_norm = pick(3) ? 0 : ldexp(1, (int)pick(60) - 30);
        c->averaging = pick(3) ? 0 : (double)pick(10) / 10;
        p->n_slots = fm_optimizer_row(c->optimizer.row)->n_slots + (c->averaging > 0);
    }
    c->alpha = pick(3) ? ldexp(1, (int)pick(40) - 30) : 0;
    c->max_rows = PICK(1, 2, 7, 16, 100, 1024, 1025, 5000);
    c->max_nnz = sparse ? PICK(1, 100, 100000, 1000000) : 0;
    c->isa = pick_isa(c->network.dtype);
    p->batch_size = PICK(1, 2, 7, 16, 100, 1024, 1025, 5000);
    if (rows > 100 && p->batch_size < 16)
        p->batch_size = rows / 3;
    if (p->batch_size > c->max_rows && pick(8))
        c->max_rows = p->batch_size;
}

/* One field that cannot be, or that no memory can hold. */
static void break_network(problem *p)
{
    fm_config *c = &p->config;
    c->loss_parameters = NULL; /* as many as outputs, which may change */
    static const int64_t impossible[] = {0, -1, INT64_MIN, INT64_MAX, 1LL << 62, 1LL << 40};
    const int64_t size = impossible[pick(6)];
    switch (pick(12)) {
    case 0: c->loss.row = (int)pick(200) - 100; break;
    case 1: c->optimizer.row = (int)pick(200) - 100; break;
    case 2: p->layers[pick(c->network.n_layers)].activation.row = (int)pick(200) - 100; break;
    case 3: p->layers[pick(c->network.n_layers)].width = size; break;
    case 4: c->network.n_inputs = size; break;
    case 5: c->max_rows = size; break;
    case 6: c->max_nnz = size; break;
    case 7: c->isa = pick(2) ? "" : "nonesuch"; break;
    case 8: c->max_grad_norm = pick(2) ? NAN : -1; break;
    case 9: c->averaging = PICK(0, 1, 2) - 1.5; break;
    case 10: c->optimizer.parameters[pick(FM_MAX_PARAMETERS)] = pick(2) ? NAN : -1; break;
    default: c->network.dtype = (fm_dtype)(3 + pick(100)); break;
    }
}

/* ---------------------------------------------------------------------- X, y */

/* Rows and columns in either order and direction, with gaps or on top of each other. */
static void new_dense(fm_matrix *X, int64_t n_rows, int64_t n_cols, flavour kind)
{
    const int64_t size = (int64_t)item(X->dtype), gap = pick(4);
    int64_t rows = n_cols + gap, cols = 1;
    if (pick(2)) {
        rows = 1;
        cols = n_rows + gap;
    }
    if (rarely())
        rows = 0; /* a row that is repeated, as numpy.broadcast_to makes them */
    const int64_t length = (n_rows - 1) * rows + (n_cols - 1) * cols + 1;
    char *data = new_numbers(X->dtype, length, kind, 1);
    if (pick(4) == 0) {
        data += (n_rows - 1) * rows * size;
        rows = -rows;
    }
    if (pick(4) == 0) {
        data += (n_cols - 1) * cols * size;
        cols = -cols;
    }
    X->data = data;
    X->row_stride = rows * size;
    X->col_stride = cols * size;
}

static void set_index(void *array, int bytes, int64_t i, int64_t value)
{
    if (bytes == 4)
        ((int32_t *)array)[i] = (int32_t)value;
    else
        ((int64_t *)array)[i] = value;
}

static void break_csr(fm_matrix *X, void *indices, void *indptr)
{
    const int64_t value = PICK(-1, 1, 1000000, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN);
    const int64_t near = pick(2) ? X->n_cols : X->nnz + 1;
    if (X->nnz && pick(2))
        set_index(indices, X->index_bytes, (int64_t)(random_bits() % (uint64_t)X->nnz),
                  pick(2) ? value : near);
    else
        set_index(indptr, X->index_bytes, (int64_t)(random_bits() % (uint64_t)(X->n_rows + 1)),
                  pick(2) ? value : near);
    if (rarely())
        X->index_bytes = pick(2) ? (int)pick(X->index_bytes) : 16; /* no wider than they are */
}

/* Columns in any order, repeated ones too; non-zeros that no row has at either end. */
static void new_csr(fm_matrix *X, int64_t n_rows, int64_t n_cols, flavour kind)
{
    const int64_t longest = PICK(1, 2, 5, 30, 500), unused = pick(3), sorted = pick(2);
    X->index_bytes = pick(2) ? 4 : 8;
    void *indptr = new_array(n_rows + 1, (size_t)X->index_bytes);
    int64_t *sizes = new_array(n_rows, sizeof(*sizes)), at = unused;
    for (int64_t i = 0; i < n_rows; i++) {
        sizes[i] = (int64_t)(random_bits() % (uint64_t)(longest + 1));
        if (sorted && sizes[i] > n_cols)
            sizes[i] = n_cols;
        set_index(indptr, X->index_bytes, i, at);
        at += sizes[i];
    }
    set_index(indptr, X->index_bytes, n_rows, at);
    X->nnz = at + unused;
    X->data = new_numbers(X->dtype, X->nnz, kind, 1);
    void *indices = new_array(X->nnz, (size_t)X->index_bytes);
    memset(indices, 0, (size_t)X->nnz * (size_t)X->index_bytes);
    at = unused;
    for (int64_t i = 0; i < n_rows; i++)
        for (int64_t e = 0; e < sizes[i]; e++)
            set_index(indices, X->index_bytes, at++,
                      sorted ? e * n_cols / sizes[i] : (int64_t)(random_bits() % (uint64_t)n_cols));
    if (pick(8) == 0)
        break_csr(X, indices, indptr);
    X->indices = indices;
    X->indptr = indptr;
}

static void new_targets(problem *p, int64_t n_rows, flavour kind)
{
    const int64_t n_outputs = p->units[p->config.network.n_layers];
    const int takes_labels =
        n_outputs > 1 && fm_loss_row(p->config.loss.row)->targets == FM_TARGETS_CLASS;
    if (takes_labels ? pick(4) : rarely()) {
        int32_t *labels = new_array(n_rows, sizeof(*labels));
        for (int64_t i = 0; i < n_rows; i++)
            labels[i] = (int32_t)(random_bits() % (uint64_t)n_outputs);
        if (rarely())
            labels[pick(n_rows)] = (int32_t)PICK(-1, n_outputs, INT32_MAX, INT32_MIN);
        p->y.labels = labels;
        return;
    }
    void *values = new_numbers(p->config.network.dtype, n_rows * n_outputs, kind, 1);
    if (kind != SPECIAL && pick(2)) /* what log losses and poisson take */
        for (int64_t i = 0; i < n_rows * n_outputs; i++)
            set(values, p->config.network.dtype, i, fabs(get(values, p->config.network.dtype, i)));
    p->y.values = values;
}

static void new_sample_weight(problem *p, int64_t n_rows)
{
    const int how = (int)pick(6);
    if (how < 3)
        return;
    double *weight = new_array(n_rows, sizeof(*weight));
    for (int64_t i = 0; i < n_rows; i++)
        weight[i] = how == 3   ? fabs(uniform())
                    : how == 4 ? (double)(random_bits() % 2)
                               : number(SPECIAL);
    p->sample_weight = weight;
}

static void new_order(problem *p, int64_t n_rows)
{
    p->n_order = pick(8) ? n_rows : pick(2 * n_rows + 1);
    int64_t *order = new_array(p->n_order, sizeof(*order));
    for (int64_t i = 0; i < p->n_order; i++)
        order[i] = (int64_t)(random_bits() % (uint64_t)n_rows);
    if (p->n_order && rarely())
        order[pick(p->n_order)] = PICK(-1, n_rows, INT64_MAX, INT64_MIN);
    p->order = order;
}

static void new_data(problem *p, int64_t n_rows, int sparse)
{
    const flavour kind = (flavour)pick(N_FLAVOURS), kind_of_y = (flavour)pick(N_FLAVOURS);
    p->X = (fm_matrix){
        .dtype = pick(2) ? FM_FLOAT64 : FM_FLOAT32, .n_rows = n_rows, .n_cols = p->units[0]};
    if (sparse)
        new_csr(&p->X, n_rows, p->units[0], kind);
    else
        new_dense(&p->X, n_rows, p->units[0], kind);
    new_targets(p, n_rows, kind_of_y);
    new_sample_weight(p, n_rows);
    new_order(p, n_rows);
    const flavour kind_of_W = rarely() ? SPECIAL : (flavour)pick(SPECIAL);
    p->start = new_parameters(p, kind_of_W, 1);
    for (int slot = 0; slot < p->n_slots; slot++)
        p->state[slot] = new_parameters(p, pick(2) ? MOSTLY_ZERO : SMALL_INTEGERS, 0);
    p->learning_rate = ldexp(1, (int)pick(30) - 25);
    p->n_threads = (int)PICK(0, 2, 3, 5);
    p->check_finite = (int)pick(2);
}

/* ---------------------------------------------------------------------- runs */

typedef struct {
    fm_status trained, differentiated, predicted;
    double loss, objective;
    int64_t step;
    parameters end, state[4], gradient;
    void *outputs;
} result;

static parameters empty_parameters(const problem *p)
{
    parameters all = {0};
    for (int l = 0; l < p->config.network.n_layers; l++)
        for (int kind = 0; kind < N_KINDS; kind++) {
            const int64_t n = n_numbers(p, l, kind);
            void *array = new_array(n, item(p->config.network.dtype));
            *array_of(&all.of[l], kind) = array;
            memset(array, 0, (size_t)n * item(p->config.network.dtype));
        }
    return all;
}

static int same_bits(const problem *p, const parameters *a, const parameters *b)
{
    const size_t size = item(p->config.network.dtype);
    for (int l = 0; l < p->config.network.n_layers; l++)
        for (int kind = 0; kind < N_KINDS; kind++)
            if (memcmp(array_in(a, l, kind), array_in(b, l, kind),
                       (size_t)n_numbers(p, l, kind) * size))
                return 0;
    return 1;
}

static int all_finite(const void *array, fm_dtype dtype, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(get(array, dtype, i)))
            return 0;
    return 1;
}

static int finite_parameters(const problem *p, const parameters *all)
{
    for (int l = 0; l < p->config.network.n_layers; l++)
        for (int kind = 0; kind < N_KINDS; kind++)
            if (!all_finite(array_in(all, l, kind), p->config.network.dtype, n_numbers(p, l, kind)))
                return 0;
    return 1;
}

static void load(fm_net *net, int slot, const parameters *all)
{
    CHECK(fm_net_load(net, slot, all->of) == FM_OK);
}

static void store(fm_net *net, int slot, const parameters *all)
{
    CHECK(fm_net_store(net, slot, all->of) == FM_OK);
}

/* All mini-batches in one call, or in two that are cut between mini-batches. */
static fm_status train(const problem *p, fm_net *net, result *r, int n_threads, int in_two)
{
    int64_t first = in_two ? p->n_order / p->batch_size / 2 * p->batch_size : p->n_order;
    double loss = 0;
    fm_status status = fm_net_train(net, &r->loss, &r->step, &p->X, &p->y, p->sample_weight,
                                    p->order, first, p->batch_size, p->learning_rate, n_threads);
    if (status == FM_OK && first < p->n_order)
        status =
            fm_net_train(net, &loss, &r->step, &p->X, &p->y, p->sample_weight, p->order + first,
                         p->n_order - first, p->batch_size, p->learning_rate, n_threads);
    r->loss += loss;
    return status;
}

static void run(const problem *p, fm_net *net, result *r, int n_threads, int in_two)
{
    *r = (result){.end = empty_parameters(p), .gradient = empty_parameters(p)};
    load(net, -1, &p->start);
    store(net, -1, &r->end);
    CHECK(same_bits(p, &r->end, &p->start));
    r->differentiated = fm_net_loss_grad(net, &r->objective, r->gradient.of, &p->X, &p->y,
                                         p->sample_weight, n_threads);
    for (int slot = 0; slot < p->n_slots; slot++)
        load(net, slot, &p->state[slot]);
    r->trained = train(p, net, r, n_threads, in_two);
    store(net, -1, &r->end);
    for (int slot = 0; slot < p->n_slots; slot++) {
        r->state[slot] = empty_parameters(p);
        store(net, slot, &r->state[slot]);
    }
    if (r->trained != FM_OK && r->trained != FM_ZERO_WEIGHT && !in_two)
        CHECK(same_bits(p, &r->end, &p->start));
    const int64_t n = p->X.n_rows * p->units[p->config.network.n_layers];
    r->outputs = new_array(n, item(p->config.network.dtype));
    memset(r->outputs, 0, (size_t)n * item(p->config.network.dtype));
    r->predicted = fm_predict(r->outputs, &p->X, &p->config.network, p->start.of, p->config.isa,
                              p->check_finite, NULL, n_threads);
}

/* Bits of numbers that are not finite are not promised: see DESIGN.md. */
static void check_same(const problem *p, const result *a, const result *b, int in_two)
{
    const int64_t n = p->X.n_rows * p->units[p->config.network.n_layers];
    CHECK(a->differentiated == b->differentiated && a->predicted == b->predicted);
    if (a->differentiated == FM_OK && isfinite(a->objective) &&
        finite_parameters(p, &a->gradient)) {
        CHECK(same_bits(p, &a->gradient, &b->gradient));
        CHECK(a->objective == b->objective);
    }
    if (a->predicted == FM_OK && finite_parameters(p, &p->start) &&
        all_finite(a->outputs, p->config.network.dtype, n))
        CHECK(!memcmp(a->outputs, b->outputs, (size_t)n * item(p->config.network.dtype)));
    if (in_two && a->trained != FM_OK)
        return; /* the first call may have refused what the second never saw */
    CHECK(a->trained == b->trained && a->step == b->step);
    if (!finite_parameters(p, &a->end))
        return;
    CHECK(same_bits(p, &a->end, &b->end));
    for (int slot = 0; slot < p->n_slots; slot++)
        if (finite_parameters(p, &a->state[slot]))
            CHECK(same_bits(p, &a->state[slot], &b->state[slot]));
    CHECK(in_two || !isfinite(a->loss) || a->loss == b->loss);
}

static void check_subnormals(void)
{
    volatile float smallest = 1e-45f;
    CHECK(smallest * 1.0f != 0);
}

/* ------------------------------------------------------------------ one input */

static void train_and_predict(const problem *p)
{
    static const struct {
        int several, in_two;
    } ways[] = {{0, 0}, {1, 0}, {1, 1}};
    result results[3];
    fm_status status = FM_OK;
    seal_arrays();
    for (int i = 0; i < 3; i++) {
        fm_net *net;
        status = fm_net_create(&net, &p->config);
        CHECK((status == FM_OK) == (net != NULL));
        if (status != FM_OK)
            break;
        run(p, net, &results[i], ways[i].several ? p->n_threads : 1, ways[i].in_two);
        fm_net_free(net);
        check_subnormals();
        if (i > 0)
            check_same(p, &results[0], &results[i], ways[i].in_two);
    }
}

static int interrupt_in;

static int interrupted(void *arg)
{
    (void)arg;
    return interrupt_in-- <= 0;
}

/* Trains a network of its own on the first n of order. */
static fm_status train_anew(const problem *p, result *r, int64_t n)
{
    fm_net *net;
    if (fm_net_create(&net, &p->config) != FM_OK)
        return FM_NO_MEMORY;
    *r = (result){.end = empty_parameters(p)};
    load(net, -1, &p->start);
    for (int slot = 0; slot < p->n_slots; slot++)
        load(net, slot, &p->state[slot]);
    const fm_status status =
        fm_net_train(net, &r->loss, &r->step, &p->X, &p->y, p->sample_weight, p->order, n,
                     p->batch_size, p->learning_rate, p->n_threads);
    store(net, -1, &r->end);
    for (int slot = 0; slot < p->n_slots; slot++) {
        r->state[slot] = empty_parameters(p);
        store(net, slot, &r->state[slot]);
    }
    fm_net_free(net);
    return status;
}

/* Training that ends after some questions, against one of as many mini-batches. */
static void interrupt_training(const problem *p)
{
    problem asking = *p;
    asking.config.interrupt.interrupted = interrupted;
    interrupt_in = (int)pick(20);
    result cut, whole;
    if (train_anew(&asking, &cut, p->n_order) != FM_INTERRUPTED)
        return;
    CHECK(cut.step * p->batch_size <= p->n_order);
    CHECK(train_anew(p, &whole, cut.step * p->batch_size) == FM_OK && whole.step == cut.step);
    if (!finite_parameters(p, &whole.end))
        return;
    CHECK(same_bits(p, &cut.end, &whole.end));
    for (int slot = 0; slot < p->n_slots; slot++)
        if (finite_parameters(p, &whole.state[slot]))
            CHECK(same_bits(p, &cut.state[slot], &whole.state[slot]));
}

/* Creation, and a prediction, with an allocation that fails. */
static void run_out_of_memory(const problem *p)
{
    fm_net *net;
    const int64_t n = p->X.n_rows * p->units[p->config.network.n_layers];
    void *outputs = new_array(n, item(p->config.network.dtype));
    has_failed = 0;
    fail_in = pick(4);
    fm_status status = fm_net_create(&net, &p->config);
    fail_in = -1;
    CHECK(has_failed ? status == FM_NO_MEMORY && !net : (status == FM_OK) == (net != NULL));
    fm_net_free(net);
    has_failed = 0;
    fail_in = pick(4);
    status = fm_predict(outputs, &p->X, &p->config.network, p->start.of, p->config.isa,
                        p->check_finite, NULL, 1);
    fail_in = -1;
    CHECK(!has_failed || status == FM_NO_MEMORY);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    problem p = {.config.network.dtype = FM_FLOAT32};
    fm_net *net;
    input.bytes = bytes;
    input.left = size;
    p.config.network.dtype = (fm_dtype)pick(3);
    input.random = checksum(bytes, size);
    const int sparse = (int)pick(2);
    const int64_t rows = pick_shape(&p);
    pick_network(&p, rows, sparse);
    if (rarely()) {
        break_network(&p);
        if (fm_net_create(&net, &p.config) != FM_OK)
            CHECK(!net);
        fm_net_free(net);
        return 0;
    }
    new_data(&p, rows, sparse);
    if (rarely())
        run_out_of_memory(&p);
    else if (pick(4) == 0)
        interrupt_training(&p);
    else
        train_and_predict(&p);
    free_arrays();
    return 0;
}
