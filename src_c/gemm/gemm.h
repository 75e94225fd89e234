/* gemm.h - the matrix products of a step, on panels.
 *
 * A panel matrix of r rows and c columns lies as ceil(c / NR) panels, each
 * (r, NR) row-major: [c / NR][r][NR], NR = FM_PANEL. Columns past c are padding.
 * Its contract: what writes a row of a panel writes the padding too (FM_PADDING, or
 * what a loop over whole vectors makes of it), and nothing that counts is computed from
 * it: it may be NaN, and is never multiplied by 0 but left out. Activations,
 * deltas and weights all lie so; every product below then reads and writes with
 * unit stride, and nothing is packed per step.
 *
 *   fm_gemm_rows     C = epilogue(A B)     forward: Z = A W; backward: delta W^T
 *   fm_gemm_columns  C (+)= A^T B          gradient: dW = A^T delta, one panel
 *   fm_gemm_narrow   C (+)= D A            gradient of a narrow layer's W^T
 *   fm_gemm_dot      C = W A^T             forward of a narrow layer: Z^T
 *
 * Every element is one chain of fused multiply-adds along k in ascending order
 * (fm_gemm_dot: 16 chains, lane by k mod 16, then a fixed tree), whatever the
 * tile. That is what makes results the same on every ISA with FMA.
 */
#ifndef FM_GEMM_H
#define FM_GEMM_H

#include "gemm/nonzeros.h"
#include "gemm/tile.h"

/* A product along few k, such as the delta of one output or the four features of
 * iris: the k rows of B stay in registers while rows of A pass by. A tile costs
 * more to begin and to end than so short a sum: 4-100-3 went from 14.1 to 12.7 us
 * per step, the delta of a single output from 2.4 to 2.0 and less. */
enum { FM_THIN = 4 };

/* kind: the one that is in end. */
enum { FM_WITHOUT, FM_WITH_BIAS, FM_WITH_MASK, FM_WITH_SLOPE };

FM_INLINE void fm_thin_loop(const int k, const int nv, const int kind, T *C, const T *A,
                            ptrdiff_t i_step, ptrdiff_t k_step, const T *B, int64_t rows,
                            const fm_epilogue *end)
{
    fm_epilogue row = {.bias = kind == FM_WITH_BIAS ? end->bias : NULL, .floor = end->floor};
    V b[FM_THIN][FM_NV];
    FM_EACH(q, k)
        FM_EACH(v, nv)
            b[q][v] = v_load(B + q * FM_PANEL + v * FM_LANES);
    for (int64_t i = 0; i < rows; i++, A += i_step, C += FM_PANEL) {
        row.mask = kind == FM_WITH_MASK ? end->mask + i * FM_PANEL : NULL;
        row.slope = kind == FM_WITH_SLOPE ? end->slope + i * FM_PANEL : NULL;
        V acc[1][FM_NV];
        FM_EACH(v, nv)
            acc[0][v] = v_zero();
        FM_EACH(q, k) {
            const V a = v_set1(A[q * k_step]);
            FM_EACH(v, nv)
                acc[0][v] = v_fma(a, b[q][v], acc[0][v]);
        }
        fm_finish_tile(1, nv, C, acc, &row);
    }
}

FM_INLINE void fm_thin_rows_k(const int k, const int nv, T *C, const T *A, ptrdiff_t i_step,
                              ptrdiff_t k_step, const T *B, int64_t rows, const fm_epilogue *end)
{
    FM_ASSERT(!end->bias + !end->mask + !end->slope >= 2);
    if (end->bias)
        fm_thin_loop(k, nv, FM_WITH_BIAS, C, A, i_step, k_step, B, rows, end);
    else if (end->mask)
        fm_thin_loop(k, nv, FM_WITH_MASK, C, A, i_step, k_step, B, rows, end);
    else if (end->slope)
        fm_thin_loop(k, nv, FM_WITH_SLOPE, C, A, i_step, k_step, B, rows, end);
    else
        fm_thin_loop(k, nv, FM_WITHOUT, C, A, i_step, k_step, B, rows, end);
}

