/* net.h - a network that trains, for the files of engine/. */
#ifndef FM_NET_H
#define FM_NET_H

#include "engine/plan.h"

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
    double *row_loss;        /* (rows of a block,) */
    double *row_weights;     /* (rows of a block,) */
    fm_buckets buckets;
    void *memory;
    size_t scratch_bytes;    /* of each member of a team */
    int n_scratch;           /* members that scratch is there for */
    char *scratch;           /* (n_scratch, scratch_bytes) */
    int leaves[2];           /* in turn: whether the leader found that the team should end */
};

/* On a given kernel set; fm_net_create without the checks. */
fm_status fm_net_build(fm_net **out, const fm_kernels *kernels, const fm_config *config);

/* fm_predict on a given kernel set, without the checks of its arguments. */
fm_status fm_predict_on(const fm_kernels *kernels, void *out, const fm_matrix *X,
                        const fm_network *network, const fm_parameters *parameters,
                        int check_finite, fm_watch *watch, int n_threads);

#endif
