/* fastmlp.h - the engine's manual: training and prediction of dense networks.
 *
 * A network has n_layers layers of weights. Layer l computes
 *     Z_l = A_l W_l + b_l,   A_{l+1} = f_l(Z_l),   A_0 = X,
 * with W_l of shape (fan_in, fan_out), row-major in every array that crosses this
 * interface. fan_out is the width of the layer, fan_in that of the layer before, n_inputs
 * for the first. What a hidden layer may have besides comes in this order: Z is normalised,
 * f is taken, outputs are dropped, and what the layer was given is added. The engine knows
 * nothing of Python.
 *
 * Conventions
 *   - T is float or double, fixed by fm_network.dtype.
 *   - Outputs come first among the arguments, then inputs, sizes, options.
 *   - Inputs are never written. Outputs must not overlap inputs.
 *   - A function returns an fm_status; everything but FM_OK leaves outputs
 *     unspecified unless its comment says more.
 *   - A call needs at most FM_STACK_BYTES of the calling thread's stack.
 *   - A network may be used by one thread at a time; different networks, and
 *     fm_predict, by any number of threads at once.
 *   - Results do not depend on n_threads. They are bit-identical on every
 *     ISA that has a fused multiply-add (all but "generic"), but for FM_BFLOAT16:
 *     the sets for bfloat16 instructions sum in another order than the others.
 *     Both hold as long as all parameters are finite. Products with zeros of X may be
 *     left out, so 0 * inf may count as 0 or as NaN; but a parameter that is not finite
 *     stays so, and whether there is one after a mini-batch depends on nothing.
 *   - The engine never reads the environment, which another thread may be
 *     changing: the caller passes on the variables that it honours.
 */
#ifndef FASTMLP_H
#define FASTMLP_H

#include <stdint.h>

enum { FM_STACK_BYTES = 16 * 1024 };

#if defined(_WIN32)
#define FM_API __declspec(dllexport)
#elif defined(__GNUC__)
#define FM_API __attribute__((visibility("default")))
#else
#define FM_API
#endif

typedef enum {
    FM_OK = 0,
    FM_NO_MEMORY,     /* an allocation failed */
    FM_TOO_LARGE,     /* a product of sizes overflows size_t / ptrdiff_t */
    FM_BAD_ARGUMENT,  /* an enum out of range, a size below one, ... */
    FM_BAD_DATA,      /* a row number or class index out of range */
    FM_BAD_CSR,       /* a CSR matrix that is not one, or has more non-zeros than announced */
    FM_UNKNOWN_ISA,   /* isa names no kernel set compiled in */
    FM_NO_ISA,        /* the CPU (or the operating system) lacks it */
    FM_ZERO_WEIGHT,   /* the sample weights of a mini-batch sum to zero */
    FM_NOT_FINITE,    /* check_finite was asked for and X holds NaN or inf */
    FM_INTERRUPTED    /* fm_interrupt said so */
} fm_status;

/* One sentence in plain English. Never NULL. */
FM_API const char *fm_status_text(fm_status status);

/* FM_BFLOAT16 is for networks only, not for data: T is float, but products take
 * their operands (X, W, activations, deltas) rounded to bfloat16. */
typedef enum { FM_FLOAT32 = 0, FM_FLOAT64 = 1, FM_BFLOAT16 = 2 } fm_dtype;

/* ------------------------------------------------------------------ tables
 * Activations, losses and optimizers are rows of tables (src_c/tables/). A choice is
 * the number of a row and a value for each of its parameters, in the row's order. */
enum { FM_MAX_PARAMETERS = 8 };

typedef struct {
    int row;
    double parameters[FM_MAX_PARAMETERS]; /* what the row has no parameter for is not read */
} fm_choice;

/* Which of its bounds a parameter may take. */
enum { FM_CLOSED_NEITHER = 0, FM_CLOSED_LEFT = 1, FM_CLOSED_RIGHT = 2, FM_CLOSED_BOTH = 3 };

typedef struct {
    const char *name, *doc;
    double initial;          /* the default */
    double low, high;
    int closed;              /* FM_CLOSED_* */
    int is_switch;           /* 0 and 1 are all there is */
    int per_output;          /* each output may have a value of its own */
} fm_parameter;

/* Where an activation may be used, and what its derivative is computed from. */
enum { FM_FOR_HIDDEN = 1, FM_FOR_OUTPUT = 2, FM_POSITIVE = 4 }; /* f(z) > 0 */
enum { FM_FROM_OUTPUT, FM_FROM_PREACTIVATION };

/* What the targets of a loss are. */
typedef enum {
    FM_TARGETS_REAL,
    FM_TARGETS_NONNEGATIVE,
    FM_TARGETS_POSITIVE,
    FM_TARGETS_CLASS,        /* one of the outputs: its index, or a row of 0 and one 1 */
    FM_TARGETS_BINARY        /* 0 or 1, or between, for each output */
} fm_target_kind;

/* What the derivative of a loss is by: of an output a, a itself, ln a or ln a / (1 - a). */
typedef enum { FM_BY_OUTPUT, FM_BY_LOG, FM_BY_LOGIT } fm_loss_by;

