/* plan.h - a network as the engine runs it: stages over values and parameters.
 *
 * The user describes layers. The plan turns them into stages (kernels.h), each of
 * which computes one value from the value before, into a short program of row
 * operations, and into memory for all of it. Training, prediction and the
 * self-test of rare kernel sets run the same plan.
 *
 *   rows      gather, forward, ..., loss, backward, ...   (prediction: ..., outputs)
 *   barrier
 *   shards    gradient and update of all parameters       (training only)
 *   barrier
 *
 * Small networks are replicated: each member of a team has a copy of all parameters.
 *
 *   rows      the same, and their gradient
 *   barrier
 *   all       sum of all members' gradients, update of the copy
 *
 * Where gradients are kept, the update is a walk of its own through the shards, after
 * the gradients of all blocks of rows.
 *
 * An operation that reads rows of other members, as a sum over rows does, asks for
 * a barrier before it: the program then falls into phases.
 */
#ifndef FM_PLAN_H
#define FM_PLAN_H

#include "host/interrupt.h"
#include "host/threads.h"
#include "kernels/kernels.h"
#include "tables/tables.h"

/* What a thread takes on between two questions whether to end, in multiply-adds: 0.05 to 0.1 s
 * of doubles on Zen 4. */
#ifndef FM_WORK_AT_ONCE /* tests cut the smallest networks */
#define FM_WORK_AT_ONCE 1e9
#endif

/* What a plan is for. */
typedef struct {
    int64_t max_rows;        /* rows of a block, at most */
    int csr;                 /* X is CSR, else dense */
    int training;
    int n_slots;             /* training: optimizer state */
    int keeps_gradient;      /* training: in memory, else each shard is updated at once */
    int averages;            /* training: a running average of the weights */
    int clips;               /* training: gradients by their norm */
    int has_l2;              /* training: the loss has an L2 term */
    int whole_batches;       /* training: sums over all rows of a mini-batch are taken */
} fm_plan_use;

typedef struct {
    fm_kernel *run;
    int stage;
    double work_per_row;     /* multiply-adds */
    int64_t rows_at_once;    /* between two questions whether to end */
    int by_shards;            /* on shards of the stage and all rows, not on rows */
    int ends_phase;          /* the next operation reads rows of other members */
} fm_op;

/* The memory of a value's activations: its own, or that of an earlier value which
 * nobody reads any more. */
typedef struct {
    int owner;               /* number of the value that it was taken for */
    int last_reader;         /* stage; of an owner's, of the value that it serves now */
    size_t bytes;            /* an owner's: enough for all that share it */
} fm_buffer;

typedef struct {
    const fm_kernels *kernels;
    fm_plan_use use;
    int rounds;              /* operands of products, to bfloat16 */
    int n_values, n_stages, n_ops;
    fm_value *values;        /* (n_values,): X, then what stages compute, the outputs last */
    fm_stage *stages;        /* (n_stages,) */
    fm_op *ops;              /* (n_ops,) */
    fm_buffer *buffers;      /* (n_values,), by value */
    int64_t n_shards;         /* of weights, of all stages one after the other */
    int64_t *shard_cost;      /* (n_shards + 1,) running sum; training only */
    double work_per_row;     /* multiply-adds */
    int parts;               /* above 1: replicated; of the rows, for the gradient */
    void *description;       /* the memory of the arrays above but shard_cost */
} fm_plan;

/* Cuts consecutive pieces from one allocation; run once without a base to learn
 * the total, once with it. A piece of SIZE_MAX bytes marks an overflow. */
typedef struct {
    char *base;
    size_t used;
    int overflow;
} fm_arena;

void *fm_take(fm_arena *arena, size_t bytes);
size_t fm_array_bytes(int64_t n, size_t item);

/* Multiply-adds of a row that passes forward. */
double fm_forward_work(const fm_network *network);

/* Takes memory for the description only; fm_plan_free returns it. */
fm_status fm_plan_compile(fm_plan *plan, const fm_kernels *kernels, const fm_network *network,
                          fm_plan_use use);
void fm_plan_free(fm_plan *plan);

/* Bytes of scratch for each member of a team: of the stage that wants most. */
size_t fm_plan_scratch_bytes(const fm_plan *plan);

/* Memory of what all members share, and of what rows pass through. */
void fm_plan_lay_out_parameters(fm_plan *plan, fm_arena *arena);
void fm_plan_lay_out_values(fm_plan *plan, fm_arena *arena);

/* Of a member of a team on a replicated network: its partial gradients and their sum. */
void fm_plan_lay_out_sums(fm_plan *plan, fm_arena *arena);

/* A copy with values of its own: what a member needs that walks through the plan alone. */
fm_plan fm_plan_copy(const fm_plan *plan, fm_arena *arena);

/* Parameters and the optimizer's state, between plans of one network. */
void fm_plan_copy_parameters(const fm_plan *to, const fm_plan *from);

/* All row operations on rows r0..r1 of the pass's batch, or some of them if the call ends.
 * team: NULL when alone. */
void fm_plan_pass_rows(const fm_plan *plan, const fm_pass *pass, fm_team *team, fm_watch *watch,
                       int rank, int size, int64_t r0, int64_t r1);
/* Gradients of a member's share of the weights. They are updated at once if the pass has a
 * step; if it has none, some gradients may be missing once the call has ended. */
void fm_plan_pass_shards(const fm_plan *plan, const fm_pass *pass, fm_watch *watch, int rank,
                         int size);
/* Squares of a member's share of the gradients that were kept. */
void fm_plan_square_shards(const fm_plan *plan, const fm_pass *pass, int rank, int size);
/* FM_GRADIENT of all weights, from a part of each of n members. */
void fm_plan_add_gradients(const fm_plan *plan, const fm_plan *const *members, int n, int part);
/* Updates a member's share of the weights by the gradients that were kept. */
void fm_plan_update_shards(const fm_plan *plan, const fm_pass *pass, int rank, int size);

static inline const fm_value *fm_plan_outputs(const fm_plan *plan)
{
    return &plan->values[plan->n_values - 1];
}

/* What a stage's FM_PARAMS hold of its layer's parameters. */
typedef struct {
    void *first, *second;
} fm_stage_arrays;

fm_stage_arrays fm_arrays_of(const fm_stage *stage, const fm_parameters *layers);

/* All parameters of the stages that keep them, from row-major arrays. */
fm_status fm_plan_load(const fm_plan *plan, int part, const fm_parameters *layers, fm_watch *watch);
void fm_plan_store(const fm_plan *plan, int part, const fm_parameters *layers);

/* Where the rows of a member begin. */
int64_t fm_plan_first_row(const fm_plan *plan, int64_t n_rows, int rank, int size);

/* Rows first .. first + n of a batch, or up to its end. */
static inline fm_batch fm_batch_part(const fm_batch *batch, int64_t first, int64_t n)
{
    fm_batch part = *batch;
    if (part.rows)
        part.rows += first;
    else
        part.first_row += first;
    part.n_rows = batch->n_rows - first < n ? batch->n_rows - first : n;
    return part;
}

/* Members of a team for a piece of work of so many multiply-adds and rows: never more
 * than the pool or the rows have use for. */
int fm_team_size(int n_threads, double work, int64_t rows);

#endif
