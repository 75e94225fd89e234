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

void *fm_take(fm_arena *a, size_t bytes)
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

size_t fm_array_bytes(int64_t n, size_t item)
{
    size_t bytes;
    return __builtin_mul_overflow((size_t)n, item, &bytes) ? SIZE_MAX : bytes;
}

static size_t param_bytes(const fm_plan *plan, int i, int part)
{
    const fm_plan_use *use = &plan->use;
    int wanted = 1;
    if (part >= FM_SLOTS && part < FM_SLOTS + FM_MAX_SLOTS)
        wanted = part - FM_SLOTS < use->n_slots;
    else if (part == FM_PARAMS)
        wanted = !plan->stages[i].raw_W;
    else if (part == FM_GRADIENT)
        wanted = use->keeps_gradient;
    else if (part == FM_TRANSPOSED)
        wanted = use->training && i > 0;
    else if (part == FM_SQUARES)
        wanted = use->has_l2;
    return wanted ? plan->kernels->param_bytes(part, &plan->stages[i]) : 0;
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
    int64_t *cost = fm_take(a, fm_array_bytes(plan->n_units + 1, sizeof(*cost)));
    if (!cost)
        return;
    plan->unit_cost = cost;
    int64_t u = 0, sum = 0;
    for (int i = 0; i < plan->n_stages; i++)
        for (int64_t j = 0; j < k->n_units(&plan->stages[i]); j++) {
            cost[u++] = sum;
            sum += k->unit_cost(&plan->stages[i], j, plan->use.max_rows);
        }
    cost[u] = sum;
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

/* Value i is computed by stage i - 1 and read by stage i; in training the gradient
 * reads all of them at the end. */
static void share_buffers(fm_plan *plan)
{
    fm_buffer *b = plan->buffers;
    for (int i = 0; i <= plan->n_stages; i++) {
        const size_t bytes = value_bytes(plan, i, FM_ACTS);
        int owner = bytes > 0 ? 0 : i;
        while (owner < i && (b[owner].bytes == 0 || b[owner].last_reader >= i - 1))
            owner++;
        b[i].owner = owner;
        b[owner].last_reader = plan->use.training ? plan->n_stages : i;
        b[owner].bytes = bytes > b[owner].bytes ? bytes : b[owner].bytes;
    }
}

void fm_plan_lay_out_values(fm_plan *plan, fm_arena *a)
{
    for (int i = 0; i <= plan->n_stages; i++) {
        void **part = plan->values[i].part;
        const int owner = plan->buffers[i].owner;
        part[FM_ACTS] =
            owner == i ? fm_take(a, plan->buffers[i].bytes) : plan->values[owner].part[FM_ACTS];
        for (int p = FM_ACTS + 1; p < FM_N_VALUE_PARTS; p++)
            part[p] = fm_take(a, value_bytes(plan, i, p));
    }
}

fm_plan fm_plan_copy(const fm_plan *plan, fm_arena *a)
{
    const size_t n = (size_t)plan->n_stages;
    fm_plan copy = *plan;
    fm_value *values = fm_take(a, (n + 1) * sizeof(*values));
    fm_stage *stages = fm_take(a, n * sizeof(*stages));
    if (a->base) {
        copy.values = memcpy(values, plan->values, (n + 1) * sizeof(*values));
        copy.stages = memcpy(stages, plan->stages, n * sizeof(*stages));
        for (size_t i = 0; i < n; i++) {
            stages[i].from = &values[i];
            stages[i].to = &values[i + 1];
        }
    }
    fm_plan_lay_out_values(&copy, a);
    return copy;
}

/* ---------------------------------------------------------------- stages */

/* A product takes so many rows at a time at least, since it reads all of W for them; rows of
 * CSR are taken one by one anyway. */
enum { PRODUCT_ROWS = 32 };

static void add_op(fm_plan *plan, fm_kernel *run, int stage, double work_per_row, int64_t least)
{
    FM_ASSERT(plan->n_ops < 2 * plan->n_stages + 1);
    const double rows = FM_WORK_AT_ONCE / work_per_row;
    const int64_t unit = plan->kernels->row_unit, max_rows = plan->use.max_rows;
    const int64_t wanted = rows < (double)max_rows ? (int64_t)rows : max_rows;
    plan->ops[plan->n_ops++] =
        (fm_op){.run = run,
                .stage = stage,
                .work_per_row = work_per_row,
                .rows_at_once = ((wanted > least ? wanted : least) + unit - 1) / unit * unit};
}

/* Other work in multiply-adds: of an element that is copied, and of an output. */
enum { COPY_WORK = 4, OUTPUT_WORK = 16 };

static void add_product(fm_plan *plan, fm_kernel *run, int stage)
{
    const fm_stage *s = &plan->stages[stage];
    add_op(plan, run, stage, (double)s->from->width * (double)s->to->width,
           stage == 0 && plan->use.csr ? 1 : PRODUCT_ROWS);
}

static void compile_ops(fm_plan *plan)
{
    const fm_kernels *k = plan->kernels;
    const int last = plan->n_stages - 1;
    if (!plan->use.csr)
        add_op(plan, k->gather, 0, COPY_WORK * (double)plan->values[0].width, 1);
    for (int i = 0; i <= last; i++)
        add_product(plan, i == 0 && plan->use.csr ? k->forward_csr : k->forward, i);
    add_op(plan, plan->use.training ? k->loss : k->outputs, last,
           OUTPUT_WORK * (double)plan->values[last + 1].width, 1);
    for (int i = last; i > 0 && plan->use.training; i--)
        add_product(plan, k->backward, i);
    plan->ops[plan->n_ops - 1].ends_phase = plan->use.training; /* by the gradient's sums */
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

static void compile_values(fm_plan *plan, const fm_network *network)
{
    plan->values[0] = (fm_value){.width = network->n_inputs,
                                 .max_rows = plan->use.max_rows,
                                 .dropout = network->input_dropout};
    for (int i = 0; i < plan->n_stages; i++) {
        const fm_layer *layer = &network->layers[i];
        plan->values[i + 1] =
            (fm_value){.width = layer->width,
                       .max_rows = plan->use.max_rows,
                       .activation = layer->activation,
                       .derivative = fm_activation_row(layer->activation.row)->derivative,
                       .dropout = layer->dropout,
                       .number = i + 1,
                       .is_output = i + 1 == plan->n_stages};
    }
}

static fm_status compile_stages(fm_plan *plan, const fm_network *network)
{
    const fm_kernels *k = plan->kernels;
    const int training = plan->use.training;
    for (int i = 0; i < plan->n_stages; i++) {
        fm_stage *s = &plan->stages[i];
        *s = (fm_stage){.from = &plan->values[i],
                        .to = &plan->values[i + 1],
                        .no_bias = network->layers[i].no_bias};
        if (k->param_bytes(FM_PARAMS, s) == SIZE_MAX)
            return FM_TOO_LARGE;
        plan->n_units += k->n_units(s);
        plan->work_per_row +=
            (training ? i > 0 ? 3.0 : 2.0 : 1.0) * (double)s->from->width * (double)s->to->width;
    }
    return FM_OK;
}

/* The arrays of the plan; run twice, see fm_arena. */
static void lay_out_description(fm_plan *plan, fm_arena *a)
{
    const size_t n = (size_t)plan->n_stages;
    plan->values = fm_take(a, (n + 1) * sizeof(*plan->values));
    plan->buffers = fm_take(a, (n + 1) * sizeof(*plan->buffers));
    plan->stages = fm_take(a, n * sizeof(*plan->stages));
    plan->ops = fm_take(a, (2 * n + 1) * sizeof(*plan->ops));
}

fm_status fm_plan_compile(fm_plan *plan, const fm_kernels *kernels, const fm_network *network,
                          fm_plan_use use)
{
    *plan = (fm_plan){.kernels = kernels, .use = use, .n_stages = network->n_layers};
    fm_arena a = {0};
    lay_out_description(plan, &a);
    plan->description = calloc(1, a.used);
    if (!plan->description)
        return FM_NO_MEMORY;
    a = (fm_arena){.base = plan->description};
    lay_out_description(plan, &a);
    compile_values(plan, network);
    const fm_status status = compile_stages(plan, network);
    if (status != FM_OK)
        return status;
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
    const int64_t unit = plan->kernels->row_unit;
    const int64_t row = (n_rows + unit - 1) / unit * rank / size * unit;
    return row < n_rows ? row : n_rows;
}

void fm_plan_pass_rows(const fm_plan *plan, const fm_pass *pass, fm_team *team, fm_watch *watch,
                       int rank, int64_t r0, int64_t r1)
{
    for (int i = 0; i < plan->n_ops; i++) {
        const fm_op *op = &plan->ops[i];
        for (int64_t r = r0; r < r1 && !fm_ended(watch); r += op->rows_at_once) {
            const int64_t end = r1 - r < op->rows_at_once ? r1 : r + op->rows_at_once;
            op->run(&plan->stages[op->stage], pass, r, end);
            fm_ends(watch, rank, op->work_per_row * (double)(end - r));
        }
        if (op->ends_phase)
            fm_barrier(team);
    }
}

/* The first unit whose running cost reaches the goal. */
static int64_t first_unit(const fm_plan *plan, double goal)
{
    int64_t low = 0, high = plan->n_units;
    while (low < high) {
        int64_t mid = (low + high) / 2;
        if ((double)plan->unit_cost[mid] < goal)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int64_t first_unit_of(const fm_plan *plan, int rank, int size)
{
    return first_unit(plan, (double)plan->unit_cost[plan->n_units] * rank / size);
}

/* Runs a kernel on a member's share of the units of all stages. watch: NULL where the walk
 * must be completed. */
static void walk_units(const fm_plan *plan, fm_kernel *run, const fm_pass *pass, fm_watch *watch,
                       int rank, int size)
{
    const int64_t *cost = plan->unit_cost, end = first_unit_of(plan, rank + 1, size);
    int64_t u = first_unit_of(plan, rank, size), base = 0; /* the stage's first unit */
    for (int i = 0; u < end && i < plan->n_stages; i++) {
        const fm_stage *s = &plan->stages[i];
        const int64_t next = base + plan->kernels->n_units(s);
        while (u < end && u < next && !(watch && fm_ended(watch))) {
            const int64_t first = u;
            u = watch ? first_unit(plan, (double)cost[u] + FM_WORK_AT_ONCE) : end;
            u = u < end ? u : end;
            u = u < next ? u : next;
            run(s, pass, first - base, u - base);
            if (watch)
                fm_ends(watch, rank, (double)(cost[u] - cost[first]));
        }
        base = next;
    }
}

void fm_plan_pass_units(const fm_plan *plan, const fm_pass *pass, fm_watch *watch, int rank,
                        int size)
{
    walk_units(plan, plan->kernels->gradient, pass, pass->step ? NULL : watch, rank, size);
}

void fm_plan_update_units(const fm_plan *plan, const fm_pass *pass, int rank, int size)
{
    walk_units(plan, plan->kernels->update, pass, NULL, rank, size);
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