static __attribute__((noinline)) void fm_thin_rows(int64_t k, int half, T *C, const T *A,
                                                   ptrdiff_t i_step, ptrdiff_t k_step, const T *B,
                                                   int64_t rows, const fm_epilogue *end)
{
    switch (half ? FM_THIN + k : k) {
#define FM_THIN_CASE(n)                                                          \
    case n: fm_thin_rows_k(n, FM_NV, C, A, i_step, k_step, B, rows, end); break; \
    case FM_THIN + n: fm_thin_rows_k(n, FM_NV / 2, C, A, i_step, k_step, B, rows, end); break;
        FM_THIN_CASE(1)
        FM_THIN_CASE(2)
        FM_THIN_CASE(3)
        FM_THIN_CASE(4)
#undef FM_THIN_CASE
    default: FM_ASSERT(!"few terms");
    }
}

/* n in the fewest pieces of at most so many, as equal as multiples of step allow: a short last
 * one would begin and end its tiles for little. */
FM_INLINE int64_t fm_even_piece(int64_t n, int64_t most, int64_t step)
{
    if (n <= most)
        return n;
    const int64_t pieces = (n + most - 1) / most;
    return ((n + pieces - 1) / pieces + step - 1) / step * step;
}

/* Rows of A that go through all panels of B together, because kc columns of theirs
 * fit into L2, or their tiles into lists: of row i on to row n, in blocks of about
 * equal height. */
FM_INLINE int64_t fm_block_height(int64_t i, int64_t n, int64_t kc, int listed)
{
    const int64_t left = n - i;
    if (!listed && left * kc * (int64_t)sizeof(T) <= FM_A_BYTES)
        return left; /* without the divisions */
    const int64_t fit = FM_A_BYTES / (kc * (int64_t)sizeof(T));
    const int64_t most = listed && fit > FM_LISTED_TILES * FM_MR ? FM_LISTED_TILES * FM_MR : fit;
    const int64_t blocks = (left + most - 1) / most;
    const int64_t height = (left / blocks + FM_MR - 1) / FM_MR * FM_MR;
    return height < left ? height : left;
}

/* That of tiles from element `at` of C on, in panel j, once their sums are complete. */
FM_INLINE fm_epilogue fm_epilogue_at(const fm_epilogue *all, int complete, int64_t j, ptrdiff_t at)
{
    return (fm_epilogue){.bias = complete && all->bias ? all->bias + j * FM_PANEL : NULL,
                         .floor = all->floor,
                         .mask = complete && all->mask ? all->mask + at : NULL,
                         .slope = complete && all->slope ? all->slope + at : NULL};
}

/* Rows of one panel of C, cut into tiles; A and C at the first of them. */
FM_INLINE void fm_cut_tiles(const fm_cut *cut, const int reads, int half, T *C, const T *A,
                            ptrdiff_t step, const T *B, int64_t k, int resume,
                            const fm_epilogue *end)
{
    void (*const tiles)(int, int, int64_t, T *, const T *, ptrdiff_t, const T *, int64_t, int,
                        const fm_epilogue *) = reads == FM_ALONG_PANEL ? fm_tiles_along_panel
                                               : reads == FM_ACROSS    ? fm_tiles_across
                                                                       : fm_tiles_strided;
    if (!cut->taller) {
        tiles(cut->height, half, cut->tiles, C, A, step, B, k, resume, end);
        return;
    }
    const ptrdiff_t rows = cut->taller * (cut->height + 1);
    const fm_epilogue below = fm_epilogue_at(end, 1, 0, rows * FM_PANEL);
    tiles(cut->height + 1, half, cut->taller, C, A, step, B, k, resume, end);
    tiles(cut->height, half, cut->tiles - cut->taller, C + rows * FM_PANEL,
          A + rows * fm_row_step(reads, step), step, B, k, resume, &below);
}

