/* test_engine.c - everything of fastmlp.h, called as a C program calls it.
 *
 * Its purpose is to be run under sanitizers: all arrays are allocations of their
 * own and exactly as long as the header says, threads really run, allocations
 * fail one after the other. Whether the numbers are right is checked against a
 * plain loop here, and thoroughly elsewhere, in Python.
 */
#include "fastmlp.h"

#include "arrays.h"
#include "check.h"
#include "host/threads.h"
#include "rows.h"
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

enum { MAX_LAYERS = 4 };
#define RATE 0.01       /* of learning */
#define CALM_RATE 0.001 /* at which none of these networks diverges */

/* ------------------------------------------------------- failing allocation
 * The linker sends the engine's calls here (--wrap, see the Makefile). */
static long fail_in = -1; /* this many calls from now; -1: never */
static int has_failed;

static int fails(void)
{
    if (fail_in < 0 || fail_in-- > 0)
        return 0;
    has_failed = 1;
    return 1;
}

#ifdef WRAPPED
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_fm_aligned_alloc(size_t alignment, size_t bytes);

void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }

void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : __real_calloc(n, size); }

void *__wrap_fm_aligned_alloc(size_t alignment, size_t bytes)
{
    return fails() ? NULL : __real_fm_aligned_alloc(alignment, bytes);
}

/* ------------------------------------------------------------- lagging teams */

static int lags_for; /* so many more answers of fm_teams_lag are yes */
static int n_teams, team_sizes[8];

int __real_fm_teams_lag(void);
int __real_fm_parallel(int max_size, fm_task *task, void *arg);

int __wrap_fm_teams_lag(void) { return lags_for > 0 ? lags_for-- > 0 : __real_fm_teams_lag(); }

int __wrap_fm_parallel(int max_size, fm_task *task, void *arg)
{
    if (n_teams < 8)
        team_sizes[n_teams++] = max_size;
    return __real_fm_parallel(max_size, task, arg);
}
#endif

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    CHECK(memory);
    return memory;
}

/* ------------------------------------------------------------------- numbers */

static uint64_t random_state;

static double random_number(void) /* in [-1, 1), exact as a float */
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u; /* splitmix64, Steele et al. 2014 */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (double)((z ^ (z >> 31)) >> 40) * 0x1p-23 - 1;
}

/* FM_BFLOAT16 says how products are taken; its arrays are of float. */
static size_t item(fm_dtype dtype) { return dtype == FM_FLOAT64 ? 8 : 4; }

static double get(const void *array, fm_dtype dtype, int64_t i)
{
    return dtype == FM_FLOAT64 ? ((const double *)array)[i] : ((const float *)array)[i];
}

static void set(void *array, fm_dtype dtype, int64_t i, double x)
{
    if (dtype == FM_FLOAT64)
        ((double *)array)[i] = x;
    else
        ((float *)array)[i] = (float)x;
}

static int is_close(double a, double b, fm_dtype dtype)
{
    static const double tolerances[] = {2e-4, 1e-9, 0.1};
    const double tolerance = tolerances[dtype];
    return fabs(a - b) <= tolerance * (1 + fabs(b));
}

/* --------------------------------------------------------------------- nets */

typedef struct {
    const char *isa;
    fm_dtype dtype;
    int n_layers;
    int64_t units[MAX_LAYERS + 1]; /* widths of X and of the layers */
    fm_layer layers[MAX_LAYERS];
    fm_choice loss;
    double input_dropout, max_grad_norm, averaging;
} shape;

static fm_network network_of(const shape *s)
{
    return (fm_network){.dtype = s->dtype,
                        .n_inputs = s->units[0],
                        .n_layers = s->n_layers,
                        .layers = s->layers,
                        .input_dropout = s->input_dropout};
}

typedef struct {
    fm_parameters of[MAX_LAYERS];
} params;

static void *new_array(fm_dtype dtype, int64_t n, double centre, double width)
{
    void *array = allocate((size_t)n * item(dtype));
    for (int64_t i = 0; i < n; i++)
        set(array, dtype, i, centre + width * random_number());
    return array;
}

static params new_params(const shape *s, double scale)
{
    params p = {0};
    for (int l = 0; l < s->n_layers; l++)
        for (int kind = 0; kind < N_KINDS; kind++) {
            const int64_t n = n_numbers(&s->layers[l], s->units[l], kind);
            const double width = kind < SCALE || kind == PROJECTION ? scale : 1;
            if (n)
                *array_of(&p.of[l], kind) =
                    new_array(s->dtype, n, centre(kind), width / sqrt((double)s->units[l]));
        }
    return p;
}

static void free_params(params *p)
{
    for (int l = 0; l < MAX_LAYERS; l++)
        for (int kind = 0; kind < N_KINDS; kind++)
            free(*array_of(&p->of[l], kind));
}

static size_t bytes_of(const shape *s, int l, int kind)
{
    return (size_t)n_numbers(&s->layers[l], s->units[l], kind) * item(s->dtype);
}

static void copy_params(const shape *s, params *to, params *from)
{
    for (int l = 0; l < s->n_layers; l++)
        for (int kind = 0; kind < N_KINDS; kind++)
            if (bytes_of(s, l, kind))
                memcpy(*array_of(&to->of[l], kind), *array_of(&from->of[l], kind),
                       bytes_of(s, l, kind));
}

static int same_params(const shape *s, params *p, params *q)
{
    for (int l = 0; l < s->n_layers; l++)
        for (int kind = 0; kind < N_KINDS; kind++)
            if (bytes_of(s, l, kind) && memcmp(*array_of(&p->of[l], kind),
                                               *array_of(&q->of[l], kind), bytes_of(s, l, kind)))
                return 0;
    return 1;
}

static const fm_choice no_optimizer = {.row = -1};

static fm_choice optimizer(const char *name) { return choose(fm_optimizer_row, name); }

static fm_config config_of(const shape *s, fm_choice update, int64_t max_rows, int64_t max_nnz)
{
    static const double levels[] = {[0 ... 99] = 0.3}; /* no layer is wider */
    const int per_output = fm_loss_row(s->loss.row)->parameters[0].per_output;
    return (fm_config){.network = network_of(s),
                       .loss = s->loss,
                       .loss_parameters = per_output ? levels : NULL,
                       .optimizer = update,
                       .alpha = 0.01,
                       .max_grad_norm = s->max_grad_norm,
                       .averaging = s->averaging,
                       .max_rows = max_rows,
                       .max_nnz = max_nnz,
                       .isa = s->isa};
}

/* --------------------------------------------------------------------- data */

/* One matrix, half of it zeros, in every form in which X may come. */
enum { ROWS_32, ROWS_64, COLUMNS_32, BACKWARDS_64, CSR_32, CSR_64, N_FORMS };

typedef struct {
    fm_matrix X;
    void *data, *indices, *indptr;
} matrix;

static int64_t count_nnz(const double *dense, int64_t n)
{
    int64_t nnz = 0;
    for (int64_t i = 0; i < n; i++)
        nnz += dense[i] != 0;
    return nnz;
}

static matrix new_matrix(int form, const double *dense, int64_t n_rows, int64_t n_cols)
{
    const fm_dtype dtype =
        form == ROWS_64 || form == BACKWARDS_64 || form == CSR_64 ? FM_FLOAT64 : FM_FLOAT32;
    const int64_t size = (int64_t)item(dtype), n = n_rows * n_cols;
    matrix m = {.X = {.dtype = dtype, .n_rows = n_rows, .n_cols = n_cols}};
    if (form < CSR_32) {
        const int64_t row = form == COLUMNS_32 ? 1 : form == BACKWARDS_64 ? -n_cols : n_cols;
        const int64_t col = form == COLUMNS_32 ? n_rows : form == BACKWARDS_64 ? -1 : 1;
        const int64_t first = form == BACKWARDS_64 ? n - 1 : 0;
        m.data = allocate((size_t)(n * size));
        for (int64_t i = 0; i < n; i++)
            set(m.data, dtype, first + i / n_cols * row + i % n_cols * col, dense[i]);
        m.X.data = (char *)m.data + first * size;
        m.X.row_stride = row * size;
        m.X.col_stride = col * size;
        return m;
    }
    const int wide = form == CSR_64;
    m.X.nnz = count_nnz(dense, n);
    m.X.index_bytes = wide ? 8 : 4;
    m.data = allocate((size_t)(m.X.nnz * size));
    m.indices = allocate((size_t)(m.X.nnz * m.X.index_bytes));
    m.indptr = allocate((size_t)((n_rows + 1) * m.X.index_bytes));
    int64_t at = 0;
    for (int64_t i = 0; i <= n_rows; i++) {
        if (wide)
            ((int64_t *)m.indptr)[i] = at;
        else
            ((int32_t *)m.indptr)[i] = (int32_t)at;
        for (int64_t j = 0; i < n_rows && j < n_cols; j++) {
            if (dense[i * n_cols + j] == 0)
                continue;
            set(m.data, dtype, at, dense[i * n_cols + j]);
            if (wide)
                ((int64_t *)m.indices)[at++] = j;
            else
                ((int32_t *)m.indices)[at++] = (int32_t)j;
        }
    }
    m.X.data = m.data;
    m.X.indices = m.indices;
    m.X.indptr = m.indptr;
    return m;
}

static void free_matrix(matrix *m)
{
    free(m->data);
    free(m->indices);
    free(m->indptr);
}

