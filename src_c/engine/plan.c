/* plan.c - layers into stages, row operations and memory; see plan.h. */
#include "engine/plan.h"

#include <stdlib.h>
#include <string.h>

/* A second thread pays from about this many multiply-adds per step and thread. On
 * Zen 3 a step of 0.43e6 each (20-100-1, 200 rows) took 33 us on one thread and 22 on
 * two in float32, 65 and 41 in float64; one of 0.13e6 each (4-100-3, 150 rows) 15
 * and 13 to 17, 28 and 23. */
#ifndef FM_MIN_WORK_PER_THREAD /* the fuzzer has threads in the smallest networks */
#define FM_MIN_WORK_PER_THREAD 0.4e6
#endif

/* ---------------------------------------------------------------- memory */

/* The address sanitizer sees allocations, not the pieces of one: it is told of gaps between them. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1 /* as GCC says it */
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { FM_GAP = 64 };
#else
enum { FM_GAP = 0 };
#define __asan_poison_memory_region(at, bytes) ((void)(at), (void)(bytes))
#endif

void *fm_take(fm_arena *a, size_t bytes)
{
    if (bytes == 0)
        return NULL;
    size_t at = a->used, end;
    if (bytes > PTRDIFF_MAX - 64 - FM_GAP ||
        __builtin_add_overflow(at, ((bytes + 63) & ~(size_t)63) + FM_GAP, &end) ||
        end > PTRDIFF_MAX) {
        a->overflow = 1;
        return NULL;
    }
    a->used = end;
    if (!a->base)
        return NULL;
    __asan_poison_memory_region(a->base + at + bytes, end - at - bytes);
    return a->base + at;
}

size_t fm_array_bytes(int64_t n, size_t item)
{
    size_t bytes;
    return __builtin_mul_overflow((size_t)n, item, &bytes) ? SIZE_MAX : bytes;
}

/* Of a part of a mini-batch: with 50 rows a gradient's tiles begin and end so often that
 * 8-64-64-1 and 30-64x4-5 took 2.5 % longer on one thread, with 100 less than 1 %. */
#ifndef FM_LEAST_PART_ROWS /* the fuzzer has parts in the smallest mini-batches */
#define FM_LEAST_PART_ROWS 64
#endif

static int is_input(const fm_plan *plan, const fm_value *v) { return v == plan->values; }

static size_t param_bytes(const fm_plan *plan, int i, int part)
{
    const fm_plan_use *use = &plan->use;
    const fm_stage *s = &plan->stages[i];
    int wanted = 1;
    if (!use->training && part != FM_PARAMS && part != FM_RUNNING)
        return 0;
    if (part >= FM_SLOTS && part < FM_SLOTS + FM_MAX_SLOTS)
        wanted = part - FM_SLOTS < use->n_slots;
    else if (part == FM_PARAMS)
        wanted = !s->raw_W;
    else if (part == FM_GRADIENT)
        wanted = use->keeps_gradient;
    else if (part == FM_PUBLISHED || part == FM_PUBLISHED_NEXT)
        wanted = 0;
    else if (part == FM_TRANSPOSED)
        wanted = s->kind == FM_DENSE && !is_input(plan, s->from);
    else if (part == FM_SQUARES)
        wanted = use->has_l2 && s->kind == FM_DENSE;
    else if (part == FM_RUNNING)
        wanted = s->normalization == FM_BATCH_NORM;
    else if (part == FM_STATISTICS)
        wanted = s->kind == FM_NORM;
    else if (part == FM_AVERAGE)
        wanted = use->averages;
    else if (part == FM_GRADIENT_SQUARES)
        wanted = use->clips;
    return wanted && s->kind != FM_ADD ? plan->kernels->param_bytes(part, s) : 0;
}

size_t fm_plan_scratch_bytes(const fm_plan *plan)
{
    size_t most = 0;
    for (int i = 0; i < plan->n_stages; i++) {
        const size_t bytes = plan->kernels->scratch_bytes(&plan->stages[i]);
        most = bytes > most ? bytes : most;
    }
    return (most + 63) & ~(size_t)63;
}

