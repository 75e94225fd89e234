/* set.h - one kernel set: fills a struct fm_kernels for the ISA, the element type and
 * the family whose headers were included before. Each file of isa/ includes it once,
 * through panel_set.h or block_set.h.
 */
#include "kernels/few.h"
#include "kernels/gradient.h"
#include "kernels/loss.h"

extern const fm_kernels FM_SET;
const fm_kernels FM_SET = {
    .isa = FM_ISA_NAME,
    .dtype = FM_F64 ? FM_FLOAT64 : FM_FLOAT32,
    .item = sizeof(T),
    .plain_only = FM_PACKED,
    .row_step = FM_ROW_STEP,
    .value_bytes = fm_value_bytes,
    .param_bytes = fm_param_bytes,
    .scratch_bytes = fm_scratch_bytes,
    .load = fm_load,
    .store = fm_store,
    .part_finite = fm_part_finite,
    .rows_finite = fm_rows_finite,
    .gather = fm_gather,
    .count_nonzeros = fm_count_nonzeros,
    .place_nonzeros = fm_place_nonzeros,
    .forward = fm_forward,
    .forward_csr = fm_forward_csr,
    .loss = fm_loss,
    .outputs = fm_outputs,
    .backward = fm_backward,
#if !FM_PACKED
    .normalize = fm_normalize,
    .normalize_back = fm_normalize_back,
    .column_statistics = fm_column_statistics,
    .column_deltas = fm_column_deltas,
    .add = fm_add,
    .add_back = fm_add_back,
#endif
    .n_shards = fm_n_shards,
    .shard_cost = fm_shard_cost,
    .gradient = fm_gradient,
    .update = fm_update_kept,
    .add_gradients = fm_add_gradients,
    .square_gradient = fm_square_gradient,
    .sum_gradient_squares = fm_sum_gradient_squares,
    .scale_gradient = fm_scale_gradient,
    .sum_squares = fm_sum_squares,
    .read_row = fm_read_whole_row,
    .round = fm_round_all,
    .few_product = fm_few_product,
    .few_finish = fm_few_finish,
};
