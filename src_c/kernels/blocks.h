/* blocks.h - the family of kernel sets for CPUs that multiply bfloat16
 * numbers: AMX (FM_AMX) or AVX512_BF16.
 *
 * It computes what panels.h emulates, up to the order of sums:
 * the same values are rounded to bfloat16, in the same way. Parameters, solver
 * state, outputs and losses lie as there and are its code's business; what
 * products read lies here as packed bfloat16 numbers.
 *
 * Layout. Every operand is a matrix of blocks of 32 x 32, rounded up with zeros,
 * in up to four forms, each for one of the places in a product:
 *   rows          [32][32]           left operand, summed over the columns
 *   columns       the transposed, so left operand, summed over the rows
 *   row pairs     [2][16][16][2]     right operand, summed over the rows: for
 *                 each half of the columns, pairs of rows
 *   column pairs  the same of the transposed: right operand, summed over columns
 * The block (i, j) of a matrix of I x J blocks stands at [j][i] (rows, row pairs)
 * or at [i][j] (columns, column pairs): one step along the sum is always the
 * same distance.
 *   X, activations   rows for forward, columns for the gradient
 *   W                row pairs for forward, column pairs for backward
 *   delta            rows for backward, row pairs for the gradient
 * Zeros where nothing is make remainders disappear: no product looks at sizes.
 *
 * No machine with these instructions was at hand: this code was run with C
 * versions of them only (tests/c/test_packed.c), and its speed was never
 * measured. dispatch.c offers it only after selftest.c has seen it work.
 */
#ifndef FM_BLOCKS_H
#define FM_BLOCKS_H

#include "kernels/activate.h"
#include "kernels/buckets.h"
#include "kernels/family.h"
#include "kernels/gather.h"
#include "kernels/params.h"

#if FM_LANES != 16 || FM_PANEL != 32
#error "blocks are 32 x 32 in vectors of 16 floats"
#endif

typedef uint16_t fm_bf16;
enum { FM_SIDE = 32, FM_BLOCK = FM_SIDE * FM_SIDE, FM_ROW_STEP = FM_SIDE };

/* ----------------------------------------------------------------- layouts */

FM_INLINE int64_t fm_blocks(int64_t n) { return (n + FM_SIDE - 1) / FM_SIDE; }

/* Bytes of one form of a matrix; SIZE_MAX on overflow. */
static size_t fm_form_bytes(int64_t rows, int64_t cols)
{
    size_t n;
    if (rows > INT64_MAX - FM_SIDE || cols > INT64_MAX - FM_SIDE ||
        __builtin_mul_overflow(fm_blocks(rows), fm_blocks(cols), &n) ||
        __builtin_mul_overflow(n, FM_BLOCK * sizeof(fm_bf16), &n) || n > PTRDIFF_MAX)
        return SIZE_MAX;
    return n;
}

static size_t fm_sum_bytes(size_t a, size_t b)
{
    size_t n;
    return __builtin_add_overflow(a, b, &n) ? SIZE_MAX : n;
}

/* Floats in whole blocks, [j][i]: raw outputs before they are transposed, and slopes. */
static size_t fm_raw_bytes(const fm_value *v)
{
    const size_t form = fm_form_bytes(v->max_rows, v->width);
    return fm_sum_bytes(form, form); /* a float is twice as long */
}

static size_t fm_value_bytes(int part, const fm_value *v)
{
    const size_t form = fm_form_bytes(v->max_rows, v->width);
    switch (part) {
    case FM_ACTS: return fm_sum_bytes(form, form);
    case FM_SLOPE: return fm_raw_bytes(v);
    case FM_DELTA:
        return fm_sum_bytes(v->is_output ? fm_raw_bytes(v) : 0, fm_sum_bytes(form, form));
    default: return fm_bytes(fm_ld(v->max_rows), v->width, 0);
    }
}

static size_t fm_param_bytes(int part, const fm_stage *s)
{
    const size_t bytes = fm_float_param_bytes(part, s); /* SIZE_MAX for sizes out of range */
    const size_t form_W = fm_form_bytes(s->from->width, s->to->width);
    if (bytes == SIZE_MAX)
        return bytes;
    switch (part) {
    case FM_PARAMS: return fm_sum_bytes(bytes, form_W);
    case FM_TRANSPOSED: return form_W;
    default: return bytes;
    }
}