void fm_plan_lay_out_parameters(fm_plan *plan, fm_arena *a)
{
    const fm_kernels *k = plan->kernels;
    for (int i = 0; i < plan->n_stages; i++)
        for (int part = 0; part < FM_N_PARAM_PARTS; part++)
            plan->stages[i].part[part] = fm_take(a, param_bytes(plan, i, part));
    if (!plan->use.training)
        return;
    int64_t *cost = fm_take(a, fm_array_bytes(plan->n_shards + 1, sizeof(*cost)));
    if (!cost)
        return;
    plan->shard_cost = cost;
    int64_t u = 0, sum = 0;
    for (int i = 0; i < plan->n_stages; i++)
        for (int64_t j = 0; j < k->n_shards(&plan->stages[i]); j++) {
            cost[u++] = sum;
            sum += k->shard_cost(&plan->stages[i], j, plan->use.max_rows);
        }
    cost[u] = sum;
}

void fm_plan_lay_out_sums(fm_plan *plan, fm_arena *a)
{
    const int sums[] = {FM_GRADIENT, FM_PUBLISHED, FM_PUBLISHED_NEXT};
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < plan->n_stages; i++) {
            fm_stage *s = &plan->stages[i];
            s->part[sums[k]] =
                fm_take(a, s->kind == FM_ADD ? 0 : plan->kernels->param_bytes(FM_GRADIENT, s));
        }
}

static int needs_slope(const fm_value *v)
{
    const int row = v->activation.row; /* a == 0 tells relu's f', dropped or not */
    return v->derivative == FM_FROM_PREACTIVATION ||
           (v->dropout > 0 && row != FM_ACT_identity && row != FM_ACT_relu);
}

static size_t value_bytes(const fm_plan *plan, int i, int part)
{
    const fm_value *v = &plan->values[i];
    const int training = plan->use.training;
    int wanted = v->is_output;
    if (part == FM_ACTS)
        wanted = !v->is_output && (i > 0 || !plan->use.csr);
    else if (part == FM_SLOPE)
        wanted = training && i > 0 && needs_slope(v);
    else if (part == FM_DELTA)
        wanted = v->is_output || (training && i > 0);
    return wanted ? plan->kernels->value_bytes(part, v) : 0;
}

/* The first stage that writes a value, and the last one that reads it; the gradient reads
 * all of them at the end. */
static int first_writer(const fm_plan *plan, int i)
{
    int stage = 0;
    while (i > 0 && plan->stages[stage].to != &plan->values[i])
        stage++;
    return i > 0 ? stage : -1;
}

static int last_reader(const fm_plan *plan, int i)
{
    const fm_value *v = &plan->values[i];
    int stage = plan->n_stages;
    if (plan->use.training || v->is_output)
        return stage;
    do
        stage--;
    while (plan->stages[stage].from != v && plan->stages[stage].skip != v);
    return stage;
}

static void share_buffers(fm_plan *plan)
{
    fm_buffer *b = plan->buffers;
    for (int i = 0; i < plan->n_values; i++) {
        const size_t bytes = value_bytes(plan, i, FM_ACTS);
        const int writer = first_writer(plan, i);
        int owner = bytes > 0 ? 0 : i;
        while (owner < i && (b[owner].bytes == 0 || b[owner].last_reader >= writer))
            owner++;
        b[i].owner = owner;
        b[owner].last_reader = last_reader(plan, i);
        b[owner].bytes = bytes > b[owner].bytes ? bytes : b[owner].bytes;
    }
}

void fm_plan_lay_out_values(fm_plan *plan, fm_arena *a)
{
    for (int i = 0; i < plan->n_values; i++) {
        void **part = plan->values[i].part;
        const int owner = plan->buffers[i].owner;
        part[FM_ACTS] =
            owner == i ? fm_take(a, plan->buffers[i].bytes) : plan->values[owner].part[FM_ACTS];
        for (int p = FM_ACTS + 1; p < FM_N_VALUE_PARTS; p++)
            part[p] = fm_take(a, value_bytes(plan, i, p));
    }
}

