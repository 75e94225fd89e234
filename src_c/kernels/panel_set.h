/* panel_set.h - one kernel set: fills a struct fm_kernels for the ISA and
 * element type whose simd/ header was included before. isa/<isa>_f32.c,
 * isa/<isa>_f64.c and isa/<isa>_bf16.c include it once each.
 *
 * With FM_BF16 the operands of all products are bfloat16 numbers that lie in
 * floats: an emulation, slower than float32, for machines without instructions
 * for them. A product of two such numbers is exact in float; sums are floats.
 * Rounded are: X as it is gathered, activations after f, deltas after f', and
 * W into a copy that the update refreshes. W, b, the solver's state, outputs and
 * losses stay floats.
 *
 * Layouts of this family of sets (see gemm.h for panels):
 *   input, acts        panels over features, ld rows
 *   params, wide       W in panels over outputs, fan_in rows; then b, padded
 *   params, narrow     W^T in panels over features, fan_out rows; then b, padded
 *   params, FM_BF16    and, in FM_PARAMS only, a rounded copy of W
 *   transposed         W^T in panels over features, fan_out rows (wide, not first)
 *   delta              panels over outputs, ld rows (narrow: none, FM_OUTPUT serves)
 *   output             Z^T (fan_out, ld) row-major
 *   squares            sums of w^2 over a unit's features: [unit of features][output]
 */
#ifdef FM_LANES

#include "kernels/csr.h"
#include "kernels/dense.h"
#include "kernels/few.h"
#include "kernels/gather.h"
#include "kernels/gradient.h"
#include "kernels/layout.h"
#include "kernels/loss.h"
#include "kernels/params.h"

extern const fm_kernels FM_SET;
const fm_kernels FM_SET = {
    .isa = FM_ISA_NAME,
    .dtype = FM_F64 ? FM_FLOAT64 : FM_FLOAT32,
    .item = sizeof(T),
    .row_unit = 1,
    .scratch_bytes = fm_scratch_bytes,
    .part_bytes = fm_part_bytes,
    .input_bytes = fm_input_bytes,
    .load = fm_load,
    .store = fm_store,
    .part_finite = fm_part_finite,
    .rows_finite = fm_rows_finite,
    .gather = fm_gather,
    .fill_buckets = fm_fill_buckets,
    .forward = fm_forward,
    .forward_csr = fm_forward_csr,
    .loss = fm_loss,
    .outputs = fm_outputs,
    .backward = fm_backward,
    .n_units = fm_n_units,
    .unit_cost = fm_unit_cost,
    .gradient = fm_gradient,
    .scale_gradient = fm_scale_gradient,
    .sum_squares = fm_sum_squares,
    .read_row = fm_read_whole_row,
    .predict_few = fm_predict_few,
};

#endif
#include "simd/end.h"