/* Of a product: a column of blocks; for backward the activations of one block, too. */
typedef struct {
    fm_run_sums gradient;
    T blocks[FM_SHARD_FEATURES * FM_SIDE], acts[FM_BLOCK];
} fm_block_scratch;

static size_t fm_scratch_bytes(const fm_stage *s)
{
    (void)s;
    return sizeof(fm_block_scratch);
}

/* The first form in a part is rows (W: row pairs), the other one follows. */
FM_INLINE fm_bf16 *fm_columns(const void *acts, int64_t max_rows, int64_t cols)
{
    return (fm_bf16 *)acts + fm_blocks(max_rows) * fm_blocks(cols) * FM_BLOCK;
}

FM_INLINE fm_bf16 *fm_W_row_pairs(const fm_stage *s)
{
    return (fm_bf16 *)(fm_bias(s, FM_PARAMS) + fm_padded(s->to->width));
}

FM_INLINE fm_bf16 *fm_delta_rows(const fm_value *v)
{
    return (fm_bf16 *)((char *)v->part[FM_DELTA] + (v->is_output ? fm_raw_bytes(v) : 0));
}

FM_INLINE fm_bf16 *fm_delta_row_pairs(const fm_value *v)
{
    return fm_columns(fm_delta_rows(v), v->max_rows, v->width);
}

/* ------------------------------------------------------------------ blocks */

#define FM_EVEN(i, h) (2 * (i))
#define FM_ODD(i, h) (2 * (i) + 1)
#define FM_ZIP(i, h) ((i) / 2 + (i) % 2 * FM_LANES + (h))

/* Two vectors rounded to bfloat16, a in the low and b in the high half of a lane. */
FM_INLINE V v_pair(V a, V b)
{
    VU low = (VU)v_rounded(a) >> 16, high = (VU)v_rounded(b) & 0xffff0000u;
    return (V)(low | high);
}

/* The inverse; then lane 0 of a, of b, lane 1 of a, ... in two vectors. */
FM_INLINE void v_unzip(V *first, V *second, V pairs)
{
    V a = (V)((VU)pairs << 16), b = (V)((VU)pairs & 0xffff0000u);
    *first = __builtin_shufflevector(a, b, FM_EACH_LANE(FM_ZIP, 0));
    *second = __builtin_shufflevector(a, b, FM_EACH_LANE(FM_ZIP, FM_LANES / 2));
}

/* Pairs as a vector in memory; no arithmetic is done on them. */
FM_INLINE V v_load_pairs(const fm_bf16 *p) { return v_load((const T *)(const void *)p); }

FM_INLINE void v_store_pairs(fm_bf16 *p, V a) { v_store((T *)(void *)p, a); }

/* 16 x 16 pairs, transposed; rows are 16 pairs apart. */
FM_INLINE void fm_transpose_pairs(fm_bf16 *to, const fm_bf16 *from)
{
    v_transpose((T *)(void *)to, FM_LANES, (const T *)(const void *)from, FM_LANES);
}

/* x (32, 32) -> rows, and from these column pairs unless NULL. */
static void fm_pack_rows(fm_bf16 *rows, fm_bf16 *column_pairs, const T *x)
{
    for (int r = 0; r < FM_SIDE; r++) {
        const V a = v_load(x + r * FM_SIDE), b = v_load(x + r * FM_SIDE + FM_LANES);
        v_store_pairs(rows + r * FM_SIDE,
                      v_pair(__builtin_shufflevector(a, b, FM_EACH_LANE(FM_EVEN, 0)),
                             __builtin_shufflevector(a, b, FM_EACH_LANE(FM_ODD, 0))));
    }
    if (column_pairs)
        for (int half = 0; half < FM_BLOCK; half += FM_BLOCK / 2)
            fm_transpose_pairs(column_pairs + half, rows + half);
}

