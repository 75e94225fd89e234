/* train.c - mini-batch steps, loss and gradient.
 *
 * Knows no arithmetic and no layout; kernels.h does. What is decided here is the
 * order of work and its cut among threads (drawn at the top of kernels.h).
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "engine/check.h"
#include "host/fpu.h"

/* What a team works on: rows order[0..n_rows) (or 0..n_rows) in mini-batches. */
typedef struct {
    fm_net *net;
    fm_batch data;           /* X, y, weights, rows; n_rows of all of the run */
    int64_t batch_size;
    double learning_rate;
    int update;              /* or only sum the gradient */
    int64_t step;            /* updates made before */
    int64_t n_done;          /* rows */
    fm_watch *watch;
    int rests;               /* alone until a team may be tried again */
    double loss_sum;         /* of (mean loss + L2 term) * rows, by member 0 */
    fm_status status;        /* by member 0 */
} fm_run;

/* Only the ratios of sample weights matter, to each other and to alpha. Those that T
 * cannot carry, or whose sum double cannot, are brought near 1 by a power of two, the
 * same for a whole mini-batch; ordinary ones are left alone. The exponent is bounded so
 * that the power itself is a normal number. */
static double weight_scale(const fm_batch *batch, fm_watch *watch, int rank)
{
    enum { ORDINARY = 32, LARGEST = 1022 };
    double largest = 0;
    int exponent;
    for (int64_t i = 0; i < batch->n_rows && !fm_ends_at_row(watch, rank, i); i++) {
        const double weight = fabs(batch->weights[fm_batch_row(batch, i)]);
        largest = weight > largest ? weight : largest;
    }
    if (largest == 0 || largest > DBL_MAX)
        return 1;
    frexp(largest, &exponent);
    if (abs(exponent) <= ORDINARY)
        return 1;
    exponent = exponent > LARGEST ? LARGEST : exponent < -LARGEST ? -LARGEST : exponent;
    return ldexp(1, -exponent);
}

