/* predict.c - the forward pass on parameters that lie row-major with the caller.
 *
 * A few rows go straight through row-major weights: packing them would cost more
 * than the products. More rows pay for packing the weights once; then blocks of
 * rows small enough for L2 walk through all layers, each thread with one block.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/net.h"
#include "host/system.h"

/* Rows of a block. Large networks took within 3 % the same from 84 to 252; a small
 * one (20-100-1, two threads) 740 us for 20,000 rows with 128, 635 with 168, which
 * tiles of 6, 12 or 14 rows divide. */
enum { BLOCK_ROWS = 168 };

/* Up to this many rows packing does not pay: a pass of FM_FEW rows reads W once,
 * packing reads and writes it. */
enum { UNPACKED_ROWS = 16 };

typedef struct {
    const fm_plan *plan;     /* values of each member's own */
    const fm_matrix *X;
    void *memory;            /* parameters, then */
    char *members;           /* (size, member_bytes) */
    size_t member_bytes, scratch_bytes;
    int check_finite;
    fm_watch *watch;
    char *out;
    atomic_llong next;       /* first row nobody has taken */
    atomic_int not_finite;
} predict_run;

/* The memory of one member. */
static fm_plan lay_out_member(const predict_run *run, fm_arena *a, void **scratch)
{
    *scratch = fm_take(a, run->scratch_bytes);
    return fm_plan_copy(run->plan, a);
}

static void predict_blocks(void *arg, fm_team *team, int rank, int size)
{
    (void)team;
    (void)size;
    predict_run *run = arg;
    void *scratch;
    fm_arena a = {.base = run->members + (size_t)rank * run->member_bytes};
    const fm_plan plan = lay_out_member(run, &a, &scratch);
    const fm_kernels *k = plan.kernels;
    const int64_t n_outputs = fm_plan_outputs(&plan)->width;
    const fm_batch all = {.X = run->X, .n_rows = run->X->n_rows};
    for (;;) {
        const int64_t first = atomic_fetch_add(&run->next, plan.use.max_rows);
        if (first >= all.n_rows || atomic_load(&run->not_finite) || fm_ended(run->watch))
            return;
        const fm_batch batch = fm_batch_part(&all, first, plan.use.max_rows);
        if (run->check_finite && !run->X->indices && !k->rows_finite(&batch, 0, batch.n_rows)) {
            atomic_store(&run->not_finite, 1);
            return;
        }
        const fm_pass pass = {.batch = &batch,
                              .scratch = scratch,
                              .out = run->out + (size_t)(first * n_outputs) * k->item};
        fm_plan_pass_rows(&plan, &pass, NULL, run->watch, rank, 1, 0, batch.n_rows);
    }
}

/* Memory for the parameters and for each member's pass. */
static fm_status allocate(predict_run *run, fm_plan *plan, int size)
{
    fm_arena params = {0}, member = {0};
    void *scratch;
    size_t total;
    fm_plan_lay_out_parameters(plan, &params);
    lay_out_member(run, &member, &scratch);
    if (params.overflow || member.overflow ||
        __builtin_mul_overflow(member.used, (size_t)size, &total) ||
        __builtin_add_overflow(total, params.used, &total) || total > PTRDIFF_MAX)
        return FM_TOO_LARGE;
    run->memory = fm_aligned_alloc(64, total);
    if (!run->memory)
        return FM_NO_MEMORY;
    params = (fm_arena){.base = run->memory};
    fm_plan_lay_out_parameters(plan, &params);
    run->members = (char *)run->memory + params.used;
    run->member_bytes = member.used;
    return FM_OK;
}

static fm_status predict_packed(const fm_kernels *k, void *out, const fm_matrix *X,
                                const fm_network *network, const fm_parameters *parameters,
                                int check_finite, fm_watch *watch, int n_threads)
{
    const int64_t block_rows = X->n_rows < BLOCK_ROWS ? X->n_rows : BLOCK_ROWS;
    const fm_plan_use use = {.max_rows = block_rows, .csr = X->indices != NULL};
    fm_plan plan;
    predict_run run = {
        .plan = &plan, .X = X, .check_finite = check_finite, .watch = watch, .out = out};
    fm_status status = fm_plan_compile(&plan, k, network, use);
    if (status != FM_OK)
        goto done;
    if (use.csr) {
        plan.stages[0].raw_W = parameters[0].W;
        plan.stages[0].raw_b = parameters[0].b;
    }
    const int64_t blocks = (X->n_rows + block_rows - 1) / block_rows;
    const int size = fm_team_size(n_threads, plan.work_per_row * (double)X->n_rows, blocks);
    run.scratch_bytes = fm_plan_scratch_bytes(&plan);
    status = allocate(&run, &plan, size);
    if (status != FM_OK)
        goto done;
    status = fm_plan_load(&plan, FM_PARAMS, parameters, watch);
    if (status != FM_OK)
        goto done;
    fm_parallel_loosely(size, 1, predict_blocks, &run);
    if (fm_ended(watch))
        status = FM_INTERRUPTED;
    if (atomic_load(&run.not_finite))
        status = FM_NOT_FINITE;
done:
    fm_aligned_free(run.memory);
    fm_plan_free(&plan);
    return status;
}

