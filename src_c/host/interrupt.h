/* interrupt.h - ends a call early when its caller asks for it.
 *
 * The leader of a team counts its work and asks now and then (fm_interrupt). The
 * others see what it was told and leave out the work ahead of them; barriers they
 * reach all the same, so that nobody waits. Where members of a team must agree on
 * whether the call has ended, they look after a barrier behind which the leader
 * does not ask before the next one.
 */
#ifndef FM_INTERRUPT_H
#define FM_INTERRUPT_H

#include <stdatomic.h>
#include <stddef.h>

#include "fastmlp.h"
#include "host/fpu.h"

/* The leader asks after so many multiply-adds of its own (0.1 s at a slow 2 GFLOPS, 2 ms at
 * 100); other work is counted in what takes about as long. */
#ifndef FM_WORK_BETWEEN /* tests ask more often */
#define FM_WORK_BETWEEN 1e8
#endif

typedef struct {
    fm_interrupt interrupt;
    double work;             /* the leader's, since it asked */
    atomic_int ended;
} fm_watch;

static inline int fm_ended(fm_watch *watch)
{
    return atomic_load_explicit(&watch->ended, memory_order_relaxed);
}

/* After work that was done; whether the call has ended. */
static inline int fm_ends(fm_watch *watch, int rank, double work)
{
    if (rank == 0 && watch->interrupt.interrupted && (watch->work += work) >= FM_WORK_BETWEEN) {
        const fm_fpu_state fpu = fm_fpu_gradual();
        watch->work = 0;
        if (watch->interrupt.interrupted(watch->interrupt.arg))
            atomic_store_explicit(&watch->ended, 1, memory_order_relaxed);
        fm_fpu_restore(fpu);
    }
    return fm_ended(watch);
}

/* Within a loop over so many rows, each a look or two into memory. */
static inline int fm_ends_at_row(fm_watch *watch, int rank, int64_t i)
{
    enum { STEP = 4096, WORK = 16 };
    return i % STEP == STEP - 1 && fm_ends(watch, rank, STEP * WORK);
}

#endif
