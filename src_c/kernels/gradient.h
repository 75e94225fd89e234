/* gradient.h - gradients of shards of weights, and their update. */
#ifndef FM_GRADIENT_H
#define FM_GRADIENT_H

#include "kernels/params.h"
#include "kernels/update.h"

static int64_t fm_shard_cost(const fm_stage *s, int64_t number, int64_t n_rows)
{
    if (s->kind == FM_NORM)
        return 2 * FM_PANEL * (n_rows + 16);
    const fm_shard u = fm_shard_number(s, number);
    return (u.f1 - u.f0) * (fm_is_narrow(s->to) ? s->to->width : FM_PANEL) * (n_rows + 16);
}

/* Shards whose parameters lie one behind the other and are updated together: with a call for
 * each, and one for its biases, a step of one row of 20-100-2 took a tenth longer. */
typedef struct {
    fm_shard first;
    int64_t shards;
    int64_t n, n_biases;     /* numbers of all; those of the panels that begin here */
} fm_shard_run;

FM_INLINE fm_shard_run fm_run_at(const fm_stage *s, int64_t number, int64_t end)
{
    const int narrow = fm_is_narrow(s->to);
    const int64_t fit = FM_RUN_ROWS / (s->from->width + 1);
    fm_shard_run run = {.first = fm_shard_number(s, number), .shards = 1};
    if (fit > 1 && !narrow)
        run.shards = end - number < fit ? end - number : fit;
    run.n = run.shards * run.first.n;
    if (run.first.f0 == 0 && !s->no_bias)
        run.n_biases = narrow ? fm_padded(s->to->width) : run.shards * FM_PANEL;
    return run;
}

/* Runs of several shards are of layers with one shard for each panel: only these move on. */
FM_INLINE void fm_next_shard(fm_shard *u)
{
    u->j++;
    u->at += u->n;
}

static void fm_sum_run(const fm_stage *s, const fm_pass *pass, const fm_shard_run *run, int first,
                       T *G, T *g)
{
    fm_shard u = run->first;
    for (int64_t i = 0; i < run->shards; i++, fm_next_shard(&u)) {
        fm_sum_weights(s, pass, &u, first && i == 0, G + (u.at - run->first.at));
        if (run->n_biases > 0)
            fm_sum_biases(s, pass, &u, g + i * FM_PANEL);
    }
}

static void fm_update_run(const fm_stage *s, const fm_pass *pass, const fm_shard_run *run,
                          const T *G, const T *g)
{
    fm_shard u = run->first;
    fm_update(s, u.at, G, run->n, 1, pass->step);
    if (run->n_biases > 0)
        fm_update(s, fm_weights_size(s) + u.j * FM_PANEL, g, run->n_biases, 0, pass->step);
    for (int64_t i = 0; i < run->shards; i++, fm_next_shard(&u))
        fm_refresh(s, &u);
}

#if !FM_PACKED
/* PyTorch's: the average variance is that of a population, of one row less. */
static void fm_update_running(const fm_stage *s, int64_t j, int64_t m)
{
    const V momentum = v_set1((T)FM_NORM_MOMENTUM), population = v_set1((T)m / (T)(m - 1));
    for (int v = 0; v < FM_PANEL; v += FM_LANES) {
        T *mean = fm_weights(s, FM_RUNNING) + j * FM_PANEL + v;
        T *variance = fm_bias(s, FM_RUNNING) + j * FM_PANEL + v;
        const V new_mean = v_load(fm_statistics(s, FM_MEAN, j) + v);
        const V new_variance = v_load(fm_statistics(s, FM_VARIANCE, j) + v) * population;
        v_store(mean, v_fma(momentum, new_mean - v_load(mean), v_load(mean)));
        v_store(variance, v_fma(momentum, new_variance - v_load(variance), v_load(variance)));
    }
}

static void fm_update_norm(const fm_stage *s, const fm_pass *pass, int64_t j, T *const g[2])
{
    fm_update(s, j * FM_PANEL, g[0], FM_PANEL, 0, pass->step);
    fm_update(s, fm_weights_size(s) + j * FM_PANEL, g[1], FM_PANEL, 0, pass->step);
    if (s->normalization == FM_BATCH_NORM)
        fm_update_running(s, j, pass->batch->n_rows);
}

static void fm_gradient_norm(const fm_stage *s, const fm_pass *pass, int64_t j0, int64_t j1)
{
    for (int64_t j = j0; j < j1; j++) {
        T *g[2];
        fm_norm_gradient(s, pass, j, g, pass->scratch);
        if (pass->step)
            fm_update_norm(s, pass, j, g);
    }
}

