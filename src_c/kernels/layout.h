/* layout.h - how the parts of a layer lie in memory, and what products read of them. */
#ifndef FM_LAYOUT_H
#define FM_LAYOUT_H

#include <math.h>
#include <stdlib.h>

#include "gemm/gemm.h"
#include "kernels/kernels.h"

#ifndef FM_PACKED
#define FM_PACKED 0 /* 1: this serves block_set.h, which takes what it can use */
#endif

#define FM_JOIN_(a, b, c) a##b##c
#define FM_JOIN(a, b, c) FM_JOIN_(a, b, c)
#if FM_F64
#define FM_SET FM_JOIN(fm_kernels_, FM_ISA, _f64)
#elif FM_PACKED
#define FM_SET FM_JOIN(fm_kernels_, FM_ISA, _bf16)
#else
#define FM_SET FM_JOIN(fm_kernels_, FM_ISA, _f32)
#endif

/* x rounded to bfloat16, the nearest one and of two the even one. NaN stays. What products
 * read is rounded where a value or a stage says so; networks of doubles never do. */
FM_INLINE V v_rounded(V x)
{
#if !FM_F64
    const VU bits = (VU)x;
    const VU rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    return v_select(v_eq(x, x), (V)rounded, x);
#else
    return x;
#endif
}

/* x[0..n) in place. */
static void fm_round(T *x, int64_t n)
{
    int64_t i = 0;
    for (; i + FM_LANES <= n; i += FM_LANES)
        v_store(x + i, v_rounded(v_load(x + i)));
    if (i < n)
        v_store_part(x + i, v_rounded(v_load_part(x + i, (int)(n - i))), (int)(n - i));
}

FM_INLINE int64_t fm_panels(int64_t cols) { return (cols + FM_PANEL - 1) / FM_PANEL; }

FM_INLINE int64_t fm_padded(int64_t cols) { return fm_panels(cols) * FM_PANEL; }

/* Rows between panels: odd, so that panels do not all start in one cache set. */
FM_INLINE int64_t fm_ld(int64_t max_rows) { return max_rows | 1; }

FM_INLINE int fm_is_narrow(const fm_value *v)
{
    return !FM_PACKED && v->is_output && v->width <= FM_NARROW;
}

/* Of what comes first in a parameter-like part: W, or scale. */
FM_INLINE int64_t fm_weights_size(const fm_stage *s)
{
    if (s->kind == FM_NORM)
        return fm_padded(s->to->width);
    return fm_is_narrow(s->to) ? fm_padded(s->from->width) * s->to->width
                               : s->from->width * fm_padded(s->to->width);
}

FM_INLINE T *fm_weights(const fm_stage *s, int part)
{
    FM_ASSERT(s->part[part]);
    return s->part[part];
}

FM_INLINE T *fm_bias(const fm_stage *s, int part)
{
    return s->part[part] ? fm_weights(s, part) + fm_weights_size(s) : NULL;
}

/* Padding, see gemm.h. */
FM_INLINE void fm_pad(T *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = FM_PADDING;
}

/* a * b + c elements in bytes; SIZE_MAX on overflow. */
static size_t fm_bytes(int64_t a, int64_t b, int64_t c)
{
    size_t n;
    if (__builtin_mul_overflow(a, b, &n) || __builtin_add_overflow(n, (size_t)c, &n) ||
        __builtin_mul_overflow(n, sizeof(T), &n) || n > PTRDIFF_MAX)
        return SIZE_MAX;
    return n;
}

static size_t fm_panels_bytes(int64_t rows, int64_t cols)
{
    return cols > INT64_MAX - FM_PANEL ? SIZE_MAX : fm_bytes(rows, fm_padded(cols), 0);
}

static int64_t fm_feature_shards(const fm_stage *s)
{
    return (s->from->width + FM_SHARD_FEATURES - 1) / FM_SHARD_FEATURES;
}

/* Parts of a norm stage; normalize.h says what is in FM_STATISTICS. */
static size_t fm_norm_bytes(int part, const fm_stage *s)
{
    enum { N_STATISTICS = 5 };
    const int64_t N = s->to->width;
    if (N > INT64_MAX - FM_PANEL)
        return SIZE_MAX;
    if (part != FM_STATISTICS)
        return fm_bytes(2, fm_padded(N), 0);
    return s->normalization == FM_BATCH_NORM ? fm_bytes(N_STATISTICS, fm_padded(N), 0)
                                             : fm_bytes(1, s->to->max_rows, 0);
}

/* Of FM_GRADIENT_SQUARES, the biases' or shifts' excepted. */
FM_INLINE int64_t fm_square_rows(const fm_stage *s)
{
    return s->kind == FM_NORM ? 1 : fm_feature_shards(s);
}

/* Of parameter-like parts as floats, which all sets have. */
static size_t fm_float_param_bytes(int part, const fm_stage *s)
{
    const int64_t K = s->from->width, N = s->to->width;
    const int narrow = fm_is_narrow(s->to);
    if (K > INT64_MAX - FM_SHARD_FEATURES || N > INT64_MAX - FM_PANEL)
        return SIZE_MAX;
    if (part == FM_GRADIENT_SQUARES) { /* of doubles; the biases' row is the last */
        const size_t bytes = fm_bytes(fm_square_rows(s) + 1, N, 0);
        return bytes > PTRDIFF_MAX / 2 ? SIZE_MAX : bytes * (sizeof(double) / sizeof(T));
    }
    if (s->kind == FM_NORM)
        return fm_norm_bytes(part, s);
    if (part == FM_SQUARES)
        return fm_bytes(fm_feature_shards(s), N, 0);
    const int64_t rows = narrow ? fm_padded(K) : K, cols = narrow ? N : fm_padded(N);
    return fm_bytes(rows, cols, fm_padded(N));
}

#endif
