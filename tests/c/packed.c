/* packed.c - block_set.h, on C versions of the instructions, against the
 * emulation of panel_set.h, which the Python tests hold against the reference.
 *
 * On small integers every order of summation gives the same, so all bits must
 * agree; on other numbers, where now and then a value is rounded the other way
 * after a sum in another order, results must be close. Memory is checked by
 * compiling this with sanitizers. tests/test_packed.py builds and runs it.
 */
#include "fastmlp.h"
#include "kernels/kernels.h"
#include "tables/tables.h"

#include "check.h"
#include "rows.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Instead of dispatch.c. */
extern const fm_kernels fm_kernels_generic_f32, fm_kernels_emulated_amx_bf16,
    fm_kernels_emulated_avx512bf16_bf16;
static const fm_kernels *const sets[] = {&fm_kernels_generic_f32, &fm_kernels_emulated_amx_bf16,
                                         &fm_kernels_emulated_avx512bf16_bf16};
enum { N_SETS = sizeof(sets) / sizeof(*sets) };

const fm_kernels *fm_select_kernels(const char *isa, fm_dtype dtype, int plain, fm_status *status)
{
    *status = FM_OK;
    for (int i = 0; i < N_SETS; i++)
        if (dtype == FM_BFLOAT16 && plain && strcmp(sets[i]->isa, isa) == 0)
            return sets[i];
    *status = FM_UNKNOWN_ISA;
    return NULL;
}

static uint64_t random_state;

static double random_number(void) /* in [-1, 1) */
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15; /* splitmix64, Steele et al. 2014 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (double)((z ^ (z >> 31)) >> 40) * 0x1p-23 - 1;
}

static float draw(int integers, double scale)
{
    return (float)(integers ? floor(1.5 + 1.5 * random_number()) - 1 : scale * random_number());
}

static float *allocate(int64_t n)
{
    float *a = malloc((size_t)n * sizeof(float));
    CHECK(a);
    for (int64_t i = 0; i < n; i++)
        a[i] = NAN;
    return a;
}

enum { MAX_LAYERS = 4, MAX_ROWS = 1100 };
typedef struct {
    int n_layers;
    int64_t units[MAX_LAYERS + 1];
    int64_t n_rows, batch_size;
    fm_choice hidden, out, loss, optimizer;
    int sparse, integers;
} problem;

/* Everything that comes out of one set, one after the other. */
typedef struct {
    float *numbers;
    int64_t n;
    double loss;
} results;

static int64_t n_params(const problem *p)
{
    int64_t n = 0;
    for (int l = 0; l < p->n_layers; l++)
        n += (p->units[l] + 1) * p->units[l + 1];
    return n;
}

static void cut(const problem *p, float *flat, fm_parameters to[])
{
    for (int l = 0; l < p->n_layers; l++) {
        to[l].W = flat;
        flat += p->units[l] * p->units[l + 1];
        to[l].b = flat;
        flat += p->units[l + 1];
    }
}