/* x (32, 32) -> row pairs, and from these columns unless NULL. */
static void fm_pack_row_pairs(fm_bf16 *row_pairs, fm_bf16 *columns, const T *x)
{
    for (int half = 0; half < 2; half++)
        for (int r = 0; r < FM_SIDE; r += 2) {
            const T *from = x + r * FM_SIDE + half * FM_LANES;
            v_store_pairs(row_pairs + half * FM_BLOCK / 2 + r * FM_LANES,
                          v_pair(v_load(from), v_load(from + FM_SIDE)));
        }
    if (columns)
        for (int half = 0; half < FM_BLOCK; half += FM_BLOCK / 2)
            fm_transpose_pairs(columns + half, row_pairs + half);
}

/* One row of a block in form rows as floats. */
FM_INLINE void fm_unpack_row(T *x, const fm_bf16 *row)
{
    V a, b;
    v_unzip(&a, &b, v_load_pairs(row));
    v_store(x, a);
    v_store(x + FM_LANES, b);
}

/* Zeros right of cols and below rows. */
static void fm_blank(T *x, int64_t rows, int64_t cols)
{
    if (cols < FM_SIDE)
        for (int64_t r = 0; r < rows; r++)
            memset(x + r * FM_SIDE + cols, 0, (size_t)(FM_SIDE - cols) * sizeof(T));
    if (rows < FM_SIDE)
        memset(x + rows * FM_SIDE, 0, (size_t)((FM_SIDE - rows) * FM_SIDE) * sizeof(T));
}

FM_INLINE int64_t fm_at_most_side(int64_t n) { return n < FM_SIDE ? n : FM_SIDE; }

/* ----------------------------------------------------------------- product */

/* Blocks of a sum taken together: the right operand's, 2 KB each, stay in L1
 * while a few left ones pass by. Prototypes of AMX products lost a quarter
 * without such a cut at K = 784. */
enum { FM_CHUNK = 13 };
/* Left blocks that pass by. */
enum { FM_GROUP_BLOCKS = 4 };

#if FM_AMX
FM_INLINE void fm_begin(void) { t_begin(); }

FM_INLINE void fm_end(void) { t_end(); }

/* C (32, 32) (+)= sum over k blocks of A (rows) times B (pairs). */
static void fm_multiply(T *C, const fm_bf16 *A, ptrdiff_t a_step, const fm_bf16 *B,
                        ptrdiff_t b_step, int64_t k, int resume)
{
    enum { STEP = FM_SIDE * sizeof(T), PACKED = FM_SIDE * sizeof(fm_bf16) };
    if (resume) {
        t_load(0, C, STEP);
        t_load(1, C + 16, STEP);
        t_load(2, C + FM_BLOCK / 2, STEP);
        t_load(3, C + FM_BLOCK / 2 + 16, STEP);
    } else {
        t_zero(0);
        t_zero(1);
        t_zero(2);
        t_zero(3);
    }
    for (; k > 0; k--, A += a_step, B += b_step) {
        t_load(4, A, PACKED);
        t_load(6, B, PACKED);
        t_dot(0, 4, 6);
        t_load(7, B + FM_BLOCK / 2, PACKED);
        t_dot(1, 4, 7);
        t_load(5, A + FM_BLOCK / 2, PACKED);
        t_dot(2, 5, 6);
        t_dot(3, 5, 7);
    }
    t_store(0, C, STEP);
    t_store(1, C + 16, STEP);
    t_store(2, C + FM_BLOCK / 2, STEP);
    t_store(3, C + FM_BLOCK / 2 + 16, STEP);
}
#else
FM_INLINE void fm_begin(void) {}
FM_INLINE void fm_end(void) {}

/* As above: eight rows and all 32 columns at a time, 16 sums in registers. */
static void fm_multiply(T *C, const fm_bf16 *A0, ptrdiff_t a_step, const fm_bf16 *B0,
                        ptrdiff_t b_step, int64_t k, int resume)
{
    enum { ROWS = 8 };
    for (int r = 0; r < FM_SIDE; r += ROWS, C += ROWS * FM_SIDE, A0 += ROWS * FM_SIDE) {
        V acc[ROWS][2];
        FM_EACH(i, ROWS)
            FM_EACH(v, 2)
                acc[i][v] = resume ? v_load(C + i * FM_SIDE + v * FM_LANES) : v_zero();
        const fm_bf16 *A = A0, *B = B0;
        for (int64_t n = k; n > 0; n--, A += a_step, B += b_step)
            for (int p = 0; p < FM_SIDE; p += 2) {
                const V b0 = v_load_pairs(B + p * FM_LANES);
                const V b1 = v_load_pairs(B + FM_BLOCK / 2 + p * FM_LANES);
                FM_EACH(i, ROWS) {
                    T pair;
                    memcpy(&pair, A + i * FM_SIDE + p, sizeof(pair));
                    const V a = v_set1(pair);
                    acc[i][0] = v_dot2(acc[i][0], a, b0);
                    acc[i][1] = v_dot2(acc[i][1], a, b1);
                }
            }
        FM_EACH(i, ROWS)
            FM_EACH(v, 2)
                v_store(C + i * FM_SIDE + v * FM_LANES, acc[i][v]);
    }
}
#endif

