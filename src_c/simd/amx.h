/* simd/amx.h - AVX-512, and AMX's tiles: eight registers of 16 rows of 64 bytes.
 * See common.h; beyond it, with tile numbers that must be literals:
 *
 *   t_begin()  t_end()     the tiles are usable between them, on this thread
 *   t_zero(t)
 *   t_load(t, p, step)     t_store(t, p, step): rows step bytes apart
 *   t_dot(c, a, b)         c += a b: a 16 rows of 16 pairs of bfloat16, b 16 pairs
 *                          of rows of 16, c 16 x 16 floats
 *
 * The operating system saves tiles only for processes that asked for it (see
 * dispatch.c). FM_INTRINSICS: see avx512bf16.h.
 */
#ifndef FM_SIMD_AMX_H
#define FM_SIMD_AMX_H

#include "simd/x86_bf16.h"

#if defined(FM_HAS_AMX) || defined(FM_INTRINSICS)

#ifdef FM_INTRINSICS
#include FM_INTRINSICS
#else
#define FM_ISA amx
#define FM_TARGET "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,amx-tile,amx-bf16"
#include "simd/avx512.h"
#endif

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} fm_tile_config;

FM_INLINE void t_begin(void)
{
    static const fm_tile_config config __attribute__((aligned(64))) = {
        .palette = 1,
        .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
        .rows = {16, 16, 16, 16, 16, 16, 16, 16},
    };
    _tile_loadconfig(&config);
    __asm__ volatile("" ::: "memory"); /* gcc does not know that a t_load reads memory */
}

FM_INLINE void t_end(void) { _tile_release(); }

#define t_zero(t) _tile_zero(t)
#define t_load(t, p, step) _tile_loadd(t, p, step)
#define t_store(t, p, step) _tile_stored(t, p, step)
#define t_dot(c, a, b) _tile_dpbf16ps(c, a, b)

#endif
#endif
