/* few.h - prediction of a few rows on row-major weights. */
#ifndef FM_FEW_H
#define FM_FEW_H

#include "kernels/layout.h"
#include "kernels/row_loss.h"

/* Some features of up to FM_FEW rows: their values, and their rows of W. */
enum { FM_FEW_K = 8 };
typedef struct {
    int n;
    T x[FM_FEW_K][FM_FEW];
    const T *W[FM_FEW_K];
} fm_few_features;

/* nv vectors of z (rows, N), from column n, += x W; rounds: W, to bfloat16. */
FM_INLINE void fm_few_tile(const int rows, const int nv, const int rounds, T *z, int64_t N,
                           int64_t n, const fm_few_features *f)
{
    V acc[FM_FEW][4];
    FM_EACH(i, rows)
        FM_EACH(v, nv)
            acc[i][v] = v_load(z + i * N + n + v * FM_LANES);
    for (int k = 0; k < f->n; k++) {
        V w[4];
        FM_EACH(v, nv) {
            w[v] = v_load(f->W[k] + n + v * FM_LANES);
            w[v] = rounds ? v_rounded(w[v]) : w[v];
        }
        FM_EACH(i, rows) {
            const V x = v_set1(f->x[k][i]);
            FM_EACH(v, nv)
                acc[i][v] = v_fma(x, w[v], acc[i][v]);
        }
    }
    FM_EACH(i, rows)
        FM_EACH(v, nv)
            v_store(z + i * N + n + v * FM_LANES, acc[i][v]);
}

FM_INLINE void fm_few_add(const int rows, const int rounds, T *z, int64_t N,
                          const fm_few_features *f)
{
    const int nv = rows == 1 ? 4 : 2;
    int64_t n = 0;
    for (; n + nv * FM_LANES <= N; n += nv * FM_LANES)
        fm_few_tile(rows, nv, rounds, z, N, n, f);
    for (; n + FM_LANES <= N; n += FM_LANES)
        fm_few_tile(rows, 1, rounds, z, N, n, f);
    if (n == N)
        return;
    const int c = (int)(N - n);
    V acc[FM_FEW];
    FM_EACH(i, rows)
        acc[i] = v_load_part(z + i * N + n, c);
    for (int k = 0; k < f->n; k++) {
        V w = v_load_part(f->W[k] + n, c);
        w = rounds ? v_rounded(w) : w;
        FM_EACH(i, rows)
            acc[i] = v_fma(v_set1(f->x[k][i]), w, acc[i]);
    }
    FM_EACH(i, rows)
        v_store_part(z + i * N + n, acc[i], c);
}

/* z (rows, N) = x (rows, K) W + b with W row-major, for up to FM_FEW rows. Memory
 * sets the pace: W is read once, from front to back and some of its rows at a
 * time; rows that only meet zeros (dark pixels, half of what relu leaves) are not
 * read at all (0 times a finite weight adds nothing). Every element is one chain
 * along k, through z. */
FM_INLINE void fm_few_rows(const int rows, const int rounds, T *z, const T *x, const T *W,
                           const T *b, int64_t K, int64_t N)
{
    fm_few_features f;
    f.n = 0;
    memset(z, 0, (size_t)(rows * N) * sizeof(T));
    for (int64_t k = 0; k < K; k++) {
        int matters = 0;
        FM_EACH(i, rows) {
            f.x[f.n][i] = x[i * K + k];
            matters |= x[i * K + k] != 0;
        }
        f.W[f.n] = W + k * N;
        f.n += matters;
        if (f.n == FM_FEW_K || k + 1 == K) {
            fm_few_add(rows, rounds, z, N, &f);
            f.n = 0;
        }
    }
    for (int i = 0; i < rows && b; i++)
        for (int64_t n = 0; n < N; n++)
            z[i * N + n] += b[n];
}

/* b: or NULL. */
static void fm_few_product(T *z, const T *x, int64_t n_rows, const T *W, const T *b, int64_t K,
                           int64_t N, int rounds)
{
    switch (rounds && !FM_F64 ? FM_FEW + n_rows : n_rows) {
#define FM_FEW_CASE(n)                                  \
    case n: fm_few_rows(n, 0, z, x, W, b, K, N); break; \
    case FM_FEW + n: fm_few_rows(n, !FM_F64, z, x, W, b, K, N); break;
        FM_FEW_CASE(1)
        FM_FEW_CASE(2)
        FM_FEW_CASE(3)
        FM_FEW_CASE(4)
#undef FM_FEW_CASE
    default: FM_ASSERT(!"few rows");
    }
}