static const fm_value *moved(const fm_value *v, const fm_value *from, const fm_value *to)
{
    return v ? to + (v - from) : NULL;
}

fm_plan fm_plan_copy(const fm_plan *plan, fm_arena *a)
{
    const size_t values_bytes = (size_t)plan->n_values * sizeof(*plan->values);
    const size_t stages_bytes = (size_t)plan->n_stages * sizeof(*plan->stages);
    fm_plan copy = *plan;
    fm_value *values = fm_take(a, values_bytes);
    fm_stage *stages = fm_take(a, stages_bytes);
    if (a->base) {
        copy.values = memcpy(values, plan->values, values_bytes);
        copy.stages = memcpy(stages, plan->stages, stages_bytes);
        for (fm_stage *s = stages; s < stages + plan->n_stages; s++) {
            s->from = moved(s->from, plan->values, values);
            s->to = moved(s->to, plan->values, values);
            s->skip = moved(s->skip, plan->values, values);
        }
    }
    fm_plan_lay_out_values(&copy, a);
    return copy;
}

/* ------------------------------------------------------------- parameters */

void fm_plan_copy_parameters(const fm_plan *to, const fm_plan *from)
{
    for (int i = 0; i < to->n_stages; i++)
        for (int part = 0; part < FM_N_PARAM_PARTS; part++) {
            const size_t bytes = param_bytes(from, i, part);
            if (bytes > 0)
                memcpy(to->stages[i].part[part], from->stages[i].part[part], bytes);
        }
}

fm_stage_arrays fm_arrays_of(const fm_stage *s, const fm_parameters *layers)
{
    const fm_parameters *p = &layers[s->layer];
    if (s->kind == FM_NORM)
        return (fm_stage_arrays){p->scale, p->shift};
    if (s->is_projection)
        return (fm_stage_arrays){p->P, NULL};
    return (fm_stage_arrays){p->W, p->b};
}

/* Training may go on from the running averages that are there. */
static int is_complete(const fm_plan *plan, const fm_stage *s, const fm_parameters *layers)
{
    const fm_stage_arrays arrays = fm_arrays_of(s, layers);
    const fm_parameters *p = &layers[s->layer];
    if (s->part[FM_RUNNING] && !plan->use.training && !(p->mean && p->variance))
        return 0;
    return s->kind == FM_ADD || (arrays.first && (arrays.second || s->is_projection));
}

/* What copying a parameter takes, in multiply-adds (fm_watch). */
enum { LOAD_WORK = 64 };

fm_status fm_plan_load(const fm_plan *plan, int part, const fm_parameters *layers, fm_watch *watch)
{
    for (int i = 0; i < plan->n_stages; i++)
        if (!is_complete(plan, &plan->stages[i], layers))
            return FM_BAD_ARGUMENT;
    for (int i = 0; i < plan->n_stages; i++) {
        const fm_stage *s = &plan->stages[i];
        const fm_stage_arrays arrays = fm_arrays_of(s, layers);
        const fm_parameters *p = &layers[s->layer];
        if (s->part[part] && s->kind != FM_ADD)
            plan->kernels->load(s, part, arrays.first, arrays.second);
        if (s->part[FM_RUNNING] && part == FM_PARAMS && p->mean && p->variance)
            plan->kernels->load(s, FM_RUNNING, p->mean, p->variance);
        if (s->kind == FM_DENSE && watch)
            fm_ends(watch, 0, LOAD_WORK * (double)s->from->width * (double)s->to->width);
    }
    return FM_OK;
}

