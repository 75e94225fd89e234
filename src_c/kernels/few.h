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

FM_INLINE void fm_few_add(const int rows, const int rounds, T *z, int64_t N, int64_t n0, int64_t n1,
                          const fm_few_features *f)
{
    const int nv = rows == 1 ? 4 : 2;
    int64_t n = n0;
    for (; n + nv * FM_LANES <= n1; n += nv * FM_LANES)
        fm_few_tile(rows, nv, rounds, z, N, n, f);
    for (; n + FM_LANES <= n1; n += FM_LANES)
        fm_few_tile(rows, 1, rounds, z, N, n, f);
    if (n == n1)
        return;
    const int c = (int)(n1 - n);
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

/* Columns n0..n1 of z (rows, N) = x (rows, K) W + b with W row-major, for up to FM_FEW
 * rows. Memory sets the pace: W is read once, from front to back and some of its rows at
 * a time; rows that only meet zeros (dark pixels, half of what relu leaves) are not
 * read at all (0 times a finite weight adds nothing). Every element is one chain
 * along k, through z. */
FM_INLINE void fm_few_rows(const int rows, const int rounds, T *z, const T *x, const T *W,
                           const T *b, int64_t K, int64_t N, int64_t n0, int64_t n1)
{
    fm_few_features f;
    f.n = 0;
    if (n1 - n0 == N)
        memset(z, 0, (size_t)(rows * N) * sizeof(T));
    for (int i = 0; i < rows && n1 - n0 < N; i++)
        memset(z + i * N + n0, 0, (size_t)(n1 - n0) * sizeof(T));
    for (int64_t k = 0; k < K; k++) {
        int matters = 0;
        FM_EACH(i, rows) {
            f.x[f.n][i] = x[i * K + k];
            matters |= x[i * K + k] != 0;
        }
        f.W[f.n] = W + k * N;
        f.n += matters;
        if (f.n == FM_FEW_K || k + 1 == K) {
            fm_few_add(rows, rounds, z, N, n0, n1, &f);
            f.n = 0;
        }
    }
    for (int i = 0; i < rows && b; i++)
        for (int64_t n = n0; n < n1; n++)
            z[i * N + n] += b[n];
}

/* b: or NULL. */
static void fm_few_columns(T *z, const T *x, const T *W, const T *b, const fm_few *pass, int64_t n0,
                           int64_t n1)
{
    const int rounds = pass->network->dtype == FM_BFLOAT16 && !FM_F64;
    const int64_t K = fm_fan_in(pass->network, pass->layer);
    const int64_t N = pass->network->layers[pass->layer].width;
    switch (rounds ? FM_FEW + pass->n_rows : pass->n_rows) {
#define FM_FEW_CASE(n)                                          \
    case n: fm_few_rows(n, 0, z, x, W, b, K, N, n0, n1); break; \
    case FM_FEW + n: fm_few_rows(n, !FM_F64, z, x, W, b, K, N, n0, n1); break;
        FM_FEW_CASE(1)
        FM_FEW_CASE(2)
        FM_FEW_CASE(3)
        FM_FEW_CASE(4)
#undef FM_FEW_CASE
    default: FM_ASSERT(!"few rows");
    }
}

static void fm_few_product(const fm_few *pass, void *to, const void *x, int64_t n0, int64_t n1)
{
    const fm_parameters *p = &pass->parameters[pass->layer];
    fm_few_columns(to, x, p->W, p->b, pass, n0, n1);
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

static void fm_few_finish_output(T *out, const fm_layer *layer, int64_t n_rows)
{
    if (layer->activation.row != FM_ACT_softmax)
        fm_activate(&layer->activation, out, n_rows * layer->width);
    for (int64_t r = 0; r < n_rows && layer->activation.row == FM_ACT_softmax; r++)
        fm_softmax(out + r * layer->width, 1, layer->width, 0, 1); /* one column of Z^T, ld 1 */
}

static void fm_few_finish(const fm_few *pass, void *to, const void *x, void *room)
{
    const fm_network *network = pass->network;
    const fm_layer *layer = &network->layers[pass->layer];
    const fm_parameters *p = &pass->parameters[pass->layer];
    const int64_t K = fm_fan_in(network, pass->layer), N = layer->width, n = pass->n_rows * N;
    if (pass->layer + 1 == network->n_layers) {
        fm_few_finish_output(to, layer, pass->n_rows);
        return;
    }
    for (int64_t r = 0; r < pass->n_rows && layer->normalization != FM_NO_NORM; r++)
        fm_few_normalize((T *)to + r * N, p, layer->normalization, N);
    fm_activate(&layer->activation, to, n);
    if (layer->residual && K != N)
        fm_few_columns(room, x, p->P, NULL, pass, 0, N);
    for (int64_t i = 0; i < n && layer->residual; i++)
        ((T *)to)[i] += ((const T *)(K != N ? room : x))[i];
    if (network->dtype == FM_BFLOAT16)
        fm_round(to, n);
}

static void fm_round_all(void *x, int64_t n) { fm_round(x, n); }

#endif