/* The sum over a row of z, or of (z - mean)^2, in 16 chains by column mod 16. */
FM_INLINE T fm_few_sum(const int squared, const T *z, V mean, int64_t N)
{
    V lanes[FM_GROUP];
    FM_EACH(g, FM_GROUP)
        lanes[g] = v_zero();
    for (int64_t n = 0, i = 0; n < N; n += FM_LANES, i++) {
        const int c = N - n < FM_LANES ? (int)(N - n) : FM_LANES;
        V x = v_load_part(z + n, c);
        if (squared)
            x = (x - mean) * (x - mean);
        lanes[i % FM_GROUP] += c < FM_LANES ? fm_keep_below(x, n, N) : x;
    }
    return fm_sum16(lanes);
}

/* A row of z as normalize.h does it. */
static void fm_few_normalize(T *z, const fm_parameters *p, fm_normalization kind, int64_t N)
{
    const T *scale = p->scale, *shift = p->shift, *means = p->mean, *variances = p->variance;
    V mean = v_zero(), variance = v_zero();
    if (kind == FM_LAYER_NORM) {
        mean = v_set1(fm_few_sum(0, z, mean, N)) / v_set1((T)N);
        variance = v_set1(fm_few_sum(1, z, mean, N)) / v_set1((T)N);
    }
    for (int64_t n = 0; n < N; n += FM_LANES) {
        const int c = N - n < FM_LANES ? (int)(N - n) : FM_LANES;
        if (kind == FM_BATCH_NORM) {
            mean = v_load_part(means + n, c);
            variance = v_load_part(variances + n, c);
        }
        const V inverse = v_set1(1) / v_sqrt(variance + v_set1((T)FM_NORM_EPSILON));
        const V x = (v_load_part(z + n, c) - mean) * inverse;
        v_store_part(z + n, v_fma(x, v_load_part(scale + n, c), v_load_part(shift + n, c)), c);
    }
}

/* What a hidden layer makes of x (n_rows, K): to (n_rows, N). room: like to. */
static void fm_few_hidden(T *to, T *room, const T *x, int64_t n_rows, const fm_layer *layer,
                          const fm_parameters *p, int64_t K, int rounds)
{
    const int64_t N = layer->width;
    fm_few_product(to, x, n_rows, p->W, p->b, K, N, rounds);
    for (int64_t r = 0; r < n_rows && layer->normalization != FM_NO_NORM; r++)
        fm_few_normalize(to + r * N, p, layer->normalization, N);
    fm_activate(&layer->activation, to, n_rows * N);
    if (layer->residual && K != N)
        fm_few_product(room, x, n_rows, p->P, NULL, K, N, rounds);
    for (int64_t i = 0; i < n_rows * N && layer->residual; i++)
        to[i] += K != N ? room[i] : x[i];
    if (rounds)
        fm_round(to, n_rows * N);
}

static void fm_predict_few(void *out, void *scratch, const void *x, int64_t n_rows,
                           const fm_network *network, const fm_parameters *parameters)
{
    const int64_t n_inputs = network->n_inputs, size = n_rows * fm_widest(network);
    const int last = network->n_layers - 1, rounds = network->dtype == FM_BFLOAT16;
    const fm_layer *output = &network->layers[last];
    const T *from = x;
    if (rounds) { /* rounded into the room that the second layer writes to */
        from = memcpy((T *)scratch + size, x, (size_t)(n_rows * n_inputs) * sizeof(T));
        fm_round((T *)from, n_rows * n_inputs);
    }
    int64_t K = n_inputs;
    for (int i = 0; i < last; i++) {
        T *to = (T *)scratch + i % 2 * size;
        fm_few_hidden(to, (T *)scratch + 2 * size, from, n_rows, &network->layers[i],
                      &parameters[i], K, rounds);
        from = to;
        K = network->layers[i].width;
    }
    const int64_t N = output->width;
    fm_few_product(out, from, n_rows, parameters[last].W, parameters[last].b, K, N, rounds);
    if (output->activation.row != FM_ACT_softmax)
        fm_activate(&output->activation, out, n_rows * N);
    for (int64_t r = 0; r < n_rows && output->activation.row == FM_ACT_softmax; r++)
        fm_softmax((T *)out + r * N, 1, N, 0, 1); /* a row is one column of Z^T with ld 1 */
}

#endif
