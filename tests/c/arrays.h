/* arrays.h - the arrays of a layer's parameters, one after the other, for the tests. */
#ifndef ARRAYS_H
#define ARRAYS_H

enum { WEIGHTS, BIASES, SCALE, SHIFT, MEAN, VARIANCE, PROJECTION, N_KINDS };

static inline void **array_of(fm_parameters *p, int kind)
{
    void **const arrays[N_KINDS] = {&p->W,    &p->b,        &p->scale, &p->shift,
                                    &p->mean, &p->variance, &p->P};
    return arrays[kind];
}

/* 0 where the layer has no such array. */
static inline int64_t n_numbers(const fm_layer *layer, int64_t fan_in, int kind)
{
    switch (kind) {
    case WEIGHTS: return fan_in * layer->width;
    case BIASES: return layer->width;
    case SCALE:
    case SHIFT: return layer->normalization == FM_NO_NORM ? 0 : layer->width;
    case MEAN:
    case VARIANCE: return layer->normalization == FM_BATCH_NORM ? layer->width : 0;
    default: return layer->residual && fan_in != layer->width ? fan_in * layer->width : 0;
    }
}

/* Random ones are drawn from here, with a width of their own: a variance is not negative. */
static inline double centre(int kind) { return kind == SCALE || kind == VARIANCE ? 1.5 : 0; }

#endif