typedef struct {
    int64_t n_rows, nnz;
    double *dense;
    matrix form[N_FORMS];
    void *values;
    int32_t *labels;
    double *weights;
    int64_t *order; /* a permutation */
} data;

static data new_data(const shape *s, int64_t n_rows)
{
    const int64_t n_cols = s->units[0], n_outputs = s->units[s->n_layers];
    data d = {.n_rows = n_rows};
    d.dense = allocate((size_t)(n_rows * n_cols) * sizeof(double));
    for (int64_t i = 0; i < n_rows * n_cols; i++) {
        double x = random_number();
        d.dense[i] = x > 0 ? 0 : x;
    }
    for (int form = 0; form < N_FORMS; form++)
        d.form[form] = new_matrix(form, d.dense, n_rows, n_cols);
    d.nnz = count_nnz(d.dense, n_rows * n_cols);
    d.values = allocate((size_t)(n_rows * n_outputs) * item(s->dtype));
    d.labels = allocate((size_t)n_rows * sizeof(int32_t));
    d.weights = allocate((size_t)n_rows * sizeof(double));
    d.order = allocate((size_t)n_rows * sizeof(int64_t));
    const fm_target_kind kind = fm_loss_row(s->loss.row)->targets;
    const int is_binary = kind == FM_TARGETS_CLASS || kind == FM_TARGETS_BINARY;
    for (int64_t i = 0; i < n_rows * n_outputs; i++) {
        double y = fabs(random_number());
        set(d.values, s->dtype, i, is_binary ? y < 0.5 : y);
    }
    for (int64_t i = 0; i < n_rows; i++) {
        d.labels[i] = (int32_t)(i % n_outputs);
        d.weights[i] = 1.5 + random_number();
        d.order[i] = (i * 7919 + 3) % n_rows; /* 7919 is prime and divides no n_rows here */
    }
    return d;
}

static void free_data(data *d)
{
    for (int form = 0; form < N_FORMS; form++)
        free_matrix(&d->form[form]);
    free(d->dense);
    free(d->values);
    free(d->labels);
    free(d->weights);
    free(d->order);
}

/* Of everything that is input only. */
static uint64_t checksum(const shape *s, const data *d)
{
    uint64_t sum = 1469598103934665603u; /* FNV-1a */
    const int64_t n = d->n_rows * s->units[0];
    const struct {
        const void *p;
        size_t bytes;
    } parts[] = {{d->values, (size_t)(d->n_rows * s->units[s->n_layers]) * item(s->dtype)},
                 {d->labels, (size_t)d->n_rows * 4},
                 {d->weights, (size_t)d->n_rows * 8},
                 {d->order, (size_t)d->n_rows * 8},
                 {d->form[ROWS_32].data, (size_t)n * 4},
                 {d->form[ROWS_64].data, (size_t)n * 8},
                 {d->form[COLUMNS_32].data, (size_t)n * 4},
                 {d->form[BACKWARDS_64].data, (size_t)n * 8},
                 {d->form[CSR_32].data, (size_t)d->nnz * 4},
                 {d->form[CSR_32].indices, (size_t)d->nnz * 4},
                 {d->form[CSR_64].data, (size_t)d->nnz * 8},
                 {d->form[CSR_64].indices, (size_t)d->nnz * 8}};
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        for (size_t j = 0; j < parts[i].bytes; j++)
            sum = (sum ^ ((const unsigned char *)parts[i].p)[j]) * 1099511628211u;
    return sum;
}

static fm_targets targets_of(const shape *s, const data *d)
{
    const int by_class = fm_loss_row(s->loss.row)->targets == FM_TARGETS_CLASS;
    return by_class && s->units[s->n_layers] > 1 ? (fm_targets){.labels = d->labels}
                                                 : (fm_targets){.values = d->values};
}

/* ---------------------------------------------------------------- reference */

/* z (n_rows, n) -> f(z) in place, by networks that do nothing else: their weights are
 * the identity. That f is right is checked in Python. */
static void apply(const fm_choice *f, double *z, int64_t n_rows, int64_t n)
{
    const fm_layer layers[] = {{.width = n, .activation = *f},
                               {.width = n, .activation = choose(fm_activation_row, "identity")}};
    const fm_matrix X = {.dtype = FM_FLOAT64,
                         .n_rows = n_rows,
                         .n_cols = n,
                         .data = z,
                         .row_stride = n * (int64_t)sizeof(double),
                         .col_stride = sizeof(double)};
    double *one = allocate((size_t)(n * n) * sizeof(double));
    double *out = allocate((size_t)(n_rows * n) * sizeof(double));
    double *b = allocate((size_t)n * sizeof(double));
    for (int64_t i = 0; i < n * n; i++)
        one[i] = i % (n + 1) == 0;
    for (int64_t i = 0; i < n; i++)
        b[i] = 0;
    const fm_parameters parameters[] = {{.W = one, .b = b}, {.W = one, .b = b}};
    const int n_layers = fm_activation_row(f->row)->where & FM_FOR_OUTPUT ? 1 : 2;
    const fm_network network = {
        .dtype = FM_FLOAT64, .n_inputs = n, .n_layers = n_layers, .layers = layers};
    CHECK(fm_predict(out, &X, &network, parameters, "generic", 0, NULL, 1) == FM_OK);
    memcpy(z, out, (size_t)(n_rows * n) * sizeof(double));
    free(one);
    free(out);
    free(b);
}

/* out: (n_rows, n_outputs) */
static void forward(double *out, const shape *s, const params *p, const data *d)
{
    const double *a = d->dense;
    for (int l = 0; l < s->n_layers; l++) {
        const int64_t m = s->units[l], n = s->units[l + 1];
        double *z = allocate((size_t)(d->n_rows * n) * sizeof(double));
        for (int64_t i = 0; i < d->n_rows * n; i++) {
            z[i] = get(p->of[l].b, s->dtype, i % n);
            for (int64_t k = 0; k < m; k++)
                z[i] += a[i / n * m + k] * get(p->of[l].W, s->dtype, k * n + i % n);
        }
        apply(&s->layers[l].activation, z, d->n_rows, n);
        if (l > 0)
            free((void *)a);
        a = z;
    }
    memcpy(out, a, (size_t)(d->n_rows * s->units[s->n_layers]) * sizeof(double));
    free((void *)a);
}

/* -------------------------------------------------------------------- shapes */

static const int64_t unit_lists[][MAX_LAYERS + 1] = {
    {1, 1},      {1, 2, 1},   {3, 1, 1, 2},   {5, 7, 3},         {13, 17, 1},
    {16, 16, 2}, {33, 31, 5}, {17, 64, 3, 9}, {130, 49, 24, 16}, {7, 97, 2, 18, 33},
};
enum { N_SHAPES = sizeof(unit_lists) / sizeof(*unit_lists) };

/* Enough work per mini-batch of 200 rows for more than three threads; few weights, so that each
 * thread has a copy of them, and more. */
static const int64_t large_units[MAX_LAYERS + 1] = {150, 90, 67, 10};
static const int64_t larger_units[MAX_LAYERS + 1] = {150, 200, 150, 10};

static int is_large(const shape *s) { return s->units[0] == large_units[0]; }

/* Smaller ones run on one thread whatever is asked for. */
static int most_threads(const shape *s) { return is_large(s) ? 3 : 1; }

typedef void shape_test(const shape *s);

static shape shape_of(const int64_t *units, const char *isa, fm_dtype dtype, int seed)
{
    shape s = {.isa = isa, .dtype = dtype};
    memcpy(s.units, units, sizeof(s.units));
    while (s.n_layers < MAX_LAYERS && units[s.n_layers + 1])
        s.n_layers++;
    for (int l = 0; l < s.n_layers; l++)
        s.layers[l] = (fm_layer){.width = units[l + 1],
                                 .activation = any_activation(FM_FOR_HIDDEN, seed + l)};
    s.loss = any_row(fm_loss_row, seed);
    /* Other losses are infinite for some numbers, and steep in front of them. */
    const int any = fm_loss_row(s.loss.row)->targets == FM_TARGETS_REAL && seed % 3 != 0;
    s.layers[s.n_layers - 1].activation =
        any ? any_activation(FM_FOR_OUTPUT, seed) : usual_output(&s.loss);
    random_state = (uint64_t)seed;
    return s;
}

/* Seeds for small networks, for large ones, for large ones with extras; in how many turns, one
 * per dtype, optimizers come. Instrumented code takes ten times as long, and that for threads has
 * nothing to see in small networks. */
#ifdef THREAD_SANITIZER
enum { N_SMALL = 0, N_LARGE = 1, N_EXTRAS = 2, N_TURNS = 3 };
#elif defined(INSTRUMENTED)
enum { N_SMALL = N_SHAPES, N_LARGE = 1, N_EXTRAS = 1, N_TURNS = 3 };
#else
enum { N_SMALL = 2 * N_SHAPES, N_LARGE = 3, N_EXTRAS = 2, N_TURNS = 1 };
#endif

typedef void shape_change(shape *s, int seed);

static void for_isas(shape_test *test, const int64_t *units, int seed, shape_change *change)
{
    const char *isa;
    int available;
    for (int i = 0; (isa = fm_isa_name(i, &available)); i++)
        for (int dtype = FM_FLOAT32; dtype <= FM_BFLOAT16 && available; dtype++) {
            shape s = shape_of(units, isa, (fm_dtype)dtype, seed);
            if (change)
                change(&s, seed);
            test(&s);
        }
}