static int is_residual(const fm_network *network)
{
    int any = 0;
    for (int l = 0; l < network->n_layers; l++)
        any |= network->layers[l].residual;
    return any;
}

/* Whether every layer's arrays are there. */
static int has_parameters(const fm_network *network, const fm_parameters *p)
{
    int64_t fan_in = network->n_inputs;
    for (int l = 0; l < network->n_layers; l++, p++) {
        const fm_layer *layer = &network->layers[l];
        const int norm = layer->normalization != FM_NO_NORM;
        const int averages = layer->normalization == FM_BATCH_NORM;
        if (!p->W || !p->b || (norm && !(p->scale && p->shift)) ||
            (averages && !(p->mean && p->variance)) ||
            (layer->residual && fan_in != layer->width && !p->P))
            return 0;
        fan_in = layer->width;
    }
    return 1;
}

/* A large layer on a few rows takes the time that its weights take to come. Each thread has a
 * share of the columns, the same every time: what lies in the cache of its CPU remains there. */
#ifndef FM_SHARE_WEIGHTS /* tests share small layers */
#define FM_SHARE_WEIGHTS 65536
#endif
enum { MAX_SHARES = 16, SHARED_COLUMNS = 16 /* a multiple: a line */ };

typedef struct {
    atomic_int begun[MAX_SHARES]; /* by share: the number of the last layer + 1 */
    atomic_int finished;          /* shares, of all layers */
    atomic_int ready;             /* layers that are complete */
} few_shares;

typedef struct {
    const fm_kernels *k;
    fm_few pass;
    const void *x;
    char *set[3];                 /* what layers write to, in turn, and room */
    void *out;
    int n_shares;
    few_shares *shares;
} few_run;

static int shares_of(const fm_network *network, int layer, int most)
{
    const double width = (double)network->layers[layer].width;
    const double by_weights = (double)fm_fan_in(network, layer) * width / FM_SHARE_WEIGHTS;
    const double by_columns = width / SHARED_COLUMNS;
    const double shares = by_weights < by_columns ? by_weights : by_columns;
    return shares < most ? shares < 1 ? 1 : (int)shares : most;
}

static const void *few_input(const few_run *run, int layer)
{
    return layer > 0 ? run->set[(layer - 1) % 2] : run->x;
}

static void *few_output(const few_run *run, int layer)
{
    return layer + 1 < run->pass.network->n_layers ? run->set[layer % 2] : run->out;
}

/* One share of a layer's columns, unless somebody has begun it. */
static void take_share(const few_run *run, const fm_few *pass, int share, int n)
{
    atomic_int *begun = &run->shares->begun[share];
    const int64_t width = pass->network->layers[pass->layer].width;
    const int64_t lines = (width + SHARED_COLUMNS - 1) / SHARED_COLUMNS;
    const int64_t end = lines * (share + 1) / n * SHARED_COLUMNS;
    int before = atomic_load(begun);
    if (before > pass->layer || !atomic_compare_exchange_strong(begun, &before, pass->layer + 1))
        return;
    run->k->few_product(pass, few_output(run, pass->layer), few_input(run, pass->layer),
                        lines * share / n * SHARED_COLUMNS, end < width ? end : width);
    atomic_fetch_add(&run->shares->finished, 1);
}

/* What no helper has begun, and what is left when the whole product is there. */
static void lead_layer(const few_run *run, const fm_few *pass, fm_team *team, int n, int finished)
{
    const void *x = few_input(run, pass->layer);
    void *to = few_output(run, pass->layer);
    if (n == 1)
        run->k->few_product(pass, to, x, 0, pass->network->layers[pass->layer].width);
    for (int share = 0; share < n && n > 1; share++)
        take_share(run, pass, share, n);
    if (n > 1)
        fm_await(team, &run->shares->finished, finished);
    run->k->few_finish(pass, to, x, run->set[2]);
    if (run->n_shares > 1)
        atomic_store(&run->shares->ready, pass->layer + 1);
}

static void predict_layers(void *arg, fm_team *team, int rank, int size)
{
    const few_run *run = arg;
    fm_few pass = run->pass;
    for (int finished = 0; pass.layer < pass.network->n_layers; pass.layer++) {
        const int n = shares_of(pass.network, pass.layer, size);
        finished += n > 1 ? n : 0;
        if (rank == 0) {
            lead_layer(run, &pass, team, n, finished);
        } else if (rank < n) {
            fm_await(team, &run->shares->ready, pass.layer);
            take_share(run, &pass, rank, n);
        }
    }
}

static void predict_few(few_run *run)
{
    few_shares shares;
    if (run->n_shares == 1) {
        predict_layers(run, NULL, 0, 1);
        return;
    }
    atomic_init(&shares.finished, 0);
    atomic_init(&shares.ready, 0);
    for (int i = 0; i < run->n_shares; i++)
        atomic_init(&shares.begun[i], 0);
    run->shares = &shares;
    fm_parallel_loosely(run->n_shares, 0, predict_layers, run);
}