void fm_plan_store(const fm_plan *plan, int part, const fm_parameters *layers)
{
    for (int i = 0; i < plan->n_stages; i++) {
        const fm_stage *s = &plan->stages[i];
        const fm_stage_arrays arrays = fm_arrays_of(s, layers);
        const fm_parameters *p = &layers[s->layer];
        if (s->kind != FM_ADD)
            plan->kernels->store(s, part, arrays.first, arrays.second);
        if (s->part[FM_RUNNING] && part == FM_PARAMS && p->mean && p->variance)
            plan->kernels->store(s, FM_RUNNING, p->mean, p->variance);
    }
}

/* ---------------------------------------------------------------- stages */

/* A product takes so many rows at a time at least, since it reads all of W for them; rows of
 * CSR are taken one by one anyway. */
enum { PRODUCT_ROWS = 32 };

/* Forward and backward, each after a sum over rows, and the ends. */
static int max_ops(int n_stages) { return 4 * n_stages + 2; }

static void add_op(fm_plan *plan, fm_kernel *run, int stage, double work_per_row, int64_t least)
{
    FM_ASSERT(plan->n_ops < max_ops(plan->n_stages));
    const double rows = FM_WORK_AT_ONCE / work_per_row;
    const int64_t step = plan->kernels->row_step, max_rows = plan->use.max_rows;
    const int64_t wanted = rows < (double)max_rows ? (int64_t)rows : max_rows;
    plan->ops[plan->n_ops++] =
        (fm_op){.run = run,
                .stage = stage,
                .work_per_row = work_per_row,
                .rows_at_once = ((wanted > least ? wanted : least) + step - 1) / step * step};
}

/* Other work in multiply-adds: of an element that is copied, normalised, and of an output. */
enum { COPY_WORK = 4, NORM_WORK = 8, OUTPUT_WORK = 16 };

static void add_product(fm_plan *plan, fm_kernel *run, int stage)
{
    const fm_stage *s = &plan->stages[stage];
    add_op(plan, run, stage, (double)s->from->width * (double)s->to->width,
           s->csr ? 1 : PRODUCT_ROWS);
}

/* Between barriers, because it reads all rows and all rows read what it writes. */
static void add_sum_over_rows(fm_plan *plan, fm_kernel *run, int stage)
{
    if (plan->stages[stage].normalization != FM_BATCH_NORM || !plan->use.training)
        return;
    plan->ops[plan->n_ops - 1].ends_phase = 1;
    add_op(plan, run, stage, NORM_WORK * (double)plan->stages[stage].to->width, 1);
    plan->ops[plan->n_ops - 1].by_shards = 1;
    plan->ops[plan->n_ops - 1].ends_phase = 1;
}

static void add_forward(fm_plan *plan, int i)
{
    const fm_kernels *k = plan->kernels;
    const fm_stage *s = &plan->stages[i];
    if (s->kind == FM_DENSE) {
        add_product(plan, s->csr ? k->forward_csr : k->forward, i);
    } else if (s->kind == FM_NORM) {
        add_sum_over_rows(plan, k->column_statistics, i);
        add_op(plan, k->normalize, i, NORM_WORK * (double)s->to->width, 1);
    } else {
        add_op(plan, k->add, i, COPY_WORK * (double)s->to->width, 1);
    }
}

static void add_backward(fm_plan *plan, int i)
{
    const fm_kernels *k = plan->kernels;
    const fm_stage *s = &plan->stages[i];
    if (s->kind == FM_DENSE) {
        if (!is_input(plan, s->from))
            add_product(plan, k->backward, i);
    } else if (s->kind == FM_NORM) {
        add_sum_over_rows(plan, k->column_deltas, i);
        add_op(plan, k->normalize_back, i, NORM_WORK * (double)s->to->width, 1);
    } else {
        add_op(plan, k->add_back, i, COPY_WORK * (double)s->to->width, 1);
    }
}

static void compile_ops(fm_plan *plan)
{
    const fm_kernels *k = plan->kernels;
    const int last = plan->n_stages - 1;
    if (!plan->use.csr)
        add_op(plan, k->gather, 0, COPY_WORK * (double)plan->values[0].width, 1);
    for (int i = 0; i <= last; i++)
        add_forward(plan, i);
    add_op(plan, plan->use.training ? k->loss : k->outputs, last,
           OUTPUT_WORK * (double)fm_plan_outputs(plan)->width, 1);
    for (int i = last; i >= 0 && plan->use.training; i--)
        add_backward(plan, i);
}

