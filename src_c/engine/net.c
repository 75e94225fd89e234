/* net.c - the memory of a network that trains; its parameters in and out. */
#include "engine/net.h"

#include <stdlib.h>
#include <string.h>

#include "engine/check.h"
#include "host/system.h"

static void lay_out(fm_net *net, const fm_config *c, fm_arena *a)
{
    const fm_plan *plan = &net->plan;
    fm_buckets *b = &net->buckets;
    fm_plan_lay_out_parameters(&net->plan, a);
    fm_plan_lay_out_values(&net->plan, a);
    net->row_loss = fm_take(a, fm_array_bytes(plan->use.max_rows, fm_turns(net) * sizeof(double)));
    net->row_weights =
        fm_take(a, fm_array_bytes(plan->use.max_rows, fm_turns(net) * sizeof(double)));
    if (c->loss_parameters)
        net->loss_parameters =
            fm_take(a, fm_array_bytes(fm_plan_outputs(plan)->width, sizeof(double)));
    if (!net->max_nnz)
        return;
    const int64_t shards = plan->values[0].width / FM_SHARD_FEATURES + 2;
    b->start = fm_take(a, fm_array_bytes(shards, sizeof(*b->start)));
    b->feature = fm_take(a, fm_array_bytes(net->max_nnz, sizeof(*b->feature)));
    b->row = fm_take(a, fm_array_bytes(net->max_nnz, sizeof(*b->row)));
    b->value = fm_take(a, fm_array_bytes(net->max_nnz, plan->kernels->item));
}

static void lay_out_member(fm_net *net, int rank, fm_arena *a)
{
    fm_plan *plan = &net->members[rank].plan;
    *plan = net->plan;
    if (rank > 0) {
        *plan = fm_plan_copy(&net->plan, a);
        fm_plan_lay_out_parameters(plan, a);
    }
    fm_plan_lay_out_sums(plan, a);
}

/* Before the network has its memory: an arena without any leaves no pointers. */
static size_t count_member(fm_net *net)
{
    fm_arena a = {0};
    lay_out_member(net, FM_MAX_PARTS - 1, &a);
    return a.overflow ? SIZE_MAX : a.used;
}

static int reserve_member(fm_net *net, int rank)
{
    fm_member *m = &net->members[rank];
    m->memory = fm_aligned_alloc(64, net->member_bytes);
    if (!m->memory)
        return 0;
    fm_arena a = {.base = m->memory};
    lay_out_member(net, rank, &a);
    net->n_members = rank + 1;
    return 1;
}

/* Scratch for a team of so many members; whether there is enough. */
static int reserve_scratch(fm_net *net, int size)
{
    if (size <= net->n_scratch)
        return 1;
    void *scratch = fm_aligned_alloc(64, (size_t)size * net->scratch_bytes);
    if (!scratch)
        return 0;
    fm_aligned_free(net->scratch);
    net->scratch = scratch;
    net->n_scratch = size;
    return 1;
}

int fm_net_reserve(fm_net *net, int size)
{
    int enough = reserve_scratch(net, size);
    if (net->plan.parts > 1 && size > 1)
        while (enough && net->n_members < size)
            enough = reserve_member(net, net->n_members);
    return enough;
}

static fm_status allocate(fm_net *net, const fm_config *c)
{
    if (net->plan.parts > 1)
        net->member_bytes = count_member(net);
    fm_arena a = {0};
    lay_out(net, c, &a);
    if (a.overflow)
        return FM_TOO_LARGE;
    const size_t bytes = a.used;
    net->memory = fm_aligned_alloc(64, bytes);
    if (!net->memory)
        return FM_NO_MEMORY;
    fm_prefer_large_pages(net->memory, bytes);
    memset(net->memory, 0, bytes);
    a = (fm_arena){.base = net->memory};
    lay_out(net, c, &a);
    FM_ASSERT(a.used == bytes);
    for (int64_t k = 0; c->loss_parameters && k < fm_plan_outputs(&net->plan)->width; k++)
        net->loss_parameters[k] = c->loss_parameters[k];
    return FM_OK;
}