/* Sum over the batch in four chains; every member gets the same bits. */
static double sum_of_weights(const fm_batch *batch, double scale, fm_watch *watch, int rank)
{
    double sum[4] = {0};
    for (int64_t i = 0; i < batch->n_rows && !fm_ends_at_row(watch, rank, i); i++)
        sum[i % 4] += batch->weights[fm_batch_row(batch, i)] * scale;
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* The scale of a mini-batch's weights, and by it their sum and alpha. */
typedef struct {
    double scale, sum, alpha;
} fm_weighing;

/* Subnormal weights count in full. Meaningless once the call has ended. */
static fm_weighing weigh(const fm_net *net, const fm_batch *batch, fm_watch *watch, int rank)
{
    if (!batch->weights)
        return (fm_weighing){1, (double)batch->n_rows, net->step.alpha};
    const fm_fpu_state fpu = fm_fpu_gradual();
    const double scale = weight_scale(batch, watch, rank);
    const double sum = sum_of_weights(batch, scale, watch, rank);
    const fm_weighing w = {scale, sum, net->step.alpha * scale};
    fm_fpu_restore(fpu);
    return w;
}

static void scale_weights(double *to, const fm_batch *batch, double scale, int64_t r0, int64_t r1)
{
    if (!batch->weights)
        return;
    const fm_fpu_state fpu = fm_fpu_gradual();
    for (int64_t r = r0; r < r1; r++)
        to[r] = batch->weights[fm_batch_row(batch, r)] * scale;
    fm_fpu_restore(fpu);
}

static double sum_of_losses(const fm_batch *batch, const double *row_loss)
{
    double sum[4] = {0};
    if (batch->row_weights)
        for (int64_t i = 0; i < batch->n_rows; i++)
            sum[i % 4] += row_loss[i] * batch->row_weights[i];
    else
        for (int64_t i = 0; i < batch->n_rows; i++)
            sum[i % 4] += row_loss[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static double l2_term(const fm_net *net, double alpha)
{
    const fm_plan *plan = &net->plan;
    double sum = 0;
    for (int i = 0; i < plan->n_stages && plan->use.has_l2; i++)
        if (plan->stages[i].part[FM_SQUARES])
            sum += plan->kernels->sum_squares(&plan->stages[i]);
    return 0.5 * alpha * sum;
}

/* The non-zeros of a block by shard of features, by one member for all. */
static void fill_buckets(fm_net *net, const fm_pass *pass, fm_watch *watch)
{
    enum { WORK = 4 };
    const fm_kernels *k = net->plan.kernels;
    const fm_batch *block = pass->batch;
    const double work = WORK * (double)block->X->nnz / (double)block->X->n_rows;
    for (int64_t r = 0; r < block->n_rows && !fm_ended(watch); r++, fm_ends(watch, 0, work))
        k->count_nonzeros(&net->buckets, block, r, r + 1);
    for (int64_t r = 0; r < block->n_rows && !fm_ended(watch); r++, fm_ends(watch, 0, work))
        k->place_nonzeros(&net->buckets, &net->plan.values[0], pass, r, r + 1);
}

/* Whether the run ends before this mini-batch is applied. Every member takes the same
 * decision: the leader has not asked since they met at a barrier, and does not before the
 * next one. */
static int stops(fm_run *run, const fm_weighing *w, int rank, int ended)
{
    const fm_status status = ended ? FM_INTERRUPTED : w->sum == 0 ? FM_ZERO_WEIGHT : FM_OK;
    if (rank == 0)
        run->status = status;
    return status != FM_OK;
}

/* What the average of the weights after so many updates takes of the last ones: with
 * t = 1 all, so that it is a weighted mean of the weights after updates 1 .. t, the weight
 * of each being decay^age. The correction is that of Kingma, Ba (2015), section 7.2. */
static double average_share(double decay, int64_t t)
{
    return (1 - decay) / (1 - pow(decay, (double)t));
}

/* What the updates of this mini-batch need. */
static fm_step step_of(const fm_run *run, const fm_weighing *w)
{
    const fm_net *net = run->net;
    fm_step step = net->step;
    step.alpha = w->alpha;
    step.inv_sum = 1 / w->sum;
    if (run->update) {
        step.pace = fm_step_pace(&step.optimizer, run->learning_rate, run->step + 1);
        if (net->plan.use.averages)
            step.share = average_share(net->averaging, run->step + 1);
    }
    return step;
}

/* A gradient of a larger norm is shortened to max_grad_norm (Pascanu, Mikolov, Bengio 2013,
 * "On the difficulty of training recurrent neural networks"); one whose norm overflows
 * is not, and training diverges. */
static void clip(const fm_net *net, const fm_pass *pass, fm_step *step, fm_team *team, int rank,
                 int size)
{
    const fm_plan *plan = &net->plan;
    double sum = 0;
    fm_plan_square_shards(plan, pass, rank, size);
    fm_barrier(team);
    for (int i = 0; i < plan->n_stages; i++)
        sum += plan->kernels->sum_gradient_squares(&plan->stages[i]);
    if (sum <= DBL_MAX && sqrt(sum) > net->max_grad_norm)
        step->inv_sum *= net->max_grad_norm / sqrt(sum);
}

static fm_pass pass_of(const fm_run *run, int rank)
{
    const fm_net *net = run->net;
    return (fm_pass){.training = 1,
                     .seed = net->seed,
                     .update = run->step,
                     .scratch = net->scratch + (size_t)rank * net->scratch_bytes,
                     .loss = &net->loss,
                     .loss_parameters = net->loss_parameters,
                     .row_loss = net->row_loss,
                     .end_part = net->plan.parts,
                     .sums = FM_GRADIENT};
}

/* One mini-batch; returns whether the run goes on. Every member takes the same
 * decisions from the same numbers. The leader asks whether to end while rows pass and
 * while gradients are summed, not while weights change: a mini-batch is applied as a
 * whole or not at all. */
static int mini_batch(fm_run *run, fm_team *team, const fm_batch *batch, int rank, int size)
{
    fm_net *net = run->net;
    const fm_plan *plan = &net->plan;
    const int at_once = !plan->use.keeps_gradient;
    const fm_weighing w = weigh(net, batch, run->watch, rank);
    fm_step step = step_of(run, &w);
    fm_pass pass = pass_of(run, rank);
    double loss = rank == 0 ? l2_term(net, w.alpha) : 0; /* before the update changes W */

    pass.step = at_once ? &step : NULL;
    for (int64_t first = 0; first < batch->n_rows; first += plan->use.max_rows) {
        fm_batch block = fm_batch_part(batch, first, plan->use.max_rows);
        pass.batch = &block;
        pass.first_row = first;
        pass.resume = first > 0;
        if (net->max_nnz && rank == 0)
            fill_buckets(net, &pass, run->watch);
        const int64_t r0 = fm_plan_first_row(plan, block.n_rows, rank, size);
        const int64_t r1 = fm_plan_first_row(plan, block.n_rows, rank + 1, size);
        if (!fm_ended(run->watch))
            scale_weights(net->row_weights, &block, w.scale, r0, r1);
        block.buckets = net->max_nnz ? &net->buckets : NULL;
        block.row_weights = block.weights ? net->row_weights : NULL;
        fm_plan_pass_rows(plan, &pass, team, run->watch, rank, size, r0, r1);
        fm_barrier(team);
        if (at_once && stops(run, &w, rank, fm_ended(run->watch)))
            return 0;
        if (rank == 0)
            loss += sum_of_losses(&block, net->row_loss);
        fm_plan_pass_shards(plan, &pass, run->watch, rank, size);
        fm_barrier(team);
    }
    if (!at_once && stops(run, &w, rank, fm_ended(run->watch)))
        return 0;
    if (!at_once && run->update) {
        pass.batch = batch;
        pass.step = &step;
        if (plan->use.clips)
            clip(net, &pass, &step, team, rank, size);
        fm_plan_update_shards(plan, &pass, rank, size);
        fm_barrier(team);
    }
    if (rank == 0)
        run->loss_sum += loss / w.sum * (double)batch->n_rows;
    return 1;
}

/* The largest power of two that is not above size. */
static int members_at_work(int size)
{
    int n = 1;
    while (2 * n <= size)
        n *= 2;
    return n;
}

/* The same on a replicated network, with one barrier. A member takes as many parts of the rows
 * as any other, if there is one left for it, and publishes one gradient: parts are added
 * in the same pairs as by a member alone. */
static int replicated_mini_batch(fm_run *run, fm_team *team, const fm_batch *batch, int rank,
                                 int size)
{
    fm_net *net = run->net;
    const fm_plan *mine = &net->members[rank].plan, *members[FM_MAX_PARTS];
    const int parts = mine->parts, n = members_at_work(size), turn = run->step % 2;
    const fm_weighing w = weigh(net, batch, run->watch, rank);
    const fm_step step = step_of(run, &w);
    double *row_weights = net->row_weights + turn * mine->use.max_rows;
    double loss = rank == 0 ? l2_term(net, w.alpha) : 0;
    fm_batch block = *batch;
    fm_pass pass = pass_of(run, rank);
    pass.batch = &block;
    pass.row_loss += turn * mine->use.max_rows;
    pass.first_part = rank < n ? parts / n * rank : parts;
    pass.end_part = rank < n ? parts / n * (rank + 1) : parts;
    pass.sums = turn ? FM_PUBLISHED_NEXT : FM_PUBLISHED;

    const int64_t r0 = fm_part_row(batch->n_rows, parts, pass.first_part);
    const int64_t r1 = fm_part_row(batch->n_rows, parts, pass.end_part);
    if (!fm_ended(run->watch))
        scale_weights(row_weights, &block, w.scale, r0, r1);
    block.row_weights = block.weights ? row_weights : NULL;
    fm_plan_pass_rows(mine, &pass, team, run->watch, rank, size, r0, r1);
    if (rank < n)
        fm_plan_pass_shards(mine, &pass, rank == 0 ? run->watch : NULL, 0, 1);
    if (rank == 0)
        net->ended[turn] = fm_ended(run->watch);
    fm_barrier(team);
    if (stops(run, &w, rank, net->ended[turn]))
        return 0;
    for (int i = 0; i < n; i++)
        members[i] = &net->members[i].plan;
    fm_plan_add_gradients(mine, members, n, pass.sums);
    pass.step = &step;
    fm_plan_update_shards(mine, &pass, 0, 1);
    if (rank == 0)
        run->loss_sum +=
            (loss + sum_of_losses(&block, pass.row_loss)) / w.sum * (double)batch->n_rows;
    return 1;
}

static void run_batches(void *arg, fm_team *team, int rank, int size)
{
    fm_run *run = arg;
    const fm_fpu_state fpu = fm_fpu_flush();
    const fm_run start = *run;
    const int replicated = size > 1 && start.net->plan.parts > 1;
    if (replicated && rank >= start.net->n_current)
        fm_plan_copy_parameters(&start.net->members[rank].plan, &start.net->plan);
    fm_barrier(team); /* nobody writes to run before everybody has read it */
    fm_run mine = start; /* each member counts steps for itself */
    fm_run *out = rank == 0 ? run : &mine;
    for (int leaves = 0; !leaves && out->n_done < start.data.n_rows;) {
        const fm_batch batch = fm_batch_part(&start.data, out->n_done, start.batch_size);
        int *leader_leaves = &start.net->leaves[out->step % 2];
        if (rank == 0)
            *leader_leaves = start.rests ? !fm_teams_lag() : fm_team_lags(team);
        if (!(replicated ? replicated_mini_batch : mini_batch)(out, team, &batch, rank, size))
            break;
        leaves = *leader_leaves;
        out->n_done += batch.n_rows;
        out->step++;
    }
    if (rank == 0) {
        run->net->n_current = replicated ? size : 1;
        fm_team_lags(team);
    }
    fm_fpu_restore(fpu);
}

static fm_status run_on_team(fm_run *run, int n_threads)
{
    const fm_plan *plan = &run->net->plan;
    const int64_t rows =
        run->batch_size < plan->use.max_rows ? run->batch_size : plan->use.max_rows;
    int size = fm_team_size(n_threads, plan->work_per_row * (double)rows, rows);
    if (plan->parts > 1 && size > plan->parts)
        size = plan->parts;
    if (!fm_net_reserve(run->net, size))
        return FM_NO_MEMORY;
    while (run->status == FM_OK && run->n_done < run->data.n_rows) {
        run->rests = size > 1 && fm_teams_lag();
        fm_parallel(run->rests ? 1 : size, run_batches, run);
    }
    return run->status;
}

fm_status fm_net_train(fm_net *net, double *loss_sum, int64_t *step, const fm_matrix *X,
                       const fm_targets *y, const double *sample_weight, const int64_t *order,
                       int64_t n_order, int64_t batch_size, double learning_rate, int n_threads)
{
    *loss_sum = 0;
    fm_watch watch = {.interrupt = net->interrupt};
    fm_run run = {
        .net = net,
        .watch = &watch,
        .data = {.X = X, .y = y, .weights = sample_weight, .rows = order, .n_rows = n_order},
        .batch_size = batch_size,
        .learning_rate = learning_rate,
        .update = 1,
        .step = *step};
    fm_status status = fm_check_training(net, &run.data, batch_size, *step, &watch, n_threads);
    if (status == FM_OK)
        status = run_on_team(&run, n_threads);
    *loss_sum = run.loss_sum;
    *step = run.step;
    return status;
}

fm_status fm_net_loss_grad(fm_net *net, double *loss, const fm_parameters *gradient,
                           const fm_matrix *X, const fm_targets *y, const double *sample_weight,
                           int n_threads)
{
    *loss = 0;
    fm_watch watch = {.interrupt = net->interrupt};
    fm_run run = {.net = net,
                  .watch = &watch,
                  .data = {.X = X, .y = y, .weights = sample_weight, .n_rows = X->n_rows},
                  .batch_size = X->n_rows};
    fm_status status = fm_check_gradient(net, &run.data, &watch, n_threads);
    if (status == FM_OK)
        status = run_on_team(&run, n_threads);
    if (status != FM_OK)
        return status;
    *loss = run.loss_sum / (double)X->n_rows;
    const fm_weighing w = weigh(net, &run.data, &watch, 0);
    if (fm_ended(&watch))
        return FM_INTERRUPTED;
    for (int i = 0; i < net->plan.n_stages; i++)
        if (net->plan.stages[i].part[FM_GRADIENT])
            net->plan.kernels->scale_gradient(&net->plan.stages[i], w.alpha, 1 / w.sum);
    fm_plan_store(&net->plan, FM_GRADIENT, gradient);
    return FM_OK;
}
