/* layout.h - how the parts of a layer lie in memory, and what products read of them. */
#ifndef FM_LAYOUT_H
#define FM_LAYOUT_H

#include <math.h>
#include <stdlib.h>

#include "gemm/gemm.h"
#include "kernels/kernels.h"

#ifndef FM_BF16
#define FM_BF16 0
#endif
#ifndef FM_PACKED
#define FM_PACKED 0 /* 1: this serves block_set.h, which takes what it can use */
#endif

#define FM_JOIN_(a, b, c) a##b##c
#define FM_JOIN(a, b, c) FM_JOIN_(a, b, c)
#if FM_F64
#define FM_SET FM_JOIN(fm_kernels_, FM_ISA, _f64)
#elif FM_BF16
#define FM_SET FM_JOIN(fm_kernels_, FM_ISA, _bf16)
#else
#define FM_SET FM_JOIN(fm_kernels_, FM_ISA, _f32)
#endif

/* What a product reads in place of x: x rounded to bfloat16, the nearest one and
 * of two the even one. NaN stays. */
FM_INLINE V v_operand(V x)
{
#if FM_BF16
    const VU bits = (VU)x;
    const VU rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    return v_select(v_eq(x, x), (V)rounded, x);
#else
    return x;
#endif
}

/* x[0..n) in place. */
FM_INLINE void fm_to_operands(T *x, int64_t n)
{
    int64_t i = 0;
    if (!FM_BF16)
        return;
    for (; i + FM_LANES <= n; i += FM_LANES)
        v_store(x + i, v_operand(v_load(x + i)));
    if (i < n)
        v_store_part(x + i, v_operand(v_load_part(x + i, (int)(n - i))), (int)(n - i));
}

FM_INLINE int64_t fm_panels(int64_t cols) { return (cols + FM_PANEL - 1) / FM_PANEL; }

FM_INLINE int64_t fm_padded(int64_t cols) { return fm_panels(cols) * FM_PANEL; }

/* Rows between panels: odd, so that panels do not all start in one cache set. */
FM_INLINE int64_t fm_ld(int64_t max_rows) { return max_rows | 1; }

FM_INLINE int fm_is_narrow(const fm_layer *l)
{
    return !FM_PACKED && l->is_output && l->fan_out <= FM_NARROW;
}

FM_INLINE int64_t fm_weights_size(const fm_layer *l)
{
    return fm_is_narrow(l) ? fm_padded(l->fan_in) * l->fan_out : l->fan_in * fm_padded(l->fan_out);
}

FM_INLINE T *fm_weights(const fm_layer *l, int part) { return l->part[part]; }

FM_INLINE T *fm_bias(const fm_layer *l, int part)
{
    return l->part[part] ? fm_weights(l, part) + fm_weights_size(l) : NULL;
}

/* W as products read it, in the layout of FM_PARAMS. */
FM_INLINE T *fm_operands(const fm_layer *l)
{
    return FM_BF16 ? fm_bias(l, FM_PARAMS) + fm_padded(l->fan_out) : fm_weights(l, FM_PARAMS);
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

static int64_t fm_feature_units(const fm_layer *l)
{
    return (l->fan_in + FM_UNIT_FEATURES - 1) / FM_UNIT_FEATURES;
}

static size_t fm_part_bytes(int part, const fm_layer *l)
{
    const int narrow = fm_is_narrow(l);
    if (l->fan_in > INT64_MAX - FM_UNIT_FEATURES || l->fan_out > INT64_MAX - FM_PANEL)
        return SIZE_MAX;
    switch (part) {
    case FM_TRANSPOSED: return narrow ? 0 : fm_bytes(l->fan_out, fm_padded(l->fan_in), 0);
    case FM_SQUARES: return fm_bytes(fm_feature_units(l), l->fan_out, 0);
    case FM_ACTS: return l->is_output ? 0 : fm_panels_bytes(fm_ld(l->max_rows), l->fan_out);
    case FM_DELTA: return narrow ? 0 : fm_panels_bytes(fm_ld(l->max_rows), l->fan_out);
    case FM_OUTPUT: return l->is_output ? fm_bytes(fm_ld(l->max_rows), l->fan_out, 0) : 0;
    default: break;
    }
    const int64_t rows = narrow ? fm_padded(l->fan_in) : l->fan_in;
    const int64_t cols = narrow ? l->fan_out : fm_padded(l->fan_out);
    const size_t bytes = fm_bytes(rows, cols, fm_padded(l->fan_out));
    size_t both;
    if (!FM_BF16 || part != FM_PARAMS || bytes == SIZE_MAX)
        return bytes;
    return __builtin_add_overflow(bytes, fm_bytes(rows, cols, 0), &both) ? SIZE_MAX : both;
}

static size_t fm_input_bytes(int64_t max_rows, int64_t n_features)
{
    return fm_panels_bytes(fm_ld(max_rows), n_features);
}

/* Of a unit: its gradient, unless it is kept in FM_GRADIENT, and its lists. */
typedef struct {
    T gradient[FM_UNIT_FEATURES * (FM_PANEL > FM_NARROW ? FM_PANEL : FM_NARROW)];
    fm_feature_rows lists; /* only where fm_lists_features */
} fm_unit_scratch;

FM_INLINE int fm_lists_features(const fm_layer *l)
{
    return !fm_is_narrow(l) && fm_may_list(l->fan_in, l->fan_out);
}

static size_t fm_scratch_bytes(const fm_layer *l)
{
    const int forward = fm_may_list(l->fan_in, l->fan_out);
    const int backward = fm_may_list(l->fan_out, l->fan_in);
    const size_t rows = forward || backward ? sizeof(fm_row_terms) : 0;
    const size_t unit =
        fm_lists_features(l) ? sizeof(fm_unit_scratch) : offsetof(fm_unit_scratch, lists);
    return rows > unit ? rows : unit;
}

#endif