/* C, a column of n <= FM_GROUP_BLOCKS blocks, = A times one column of B's blocks;
 * A's blocks lie next to each other. */
static void fm_multiply_group(T *C, int64_t n, const fm_bf16 *A, ptrdiff_t a_step, const fm_bf16 *B,
                              ptrdiff_t b_step, int64_t k)
{
    for (int64_t k0 = 0; k0 < k; k0 += FM_CHUNK)
        for (int64_t i = 0; i < n; i++)
            fm_multiply(C + i * FM_BLOCK, A + k0 * a_step + i * FM_BLOCK, a_step, B + k0 * b_step,
                        b_step, k - k0 < FM_CHUNK ? k - k0 : FM_CHUNK, k0 > 0);
}

/* ------------------------------------------------------- W in and its forms */

static void fm_refresh(const fm_stage *s, const fm_shard *u)
{
    const int64_t K = s->from->width, N = s->to->width, j = u->j;
    fm_bf16 *W = fm_W_row_pairs(s), *WT = s->part[FM_TRANSPOSED];
    for (int64_t f = u->f0; f < u->f1; f += FM_SIDE) {
        const int64_t rows = fm_at_most_side(u->f1 - f), cols = fm_at_most_side(N - j * FM_SIDE);
        const T *block = fm_weights(s, FM_PARAMS) + (j * K + f) * FM_SIDE;
        T room[FM_BLOCK] __attribute__((aligned(64)));
        fm_bf16 packed[FM_BLOCK] __attribute__((aligned(64)));
        if (rows < FM_SIDE || cols < FM_SIDE) {
            memcpy(room, block, (size_t)(rows * FM_SIDE) * sizeof(T));
            fm_blank(room, rows, cols);
            block = room;
        }
        fm_pack_row_pairs(W + (j * fm_blocks(K) + f / FM_SIDE) * FM_BLOCK, NULL, block);
        if (WT)
            fm_pack_rows(packed, WT + (f / FM_SIDE * fm_blocks(N) + j) * FM_BLOCK, block);
    }
    if (s->part[FM_SQUARES])
        fm_refresh_squares(s, u);
}

/* ------------------------------------------------------------------ input */

static void fm_gather(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const fm_batch *batch = pass->batch;
    const int64_t K = s->from->width, max_rows = s->from->max_rows, M = fm_blocks(max_rows);
    fm_bf16 *rows = s->from->part[FM_ACTS], *columns = fm_columns(rows, max_rows, K);
    T x[FM_BLOCK] __attribute__((aligned(64)));
    FM_ASSERT_ROWS(s->from, pass, r0, r1);
    fm_bf16 packed[FM_BLOCK] __attribute__((aligned(64)));
    for (int64_t i = r0; i < r1; i += FM_SIDE)
        for (int64_t k = 0; k < K; k += FM_SIDE) {
            const int64_t n = fm_at_most_side(r1 - i), width = fm_at_most_side(K - k);
            for (int64_t r = 0; r < n; r++)
                fm_read_row(x + r * FM_SIDE, batch->X, fm_batch_row(batch, i + r), k, width);
            fm_blank(x, n, width);
            fm_pack_rows(rows + (k / FM_SIDE * M + i / FM_SIDE) * FM_BLOCK, NULL, x);
            if (pass->training)
                fm_pack_row_pairs(
                    packed, columns + (i / FM_SIDE * fm_blocks(K) + k / FM_SIDE) * FM_BLOCK, x);
        }
}

/* ------------------------------------------------------- forward, outputs */

