/* tables.c - the names of activations, losses, solvers and statuses. */
#include <stddef.h>

#include "tables/activations.h"
#include "tables/losses.h"
#include "tables/optimizers.h"

const char *fm_activation_name(int i, int *where)
{
    static const struct {
        const char *name;
        int where;
    } rows[] = {
#define FM_ROW(name, where) {#name, where},
        FM_ACTIVATIONS(FM_ROW)
#undef FM_ROW
    };
    if (i < 0 || i >= FM_N_ACTIVATIONS)
        return NULL;
    if (where)
        *where = rows[i].where;
    return rows[i].name;
}

const char *fm_loss_name(int i)
{
    static const char *const rows[] = {
#define FM_ROW(name, canonical, mean) #name,
        FM_LOSSES(FM_ROW)
#undef FM_ROW
    };
    return i < 0 || i >= FM_N_LOSSES ? NULL : rows[i];
}

const char *fm_solver_name(int i, int *n_slots)
{
    static const struct {
        const char *name;
        int n_slots;
    } rows[] = {
#define FM_ROW(name, n_slots) {#name, n_slots},
        FM_SOLVERS(FM_ROW)
#undef FM_ROW
    };
    if (i < 0 || i >= FM_N_SOLVERS)
        return NULL;
    if (n_slots)
        *n_slots = rows[i].n_slots;
    return rows[i].name;
}

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