double fm_forward_work(const fm_network *network)
{
    double work = 0, fan_in = (double)network->n_inputs;
    for (int l = 0; l < network->n_layers; l++) {
        work += fan_in * (double)network->layers[l].width;
        fan_in = (double)network->layers[l].width;
    }
    return work;
}

static fm_value *add_value(fm_plan *plan, int64_t width)
{
    fm_value *v = &plan->values[plan->n_values++];
    *v = (fm_value){.width = width, .max_rows = plan->use.max_rows};
    return v;
}

static fm_stage *add_stage(fm_plan *plan, fm_stage_kind kind, int layer, fm_value *from,
                           fm_value *to)
{
    fm_stage *s = &plan->stages[plan->n_stages++];
    *s = (fm_stage){.kind = kind,
                    .layer = layer,
                    .from = from,
                    .to = to,
                    .csr = plan->use.csr && is_input(plan, from)};
    if (kind == FM_DENSE && plan->rounds)
        s->rounds = from->rounds = to->rounds_delta = 1;
    return s;
}

static void compile_skip(fm_plan *plan, int l, fm_value *from, fm_value *a)
{
    fm_value *sum = add_value(plan, a->width);
    if (from->width != sum->width) {
        fm_stage *s = add_stage(plan, FM_DENSE, l, from, sum);
        s->is_projection = s->no_bias = 1;
    }
    fm_stage *s = add_stage(plan, FM_ADD, l, a, sum);
    s->skip = from->width == sum->width ? from : NULL;
}

static void compile_layer(fm_plan *plan, const fm_layer *layer, int l)
{
    fm_value *from = &plan->values[plan->n_values - 1], *a = add_value(plan, layer->width);
    /* A batch's mean takes the bias away again: its gradient is 0, or rounding errors. */
    add_stage(plan, FM_DENSE, l, from, a)->no_bias =
        layer->no_bias || layer->normalization == FM_BATCH_NORM;
    if (layer->normalization != FM_NO_NORM) {
        fm_value *z = a;
        a = add_value(plan, layer->width);
        add_stage(plan, FM_NORM, l, z, a)->normalization = layer->normalization;
    }
    a->activation = layer->activation;
    a->derivative = fm_activation_row(layer->activation.row)->derivative;
    a->dropout = layer->dropout;
    a->number = l + 1;
    if (layer->residual)
        compile_skip(plan, l, from, a);
}

/* Which stages hand delta to a value: backward runs from the last one to the first. */
static void share_deltas(fm_plan *plan)
{
    for (int i = 0; i < plan->n_stages; i++) {
        fm_stage *s = &plan->stages[i];
        s->ends_delta = 1;
        for (int k = 0; k < plan->n_stages; k++) {
            const fm_stage *other = &plan->stages[k];
            const int shares = other->from == s->from || other->skip == s->from;
            s->adds_delta |= k > i && shares;
            s->ends_delta &= !(k < i && shares);
        }
    }
}

static fm_status count_work(fm_plan *plan)
{
    const fm_kernels *k = plan->kernels;
    for (int i = 0; i < plan->n_stages; i++) {
        const fm_stage *s = &plan->stages[i];
        const double products = !plan->use.training ? 1 : is_input(plan, s->from) ? 2 : 3;
        if (s->kind != FM_ADD && k->param_bytes(FM_PARAMS, s) == SIZE_MAX)
            return FM_TOO_LARGE;
        plan->n_shards += k->n_shards(s);
        if (s->kind == FM_DENSE)
            plan->work_per_row += products * (double)s->from->width * (double)s->to->width;
    }
    return FM_OK;
}