/* Whether the gradient of one block is too much work not to ask whether to end. */
static int is_slow(const fm_config *c)
{
    return fm_forward_work(&c->network) * (double)c->max_rows > FM_WORK_AT_ONCE;
}

static int normalizes_batches(const fm_network *network)
{
    int any = 0;
    for (int l = 0; l < network->n_layers; l++)
        any |= network->layers[l].normalization == FM_BATCH_NORM;
    return any;
}

fm_status fm_net_build(fm_net **out, const fm_kernels *kernels, const fm_config *c)
{
    const int updates = c->optimizer.row != FM_OPTIMIZER_none;
    const int whole = normalizes_batches(&c->network);
    const int64_t most_rows = whole ? INT64_MAX : FM_MAX_BLOCK;
    const fm_plan_use use = {
        .max_rows = c->max_rows < most_rows ? c->max_rows : most_rows,
        .csr = c->max_nnz > 0,
        .training = 1,
        .n_slots = updates ? fm_optimizer_row(c->optimizer.row)->n_slots : 0,
        .keeps_gradient =
            !updates || c->max_grad_norm > 0 || c->max_rows > FM_MAX_BLOCK || is_slow(c),
        .averages = updates && c->averaging > 0,
        .clips = updates && c->max_grad_norm > 0,
        .has_l2 = c->alpha != 0,
        .whole_batches = whole,
    };
    fm_net *net = *out = calloc(1, sizeof(*net));
    if (!net)
        return FM_NO_MEMORY;
    net->loss = c->loss;
    net->seed = c->seed;
    net->max_nnz = c->max_nnz;
    net->interrupt = c->interrupt;
    net->averaging = c->averaging;
    net->max_grad_norm = c->max_grad_norm;
    net->step = (fm_step){.optimizer = c->optimizer, .alpha = c->alpha};
    fm_status status = fm_plan_compile(&net->plan, kernels, &c->network, use);
    if (status == FM_OK)
        status = allocate(net, c);
    if (status != FM_OK) {
        fm_net_free(net);
        *out = NULL;
        return status;
    }
    net->scratch_bytes = fm_plan_scratch_bytes(&net->plan);
    net->n_current = 1;
    return FM_OK;
}

void fm_net_free(fm_net *net)
{
    if (!net)
        return;
    for (int i = 0; i < net->n_members; i++)
        fm_aligned_free(net->members[i].memory);
    fm_aligned_free(net->scratch);
    fm_aligned_free(net->memory);
    fm_plan_free(&net->plan);
    free(net);
}

const char *fm_net_isa(const fm_net *net) { return net->plan.kernels->isa; }

static int part_of_slot(const fm_net *net, int slot)
{
    return slot < 0 ? FM_PARAMS : slot < net->plan.use.n_slots ? FM_SLOTS + slot : FM_AVERAGE;
}

fm_status fm_net_load(fm_net *net, int slot, const fm_parameters *layers)
{
    if (!fm_has_slot(net, slot))
        return FM_BAD_ARGUMENT;
    net->n_current = 1;
    return fm_plan_load(&net->plan, part_of_slot(net, slot), layers, NULL);
}

fm_status fm_net_store(const fm_net *net, int slot, const fm_parameters *layers)
{
    if (!fm_has_slot(net, slot))
        return FM_BAD_ARGUMENT;
    fm_plan_store(&net->plan, part_of_slot(net, slot), layers);
    return FM_OK;
}

int fm_net_state_finite(const fm_net *net)
{
    for (int i = 0; i < net->plan.n_stages; i++)
        for (int slot = 0; slot < net->plan.use.n_slots; slot++)
            if (net->plan.stages[i].part[part_of_slot(net, slot)] &&
                !net->plan.kernels->part_finite(&net->plan.stages[i], part_of_slot(net, slot)))
                return 0;
    return 1;
}
