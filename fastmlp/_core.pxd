# The engine's interface, src_c/fastmlp.h, as Cython sees it.
from libc.stdint cimport int32_t, int64_t

cdef extern from "fastmlp.h" nogil:
    ctypedef enum fm_status:
        FM_OK
        FM_NO_MEMORY
        FM_TOO_LARGE
        FM_BAD_ARGUMENT
        FM_UNKNOWN_ISA
        FM_NO_ISA
        FM_ZERO_WEIGHT
        FM_NOT_FINITE

    ctypedef enum fm_dtype:
        FM_FLOAT32
        FM_FLOAT64
        FM_BFLOAT16

    enum:
        FM_FOR_HIDDEN
        FM_FOR_OUTPUT
        FM_MAX_BLOCK

    const char *fm_status_text(fm_status status)
    const char *fm_activation_name(int i, int *where)
    const char *fm_loss_name(int i)
    const char *fm_solver_name(int i, int *n_slots)
    const char *fm_isa_name(int i, int *available)
    const char *fm_bfloat16_isa_name(int i, int *available)
    fm_status fm_find_isa(const char **name, const char *isa, fm_dtype dtype)
    const char *fm_build_info()
    int fm_get_num_threads()
    void fm_set_num_threads(int n)
    void fm_limit_num_threads(int n)

    ctypedef struct fm_matrix:
        fm_dtype dtype
        int64_t n_rows, n_cols
        const void *data
        int64_t row_stride, col_stride
        const void *indices
        const void *indptr
        int64_t nnz
        int index_bytes

    ctypedef struct fm_targets:
        const int32_t *labels
        const void *values

    ctypedef struct fm_config:
        fm_dtype dtype
        int n_layers
        const int64_t *units
        const int *activations
        int loss
        int solver
        double alpha, momentum
        int nesterov
        double beta_1, beta_2, epsilon
        int64_t max_rows, max_nnz
        const char *isa

    ctypedef struct fm_net:
        pass

    fm_status fm_net_create(fm_net **out, const fm_config *config)
    void fm_net_free(fm_net *net)
    const char *fm_net_isa(const fm_net *net)
    fm_status fm_net_load(fm_net *net, int slot, const void *const *W, const void *const *b)
    fm_status fm_net_store(const fm_net *net, int slot, void *const *W, void *const *b)
    fm_status fm_net_train(fm_net *net, double *loss_sum, int64_t *step, const fm_matrix *X,
                           const fm_targets *y, const double *sample_weight,
                           const int64_t *order, int64_t n_order, int64_t batch_size,
                           double learning_rate, int n_threads)
    fm_status fm_net_loss_grad(fm_net *net, double *loss, void *const *dW, void *const *db,
                               const fm_matrix *X, const fm_targets *y,
                               const double *sample_weight, int n_threads)
    fm_status fm_predict(void *out, const fm_matrix *X, fm_dtype dtype, int n_layers,
                         const int64_t *units, const void *const *W, const void *const *b,
                         const int *activations, const char *isa, int check_finite,
                         int n_threads)