/* The same with lists, one for each tile. */
static void fm_listed_tiles(const fm_cut *cut, int half, T *C, const T *A, const T *B,
                            const fm_row_terms *lists, int resume, const fm_epilogue *all)
{
    ptrdiff_t at = 0;
    for (int64_t tile = 0; tile < cut->tiles; tile++) {
        const int mr = fm_cut_height(cut, tile);
        const fm_epilogue end = fm_epilogue_at(all, 1, 0, at);
        fm_tile_terms(mr, half, C + at, A + at, B, lists->terms[tile], lists->n[tile], resume,
                      &end);
        at += mr * FM_PANEL;
    }
}

/* C[rows r0..r1, n columns] = epilogue(A B), A (., k) and C in panels of c_panel,
 * a_panel elements, B (k, n) in panels of k rows. reads is FM_ALONG_PANEL for A
 * in panels, FM_ACROSS for A given transposed with a_panel elements between k's.
 * resume: on top of what C holds. all: bias (n padded,), mask and slope like C. lists: room
 * for them, if fm_may_list(k, n).
 * Lost: prefetching the next tile's rows of A (Zen 3, f32 and f64 alike). */
static void fm_gemm_rows(T *C, ptrdiff_t c_panel, const T *A, int reads, ptrdiff_t a_panel,
                         const T *B, int64_t k, int64_t n, int64_t r0, int64_t r1, int resume,
                         const fm_epilogue *all, fm_row_terms *lists)
{
    FM_ASSERT(k > 0 && n > 0 && r0 < r1);
    const int listed = reads == FM_ALONG_PANEL && fm_may_list(k, n) &&
                       fm_sample_rows(lists->terms[0], A + r0 * FM_PANEL, a_panel, r1 - r0, k);
    const int along = reads == FM_ALONG_PANEL;
    const int64_t piece = fm_even_piece(k, FM_KC, FM_PANEL);
    for (int64_t k0 = 0; k0 < k; k0 += piece) {
        const int64_t kc = k - k0 < piece ? k - k0 : piece;
        const int last = k0 + kc == k, resumes = resume || k0 > 0;
        const T *a0 = along ? A + k0 / FM_PANEL * a_panel : A + k0 * a_panel;
        for (int64_t b0 = r0, b1; b0 < r1; b0 = b1) {
            b1 = b0 + fm_block_height(b0, r1, kc, listed);
            const fm_cut cut = fm_cut_rows(b1 - b0);
            const T *a = a0 + b0 * (along ? FM_PANEL : 1);
            if (listed)
                fm_list_rows(lists, a0, a_panel, b0, b1, kc);
            for (int64_t j = 0; j * FM_PANEL < n; j++) {
                const ptrdiff_t at = j * c_panel + b0 * FM_PANEL;
                const T *b = B + (j * k + k0) * FM_PANEL;
                const int half = fm_half_panel(n - j * FM_PANEL);
                const fm_epilogue end = fm_epilogue_at(all, last, j, at);
                if (k <= FM_THIN && !resume)
                    fm_thin_rows(k, half, C + at, a, along ? FM_PANEL : 1, along ? 1 : a_panel, b,
                                 b1 - b0, &end);
                else if (listed)
                    fm_listed_tiles(&cut, half, C + at, a, b, lists, resumes, &end);
                else if (along)
                    fm_cut_tiles(&cut, FM_ALONG_PANEL, half, C + at, a, a_panel, b, kc, resumes,
                                 &end);
                else
                    fm_cut_tiles(&cut, FM_ACROSS, half, C + at, a, a_panel, b, kc, resumes, &end);
            }
        }
    }
}

/* Features of one panel of A, with a list of rows for each tile. */
static void fm_listed_columns(const fm_cut *cut, int half, T *C, const T *A, const T *B,
                              const uint16_t (*rows)[FM_MAX_BLOCK], const int *n, int resume)
{
    for (int64_t tile = 0; tile < cut->tiles; tile++) {
        const int mr = fm_cut_height(cut, tile);
        fm_tile_rows(mr, half, C, A, B, rows[tile], n[tile], resume);
        C += mr * FM_PANEL;
        A += mr;
    }
}

