/* kernels.h - the seam between the network (engine/) and SIMD code.
 *
 * A kernel set is one ISA at one fm_dtype: a struct fm_kernels of plain
 * functions on arrays of T (of float for FM_BFLOAT16). The network decides what is
 * computed, in which order, by which thread; the kernel set decides how weights,
 * activations and deltas lie in memory. It says how many bytes each part of a value
 * or a stage needs, and nothing above this line ever looks inside one: a set may use
 * another layout, hold several copies, or another number format.
 *
 * One training step on a mini-batch of m rows:
 *   rows r0..r1, one range per thread:
 *     gather           X rows -> the first value           (dense X)
 *     forward          from -> to = f(from W + b)          per stage
 *     loss             raw outputs -> delta, row losses
 *     backward         delta of to -> delta of from        per stage
 *   barrier
 *   shards of weights, shared out among the threads:
 *     gradient         dW = from^T delta, db = sum(delta), and the update; where
 *                      gradients are kept, update follows behind a barrier
 *   barrier
 * Each element of a gradient is summed over all rows, or over each of a network's
 * constant parts of them, by one thread in one order, so results do not depend on how
 * the ranges are cut.
 */
#ifndef FM_KERNELS_H
#define FM_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "fastmlp.h"
#include "kernels/assert.h"
#include "tables/tables.h"

/* The outermost size of the cut of weights into shards, in features. A constant
 * of the arithmetic: sums of squares are taken per shard, on every ISA alike. */
enum { FM_SHARD_FEATURES = 128 };

/* A gradient is a sum over rows, which some networks (plan.c) cut into parts, a power of two
 * of them: constants of the arithmetic too. Sums of parts are added pair by pair. */
enum { FM_MAX_PARTS = 8, FM_PART_LEVELS = 3 };

static inline int64_t fm_part_row(int64_t n_rows, int parts, int part)
{
    return n_rows * part >> __builtin_ctz((unsigned)parts); /* a division took 1 % of a step */
}

/* A value: rows of numbers that stages read and compute. The first is X, the last
 * the network's outputs. Parts that a plan does not want are NULL. */
enum {
    FM_ACTS,                 /* A = f(Z), or the rows of X; the outputs have FM_OUTPUT */
    FM_SLOPE,                /* f'(Z), where A does not determine it; or A before dropout */
    FM_DELTA,                /* dLoss/dZ; outputs: Z before */
    FM_OUTPUT,               /* outputs only: Z^T, then outputs^T, then delta^T */
    FM_N_VALUE_PARTS
};

typedef struct {
    int64_t width, max_rows;
    fm_choice activation;    /* f, of what a stage computes */
    int derivative;          /* FM_FROM_*: of f; what FM_SLOPE holds */
    double dropout;
    int number;              /* of the layer that it is the output of, from 1 on; X: 0 */
    int rounds;              /* A to bfloat16: dense stages read it */
    int rounds_delta;        /* delta, likewise: dense stages compute it */
    int is_output;
    void *part[FM_N_VALUE_PARTS];
} fm_value;

/* A stage computes a value from the one before. Parameter-like parts hold what it has of
 * parameters in one layout.
 *   dense   to = f(from W + b)
 *   norm    to = f(normalised from * scale + shift)
 *   add     to = from + skip; without a skip the rest of the sum is there already */
typedef enum { FM_DENSE, FM_NORM, FM_ADD } fm_stage_kind;

enum {
    FM_PARAMS,               /* W, b; scale, shift */
    FM_SLOTS,                /* optimizer state, FM_MAX_SLOTS parts like FM_PARAMS */
    FM_GRADIENT = FM_SLOTS + FM_MAX_SLOTS, /* dW, db summed over blocks of rows */
    FM_PUBLISHED,            /* dW, db summed over a member's parts of the rows; in turn with */
    FM_PUBLISHED_NEXT,
    FM_AVERAGE,              /* running average of W, b, in the layout of FM_PARAMS */
    FM_TRANSPOSED,           /* W^T, where backward wants it */
    FM_SQUARES,              /* partial sums of W^2, for the L2 term of the loss */
    FM_GRADIENT_SQUARES,     /* the same of dW and db, in double, for the gradient's norm */
    FM_RUNNING,              /* batch norm: mean, variance; in the layout of FM_PARAMS */
    FM_STATISTICS,           /* norm, in training: of the mini-batch */
    FM_N_PARAM_PARTS
};