typedef struct {
    int index;               /* number of the row */
    const char *name;        /* "squared_error" */
    const char *class_name;  /* "SquaredError" */
    const char *doc;         /* one line */
    int n_parameters;
    fm_parameter parameters[FM_MAX_PARAMETERS];
    /* activations */
    int where;               /* FM_FOR_* */
    int derivative;          /* FM_FROM_* */
    /* losses; activations as numbers of their rows */
    fm_target_kind targets;
    int output;              /* the usual output activation */
    int canonical;           /* the one for which dLoss/dZ = A - Y, or -1 */
    fm_loss_by by;
    int mean_over_outputs;   /* the loss of a row is the mean over its outputs, not the sum */
    /* optimizers */
    int n_slots;             /* state vectors per parameter of the network */
    int needs_norm;          /* of the whole gradient */
    const char *notes;       /* formulas and their source */
} fm_table_row;

/* NULL past the end. */
FM_API const fm_table_row *fm_activation_row(int i);
FM_API const fm_table_row *fm_loss_row(int i);
FM_API const fm_table_row *fm_optimizer_row(int i);

FM_API fm_choice fm_default_choice(const fm_table_row *row);
FM_API int fm_is_in_bounds(const fm_parameter *parameter, double value);

/* Kernel sets compiled in, best first; *available says whether this CPU and
 * operating system run it. NULL past the end. */
FM_API const char *fm_isa_name(int i, int *available);

/* The same for FM_BFLOAT16, which has some of its own. To be available a set for
 * bfloat16 instructions must also pass a check, made once when first asked for. */
FM_API const char *fm_bfloat16_isa_name(int i, int *available);

/* The kernel set that fm_config.isa stands for in a network of dtype: itself, but
 * a set for bfloat16 only leaves other networks to the next best. *name is NULL on
 * failure. */
FM_API fm_status fm_find_isa(const char **name, const char *isa, fm_dtype dtype);

/* ----------------------------------------------------------------- network */

/* What is made of Z before f is taken. Batch: each column is normalised, in training by
 * the mini-batch, in prediction by running averages with momentum 0.1; b, which then has
 * no influence, stays as it is. Layer: each row is. */
typedef enum { FM_NO_NORM = 0, FM_BATCH_NORM, FM_LAYER_NORM } fm_normalization;

typedef struct {
    int64_t width;
    fm_choice activation;
    int no_bias;             /* b stays as it is, usually 0 */
    /* hidden layers only */
    fm_normalization normalization;
    double dropout;          /* share of f's outputs set to 0 in training, in [0, 1) */
    int residual;            /* adds what the layer was given, or its product with P */
} fm_layer;

/* What a network computes, in training and prediction. */
typedef struct {
    fm_dtype dtype;
    int64_t n_inputs;
    int n_layers;            /* at least one */
    const fm_layer *layers;  /* (n_layers,): hidden layers, then the output */
    double input_dropout;    /* share of X set to 0 in training, in [0, 1) */
} fm_network;

/* Arrays of a layer's parameters, or of numbers that belong to them, of T. */
typedef struct {
    void *W;                 /* (fan_in, fan_out) */
    void *b;                 /* (fan_out,) */
    void *scale, *shift;     /* (fan_out,) of a normalisation */
    void *mean, *variance;   /* (fan_out,) running averages of batch normalisation; of the
                                parameters themselves only, neither trained nor state */
    void *P;                 /* (fan_in, fan_out) where a residual layer changes the width */
} fm_parameters;

/* -------------------------------------------------------------------- data
 * X: dense with any strides (in bytes, may be negative), or CSR. The element
 * type may differ from T; it is converted as rows are gathered. */
typedef struct {
    fm_dtype dtype;          /* of data */
    int64_t n_rows, n_cols;
    const void *data;        /* dense: element (0, 0); CSR: (nnz,) */
    int64_t row_stride, col_stride; /* dense only */
    const void *indices;     /* CSR: (nnz,) column of each non-zero; dense: NULL */
    const void *indptr;      /* CSR: (n_rows + 1,) */
    int64_t nnz;             /* CSR: length of data and indices */
    int index_bytes;         /* 4 or 8: width of both index arrays */
} fm_matrix;

/* y: either one class index per row (log_loss, several outputs), or one T
 * per row and output, C-contiguous. Exactly one pointer is set. */
typedef struct {
    const int32_t *labels;   /* (n_rows,), 0 <= label < n_outputs */
    const void *values;      /* (n_rows, n_outputs) of T */
} fm_targets;

/* -------------------------------------------------------------- interrupts
 * A long call asks its caller now and then whether to end, on the calling thread and
 * outside of flush-to-zero: after every 1e8 multiply-adds of this thread, or what takes
 * about as long, as soon as what it is at is done: at most 1e9 of them, or 32 rows of one
 * layer's product, or the update or the copying of all weights. Being asked changes no
 * bits. */
typedef struct {
    int (*interrupted)(void *arg); /* nonzero: end with FM_INTERRUPTED. NULL: not asked */
    void *arg;
} fm_interrupt;