static void for_all(shape_test *test)
{
    for (int seed = 0; seed < N_SMALL; seed++)
        for_isas(test, unit_lists[seed % N_SHAPES], seed, NULL);
    for (int seed = 0; seed < N_LARGE; seed++)
        for_isas(test, seed % 2 ? larger_units : large_units, seed, NULL);
}

static void with_extras(shape *s, int seed)
{
    for (int l = 0; l + 1 < s->n_layers; l++) {
        s->layers[l].normalization = (fm_normalization)((seed + l + 1) % 3);
        s->layers[l].residual = (seed + l) % 4 < 2;
        s->layers[l].dropout = seed % 2 ? 0.2 : 0;
        s->layers[l].no_bias = (seed + l) % 5 == 0;
    }
    s->input_dropout = seed % 3 ? 0 : 0.1;
    s->max_grad_norm = seed % 2 ? 0 : 0.5;
    s->averaging = seed % 3 ? 0.9 : 0;
}

/* All that layers may have besides products and activations, clipping and averaging. */
static void for_all_with_extras(shape_test *test)
{
    for (int seed = 0; seed < N_SMALL; seed++)
        for_isas(test, unit_lists[seed % N_SHAPES], seed, with_extras);
    for (int seed = 0; seed < N_EXTRAS; seed++)
        for_isas(test, large_units, seed, with_extras);
}

static int has_batch_norm(const shape *s)
{
    for (int l = 0; l < s->n_layers; l++)
        if (s->layers[l].normalization == FM_BATCH_NORM)
            return 1;
    return 0;
}

/* ---------------------------------------------------------------- prediction */

static fm_status predict(void *out, const shape *s, const params *p, const fm_matrix *X,
                         int check_finite, int n_threads)
{
    const fm_network network = network_of(s);
    return fm_predict(out, X, &network, p->of, s->isa, check_finite, NULL, n_threads);
}

static void predict_test(const shape *s)
{
    static const int64_t rows[] = {1, 2, 4, 5, 17, 40, 129, 400};
    const int64_t n_outputs = s->units[s->n_layers];
    params p = new_params(s, 2);
    for (size_t k = 0; k < sizeof(rows) / sizeof(*rows); k++) {
        data d = new_data(s, rows[k]);
        const uint64_t before = checksum(s, &d);
        const size_t bytes = (size_t)(rows[k] * n_outputs) * item(s->dtype);
        double *expected = allocate((size_t)(rows[k] * n_outputs) * sizeof(double));
        forward(expected, s, &p, &d);
        void *first = allocate(bytes), *out = allocate(bytes);
        for (int form = 0; form < N_FORMS; form++)
            for (int n_threads = 0; n_threads <= most_threads(s); n_threads += 3) {
                memset(out, 0xFF, bytes);
                CHECK(predict(out, s, &p, &d.form[form].X, form % 2, n_threads) == FM_OK);
                for (int64_t i = 0; i < rows[k] * n_outputs; i++)
                    CHECK(is_close(get(out, s->dtype, i), expected[i], s->dtype));
                if (n_threads == 0)
                    memcpy(first, out, bytes);
                CHECK(!memcmp(first, out, bytes));
            }
        CHECK(checksum(s, &d) == before);
        free(expected);
        free(first);
        free(out);
        free_data(&d);
    }
    free_params(&p);
}

static void prediction(void) { for_all(predict_test); }

/* ------------------------------------------------------------------ training */

/* Trains p (in place) for n_epochs of mini-batches. */
static fm_status train(const shape *s, fm_choice update, params *p, const data *d, int form,
                       int64_t batch_size, double rate, int n_epochs, int weighted, int n_threads)
{
    const fm_matrix *X = &d->form[form].X;
    const fm_config config = config_of(s, update, batch_size, X->indices ? d->nnz + 1 : 0);
    fm_net *net;
    CHECK(fm_net_create(&net, &config) == FM_OK);
    CHECK(!s->isa || !strcmp(fm_net_isa(net), s->isa));
    CHECK(fm_net_load(net, -1, p->of) == FM_OK);
    const fm_targets y = targets_of(s, d);
    int64_t step = 0;
    double loss_sum = 0;
    fm_status status = FM_OK;
    for (int epoch = 0; epoch < n_epochs && status == FM_OK; epoch++)
        status = fm_net_train(net, &loss_sum, &step, X, &y, weighted ? d->weights : NULL, d->order,
                              d->n_rows, batch_size, rate, n_threads);
    CHECK(status != FM_OK || (isfinite(loss_sum) && step > 0));
    CHECK(fm_net_store(net, -1, p->of) == FM_OK);
    fm_net_free(net);
    return status;
}

/* The same bits for every number of threads and every form of dense X, and of CSR. */
static void train_test(const shape *s)
{
    const int64_t n_rows = is_large(s) ? 410 : 37;
    const int64_t batch_sizes[] = {is_large(s) ? 200 : 5, is_large(s) ? 1000 : 37};
    const int n_threads[] = {1, most_threads(s), 1, most_threads(s)};
    data d = new_data(s, n_rows);
    const uint64_t before = checksum(s, &d), seed = random_state;
    for (int i = s->dtype % N_TURNS; fm_optimizer_row(i); i += N_TURNS) {
        const int forms[] = {ROWS_32, i % CSR_32, CSR_32, CSR_64};
        params p[4];
        for (int run = 0; run < 4; run++) {
            random_state = seed;
            p[run] = new_params(s, 1);
            CHECK(train(s, any_row(fm_optimizer_row, i), &p[run], &d, forms[run],
                        batch_sizes[i / 2 % 2], CALM_RATE, 2, i / 3 % 2, n_threads[run]) == FM_OK);
        }
        CHECK(same_params(s, &p[0], &p[1]) && same_params(s, &p[2], &p[3]));
        for (int run = 0; run < 4; run++)
            free_params(&p[run]);
    }
    CHECK(checksum(s, &d) == before);
    free_data(&d);
}

static void training(void) { for_all(train_test); }
static void training_with_extras(void) { for_all_with_extras(train_test); }

/* Of a derivative. Means over the rows in another order may bring an operand to the other side
 * of where it is rounded. */
static double tolerance_of(const shape *s)
{
    return s->dtype == FM_FLOAT64                         ? 1e-11
           : s->dtype == FM_BFLOAT16 && has_batch_norm(s) ? 0.02
                                                          : 5e-5;
}

/* Whether element i went from one array to the other by -RATE times the gradient. */
static int is_step(const shape *s, const void *from, const void *to, const void *gradient,
                   int64_t i)
{
    const double step = (get(from, s->dtype, i) - get(to, s->dtype, i)) / RATE;
    const double g = get(gradient, s->dtype, i);
    return fabs(step - g) <= tolerance_of(s) * (1 + fabs(g));
}

static int64_t n_trained(const shape *s, int l, int kind)
{
    return kind == MEAN || kind == VARIANCE ? 0 : n_numbers(&s->layers[l], s->units[l], kind);
}

/* One step of plain sgd over all rows goes along the gradient of loss_grad. */
static void gradient_test(const shape *given)
{
    shape changed = *given;
    changed.max_grad_norm = changed.input_dropout = 0;
    for (int l = 0; l < changed.n_layers; l++)
        changed.layers[l].dropout = 0; /* goes by a row's place in the mini-batch */
    const shape *s = &changed;
    const int64_t n_rows = is_large(s) ? 300 : 19;
    data d = new_data(s, n_rows);
    const fm_targets y = targets_of(s, &d);
    fm_choice plain = optimizer("sgd");
    set_parameter(&plain, fm_optimizer_row(plain.row), "momentum", 0);
    for (int form = 0; form < N_FORMS; form++) {
        const double *weights = form % 2 ? d.weights : NULL;
        const uint64_t seed = random_state;
        params p = new_params(s, 1), gradient = new_params(s, 1), first = new_params(s, 1);
        double first_loss = 0;
        fm_config config = config_of(s, no_optimizer, 8, d.form[form].X.indices ? d.nnz + 1 : 0);
        for (int n_threads = 1; n_threads <= 3; n_threads++) {
            fm_net *net;
            /* With more blocks or fewer, where a mini-batch may be cut. */
            config.max_rows = n_threads == 1 && !has_batch_norm(s) ? 8 : n_rows;
            CHECK(fm_net_create(&net, &config) == FM_OK);
            CHECK(fm_net_load(net, -1, p.of) == FM_OK);
            double loss;
            CHECK(fm_net_loss_grad(net, &loss, gradient.of, &d.form[form].X, &y, weights,
                                   n_threads) == FM_OK);
            if (n_threads == 2) {
                first_loss = loss;
                copy_params(s, &first, &gradient);
            }
            CHECK(n_threads != 3 || (loss == first_loss && same_params(s, &first, &gradient)));
            fm_net_free(net);
        }
        random_state = seed;
        params trained = new_params(s, 1);
        CHECK(same_params(s, &p, &trained));
        CHECK(train(s, plain, &trained, &d, form, n_rows, RATE, 1, form % 2, 3) == FM_OK);
        for (int l = 0; l < s->n_layers; l++)
            for (int kind = 0; kind < N_KINDS; kind++)
                for (int64_t i = 0; i < n_trained(s, l, kind); i++)
                    CHECK(is_step(s, *array_of(&p.of[l], kind), *array_of(&trained.of[l], kind),
                                  *array_of(&gradient.of[l], kind), i));
        free_params(&p);
        free_params(&gradient);
        free_params(&first);
        free_params(&trained);
    }
    free_data(&d);
}