/* Of the layer that has most of them. */
static int count_shares(const fm_network *network, int n_threads)
{
    const int n = fm_team_size(n_threads, INFINITY, MAX_SHARES);
    int most = 1;
    for (int l = 0; l < network->n_layers && n > 1; l++) {
        const int shares = shares_of(network, l, n);
        most = shares > most ? shares : most;
    }
    return most;
}

/* Dense X of a few rows. Rows that already lie as they are read are read in place. */
static fm_status predict_unpacked(const fm_kernels *k, void *out, const fm_matrix *X,
                                  const fm_network *network, const fm_parameters *parameters,
                                  int check_finite, fm_watch *watch, int n_threads)
{
    const fm_batch all = {.X = X, .n_rows = X->n_rows};
    if (!has_parameters(network, parameters))
        return FM_BAD_ARGUMENT;
    if (check_finite && !k->rows_finite(&all, 0, X->n_rows))
        return FM_NOT_FINITE;
    const int rounds = network->dtype == FM_BFLOAT16;
    const int in_place = !rounds && X->dtype == k->dtype && X->col_stride == (int64_t)k->item &&
                         (X->n_rows == 1 || X->row_stride == X->n_cols * X->col_stride);
    const int64_t widest = fm_widest(network);
    const int64_t n_outputs = network->layers[network->n_layers - 1].width;
    /* Small networks work on the stack: malloc would be a tenth of their time. */
    char room[8192] __attribute__((aligned(64)));
    const size_t kept_sets = is_residual(network) ? 3 : 2, row_sets = kept_sets + !in_place;
    const size_t rows_at_once = X->n_rows < FM_FEW ? (size_t)X->n_rows : FM_FEW;
    size_t bytes, set_bytes;
    if (__builtin_mul_overflow((size_t)widest, rows_at_once * k->item, &set_bytes) ||
        __builtin_mul_overflow(set_bytes, row_sets, &bytes) || bytes > PTRDIFF_MAX)
        return FM_TOO_LARGE;
    char *scratch = bytes <= sizeof(room) ? room : malloc(bytes);
    if (!scratch)
        return FM_NO_MEMORY;
    few_run run = {.k = k,
                   .pass = {.network = network, .parameters = parameters},
                   .set = {scratch, scratch + set_bytes, scratch + (kept_sets - 1) * set_bytes},
                   .n_shares = count_shares(network, n_threads)};
    char *rows = scratch + kept_sets * set_bytes;
    for (int64_t first = 0; first < X->n_rows && !fm_ended(watch); first += FM_FEW) {
        const int64_t left = X->n_rows - first, n = left < FM_FEW ? left : FM_FEW;
        run.x = in_place ? (const char *)X->data + first * X->row_stride : rows;
        for (int64_t r = 0; r < n && !in_place; r++)
            k->read_row(rows + (size_t)(r * X->n_cols) * k->item, X, first + r);
        if (rounds)
            k->round(rows, n * X->n_cols);
        run.pass.n_rows = n;
        run.out = (char *)out + (size_t)(first * n_outputs) * k->item;
        predict_few(&run);
        fm_ends(watch, 0, fm_forward_work(network) * FM_FEW);
    }
    if (scratch != room)
        free(scratch);
    return fm_ended(watch) ? FM_INTERRUPTED : FM_OK;
}

/* Whether non-zeros i..end, as floats or doubles, are finite: 0 times a finite number
 * is 0, times any other NaN. */
static int values_finite(const fm_matrix *X, fm_dtype dtype, int64_t i, int64_t end)
{
    double seen = 0;
    if (X->dtype == FM_FLOAT32)
        for (; i < end; i++)
            seen += 0 * (double)((const float *)X->data)[i];
    else if (dtype == FM_FLOAT32)
        for (; i < end; i++)
            seen += 0 * (double)(float)((const double *)X->data)[i];
    else
        for (; i < end; i++)
            seen += 0 * ((const double *)X->data)[i];
    return seen == 0;
}

static fm_status check_values(const fm_matrix *X, fm_dtype dtype, fm_watch *watch)
{
    enum { STEP = 1 << 20 };
    for (int64_t i = 0; i < X->nnz; i += STEP) {
        if (!values_finite(X, dtype, i, X->nnz - i < STEP ? X->nnz : i + STEP))
            return FM_NOT_FINITE;
        if (fm_ends(watch, 0, 4.0 * STEP))
            return FM_INTERRUPTED;
    }
    return FM_OK;
}

fm_status fm_predict_on(const fm_kernels *k, void *out, const fm_matrix *X,
                        const fm_network *network, const fm_parameters *parameters,
                        int check_finite, fm_watch *watch, int n_threads)
{
    if (X->n_rows == 0)
        return FM_OK;
    const fm_status status = X->indices && check_finite ? check_values(X, k->dtype, watch) : FM_OK;
    if (status != FM_OK)
        return status;
    if (!X->indices && X->n_rows <= UNPACKED_ROWS)
        return predict_unpacked(k, out, X, network, parameters, check_finite, watch, n_threads);
    return predict_packed(k, out, X, network, parameters, check_finite, watch, n_threads);
}
