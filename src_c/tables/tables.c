/* tables.c - the rows of the tables as data, choices of them, and the scalars of steps. */
#include "tables/tables.h"

#include <math.h>
#include <stddef.h>

/* ------------------------------------------------------------------- rows */

#define ROW(table, name_, class_name_, doc_) \
    .name = #name_, .class_name = #class_name_, .doc = (doc_), .index = table##_##name_

#define PARAMETERS(...)          \
    .parameters = {__VA_ARGS__}, \
    .n_parameters = sizeof((const fm_parameter[]){__VA_ARGS__{0}}) / sizeof(fm_parameter) - 1

#define NUMBER(name_, initial_, low_, high_, closed_, doc_) \
    {.name = #name_,                                        \
     .doc = (doc_),                                         \
     .initial = (initial_),                                 \
     .low = (low_),                                         \
     .high = (high_),                                       \
     .closed = (closed_)},

/* A number of which each output may have its own. */
#define EACH_OUTPUTS(name_, initial_, low_, high_, closed_, doc_) \
    {.name = #name_,                                              \
     .doc = (doc_),                                               \
     .initial = (initial_),                                       \
     .low = (low_),                                               \
     .high = (high_),                                             \
     .closed = (closed_),                                         \
     .per_output = 1},

#define SWITCH(name_, initial_, doc_) \
    {.name = #name_,                  \
     .doc = (doc_),                   \
     .initial = (initial_),           \
     .low = 0,                        \
     .high = 1,                       \
     .closed = FM_CLOSED_BOTH,        \
     .is_switch = 1},

static const fm_table_row activations[] = {
#define FM_PARAMETER NUMBER
#define FM_SWITCH SWITCH
#define FM_ACTIVATION(name, class_name, where_, derivative_, doc, ...)                   \
    {ROW(FM_ACT, name, class_name, doc), .where = (where_), .derivative = (derivative_), \
     PARAMETERS(__VA_ARGS__)},
#include "tables/activations.def"
};

static const fm_table_row losses[] = {
#define FM_PARAMETER NUMBER
#define FM_SWITCH SWITCH
#define FM_PER_OUTPUT EACH_OUTPUTS
#define FM_LOSS(name, class_name, targets_, output_, canonical_, by_, mean, doc, ...) \
    {ROW(FM_LOSS, name, class_name, doc),                                             \
     .targets = (targets_),                                                           \
     .output = FM_ACT_##output_,                                                      \
     .canonical = FM_ACT_##canonical_,                                                \
     .by = (by_),                                                                     \
     .mean_over_outputs = (mean),                                                     \
     PARAMETERS(__VA_ARGS__)},
#include "tables/losses.def"
};

static const fm_table_row optimizers[] = {
#define FM_PARAMETER NUMBER
#define FM_SWITCH SWITCH
#define FM_OPTIMIZER(name, class_name, n_slots_, norm, pace, doc, notes_, ...)              \
    {ROW(FM_OPTIMIZER, name, class_name, doc), .n_slots = (n_slots_), .needs_norm = (norm), \
     .notes = (notes_), PARAMETERS(__VA_ARGS__)},
#include "tables/optimizers.def"
};

