/* net.h - a network that trains, for the files of engine/. */
#ifndef FM_NET_H
#define FM_NET_H

#include "engine/plan.h"

/* What a member of a team on a replicated network works on alone. */
typedef struct {
    fm_plan plan;            /* of member 0 the network's own, else a copy of it */
    void *memory;
} fm_member;

struct fm_net {
    fm_plan plan;
    fm_choice loss;
    uint32_t seed;
    double *loss_parameters; /* (outputs,): instead of its first parameter; or NULL */
    int64_t max_nnz;         /* 0: dense X only; else CSR X only */
    fm_step step;            /* its constant part */
    double averaging;        /* decay of the average of weights; 0: there is none */
    double max_grad_norm;    /* 0: gradients are not clipped */
    fm_interrupt interrupt;
    double *row_loss;        /* (turns, rows of a block) */
    double *row_weights;     /* (turns, rows of a block) */
    fm_buckets buckets;
    void *memory;
    size_t scratch_bytes;    /* of each member of a team */
    int n_scratch;           /* members that scratch is there for */
    char *scratch;           /* (n_scratch, scratch_bytes) */
    /* What the leader found, in turn: that the call has ended; that the team should. */
    int ended[2], leaves[2];
    /* replicated networks */
    fm_member members[FM_MAX_PARTS];
    int n_members;           /* that memory is there for */
    int n_current;           /* whose parameters are the network's */
    size_t member_bytes;
};

/* What one member of a replicated network's team writes and others read has two places: they
 * meet once in a mini-batch, and then some write while others still read. */
static inline int fm_turns(const fm_net *net) { return net->plan.parts > 1 ? 2 : 1; }

/* Memory for a team of so many members; whether there is enough. */
int fm_net_reserve(fm_net *net, int size);

/* On a given kernel set; fm_net_create without the checks. */
fm_status fm_net_build(fm_net **out, const fm_kernels *kernels, const fm_config *config);

/* fm_predict on a given kernel set, without the checks of its arguments. */
fm_status fm_predict_on(const fm_kernels *kernels, void *out, const fm_matrix *X,
                        const fm_network *network, const fm_parameters *parameters,
                        int check_finite, fm_watch *watch, int n_threads);

#endif