static int normalizes(const fm_plan *plan)
{
    int any = 0;
    for (int i = 0; i < plan->n_stages; i++)
        any |= plan->stages[i].kind == FM_NORM;
    return any;
}

/* A network whose gradient is small beside its values is replicated: each member of a team
 * has a copy of the parameters, and partial gradients are all that it hands to the others
 * (DESIGN.md, D40). What it is cut into follows from its shape alone. */
static int count_parts(const fm_plan *plan)
{
    const fm_plan_use *use = &plan->use;
    const double rows = (double)use->max_rows;
    double weights = 0, numbers = 0;
    int parts = 1;
    if (!use->training || use->keeps_gradient || use->csr || plan->kernels->plain_only ||
        normalizes(plan))
        return 1;
    for (int i = 0; i < plan->n_stages; i++)
        weights += (double)plan->stages[i].from->width * (double)plan->stages[i].to->width *
                   (plan->stages[i].kind == FM_DENSE);
    for (int i = 0; i < plan->n_values; i++)
        numbers += (double)plan->values[i].width * rows;
    while (2 * weights <= numbers && 2 * parts <= FM_MAX_PARTS &&
           rows >= 2 * parts * FM_LEAST_PART_ROWS &&
           plan->work_per_row * rows >= 2 * parts * FM_MIN_WORK_PER_THREAD)
        parts *= 2;
    return parts;
}

/* The arrays of the plan, of as many values and stages as compile_layer adds; run twice, see
 * fm_arena. */
static void lay_out_description(fm_plan *plan, fm_arena *a, const fm_network *network)
{
    size_t n_values = 1, n_stages = 0;
    for (int l = 0; l < network->n_layers; l++) {
        const fm_layer *layer = &network->layers[l];
        const size_t normalizes = layer->normalization != FM_NO_NORM, skips = layer->residual != 0;
        n_values += 1 + normalizes + skips;
        n_stages += 1 + normalizes + 2 * skips;
    }
    plan->values = fm_take(a, n_values * sizeof(*plan->values));
    plan->buffers = fm_take(a, n_values * sizeof(*plan->buffers));
    plan->stages = fm_take(a, n_stages * sizeof(*plan->stages));
    plan->ops = fm_take(a, (size_t)max_ops((int)n_stages) * sizeof(*plan->ops));
}

fm_status fm_plan_compile(fm_plan *plan, const fm_kernels *kernels, const fm_network *network,
                          fm_plan_use use)
{
    *plan = (fm_plan){.kernels = kernels, .use = use, .rounds = network->dtype == FM_BFLOAT16};
    fm_arena a = {0};
    lay_out_description(plan, &a, network);
    plan->description = calloc(1, a.used);
    if (!plan->description)
        return FM_NO_MEMORY;
    a = (fm_arena){.base = plan->description};
    lay_out_description(plan, &a, network);
    add_value(plan, network->n_inputs)->dropout = network->input_dropout;
    for (int l = 0; l < network->n_layers; l++)
        compile_layer(plan, &network->layers[l], l);
    plan->values[plan->n_values - 1].is_output = 1;
    share_deltas(plan);
    const fm_status status = count_work(plan);
    if (status != FM_OK)
        return status;
    plan->parts = count_parts(plan);
    for (int i = 0; i < plan->n_stages; i++)
        plan->stages[i].parts = plan->parts;
    compile_ops(plan);
    share_buffers(plan);
    return FM_OK;
}

void fm_plan_free(fm_plan *plan)
{
    free(plan->description);
    plan->description = NULL;
}

/* ------------------------------------------------------------------ passes */

int64_t fm_plan_first_row(const fm_plan *plan, int64_t n_rows, int rank, int size)
{
    const int64_t step = plan->kernels->row_step;
    const int64_t row = (n_rows + step - 1) / step * rank / size * step;
    return row < n_rows ? row : n_rows;
}