/* Of normalisations: PyTorch's. */
#define FM_NORM_EPSILON 1e-5
#define FM_NORM_MOMENTUM 0.1

typedef struct {
    fm_stage_kind kind;
    int layer;
    const fm_value *from, *to;
    const fm_value *skip;    /* add: or NULL */
    fm_normalization normalization;
    int csr;                 /* from is X, and that is CSR */
    int is_projection;       /* dense: leaves its product for an add to finish */
    int no_bias;             /* b has no gradient */
    int rounds;              /* dense: what products read of W, to bfloat16 */
    int parts;               /* of the rows, for the gradient; 1: it is one sum */
    int adds_delta;          /* backward: another stage has been there before */
    int ends_delta;          /* backward: no other one follows, f' is taken */
    void *part[FM_N_PARAM_PARTS];
    const void *raw_W;       /* predict on CSR: row-major W used in place, not FM_PARAMS */
    const void *raw_b;
} fm_stage;

/* The non-zeros of a CSR mini-batch ordered by shard of features (then by row),
 * for the weight gradient. start: (n_shards + 1,), the others (max_nnz,). */
typedef struct {
    int64_t *start;
    int32_t *feature;        /* within the shard */
    int32_t *row;            /* within the mini-batch */
    void *value;             /* of T */
} fm_buckets;

/* m rows of the data set: number rows[i], or first_row + i if rows is NULL. */
typedef struct {
    const fm_matrix *X;
    const fm_targets *y;
    const double *weights;   /* by number of data set row, or NULL */
    const double *row_weights; /* (n_rows,), scaled to what T can hold; or NULL */
    const int64_t *rows;
    int64_t first_row, n_rows;
    const fm_buckets *buckets; /* CSR only */
} fm_batch;

static inline int64_t fm_batch_row(const fm_batch *batch, int64_t i)
{
    return batch->rows ? batch->rows[i] : batch->first_row + i;
}

/* What one step's updates need besides the vectors. */
typedef struct {
    fm_choice optimizer;
    fm_pace pace;
    double inv_sum;          /* 1 / sum of the mini-batch's sample weights */
    double alpha;            /* L2 strength */
    double share;            /* of the new weights in FM_AVERAGE */
} fm_step;

/* One walk through the plan, as one thread sees it. */
typedef struct {
    const fm_batch *batch;
    int training;
    void *scratch;           /* of this thread, at a multiple of 64 */
    /* training */
    uint32_t seed;           /* of dropout, together with */
    int64_t update;          /* the number of updates before, and */
    int64_t first_row;       /* the batch's first row in its mini-batch */
    const fm_choice *loss;
    const double *loss_parameters; /* (outputs,): instead of its first parameter; or NULL */
    double *row_loss;        /* (n_rows,) unweighted losses, written */
    int resume;              /* gradients go on from FM_GRADIENT, else from zero */
    int first_part, end_part; /* that gradients are summed over */
    int sums;                /* where they are left if there is no step: FM_GRADIENT, .. */
    const fm_step *step;     /* update with them */
    /* prediction */
    void *out;               /* (n_rows, width of the outputs) of T, row-major, written */
} fm_pass;

/* On rows begin..end, or shards of weights, in this order. */
typedef void fm_kernel(const fm_stage *stage, const fm_pass *pass, int64_t begin, int64_t end);

/* Where a forward pass of a few rows, on row-major parameters, is. */
typedef struct {
    const fm_network *network;
    const fm_parameters *parameters;
    int64_t n_rows;          /* 1 to FM_FEW */
    int layer;
} fm_few;

enum { FM_FEW = 4 };

static inline int64_t fm_fan_in(const fm_network *network, int layer)
{
    return layer > 0 ? network->layers[layer - 1].width : network->n_inputs;
}

