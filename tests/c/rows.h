/* rows.h - choices of rows of the engine's tables, for the tests. */
#ifndef ROWS_H
#define ROWS_H

#include "check.h"
#include <string.h>

typedef const fm_table_row *row_function(int i);

static inline fm_choice choose(row_function *row_at, const char *name)
{
    int i = 0;
    while (row_at(i) && strcmp(row_at(i)->name, name))
        i++;
    CHECK(row_at(i));
    return fm_default_choice(row_at(i));
}

static inline int count_rows(row_function *row_at)
{
    int n = 0;
    while (row_at(n))
        n++;
    return n;
}

/* One after the other for i = 0, 1, ..., and again from the first. */
static inline fm_choice any_row(row_function *row_at, int i)
{
    return fm_default_choice(row_at(i % count_rows(row_at)));
}

/* The same of the activations that may stand in this place. */
static inline fm_choice any_activation(int where, int i)
{
    for (int row = 0;; row++) {
        const fm_table_row *r = fm_activation_row(row % count_rows(fm_activation_row));
        if (r->where & where && i-- == 0)
            return fm_default_choice(r);
    }
}

static inline fm_choice usual_output(const fm_choice *loss)
{
    return fm_default_choice(fm_activation_row(fm_loss_row(loss->row)->output));
}

static inline void set_parameter(fm_choice *choice, const fm_table_row *row, const char *name,
                                 double value)
{
    int i = 0;
    while (i < row->n_parameters && strcmp(row->parameters[i].name, name))
        i++;
    CHECK(i < row->n_parameters);
    choice->parameters[i] = value;
}

#endif
