/* block_set.h - one kernel set for CPUs that multiply bfloat16 numbers: AMX
 * (FM_AMX) or AVX512_BF16. isa/amx_bf16.c and isa/avx512bf16_bf16.c include it.
 *
 * It computes what panel_set.h with FM_BF16 emulates, up to the order of sums:
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
 * measured. dispatch.c offers it only after packed_check.c has seen it work.
 */
#ifdef FM_LANES

#if defined(__GNUC__) /* of the panels' code only a part serves */
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#define FM_BF16 1
#define FM_PACKED 1
#include "kernels/csr.h"
#include "kernels/few.h"
#include "kernels/gather.h"
#include "kernels/gradient.h"
#include "kernels/layout.h"
#include "kernels/loss.h"
#include "kernels/params.h"

#if FM_LANES != 16 || FM_PANEL != 32
#error "blocks are 32 x 32 in vectors of 16 floats"
#endif

typedef uint16_t fm_bf16;
enum { FM_SIDE = 32, FM_BLOCK = FM_SIDE * FM_SIDE };

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

/* Raw outputs Z before they are transposed: whole blocks of floats, [j][i]. */
static size_t fm_raw_bytes(const fm_layer *l)
{
    const size_t form = fm_form_bytes(l->max_rows, l->fan_out);
    return l->is_output ? fm_sum_bytes(form, form) : 0; /* a float is twice as long */
}

static size_t fm_packed_part_bytes(int part, const fm_layer *l)
{
    const size_t bytes = fm_part_bytes(FM_SLOTS, l); /* SIZE_MAX for sizes out of range */
    if (bytes == SIZE_MAX)
        return bytes;
    const size_t form_W = fm_form_bytes(l->fan_in, l->fan_out);
    const size_t form_rows = fm_form_bytes(l->max_rows, l->fan_out);
    switch (part) {
    case FM_PARAMS: return fm_sum_bytes(bytes, form_W);
    case FM_TRANSPOSED: return form_W;
    case FM_ACTS: return l->is_output ? 0 : fm_sum_bytes(form_rows, form_rows);
    case FM_DELTA: return fm_sum_bytes(fm_raw_bytes(l), fm_sum_bytes(form_rows, form_rows));
    default: return fm_part_bytes(part, l);
    }
}

static size_t fm_packed_input_bytes(int64_t max_rows, int64_t n_features)
{
    const size_t form = fm_form_bytes(max_rows, n_features);
    return fm_sum_bytes(form, form);
}

/* Of a product: a column of blocks; for backward the activations of one block, too. */
typedef struct {
    T blocks[FM_UNIT_FEATURES * FM_SIDE], acts[FM_BLOCK];
} fm_packed_scratch;

static size_t fm_packed_scratch_bytes(const fm_layer *l)
{
    (void)l;
    return sizeof(fm_packed_scratch);
}

/* The first form in a part is rows (W: row pairs), the other one follows. */
FM_INLINE fm_bf16 *fm_columns(const void *acts, int64_t max_rows, int64_t cols)
{
    return (fm_bf16 *)acts + fm_blocks(max_rows) * fm_blocks(cols) * FM_BLOCK;
}

FM_INLINE fm_bf16 *fm_W_row_pairs(const fm_layer *l)
{
    return (fm_bf16 *)(fm_bias(l, FM_PARAMS) + fm_padded(l->fan_out));
}

FM_INLINE fm_bf16 *fm_delta_rows(const fm_layer *l)
{
    return (fm_bf16 *)((char *)l->part[FM_DELTA] + fm_raw_bytes(l));
}

FM_INLINE fm_bf16 *fm_delta_row_pairs(const fm_layer *l)
{
    return fm_columns(fm_delta_rows(l), l->max_rows, l->fan_out);
}

/* Prediction has no gradients. */
FM_INLINE int fm_in_training(const fm_layer *l)
{
    return l->part[FM_SLOTS] || l->part[FM_GRADIENT];
}

/* ------------------------------------------------------------------ blocks */

#define FM_EVEN(i, h) (2 * (i))
#define FM_ODD(i, h) (2 * (i) + 1)
#define FM_ZIP(i, h) ((i) / 2 + (i) % 2 * FM_LANES + (h))

