/* predict.c - the forward pass on parameters that lie row-major with the caller.
 *
 * A few rows go straight through row-major weights: packing them would cost more
 * than the products. More rows pay for packing the weights once; then blocks of
 * rows small enough for L2 walk through all layers, each thread with one block.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/net.h"
#include "host/threads.h"

/* Rows of a block. Large networks took within 3 % the same from 84 to 252; a small
 * one (20-100-1, two threads) 740 us for 20,000 rows with 128, 635 with 168, which
 * tiles of 6, 12 or 14 rows divide. */
enum { BLOCK_ROWS = 168 };

/* Up to this many rows packing does not pay: a pass of FM_FEW rows reads W once,
 * packing reads and writes it. */
enum { UNPACKED_ROWS = 16 };

/* What packing a weight takes, in multiply-adds (fm_watch). */
enum { COPY_WORK = 64 };

typedef struct {
    const fm_kernels *kernels;
    const fm_matrix *X;
    int n_layers;
    const fm_layer *layers;  /* params set; acts, delta, output per thread */
    char *scratch;           /* (size, scratch_bytes) */
    size_t scratch_bytes, input_bytes, acts_bytes, delta_bytes, output_bytes;
    int64_t block_rows;
    int check_finite;
    fm_watch *watch;
    char *out;
    atomic_llong next;       /* first row nobody has taken */
    atomic_int not_finite;
} predict_run;

static void predict_blocks(void *arg, fm_team *team, int rank, int size)
{
    (void)team;
    (void)size;
    predict_run *run = arg;
    const fm_kernels *k = run->kernels;
    const int last = run->n_layers - 1;
    const int64_t n_outputs = run->layers[last].fan_out, n_rows = run->X->n_rows;
    char *input = run->scratch + (size_t)rank * run->scratch_bytes;
    char *acts[2] = {input + run->input_bytes, input + run->input_bytes + run->acts_bytes};
    char *delta = acts[1] + run->acts_bytes, *output = delta + run->delta_bytes;
    char *products = output + run->output_bytes;
    for (;;) {
        const int64_t first = atomic_fetch_add(&run->next, run->block_rows);
        if (first >= n_rows || atomic_load(&run->not_finite) || fm_ended(run->watch))
            return;
        const int64_t left = n_rows - first;
        const int64_t n = left < run->block_rows ? left : run->block_rows;
        const fm_batch batch = {.X = run->X, .first_row = first, .n_rows = n};
        if (!run->X->indices) {
            if (run->check_finite && !k->rows_finite(&batch, 0, n)) {
                atomic_store(&run->not_finite, 1);
                return;
            }
            k->gather(input, &batch, run->block_rows, 0, n);
        }
        for (int i = 0; i <= last; i++) {
            fm_layer l = run->layers[i];
            l.input = i == 0 ? input : acts[(i - 1) % 2];
            l.part[FM_ACTS] = acts[i % 2];
            l.part[FM_DELTA] = delta;
            l.part[FM_OUTPUT] = output;
            if (i == 0 && run->X->indices)
                k->forward_csr(&l, &batch, 0, n);
            else
                k->forward(&l, products, 0, n);
            if (i == last)
                k->outputs(&l, run->out + (size_t)(first * n_outputs) * k->item, 0, n);
            if (fm_ends(run->watch, rank, (double)n * (double)l.fan_in * (double)l.fan_out))
                return;
        }
    }
}

static size_t aligned(size_t bytes)
{
    return bytes > SIZE_MAX - 63 ? SIZE_MAX : (bytes + 63) & ~(size_t)63;
}

static size_t sum(size_t a, size_t b)
{
    size_t n;
    return a == SIZE_MAX || b == SIZE_MAX || __builtin_add_overflow(a, b, &n) ? SIZE_MAX : n;
}