/* ---------------------------------------------------------------- training */

/* Larger mini-batches pass through in blocks of this many rows, the gradient
 * being summed block after block: activations stay in cache and memory does not
 * grow with the batch. With batch normalisation they pass as a whole. */
enum { FM_MAX_BLOCK = 1024 };

typedef struct {
    fm_network network;
    fm_choice loss;
    const double *loss_parameters; /* (n_outputs,): values for each output instead of the loss's
                                      first, which is per_output; or NULL */
    fm_choice optimizer;        /* of row -1: loss_grad only */
    uint32_t seed;              /* of dropout, with the number of the update */
    double alpha;               /* L2 term: loss += alpha/2 |W|^2 / sum of weights */
    double max_grad_norm; /* gradients of a larger norm are scaled down to it; 0: none are */
    double averaging; /* decay of a running average of the weights; 0: none is kept */
    int64_t max_rows; /* rows of the largest mini-batch */
    int64_t max_nnz; /* 0: X is dense; else X is CSR, and no mini-batch (of a larger
                                   one, no FM_MAX_BLOCK of its rows) has more non-zeros */
    fm_interrupt interrupt; /* of fm_net_train and fm_net_loss_grad */
    const char *isa; /* NULL: the best */
} fm_config;

typedef struct fm_net fm_net;

/* Takes all the memory the network will ever need, but for the scratch (of some 100 KB
 * at most) of each thread that comes to work on it. *out is NULL on failure. */
FM_API fm_status fm_net_create(fm_net **out, const fm_config *config);
FM_API void fm_net_free(fm_net *net); /* NULL is fine */
FM_API const char *fm_net_isa(const fm_net *net);

/* Copies parameters in or out; layers: (n_layers,). Slot -1 is the parameters
 * themselves, slots 0 .. n_slots-1 the optimizer's state (adam: m, v; sgd: velocity),
 * zero at creation. With fm_config.averaging slot n_slots is the average of the
 * parameters after each update, in which the first update leaves nothing of what was
 * loaded; of biases that are not trained it stays as it was. */
FM_API fm_status fm_net_load(fm_net *net, int slot, const fm_parameters *layers);
FM_API fm_status fm_net_store(const fm_net *net, int slot, const fm_parameters *layers);

/* Whether all of the solver's state is finite. In adam the square of a gradient may
 * overflow T: that weight then stands still, and no other number shows it. */
FM_API int fm_net_state_finite(const fm_net *net);

/* Trains on rows order[0 .. n_order) of X in consecutive mini-batches of
 * batch_size rows (the last one may be shorter); every row index must lie in
 * [0, X->n_rows). sample_weight: (X->n_rows,) or NULL. *loss_sum receives the
 * sum over mini-batches of (mean loss + L2 term) * rows. *step is the number
 * of updates made before (adam's t) and is advanced. Of the weights of a mini-batch
 * and alpha only the ratios count: all may be as large or as small as double permits.
 * FM_NO_MEMORY: nothing has changed. FM_ZERO_WEIGHT, FM_INTERRUPTED: the batches
 * before have been applied, and are what *loss_sum and *step count. */
FM_API fm_status fm_net_train(fm_net *net, double *loss_sum, int64_t *step, const fm_matrix *X,
                              const fm_targets *y, const double *sample_weight,
                              const int64_t *order, int64_t n_order, int64_t batch_size,
                              double learning_rate, int n_threads);

/* Loss and gradient at the current parameters over all rows of X (processed
 * in blocks of at most max_rows). gradient: like layers of fm_net_store. */
FM_API fm_status fm_net_loss_grad(fm_net *net, double *loss, const fm_parameters *gradient,
                                  const fm_matrix *X, const fm_targets *y,
                                  const double *sample_weight, int n_threads);

/* FM_NOT_FINITE if dense X holds NaN or inf. isa: as in fm_config. */
FM_API fm_status fm_check_finite(const fm_matrix *X, const char *isa);

/* Forward pass without a network object. out: (X->n_rows, width of the last layer)
 * row-major of T; parameters: (n_layers,). Scratch memory is one block of rows per
 * thread. With check_finite, returns FM_NOT_FINITE when X, as T, holds NaN or inf.
 * interrupt may be NULL. */
FM_API fm_status fm_predict(void *out, const fm_matrix *X, const fm_network *network,
                            const fm_parameters *parameters, const char *isa, int check_finite,
                            const fm_interrupt *interrupt, int n_threads);

/* ----------------------------------------------------------------- threads
 * The number that n_threads = 0 stands for: initially the CPUs this process may
 * use (affinity, cgroup quota, the limit below), or what was last set. */
FM_API int fm_get_num_threads(void);
FM_API void fm_set_num_threads(int n); /* below one: back to the initial value */

/* Back to the initial value, which is from now on at most n; below one: no limit.
 * For OMP_NUM_THREADS. */
FM_API void fm_limit_num_threads(int n);

/* Compiler and flags of the build, for show_config(). */
FM_API const char *fm_build_info(void);

#endif
