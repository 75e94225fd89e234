/* dispatch.c - which kernel sets there are and which this machine runs. */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#if defined(__x86_64__)
extern const fm_kernels fm_kernels_avx512_f32, fm_kernels_avx512_f64, fm_kernels_avx512_bf16;
extern const fm_kernels fm_kernels_avx2_f32, fm_kernels_avx2_f64, fm_kernels_avx2_bf16;

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
extern const fm_kernels fm_kernels_neon_f32, fm_kernels_neon_f64, fm_kernels_neon_bf16;
#endif
extern const fm_kernels fm_kernels_generic_f32, fm_kernels_generic_f64, fm_kernels_generic_bf16;

static int has_always(void)
{
    return 1;
}

#define ROW(isa, available) \
    {{&fm_kernels_##isa##_f32, &fm_kernels_##isa##_f64, &fm_kernels_##isa##_bf16}, available}

/* Best first. */
static const struct {
    const fm_kernels *sets[3]; /* by fm_dtype */
    int (*available)(void);
} isas[] = {
#if defined(__x86_64__)
    ROW(avx512, has_avx512),
    ROW(avx2, has_avx2),
#elif defined(__aarch64__)
    ROW(neon, has_always),
#endif
    ROW(generic, has_always),
};
enum { N_ISAS = sizeof(isas) / sizeof(*isas) };

const char *fm_isa_name(int i, int *available)
{
    if (i < 0 || i >= N_ISAS)
        return NULL;
    if (available)
        *available = isas[i].available();
    return isas[i].sets[0]->isa;
}

const fm_kernels *fm_select_kernels(const char *isa, fm_dtype dtype, fm_status *status)
{
    if (!isa)
        isa = getenv("FASTMLP_ISA");
    if (isa && !*isa)
        isa = NULL;
    *status = isa ? FM_UNKNOWN_ISA : FM_NO_ISA;
    for (int i = 0; i < N_ISAS; i++) {
        if (isa && strcmp(isa, isas[i].sets[0]->isa) != 0)
            continue;
        if (isas[i].available()) {
            *status = FM_OK;
            return isas[i].sets[dtype];
        }
        *status = FM_NO_ISA;
    }
    return NULL;
}
