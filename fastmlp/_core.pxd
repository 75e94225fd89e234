# The engine's interface, src_c/fastmlp.h, as Cython sees it.
from libc.stdint cimport int32_t, int64_t, uint32_t

cdef extern from "host/system.h" nogil:
    int64_t fm_now_ns()

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
        FM_INTERRUPTED

    ctypedef enum fm_dtype:
        FM_FLOAT32
        FM_FLOAT64
        FM_BFLOAT16

    enum:
        FM_MAX_BLOCK
        FM_MAX_PARAMETERS
        FM_CLOSED_LEFT
        FM_CLOSED_RIGHT
        FM_FOR_HIDDEN
        FM_FOR_OUTPUT
        FM_POSITIVE
        FM_FROM_OUTPUT

    ctypedef enum fm_target_kind:
        FM_TARGETS_REAL
        FM_TARGETS_NONNEGATIVE
        FM_TARGETS_POSITIVE
        FM_TARGETS_CLASS
        FM_TARGETS_BINARY

    ctypedef struct fm_choice:
        int row
        double parameters[FM_MAX_PARAMETERS]

    ctypedef struct fm_parameter:
        const char *name
        const char *doc
        double initial, low, high
        int closed, is_switch, per_output

    ctypedef struct fm_table_row:
        const char *name
        const char *class_name
        const char *doc
        int n_parameters
        fm_parameter parameters[FM_MAX_PARAMETERS]
        int where, derivative
        fm_target_kind targets
        int output, canonical, mean_over_outputs
        int n_slots, needs_norm
        const char *notes

    const char *fm_status_text(fm_status status)
    const fm_table_row *fm_activation_row(int i)
    const fm_table_row *fm_loss_row(int i)
    const fm_table_row *fm_optimizer_row(int i)
    fm_choice fm_default_choice(const fm_table_row *row)
    int fm_is_in_bounds(const fm_parameter *parameter, double value)
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

    ctypedef struct fm_interrupt:
        int (*interrupted)(void *arg) noexcept nogil
        void *arg

    ctypedef enum fm_normalization:
        FM_NO_NORM
        FM_BATCH_NORM
        FM_LAYER_NORM

    ctypedef struct fm_layer:
        int64_t width
        fm_choice activation
        bint no_bias
        fm_normalization normalization
        double dropout
        bint residual

    ctypedef struct fm_network:
        fm_dtype dtype
        int64_t n_inputs
        int n_layers
        const fm_layer *layers
        double input_dropout

    ctypedef struct fm_parameters:
        void *W
        void *b
        void *scale
        void *shift
        void *mean
        void *variance
        void *P

    ctypedef struct fm_config:
        fm_network network
        fm_choice loss
        const double *loss_parameters
        fm_choice optimizer
        uint32_t seed
        double alpha, max_grad_norm, averaging
        int64_t max_rows, max_nnz
        fm_interrupt interrupt
        const char *isa

    ctypedef struct fm_net:
        pass

    fm_status fm_net_create(fm_net **out, const fm_config *config)
    void fm_net_free(fm_net *net)
    const char *fm_net_isa(const fm_net *net)
    fm_status fm_net_load(fm_net *net, int slot, const fm_parameters *layers)
    fm_status fm_net_store(const fm_net *net, int slot, const fm_parameters *layers)
    int fm_net_state_finite(const fm_net *net)
    fm_status fm_net_train(fm_net *net, double *loss_sum, int64_t *step, const fm_matrix *X,
                           const fm_targets *y, const double *sample_weight,
                           const int64_t *order, int64_t n_order, int64_t batch_size,
                           double learning_rate, int n_threads)
    fm_status fm_net_loss_grad(fm_net *net, double *loss, const fm_parameters *gradient,
                               const fm_matrix *X, const fm_targets *y,
                               const double *sample_weight, int n_threads)
    fm_status fm_check_finite(const fm_matrix *X, const char *isa)
    fm_status fm_predict(void *out, const fm_matrix *X, const fm_network *network,
                         const fm_parameters *parameters, const char *isa, int check_finite,
                         const fm_interrupt *interrupt, int n_threads)