static fm_status predict_packed(void *out, const fm_matrix *X, const fm_kernels *k, int n_layers,
                                const int64_t *units, const void *const *W, const void *const *b,
                                const fm_choice *activations, int check_finite, fm_watch *watch,
                                int n_threads)
{
    const int64_t block_rows = X->n_rows < BLOCK_ROWS ? X->n_rows : BLOCK_ROWS;
    fm_status status = FM_NO_MEMORY;
    void *memory = NULL;
    fm_layer *layers = calloc((size_t)n_layers, sizeof(*layers));
    if (!layers)
        return FM_NO_MEMORY;
    predict_run run = {.kernels = k,
                       .X = X,
                       .n_layers = n_layers,
                       .layers = layers,
                       .block_rows = block_rows,
                       .check_finite = check_finite,
                       .watch = watch,
                       .out = out};
    size_t params = 0;
    double work = 0;
    run.input_bytes = X->indices ? 0 : aligned(k->input_bytes(block_rows, X->n_cols));
    for (int i = 0; i < n_layers; i++) {
        fm_layer *l = &layers[i];
        *l = (fm_layer){.fan_in = units[i],
                        .fan_out = units[i + 1],
                        .max_rows = block_rows,
                        .activation = activations[i],
                        .is_output = i + 1 == n_layers};
        if (i == 0 && X->indices) {
            l->raw_W = W[0];
            l->raw_b = b[0];
        } else {
            params = sum(params, aligned(k->part_bytes(FM_PARAMS, l)));
        }
        size_t acts = aligned(k->part_bytes(FM_ACTS, l));
        run.acts_bytes = acts > run.acts_bytes ? acts : run.acts_bytes;
        if (l->is_output) {
            run.delta_bytes = aligned(k->part_bytes(FM_DELTA, l));
            run.output_bytes = aligned(k->part_bytes(FM_OUTPUT, l));
        }
        work += (double)units[i] * (double)units[i + 1];
    }
    run.scratch_bytes = sum(sum(run.input_bytes, sum(run.acts_bytes, run.acts_bytes)),
                            sum(run.delta_bytes, run.output_bytes));
    run.scratch_bytes = sum(run.scratch_bytes, fm_scratch_per_member(k, layers, n_layers));
    const int64_t blocks = (X->n_rows + block_rows - 1) / block_rows;
    const int size = fm_team_size(n_threads, work * (double)X->n_rows, blocks);
    size_t total, all_scratch;
    if (params == SIZE_MAX || run.scratch_bytes == SIZE_MAX ||
        __builtin_mul_overflow(run.scratch_bytes, (size_t)size, &all_scratch) ||
        __builtin_add_overflow(params, all_scratch, &total) || total > PTRDIFF_MAX) {
        status = FM_TOO_LARGE;
        goto done;
    }
    if (posix_memalign(&memory, 64, total) != 0) {
        memory = NULL;
        goto done;
    }
    char *at = memory;
    for (int i = 0; i < n_layers; i++)
        if (!layers[i].raw_W) {
            layers[i].part[FM_PARAMS] = at;
            at += aligned(k->part_bytes(FM_PARAMS, &layers[i]));
            k->load(&layers[i], FM_PARAMS, W[i], b[i]);
            fm_ends(watch, 0, COPY_WORK * (double)units[i] * (double)units[i + 1]);
        }
    run.scratch = at;
    fm_parallel(size, predict_blocks, &run);
    status = fm_ended(watch) ? FM_INTERRUPTED : FM_OK;
    if (atomic_load(&run.not_finite))
        status = FM_NOT_FINITE;
done:
    free(memory);
    free(layers);
    return status;
}

