/* optimizers.h - the table of stochastic solvers and their update rules.
 *
 * A row is (name, n_slots): how many state values it keeps per parameter. Its
 * function fm_update_<name>(w, g, s0, s1, c) returns the new parameters of one
 * vector and advances the state in place. g is the gradient of the mini-batch's
 * mean loss, L2 term included. The step's learning rate c->lr is computed in
 * double by fm_step_rate(), adam's bias correction included.
 *
 * Sources: momentum: Polyak (1964), "Some methods of speeding up the
 * convergence of iteration methods"; the Nesterov form: Sutskever et al.
 * (2013), "On the importance of initialization and momentum in deep learning";
 * adam: Kingma, Ba (2015), "Adam: a method for stochastic optimization", with
 * the bias corrections folded into the learning rate as at the end of its
 * section 2.
 */
#ifndef FM_OPTIMIZERS_H
#define FM_OPTIMIZERS_H

#include <float.h>
#include <math.h>
#include <stdint.h>

#define FM_SOLVERS(X) \
    X(sgd, 1)         \
    X(adam, 2)

enum { FM_MAX_SLOTS = 2 };

enum {
#define FM_ROW(name, n_slots) FM_SOLVER_##name,
    FM_SOLVERS(FM_ROW)
#undef FM_ROW
        FM_N_SOLVERS
};

/* What one step's updates need besides the vectors. */
typedef struct {
    int solver;
    double lr;        /* this step's rate, see fm_step_rate */
    double inv_sum;   /* 1 / sum of the mini-batch's sample weights */
    double alpha;     /* L2 strength */
    double momentum;
    int nesterov;
    double beta_1, beta_2, epsilon;
} fm_step;

/* step: number of this update, the first being 1. */
static inline double fm_step_rate(const fm_step *s, double learning_rate, int64_t step)
{
    if (s->solver == FM_SOLVER_adam)
        return learning_rate * sqrt(1 - pow(s->beta_2, (double)step)) /
               (1 - pow(s->beta_1, (double)step));
    return learning_rate;
}

#ifdef FM_LANES /* inside a kernel set */

typedef struct {
    V lr, momentum, beta_1, one_beta_1, beta_2, one_beta_2, epsilon;
    int nesterov;
} fm_update_consts;

FM_INLINE V fm_update_sgd(V w, V g, V *s0, V *s1, const fm_update_consts *c)
{
    (void)s1;
    V step = c->lr * g;
    V velocity = c->momentum * *s0 - step;
    *s0 = velocity;
    if (c->nesterov)
        return w + (c->momentum * velocity - step);
    return w + velocity;
}

FM_INLINE V fm_update_adam(V w, V g, V *s0, V *s1, const fm_update_consts *c)
{
    V m = v_fma(c->beta_1, *s0, c->one_beta_1 * g);
    V v = v_fma(c->beta_2, *s1, c->one_beta_2 * (g * g));
    *s0 = m;
    *s1 = v;
    return w - c->lr * m / (v_sqrt(v) + c->epsilon);
}

/* w[0..n) moves along the sums g[0..n) of per-sample gradients. n is a
 * multiple of FM_LANES. decay: whether the L2 term applies (not to biases). */
static void fm_update(T *w, T *s0, T *s1, const T *g, int64_t n, int decay, const fm_step *step)
{
    const fm_update_consts c = {
        .lr = v_set1((T)step->lr),
        .momentum = v_set1((T)step->momentum),
        .beta_1 = v_set1((T)step->beta_1),
        .one_beta_1 = v_set1((T)(1 - step->beta_1)),
        .beta_2 = v_set1((T)step->beta_2),
        .one_beta_2 = v_set1((T)(1 - step->beta_2)),
        /* A smaller one would be flushed to zero: 0 / 0 where there is no gradient. */
        .epsilon = v_set1((T)fmax(step->epsilon, FM_F64 ? DBL_MIN : FLT_MIN)),
        .nesterov = step->nesterov,
    };
    const V alpha = v_set1(decay ? (T)step->alpha : 0), inv_sum = v_set1((T)step->inv_sum);
    V unused = v_zero();
    switch (step->solver) {
#define FM_ROW(name, n_slots)                                     \
    case FM_SOLVER_##name:                                        \
        for (int64_t i = 0; i < n; i += FM_LANES) {               \
            V wi = v_load(w + i);                                 \
            V gi = v_fma(alpha, wi, v_load(g + i)) * inv_sum;     \
            V a = v_load(s0 + i), b = unused;                     \
            if (n_slots > 1)                                      \
                b = v_load(s1 + i);                               \
            v_store(w + i, fm_update_##name(wi, gi, &a, &b, &c)); \
            v_store(s0 + i, a);                                   \
            if (n_slots > 1)                                      \
                v_store(s1 + i, b);                               \
        }                                                         \
        break;
        FM_SOLVERS(FM_ROW)
#undef FM_ROW
    default: break;
    }
}

#endif
#endif
