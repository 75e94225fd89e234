/* dispatch.c - which kernel sets there are and which this machine runs. */
#include <stdatomic.h>
#include <string.h>

#include "kernels/kernels.h"
#include "simd/x86_bf16.h"

#if defined(__x86_64__)
extern const fm_kernels fm_kernels_avx512_f32, fm_kernels_avx512_f64;
extern const fm_kernels fm_kernels_avx2_f32, fm_kernels_avx2_f64;

/* The builtins ask CPUID, and XGETBV whether the system saves the registers. */
static int has_avx512(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#elif defined(__aarch64__)
extern const fm_kernels fm_kernels_neon_f32, fm_kernels_neon_f64;
#endif
extern const fm_kernels fm_kernels_generic_f32, fm_kernels_generic_f64;

static int has_always(void) { return 1; }

#if defined(FM_HAS_AVX512BF16) || defined(FM_HAS_AMX)
/* Whether a set passes selftest.c, asked once. Two threads may ask at the same
 * time; they find the same. */
static int passes(atomic_int *known, const fm_kernels *set)
{
    enum { UNKNOWN, NO, YES };
    if (atomic_load(known) == UNKNOWN)
        atomic_store(known, fm_selftest(set, &fm_kernels_avx512_f32) ? YES : NO);
    return atomic_load(known) == YES;
}
#endif

#ifdef FM_HAS_AVX512BF16
extern const fm_kernels fm_kernels_avx512bf16_bf16;

static int has_avx512bf16(void)
{
    static atomic_int known;
    return has_avx512() && __builtin_cpu_supports("avx512bf16") &&
           passes(&known, &fm_kernels_avx512bf16_bf16);
}
#endif

#ifdef FM_HAS_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

extern const fm_kernels fm_kernels_amx_bf16;

/* AMX's registers are so large that Linux (5.16 and later) gives them only to
 * processes that ask: Linux, Documentation/arch/x86/xstate.rst. Threads and forked
 * children of the process have them too. Asking again is harmless. */
static int allows_amx(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, TILE_STATE = 3 << 17 };
    unsigned a, b, c, d, enabled, high;
    if (!has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & AMX_BF16) ||
        !(d & AMX_TILE))
        return 0;
    __asm__("xgetbv" : "=a"(enabled), "=d"(high) : "c"(0));
    return (enabled & TILE_STATE) == TILE_STATE &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static int has_amx(void)
{
    static atomic_int known, refused;
    if (atomic_load(&refused))
        return 0;
    if (!atomic_load(&known) && !allows_amx()) {
        atomic_store(&refused, 1);
        return 0;
    }
    return passes(&known, &fm_kernels_amx_bf16);
}
#endif

#define ROW(isa, available) \
    {#isa, {&fm_kernels_##isa##_f32, &fm_kernels_##isa##_f64, &fm_kernels_##isa##_f32}, available}
#define BFLOAT16_ROW(isa, available) {#isa, {[FM_BFLOAT16] = &fm_kernels_##isa##_bf16}, available}

/* Best first. */
static const struct {
    const char *name;
    const fm_kernels *sets[3]; /* by fm_dtype; NULL: none for it */
    int (*available)(void);
} isas[] = {
#ifdef FM_HAS_AMX
    BFLOAT16_ROW(amx, has_amx),
#endif
#ifdef FM_HAS_AVX512BF16
    BFLOAT16_ROW(avx512bf16, has_avx512bf16),
#endif
#if defined(__x86_64__)
    ROW(avx512, has_avx512),
    ROW(avx2, has_avx2),
#elif defined(__aarch64__)
    ROW(neon, has_always),
#endif
    ROW(generic, has_always),
};
enum { N_ISAS = sizeof(isas) / sizeof(*isas) };

/* Number i of the rows that have a set for dtype. */
static const char *name_of(int i, fm_dtype dtype, int *available)
{
    for (int k = 0; k < N_ISAS && i >= 0; k++) {
        if (!isas[k].sets[dtype] || i-- > 0)
            continue;
        if (available)
            *available = isas[k].available();
        return isas[k].name;
    }
    return NULL;
}

const char *fm_isa_name(int i, int *available) { return name_of(i, FM_FLOAT32, available); }

const char *fm_bfloat16_isa_name(int i, int *available)
{
    return name_of(i, FM_BFLOAT16, available);
}

const fm_kernels *fm_select_kernels(const char *isa, fm_dtype dtype, int plain, fm_status *status)
{
    *status = isa ? FM_UNKNOWN_ISA : FM_NO_ISA;
    for (int i = 0; i < N_ISAS; i++) {
        const fm_kernels *set = isas[i].sets[dtype];
        if (set && set->plain_only && !plain)
            set = NULL;
        if (isa ? strcmp(isa, isas[i].name) != 0 : !set)
            continue;
        if (!isas[i].available()) {
            *status = FM_NO_ISA;
            continue;
        }
        if (set) {
            *status = FM_OK;
            return set;
        }
        isa = NULL; /* named for its plain bfloat16: others take the next best */
    }
    return NULL;
}

fm_status fm_find_isa(const char **name, const char *isa, fm_dtype dtype)
{
    fm_status status;
    const fm_kernels *found = fm_select_kernels(isa, dtype, 1, &status);
    *name = found ? found->isa : NULL;
    return status;
}
