/* kernels.h - the seam between the network (engine/) and SIMD code.
 *
 * A kernel set is one ISA at one fm_dtype: a struct fm_kernels of plain
 * functions on arrays of T (of float for FM_BFLOAT16). The network decides what is
 * computed, in which order, by which thread; the kernel set decides how weights, activations and deltas lie in
 * memory. It says how many bytes each part of a layer needs, and nothing above
 * this line ever looks inside one: a set may use another layout, hold several
 * copies, or another number format.
 *
 * One training step on a mini-batch of m rows:
 *   rows r0..r1, one range per thread:
 *     gather           X rows -> input                     (dense X)
 *     forward          input -> acts = f(input W + b)      per layer
 *     loss             raw outputs -> delta, row losses
 *     backward         delta -> delta of the layer below   per layer
 *   barrier
 *   units of weights, shared out among the threads:
 *     gradient         dW = input^T delta, db = sum(delta), then the update
 *   barrier
 * Each element of a gradient is summed over all rows by one thread in one
 * order, so results do not depend on how the ranges are cut.
 */
#ifndef FM_KERNELS_H
#define FM_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "fastmlp.h"
#include "tables/tables.h"

/* The outermost size of the cut of weights into units, in features. A constant
 * of the arithmetic: sums of squares are taken per unit, on every ISA alike. */
enum { FM_UNIT_FEATURES = 128 };

/* The memory of a layer. Parameter-like parts hold W and b in one layout. */
enum {
    FM_PARAMS,               /* W, b */
    FM_SLOTS,                /* optimizer state, FM_MAX_SLOTS parts like FM_PARAMS */
    FM_GRADIENT = FM_SLOTS + FM_MAX_SLOTS, /* dW, db summed over blocks of rows */
    FM_TRANSPOSED,           /* W^T, where backward wants it */
    FM_SQUARES,              /* partial sums of W^2, for the L2 term of the loss */
    FM_ACTS,                 /* f(Z), max_rows x fan_out */
    FM_DELTA,                /* dLoss/dZ, max_rows x fan_out */
    FM_OUTPUT,               /* output layer only: Z^T, then outputs^T, then delta^T */
    FM_N_PARTS
};

typedef struct fm_layer {
    int64_t fan_in, fan_out, max_rows;
    fm_choice activation;
    int is_output;
    void *part[FM_N_PARTS];
    const void *input;       /* the FM_ACTS of the layer below, or the gathered rows */
    const void *raw_W;       /* predict on CSR: row-major W used in place, not FM_PARAMS */
    const void *raw_b;
} fm_layer;

/* The non-zeros of a CSR mini-batch ordered by unit of features (then by row),
 * for the weight gradient. start: (n_units + 1,), the others (max_nnz,). */
typedef struct {
    int64_t *start;
    int32_t *feature;        /* within the unit */
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
    double rate;             /* fm_step_rate */
    double inv_sum;          /* 1 / sum of the mini-batch's sample weights */
    double alpha;            /* L2 strength */
} fm_step;

/* What to do with a gradient: start from FM_GRADIENT or from zero; end with an
 * update of the parameters (step) or by leaving it in FM_GRADIENT (NULL). */
typedef struct {
    int resume;
    const fm_step *step;
} fm_gradient_use;

typedef struct fm_kernels {
    const char *isa;
    fm_dtype dtype; /* of T */
    size_t item;    /* sizeof(T) */
    int64_t row_unit; /* r0 below is a multiple of it, r1 too or the end of the batch */

    /* Bytes of scratch that forward, backward and gradient of a layer work in, at a
     * multiple of 64. What a team's members do at the same time takes one each. */
    size_t (*scratch_bytes)(const fm_layer *layer);

    /* Bytes of a part, SIZE_MAX if they overflow size_t, 0 if not needed. */
    size_t (*part_bytes)(int part, const fm_layer *layer);
    size_t (*input_bytes)(int64_t max_rows, int64_t n_features);

    /* Row-major W, b <-> a parameter-like part. Loading FM_PARAMS refreshes
     * FM_TRANSPOSED and FM_SQUARES where the layer has them. */
    void (*load)(const fm_layer *layer, int part, const void *W, const void *b);
    void (*store)(const fm_layer *layer, int part, void *W, void *b);

    /* Whether a parameter-like part holds neither NaN nor infinity. */
    int (*part_finite)(const fm_layer *layer, int part);

    /* Whether rows r0..r1 of a dense batch, as T, hold neither NaN nor infinity. */
    int (*rows_finite)(const fm_batch *batch, int64_t r0, int64_t r1);
    /* Rows r0..r1 of a dense batch into the input layout. */
    void (*gather)(void *input, const fm_batch *batch, int64_t max_rows, int64_t r0, int64_t r1);
    /* Fills the buckets from all rows of a CSR batch. */
    void (*fill_buckets)(fm_buckets *buckets, const fm_batch *batch);

    /* Hidden layer: acts = f(input W + b). Output layer: only the raw Z. */
    void (*forward)(const fm_layer *layer, void *scratch, int64_t r0, int64_t r1);
    void (*forward_csr)(const fm_layer *layer, const fm_batch *batch, int64_t r0, int64_t r1);
    /* Output layer: Z -> f(Z), delta; row_loss[r]: unweighted loss of batch row r. */
    void (*loss)(const fm_layer *layer, double *row_loss, const fm_choice *loss,
                 const fm_batch *batch, int64_t r0, int64_t r1);
    /* Output layer: Z -> f(Z), written row-major to out (n_rows x fan_out). */
    void (*outputs)(const fm_layer *layer, void *out, int64_t r0, int64_t r1);
    /* delta of the layer below, from this layer's. */
    void (*backward)(const fm_layer *layer, const fm_layer *below, void *scratch, int64_t r0,
                     int64_t r1);

    int64_t (*n_units)(const fm_layer *layer);
    int64_t (*unit_cost)(const fm_layer *layer, int64_t unit, int64_t n_rows);
    /* Of units u0..u1, in this order. */
    void (*gradient)(const fm_layer *layer, const fm_batch *batch, void *scratch, int64_t u0,
                     int64_t u1, const fm_gradient_use *use);
    /* FM_GRADIENT = (FM_GRADIENT + alpha W) * inv_sum, without alpha for b. */
    void (*scale_gradient)(const fm_layer *layer, double alpha, double inv_sum);
    double (*sum_squares)(const fm_layer *layer); /* |W|^2, from FM_SQUARES */

    /* Elements of a dense row, of any type and stride, as T. */
    void (*read_row)(void *to, const fm_matrix *X, int64_t row);
    /* A forward pass of one to FM_FEW rows on row-major W, b, packing nothing.
     * x: (n_rows, units[0]) of T; scratch: 2 * n_rows * (largest of units). */
    void (*predict_few)(void *out, void *scratch, const void *x, int64_t n_rows, int n_layers,
                        const int64_t *units, const void *const *W, const void *const *b,
                        const fm_choice *activations);
} fm_kernels;

enum { FM_FEW = 4 };

/* host/dispatch.c: NULL with a reason in *status. isa NULL: the best. */
const fm_kernels *fm_select_kernels(const char *isa, fm_dtype dtype, fm_status *status);

/* host/packed_check.c: whether two sets agree on a small network; 0 also without memory. */
int fm_packed_check(const fm_kernels *set, const fm_kernels *emulation);

#endif