/* C (features, NR) (+)= A[m rows, n features]^T B (m, NR): one panel of dW, or the
 * first half of one. A in panels of a_panel elements. lists: of these features, or
 * NULL. */
static void fm_gemm_columns(T *C, const T *A, ptrdiff_t a_panel, int64_t n, const T *B, int64_t m,
                            int half, int resume, const fm_feature_rows *lists)
{
    const int64_t piece = fm_even_piece(m, FM_MC, 1);
    for (int64_t s0 = 0; s0 < m; s0 += piece) {
        const int64_t mc = m - s0 < piece ? m - s0 : piece;
        for (int64_t f = 0, p = 0; f < n; f += FM_PANEL, p++) {
            const int64_t width = n - f < FM_PANEL ? n - f : FM_PANEL;
            const T *a = A + p * a_panel;
            T *to = C + f * FM_PANEL;
            const int listed = lists && lists->n[p][0] >= 0;
            if (!listed && m <= FM_THIN && !resume) {
                fm_thin_rows(m, half, to, a, 1, FM_PANEL, B, width, &fm_no_epilogue);
                continue;
            }
            const fm_cut cut = fm_cut_rows(width);
            if (!listed)
                fm_cut_tiles(&cut, FM_ACROSS, half, to, a + s0 * FM_PANEL, FM_PANEL,
                             B + s0 * FM_PANEL, mc, resume || s0 > 0, &fm_no_epilogue);
            else if (s0 == 0)
                fm_listed_columns(&cut, half, to, a, B, lists->rows[p], lists->n[p], resume);
        }
    }
}

/* A narrow layer has at most FM_NARROW outputs and no layer above. Its weights
 * are kept transposed, W^T (n, k) in panels over the features, and its outputs
 * and deltas as Z^T (n, ld): a padded panel would waste up to NR-fold work. */
enum { FM_NARROW = 16 };

/* For fewer rows than fill the accumulators: q panels of B side by side. */
FM_INLINE void fm_tile_side_by_side(const int mr, const int q, T *C, ptrdiff_t c_panel, const T *A,
                                    ptrdiff_t step, const T *B, ptrdiff_t b_panel, int64_t k,
                                    int resume)
{
    V acc[3][4 * FM_NV];
    FM_EACH(i, mr)
        FM_EACH(v, q * FM_NV)
            acc[i][v] = resume
                            ? v_load(C + v / FM_NV * c_panel + i * FM_PANEL + v % FM_NV * FM_LANES)
                            : v_zero();
    for (; k > 0; k--, A++, B += FM_PANEL) {
        V a[3];
        FM_EACH(i, mr)
            a[i] = v_set1(A[i * step]);
        FM_EACH(v, q * FM_NV) {
            V b = v_load(B + v / FM_NV * b_panel + v % FM_NV * FM_LANES);
            FM_EACH(i, mr)
                acc[i][v] = v_fma(a[i], b, acc[i][v]);
        }
    }
    FM_EACH(i, mr)
        FM_EACH(v, q * FM_NV)
            v_store(C + v / FM_NV * c_panel + i * FM_PANEL + v % FM_NV * FM_LANES, acc[i][v]);
}

/* C (n, features) (+)= D (n, m) A[m rows, features f0..f0 + width]; C and A in
 * panels (C's of n rows), D with ld elements between rows, n <= FM_NARROW. */