static void fm_update_kept_norm(const fm_stage *s, const fm_pass *pass, int64_t j0, int64_t j1)
{
    for (int64_t j = j0; j < j1; j++) {
        T *const g[2] = {fm_weights(s, FM_GRADIENT) + j * FM_PANEL,
                         fm_bias(s, FM_GRADIENT) + j * FM_PANEL};
        fm_update_norm(s, pass, j, g);
    }
}
#else
static void fm_gradient_norm(const fm_stage *s, const fm_pass *pass, int64_t j0, int64_t j1)
{
    (void)s, (void)pass, (void)j0, (void)j1;
    FM_ASSERT(!"for plain networks only");
}

static void fm_update_kept_norm(const fm_stage *s, const fm_pass *pass, int64_t j0, int64_t j1)
{
    fm_gradient_norm(s, pass, j0, j1);
}
#endif

static void fm_gradient(const fm_stage *s, const fm_pass *pass, int64_t u0, int64_t u1)
{
    FM_ASSERT(u0 >= 0 && u1 <= fm_n_shards(s) && pass->batch->n_rows <= s->to->max_rows);
    FM_ASSERT(s->part[FM_GRADIENT] || (pass->step && !pass->resume));
    if (s->kind == FM_NORM) {
        fm_gradient_norm(s, pass, u0, u1);
        return;
    }
    for (int64_t i = u0; i < u1;) {
        const fm_shard_run run = fm_run_at(s, i, u1);
        T *g = pass->scratch, *G = g + run.n_biases;
        if (!pass->step) {
            G = fm_weights(s, pass->sums) + run.first.at;
            g = fm_bias(s, pass->sums) + run.first.j * FM_PANEL;
        }
        fm_sum_run(s, pass, &run, i == u0, G, g);
        if (pass->step)
            fm_update_run(s, pass, &run, G, g);
        i += run.shards;
    }
}

static void fm_update_kept(const fm_stage *s, const fm_pass *pass, int64_t u0, int64_t u1)
{
    FM_ASSERT(u0 >= 0 && u1 <= fm_n_shards(s) && s->part[FM_GRADIENT] && pass->step);
    if (s->kind == FM_NORM) {
        fm_update_kept_norm(s, pass, u0, u1);
        return;
    }
    for (int64_t i = u0; i < u1;) {
        const fm_shard_run run = fm_run_at(s, i, u1);
        fm_update_run(s, pass, &run, fm_weights(s, FM_GRADIENT) + run.first.at,
                      fm_bias(s, FM_GRADIENT) + run.first.j * FM_PANEL);
        i += run.shards;
    }
}

/* n is a constant. */
FM_INLINE void fm_add_pairs(const int n, T *to, const T *const *from, int64_t size)
{
    for (int64_t i = 0; i < size; i += FM_LANES) {
        V sum[FM_MAX_PARTS];
        FM_EACH(k, n)
            sum[k] = v_load(from[k] + i);
        FM_EACH(k, n / 2)
            sum[k] = sum[2 * k] + sum[2 * k + 1];
        FM_EACH(k, n / 4)
            sum[k] = sum[2 * k] + sum[2 * k + 1];
        FM_EACH(k, n / 8)
            sum[k] = sum[2 * k] + sum[2 * k + 1];
        v_store(to + i, sum[0]);
    }
}

static void fm_add_gradients(const fm_stage *s, const void *const *from, int n)
{
    const T *const *sums = (const T *const *)from;
    const int64_t size = s->kind == FM_ADD ? 0 : fm_weights_size(s) + fm_padded(s->to->width);
    T *to = s->part[FM_GRADIENT];
    switch (n) {
    case 2: fm_add_pairs(2, to, sums, size); break;
    case 4: fm_add_pairs(4, to, sums, size); break;
    case 8: fm_add_pairs(8, to, sums, size); break;
    default: FM_ASSERT(!"a power of two");
    }
}

static void fm_scale_gradient(const fm_stage *s, double alpha, double inv_sum)
{
    const int64_t n = fm_weights_size(s);
    const T *W = fm_weights(s, FM_PARAMS);
    T *G = fm_weights(s, FM_GRADIENT), *g = fm_bias(s, FM_GRADIENT);
    for (int64_t i = 0; i < n; i++)
        G[i] = (G[i] + (T)(s->kind == FM_NORM ? 0 : alpha) * W[i]) * (T)inv_sum;
    for (int64_t i = 0; i < s->to->width; i++)
        g[i] *= (T)inv_sum;
}

/* The square of element i of a gradient. */
FM_INLINE double fm_square(const T *G, const T *W, int64_t i, double alpha, double inv_sum)
{
    const double g = ((double)G[i] + alpha * (double)W[i]) * inv_sum;
    return g * g;
}