static results run(const problem *p, const char *isa, int n_threads)
{
    random_state = 7;
    const int64_t K = p->units[0], N = p->units[p->n_layers], rows = p->n_rows, size = n_params(p);
    float *X = allocate(rows * K), *y = allocate(rows * N), *start = allocate(size);
    double *weight = malloc((size_t)rows * sizeof(double));
    int64_t *order = malloc((size_t)rows * sizeof(int64_t));
    int32_t *indices = malloc((size_t)(rows * K) * sizeof(int32_t));
    int32_t *indptr = malloc((size_t)(rows + 1) * sizeof(int32_t));
    CHECK(weight && order && indices && indptr);
    const int positive = fm_loss_row(p->loss.row)->targets == FM_TARGETS_POSITIVE;
    const float least = positive ? 0.5f : 0;
    int64_t nnz = 0;
    indptr[0] = 0;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t k = 0; k < K; k++) {
            const float x = draw(p->integers, 2);
            if (p->sparse && random_number() > 0)
                continue;
            indices[nnz] = (int32_t)k;
            X[nnz++] = x;
        }
        indptr[r + 1] = (int32_t)nnz;
        order[r] = (r * 7 + 3) % rows; /* rows is no multiple of 7 */
        weight[r] = p->integers ? 1 : 0.5 + random_number() / 3;
        for (int64_t n = 0; n < N; n++)
            y[r * N + n] = p->integers ? draw(1, 1) : least + (float)(random_number() > 0.3);
    }
    for (int64_t i = 0; i < size; i++)
        start[i] = draw(p->integers, 0.3);
    fm_parameters params[MAX_LAYERS];
    cut(p, start, params);
    fm_matrix matrix = {.dtype = FM_FLOAT32,
                        .n_rows = rows,
                        .n_cols = K,
                        .data = X,
                        .row_stride = K * 4,
                        .col_stride = 4};
    if (p->sparse) {
        matrix.indices = indices;
        matrix.indptr = indptr;
        matrix.nnz = nnz;
        matrix.index_bytes = 4;
    }
    const fm_targets targets = {.values = y};
    fm_layer layers[MAX_LAYERS];
    for (int l = 0; l < p->n_layers; l++)
        layers[l] = (fm_layer){.width = p->units[l + 1],
                               .activation = l + 1 < p->n_layers ? p->hidden : p->out};
    const fm_network network = {
        .dtype = FM_BFLOAT16, .n_inputs = K, .n_layers = p->n_layers, .layers = layers};

    results out = {.n = 3 * size + 2 * rows * N + 5 * N};
    out.numbers = allocate(out.n);
    float *at = out.numbers;
    fm_config config = {.network = network,
                        .loss = p->loss,
                        .optimizer = p->optimizer,
                        .alpha = 0.5,
                        .max_rows = p->batch_size,
                        .max_nnz = p->sparse ? nnz + 1 : 0,
                        .isa = isa};
    fm_net *net;
    CHECK(fm_net_create(&net, &config) == FM_OK);
    CHECK(strcmp(fm_net_isa(net), isa) == 0);
    CHECK(fm_net_load(net, -1, params) == FM_OK);
    int64_t step = 0;
    double loss;
    /* Integers: one step of a power of two, and nothing is rounded but operands. */
    const int64_t n_order = p->integers ? p->batch_size : rows;
    CHECK(fm_net_train(net, &out.loss, &step, &matrix, &targets, p->integers ? NULL : weight, order,
                       n_order, p->batch_size, p->integers ? 0x1p-6 : 0.01, n_threads) == FM_OK);
    cut(p, at, params);
    CHECK(fm_net_store(net, -1, params) == FM_OK);
    at += size;
    cut(p, at, params);
    CHECK(fm_net_store(net, 0, params) == FM_OK);
    at += size;
    fm_net_free(net);

    cut(p, start, params);
    config.optimizer.row = -1;
    config.max_rows = rows > 40 ? rows / 2 + 1 : rows; /* several blocks of rows */
    CHECK(fm_net_create(&net, &config) == FM_OK);
    CHECK(fm_net_load(net, -1, params) == FM_OK);
    fm_parameters gradient[MAX_LAYERS];
    cut(p, at, gradient);
    CHECK(fm_net_loss_grad(net, &loss, gradient, &matrix, &targets, p->integers ? NULL : weight,
                           n_threads) == FM_OK);
    out.loss += loss;
    at += size;
    fm_net_free(net);

    const int64_t counts[] = {rows, rows - rows / 3, rows < 5 ? rows : 5};
    for (int i = 0; i < 3; i++) {
        matrix.n_rows = counts[i];
        CHECK(fm_predict(at, &matrix, &network, params, isa, 1, NULL, n_threads) == FM_OK);
        at += counts[i] * N;
    }
    out.n = at - out.numbers;
    free(X);
    free(y);
    free(start);
    free(weight);
    free(order);
    free(indices);
    free(indptr);
    return out;
}

static void compare(const problem *p)
{
    const results ideal = run(p, sets[0]->isa, 1);
    for (int64_t i = 0; i < ideal.n; i++)
        CHECK(isfinite(ideal.numbers[i]));
    for (int i = 1; i < N_SETS; i++) {
        const results one = run(p, sets[i]->isa, 1), three = run(p, sets[i]->isa, 3);
        CHECK(memcmp(one.numbers, three.numbers, (size_t)one.n * sizeof(float)) == 0);
        CHECK(one.loss == three.loss && one.n == ideal.n);
        double error = 0, size = 0;
        for (int64_t k = 0; k < one.n; k++) {
            const double e = (double)one.numbers[k] - ideal.numbers[k];
            if (p->integers)
                CHECK(e == 0);
            error += e * e;
            size += (double)ideal.numbers[k] * ideal.numbers[k];
        }
        /* All but sgd's first steps turn the sign of a gradient, however small, into a step. */
        const double tolerance = p->optimizer.row == FM_OPTIMIZER_sgd ? 3e-5 : 3e-3;
        CHECK(error <= tolerance * tolerance * size);
        CHECK(fabs(one.loss - ideal.loss) <= tolerance * fabs(ideal.loss));
        free(one.numbers);
        free(three.numbers);
    }
    free(ideal.numbers);
}