static void fm_gemm_narrow(T *C, const T *D, int64_t ld, int64_t n, const T *A, ptrdiff_t a_panel,
                           int64_t f0, int64_t width, int64_t m, int resume)
{
    FM_ASSERT(n > 0 && n <= FM_NARROW && f0 % FM_PANEL == 0 && m > 0);
    const ptrdiff_t c_panel = n * FM_PANEL;
    const int64_t panels = (width + FM_PANEL - 1) / FM_PANEL;
    const T *a0 = A + f0 / FM_PANEL * a_panel;
    int64_t p = 0;
    if (n == 1)
        for (; p + 4 <= panels; p += 4)
            fm_tile_side_by_side(1, 4, C + p * c_panel, c_panel, D, ld, a0 + p * a_panel, a_panel,
                                 m, resume);
    else if (n == 2)
        for (; p + 2 <= panels; p += 2)
            fm_tile_side_by_side(2, 2, C + p * c_panel, c_panel, D, ld, a0 + p * a_panel, a_panel,
                                 m, resume);
    else if (n == 3)
        for (; p + 2 <= panels; p += 2)
            fm_tile_side_by_side(3, 2, C + p * c_panel, c_panel, D, ld, a0 + p * a_panel, a_panel,
                                 m, resume);
    const fm_cut cut = fm_cut_rows(n);
    for (; p < panels; p++)
        fm_cut_tiles(&cut, FM_STRIDED, 0, C + p * c_panel, D, ld, a0 + p * a_panel, m, resume,
                     &fm_no_epilogue);
}

/* Sums over lanes: 16 virtual lanes, lane of element k is k mod 16, held by
 * FM_GROUP vectors; then halves are added: 8, 4, 2, 1. */
#define FM_GROUP (16 / FM_LANES)

FM_INLINE V fm_fold_group(const V lanes[FM_GROUP])
{
    V x[FM_GROUP];
    FM_EACH(g, FM_GROUP)
        x[g] = lanes[g];
#define FM_FOLD(half)                           \
    FM_EACH(g, FM_GROUP >= 2 * half ? half : 0) \
        x[g] += x[g + half];
    FM_FOLD(4)
    FM_FOLD(2)
    FM_FOLD(1)
#undef FM_FOLD
    return x[0];
}

FM_INLINE T fm_sum16(const V lanes[FM_GROUP])
{
    V x = fm_fold_group(lanes);
#if FM_LANES >= 16
    x += v_swap(x, 8);
#endif
#if FM_LANES >= 8
    x += v_swap(x, 4);
#endif
#if FM_LANES >= 4
    x += v_swap(x, 2);
#endif
    x += v_swap(x, 1);
    return x[0];
}

/* Lanes i with first + i < n keep their value, the others become 0. */
FM_INLINE V fm_keep_below(V x, int64_t first, int64_t n)
{
#define FM_NUMBER(i, h) (T)(i)
    const V index = {FM_EACH_LANE(FM_NUMBER, 0)};
#undef FM_NUMBER
    return v_select(v_lt(index, v_set1((T)(n - first))), x, v_zero());
}

/* A tile of fm_gemm_dot is up to FM_DOT_OUTPUTS outputs of as many rows as make eight
 * chains of additions, which hide each other's latency, or twelve, which read less. */
enum { FM_DOT_OUTPUTS = FM_GROUP > 2 ? 1 : 3, FM_DOT_ROWS = 8 / FM_GROUP };

/* From one run of 16 columns of a panel matrix to the next, in elements. */
FM_INLINE ptrdiff_t fm_next_16(int64_t k, ptrdiff_t panel)
{
    const int within = FM_PANEL > 16 && k % FM_PANEL + 16 < FM_PANEL;
    return within ? 16 : FM_PANEL > 16 ? panel - (FM_PANEL - 16) : 16 / FM_PANEL * panel;
}

/* mr rows of A by nn rows of W^T, each a vector along k in panels. Their products
 * are summed down to the lanes of one vector, sums[output][row]. */