/* A block of from W, n rows from row i, panel j -> where the next stage reads it. */
static void fm_finish_forward(const fm_stage *s, const fm_pass *pass, T *C, int64_t i, int64_t n,
                              int64_t j)
{
    const fm_value *to = s->to;
    const int64_t N = to->width, M = fm_blocks(to->max_rows);
    const int64_t width = fm_at_most_side(N - j * FM_SIDE), at = (j * M * FM_SIDE + i) * FM_SIDE;
    const T *b = s->raw_W ? s->raw_b : fm_bias(s, FM_PARAMS);
    T bias[FM_SIDE] = {0};
    memcpy(bias, b + j * FM_SIDE, (size_t)width * sizeof(T));
    for (int64_t r = 0; r < n; r++)
        for (int v = 0; v < FM_SIDE; v += FM_LANES)
            v_store(C + r * FM_SIDE + v, v_load(C + r * FM_SIDE + v) + v_load(bias + v));
    if (to->is_output) {
        memcpy((T *)to->part[FM_DELTA] + at, C, (size_t)(n * FM_SIDE) * sizeof(T));
        return;
    }
    if (to->part[FM_SLOPE])
        fm_activate_with_slopes(&to->activation, C, (T *)to->part[FM_SLOPE] + at, n * FM_SIDE);
    else
        fm_activate(&to->activation, C, n * FM_SIDE);
    fm_blank(C, n, width);
    fm_bf16 packed[FM_BLOCK] __attribute__((aligned(64)));
    fm_pack_rows((fm_bf16 *)to->part[FM_ACTS] + at, NULL, C);
    if (pass->training)
        fm_pack_row_pairs(packed,
                          fm_columns(to->part[FM_ACTS], to->max_rows, N) +
                              (i / FM_SIDE * fm_blocks(N) + j) * FM_BLOCK,
                          C);
}

static void fm_forward(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const int64_t K = fm_blocks(s->from->width), M = fm_blocks(s->to->max_rows);
    const fm_bf16 *A = s->from->part[FM_ACTS], *W = fm_W_row_pairs(s);
    T *C = ((fm_block_scratch *)pass->scratch)->blocks;
    FM_ASSERT_ROWS(s->to, pass, r0, r1);
    FM_ASSERT(s->from->part[FM_ACTS] && s->part[FM_PARAMS]);
    fm_begin();
    for (int64_t i = r0; i < r1; i += FM_GROUP_BLOCKS * FM_SIDE) {
        const int64_t left = fm_blocks(r1 - i);
        const int64_t n = left < FM_GROUP_BLOCKS ? left : FM_GROUP_BLOCKS;
        for (int64_t j = 0; j < fm_blocks(s->to->width); j++) {
            fm_multiply_group(C, n, A + i * FM_SIDE, M * FM_BLOCK, W + j * K * FM_BLOCK, FM_BLOCK,
                              K);
            for (int64_t g = 0; g < n; g++)
                fm_finish_forward(s, pass, C + g * FM_BLOCK, i + g * FM_SIDE,
                                  fm_at_most_side(r1 - i - g * FM_SIDE), j);
        }
    }
    fm_end();
}

static void fm_forward_csr(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const fm_batch *batch = pass->batch;
    const fm_matrix *X = batch->X;
    const int64_t K = s->from->width, N = s->to->width;
    const T *W = s->raw_W ? s->raw_W : fm_weights(s, FM_PARAMS);
    T C[FM_BLOCK] __attribute__((aligned(64)));
    fm_csr_chunk chunk;
    FM_ASSERT_ROWS(s->to, pass, r0, r1);
    FM_ASSERT(X->indices && !s->from->part[FM_ACTS] && (s->raw_W || s->part[FM_PARAMS]));
    for (int64_t i = r0; i < r1; i += FM_SIDE)
        for (int64_t j = 0; j < fm_blocks(N); j++) {
            const int64_t n = fm_at_most_side(r1 - i);
            const int64_t width = s->raw_W ? fm_at_most_side(N - j * FM_SIDE) : FM_SIDE;
            memset(C, 0, sizeof(C));
            for (int64_t r = 0; r < n; r++) {
                const int64_t row = fm_batch_row(batch, i + r);
                const int64_t end = fm_index(X->indptr, X->index_bytes, row + 1);
                for (int64_t e = fm_index(X->indptr, X->index_bytes, row); e < end;
                     e += FM_CSR_CHUNK) {
                    int entries = fm_read_chunk(&chunk, X, e, end, s->from->rounds);
                    fm_add_chunk(C + r * FM_SIDE, &chunk, entries,
                                 s->raw_W ? W + j * FM_SIDE : W + j * K * FM_SIDE,
                                 s->raw_W ? N : FM_SIDE, width, 0, s->rounds);
                }
            }
            fm_finish_forward(s, pass, C, i, n, j);
        }
}

