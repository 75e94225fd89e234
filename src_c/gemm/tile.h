/* tile.h - the micro-kernel: one tile of a product, in registers.
 *
 * The outer-product form of Goto, van de Geijn (2008), "Anatomy of high-performance
 * matrix multiplication", ACM TOMS 34(3): MR x NR accumulators, per step of k one
 * row of B and MR broadcasts of A. B is one panel of gemm.h.
 */
#ifndef FM_TILE_H
#define FM_TILE_H

#include <math.h>

#include "kernels/assert.h"

/* n rows cut into the fewest tiles of nearly equal height: equal tiles have no slow
 * short one at the end. The first `taller` of them have one row more. */
typedef struct {
    int64_t tiles, taller;
    int height;
} fm_cut;

FM_INLINE fm_cut fm_cut_rows(int64_t n)
{
    const int64_t tiles = (n + FM_MR - 1) / FM_MR;
    return (fm_cut){tiles, n % tiles, (int)(n / tiles)};
}

FM_INLINE int fm_cut_height(const fm_cut *cut, int64_t tile)
{
    return cut->height + (tile < cut->taller);
}

/* What happens to a tile before it is stored: one of bias, mask and slope, or nothing. */
typedef struct {
    const T *bias;  /* (NR,) of this panel, added; or NULL */
    T floor;        /* with bias: max(floor, .): 0 is relu, -inf does nothing */
    const T *mask;  /* tile of activations: where 0, the result is 0; or NULL */
    const T *slope; /* tile that multiplies the result; or NULL */
} fm_epilogue;

static const fm_epilogue fm_no_epilogue;

/* How a tile reads A, element (i, k):
 * ALONG_PANEL: A[i * NR + k], next panel after NR k's;
 * ACROSS: A[k * step + i];  STRIDED: A[i * step + k]. */
enum { FM_ALONG_PANEL, FM_ACROSS, FM_STRIDED };

/* Vectors of a panel that hold columns: all, or half of them in a last panel
 * that is at most half full. The default of 100 hidden units leaves 4 columns. */
#ifndef FM_PADDING
#define FM_PADDING 0 /* of the other half; tests put NaN here */
#endif

FM_INLINE int fm_half_panel(int64_t columns_left) { return columns_left <= FM_PANEL / 2; }

/* Four steps at once are 1 % faster with tiles of 12 accumulators (AVX2). For those
 * of 28 it is unmeasured, and they took minutes to compile for a sanitizer. */
#if FM_MR > 6
#define FM_UNROLL_K
#else
#define FM_UNROLL_K _Pragma("GCC unroll 4")
#endif

/* One step along k. acc has fixed sizes, mr and nv are constants at every call: with
 * a variable-length array in its place the compiler keeps it in memory, at a third
 * of the speed. */
FM_INLINE void fm_tile_step(const int mr, const int nv, V acc[FM_MR][FM_NV], const T *A,
                            const ptrdiff_t i_step, const T *B)
{
    V b[FM_NV];
    FM_EACH(v, nv)
        b[v] = v_load(B + v * FM_LANES);
    FM_EACH(i, mr) {
        V a = v_set1(A[i * i_step]);
        FM_EACH(v, nv)
            acc[i][v] = v_fma(a, b[v], acc[i][v]);
    }
}

FM_INLINE void fm_tile_k(const int mr, const int nv, V acc[FM_MR][FM_NV], const T *A,
                         const ptrdiff_t i_step, const ptrdiff_t k_step, const T *B, int64_t k)
{
    FM_UNROLL_K
    for (; k > 0; k--, A += k_step, B += FM_PANEL)
        fm_tile_step(mr, nv, acc, A, i_step, B);
}

