/* train.c - a network that trains: its memory, mini-batch steps, loss and gradient.
 *
 * Knows no arithmetic and no layout; kernels.h does. What is decided here is the
 * order of work and its cut among threads (drawn at the top of kernels.h).
 */
#include "engine/net.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/fpu.h"
#include "host/threads.h"
#include "tables/tables.h"

/* A second thread pays from about this many multiply-adds per step and thread. On
 * Zen 3 a step of 0.43e6 each (20-100-1, 200 rows) took 33 us on one thread and 22 on
 * two in float32, 65 and 41 in float64; one of 0.13e6 each (4-100-3, 150 rows) 15
 * and 13 to 17, 28 and 23. */
#ifndef FM_MIN_WORK_PER_THREAD /* the fuzzer has threads in the smallest networks */
#define FM_MIN_WORK_PER_THREAD 0.4e6
#endif

struct fm_net {
    const fm_kernels *kernels;
    fm_layer *layers;
    int n_layers, n_slots;
    fm_choice loss;
    int64_t block_rows;      /* rows that fit */
    int64_t max_nnz;         /* 0: dense X only; else CSR X only */
    fm_step step;            /* its constant part */
    fm_interrupt interrupt;
    void *input;             /* gathered rows of dense X */
    double *row_loss;        /* (block_rows,) */
    double *row_weights;     /* (block_rows,) */
    fm_buckets buckets;
    int64_t n_units;         /* weight units of all layers, one after the other */
    int64_t *unit_cost;      /* (n_units + 1,) running sum */
    double work_per_row;     /* multiply-adds of a training step */
    void *memory;
    size_t scratch_bytes;    /* of each member of a team */
    int n_scratch;           /* members that scratch is there for */
    char *scratch;           /* (n_scratch, scratch_bytes) */
};

/* ----------------------------------------------------------------- sizes */

fm_status fm_check_shape(fm_dtype dtype, int n_layers, const int64_t *units,
                         const fm_choice *activations)
{
    if ((dtype != FM_FLOAT32 && dtype != FM_FLOAT64 && dtype != FM_BFLOAT16) || n_layers < 1)
        return FM_BAD_ARGUMENT;
    for (int l = 0; l <= n_layers; l++)
        if (units[l] < 1)
            return FM_BAD_ARGUMENT;
    for (int l = 0; l < n_layers; l++) {
        const int wanted = l + 1 < n_layers ? FM_FOR_HIDDEN : FM_FOR_OUTPUT;
        const fm_table_row *row = fm_activation_row(activations[l].row);
        if (!fm_is_choice(row, &activations[l]) || !(row->where & wanted))
            return FM_BAD_ARGUMENT;
    }
    return FM_OK;
}