/* Sums over the features of a shard, output by output: sums of the stage's columns. */
static void fm_square_shard(const fm_stage *s, const fm_shard *u, const fm_step *step, double *sums)
{
    const int64_t K = s->from->width, N = s->to->width;
    const T *G = fm_weights(s, FM_GRADIENT), *W = fm_weights(s, FM_PARAMS);
    if (fm_is_narrow(s->to)) {
        for (int64_t n = 0; n < N; n++) {
            sums[n] = 0;
            for (int64_t f = u->f0; f < u->f1; f++)
                sums[n] += fm_square(G, W, (f / FM_PANEL * N + n) * FM_PANEL + f % FM_PANEL,
                                     step->alpha, step->inv_sum);
        }
        return;
    }
    double sum[FM_PANEL] = {0};
    for (int64_t f = u->f0; f < u->f1; f++)
        for (int64_t v = 0; v < FM_PANEL; v++)
            sum[v] += fm_square(G, W, (u->j * K + f) * FM_PANEL + v, step->alpha, step->inv_sum);
    for (int64_t v = 0; v < FM_PANEL && u->j * FM_PANEL + v < N; v++)
        sums[u->j * FM_PANEL + v] = sum[v];
}

/* Scales and shifts of a panel. */
static void fm_square_norm(const fm_stage *s, int64_t j, double inv_sum, double *squares)
{
    const int64_t N = s->to->width;
    for (int64_t n = j * FM_PANEL; n < (j + 1) * FM_PANEL && n < N; n++) {
        squares[n] = fm_square(fm_weights(s, FM_GRADIENT), fm_weights(s, FM_PARAMS), n, 0, inv_sum);
        squares[N + n] = fm_square(fm_bias(s, FM_GRADIENT), fm_bias(s, FM_PARAMS), n, 0, inv_sum);
    }
}

/* In plain C, as the sums of the sums below: an order that is the same on every ISA. */
static void fm_square_gradient(const fm_stage *s, const fm_pass *pass, int64_t u0, int64_t u1)
{
    const int64_t N = s->to->width;
    double *squares = s->part[FM_GRADIENT_SQUARES];
    FM_ASSERT(u0 >= 0 && u1 <= fm_n_shards(s) && s->part[FM_GRADIENT] && squares);
    for (int64_t i = u0; i < u1; i++) {
        if (s->kind == FM_NORM) {
            fm_square_norm(s, i, pass->step->inv_sum, squares);
            continue;
        }
        const fm_shard u = fm_shard_number(s, i);
        fm_square_shard(s, &u, pass->step, squares + u.f0 / FM_SHARD_FEATURES * N);
        if (u.f0 > 0 || s->no_bias)
            continue;
        const T *g = fm_bias(s, FM_GRADIENT), *b = fm_bias(s, FM_PARAMS);
        const int64_t n0 = u.j * FM_PANEL, n1 = fm_is_narrow(s->to) ? N : n0 + FM_PANEL;
        for (int64_t n = n0; n < n1 && n < N; n++)
            squares[fm_square_rows(s) * N + n] = fm_square(g, b, n, 0, pass->step->inv_sum);
    }
}

static double fm_sum_gradient_squares(const fm_stage *s)
{
    const double *squares = s->part[FM_GRADIENT_SQUARES];
    const int64_t n = squares ? (fm_square_rows(s) + 1) * s->to->width : 0;
    double sum[4] = {0};
    for (int64_t i = 0; i < n; i++)
        sum[i % 4] += squares[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* |W|^2 in double, for weights whose squares overflow T. */
static double fm_sum_squares_in_double(const fm_stage *s)
{
    double sum = 0;
    for (int64_t row = 0; row < fm_panel_rows(s); row++) {
        const T *W = fm_weights(s, FM_PARAMS) + row * FM_PANEL;
        for (int64_t i = 0; i < fm_width_of_row(s, row); i++)
            sum += (double)W[i] * (double)W[i];
    }
    return sum;
}

/* The sum of x[0..n) in four chains of doubles, by number mod 4: one order on every ISA. */
static double fm_sum_in_four(const T *x, int64_t n)
{
    typedef T fm_four __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
    typedef double fm_four_doubles __attribute__((vector_size(4 * sizeof(double))));
    fm_four_doubles sum = {0};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        sum += __builtin_convertvector(*(const fm_four *)(x + i), fm_four_doubles);
    for (; i < n; i++)
        sum[i % 4] += (double)x[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static double fm_sum_squares(const fm_stage *s)
{
    const double total = fm_sum_in_four(s->part[FM_SQUARES], fm_feature_shards(s) * s->to->width);
    return isfinite(total) ? total : fm_sum_squares_in_double(s);
}

#endif