FM_INLINE void fm_finish_tile(const int mr, const int nv, T *C, V acc[][FM_NV],
                              const fm_epilogue *end)
{
    if (end->bias) {
        V floor = v_set1(end->floor);
        FM_EACH(v, nv) {
            V bias = v_load(end->bias + v * FM_LANES);
            FM_EACH(i, mr)
                acc[i][v] = v_max(floor, acc[i][v] + bias);
        }
    }
    if (end->mask) {
        FM_EACH(i, mr)
            FM_EACH(v, nv) {
                V a = v_load(end->mask + i * FM_PANEL + v * FM_LANES);
                acc[i][v] = v_drop(v_eq(a, v_zero()), acc[i][v]);
            }
    }
    if (end->slope) {
        FM_EACH(i, mr)
            FM_EACH(v, nv)
                acc[i][v] = acc[i][v] * v_load(end->slope + i * FM_PANEL + v * FM_LANES);
    }
    FM_EACH(i, mr)
        FM_EACH(v, FM_NV)
            v_store(C + i * FM_PANEL + v * FM_LANES, v < nv ? acc[i][v] : v_set1(FM_PADDING));
}

FM_INLINE void fm_begin_tile(const int mr, const int nv, V acc[FM_MR][FM_NV], const T *C,
                             int resume)
{
    if (resume) {
        FM_EACH(i, mr)
            FM_EACH(v, nv)
                acc[i][v] = v_load(C + i * FM_PANEL + v * FM_LANES);
    } else {
        FM_EACH(i, mr)
            FM_EACH(v, nv)
                acc[i][v] = v_zero();
    }
}

FM_INLINE void fm_tile(const int mr, const int nv, const int reads, T *C, const T *A,
                       ptrdiff_t step, const T *B, int64_t k, int resume, const fm_epilogue *end)
{
    V acc[FM_MR][FM_NV];
    fm_begin_tile(mr, nv, acc, C, resume);
    if (reads == FM_ALONG_PANEL) {
        for (; k > FM_PANEL; k -= FM_PANEL, A += step, B += FM_PANEL * FM_PANEL)
            fm_tile_k(mr, nv, acc, A, FM_PANEL, 1, B, FM_PANEL);
        fm_tile_k(mr, nv, acc, A, FM_PANEL, 1, B, k);
    } else if (reads == FM_ACROSS) {
        fm_tile_k(mr, nv, acc, A, 1, step, B, k);
    } else {
        fm_tile_k(mr, nv, acc, A, step, 1, B, k);
    }
    fm_finish_tile(mr, nv, C, acc, end);
}

FM_INLINE ptrdiff_t fm_row_step(const int reads, ptrdiff_t step)
{
    return reads == FM_ALONG_PANEL ? FM_PANEL : reads == FM_ACROSS ? 1 : step;
}

/* n tiles, one below the other: a call for each cost as much as two steps of k. */
FM_INLINE void fm_tiles(const int mr, const int nv, const int reads, int64_t n, T *C, const T *A,
                        ptrdiff_t step, const T *B, int64_t k, int resume, fm_epilogue end)
{
    for (; n > 0; n--, C += mr * FM_PANEL, A += mr * fm_row_step(reads, step)) {
        fm_tile(mr, nv, reads, C, A, step, B, k, resume, &end);
        if (end.mask)
            end.mask += mr * FM_PANEL;
        if (end.slope)
            end.slope += mr * FM_PANEL;
    }
}

/* The tile heights as functions of their own, chosen by a switch. */
#define FM_TILE_HEIGHTS_4(X) X(1) X(2) X(3) X(4)
#define FM_TILE_HEIGHTS_6(X) FM_TILE_HEIGHTS_4(X) X(5) X(6)
#define FM_TILE_HEIGHTS_14(X) FM_TILE_HEIGHTS_6(X) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#if FM_MR == 4
#define FM_TILE_HEIGHTS FM_TILE_HEIGHTS_4
#elif FM_MR == 6
#define FM_TILE_HEIGHTS FM_TILE_HEIGHTS_6
#elif FM_MR == 14
#define FM_TILE_HEIGHTS FM_TILE_HEIGHTS_14
#else
#error "no list of tile heights for this FM_MR"
#endif