static void gradients(void) { for_all(gradient_test); }
static void gradients_with_extras(void) { for_all_with_extras(gradient_test); }

/* Mini-batches of more rows than one block, with and without a second block. */
static void large_batch_test(const shape *s)
{
    data d = new_data(s, 2 * FM_MAX_BLOCK + 77);
    for (int form = 0; form < N_FORMS; form += 2) {
        const uint64_t seed = random_state;
        params p[3];
        for (int i = 0; i < 3; i++) {
            random_state = seed;
            p[i] = new_params(s, 1);
            CHECK(train(s, optimizer("adam"), &p[i], &d, form,
                        i < 2 ? FM_MAX_BLOCK + 300 : d.n_rows, RATE, 1, 1, i + 1) == FM_OK);
        }
        CHECK(same_params(s, &p[0], &p[1]));
        CHECK(!same_params(s, &p[0], &p[2]));
        for (int i = 0; i < 3; i++)
            free_params(&p[i]);
    }
    free_data(&d);
}

static void large_batches(void)
{
    for (int seed = 0; seed < 3; seed++)
        for_isas(large_batch_test, unit_lists[7], seed, seed ? with_extras : NULL);
}

static void store_test(const shape *s)
{
    const int n_slots = 2 + (s->averaging > 0);
    fm_config config = config_of(s, optimizer("adam"), 7, 0);
    fm_net *net;
    CHECK(fm_net_create(&net, &config) == FM_OK);
    params p = new_params(s, 1), q = new_params(s, 1);
    for (int slot = -1; slot < n_slots; slot++) {
        CHECK(!same_params(s, &p, &q));
        CHECK(fm_net_load(net, slot, p.of) == FM_OK);
        CHECK(fm_net_store(net, slot, q.of) == FM_OK);
        for (int l = 0; l < s->n_layers; l++)
            for (int kind = 0; kind < N_KINDS; kind++)
                CHECK(!n_trained(s, l, kind) ||
                      !memcmp(*array_of(&p.of[l], kind), *array_of(&q.of[l], kind),
                              bytes_of(s, l, kind)));
        CHECK(slot >= 0 || same_params(s, &p, &q)); /* running averages are no state */
        CHECK(fm_net_state_finite(net));
        free_params(&q);
        q = new_params(s, 1);
    }
    for (int kind = 0; kind < N_KINDS; kind++)
        if (n_trained(s, 0, kind)) {
            const double before = get(*array_of(&p.of[0], kind), s->dtype, 0);
            set(*array_of(&p.of[0], kind), s->dtype, 0, kind % 2 ? NAN : INFINITY);
            CHECK(fm_net_load(net, 0, p.of) == FM_OK && !fm_net_state_finite(net));
            set(*array_of(&p.of[0], kind), s->dtype, 0, before);
            CHECK(fm_net_load(net, 0, p.of) == FM_OK && fm_net_state_finite(net));
        }
    CHECK(fm_net_store(net, n_slots, q.of) == FM_BAD_ARGUMENT);
    CHECK(fm_net_load(net, -2, p.of) == FM_BAD_ARGUMENT);
    fm_net_free(net);
    free_params(&p);
    free_params(&q);
}

static void load_and_store(void)
{
    for_all(store_test);
    for_all_with_extras(store_test);
}

/* Whatever comes in, arithmetic is all that happens: the sanitizers watch. */
static void strange_test(const shape *s)
{
    static const double strange[] = {NAN, INFINITY, -INFINITY, 1e30, -1e30, 1e300, 1e-42, 5e-324};
    for (size_t k = 0; k < sizeof(strange) / sizeof(*strange); k++)
        for (int where = 0; where < 2; where++) {
            data d = new_data(s, 40);
            params p = new_params(s, 1);
            const int64_t last = d.n_rows * s->units[0] - 1;
            if (where == 0)
                for (int i = 0; i < 3; i++)
                    ((double *)d.form[ROWS_64].data)[last / 2 * i] = strange[k];
            else
                set(p.of[0].W, s->dtype, 0, strange[k]);
            void *out = allocate((size_t)(40 * s->units[s->n_layers]) * item(s->dtype));
            CHECK(predict(out, s, &p, &d.form[ROWS_64].X, 0, 1) == FM_OK);
            const double as_element =
                s->dtype == FM_FLOAT64 ? strange[k] : (double)(float)strange[k];
            CHECK(predict(out, s, &p, &d.form[ROWS_64].X, 1, 1) ==
                  (where == 0 && !isfinite(as_element) ? FM_NOT_FINITE : FM_OK));
            free(out);

            fm_config config = config_of(s, optimizer("adam"), 16, 0);
            fm_net *net;
            CHECK(fm_net_create(&net, &config) == FM_OK);
            CHECK(fm_net_load(net, -1, p.of) == FM_OK);
            const fm_targets y = targets_of(s, &d);
            int64_t step = 0;
            double loss;
            for (int epoch = 0; epoch < 3; epoch++)
                CHECK(fm_net_train(net, &loss, &step, &d.form[ROWS_64].X, &y, NULL, d.order, 40, 16,
                                   0.1, 2) == FM_OK);
            CHECK(step == 9);
            fm_net_free(net);
            free_params(&p);
            free_data(&d);
        }
}

static void strange_numbers(void)
{
    for (int seed = 0; seed < N_SHAPES; seed++)
        for_isas(strange_test, unit_lists[seed], seed, seed % 2 ? with_extras : NULL);
}

/* A NaN anywhere is found by whichever thread has the block. */
static void not_finite(void)
{
    shape s = shape_of(large_units, NULL, FM_FLOAT32, 1);
    data d = new_data(&s, 700);
    params p = new_params(&s, 1);
    float *out = allocate((size_t)(700 * 10) * sizeof(float));
    float *x = d.form[ROWS_32].data;
    for (int64_t at = 0; at < 700 * 150; at += 1499) {
        const float before = x[at];
        x[at] = NAN;
        CHECK(predict(out, &s, &p, &d.form[ROWS_32].X, 1, 3) == FM_NOT_FINITE);
        x[at] = before;
    }
    CHECK(predict(out, &s, &p, &d.form[ROWS_32].X, 1, 3) == FM_OK);
    free(out);
    free_params(&p);
    free_data(&d);
}

/* -------------------------------------------------------------------- threads */

typedef struct {
    const shape *s;
    const data *d;
    const params *p;
    const void *expected;
    params trained;
} job;

static void *train_job(void *arg)
{
    job *j = arg;
    CHECK(train(j->s, optimizer("adam"), &j->trained, j->d, ROWS_32, 200, RATE, 3, 1, 3) == FM_OK);
    return NULL;
}

static void *predict_job(void *arg)
{
    job *j = arg;
    const size_t bytes = (size_t)(j->d->n_rows * j->s->units[j->s->n_layers]) * item(j->s->dtype);
    void *out = allocate(bytes);
    for (int i = 0; i < 10; i++) {
        CHECK(predict(out, j->s, j->p, &j->d->form[i % CSR_32].X, 1, 3) == FM_OK);
        CHECK(!memcmp(out, j->expected, bytes));
    }
    free(out);
    return NULL;
}

/* Nets of their own and predictions with shared weights, all at once. */
static void several_callers(void)
{
    shape s = shape_of(large_units, NULL, FM_FLOAT64, 2);
    data d = new_data(&s, 600);
    params p = new_params(&s, 1);
    void *expected = allocate((size_t)(600 * 10) * sizeof(double));
    CHECK(predict(expected, &s, &p, &d.form[0].X, 0, 1) == FM_OK);
    job jobs[6];
    pthread_t thread[6];
    const uint64_t seed = random_state;
    for (int i = 0; i < 6; i++) {
        random_state = seed;
        jobs[i] = (job){&s, &d, &p, expected, i < 3 ? new_params(&s, 1) : (params){{{0}}}};
    }
    for (int i = 0; i < 6; i++)
        CHECK(!pthread_create(&thread[i], NULL, i < 3 ? train_job : predict_job, &jobs[i]));
    for (int i = 0; i < 6; i++)
        pthread_join(thread[i], NULL);
    CHECK(same_params(&s, &jobs[0].trained, &jobs[1].trained));
    CHECK(same_params(&s, &jobs[0].trained, &jobs[2].trained));
    for (int i = 0; i < 6; i++)
        free_params(&jobs[i].trained);
    free(expected);
    free_params(&p);
    free_data(&d);
}

/* Every call on a stack of its own, which tells afterwards how much of it was used. */
typedef struct {
    const shape *s;
    const data *d;
    params p, gradient;
    void *out;
    const unsigned char *top; /* of the stack, when the calls begin */
    ptrdiff_t used;           /* below it */
} stack_job;