static const problem shapes[] = {
    {.n_layers = 1, .units = {1, 1}, .n_rows = 1, .batch_size = 1},
    {.n_layers = 2, .units = {3, 1, 2}, .n_rows = 5, .batch_size = 2},
    {.n_layers = 2, .units = {31, 32, 33}, .n_rows = 33, .batch_size = 32},
    {.n_layers = 3, .units = {33, 31, 64, 5}, .n_rows = 65, .batch_size = 64},
    {.n_layers = 2, .units = {200, 47, 10}, .n_rows = 300, .batch_size = 128},
    {.n_layers = 3, .units = {450, 40, 20, 70}, .n_rows = 150, .batch_size = 64},
    {.n_layers = 2, .units = {20, 10, 3}, .n_rows = 1100, .batch_size = 1100},
};
enum { N_SHAPES = sizeof(shapes) / sizeof(*shapes) };

static void integers(void)
{
    for (int i = 0; i < N_SHAPES; i++)
        for (int sparse = 0; sparse < 2; sparse++) {
            problem p = shapes[i];
            p.hidden = choose(fm_activation_row, "relu");
            p.out = choose(fm_activation_row, "identity");
            p.loss = choose(fm_loss_row, "squared_error");
            p.optimizer = choose(fm_optimizer_row, "sgd");
            set_parameter(&p.optimizer, fm_optimizer_row(p.optimizer.row), "momentum", 0.5);
            p.integers = 1;
            p.sparse = sparse;
            compare(&p);
        }
}

static void numbers(void)
{
    int hidden = 0; /* all of them, one after the other */
    for (int i = 2; i < N_SHAPES; i++)
        for (int k = 0; fm_loss_row(k); k++, hidden++)
            for (int sparse = 0; sparse < 2; sparse++) {
                problem p = shapes[i];
                p.hidden = any_activation(FM_FOR_HIDDEN, hidden);
                p.loss = any_row(fm_loss_row, k);
                p.out = usual_output(&p.loss);
                p.optimizer = any_row(fm_optimizer_row, k);
                p.sparse = sparse;
                compare(&p);
            }
}

/* Copies of a set with one mistake each. */
static const fm_kernels *const right = &fm_kernels_emulated_amx_bf16;

static void rows_left_out(const fm_stage *s, const fm_pass *pass, int64_t begin, int64_t end)
{
    right->backward(s, pass, begin + 32, end);
}

static void sum_begun_anew(const fm_stage *s, const fm_pass *pass, int64_t begin, int64_t end)
{
    fm_pass other = *pass;
    other.resume = 0;
    right->gradient(s, &other, begin, end);
}

/* Of CSR and of dense X: values cut off, not rounded. */
static void cut_off(fm_kernel *kernel, const fm_stage *s, const fm_pass *pass, int64_t begin,
                    int64_t end)
{
    const fm_matrix *X = pass->batch->X;
    const int64_t n = X->indices ? X->nnz : X->n_rows * X->n_cols;
    uint32_t *data = malloc((size_t)n * sizeof(*data));
    CHECK(data);
    memcpy(data, X->data, (size_t)n * sizeof(*data));
    for (int64_t i = 0; i < n; i++)
        data[i] &= 0xffff0000u;
    fm_matrix other = *X;
    other.data = data;
    fm_batch batch = *pass->batch;
    batch.X = &other;
    fm_pass with = *pass;
    with.batch = &batch;
    kernel(s, &with, begin, end);
    free(data);
}

static void gather_cut_off(const fm_stage *s, const fm_pass *pass, int64_t begin, int64_t end)
{
    cut_off(right->gather, s, pass, begin, end);
}

static void csr_cut_off(const fm_stage *s, const fm_pass *pass, int64_t begin, int64_t end)
{
    cut_off(right->forward_csr, s, pass, begin, end);
}

static void slopes_forgotten(const fm_stage *s, const fm_pass *pass, int64_t begin, int64_t end)
{
    float *slopes = s->to->part[FM_SLOPE];
    right->forward(s, pass, begin, end);
    for (size_t i = 0; slopes && i < right->value_bytes(FM_SLOPE, s->to) / sizeof(float); i++)
        slopes[i] = 1;
}

static void selftest(void)
{
    for (int i = 0; i < N_SETS; i++)
        CHECK(fm_selftest(sets[i], sets[0]));
    for (int mistake = 0; mistake < 5; mistake++) {
        fm_kernels wrong = *right;
        switch (mistake) {
        case 0: wrong.backward = rows_left_out; break;
        case 1: wrong.gradient = sum_begun_anew; break;
        case 2: wrong.gather = gather_cut_off; break;
        case 3: wrong.forward = slopes_forgotten; break;
        default: wrong.forward_csr = csr_cut_off; break;
        }
        CHECK(!fm_selftest(&wrong, sets[0]));
    }
}

int main(void)
{
    RUN(selftest);
    RUN(integers);
    RUN(numbers);
    return 0;
}
