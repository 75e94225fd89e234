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

static int needs_z(const fm_value *v)
{
    return fm_activation_row(v->activation.row)->derivative == FM_FROM_PREACTIVATION;
}

static size_t value_bytes(const fm_plan *plan, int i, int part)
{
    const fm_value *v = &plan->values[i];
    const int training = plan->use.training;
    int wanted = v->is_output;
    if (part == FM_ACTS)
        wanted = !v->is_output && (i > 0 || !plan->use.csr);
    else if (part == FM_Z)
        wanted = training && i > 0 && needs_z(v);
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

static fm_op *add_op(fm_plan *plan, fm_kernel *run, int stage)
{
    FM_ASSERT(plan->n_ops < 2 * plan->n_stages + 1);
    fm_op *op = &plan->ops[plan->n_ops++];
    *op = (fm_op){.run = run, .stage = stage};
    return op;
}

static void add_product(fm_plan *plan, fm_kernel *run, int stage)
{
    const fm_stage *s = &plan->stages[stage];
    add_op(plan, run, stage)->work_per_row = (double)s->from->width * (double)s->to->width;
}

static void compile_ops(fm_plan *plan)
{
    const fm_kernels *k = plan->kernels;
    const int last = plan->n_stages - 1;
    if (!plan->use.csr)
        add_op(plan, k->gather, 0);
    for (int i = 0; i <= last; i++)
        add_product(plan, i == 0 && plan->use.csr ? k->forward_csr : k->forward, i);
    add_op(plan, plan->use.training ? k->loss : k->outputs, last);
    for (int i = last; i > 0 && plan->use.training; i--)
        add_product(plan, k->backward, i);
    plan->ops[plan->n_ops - 1].ends_phase = plan->use.training; /* by the gradient's sums */
}

static fm_status compile_stages(fm_plan *plan, const int64_t *units, const fm_choice *activations)
{
    const fm_kernels *k = plan->kernels;
    const int n = plan->n_stages, training = plan->use.training;
    for (int i = 0; i <= n; i++)
        plan->values[i] = (fm_value){.width = units[i],
                                     .max_rows = plan->use.max_rows,
                                     .activation = i > 0 ? activations[i - 1] : (fm_choice){0},
                                     .is_output = i == n};
    for (int i = 0; i < n; i++) {
        fm_stage *s = &plan->stages[i];
        *s = (fm_stage){.from = &plan->values[i], .to = &plan->values[i + 1]};
        if (k->param_bytes(FM_PARAMS, s) == SIZE_MAX)
            return FM_TOO_LARGE;
        plan->n_units += k->n_units(s);
        plan->work_per_row +=
            (training ? i > 0 ? 3.0 : 2.0 : 1.0) * (double)units[i] * (double)units[i + 1];
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

fm_status fm_plan_compile(fm_plan *plan, const fm_kernels *kernels, int n_layers,
                          const int64_t *units, const fm_choice *activations, fm_plan_use use)
{
    *plan = (fm_plan){.kernels = kernels, .use = use, .n_stages = n_layers};
    fm_arena a = {0};
    lay_out_description(plan, &a);
    plan->description = calloc(1, a.used);
    if (!plan->description)
        return FM_NO_MEMORY;
    a = (fm_arena){.base = plan->description};
    lay_out_description(plan, &a);
    const fm_status status = compile_stages(plan, units, activations);
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
        if (r0 < r1 && !fm_ended(watch)) {
            op->run(&plan->stages[op->stage], pass, r0, r1);
            fm_ends(watch, rank, op->work_per_row * (double)(r1 - r0));
        }
        if (op->ends_phase)
            fm_barrier(team);
    }
}

/* The first unit whose running cost reaches share rank / size. */
static int64_t first_unit(const fm_plan *plan, int rank, int size)
{
    const double goal = (double)plan->unit_cost[plan->n_units] * rank / size;
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

void fm_plan_pass_units(const fm_plan *plan, const fm_pass *pass, int rank, int size)
{
    const fm_kernels *k = plan->kernels;
    int64_t u = first_unit(plan, rank, size), end = first_unit(plan, rank + 1, size), base = 0;
    for (int i = 0; i < plan->n_stages; i++) {
        const fm_stage *s = &plan->stages[i];
        const int64_t n = k->n_units(s);
        const int64_t stop = end < base + n ? end : base + n;
        if (u < stop) {
            k->gradient(s, pass, u - base, stop - base);
            u = stop;
        }
        base += n;
    }
    FM_ASSERT(u == end);
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