/* Dense X of a few rows. Rows that already lie as T are read in place. */
static fm_status predict_unpacked(void *out, const fm_matrix *X, const fm_kernels *k, int n_layers,
                                  const int64_t *units, const void *const *W, const void *const *b,
                                  const fm_choice *activations, int check_finite, fm_watch *watch)
{
    const fm_batch all = {.X = X, .n_rows = X->n_rows};
    if (check_finite && !k->rows_finite(&all, 0, X->n_rows))
        return FM_NOT_FINITE;
    const int in_place = X->dtype == k->dtype && X->col_stride == (int64_t)k->item &&
                         (X->n_rows == 1 || X->row_stride == X->n_cols * X->col_stride);
    int64_t widest = units[0];
    double work = 0; /* of a row */
    for (int i = 0; i < n_layers; i++) {
        widest = units[i + 1] > widest ? units[i + 1] : widest;
        work += (double)units[i] * (double)units[i + 1];
    }
    /* Small networks work on the stack: malloc would be a tenth of their time. */
    char room[8192] __attribute__((aligned(64)));
    const size_t row_sets = in_place ? 2 : 3;
    const size_t rows_at_once = X->n_rows < FM_FEW ? (size_t)X->n_rows : FM_FEW;
    size_t bytes;
    if (__builtin_mul_overflow((size_t)widest, row_sets * rows_at_once * k->item, &bytes) ||
        bytes > PTRDIFF_MAX)
        return FM_TOO_LARGE;
    char *scratch = bytes <= sizeof(room) ? room : malloc(bytes);
    if (!scratch)
        return FM_NO_MEMORY;
    char *rows = scratch + 2 * rows_at_once * (size_t)widest * k->item;
    for (int64_t first = 0; first < X->n_rows && !fm_ended(watch); first += FM_FEW) {
        const int64_t left = X->n_rows - first, n = left < FM_FEW ? left : FM_FEW;
        const void *x = (const char *)X->data + first * X->row_stride;
        if (!in_place) {
            for (int64_t r = 0; r < n; r++)
                k->read_row(rows + (size_t)(r * X->n_cols) * k->item, X, first + r);
            x = rows;
        }
        k->predict_few((char *)out + (size_t)(first * units[n_layers]) * k->item, scratch, x, n,
                       n_layers, units, W, b, activations);
        fm_ends(watch, 0, work * FM_FEW);
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

static fm_status check_csr(const fm_matrix *X, fm_dtype dtype, int check_finite, fm_watch *watch)
{
    enum { STEP = 1 << 20 };
    const fm_status status = fm_check_csr(X, NULL, X->n_rows, 1, X->nnz, watch);
    for (int64_t i = 0; status == FM_OK && check_finite && i < X->nnz; i += STEP) {
        if (!values_finite(X, dtype, i, X->nnz - i < STEP ? X->nnz : i + STEP))
            return FM_NOT_FINITE;
        if (fm_ends(watch, 0, 4.0 * STEP))
            return FM_INTERRUPTED;
    }
    return status;
}

fm_status fm_predict(void *out, const fm_matrix *X, fm_dtype dtype, int n_layers,
                     const int64_t *units, const void *const *W, const void *const *b,
                     const fm_choice *activations, const char *isa, int check_finite,
                     const fm_interrupt *interrupt, int n_threads)
{
    fm_watch watch = {.interrupt = interrupt ? *interrupt : (fm_interrupt){NULL, NULL}};
    fm_status status = fm_check_shape(dtype, n_layers, units, activations);
    if (status != FM_OK)
        return status;
    if (X->n_cols != units[0] || X->n_rows < 0 || n_threads < 0)
        return FM_BAD_ARGUMENT;
    const fm_kernels *k = fm_select_kernels(isa, dtype, &status);
    if (!k)
        return status;
    if (X->n_rows == 0)
        return FM_OK;
    if (X->indices) {
        status = check_csr(X, k->dtype, check_finite, &watch);
        if (status != FM_OK)
            return status;
    } else if (X->n_rows <= UNPACKED_ROWS) {
        return predict_unpacked(out, X, k, n_layers, units, W, b, activations, check_finite,
                                &watch);
    }
    return predict_packed(out, X, k, n_layers, units, W, b, activations, check_finite, &watch,
                          n_threads);
}