/* A member's share of a stage's shards, whose kernel reads all rows. */
static void sum_over_rows(const fm_plan *plan, const fm_op *op, const fm_pass *pass,
                          fm_watch *watch, int rank, int size)
{
    const fm_stage *s = &plan->stages[op->stage];
    const int64_t n = plan->kernels->n_shards(s), end = n * (rank + 1) / size;
    for (int64_t u = n * rank / size; u < end && !fm_ended(watch); u++) {
        op->run(s, pass, u, u + 1);
        fm_ends(watch, rank, op->work_per_row / (double)n * (double)pass->batch->n_rows);
    }
}

void fm_plan_pass_rows(const fm_plan *plan, const fm_pass *pass, fm_team *team, fm_watch *watch,
                       int rank, int size, int64_t r0, int64_t r1)
{
    for (int i = 0; i < plan->n_ops; i++) {
        const fm_op *op = &plan->ops[i];
        if (op->by_shards)
            sum_over_rows(plan, op, pass, watch, rank, size);
        for (int64_t r = r0; r < r1 && !op->by_shards && !fm_ended(watch); r += op->rows_at_once) {
            const int64_t end = r1 - r < op->rows_at_once ? r1 : r + op->rows_at_once;
            op->run(&plan->stages[op->stage], pass, r, end);
            fm_ends(watch, rank, op->work_per_row * (double)(end - r));
        }
        if (op->ends_phase)
            fm_barrier(team);
    }
}

/* The first shard whose running cost reaches the goal. */
static int64_t first_shard(const fm_plan *plan, double goal)
{
    int64_t low = 0, high = plan->n_shards;
    while (low < high) {
        int64_t mid = (low + high) / 2;
        if ((double)plan->shard_cost[mid] < goal)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int64_t first_shard_of(const fm_plan *plan, int rank, int size)
{
    if (rank == 0 || rank == size)
        return rank == 0 ? 0 : plan->n_shards;
    return first_shard(plan, (double)plan->shard_cost[plan->n_shards] * rank / size);
}

/* Runs a kernel on a member's share of the shards of all stages. watch: NULL where the walk
 * must be completed. */
static void walk_shards(const fm_plan *plan, fm_kernel *run, const fm_pass *pass, fm_watch *watch,
                        int rank, int size)
{
    const int64_t *cost = plan->shard_cost, end = first_shard_of(plan, rank + 1, size);
    int64_t u = first_shard_of(plan, rank, size), base = 0; /* the stage's first shard */
    for (int i = 0; u < end && i < plan->n_stages; i++) {
        const fm_stage *s = &plan->stages[i];
        const int64_t next = base + plan->kernels->n_shards(s);
        while (u < end && u < next && !(watch && fm_ended(watch))) {
            const int64_t first = u;
            u = watch ? first_shard(plan, (double)cost[u] + FM_WORK_AT_ONCE) : end;
            u = u < end ? u : end;
            u = u < next ? u : next;
            run(s, pass, first - base, u - base);
            if (watch)
                fm_ends(watch, rank, (double)(cost[u] - cost[first]));
        }
        base = next;
    }
}

void fm_plan_pass_shards(const fm_plan *plan, const fm_pass *pass, fm_watch *watch, int rank,
                         int size)
{
    walk_shards(plan, plan->kernels->gradient, pass, pass->step ? NULL : watch, rank, size);
}

void fm_plan_square_shards(const fm_plan *plan, const fm_pass *pass, int rank, int size)
{
    walk_shards(plan, plan->kernels->square_gradient, pass, NULL, rank, size);
}

void fm_plan_add_gradients(const fm_plan *plan, const fm_plan *const *members, int n, int part)
{
    for (int i = 0; i < plan->n_stages; i++) {
        const void *from[FM_MAX_PARTS];
        for (int k = 0; k < n; k++)
            from[k] = members[k]->stages[i].part[part];
        plan->kernels->add_gradients(&plan->stages[i], from, n);
    }
}

void fm_plan_update_shards(const fm_plan *plan, const fm_pass *pass, int rank, int size)
{
    walk_shards(plan, plan->kernels->update, pass, NULL, rank, size);
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