#define FM_TILES_FUNCTION(name, reads)                                                            \
    static __attribute__((noinline)) void name(int mr, int half, int64_t n, T *C, const T *A,     \
                                               ptrdiff_t step, const T *B, int64_t k, int resume, \
                                               const fm_epilogue *end)                            \
    {                                                                                             \
        switch (half ? FM_MR + mr : mr) {                                                         \
            FM_TILE_HEIGHTS(FM_TILES_CASE_##reads)                                                \
        default: FM_ASSERT(!"a tile height");                                                     \
        }                                                                                         \
    }
#define FM_TILES_CASE(h, reads)                                                  \
    case h: fm_tiles(h, FM_NV, reads, n, C, A, step, B, k, resume, *end); break; \
    case FM_MR + h: fm_tiles(h, FM_NV / 2, reads, n, C, A, step, B, k, resume, *end); break;
#define FM_TILES_CASE_FM_ALONG_PANEL(h) FM_TILES_CASE(h, FM_ALONG_PANEL)
#define FM_TILES_CASE_FM_ACROSS(h) FM_TILES_CASE(h, FM_ACROSS)
#define FM_TILES_CASE_FM_STRIDED(h) FM_TILES_CASE(h, FM_STRIDED)

FM_TILES_FUNCTION(fm_tiles_along_panel, FM_ALONG_PANEL)
FM_TILES_FUNCTION(fm_tiles_across, FM_ACROSS)
FM_TILES_FUNCTION(fm_tiles_strided, FM_STRIDED)

/* The same on some steps of k only, in ascending order (nonzeros.h). A term says
 * where A, in panels, and B hold one step, in elements from their beginnings. */
typedef struct {
    int32_t a, b;
} fm_term;

FM_INLINE void fm_tile_terms_of(const int mr, const int nv, T *C, const T *A, const T *B,
                                const fm_term *terms, int64_t n, int resume, const fm_epilogue *end)
{
    V acc[FM_MR][FM_NV];
    fm_begin_tile(mr, nv, acc, C, resume);
    FM_UNROLL_K
    for (int64_t t = 0; t < n; t++)
        fm_tile_step(mr, nv, acc, A + terms[t].a, FM_PANEL, B + terms[t].b);
    fm_finish_tile(mr, nv, C, acc, end);
}

static __attribute__((noinline)) void fm_tile_terms(int mr, int half, T *C, const T *A, const T *B,
                                                    const fm_term *terms, int64_t n, int resume,
                                                    const fm_epilogue *end)
{
    switch (half ? FM_MR + mr : mr) {
#define FM_TERMS_CASE(h)                                                       \
    case h: fm_tile_terms_of(h, FM_NV, C, A, B, terms, n, resume, end); break; \
    case FM_MR + h: fm_tile_terms_of(h, FM_NV / 2, C, A, B, terms, n, resume, end); break;
        FM_TILE_HEIGHTS(FM_TERMS_CASE)
#undef FM_TERMS_CASE
    default: FM_ASSERT(!"a tile height");
    }
}

/* Along rows of A and B, both in panels: A's columns are the tile's rows. */
FM_INLINE void fm_tile_rows_of(const int mr, const int nv, T *C, const T *A, const T *B,
                               const uint16_t *rows, int64_t n, int resume)
{
    V acc[FM_MR][FM_NV];
    fm_begin_tile(mr, nv, acc, C, resume);
    FM_UNROLL_K
    for (int64_t t = 0; t < n; t++)
        fm_tile_step(mr, nv, acc, A + rows[t] * (ptrdiff_t)FM_PANEL, 1,
                     B + rows[t] * (ptrdiff_t)FM_PANEL);
    fm_finish_tile(mr, nv, C, acc, &fm_no_epilogue);
}

static __attribute__((noinline)) void fm_tile_rows(int mr, int half, T *C, const T *A, const T *B,
                                                   const uint16_t *rows, int64_t n, int resume)
{
    switch (half ? FM_MR + mr : mr) {
#define FM_ROWS_CASE(h)                                                 \
    case h: fm_tile_rows_of(h, FM_NV, C, A, B, rows, n, resume); break; \
    case FM_MR + h: fm_tile_rows_of(h, FM_NV / 2, C, A, B, rows, n, resume); break;
        FM_TILE_HEIGHTS(FM_ROWS_CASE)
#undef FM_ROWS_CASE
    default: FM_ASSERT(!"a tile height");
    }
}

#endif