static void *calls_of_all_kinds(void *arg)
{
    static const int64_t rows[] = {1, 4, 16, 17, 400};
    stack_job *j = arg;
    const fm_targets y = targets_of(j->s, j->d);
    double loss;
    j->top = __builtin_frame_address(0);
    for (int form = 0; form < N_FORMS; form++) {
        fm_matrix X = j->d->form[form].X;
        const fm_config config = config_of(
            j->s, no_optimizer, has_batch_norm(j->s) ? X.n_rows : 300, X.indices ? X.nnz : 0);
        fm_net *net;
        CHECK(train(j->s, optimizer("adam"), &j->p, j->d, form, 200, RATE, 1, 1, 3) == FM_OK);
        CHECK(fm_net_create(&net, &config) == FM_OK);
        CHECK(fm_net_load(net, -1, j->p.of) == FM_OK);
        CHECK(fm_net_loss_grad(net, &loss, j->gradient.of, &X, &y, NULL, 3) == FM_OK);
        fm_net_free(net);
        for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
            X.n_rows = rows[i];
            CHECK(predict(j->out, j->s, &j->p, &X, 1, 3) == FM_OK);
        }
    }
    fm_set_num_threads(0);
    CHECK(fm_get_num_threads() >= 1); /* reads files */
    return NULL;
}

enum { PAINT = 0xA5 };

static const unsigned char *end_of_paint(const volatile void *stack)
{
    const volatile unsigned char *lowest = stack;
    while (*lowest == PAINT)
        lowest++;
    return (const unsigned char *)lowest;
}

#ifdef _WIN32
/* A stack cannot be chosen there: what lies below this frame is painted in place, downwards, as
 * the system adds page after page. */
static void *calls_on_painted_stack(void *arg)
{
    enum { FRAME = 1 << 10, ROOM = 512 << 10 };
    stack_job *j = arg;
    volatile unsigned char *here = __builtin_frame_address(0);
    for (int i = FRAME; i < ROOM; i++)
        here[-i] = PAINT;
    calls_of_all_kinds(arg);
    j->used = j->top - end_of_paint(here - ROOM + 1);
    return NULL;
}

static void run_on_painted_stack(stack_job *job)
{
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, calls_on_painted_stack, job));
    CHECK(!pthread_join(thread, NULL));
}
#else
static void run_on_painted_stack(stack_job *job)
{
    enum { ROOM = 2 << 20 }; /* the thread sanitizer wants 0.9 MB for itself */
    void *stack;
    CHECK(!posix_memalign(&stack, 4096, ROOM));
    memset(stack, PAINT, ROOM);
    pthread_attr_t attr;
    pthread_t thread;
    CHECK(!pthread_attr_init(&attr) && !pthread_attr_setstack(&attr, stack, ROOM));
    CHECK(!pthread_create(&thread, &attr, calls_of_all_kinds, job));
    CHECK(!pthread_join(thread, NULL));
    pthread_attr_destroy(&attr);
    job->used = job->top - end_of_paint(stack);
    free(stack);
}
#endif

static void stack_test(const shape *s)
{
    data d = new_data(s, 400);
    stack_job job = {.s = s, .d = &d, .p = new_params(s, 1), .gradient = new_params(s, 1)};
    job.out = allocate((size_t)(400 * s->units[s->n_layers]) * item(s->dtype));
    run_on_painted_stack(&job);
#ifndef INSTRUMENTED /* the frames are larger */
    CHECK(job.used > 0 && job.used <= FM_STACK_BYTES);
#endif
    free(job.out);
    free_params(&job.p);
    free_params(&job.gradient);
    free_data(&d);
}

static void small_stacks(void)
{
    for_isas(stack_test, large_units, 0, NULL);
    for_isas(stack_test, large_units, 1, with_extras);
}

/* ----------------------------------------------------------------- interrupts */

typedef struct {
    int asked, end_at; /* 0: never */
} patience;

static int loses_patience(void *arg)
{
    patience *p = arg;
    return ++p->asked == p->end_at;
}

/* A net, asked for the patience of its caller. */
static fm_net *new_net(const shape *s, fm_choice update, const data *d, const fm_matrix *X,
                       const params *p, patience *asked)
{
    fm_config config = config_of(s, update, d->n_rows, X->indices ? d->nnz : 0);
    config.interrupt = (fm_interrupt){loses_patience, asked};
    fm_net *net;
    CHECK(fm_net_create(&net, &config) == FM_OK);
    CHECK(fm_net_load(net, -1, p->of) == FM_OK);
    return net;
}

/* Weights and optimizer state. */
static int same_nets(const shape *s, const fm_net *net, const fm_net *other)
{
    params p = new_params(s, 1), q = new_params(s, 1);
    int same = 1;
    for (int slot = -1; slot < 2; slot++) {
        CHECK(fm_net_store(net, slot, p.of) == FM_OK);
        CHECK(fm_net_store(other, slot, q.of) == FM_OK);
        same &= same_params(s, &p, &q);
    }
    free_params(&p);
    free_params(&q);
    return same;
}

/* What an ended call leaves is what the mini-batches before leave, and goes on as if it
 * had not been ended; not ended, it keeps its bits. */
static void interrupted_training_test(const shape *s, const data *d, int form, int64_t batch_size,
                                      int n_threads)
{
    const fm_matrix *X = &d->form[form].X;
    const fm_targets y = targets_of(s, d);
    const int64_t n_batches = (d->n_rows + batch_size - 1) / batch_size;
    params p = new_params(s, 1);
    patience never = {0, 0}, once = {0, 0};
    fm_net *whole = new_net(s, optimizer("adam"), d, X, &p, &never);
    fm_net *cut = new_net(s, optimizer("adam"), d, X, &p, &once);
    double loss;
    int64_t step = 0, steps = 0;
#define TRAIN(net, step, first, n)                                                             \
    fm_net_train(net, &loss, step, X, &y, d->weights, d->order + (first), n, batch_size, RATE, \
                 n_threads)
    CHECK(TRAIN(whole, &step, 0, d->n_rows) == FM_OK && step == n_batches);
    /* The leader's of the forward pass, and of gradients that are not applied at once. */
    const double passes = batch_size > FM_MAX_BLOCK ? 2 : 1;
    CHECK(never.asked >= (int)(passes * 20200.0 * (double)(d->n_rows / n_threads) / 1e8));
    CHECK(never.asked > 0);
    for (int64_t first; (first = steps * batch_size) < d->n_rows;) {
        const int64_t before = steps;
        once = (patience){0, 2 * before < n_batches ? 1 : 0};
        const fm_status status = TRAIN(cut, &steps, first, d->n_rows - first);
        CHECK(status == (steps < n_batches ? FM_INTERRUPTED : FM_OK));
        if (status == FM_INTERRUPTED && n_batches == 1)
            break;
        CHECK(steps > before);
    }
    if (n_batches == 1) {
        fm_net *untouched = new_net(s, optimizer("adam"), d, X, &p, &never);
        CHECK(steps == 0 && loss == 0 && same_nets(s, cut, untouched));
        fm_net_free(untouched);
        once.end_at = 0;
        CHECK(TRAIN(cut, &steps, 0, d->n_rows) == FM_OK);
    }
    CHECK(same_nets(s, whole, cut));
#undef TRAIN
    fm_net_free(whole);
    fm_net_free(cut);
    free_params(&p);
}

static void interrupted_gradient_test(const shape *s, const data *d, int form, int n_threads)
{
    const fm_matrix *X = &d->form[form].X;
    const fm_targets y = targets_of(s, d);
    params p = new_params(s, 1), gradient[2] = {new_params(s, 1), new_params(s, 1)};
    patience asked = {0, 0};
    fm_net *net = new_net(s, no_optimizer, d, X, &p, &asked);
    double loss[2];
    for (int i = 0; i < 2; i++) {
        CHECK(fm_net_loss_grad(net, &loss[i], gradient[i].of, X, &y, d->weights, n_threads) ==
              FM_OK);
        const int n = asked.asked;
        CHECK(n > 0);
        for (int k = 1; k <= n && i == 0; k++) {
            asked = (patience){0, k};
            CHECK(fm_net_loss_grad(net, &loss[1], gradient[1].of, X, &y, d->weights, n_threads) ==
                  FM_INTERRUPTED);
        }
        asked = (patience){0, 0};
    }
    CHECK(loss[0] == loss[1] && same_params(s, &gradient[0], &gradient[1]));
    fm_net_free(net);
    for (int i = 0; i < 2; i++)
        free_params(&gradient[i]);
    free_params(&p);
}

static void interrupted_prediction_test(const shape *s, const data *d, int form)
{
    params p = new_params(s, 1);
    const fm_network network = network_of(s);
    const size_t bytes = (size_t)(d->n_rows * s->units[s->n_layers]) * item(s->dtype);
    void *out = allocate(bytes), *expected = allocate(bytes);
    CHECK(predict(expected, s, &p, &d->form[form].X, 1, 1) == FM_OK);
    for (int n_threads = 1; n_threads <= 3; n_threads += 2)
        for (int k = 0; k < 3; k++) {
            patience asked = {0, k};
            const fm_interrupt interrupt = {loses_patience, &asked};
            const fm_status status =
                fm_predict(out, &d->form[form].X, &network, p.of, s->isa, 1, &interrupt, n_threads);
            /* Of several threads the others may do all of it. */
            CHECK(status == (k && asked.asked == k ? FM_INTERRUPTED : FM_OK));
            CHECK(n_threads > 1 || asked.asked >= (k ? k : 2));
            CHECK(status != FM_OK || !memcmp(out, expected, bytes));
        }
    free(out);
    free(expected);
    free_params(&p);
}