/* X may be read at the rows in question: row numbers and CSR structure. */
static fm_status check_rows(const fm_matrix *X, const fm_targets *y, const int64_t *rows,
                            int64_t n_rows, int64_t n_outputs, fm_watch *watch)
{
    for (int64_t i = 0; i < n_rows; i++) {
        const int64_t row = rows ? rows[i] : i;
        if (row < 0 || row >= X->n_rows)
            return FM_BAD_DATA;
        if (y && y->labels && (y->labels[row] < 0 || y->labels[row] >= n_outputs))
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

fm_status fm_check_csr(const fm_matrix *X, const int64_t *rows, int64_t n_rows, int64_t block_rows,
                       int64_t max_nnz, fm_watch *watch)
{
    int64_t block_nnz = 0;
    if (X->index_bytes != 4 && X->index_bytes != 8)
        return FM_BAD_CSR;
    for (int64_t i = 0; i < n_rows; i++) {
        const int64_t row = rows ? rows[i] : i;
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

/* ---------------------------------------------------------------- memory */

/* Cuts consecutive pieces from one allocation; run once without a base to learn
 * the total, once with it. A piece of SIZE_MAX bytes marks an overflow. */
typedef struct {
    char *base;
    size_t used;
    int overflow;
} arena;

static void *take(arena *a, size_t bytes)
{
    if (bytes == 0)
        return NULL;
    size_t at = a->used, end;
    if (bytes > PTRDIFF_MAX - 64 || __builtin_add_overflow(at, (bytes + 63) & ~(size_t)63, &end) ||
        end > PTRDIFF_MAX) {
        a->overflow = 1;
        return NULL;
    }
    a->used = end;
    return a->base ? a->base + at : NULL;
}

static size_t array_bytes(int64_t n, size_t item)
{
    size_t bytes;
    return __builtin_mul_overflow((size_t)n, item, &bytes) ? SIZE_MAX : bytes;
}

static void lay_out(fm_net *net, arena *a)
{
    const fm_kernels *k = net->kernels;
    const int in_blocks = net->layers[0].part[FM_GRADIENT] != NULL;
    for (int i = 0; i < net->n_layers; i++) {
        fm_layer *l = &net->layers[i];
        for (int part = 0; part < FM_N_PARTS; part++) {
            int wanted = 1;
            if (part >= FM_SLOTS && part < FM_SLOTS + FM_MAX_SLOTS)
                wanted = part - FM_SLOTS < net->n_slots;
            else if (part == FM_GRADIENT)
                wanted = in_blocks;
            else if (part == FM_TRANSPOSED)
                wanted = i > 0;
            else if (part == FM_SQUARES)
                wanted = net->step.alpha != 0;
            void *p = wanted ? take(a, k->part_bytes(part, l)) : NULL;
            if (a->base)
                l->part[part] = p;
        }
    }
    void *input =
        net->max_nnz ? NULL : take(a, k->input_bytes(net->block_rows, net->layers[0].fan_in));
    double *row_loss = take(a, array_bytes(net->block_rows, sizeof(double)));
    double *row_weights = take(a, array_bytes(net->block_rows, sizeof(double)));
    int64_t *unit_cost = take(a, array_bytes(net->n_units + 1, sizeof(int64_t)));
    fm_buckets b = {0};
    if (net->max_nnz) {
        int64_t units = net->layers[0].fan_in / FM_UNIT_FEATURES + 2;
        b.start = take(a, array_bytes(units, sizeof(*b.start)));
        b.feature = take(a, array_bytes(net->max_nnz, sizeof(*b.feature)));
        b.row = take(a, array_bytes(net->max_nnz, sizeof(*b.row)));
        b.value = take(a, array_bytes(net->max_nnz, k->item));
    }
    if (!a->base)
        return;
    net->input = input;
    net->row_loss = row_loss;
    net->row_weights = row_weights;
    net->unit_cost = unit_cost;
    net->buckets = b;
    for (int i = 0; i < net->n_layers; i++)
        net->layers[i].input = i > 0 ? net->layers[i - 1].part[FM_ACTS] : input;
}

size_t fm_scratch_per_member(const fm_kernels *kernels, const fm_layer *layers, int n_layers)
{
    size_t most = 0;
    for (int i = 0; i < n_layers; i++) {
        const size_t bytes = kernels->scratch_bytes(&layers[i]);
        most = bytes > most ? bytes : most;
    }
    return (most + 63) & ~(size_t)63;
}

/* Scratch for a team of so many members; whether there is enough. */
static int reserve_scratch(fm_net *net, int size)
{
    void *scratch;
    if (size <= net->n_scratch)
        return 1;
    if (posix_memalign(&scratch, 64, (size_t)size * net->scratch_bytes) != 0)
        return 0;
    free(net->scratch);
    net->scratch = scratch;
    net->n_scratch = size;
    return 1;
}

static void sum_unit_costs(fm_net *net)
{
    int64_t u = 0, sum = 0;
    for (int i = 0; i < net->n_layers; i++)
        for (int64_t j = 0; j < net->kernels->n_units(&net->layers[i]); j++, u++) {
            net->unit_cost[u] = sum;
            sum += net->kernels->unit_cost(&net->layers[i], j, net->block_rows);
        }
    net->unit_cost[u] = sum;
}

static fm_status fill(fm_net *net, const fm_config *c)
{
    fm_status status;
    net->kernels = fm_select_kernels(c->isa, c->dtype, &status);
    if (!net->kernels)
        return status;
    net->layers = calloc((size_t)c->n_layers, sizeof(*net->layers));
    if (!net->layers)
        return FM_NO_MEMORY;
    net->n_layers = c->n_layers;
    net->loss = c->loss;
    if (c->optimizer.row >= 0)
        net->n_slots = fm_optimizer_row(c->optimizer.row)->n_slots;
    net->max_nnz = c->max_nnz;
    net->block_rows = c->max_rows < FM_MAX_BLOCK ? c->max_rows : FM_MAX_BLOCK;
    net->interrupt = c->interrupt;
    net->step = (fm_step){.optimizer = c->optimizer, .alpha = c->alpha};
    for (int i = 0; i < c->n_layers; i++) {
        fm_layer *l = &net->layers[i];
        l->fan_in = c->units[i];
        l->fan_out = c->units[i + 1];
        l->max_rows = net->block_rows;
        l->activation = c->activations[i];
        l->is_output = i + 1 == c->n_layers;
        if (net->kernels->part_bytes(FM_PARAMS, l) == SIZE_MAX)
            return FM_TOO_LARGE;
        net->n_units += net->kernels->n_units(l);
        net->work_per_row += (i > 0 ? 3.0 : 2.0) * (double)l->fan_in * (double)l->fan_out;
    }
    /* Any non-NULL value asks lay_out for the part. */
    if (c->optimizer.row < 0 || c->max_rows > FM_MAX_BLOCK)
        net->layers[0].part[FM_GRADIENT] = net;
    arena a = {0};
    lay_out(net, &a);
    if (a.overflow)
        return FM_TOO_LARGE;
    if (posix_memalign(&net->memory, 64, a.used) != 0) {
        net->memory = NULL;
        return FM_NO_MEMORY;
    }
    memset(net->memory, 0, a.used);
    a = (arena){.base = net->memory};
    lay_out(net, &a);
    sum_unit_costs(net);
    net->scratch_bytes = fm_scratch_per_member(net->kernels, net->layers, net->n_layers);
    return FM_OK;
}

fm_status fm_net_create(fm_net **out, const fm_config *c)
{
    *out = NULL;
    fm_status status = fm_check_shape(c->dtype, c->n_layers, c->units, c->activations);
    if (status != FM_OK)
        return status;
    if (!fm_is_choice(fm_loss_row(c->loss.row), &c->loss) ||
        (c->optimizer.row != FM_OPTIMIZER_none &&
         !fm_is_choice(fm_optimizer_row(c->optimizer.row), &c->optimizer)) ||
        c->max_rows < 1 || c->max_nnz < 0)
        return FM_BAD_ARGUMENT;
    fm_net *net = calloc(1, sizeof(*net));
    if (!net)
        return FM_NO_MEMORY;
    status = fill(net, c);
    if (status != FM_OK) {
        fm_net_free(net);
        return status;
    }
    *out = net;
    return FM_OK;
}

void fm_net_free(fm_net *net)
{
    if (!net)
        return;
    free(net->scratch);
    free(net->memory);
    free(net->layers);
    free(net);
}

const char *fm_net_isa(const fm_net *net) { return net->kernels->isa; }

static int part_of_slot(const fm_net *net, int slot)
{
    if (slot < -1 || slot >= net->n_slots)
        return -1;
    return slot < 0 ? FM_PARAMS : FM_SLOTS + slot;
}

fm_status fm_net_load(fm_net *net, int slot, const void *const *W, const void *const *b)
{
    int part = part_of_slot(net, slot);
    if (part < 0)
        return FM_BAD_ARGUMENT;
    for (int l = 0; l < net->n_layers; l++)
        net->kernels->load(&net->layers[l], part, W[l], b[l]);
    return FM_OK;
}

fm_status fm_net_store(const fm_net *net, int slot, void *const *W, void *const *b)
{
    int part = part_of_slot(net, slot);
    if (part < 0)
        return FM_BAD_ARGUMENT;
    for (int l = 0; l < net->n_layers; l++)
        net->kernels->store(&net->layers[l], part, W[l], b[l]);
    return FM_OK;
}

int fm_net_state_finite(const fm_net *net)
{
    for (int l = 0; l < net->n_layers; l++)
        for (int slot = 0; slot < net->n_slots; slot++)
            if (!net->kernels->part_finite(&net->layers[l], FM_SLOTS + slot))
                return 0;
    return 1;
}

/* ------------------------------------------------------------------ steps */

/* What a team works on: rows order[0..n_rows) (or 0..n_rows) in mini-batches. */
typedef struct {
    fm_net *net;
    fm_batch data;           /* X, y, weights, rows; n_rows of all of the run */
    int64_t batch_size;
    double learning_rate;
    int update;              /* or only sum the gradient */
    int64_t step;            /* updates made before */
    fm_watch *watch;
    double loss_sum;         /* of (mean loss + L2 term) * rows, by member 0 */
    fm_status status;        /* by member 0 */
} fm_run;

/* Only the ratios of sample weights matter, to each other and to alpha. Those that T
 * cannot carry, or whose sum double cannot, are brought near 1 by a power of two, the
 * same for a whole mini-batch; ordinary ones are left alone. The exponent is bounded so
 * that the power itself is a normal number. */
static double weight_scale(const fm_batch *batch, fm_watch *watch, int rank)
{
    enum { ORDINARY = 32, LARGEST = 1022 };
    double largest = 0;
    int exponent;
    for (int64_t i = 0; i < batch->n_rows && !fm_ends_at_row(watch, rank, i); i++) {
        const double weight = fabs(batch->weights[fm_batch_row(batch, i)]);
        largest = weight > largest ? weight : largest;
    }
    if (largest == 0 || largest > DBL_MAX)
        return 1;
    frexp(largest, &exponent);
    if (abs(exponent) <= ORDINARY)
        return 1;
    exponent = exponent > LARGEST ? LARGEST : exponent < -LARGEST ? -LARGEST : exponent;
    return ldexp(1, -exponent);
}

/* Sum over the batch in four chains; every member gets the same bits. */
static double sum_of_weights(const fm_batch *batch, double scale, fm_watch *watch, int rank)
{
    double sum[4] = {0};
    for (int64_t i = 0; i < batch->n_rows && !fm_ends_at_row(watch, rank, i); i++)
        sum[i % 4] += batch->weights[fm_batch_row(batch, i)] * scale;
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* The scale of a mini-batch's weights, and by it their sum and alpha. */
typedef struct {
    double scale, sum, alpha;
} fm_weighing;

/* Subnormal weights count in full. Meaningless once the call has ended. */
static fm_weighing weigh(const fm_net *net, const fm_batch *batch, fm_watch *watch, int rank)
{
    if (!batch->weights)
        return (fm_weighing){1, (double)batch->n_rows, net->step.alpha};
    const fm_fpu_state fpu = fm_fpu_gradual();
    const double scale = weight_scale(batch, watch, rank);
    const double sum = sum_of_weights(batch, scale, watch, rank);
    const fm_weighing w = {scale, sum, net->step.alpha * scale};
    fm_fpu_restore(fpu);
    return w;
}

static void scale_weights(fm_net *net, const fm_batch *batch, double scale, int64_t r0, int64_t r1)
{
    if (!batch->weights)
        return;
    const fm_fpu_state fpu = fm_fpu_gradual();
    for (int64_t r = r0; r < r1; r++)
        net->row_weights[r] = batch->weights[fm_batch_row(batch, r)] * scale;
    fm_fpu_restore(fpu);
}

static double sum_of_losses(const fm_net *net, const fm_batch *batch)
{
    double sum[4] = {0};
    if (batch->row_weights)
        for (int64_t i = 0; i < batch->n_rows; i++)
            sum[i % 4] += net->row_loss[i] * batch->row_weights[i];
    else
        for (int64_t i = 0; i < batch->n_rows; i++)
            sum[i % 4] += net->row_loss[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static double l2_term(const fm_net *net, double alpha)
{
    double sum = 0;
    if (alpha != 0)
        for (int l = 0; l < net->n_layers; l++)
            sum += net->kernels->sum_squares(&net->layers[l]);
    return 0.5 * alpha * sum;
}

/* Whether the call ends after n rows of a layer. */
static int ends_after(fm_watch *watch, int rank, const fm_layer *l, int64_t n)
{
    return fm_ends(watch, rank, (double)n * (double)l->fan_in * (double)l->fan_out);
}

/* Forward, loss and backward of rows r0..r1, or some of it if the call ends. */
static void pass_rows(fm_net *net, const fm_batch *batch, void *scratch, fm_watch *watch, int rank,
                      int64_t r0, int64_t r1)
{
    const fm_kernels *k = net->kernels;
    fm_layer *layers = net->layers;
    const int last = net->n_layers - 1;
    if (r0 == r1 || fm_ended(watch))
        return;
    if (net->max_nnz) {
        k->forward_csr(&layers[0], batch, r0, r1);
    } else {
        k->gather(net->input, batch, net->block_rows, r0, r1);
        k->forward(&layers[0], scratch, r0, r1);
    }
    for (int l = 1; l <= last; l++) {
        if (ends_after(watch, rank, &layers[l - 1], r1 - r0))
            return;
        k->forward(&layers[l], scratch, r0, r1);
    }
    k->loss(&layers[last], net->row_loss, &net->loss, batch, r0, r1);
    for (int l = last; l > 0; l--) {
        if (ends_after(watch, rank, &layers[l], r1 - r0))
            return;
        k->backward(&layers[l], &layers[l - 1], scratch, r0, r1);
    }
}

/* Where the rows of a member begin. */
static int64_t first_row(const fm_net *net, int64_t n_rows, int rank, int size)
{
    const int64_t unit = net->kernels->row_unit;
    const int64_t row = (n_rows + unit - 1) / unit * rank / size * unit;
    return row < n_rows ? row : n_rows;
}

/* The first unit whose running cost reaches share rank / size. */
static int64_t first_unit(const fm_net *net, int rank, int size)
{
    const double goal = (double)net->unit_cost[net->n_units] * rank / size;
    int64_t low = 0, high = net->n_units;
    while (low < high) {
        int64_t mid = (low + high) / 2;
        if ((double)net->unit_cost[mid] < goal)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* This member's share of the weights: their gradients and updates. */
static void pass_units(fm_net *net, const fm_batch *batch, void *scratch,
                       const fm_gradient_use *use, int rank, int size)
{
    const fm_kernels *k = net->kernels;
    int64_t u = first_unit(net, rank, size), end = first_unit(net, rank + 1, size), base = 0;
    for (int i = 0; i < net->n_layers; i++) {
        const fm_layer *l = &net->layers[i];
        const int64_t n = k->n_units(l);
        const int64_t stop = end < base + n ? end : base + n;
        if (u < stop) {
            k->gradient(l, batch, scratch, u - base, stop - base, use);
            u = stop;
        }
        base += n;
    }
}

/* One mini-batch; returns whether the run goes on. Every member takes the same
 * decisions from the same numbers. The leader asks whether to end from the beginning of
 * a block to its first barrier, and not while weights change: a mini-batch is applied as
 * a whole or not at all. */
static int mini_batch(fm_run *run, fm_team *team, const fm_batch *batch, int rank, int size)
{
    fm_net *net = run->net;
    void *scratch = net->scratch + (size_t)rank * net->scratch_bytes;
    const fm_weighing w = weigh(net, batch, run->watch, rank);
    fm_step step = net->step;
    step.alpha = w.alpha;
    step.inv_sum = 1 / w.sum;
    if (run->update)
        step.rate = fm_step_rate(&step.optimizer, run->learning_rate, run->step + 1);
    double loss = rank == 0 ? l2_term(net, w.alpha) : 0; /* before the update changes W */

    for (int64_t first = 0; first < batch->n_rows; first += net->block_rows) {
        fm_batch block = *batch;
        block.n_rows = batch->n_rows - first;
        if (block.n_rows > net->block_rows)
            block.n_rows = net->block_rows;
        if (block.rows)
            block.rows += first;
        else
            block.first_row += first;
        if (net->max_nnz) {
            if (rank == 0)
                net->kernels->fill_buckets(&net->buckets, &block);
            block.buckets = &net->buckets;
        }
        const int64_t r0 = first_row(net, block.n_rows, rank, size);
        const int64_t r1 = first_row(net, block.n_rows, rank + 1, size);
        scale_weights(net, &block, w.scale, r0, r1);
        block.row_weights = block.weights ? net->row_weights : NULL;
        pass_rows(net, &block, scratch, run->watch, rank, r0, r1);
        fm_barrier(team);
        if (fm_ended(run->watch) || w.sum == 0) {
            if (rank == 0)
                run->status = fm_ended(run->watch) ? FM_INTERRUPTED : FM_ZERO_WEIGHT;
            return 0;
        }
        if (rank == 0)
            loss += sum_of_losses(net, &block);
        const int last = first + block.n_rows == batch->n_rows;
        const fm_gradient_use use = {.resume = first > 0,
                                     .step = last && run->update ? &step : NULL};
        pass_units(net, &block, scratch, &use, rank, size);
        fm_barrier(team);
    }
    if (rank == 0) {
        run->loss_sum += loss / w.sum * (double)batch->n_rows;
        run->status = FM_OK;
    }
    return 1;
}

static void run_batches(void *arg, fm_team *team, int rank, int size)
{
    fm_run *run = arg;
    const fm_fpu_state fpu = fm_fpu_flush();
    const fm_run start = *run;
    fm_barrier(team); /* nobody writes to run before everybody has read it */
    fm_run mine = start; /* each member counts steps for itself */
    fm_run *out = rank == 0 ? run : &mine;
    for (int64_t first = 0; first < start.data.n_rows; first += start.batch_size) {
        fm_batch batch = start.data;
        if (batch.rows)
            batch.rows += first;
        else
            batch.first_row += first;
        batch.n_rows = start.data.n_rows - first;
        if (batch.n_rows > start.batch_size)
            batch.n_rows = start.batch_size;
        if (!mini_batch(out, team, &batch, rank, size))
            break;
        out->step++;
    }
    fm_fpu_restore(fpu);
}

static fm_status check_csr_batch(const fm_net *net, const fm_batch *data, int64_t first,
                                 int64_t batch_size, fm_watch *watch)
{
    const int64_t left = data->n_rows - first, n = left < batch_size ? left : batch_size;
    if (!data->rows) /* one batch of all rows */
        return fm_check_csr(data->X, NULL, n, net->block_rows, net->max_nnz, watch);
    return fm_check_csr(data->X, data->rows + first, n, net->block_rows, net->max_nnz, watch);
}

static fm_status run_on_team(fm_run *run, int n_threads)
{
    fm_net *net = run->net;
    const fm_matrix *X = run->data.X;
    if (X->n_cols != net->layers[0].fan_in || !X->indices != !net->max_nnz || n_threads < 0)
        return FM_BAD_ARGUMENT;
    if ((run->data.y->labels != NULL) == (run->data.y->values != NULL) ||
        (run->data.y->labels && (fm_loss_row(net->loss.row)->targets != FM_TARGETS_CLASS ||
                                 net->layers[net->n_layers - 1].fan_out == 1)))
        return FM_BAD_ARGUMENT;
    fm_status status = check_rows(X, run->data.y, run->data.rows, run->data.n_rows,
                                  net->layers[net->n_layers - 1].fan_out, run->watch);
    for (int64_t i = 0; X->indices && status == FM_OK && i < run->data.n_rows; i += run->batch_size)
        status = check_csr_batch(net, &run->data, i, run->batch_size, run->watch);
    if (status != FM_OK)
        return status;
    int64_t rows = run->batch_size < net->block_rows ? run->batch_size : net->block_rows;
    const int size = fm_team_size(n_threads, net->work_per_row * (double)rows, rows);
    if (!reserve_scratch(net, size))
        return FM_NO_MEMORY;
    fm_parallel(size, run_batches, run);
    return run->status;
}

fm_status fm_net_train(fm_net *net, double *loss_sum, int64_t *step, const fm_matrix *X,
                       const fm_targets *y, const double *sample_weight, const int64_t *order,
                       int64_t n_order, int64_t batch_size, double learning_rate, int n_threads)
{
    *loss_sum = 0;
    if (net->n_slots == 0 || n_order < 0 || batch_size < 1 || *step < 0)
        return FM_BAD_ARGUMENT;
    fm_watch watch = {.interrupt = net->interrupt};
    fm_run run = {
        .net = net,
        .watch = &watch,
        .data = {.X = X, .y = y, .weights = sample_weight, .rows = order, .n_rows = n_order},
        .batch_size = batch_size,
        .learning_rate = learning_rate,
        .update = 1,
        .step = *step};
    /* Larger batches than announced would need a gradient kept between blocks. */
    if (batch_size > net->block_rows && n_order > net->block_rows &&
        !net->layers[0].part[FM_GRADIENT])
        return FM_BAD_ARGUMENT;
    fm_status status = run_on_team(&run, n_threads);
    *loss_sum = run.loss_sum;
    *step = run.step;
    return status;
}

fm_status fm_net_loss_grad(fm_net *net, double *loss, void *const *dW, void *const *db,
                           const fm_matrix *X, const fm_targets *y, const double *sample_weight,
                           int n_threads)
{
    *loss = 0;
    if (!net->layers[0].part[FM_GRADIENT] || X->n_rows < 1)
        return FM_BAD_ARGUMENT;
    fm_watch watch = {.interrupt = net->interrupt};
    fm_run run = {.net = net,
                  .watch = &watch,
                  .data = {.X = X, .y = y, .weights = sample_weight, .n_rows = X->n_rows},
                  .batch_size = X->n_rows};
    fm_status status = run_on_team(&run, n_threads);
    if (status != FM_OK)
        return status;
    *loss = run.loss_sum / (double)X->n_rows;
    const fm_weighing w = weigh(net, &run.data, &watch, 0);
    if (fm_ended(&watch))
        return FM_INTERRUPTED;
    for (int l = 0; l < net->n_layers; l++) {
        net->kernels->scale_gradient(&net->layers[l], w.alpha, 1 / w.sum);
        net->kernels->store(&net->layers[l], FM_GRADIENT, dW[l], db[l]);
    }
    return FM_OK;
}

int fm_team_size(int n_threads, double work, int64_t rows)
{
    int n = n_threads > 0 ? n_threads : fm_get_num_threads();
    if (n > FM_MAX_THREADS)
        n = FM_MAX_THREADS;
    double useful = work / FM_MIN_WORK_PER_THREAD;
    if (n > useful)
        n = useful < 1 ? 1 : (int)useful;
    if (n > rows)
        n = (int)rows;
    return n < 1 ? 1 : n;
}
