/* net.h - what train.c and predict.c share. */
#ifndef FM_NET_H
#define FM_NET_H

#include "host/interrupt.h"
#include "kernels/kernels.h"

fm_status fm_check_shape(fm_dtype dtype, int n_layers, const int64_t *units,
                         const fm_choice *activations);

/* Rows rows[i] (or i) of a CSR matrix lie within its arrays and columns, and no
 * block_rows consecutive ones have more than max_nnz non-zeros. */
fm_status fm_check_csr(const fm_matrix *X, const int64_t *rows, int64_t n_rows, int64_t block_rows,
                       int64_t max_nnz, fm_watch *watch);

/* Bytes of scratch for each member of a team: of the layer that wants most. */
size_t fm_scratch_per_member(const fm_kernels *kernels, const fm_layer *layers, int n_layers);

/* Members of a team for a piece of work of so many multiply-adds and rows: never more
 * than the pool or the rows have use for. */
int fm_team_size(int n_threads, double work, int64_t rows);

#endif