static void interrupts(void)
{
    for (int dtype = FM_FLOAT32; dtype <= FM_BFLOAT16; dtype++) {
        const shape s = shape_of(large_units, NULL, (fm_dtype)dtype, 1);
        const int form = dtype == FM_FLOAT64 ? CSR_32 : ROWS_32;
        data d = new_data(&s, 12000);
        for (int n_threads = 1; n_threads <= 2; n_threads++) {
            interrupted_training_test(&s, &d, form, 200, n_threads);
            interrupted_training_test(&s, &d, form, d.n_rows, n_threads);
            interrupted_gradient_test(&s, &d, form, n_threads);
        }
        interrupted_prediction_test(&s, &d, form);
        free_data(&d);
    }
}

/* A few rows through weights of 25 million numbers, all 0. */
static void interrupted_short_prediction(void)
{
    enum { N = 5000, ROWS = 10 };
    const fm_layer layer = {.width = N, .activation = choose(fm_activation_row, "identity")};
    const fm_network network = {
        .dtype = FM_FLOAT32, .n_inputs = N, .n_layers = 1, .layers = &layer};
    float *X = calloc(N, sizeof(float)), *W = calloc((size_t)N * N, sizeof(float));
    float *b = calloc(N, sizeof(float)), *out = allocate(ROWS * N * sizeof(float));
    CHECK(X && W && b);
    X[7] = 1;
    const fm_parameters parameters = {.W = W, .b = b};
    const fm_matrix matrix = {.n_rows = ROWS, .n_cols = N, .data = X, .col_stride = sizeof(float)};
    for (int k = 0; k < 3; k++) {
        patience asked = {0, k};
        const fm_interrupt interrupt = {loses_patience, &asked};
        CHECK(fm_predict(out, &matrix, &network, &parameters, NULL, 1, &interrupt, 1) ==
              (k ? FM_INTERRUPTED : FM_OK));
        CHECK(asked.asked == (k ? k : 3));
    }
    free(X);
    free(W);
    free(b);
    free(out);
}

static void number_of_threads(void)
{
    const int before = fm_get_num_threads();
    CHECK(before >= 1);
    fm_set_num_threads(3);
    CHECK(fm_get_num_threads() == 3);
    fm_set_num_threads(0);
    CHECK(fm_get_num_threads() == before);
}

/* Training goes on alone while teams lag, and with a team from the mini-batch on that they do
 * not: a call is an epoch, which may be long. */
static void teams_after_a_rest(void)
{
#ifdef WRAPPED
    shape s = shape_of(large_units, NULL, FM_FLOAT32, 1);
    data d = new_data(&s, 600);
    params p = new_params(&s, 1);
    const fm_targets y = targets_of(&s, &d);
    const fm_matrix *X = &d.form[ROWS_32].X;
    patience never = {0, 0};
    fm_net *net = new_net(&s, optimizer("adam"), &d, X, &p, &never);
    double loss;
    int64_t step = 0;
    lags_for = 4; /* asked before the call of one, and at the first three of its six steps */
    n_teams = 0;
    CHECK(fm_net_train(net, &loss, &step, X, &y, NULL, d.order, 600, 100, RATE, 2) == FM_OK);
    CHECK(step == 6 && n_teams >= 2 && team_sizes[0] == 1 && team_sizes[1] == 2);
    CHECK(lags_for == 0);
    fm_net_free(net);
    free_params(&p);
    free_data(&d);
#endif
}

/* --------------------------------------------------------------------- errors */

static fm_status create(const fm_config *config)
{
    fm_net *net = (fm_net *)1;
    fm_status status = fm_net_create(&net, config);
    CHECK((status == FM_OK) == (net != NULL));
    fm_net_free(net);
    return status;
}

static void check_parameters(row_function *row_at)
{
    for (int i = 0; row_at(i); i++) {
        const fm_table_row *row = row_at(i);
        CHECK(row->index == i && fm_default_choice(row).row == i);
        CHECK(row->n_parameters >= 0 && row->n_parameters <= FM_MAX_PARAMETERS);
        for (int k = 0; k < row->n_parameters; k++) {
            const fm_parameter *p = &row->parameters[k];
            CHECK(p->low < p->high && fm_is_in_bounds(p, p->initial) && !fm_is_in_bounds(p, NAN));
            CHECK(fm_is_in_bounds(p, p->low) == !!(p->closed & FM_CLOSED_LEFT));
            CHECK(fm_is_in_bounds(p, p->high) == !!(p->closed & FM_CLOSED_RIGHT));
            CHECK(!p->is_switch || !fm_is_in_bounds(p, 0.5));
            CHECK(strlen(p->name) && strlen(p->doc));
        }
    }
}

static void tables(void)
{
    int available, any = 0;
    const fm_table_row *row;
    for (int i = 0; (row = fm_activation_row(i)); i++)
        CHECK(row->where && !(row->where & ~(FM_FOR_HIDDEN | FM_FOR_OUTPUT | FM_POSITIVE)));
    for (int i = 0; (row = fm_loss_row(i)); i++) {
        CHECK(fm_activation_row(row->output)->where & FM_FOR_OUTPUT);
        CHECK(row->canonical == -1 || fm_activation_row(row->canonical)->where & FM_FOR_OUTPUT);
    }
    for (int i = 0; (row = fm_optimizer_row(i)); i++)
        CHECK(row->n_slots >= 1);
    check_parameters(fm_activation_row);
    check_parameters(fm_loss_row);
    check_parameters(fm_optimizer_row);
    for (int i = 0; fm_isa_name(i, &available); i++)
        any |= available;
    CHECK(any);
    CHECK(!fm_activation_row(-1) && !fm_activation_row(1000));
    CHECK(!fm_loss_row(-1) && !fm_loss_row(1000));
    CHECK(!fm_optimizer_row(-1) && !fm_optimizer_row(1000));
    CHECK(!fm_isa_name(-1, &available) && !fm_isa_name(1000, &available));
    for (int status = -1; status < 20; status++)
        CHECK(strlen(fm_status_text((fm_status)status)) > 5);
    CHECK(strlen(fm_build_info()) > 5);
}

