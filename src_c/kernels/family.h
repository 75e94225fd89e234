/* family.h - what a family of kernel sets defines for the code that all sets share.
 *
 * A family is a layout of the values, and of what products read in place of W:
 * panels.h or blocks.h. Parameters, the optimizer's state, outputs and losses are
 * floats or doubles in one layout for all (layout.h). Besides these functions it
 * defines fm_value_bytes, fm_param_bytes, fm_scratch_bytes, FM_ROW_STEP, and the
 * kernels fm_gather, fm_forward, fm_forward_csr and fm_backward. Its scratch begins with
 * an fm_run_sums.
 */
#ifndef FM_FAMILY_H
#define FM_FAMILY_H

#include "kernels/layout.h"

/* A shard of a wide stage is one panel of outputs by FM_SHARD_FEATURES features;
 * consecutive shards share the features, whose activations then stay in cache. A stage that
 * reads CSR X has many weights and no activations: its shards follow each other in memory.
 * A shard of a narrow stage is FM_SHARD_FEATURES features and all outputs. */
typedef struct {
    int64_t j;               /* panel of outputs */
    int64_t f0, f1;          /* features */
    int64_t at, n;           /* weights, in a parameter-like part */
} fm_shard;

/* The gradients of shards that are updated together (gradient.h), db and then dW of all. A
 * packed family writes whole blocks of dW. */
enum { FM_RUN_ROWS = FM_SHARD_FEATURES + 1 };
typedef T fm_run_sums[(FM_RUN_ROWS + (FM_PACKED ? FM_PANEL : 0)) *
                      (FM_PANEL > FM_NARROW ? FM_PANEL : FM_NARROW)];

/* Of what a kernel is called for; a multiple of FM_ROW_STEP is where rows may begin. */
#define FM_ASSERT_ROWS(value, pass, r0, r1)                                                       \
    FM_ASSERT((r0) >= 0 && (r0) < (r1) && (r0) % FM_ROW_STEP == 0 && (r1) <= (value)->max_rows && \
              (r1) <= (pass)->batch->n_rows && (uintptr_t)(pass)->scratch % 64 == 0)

/* What follows from the weights of a shard, which have changed. */
static void fm_refresh(const fm_stage *s, const fm_shard *u);

/* Z -> Z^T in FM_OUTPUT, and delta^T in FM_OUTPUT -> where products read it. */
static void fm_collect_outputs(const fm_value *v, int64_t r0, int64_t r1);
static void fm_spread_delta(const fm_value *v, int64_t r0, int64_t r1);

/* dW of a shard, and db of its panel; on top of what is there if the pass resumes. G: in
 * fm_run_sums, one shard after the other, or of a parameter-like part if the pass has no step.
 * first: the shard before was not the one before this, of the same pass. */
static void fm_sum_weights(const fm_stage *s, const fm_pass *pass, const fm_shard *u, int first,
                           T *G);
static void fm_sum_biases(const fm_stage *s, const fm_pass *pass, const fm_shard *u, T *g);

#endif