static void fm_collect_outputs(const fm_value *v, int64_t r0, int64_t r1)
{
    const int64_t N = v->width, rows = fm_blocks(v->max_rows) * FM_SIDE, ld = fm_ld(v->max_rows);
    const T *Z = v->part[FM_DELTA];
    T *ZT = v->part[FM_OUTPUT];
    for (int64_t n = 0; n < N; n += FM_SIDE)
        fm_transpose(ZT + n * ld + r0, ld, Z + n * rows + r0 * FM_SIDE, FM_SIDE, r1 - r0,
                     fm_at_most_side(N - n));
}

/* delta of rows i..i + n, panel j, into both forms. */
static void fm_pack_delta(const fm_value *v, T *delta, int64_t i, int64_t n, int64_t j)
{
    const int64_t at = (j * fm_blocks(v->max_rows) + i / FM_SIDE) * FM_BLOCK;
    fm_blank(delta, n, fm_at_most_side(v->width - j * FM_SIDE));
    fm_pack_rows(fm_delta_rows(v) + at, NULL, delta);
    fm_pack_row_pairs(fm_delta_row_pairs(v) + at, NULL, delta);
}

static void fm_spread_delta(const fm_value *v, int64_t r0, int64_t r1)
{
    const int64_t N = v->width, ld = fm_ld(v->max_rows);
    T *ZT = v->part[FM_OUTPUT], block[FM_BLOCK] __attribute__((aligned(64)));
    for (int64_t j = 0; j < fm_blocks(N); j++)
        for (int64_t i = r0; i < r1; i += FM_SIDE) {
            const int64_t n = fm_at_most_side(r1 - i);
            fm_transpose(block, FM_SIDE, ZT + j * FM_SIDE * ld + i, ld,
                         fm_at_most_side(N - j * FM_SIDE), n);
            fm_pack_delta(v, block, i, n, j);
        }
}

/* --------------------------------------------------------------- backward */

/* What f' is computed from, of some rows of a block as floats: in room, or where it is. */
static const T *fm_read_block(const fm_value *v, T *room, int64_t at, int64_t rows)
{
    if (v->part[FM_SLOPE])
        return (const T *)v->part[FM_SLOPE] + at;
    for (int64_t r = 0; r < rows; r++)
        fm_unpack_row(room + r * FM_SIDE, (fm_bf16 *)v->part[FM_ACTS] + at + r * FM_SIDE);
    return room;
}

static void fm_backward(const fm_stage *s, const fm_pass *pass, int64_t r0, int64_t r1)
{
    const fm_value *from = s->from;
    fm_block_scratch *scratch = pass->scratch;
    const int64_t N = fm_blocks(s->to->width), M = fm_blocks(s->to->max_rows);
    const fm_bf16 *D = fm_delta_rows(s->to), *WT = s->part[FM_TRANSPOSED];
    T *C = scratch->blocks;
    FM_ASSERT_ROWS(s->to, pass, r0, r1);
    FM_ASSERT(pass->training && s->from->part[FM_ACTS] && s->from->part[FM_DELTA]);
    fm_begin();
    for (int64_t i = r0; i < r1; i += FM_GROUP_BLOCKS * FM_SIDE) {
        const int64_t left = fm_blocks(r1 - i);
        const int64_t n = left < FM_GROUP_BLOCKS ? left : FM_GROUP_BLOCKS;
        for (int64_t j = 0; j < fm_blocks(s->from->width); j++) {
            fm_multiply_group(C, n, D + i * FM_SIDE, M * FM_BLOCK, WT + j * N * FM_BLOCK, FM_BLOCK,
                              N);
            for (int64_t g = 0; g < n; g++) {
                const int64_t row = i + g * FM_SIDE, rows = fm_at_most_side(r1 - row);
                T *delta = C + g * FM_BLOCK;
                const T *x =
                    fm_read_block(from, scratch->acts, (j * M * FM_SIDE + row) * FM_SIDE, rows);
                fm_activate_backward(&from->activation, delta, x, rows * FM_SIDE);
                fm_pack_delta(from, delta, row, rows, j);
            }
        }
    }
    fm_end();
}