static void bad_networks(void)
{
    const shape s = shape_of(unit_lists[3], NULL, FM_FLOAT32, 1);
    const fm_config good = config_of(&s, optimizer("adam"), 8, 0);
    CHECK(create(&good) == FM_OK);
    fm_config c;
#define EXPECT(wanted, change)         \
    do {                               \
        c = good;                      \
        change;                        \
        CHECK(create(&c) == (wanted)); \
    } while (0)

    EXPECT(FM_BAD_ARGUMENT, c.network.n_layers = 0);
    EXPECT(FM_BAD_ARGUMENT, c.network.n_layers = -1);
    EXPECT(FM_BAD_ARGUMENT, c.network.dtype = (fm_dtype)3);
    EXPECT(FM_BAD_ARGUMENT, c.loss.row = -1);
    EXPECT(FM_BAD_ARGUMENT, c.loss.row = 1000);
    const fm_choice quantile = choose(fm_loss_row, "quantile");
    const double levels[] = {0.1, 0.5, 0.9}, wrong[] = {0.1, 0.5, 1};
    CHECK(s.units[s.n_layers] == 3);
    EXPECT(FM_OK, (c.loss = quantile, c.loss_parameters = levels));
    EXPECT(FM_BAD_ARGUMENT, (c.loss = quantile, c.loss_parameters = wrong));
    EXPECT(FM_BAD_ARGUMENT, (c.loss = choose(fm_loss_row, "huber"), c.loss_parameters = levels));
    EXPECT(FM_BAD_ARGUMENT, (c.loss = choose(fm_loss_row, "poisson"), c.loss_parameters = levels));
    EXPECT(FM_BAD_ARGUMENT, c.optimizer.row = -2);
    EXPECT(FM_BAD_ARGUMENT, c.optimizer.row = 1000);
    EXPECT(FM_BAD_ARGUMENT, c.optimizer.parameters[0] = 1);
    EXPECT(FM_BAD_ARGUMENT, c.optimizer.parameters[2] = NAN);
    EXPECT(FM_OK, c.optimizer.parameters[3] = NAN); /* adam has three */
    EXPECT(FM_BAD_ARGUMENT, c.max_rows = 0);
    EXPECT(FM_BAD_ARGUMENT, c.max_rows = -1);
    EXPECT(FM_BAD_ARGUMENT, c.max_nnz = -1);
    EXPECT(FM_UNKNOWN_ISA, c.isa = "sse9");
    EXPECT(FM_OK, c.optimizer.row = -1);
    EXPECT(FM_BAD_ARGUMENT, c.averaging = 1);
    EXPECT(FM_BAD_ARGUMENT, c.averaging = -0.1);
    EXPECT(FM_BAD_ARGUMENT, c.max_grad_norm = -1);
    EXPECT(FM_BAD_ARGUMENT, c.max_grad_norm = NAN);
    EXPECT(FM_BAD_ARGUMENT, c.network.input_dropout = 1);
    EXPECT(FM_BAD_ARGUMENT, c.network.input_dropout = NAN);

    fm_layer layers[2] = {s.layers[0], s.layers[1]};
    EXPECT(FM_BAD_ARGUMENT, c.network.n_inputs = 0);
    EXPECT(FM_BAD_ARGUMENT, c.network.n_inputs = -1);
    for (int i = 0; i < 2; i++) {
        for (int64_t n = -1; n <= 0; n++) {
            layers[i].width = n;
            EXPECT(FM_BAD_ARGUMENT, c.network.layers = layers);
        }
        layers[i] = s.layers[i];
        layers[i].activation.row = 1000;
        EXPECT(FM_BAD_ARGUMENT, c.network.layers = layers);
        layers[i] = s.layers[i];
    }
    layers[0].activation = choose(fm_activation_row, "softmax");
    EXPECT(FM_BAD_ARGUMENT, c.network.layers = layers);
    for (int i = 0; i < 2; i++) { /* what hidden layers may have, within bounds */
#define EXPECT_LAYER(wanted, change)               \
    do {                                           \
        layers[0] = s.layers[0];                   \
        layers[1] = s.layers[1];                   \
        layers[i].change;                          \
        EXPECT(wanted, c.network.layers = layers); \
    } while (0)
        EXPECT_LAYER(i ? FM_BAD_ARGUMENT : FM_OK, dropout = 0.5);
        EXPECT_LAYER(i ? FM_BAD_ARGUMENT : FM_OK, residual = 1);
        EXPECT_LAYER(i ? FM_BAD_ARGUMENT : FM_OK, normalization = FM_LAYER_NORM);
        EXPECT_LAYER(FM_BAD_ARGUMENT, normalization = (fm_normalization)7);
        EXPECT_LAYER(FM_BAD_ARGUMENT, dropout = 1);
        EXPECT_LAYER(FM_BAD_ARGUMENT, dropout = -0.5);
#undef EXPECT_LAYER
    }
    layers[0] = s.layers[0];
    layers[1] = s.layers[1];

    /* Sizes whose products overflow, in one layer or in the sum of all. */
    const int64_t huge[] = {INT64_MAX, INT64_MAX / 2, INT64_C(1) << 40, INT64_C(1) << 33};
    for (int i = 0; i < 6; i++)
        for (size_t k = 0; k < sizeof(huge) / sizeof(*huge); k++) {
            const int deep = i % 2;
            layers[0].width = huge[k];
            layers[1].width = deep ? huge[k] : s.layers[1].width;
            EXPECT(FM_TOO_LARGE, c.network.dtype = (fm_dtype)(i / 2); c.network.layers = layers;
                   c.network.n_inputs = deep ? s.units[0] : huge[k]);
        }
    layers[0].width = s.layers[0].width;
    layers[1].width = INT64_C(1) << 60;
    EXPECT(FM_TOO_LARGE, c.network.layers = layers; c.network.n_inputs = INT64_C(1) << 60);
    EXPECT(FM_TOO_LARGE, c.max_nnz = INT64_MAX);
    EXPECT(FM_TOO_LARGE, c.max_nnz = INT64_MAX / 8);
    EXPECT(FM_OK, c.max_rows = INT64_MAX); /* passes through in blocks */

    int available;
    const char *found;
    for (int i = 0; fm_isa_name(i, &available); i++) {
        const char *isa = fm_isa_name(i, NULL);
        EXPECT(available ? FM_OK : FM_NO_ISA, c.isa = isa);
        CHECK(fm_find_isa(&found, isa, FM_FLOAT64) == (available ? FM_OK : FM_NO_ISA));
        CHECK(available ? !strcmp(found, isa) : !found);
    }
    CHECK(fm_find_isa(&found, "sse9", FM_FLOAT32) == FM_UNKNOWN_ISA && !found);
    putenv("FASTMLP_ISA=sse9"); /* the caller's to read */
    CHECK(create(&good) == FM_OK);
    putenv("FASTMLP_ISA=");
    fm_net_free(NULL);
#undef EXPECT
}

static void bad_calls(void)
{
    shape s = shape_of(unit_lists[3], NULL, FM_FLOAT32, 1);
    s.loss = choose(fm_loss_row, "log_loss");
    s.layers[s.n_layers - 1].activation = usual_output(&s.loss);
    data d = new_data(&s, 20);
    params p = new_params(&s, 1), q = new_params(&s, 1);
    const fm_targets y = targets_of(&s, &d), both = {d.labels, d.values}, none = {NULL, NULL};
    fm_config config = config_of(&s, optimizer("sgd"), 8, 0);
    fm_config sparse_config = config_of(&s, optimizer("sgd"), 8, 2000);
    fm_net *net, *sparse;
    CHECK(fm_net_create(&net, &config) == FM_OK);
    CHECK(fm_net_load(net, -1, p.of) == FM_OK);
    CHECK(fm_net_create(&sparse, &sparse_config) == FM_OK);
    CHECK(fm_net_load(sparse, -1, p.of) == FM_OK);
    config.optimizer = no_optimizer;
    fm_net *untrained;
    CHECK(fm_net_create(&untrained, &config) == FM_OK);
    double loss;
    int64_t step = 0;
    fm_matrix X = d.form[ROWS_32].X, csr = d.form[CSR_32].X;

#define TRAIN(n, X, y, w, rows, batch) \
    fm_net_train(n, &loss, &step, X, y, w, d.order, rows, batch, 0.1, 1)
#define REFUSED_AS(status, call) CHECK((call) == (status) && step == 0)
#define REFUSED(call) REFUSED_AS(FM_BAD_ARGUMENT, call)
    REFUSED(TRAIN(net, &X, &both, NULL, 20, 8));
    REFUSED(TRAIN(net, &X, &none, NULL, 20, 8));
    REFUSED(TRAIN(net, &X, &y, NULL, 20, 0));
    REFUSED(TRAIN(net, &X, &y, NULL, -1, 8));
    REFUSED(TRAIN(net, &csr, &y, NULL, 20, 8));
    REFUSED(TRAIN(sparse, &X, &y, NULL, 20, 8));
    REFUSED(TRAIN(net, &X, &y, NULL, 20, 9)); /* more than max_rows */
    REFUSED(fm_net_train(net, &loss, &step, &X, &y, NULL, d.order, 20, 8, 0.1, -1));
    REFUSED(fm_net_loss_grad(net, &loss, q.of, &X, &y, NULL, 1)); /* made to train */
    REFUSED(TRAIN(untrained, &X, &y, NULL, 20, 8));
    X.n_cols--;
    REFUSED(TRAIN(net, &X, &y, NULL, 20, 8));
    X.n_cols++;
    const int64_t bad_rows[] = {-1, 20, INT64_MAX, INT64_MIN};
    for (int i = 0; i < 4; i++) {
        const int64_t before = d.order[13];
        d.order[13] = bad_rows[i];
        REFUSED_AS(FM_BAD_DATA, TRAIN(net, &X, &y, NULL, 20, 8));
        d.order[13] = before;
    }
    const int32_t bad_labels[] = {-1, 3, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 4; i++) {
        const int32_t before = d.labels[13];
        d.labels[13] = bad_labels[i];
        REFUSED_AS(FM_BAD_DATA, TRAIN(net, &X, &y, NULL, 20, 8));
        d.labels[13] = before;
    }

    /* CSR arrays that point outside. */
    int32_t *indices = d.form[CSR_32].indices, *indptr = d.form[CSR_32].indptr;
    const int32_t bad_index[] = {-1, 5, INT32_MAX, INT32_MIN};
    float out[20 * 3];
    for (int i = 0; i < 4; i++) {
        int32_t before = indices[4];
        indices[4] = bad_index[i];
        REFUSED_AS(FM_BAD_CSR, TRAIN(sparse, &csr, &y, NULL, 20, 8));
        CHECK(predict(out, &s, &p, &csr, 0, 1) == FM_BAD_CSR);
        indices[4] = before;
        before = indptr[7];
        indptr[7] = i == 1 ? indptr[8] + 1 : bad_index[i];
        REFUSED_AS(FM_BAD_CSR, TRAIN(sparse, &csr, &y, NULL, 20, 8));
        CHECK(predict(out, &s, &p, &csr, 0, 1) == FM_BAD_CSR);
        indptr[7] = before;
    }
    csr.index_bytes = 2;
    REFUSED_AS(FM_BAD_CSR, TRAIN(sparse, &csr, &y, NULL, 20, 8));
    CHECK(predict(out, &s, &p, &csr, 0, 1) == FM_BAD_CSR);
    csr.index_bytes = 4;
    csr.nnz--;
    REFUSED_AS(FM_BAD_CSR, TRAIN(sparse, &csr, &y, NULL, 20, 8));
    csr.nnz++;
    CHECK(TRAIN(sparse, &csr, &y, NULL, 20, 8) == FM_OK && step == 3);

    /* Weights that sum to zero in the second of three mini-batches. */
    for (int i = 0; i < 20; i++)
        d.weights[d.order[i]] = i / 8 != 1;
    step = 0;
    CHECK(TRAIN(net, &X, &y, d.weights, 20, 8) == FM_ZERO_WEIGHT && step == 1);
    CHECK(fm_net_store(net, -1, q.of) == FM_OK && !same_params(&s, &p, &q));
    step = 0;
    CHECK(TRAIN(net, &X, &y, NULL, 0, 8) == FM_OK && step == 0 && loss == 0);

    CHECK(predict(out, &s, &p, &X, 0, -1) == FM_BAD_ARGUMENT);
    shape other = s;
    other.isa = "sse9";
    CHECK(predict(out, &other, &p, &X, 0, 1) == FM_UNKNOWN_ISA);
    other = s;
    other.n_layers = 0;
    CHECK(predict(out, &other, &p, &X, 0, 1) == FM_BAD_ARGUMENT);
    other = s;
    other.units[0] = 6;
    CHECK(predict(out, &other, &p, &X, 0, 1) == FM_BAD_ARGUMENT);
    other = s;
    other.layers[0].width = 0;
    CHECK(predict(out, &other, &p, &X, 0, 1) == FM_BAD_ARGUMENT);
    other.layers[0].width = INT64_MAX / 4;
    CHECK(predict(out, &other, &p, &X, 0, 1) == FM_TOO_LARGE);
    X.n_rows = 1;
    CHECK(predict(out, &other, &p, &X, 0, 1) == FM_TOO_LARGE);
    other.layers[0].width = INT64_MAX / 6; /* no product overflows, their sum does */
    CHECK(predict(out, &other, &p, &X, 0, 1) == FM_TOO_LARGE);
    X.n_rows = 20;
    other.layers[0].width = INT64_MAX / 24;
    CHECK(predict(out, &other, &p, &X, 0, 1) == FM_TOO_LARGE);
    CHECK(predict(out, &s, &p, &X, 0, 1000) == FM_OK);
    csr.n_rows = 0;
    CHECK(predict(out, &s, &p, &csr, 1, 1) == FM_OK);
    X.n_rows = 0;
    CHECK(fm_net_loss_grad(untrained, &loss, q.of, &X, &y, NULL, 1) == FM_BAD_ARGUMENT);
    CHECK(predict(out, &s, &p, &X, 1, 1) == FM_OK);
    X.n_rows = -1;
    CHECK(predict(out, &s, &p, &X, 1, 1) == FM_BAD_ARGUMENT);

    fm_matrix numbers = d.form[ROWS_32].X;
    CHECK(fm_check_finite(&numbers, NULL) == FM_OK);
    CHECK(fm_check_finite(&numbers, "sse9") == FM_UNKNOWN_ISA);
    numbers.dtype = FM_BFLOAT16;
    CHECK(fm_check_finite(&numbers, NULL) == FM_BAD_ARGUMENT);
    numbers = d.form[ROWS_32].X;
    numbers.indices = &numbers;
    CHECK(fm_check_finite(&numbers, NULL) == FM_BAD_ARGUMENT);
    fm_net_free(net);
    fm_net_free(untrained);
    fm_net_free(sparse);
    free_params(&p);
    free_params(&q);
    free_data(&d);
#undef TRAIN
#undef REFUSED
#undef REFUSED_AS
}

