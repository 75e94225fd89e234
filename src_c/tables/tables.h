/* tables.h - the tables of activations, losses and optimizers as numbers and values.
 *
 * Both sides of the seam read it: there are no vectors here. What fastmlp.h says
 * about a row serves the network as well; a kernel set has the code of the rows, in
 * activations.h, losses.h and optimizers.h.
 */
#ifndef FM_TABLES_H
#define FM_TABLES_H

#include <string.h>

#include "fastmlp.h"

enum {
    FM_ACT_none = -1,
#define FM_ACTIVATION(name, ...) FM_ACT_##name,
#include "tables/activations.def"
    FM_N_ACTIVATIONS
};

enum {
#define FM_LOSS(name, ...) FM_LOSS_##name,
#include "tables/losses.def"
    FM_N_LOSSES
};

enum {
    FM_OPTIMIZER_none = -1,
#define FM_OPTIMIZER(name, ...) FM_OPTIMIZER_##name,
#include "tables/optimizers.def"
    FM_N_OPTIMIZERS
};

/* State vectors that an optimizer may keep per parameter of the network. */
enum { FM_MAX_SLOTS = 3 };

/* The values of a choice by name, c.adam.beta_1, for the code of the rows. */
typedef union {
    double in_order[FM_MAX_PARAMETERS];
#define FM_PARAMETER(name, ...) double name;
#define FM_SWITCH(name, ...) double name;
#define FM_ACTIVATION(name, class_name, where, derivative, doc, ...) \
    struct {                                                         \
        __VA_ARGS__                                                  \
    } name;
#include "tables/activations.def"
#define FM_PARAMETER(name, ...) double name;
#define FM_SWITCH(name, ...) double name;
#define FM_LOSS(name, class_name, targets, output, canonical, by, mean, doc, ...) \
    struct {                                                                      \
        __VA_ARGS__                                                               \
    } name;
#include "tables/losses.def"
#define FM_PARAMETER(name, ...) double name;
#define FM_SWITCH(name, ...) double name;
#define FM_OPTIMIZER(name, class_name, n_slots, norm, pace, doc, notes, ...) \
    struct {                                                                 \
        __VA_ARGS__                                                          \
    } name;
#include "tables/optimizers.def"
} fm_constants;

_Static_assert(sizeof(fm_constants) == sizeof(((fm_choice *)0)->parameters),
               "a row has more than FM_MAX_PARAMETERS parameters");

static inline fm_constants fm_constants_of(const fm_choice *choice)
{
    fm_constants c;
    memcpy(&c, choice->parameters, sizeof(c));
    return c;
}

/* Whether the values of a choice are within the bounds of its row. NULL: of no row. */
int fm_is_choice(const fm_table_row *row, const fm_choice *choice);

/* The scalars of an update, the same for all weights: what a row does not use is 0. */
typedef struct {
    double rate;             /* of the step, or of the average of gradients */
    double second_rate;      /* nadam: of the gradient; radam: of steps without a denominator */
    double epsilon;          /* where bias corrections change it */
    double keep;             /* what weight decay leaves of a weight */
} fm_pace;

/* Of update number step, the first being 1. */
fm_pace fm_step_pace(const fm_choice *optimizer, double learning_rate, int64_t step);

#endif