/* --------------------------------------------------- gradient and update */

/* dW of features f0..f1 and panel j from a CSR batch, G (features, 32). */
static void fm_gradient_csr(const fm_stage *s, const fm_buckets *buckets, int64_t j, int64_t f0,
                            int64_t f1, T *G)
{
    const int64_t u = f0 / FM_SHARD_FEATURES, M = fm_blocks(s->to->max_rows);
    const fm_bf16 *D = fm_delta_rows(s->to) + j * M * FM_BLOCK;
    const T *value = buckets->value;
    memset(G, 0, (size_t)((f1 - f0) * FM_SIDE) * sizeof(T));
    for (int64_t i = buckets->start[u]; i < buckets->start[u + 1]; i++) {
        T *g = G + (int64_t)buckets->feature[i] * FM_SIDE;
        const V x = v_set1(value[i]);
        V d0, d1;
        v_unzip(&d0, &d1, v_load_pairs(D + (int64_t)buckets->row[i] * FM_SIDE));
        v_store(g, v_fma(x, d0, v_load(g)));
        v_store(g + FM_LANES, v_fma(x, d1, v_load(g + FM_LANES)));
    }
}

/* db of panel j: the sum of delta over the rows, in four chains by row mod 4. */
static void fm_sum_packed(const fm_stage *s, int64_t j, int64_t m, T *g)
{
    const fm_bf16 *D = fm_delta_rows(s->to) + j * fm_blocks(s->to->max_rows) * FM_BLOCK;
    V sum[4][2] = {{v_zero()}};
    for (int64_t r = 0; r < fm_blocks(m) * FM_SIDE; r += 4) /* rows from m on are zero */
        for (int i = 0; i < 4; i++) {
            V d0, d1;
            v_unzip(&d0, &d1, v_load_pairs(D + (r + i) * FM_SIDE));
            sum[i][0] += d0;
            sum[i][1] += d1;
        }
    for (int v = 0; v < 2; v++)
        v_store(g + v * FM_LANES, (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]));
}

/* The sums g[0..n) to where they are kept. n: a multiple of 16. */
static void fm_keep_sums(T *to, const T *g, int64_t n, int resume)
{
    if (!resume)
        memcpy(to, g, (size_t)n * sizeof(T));
    for (int64_t i = 0; i < n && resume; i += FM_LANES)
        v_store(to + i, v_load(to + i) + v_load(g + i));
}

static void fm_sum_weights(const fm_stage *s, const fm_pass *pass, const fm_shard *u, int first,
                           T *G)
{
    const int64_t K = s->from->width, M = fm_blocks(s->to->max_rows);
    const fm_bf16 *A = s->from->part[FM_ACTS];
    T *sums = pass->step ? G : ((fm_block_scratch *)pass->scratch)->blocks;
    (void)first;
    if (A) {
        fm_begin();
        fm_multiply_group(sums, fm_blocks(u->f1 - u->f0),
                          fm_columns(A, s->from->max_rows, K) + u->f0 * FM_SIDE,
                          fm_blocks(K) * FM_BLOCK, fm_delta_row_pairs(s->to) + u->j * M * FM_BLOCK,
                          FM_BLOCK, fm_blocks(pass->batch->n_rows));
        fm_end();
    } else {
        fm_gradient_csr(s, pass->batch->buckets, u->j, u->f0, u->f1, sums);
    }
    if (!pass->step)
        fm_keep_sums(G, sums, u->n, pass->resume);
}

static void fm_sum_biases(const fm_stage *s, const fm_pass *pass, const fm_shard *u, T *g)
{
    T *sums = pass->step ? g : ((fm_block_scratch *)pass->scratch)->blocks;
    fm_sum_packed(s, u->j, pass->batch->n_rows, sums);
    if (!pass->step)
        fm_keep_sums(g, sums, FM_SIDE, pass->resume);
}

#endif