typedef struct fm_kernels {
    const char *isa;
    fm_dtype dtype; /* of T */
    size_t item;    /* sizeof(T) */
    int plain_only;  /* dense stages without dropout only */
    int64_t row_step; /* r0 below is a multiple of it, r1 too or the end of the batch */

    /* Bytes of a part, SIZE_MAX if they overflow size_t, 0 if not needed. */
    size_t (*value_bytes)(int part, const fm_value *value);
    size_t (*param_bytes)(int part, const fm_stage *stage);
    /* Of scratch that the kernels of a stage work in. */
    size_t (*scratch_bytes)(const fm_stage *stage);

    /* Row-major W, b <-> a parameter-like part. Loading FM_PARAMS refreshes
     * FM_TRANSPOSED and FM_SQUARES where the stage has them. */
    void (*load)(const fm_stage *stage, int part, const void *W, const void *b);
    void (*store)(const fm_stage *stage, int part, void *W, void *b);

    /* Whether a parameter-like part holds neither NaN nor infinity. */
    int (*part_finite)(const fm_stage *stage, int part);

    /* Whether rows r0..r1 of a dense batch, as T, hold neither NaN nor infinity. */
    int (*rows_finite)(const fm_batch *batch, int64_t r0, int64_t r1);
    /* Fills the buckets from all rows of a CSR batch: first counts those of every row, then
     * places them, as the pass's batch has them. Called on rows r0..r1 in this order. */
    void (*count_nonzeros)(fm_buckets *buckets, const fm_batch *batch, int64_t r0, int64_t r1);
    void (*place_nonzeros)(fm_buckets *buckets, const fm_value *X, const fm_pass *pass, int64_t r0,
                           int64_t r1);

    fm_kernel *gather;       /* rows of dense X into the first value */
    fm_kernel *forward;      /* A = f(from W + b); outputs: only Z */
    fm_kernel *forward_csr;  /* the same from rows of CSR X */
    fm_kernel *loss;         /* outputs: Z -> f(Z), delta, row losses */
    fm_kernel *outputs;      /* outputs: Z -> f(Z), into pass->out */
    fm_kernel *backward;     /* delta of from */
    fm_kernel *normalize, *normalize_back; /* rows of a norm stage */
    fm_kernel *column_statistics, *column_deltas; /* batch norm: shards, over all rows */
    fm_kernel *add, *add_back; /* rows of an add stage */

    int64_t (*n_shards)(const fm_stage *stage);
    int64_t (*shard_cost)(const fm_stage *stage, int64_t shard, int64_t n_rows);
    fm_kernel *gradient;     /* of shards; their update if there is a step */
    fm_kernel *update;       /* of shards, by FM_GRADIENT */
    /* FM_GRADIENT = the sum of n parts like it, n a power of two, pair by pair. */
    void (*add_gradients)(const fm_stage *stage, const void *const *from, int n);
    /* FM_GRADIENT_SQUARES of shards whose gradient was kept, of the gradient as it is applied:
     * with the L2 term, divided by the sum of weights. */
    fm_kernel *square_gradient;
    double (*sum_gradient_squares)(const fm_stage *stage);
    /* FM_GRADIENT = (FM_GRADIENT + alpha W) * inv_sum, without alpha for b. */
    void (*scale_gradient)(const fm_stage *stage, double alpha, double inv_sum);
    double (*sum_squares)(const fm_stage *stage); /* |W|^2, from FM_SQUARES */

    /* Elements of a dense row, of any type and stride, as T. */
    void (*read_row)(void *to, const fm_matrix *X, int64_t row);
    /* A layer on a few rows, nothing packed. x: (n_rows, fan_in) of T, to: (n_rows, width).
     * First columns n0..n1 of product and bias, then all that follows the whole of it; room: like
     * to, if the layer is residual. Of FM_BFLOAT16 x must have been rounded. */
    void (*round)(void *x, int64_t n);
    void (*few_product)(const fm_few *pass, void *to, const void *x, int64_t n0, int64_t n1);
    void (*few_finish)(const fm_few *pass, void *to, const void *x, void *room);
} fm_kernels;

/* The largest width, that of X included. */
static inline int64_t fm_widest(const fm_network *network)
{
    int64_t widest = network->n_inputs;
    for (int l = 0; l < network->n_layers; l++)
        widest = network->layers[l].width > widest ? network->layers[l].width : widest;
    return widest;
}

/* Whether prediction needs products and activations only. */
static inline int fm_is_dense(const fm_network *network)
{
    int dense = 1;
    for (int l = 0; l < network->n_layers; l++)
        dense &= !network->layers[l].normalization && !network->layers[l].residual;
    return dense;
}

/* dispatch.c: NULL with a reason in *status. isa NULL: the best. plain: for a network with
 * nothing that plain_only excludes. */
const fm_kernels *fm_select_kernels(const char *isa, fm_dtype dtype, int plain, fm_status *status);

/* selftest.c: whether two sets agree on small networks; 0 also without memory. */
int fm_selftest(const fm_kernels *set, const fm_kernels *emulation);

#endif
