/* dropout.h - dropout in training (Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov
 * 2014, "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15), in its
 * inverted form: a number is set to 0 with probability p, else divided by 1 - p.
 *
 * Which numbers are kept follows from a counter and not from a state (Salmon, Moraes, Dror,
 * Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11): Philox 4x32-10 of the
 *     counter  column, row / 4, low and high half of the update's number
 *     key      seed, number of the value
 * gives 32 bits for each of four rows; of these the upper 23 decide. So the way back finds
 * the same masks again without memory, and they depend on neither threads nor ISA. Rows are
 * numbered within the mini-batch.
 */
#ifndef FM_DROPOUT_H
#define FM_DROPOUT_H

#include "kernels/csr.h"

enum { FM_ROUNDS = 10 };

typedef struct {
    V threshold;             /* 1 + p */
    V scale;                 /* 1 / (1 - p) */
    VW update[2];            /* its halves */
    VW keys[FM_ROUNDS][2];
    int64_t first_row;       /* of the batch in its mini-batch */
} fm_dropout;

FM_INLINE int fm_drops(const fm_value *v, const fm_pass *pass)
{
    return pass->training && v->dropout > 0;
}

FM_INLINE VW v_set_halves(uint32_t x) { return (VW){0} + (uint64_t)x; }

static fm_dropout fm_dropout_of(const fm_value *v, const fm_pass *pass)
{
    const uint64_t update = (uint64_t)pass->update;
    fm_dropout d = {.threshold = v_set1((T)(float)(1 + v->dropout)),
                    .scale = v_set1((T)(1 / (1 - v->dropout))),
                    .update = {v_set_halves((uint32_t)update), v_set_halves(update >> 32)},
                    .first_row = pass->first_row};
    for (uint32_t round = 0; round < FM_ROUNDS; round++) {
        d.keys[round][0] = v_set_halves(pass->seed + round * 0x9E3779B9u);
        d.keys[round][1] = v_set_halves((uint32_t)v->number + round * 0xBB67AE85u);
    }
    return d;
}

/* Lanes of 64 bits, of which the low halves count. */
FM_INLINE void fm_philox(VW c[4], const VW keys[FM_ROUNDS][2])
{
    FM_EACH(round, FM_ROUNDS) {
        const VW p0 = v_mul_halves(c[0], 0xD2511F53u), p1 = v_mul_halves(c[2], 0xCD9E8D57u);
        c[0] = (p1 >> 32) ^ (c[1] ^ keys[round][0]);
        c[1] = p1;
        c[2] = (p0 >> 32) ^ (c[3] ^ keys[round][1]);
        c[3] = p0;
    }
}

/* Columns, one for each lane of V: in float32 those of even and of odd lanes. */
typedef struct {
    VW of[FM_F64 ? 1 : 2];
} fm_lane_columns;

FM_INLINE fm_lane_columns fm_columns_from(int64_t column)
{
#define FM_NUMBER(i, h) (i)
    const VU number = (VU){FM_EACH_LANE(FM_NUMBER, 0)} + (TU)column;
#undef FM_NUMBER
#if FM_F64
    return (fm_lane_columns){{number}};
#else
    return (fm_lane_columns){{(VW)number & 0xffffffffu, (VW)number >> 32}};
#endif
}

/* Where rows 4 quad .. 4 quad + 3 of the mini-batch are dropped: numbers from [1, 2). */
FM_INLINE void fm_uniform(V u[4], const fm_dropout *d, int64_t quad, fm_lane_columns columns)
{
    VW c[FM_F64 ? 1 : 2][4];
    FM_EACH(set, FM_F64 ? 1 : 2) {
        c[set][0] = columns.of[set];
        c[set][1] = (VW){0} + (uint64_t)quad;
        c[set][2] = d->update[0];
        c[set][3] = d->update[1];
        fm_philox(c[set], d->keys);
    }
    FM_EACH(i, 4) {
#if FM_F64
        const VW bits = (c[0][i] & 0xfffffe00u) << 20;
        u[i] = (V)(bits | 0x3ff0000000000000u);
#else
        const VU bits = (VU)((c[0][i] & 0xffffffffu) | (c[1][i] << 32));
        u[i] = (V)((bits >> 9) | 0x3f800000u);
#endif
    }
}

FM_INLINE V fm_dropped(const fm_dropout *d, V u, V x)
{
    return v_drop(v_lt(u, d->threshold), x * d->scale);
}

/* Rows r0..r1 of a panel, x (r1 - r0, NR), whose first column is given. */
static void fm_drop_panel(const fm_dropout *dropout, T *x, int64_t column, int64_t r0, int64_t r1)
{
    const fm_dropout d = *dropout; /* which no store can change: half of two rounds is invariant */
    const int64_t first = d.first_row + r0, end = d.first_row + r1;
    for (int v = 0; v < FM_PANEL; v += FM_LANES) {
        const fm_lane_columns columns = fm_columns_from(column + v);
        for (int64_t quad = first / 4; 4 * quad < end; quad++) {
            V u[4];
            fm_uniform(u, &d, quad, columns);
            FM_EACH(i, 4) {
                const int64_t row = 4 * quad + i;
                T *at = x + (row - first) * FM_PANEL + v;
                if (row >= first && row < end)
                    v_store(at, fm_dropped(&d, u[i], v_load(at)));
            }
        }
    }
}

/* The non-zeros of row r of a CSR batch. */
static void fm_drop_chunk(const fm_dropout *d, fm_csr_chunk *chunk, int n, int64_t r)
{
    enum { SETS = FM_F64 ? 1 : 2 };
    const int64_t row = d->first_row + r;
    for (int e = n; e % FM_LANES; e++)
        chunk->feature[e] = 0;
    for (int e = 0; e < n; e += FM_LANES) {
        fm_lane_columns columns;
        V u[4];
        FM_EACH(i, FM_LANES)
            columns.of[i % SETS][i / SETS] = (uint64_t)chunk->feature[e + i];
        fm_uniform(u, d, row / 4, columns);
        const V x = v_load_part(chunk->value + e, n - e < FM_LANES ? n - e : FM_LANES);
        v_store(chunk->value + e, fm_dropped(d, u[row % 4], x));
    }
}

/* Non-zeros i.. of row r of the batch, those that are kept; returns how many were read. */
static int fm_read_kept(fm_csr_chunk *chunk, const fm_value *v, const fm_pass *pass, int64_t i,
                        int64_t end, int64_t r)
{
    const int n = fm_read_chunk(chunk, pass->batch->X, i, end, v->rounds);
    if (fm_drops(v, pass)) {
        const fm_dropout dropout = fm_dropout_of(v, pass);
        fm_drop_chunk(&dropout, chunk, n, r);
        if (v->rounds)
            fm_round(chunk->value, n);
    }
    return n;
}

#endif