/* What the engine cannot deliver no row may ask for. */
#define FM_ACTIVATION(name, class_name, where, derivative, ...)                  \
    _Static_assert((derivative) == FM_FROM_OUTPUT || !((where) & FM_FOR_OUTPUT), \
                   #name ": an output's derivative must follow from it");
#include "tables/activations.def"
#define FM_OPTIMIZER(name, class_name, n_slots, norm, ...)                       \
    _Static_assert((n_slots) <= FM_MAX_SLOTS, #name ": more than FM_MAX_SLOTS"); \
    _Static_assert(!(norm), #name ": the norm of the gradient is not taken");
#include "tables/optimizers.def"

const fm_table_row *fm_activation_row(int i)
{
    return i < 0 || i >= FM_N_ACTIVATIONS ? NULL : &activations[i];
}

const fm_table_row *fm_loss_row(int i) { return i < 0 || i >= FM_N_LOSSES ? NULL : &losses[i]; }

const fm_table_row *fm_optimizer_row(int i)
{
    return i < 0 || i >= FM_N_OPTIMIZERS ? NULL : &optimizers[i];
}

/* ---------------------------------------------------------------- choices */

fm_choice fm_default_choice(const fm_table_row *row)
{
    fm_choice choice = {.row = row->index};
    for (int i = 0; i < row->n_parameters; i++)
        choice.parameters[i] = row->parameters[i].initial;
    return choice;
}

int fm_is_in_bounds(const fm_parameter *p, double value)
{
    if (p->is_switch)
        return value == 0 || value == 1;
    return (value > p->low || (value == p->low && p->closed & FM_CLOSED_LEFT)) &&
           (value < p->high || (value == p->high && p->closed & FM_CLOSED_RIGHT));
}

int fm_is_choice(const fm_table_row *row, const fm_choice *choice)
{
    for (int i = 0; row && i < row->n_parameters; i++)
        if (!fm_is_in_bounds(&row->parameters[i], choice->parameters[i]))
            return 0;
    return row != NULL;
}

/* ------------------------------------------------------------------ paces */

static fm_pace pace_constant(double rate, int64_t step, const fm_constants *p)
{
    (void)step;
    (void)p;
    return (fm_pace){.rate = rate};
}

static fm_pace pace_adam(double rate, int64_t step, const fm_constants *p)
{
    const double t = (double)step;
    return (fm_pace){.rate = rate * sqrt(1 - pow(p->adam.beta_2, t)) / (1 - pow(p->adam.beta_1, t)),
                     .epsilon = p->adam.epsilon};
}

/* Adam's corrections where epsilon is added to the corrected root: with c the root of
 * 1 - beta_2^t, m / (sqrt(v) / c + epsilon) = c m / (sqrt(v) + c epsilon). */
static fm_pace corrected(double rate, int64_t step, double beta_1, double beta_2, double epsilon,
                         double weight_decay)
{
    const double c = sqrt(1 - pow(beta_2, (double)step));
    return (fm_pace){.rate = rate * c / (1 - pow(beta_1, (double)step)),
                     .epsilon = epsilon * c,
                     .keep = 1 - rate * weight_decay};
}

static fm_pace pace_adamw(double rate, int64_t step, const fm_constants *p)
{
    return corrected(rate, step, p->adamw.beta_1, p->adamw.beta_2, p->adamw.epsilon,
                     p->adamw.weight_decay);
}

static fm_pace pace_amsgrad(double rate, int64_t step, const fm_constants *p)
{
    return corrected(rate, step, p->amsgrad.beta_1, p->amsgrad.beta_2, p->amsgrad.epsilon,
                     p->amsgrad.weight_decay);
}

/* The coefficients mu_1 ... mu_t multiplied, mu_i = beta_1 (1 - 0.96^(i decay) / 2). Ends
 * when 1 less the product is 1: within some 60 factors, unless beta_1 is close to 1 and
 * decay large. */
static double product_of_momenta(double beta_1, double decay, int64_t t)
{
    const double base = pow(0.96, decay);
    double product = 1, power = 1;
    for (int64_t i = 1; i <= t && product > 0x1p-60; i++) {
        power *= base;
        product *= beta_1 * (1 - 0.5 * power);
    }
    return product;
}

static fm_pace pace_nadam(double rate, int64_t step, const fm_constants *p)
{
    const double beta_1 = p->nadam.beta_1, decay = p->nadam.momentum_decay, t = (double)step;
    const double now = beta_1 * (1 - 0.5 * pow(0.96, t * decay));
    const double next = beta_1 * (1 - 0.5 * pow(0.96, (t + 1) * decay));
    const double product = product_of_momenta(beta_1, decay, step);
    const double c = sqrt(1 - pow(p->nadam.beta_2, t));
    return (fm_pace){.rate = rate * c * next / (1 - product * next),
                     .second_rate = rate * c * (1 - now) / (1 - product),
                     .epsilon = p->nadam.epsilon * c,
                     .keep = 1 - rate * p->nadam.weight_decay};
}

static fm_pace pace_radam(double rate, int64_t step, const fm_constants *p)
{
    const double t = (double)step, beta_2 = p->radam.beta_2, power = pow(beta_2, t);
    const double first = rate / (1 - pow(p->radam.beta_1, t));
    const double most = 2 / (1 - beta_2) - 1, n = most - 2 * t * power / (1 - power);
    fm_pace pace = {.epsilon = p->radam.epsilon, .keep = 1 - rate * p->radam.weight_decay};
    if (n > 5)
        pace.rate = first * sqrt(1 - power) *
                    sqrt((n - 4) * (n - 2) * most / ((most - 4) * (most - 2) * n));
    else
        pace.second_rate = first;
    return pace;
}

static fm_pace pace_lion(double rate, int64_t step, const fm_constants *p)
{
    (void)step;
    return (fm_pace){.rate = rate, .keep = 1 - rate * p->lion.weight_decay};
}

fm_pace fm_step_pace(const fm_choice *optimizer, double learning_rate, int64_t step)
{
    static fm_pace (*const paces[])(double, int64_t, const fm_constants *) = {
#define FM_OPTIMIZER(name, class_name, n_slots, norm, pace, ...) pace_##pace,
#include "tables/optimizers.def"
    };
    const fm_constants constants = fm_constants_of(optimizer);
    return paces[optimizer->row](learning_rate, step, &constants);
}

/* ---------------------------------------------------------------- sentences */

const char *fm_status_text(fm_status status)
{
    switch (status) {
    case FM_OK: return "no error";
    case FM_NO_MEMORY: return "not enough memory";
    case FM_TOO_LARGE: return "the network or the mini-batch is too large: a size overflows";
    case FM_BAD_ARGUMENT: return "an argument is out of range";
    case FM_BAD_DATA: return "a row number of order or a class index of y is out of range";
    case FM_BAD_CSR:
        return "X is no valid CSR matrix: indptr must not decrease, indices must lie within the "
               "columns";
    case FM_UNKNOWN_ISA: return "unknown instruction set";
    case FM_NO_ISA: return "this machine lacks the instruction set";
    case FM_ZERO_WEIGHT: return "Weights sum to zero, can't be normalized";
    case FM_NOT_FINITE: return "X holds NaN or infinity";
    case FM_INTERRUPTED: return "interrupted by the caller";
    }
    return "unknown error";
}

const char *fm_build_info(void)
{
    return
#if defined(__clang__)
        "clang " __clang_version__
#elif defined(__GNUC__)
        "gcc " __VERSION__
#else
        "unknown compiler"
#endif
#ifdef FM_BUILD_FLAGS
        " " FM_BUILD_FLAGS
#endif
        ;
}
