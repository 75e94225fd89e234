/* update.h - weights and optimizer state one step on, by the table of optimizers. */
#ifndef FM_UPDATE_H
#define FM_UPDATE_H

#include "kernels/layout.h"
#include "tables/optimizers.h"

typedef V fm_update_function(V w, V g, V *slot, const fm_scalars *s, const fm_constants *p);

/* Where weights and state come from L3 or memory, the processor looks ahead too little on its own:
 * a step of 20,000 x 100 units took 2.9 ms in float32 on one thread, with this 2.2. Others take as
 * long as without. */
enum { FM_UPDATE_AHEAD = 1024 / sizeof(T) };

/* w[0..n) moves along the sums g[0..n) of per-sample gradients; slots[s][0..n) is the
 * state. update and n_slots are constants: a row of the table. */
FM_INLINE void fm_update_by(fm_update_function *update, const int n_slots, const fm_step *step,
                            T *w, T *const *slots, const T *g, int64_t n, int decay)
{
    const fm_constants p = fm_constants_of(&step->optimizer);
    const fm_scalars scalars = fm_scalars_of(&step->pace, decay);
    const V alpha = v_const(decay ? step->alpha : 0), inv_sum = v_const(step->inv_sum);
    T *slot[FM_MAX_SLOTS]; /* in registers: stores could change what slots points to */
    FM_EACH(s, n_slots)
        slot[s] = slots[s];
    for (int64_t i = 0; i < n; i += FM_LANES) {
        __builtin_prefetch(w + i + FM_UPDATE_AHEAD, 1);
        FM_EACH(s, n_slots)
            __builtin_prefetch(slot[s] + i + FM_UPDATE_AHEAD, 1);
        const V wi = v_load(w + i), gi = v_fma(alpha, wi, v_load(g + i)) * inv_sum;
        V state[FM_MAX_SLOTS];
        FM_EACH(s, n_slots)
            state[s] = v_load(slot[s] + i);
        v_store(w + i, update(wi, gi, state, &scalars, &p));
        FM_EACH(s, n_slots)
            v_store(slot[s] + i, state[s]);
    }
}

/* a[0..n) moves towards w by a share of the way. */
static void fm_move_average(T *a, const T *w, int64_t n, double share)
{
    for (int64_t i = 0; i < n; i += FM_LANES) {
        const V old = v_load(a + i);
        v_store(a + i, v_fma(v_const(share), v_load(w + i) - old, old));
    }
}

/* Parameters at .. at + n of a parameter-like part. n is a multiple of FM_LANES. decay:
 * whether the L2 term and weight decay apply (not to biases). */
static void fm_update(const fm_stage *s, int64_t at, const T *g, int64_t n, int decay,
                      const fm_step *step)
{
    T *w = fm_weights(s, FM_PARAMS) + at, *slots[FM_MAX_SLOTS];
    FM_ASSERT(n % FM_LANES == 0);
    for (int i = 0; i < FM_MAX_SLOTS; i++)
        slots[i] = s->part[FM_SLOTS + i] ? fm_weights(s, FM_SLOTS + i) + at : NULL;
    switch (step->optimizer.row) {
#define FM_OPTIMIZER(name, class_name, n_slots, ...)                          \
    case FM_OPTIMIZER_##name:                                                 \
        fm_update_by(fm_update_##name, n_slots, step, w, slots, g, n, decay); \
        break;
#include "tables/optimizers.def"
    default: break;
    }
    if (s->part[FM_AVERAGE])
        fm_move_average(fm_weights(s, FM_AVERAGE) + at, w, n, step->share);
}

#endif
