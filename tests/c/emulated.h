/* emulated.h - in place of simd/avx512.h and the compiler's intrinsics: 16 lanes on
 * any CPU, and C versions of the bfloat16 instructions that block_set.h uses.
 *
 * Source of what they do: Intel, "Architecture Instruction Set Extensions
 * Programming Reference", entries LDTILECFG, TDPBF16PS, TILELOADD, VDPBF16PS.
 * Left out: subnormal numbers, which the instructions take for zero.
 */
#ifndef FM_SIMD_H
#define FM_SIMD_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define FM_MR 4
#define FM_KC 256
#define FM_LANES 16
#define FM_PANEL 32
typedef float V __attribute__((vector_size(64)));

#include "simd/common.h"

typedef VI M;

FM_INLINE V v_load(const T *p)
{
    V a;
    memcpy(&a, p, sizeof(a));
    return a;
}
FM_INLINE void v_store(T *p, V a) { memcpy(p, &a, sizeof(a)); }
FM_INLINE V v_set1(T x)
{
    V a;
    for (int i = 0; i < FM_LANES; i++)
        a[i] = x;
    return a;
}
FM_INLINE V v_fma(V a, V b, V c) { return a * b + c; }
FM_INLINE V v_fnma(V a, V b, V c) { return c - a * b; }
FM_INLINE V v_sqrt(V a)
{
    for (int i = 0; i < FM_LANES; i++)
        a[i] = sqrtf(a[i]);
    return a;
}
FM_INLINE M v_lt(V a, V b) { return a < b; }
FM_INLINE M v_le(V a, V b) { return a <= b; }
FM_INLINE M v_eq(V a, V b) { return a == b; }
FM_INLINE V v_select(M m, V a, V b) { return v_from_bits((v_bits(a) & m) | (v_bits(b) & ~m)); }
FM_INLINE V v_drop(M m, V a) { return v_from_bits(v_bits(a) & ~m); }
FM_INLINE V v_max(V a, V b) { return v_select(v_lt(b, a), a, b); }
FM_INLINE V v_min(V a, V b) { return v_select(v_lt(a, b), a, b); }
FM_INLINE int v_any(M m)
{
    TI any = 0;
    for (int i = 0; i < FM_LANES; i++)
        any |= m[i];
    return any != 0;
}

static inline float half_of(uint32_t pair, int odd)
{
    uint32_t bits = odd ? pair & 0xffff0000u : pair << 16;
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* ------------------------------------------------------------- AVX512_BF16 */

typedef VU __m512bh;

FM_INLINE V _mm512_dpbf16_ps(V c, __m512bh a, __m512bh b)
{
    for (int i = 0; i < 16; i++) {
        c[i] += half_of(a[i], 1) * half_of(b[i], 1);
        c[i] += half_of(a[i], 0) * half_of(b[i], 0);
    }
    return c;
}

/* --------------------------------------------------------------------- AMX */

enum { TILES = 8, TILE_ROWS = 16, TILE_BYTES = 64 };
static __thread struct {
    int configured;
    uint8_t tile[TILES][TILE_ROWS][TILE_BYTES];
} amx;

/* An instruction on tiles that nobody configured, or of another shape than here. */
static inline void must(int condition)
{
    if (!condition)
        abort();
}

static inline void _tile_loadconfig(const void *memory)
{
    const uint8_t *config = memory;
    must(config[0] == 1 && config[1] == 0);
    for (int t = 0; t < 16; t++) {
        uint16_t bytes;
        memcpy(&bytes, config + 16 + 2 * t, sizeof(bytes));
        must(bytes == (t < TILES ? TILE_BYTES : 0));
        must(config[48 + t] == (t < TILES ? TILE_ROWS : 0));
    }
    memset(&amx, 0, sizeof(amx));
    amx.configured = 1;
}

static inline void _tile_release(void)
{
    must(amx.configured);
    memset(&amx, 0xff, sizeof(amx));
    amx.configured = 0;
}

static inline void _tile_zero(int t)
{
    must(amx.configured);
    memset(amx.tile[t], 0, sizeof(amx.tile[t]));
}

static inline void _tile_loadd(int t, const void *memory, ptrdiff_t step)
{
    must(amx.configured);
    for (int r = 0; r < TILE_ROWS; r++)
        memcpy(amx.tile[t][r], (const char *)memory + r * step, TILE_BYTES);
}

static inline void _tile_stored(int t, void *memory, ptrdiff_t step)
{
    must(amx.configured);
    for (int r = 0; r < TILE_ROWS; r++)
        memcpy((char *)memory + r * step, amx.tile[t][r], TILE_BYTES);
}

static inline void _tile_dpbf16ps(int c, int a, int b)
{
    must(amx.configured);
    for (int m = 0; m < 16; m++) {
        uint32_t left[16], right[16];
        float to[16], even[16] = {0}, odd[16] = {0};
        memcpy(left, amx.tile[a][m], sizeof(left));
        memcpy(to, amx.tile[c][m], sizeof(to));
        for (int k = 0; k < 16; k++) {
            memcpy(right, amx.tile[b][k], sizeof(right));
            for (int n = 0; n < 16; n++) {
                even[n] += half_of(left[k], 0) * half_of(right[n], 0);
                odd[n] += half_of(left[k], 1) * half_of(right[n], 1);
            }
        }
        for (int n = 0; n < 16; n++)
            to[n] += even[n] + odd[n];
        memcpy(amx.tile[c][m], to, sizeof(to));
    }
}

#endif
