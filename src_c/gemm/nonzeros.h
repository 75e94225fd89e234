/* nonzeros.h - which steps of a product are not zero, tile by tile.
 *
 * Much dense input is mostly zeros: the dark pixels of an image, the columns of a
 * one-hot encoding, counts. A step along k at which all of a tile's elements of A
 * are zero adds nothing (to finite B), and leaving it out leaves the sum as it is.
 * Of MNIST's pixels 19 % are not zero, which makes 43 % of the steps of a forward
 * tile (one pixel of six random images) and 32 % of a gradient's (up to six
 * neighbours in one image). What is listed once per block of A serves all panels
 * of B.
 */
#ifndef FM_NONZEROS_H
#define FM_NONZEROS_H

#include "kernels/kernels.h"
#include "gemm/tile.h"

/* Even the samples below took 3 % of a step of 20-100-1; layers of fewer features or
 * outputs do without. Lists are made where at least a quarter of a sample's steps
 * are zero. */
enum { FM_LISTED_FEATURES = 32, FM_LISTED_OUTPUTS = 64, FM_SAMPLED_ROWS = 16 };

FM_INLINE int fm_may_list(int64_t features, int64_t outputs)
{
    return features > FM_LISTED_FEATURES && outputs > FM_LISTED_OUTPUTS;
}

FM_INLINE int fm_lists_pay(int64_t terms, int64_t steps) { return 4 * terms <= 3 * steps; }

/* --- forward: A's rows in tiles, steps along the columns */

enum { FM_LISTED_TILES = 16 }; /* of one block of rows */

typedef struct {
    int64_t n[FM_LISTED_TILES];
    fm_term terms[FM_LISTED_TILES][FM_KC];
} fm_row_terms;

/* The terms of mr rows of A, in panels, and k columns. Returns their number. */
static int64_t fm_list_terms(fm_term *terms, int mr, const T *A, ptrdiff_t a_panel, int64_t k)
{
    int64_t n = 0;
    for (int64_t k0 = 0, a = 0; k0 < k; k0 += FM_PANEL, a += a_panel) {
        TU any[FM_PANEL];
        FM_EACH_VECTOR(v) {
            VU bits = {0};
            for (int i = 0; i < mr; i++)
                bits |= (VU)v_load(A + a + i * FM_PANEL + v);
            memcpy(any + v, &bits, sizeof(bits));
        }
        for (int64_t c = 0; c < FM_PANEL && k0 + c < k; c++) {
            terms[n] = (fm_term){(int32_t)(a + c), (int32_t)((k0 + c) * FM_PANEL)};
            n += any[c] != 0;
        }
    }
    return n;
}

/* The lists of rows b0..b1, of tiles as fm_cut_rows cuts them. */
static void fm_list_rows(fm_row_terms *lists, const T *A, ptrdiff_t a_panel, int64_t b0, int64_t b1,
                         int64_t k)
{
    const fm_cut cut = fm_cut_rows(b1 - b0);
    for (int64_t i = b0, tile = 0; i < b1; i += fm_cut_height(&cut, tile++))
        lists->n[tile] = fm_list_terms(lists->terms[tile], fm_cut_height(&cut, tile),
                                       A + i * FM_PANEL, a_panel, k);
}

/* Whether the first tile of A's rows suggests that lists pay. terms: room for FM_KC. */
static int fm_sample_rows(fm_term *terms, const T *A, ptrdiff_t a_panel, int64_t rows, int64_t k)
{
    const fm_cut cut = fm_cut_rows(rows);
    int64_t n = 0;
    for (int64_t k0 = 0; k0 < k; k0 += FM_KC, A += FM_KC / FM_PANEL * a_panel)
        n += fm_list_terms(terms, fm_cut_height(&cut, 0), A, a_panel,
                           k - k0 < FM_KC ? k - k0 : FM_KC);
    return fm_lists_pay(n, k);
}

/* --- gradient: A's columns (features) in tiles, steps along the rows */

enum { FM_PANEL_TILES = (FM_PANEL + FM_MR - 1) / FM_MR };

typedef struct {
    int64_t first; /* of the features listed, -1: none yet */
    int n[FM_SHARD_FEATURES / FM_PANEL][FM_PANEL_TILES]; /* -1: take every row */
    uint16_t rows[FM_SHARD_FEATURES / FM_PANEL][FM_PANEL_TILES][FM_MAX_BLOCK];
} fm_feature_rows;

/* Lists, for each tile of one panel, which of rows 0, step, 2 step, .. < m it needs. */
static void fm_list_panel(int *n, uint16_t (*rows)[FM_MAX_BLOCK], const T *A, int64_t width,
                          int64_t m, int64_t step)
{
    const fm_cut cut = fm_cut_rows(width);
    uint32_t lanes[FM_PANEL_TILES] = {0};
    for (int t = 0, i = 0; t < FM_PANEL_TILES; t++) {
        const int height = t < cut.tiles ? fm_cut_height(&cut, t) : 0;
        n[t] = 0;
        lanes[t] = ((1u << height) - 1) << i;
        i += height;
    }
    for (int64_t r = 0; r < m; r += step) {
        uint32_t bits = 0;
        FM_EACH_VECTOR(v)
            bits |= v_nonzero_lanes(v_load(A + r * FM_PANEL + v)) << v;
        FM_EACH(t, FM_PANEL_TILES) {
            rows[t][n[t]] = (uint16_t)r;
            n[t] += (bits & lanes[t]) != 0;
        }
    }
}

/* For features first..first + n_features of m rows, A in panels of a_panel elements
 * from the first of them on. */
static void fm_list_features(fm_feature_rows *lists, int64_t first, int64_t n_features, const T *A,
                             ptrdiff_t a_panel, int64_t m)
{
    lists->first = first;
    for (int64_t f = 0, p = 0; f < n_features; f += FM_PANEL, p++, A += a_panel) {
        const int64_t width = n_features - f < FM_PANEL ? n_features - f : FM_PANEL;
        const int64_t step = m > FM_SAMPLED_ROWS ? m / FM_SAMPLED_ROWS : 1;
        int *n = lists->n[p];
        const int64_t tiles = fm_cut_rows(width).tiles;
        int64_t terms = 0;
        fm_list_panel(n, lists->rows[p], A, width, m, step);
        for (int64_t t = 0; t < tiles; t++)
            terms += n[t];
        if (fm_lists_pay(terms, tiles * ((m + step - 1) / step)))
            fm_list_panel(n, lists->rows[p], A, width, m, 1);
        else
            for (int64_t t = 0; t < tiles; t++)
                n[t] = -1;
    }
}

#endif