/* Two vectors rounded to bfloat16, a in the low and b in the high half of a lane. */
FM_INLINE V v_pair(V a, V b)
{
    VU low = (VU)v_operand(a) >> 16, high = (VU)v_operand(b) & 0xffff0000u;
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

/* As fm_refresh of params.h: after a change of W in features f0..f1, panel j. */
static void fm_packed_refresh(const fm_layer *l, int64_t j, int64_t f0, int64_t f1)
{
    const int64_t K = l->fan_in, N = l->fan_out;
    fm_bf16 *W = fm_W_row_pairs(l), *WT = l->part[FM_TRANSPOSED];
    for (int64_t f = f0; f < f1; f += FM_SIDE) {
        const int64_t rows = fm_at_most_side(f1 - f), cols = fm_at_most_side(N - j * FM_SIDE);
        const T *block = fm_weights(l, FM_PARAMS) + (j * K + f) * FM_SIDE;
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
    if (l->part[FM_SQUARES])
        fm_refresh_squares(l, f0, f1, j);
}

static void fm_packed_load(const fm_layer *l, int part, const void *W, const void *b)
{
    const int64_t K = l->fan_in;
    fm_copy_in(l, part, W, b);
    if (part == FM_PARAMS)
        for (int64_t f = 0; f < K; f += FM_UNIT_FEATURES)
            for (int64_t j = 0; j < fm_panels(l->fan_out); j++)
                fm_packed_refresh(l, j, f, f + FM_UNIT_FEATURES < K ? f + FM_UNIT_FEATURES : K);
}

/* ------------------------------------------------------------------ input */

static void fm_packed_gather(void *input, const fm_batch *batch, int64_t max_rows, int64_t r0,
                             int64_t r1)
{
    const int64_t K = batch->X->n_cols, M = fm_blocks(max_rows);
    fm_bf16 *rows = input, *columns = fm_columns(input, max_rows, K);
    T x[FM_BLOCK] __attribute__((aligned(64)));
    fm_bf16 packed[FM_BLOCK] __attribute__((aligned(64)));
    for (int64_t i = r0; i < r1; i += FM_SIDE)
        for (int64_t k = 0; k < K; k += FM_SIDE) {
            const int64_t n = fm_at_most_side(r1 - i), width = fm_at_most_side(K - k);
            for (int64_t r = 0; r < n; r++)
                fm_read_row(x + r * FM_SIDE, batch->X, fm_batch_row(batch, i + r), k, width);
            fm_blank(x, n, width);
            fm_pack_rows(rows + (k / FM_SIDE * M + i / FM_SIDE) * FM_BLOCK, NULL, x);
            if (batch->y) /* prediction has no targets, and no gradients */
                fm_pack_row_pairs(
                    packed, columns + (i / FM_SIDE * fm_blocks(K) + k / FM_SIDE) * FM_BLOCK, x);
        }
}

/* ------------------------------------------------------- forward, outputs */

/* A block of input W, n rows from row i, panel j -> where the next step reads it. */
static void fm_finish_forward(const fm_layer *l, T *C, int64_t i, int64_t n, int64_t j)
{
    const int64_t N = l->fan_out, M = fm_blocks(l->max_rows),
                  width = fm_at_most_side(N - j * FM_SIDE);
    const T *b = (l->raw_W ? l->raw_b : fm_bias(l, FM_PARAMS));
    T bias[FM_SIDE] = {0};
    memcpy(bias, b + j * FM_SIDE, (size_t)width * sizeof(T));
    for (int64_t r = 0; r < n; r++)
        for (int v = 0; v < FM_SIDE; v += FM_LANES)
            v_store(C + r * FM_SIDE + v, v_load(C + r * FM_SIDE + v) + v_load(bias + v));
    if (l->is_output) {
        memcpy((T *)l->part[FM_DELTA] + (j * M * FM_SIDE + i) * FM_SIDE, C,
               (size_t)(n * FM_SIDE) * sizeof(T));
        return;
    }
    fm_activate(&l->activation, C, n * FM_SIDE);
    fm_blank(C, n, width);
    fm_bf16 packed[FM_BLOCK] __attribute__((aligned(64)));
    fm_pack_rows((fm_bf16 *)l->part[FM_ACTS] + (j * M + i / FM_SIDE) * FM_BLOCK, NULL, C);
    if (fm_in_training(l))
        fm_pack_row_pairs(packed,
                          fm_columns(l->part[FM_ACTS], l->max_rows, N) +
                              (i / FM_SIDE * fm_blocks(N) + j) * FM_BLOCK,
                          C);
}

static void fm_packed_forward(const fm_layer *l, void *scratch, int64_t r0, int64_t r1)
{
    const int64_t K = fm_blocks(l->fan_in), M = fm_blocks(l->max_rows);
    const fm_bf16 *A = l->input, *W = fm_W_row_pairs(l);
    T *C = ((fm_packed_scratch *)scratch)->blocks;
    fm_begin();
    for (int64_t i = r0; i < r1; i += FM_GROUP_BLOCKS * FM_SIDE) {
        const int64_t left = fm_blocks(r1 - i);
        const int64_t n = left < FM_GROUP_BLOCKS ? left : FM_GROUP_BLOCKS;
        for (int64_t j = 0; j < fm_blocks(l->fan_out); j++) {
            fm_multiply_group(C, n, A + i * FM_SIDE, M * FM_BLOCK, W + j * K * FM_BLOCK, FM_BLOCK,
                              K);
            for (int64_t g = 0; g < n; g++)
                fm_finish_forward(l, C + g * FM_BLOCK, i + g * FM_SIDE,
                                  fm_at_most_side(r1 - i - g * FM_SIDE), j);
        }
    }
    fm_end();
}

static void fm_packed_forward_csr(const fm_layer *l, const fm_batch *batch, int64_t r0, int64_t r1)
{
    const fm_matrix *X = batch->X;
    const int64_t K = l->fan_in, N = l->fan_out;
    const T *W = l->raw_W ? l->raw_W : fm_weights(l, FM_PARAMS);
    T C[FM_BLOCK] __attribute__((aligned(64)));
    fm_csr_chunk chunk;
    for (int64_t i = r0; i < r1; i += FM_SIDE)
        for (int64_t j = 0; j < fm_blocks(N); j++) {
            const int64_t n = fm_at_most_side(r1 - i);
            const int64_t width = l->raw_W ? fm_at_most_side(N - j * FM_SIDE) : FM_SIDE;
            memset(C, 0, sizeof(C));
            for (int64_t r = 0; r < n; r++) {
                const int64_t row = fm_batch_row(batch, i + r);
                const int64_t end = fm_index(X->indptr, X->index_bytes, row + 1);
                for (int64_t e = fm_index(X->indptr, X->index_bytes, row); e < end;
                     e += FM_CSR_CHUNK) {
                    int entries = fm_read_chunk(&chunk, X, e, end);
                    fm_add_chunk(C + r * FM_SIDE, &chunk, entries,
                                 l->raw_W ? W + j * FM_SIDE : W + j * K * FM_SIDE,
                                 l->raw_W ? N : FM_SIDE, width);
                }
            }
            fm_finish_forward(l, C, i, n, j);
        }
}

/* Z -> f(Z)^T in FM_OUTPUT. */
static void fm_packed_finish_outputs(const fm_layer *l, int64_t r0, int64_t r1)
{
    const int64_t N = l->fan_out, rows = fm_blocks(l->max_rows) * FM_SIDE, ld = fm_ld(l->max_rows);
    const T *Z = l->part[FM_DELTA];
    T *ZT = l->part[FM_OUTPUT];
    for (int64_t n = 0; n < N; n += FM_SIDE)
        fm_transpose(ZT + n * ld + r0, ld, Z + n * rows + r0 * FM_SIDE, FM_SIDE, r1 - r0,
                     fm_at_most_side(N - n));
    fm_output_activation(&l->activation, ZT, ld, N, r0, r1);
}

/* delta of rows i..i + n, panel j, into both forms. */
static void fm_pack_delta(const fm_layer *l, T *delta, int64_t i, int64_t n, int64_t j)
{
    const int64_t at = (j * fm_blocks(l->max_rows) + i / FM_SIDE) * FM_BLOCK;
    fm_blank(delta, n, fm_at_most_side(l->fan_out - j * FM_SIDE));
    fm_pack_rows(fm_delta_rows(l) + at, NULL, delta);
    fm_pack_row_pairs(fm_delta_row_pairs(l) + at, NULL, delta);
}

static void fm_packed_loss(const fm_layer *l, double *row_loss, const fm_choice *loss,
                           const fm_batch *batch, int64_t r0, int64_t r1)
{
    const int64_t N = l->fan_out, ld = fm_ld(l->max_rows);
    T *ZT = l->part[FM_OUTPUT], block[FM_BLOCK] __attribute__((aligned(64)));
    fm_packed_finish_outputs(l, r0, r1);
    fm_rows_loss(l, row_loss, loss, batch, r0, r1);
    for (int64_t j = 0; j < fm_blocks(N); j++)
        for (int64_t i = r0; i < r1; i += FM_SIDE) {
            const int64_t n = fm_at_most_side(r1 - i);
            fm_transpose(block, FM_SIDE, ZT + j * FM_SIDE * ld + i, ld,
                         fm_at_most_side(N - j * FM_SIDE), n);
            fm_pack_delta(l, block, i, n, j);
        }
}

static void fm_packed_outputs(const fm_layer *l, void *out, int64_t r0, int64_t r1)
{
    const int64_t N = l->fan_out, ld = fm_ld(l->max_rows);
    fm_packed_finish_outputs(l, r0, r1);
    fm_transpose(out, N, (T *)l->part[FM_OUTPUT] + r0, ld, N, r1 - r0);
}

/* --------------------------------------------------------------- backward */

static void fm_packed_backward(const fm_layer *l, const fm_layer *below, void *scratch, int64_t r0,
                               int64_t r1)
{
    const int64_t N = fm_blocks(l->fan_out), M = fm_blocks(l->max_rows);
    const fm_bf16 *D = fm_delta_rows(l), *WT = l->part[FM_TRANSPOSED];
    const fm_bf16 *acts = below->part[FM_ACTS];
    T *C = ((fm_packed_scratch *)scratch)->blocks, *a = ((fm_packed_scratch *)scratch)->acts;
    fm_begin();
    for (int64_t i = r0; i < r1; i += FM_GROUP_BLOCKS * FM_SIDE) {
        const int64_t left = fm_blocks(r1 - i);
        const int64_t n = left < FM_GROUP_BLOCKS ? left : FM_GROUP_BLOCKS;
        for (int64_t j = 0; j < fm_blocks(below->fan_out); j++) {
            fm_multiply_group(C, n, D + i * FM_SIDE, M * FM_BLOCK, WT + j * N * FM_BLOCK, FM_BLOCK,
                              N);
            for (int64_t g = 0; g < n; g++) {
                const int64_t row = i + g * FM_SIDE, rows = fm_at_most_side(r1 - row);
                T *delta = C + g * FM_BLOCK;
                for (int64_t r = 0; r < rows; r++)
                    fm_unpack_row(a + r * FM_SIDE, acts + (j * M * FM_SIDE + row + r) * FM_SIDE);
                fm_activate_backward(&below->activation, delta, a, rows * FM_SIDE);
                fm_pack_delta(below, delta, row, rows, j);
            }
        }
    }
    fm_end();
}

/* --------------------------------------------------- gradient and update */

/* dW of features f0..f1 and panel j from a CSR batch, G (features, 32). */
static void fm_packed_gradient_csr(const fm_layer *l, const fm_buckets *buckets, int64_t j,
                                   int64_t f0, int64_t f1, T *G)
{
    const int64_t u = f0 / FM_UNIT_FEATURES, M = fm_blocks(l->max_rows);
    const fm_bf16 *D = fm_delta_rows(l) + j * M * FM_BLOCK;
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
static void fm_packed_gradient_bias(const fm_layer *l, int64_t j, int64_t m, T *g)
{
    const fm_bf16 *D = fm_delta_rows(l) + j * fm_blocks(l->max_rows) * FM_BLOCK;
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

/* What is to be the gradient: g[0..n), or total with it added. n: a multiple of 16. */
static T *fm_total(T *total, T *g, int64_t n, int resume)
{
    if (!total)
        return g;
    if (!resume)
        return memcpy(total, g, (size_t)n * sizeof(T));
    for (int64_t i = 0; i < n; i += FM_LANES)
        v_store(total + i, v_load(total + i) + v_load(g + i));
    return total;
}

static void fm_packed_gradient_unit(const fm_layer *l, const fm_batch *batch, int64_t unit,
                                    const fm_gradient_use *use, T *room)
{
    const int64_t K = l->fan_in, panels = fm_panels(l->fan_out), m = batch->n_rows;
    const int64_t j = unit % panels, f0 = unit / panels * FM_UNIT_FEATURES;
    const int64_t f1 = K - f0 < FM_UNIT_FEATURES ? K : f0 + FM_UNIT_FEATURES;
    const int64_t at = (j * K + f0) * FM_SIDE, n = (f1 - f0) * FM_SIDE;
    _Static_assert(FM_GROUP_BLOCKS * FM_SIDE == FM_UNIT_FEATURES, "a unit is one group");

    if (l->input) {
        fm_begin();
        fm_multiply_group(
            room, fm_blocks(f1 - f0), fm_columns(l->input, l->max_rows, K) + f0 * FM_SIDE,
            fm_blocks(K) * FM_BLOCK, fm_delta_row_pairs(l) + j * fm_blocks(l->max_rows) * FM_BLOCK,
            FM_BLOCK, fm_blocks(m));
        fm_end();
    } else {
        fm_packed_gradient_csr(l, batch->buckets, j, f0, f1, room);
    }
    T *kept = l->part[FM_GRADIENT] ? fm_weights(l, FM_GRADIENT) + at : NULL;
    T *G = fm_total(kept, room, n, use->resume);
    if (use->step) {
        fm_update(l, at, G, n, 1, use->step);
        fm_packed_refresh(l, j, f0, f1);
    }
    if (f0 > 0)
        return;
    /* The first unit of every panel takes the biases along. */
    const int64_t b0 = j * FM_SIDE;
    kept = l->part[FM_GRADIENT] ? fm_bias(l, FM_GRADIENT) + b0 : NULL;
    fm_packed_gradient_bias(l, j, m, room);
    T *g = fm_total(kept, room, FM_SIDE, use->resume);
    if (use->step)
        fm_update(l, fm_weights_size(l) + b0, g, FM_SIDE, 0, use->step);
}

static void fm_packed_gradient(const fm_layer *l, const fm_batch *batch, void *scratch, int64_t u0,
                               int64_t u1, const fm_gradient_use *use)
{
    for (int64_t u = u0; u < u1; u++)
        fm_packed_gradient_unit(l, batch, u, use, ((fm_packed_scratch *)scratch)->blocks);
}

/* -------------------------------------------------------------------- set */

extern const fm_kernels FM_SET;
const fm_kernels FM_SET = {
    .isa = FM_ISA_NAME,
    .dtype = FM_FLOAT32,
    .item = sizeof(T),
    .row_unit = FM_SIDE,
    .scratch_bytes = fm_packed_scratch_bytes,
    .part_bytes = fm_packed_part_bytes,
    .input_bytes = fm_packed_input_bytes,
    .load = fm_packed_load,
    .store = fm_store,
    .part_finite = fm_part_finite,
    .rows_finite = fm_rows_finite,
    .gather = fm_packed_gather,
    .fill_buckets = fm_fill_buckets,
    .forward = fm_packed_forward,
    .forward_csr = fm_packed_forward_csr,
    .loss = fm_packed_loss,
    .outputs = fm_packed_outputs,
    .backward = fm_packed_backward,
    .n_units = fm_n_units,
    .unit_cost = fm_unit_cost,
    .gradient = fm_packed_gradient,
    .scale_gradient = fm_scale_gradient,
    .sum_squares = fm_sum_squares,
    .read_row = fm_read_whole_row,
    .predict_few = fm_predict_few,
};

#endif
#include "simd/end.h"