FM_INLINE void fm_tile_dot(const int mr, const int nn, V (*sums)[FM_LANES], const T *A,
                           ptrdiff_t a_panel, const T *W, ptrdiff_t w_panel, int64_t k)
{
    V acc[FM_DOT_ROWS][FM_DOT_OUTPUTS][FM_GROUP];
    FM_EACH(i, mr)
        FM_EACH(j, nn)
            FM_EACH(g, FM_GROUP)
                acc[i][j][g] = v_zero();
    int64_t k0 = 0;
    for (; k0 + 16 <= k; k0 += 16) {
        FM_EACH(g, FM_GROUP) {
            const T *a = A + g * FM_LANES / FM_PANEL * a_panel + g * FM_LANES % FM_PANEL;
            const T *w = W + g * FM_LANES / FM_PANEL * w_panel + g * FM_LANES % FM_PANEL;
            V av[FM_DOT_ROWS];
            FM_EACH(i, mr)
                av[i] = v_load(a + i * FM_PANEL);
            FM_EACH(j, nn) {
                const V wv = v_load(w + j * FM_PANEL);
                FM_EACH(i, mr)
                    acc[i][j][g] = v_fma(av[i], wv, acc[i][j][g]);
            }
        }
        A += fm_next_16(k0, a_panel);
        W += fm_next_16(k0, w_panel);
    }
    FM_EACH(g, FM_GROUP) {
        const int64_t kg = k0 + g * FM_LANES;
        if (kg >= k)
            break;
        const T *a = A + g * FM_LANES / FM_PANEL * a_panel + g * FM_LANES % FM_PANEL;
        const T *w = W + g * FM_LANES / FM_PANEL * w_panel + g * FM_LANES % FM_PANEL;
        FM_EACH(i, mr) {
            const V av = fm_keep_below(v_load(a + i * FM_PANEL), kg, k);
            FM_EACH(j, nn)
                acc[i][j][g] =
                    v_fma(av, fm_keep_below(v_load(w + j * FM_PANEL), kg, k), acc[i][j][g]);
        }
    }
    FM_EACH(i, mr)
        FM_EACH(j, nn)
            sums[j][i] = fm_fold_group(acc[i][j]);
}

/* nn outputs of up to FM_LANES rows. */
FM_INLINE void fm_dot_rows(const int nn, T *C, int64_t ld, const T *A, ptrdiff_t a_panel,
                           const T *W, ptrdiff_t w_panel, int64_t k, int rows, const T *bias)
{
    enum { MOST = FM_DOT_ROWS < FM_LANES ? FM_DOT_ROWS : FM_LANES };
    const int mr = nn == 1 ? MOST : MOST / 2;
    V sums[FM_DOT_OUTPUTS][FM_LANES];
    int i = 0;
    for (; i + mr <= rows; i += mr)
        fm_tile_dot(mr, nn, (V(*)[FM_LANES])(sums[0] + i), A + i * FM_PANEL, a_panel, W, w_panel,
                    k);
    for (; i < rows; i++)
        fm_tile_dot(1, nn, (V(*)[FM_LANES])(sums[0] + i), A + i * FM_PANEL, a_panel, W, w_panel, k);
    for (; i < FM_LANES; i++)
        FM_EACH(j, nn)
            sums[j][i] = v_zero();
    FM_EACH(j, nn)
        v_store_part(C + j * ld, v_sum_each(sums[j]) + v_set1(bias[j]), rows);
}

/* C (n, ld)[., r0..r1] = W^T A^T + bias. A in panels, W^T (n, k) in panels. */
static void fm_gemm_dot(T *C, int64_t ld, const T *A, ptrdiff_t a_panel, const T *W, int64_t k,
                        int64_t n, int64_t r0, int64_t r1, const T *bias)
{
    const ptrdiff_t w_panel = n * FM_PANEL;
    for (int64_t i = r0; i < r1; i += FM_LANES) {
        const int rows = r1 - i < FM_LANES ? (int)(r1 - i) : FM_LANES;
        const T *a = A + i * FM_PANEL, *w = W;
        T *c = C + i;
        int64_t j = 0;
#define FM_DOT_TILES(nn, while_so)                                                               \
    for (; FM_DOT_OUTPUTS >= nn && (while_so); j += nn)                                          \
        fm_dot_rows(FM_DOT_OUTPUTS >= nn ? nn : 1, c + j * ld, ld, a, a_panel, w + j * FM_PANEL, \
                    w_panel, k, rows, bias + j);
        FM_DOT_TILES(3, n - j >= 3 && n - j != 4)
        FM_DOT_TILES(2, n - j >= 2)
        FM_DOT_TILES(1, n - j >= 1)
#undef FM_DOT_TILES
    }
}

#endif
