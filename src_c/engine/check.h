/* check.h - checks of the engine's arguments, made before anything is touched: what lies
 * below takes their outcome for granted. */
#ifndef FM_CHECK_H
#define FM_CHECK_H

#include "engine/net.h"

fm_status fm_check_config(const fm_config *config);
int fm_has_slot(const fm_net *net, int slot);

/* fm_net_train's and fm_net_loss_grad's. data->rows NULL: the first n_rows of X. */
fm_status fm_check_training(const fm_net *net, const fm_batch *data, int64_t batch_size,
                            int64_t step, fm_watch *watch, int n_threads);
fm_status fm_check_gradient(const fm_net *net, const fm_batch *data, fm_watch *watch,
                            int n_threads);

fm_status fm_check_prediction(const fm_matrix *X, const fm_network *network, fm_watch *watch,
                              int n_threads);

#endif