/* Arrays that layers need and that are not there, and mini-batches without a variance. */
static void bad_calls_of_normalised_layers(void)
{
    enum { ROWS = 20 };
    shape s = shape_of(unit_lists[7], NULL, FM_FLOAT32, 1);
    s.layers[0].normalization = FM_BATCH_NORM;
    s.layers[0].residual = 1;
    s.layers[1].normalization = FM_LAYER_NORM;
    data d = new_data(&s, ROWS);
    params p = new_params(&s, 1);
    fm_config config = config_of(&s, optimizer("adam"), 8, 0);
    fm_net *net, *untrained;
    CHECK(fm_net_create(&net, &config) == FM_OK);
    config.optimizer = no_optimizer;
    CHECK(fm_net_create(&untrained, &config) == FM_OK);
    fm_matrix X = d.form[ROWS_32].X;
    float *out = allocate(ROWS * 9 * sizeof(float));
    for (int l = 0; l < s.n_layers; l++)
        for (int kind = 0; kind < N_KINDS; kind++) {
            if (!n_numbers(&s.layers[l], s.units[l], kind))
                continue;
            void **array = array_of(&p.of[l], kind), *kept = *array;
            *array = NULL;
            for (X.n_rows = 1; X.n_rows <= ROWS; X.n_rows += ROWS - 1)
                CHECK(predict(out, &s, &p, &X, 0, 1) == FM_BAD_ARGUMENT);
            CHECK(fm_net_load(net, -1, p.of) ==
                  (n_trained(&s, l, kind) ? FM_BAD_ARGUMENT : FM_OK)); /* as they are */
            *array = kept;
        }
    CHECK(fm_net_load(net, -1, p.of) == FM_OK && fm_net_load(untrained, -1, p.of) == FM_OK);
    const fm_targets y = targets_of(&s, &d);
    const struct {
        int64_t n, batch_size;
        fm_status status;
    } calls[] = {{ROWS, 1, FM_BAD_ARGUMENT}, {9, 4, FM_BAD_ARGUMENT}, {1, 8, FM_BAD_ARGUMENT},
                 {ROWS, 9, FM_BAD_ARGUMENT}, {0, 8, FM_OK},           {ROWS, 8, FM_OK}};
    double loss;
    int64_t step = 0;
    X.n_rows = ROWS;
    for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
        CHECK(fm_net_train(net, &loss, &step, &X, &y, NULL, d.order, calls[i].n,
                           calls[i].batch_size, RATE, 1) == calls[i].status);
    CHECK(step == 3);
    CHECK(fm_net_loss_grad(untrained, &loss, p.of, &X, &y, NULL, 1) == FM_BAD_ARGUMENT);
    fm_net_free(net);
    fm_net_free(untrained);
    free(out);
    free_params(&p);
    free_data(&d);
}

#ifdef WRAPPED
/* A team's scratch is taken when it comes to work; without it nothing has changed. */
static void failing_training(const shape *s, const data *d, params *p)
{
    const fm_config config = config_of(s, optimizer("adam"), 200, 0);
    const fm_targets y = targets_of(s, d);
    fm_net *net;
    double loss;
    int64_t step = 0;
    CHECK(fm_net_create(&net, &config) == FM_OK && fm_net_load(net, -1, p->of) == FM_OK);
    fail_in = 0;
    CHECK(fm_net_train(net, &loss, &step, &d->form[ROWS_32].X, &y, NULL, d->order, 200, 200, RATE,
                       3) == FM_NO_MEMORY);
    fail_in = -1;
    params q = new_params(s, 1);
    CHECK(step == 0 && fm_net_store(net, -1, q.of) == FM_OK && same_params(s, p, &q));
    free_params(&q);
    fm_net_free(net);
}

/* One row through a layer for which the stack has no room. */
static void failing_short_prediction(void)
{
    static const int64_t units[MAX_LAYERS + 1] = {3, 3000, 2};
    shape s = shape_of(units, NULL, FM_FLOAT32, 1);
    data d = new_data(&s, 1);
    params p = new_params(&s, 1);
    float out[2];
    for (int fails_now = 1; fails_now >= 0; fails_now--) {
        fail_in = fails_now - 1;
        CHECK(predict(out, &s, &p, &d.form[ROWS_32].X, 0, 1) == (fails_now ? FM_NO_MEMORY : FM_OK));
    }
    fail_in = -1;
    free_params(&p);
    free_data(&d);
}
#endif

/* Lets the first, second, ... allocation of a call fail until none does. */
static void failing_allocations(void)
{
#ifdef WRAPPED
    shape s = shape_of(large_units, NULL, FM_FLOAT32, 1);
    data d = new_data(&s, 600);
    params p = new_params(&s, 1);
    void *out = allocate((size_t)(600 * 10) * sizeof(float));
    for (int sparse = 0; sparse < 2; sparse++) {
        const fm_config config = config_of(&s, optimizer("adam"), 8, sparse ? 100 : 0);
        int n_failures = -1;
        do {
            fail_in = ++n_failures;
            has_failed = 0;
            fm_status status = create(&config);
            fail_in = -1;
            CHECK(status == (has_failed ? FM_NO_MEMORY : FM_OK));
        } while (has_failed);
        CHECK(n_failures >= 2);
    }
    for (int form = 0; form < N_FORMS; form++)
        for (int64_t n_rows = 1; n_rows <= 600; n_rows += 599) {
            fm_matrix X = d.form[form].X;
            X.n_rows = n_rows;
            int n_failures = -1;
            do {
                fail_in = ++n_failures;
                has_failed = 0;
                fm_status status = predict(out, &s, &p, &X, 0, 3);
                fail_in = -1;
                /* A missing thread makes the team smaller, and is no failure. */
                CHECK(status == FM_OK || (has_failed && status == FM_NO_MEMORY));
            } while (has_failed);
            CHECK(n_failures >= (n_rows > 1 ? 2 : 0));
        }
    failing_training(&s, &d, &p);
    failing_short_prediction();
    free(out);
    free_params(&p);
    free_data(&d);
#endif
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "isas")) { /* those that run here */
        int available;
        for (int i = 0; fm_isa_name(i, &available); i++)
            if (available)
                puts(fm_isa_name(i, NULL));
        return 0;
    }
    RUN(tables);
    RUN(bad_networks);
    RUN(bad_calls);
    RUN(bad_calls_of_normalised_layers);
    RUN(failing_allocations);
    RUN(number_of_threads);
    RUN(teams_after_a_rest);
    RUN(load_and_store);
    RUN(prediction);
    RUN(gradients);
    RUN(gradients_with_extras);
    RUN(training);
    RUN(training_with_extras);
    RUN(large_batches);
    RUN(strange_numbers);
    RUN(not_finite);
    RUN(several_callers);
    RUN(small_stacks);
    RUN(interrupts);
    RUN(interrupted_short_prediction);
    return 0;
}
