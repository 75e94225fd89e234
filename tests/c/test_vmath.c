/* test_vmath.c - simd/<isa>.h and vmath.h against libm, for one ISA and dtype.
 *
 *     cc -O3 -ffp-contract=off -std=gnu11 -I src_c -DFM_F64=0 \
 *        -DSIMD='"simd/avx2.h"' tests/c/test_vmath.c -lm && ./a.out
 *
 * Prints per function the largest error in units in the last place of the exact
 * result, for derivatives, which cross zero, of at least 1/2, and a checksum of all results: ISAs with a fused multiply-add must
 * print the same. Fails if an error is above its bound.
 *
 *     a.out [log2 of the number of random arguments = 22]
 *     a.out all          all 2^32 arguments (f32), 2^28 random ones (f64)
 *     a.out time         nanoseconds per element in L1 instead
 */
#define _GNU_SOURCE
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include SIMD
#include "tables/activations.h"

#if FM_F64
typedef long double R; /* of the reference */
#define REF(f) f##l
#else
typedef double R;
#define REF(f) f
#endif

#define MIN_NORMAL ((T)(FM_F64 ? 0x1p-1022 : 0x1p-126))
enum { BLOCK = 4096 };

static int n_failed;

#define CHECK(ok, ...)                                \
    do {                                              \
        if (!(ok)) {                                  \
            if (n_failed++ < 20) {                    \
                printf("FAILED line %d: ", __LINE__); \
                printf(__VA_ARGS__);                  \
                printf("\n");                         \
            }                                         \
        }                                             \
    } while (0)

static TU to_bits(T x)
{
    TU u;
    memcpy(&u, &x, sizeof(u));
    return u;
}

static T from_bits(TU u)
{
    T x;
    memcpy(&x, &u, sizeof(x));
    return x;
}

static uint64_t random_state = 1;

static uint64_t random_64(void) /* splitmix64 */
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static void set_flush_to_zero(int on)
{
#if defined(__x86_64__)
    unsigned csr = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(on ? csr | 0x8040u : csr & ~0x8040u);
#elif defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    fpcr = on ? fpcr | (1u << 24) : fpcr & ~(uint64_t)(1u << 24);
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
#else
    (void)on;
#endif
}

/* --------------------------------------------------------------- functions */
#include "vmath_references.h"

/* array_<name>(out, x, n): out[i] = expression of the vector z. */
#define ARRAY_OF(name, expression)                                        \
    static void array_##name(T *restrict out, const T *restrict x, int n) \
    {                                                                     \
        for (int i = 0; i < n; i += FM_LANES) {                           \
            V z = v_load(x + i);                                          \
            v_store(out + i, expression);                                 \
        }                                                                 \
    }
ARRAY_OF(exp, v_exp(z))
ARRAY_OF(expm1, v_expm1(z))
ARRAY_OF(log, v_log(z))
ARRAY_OF(log1p, v_log1p(z))
ARRAY_OF(tanh, v_tanh(z))
ARRAY_OF(logistic, v_logistic(z))
ARRAY_OF(log_cosh, v_log_cosh(z))
ARRAY_OF(logistic_loss, v_logistic_loss(v_set1((T)TARGET), z))

/* The rows of the table, with the parameters of vmath_references.h, and their derivatives. */
static const fm_constants parameters_of_leaky_relu = {.leaky_relu = {.slope = SLOPE}};
static const fm_constants parameters_of_elu = {.elu = {.alpha = ALPHA}};
static const fm_constants parameters_of_celu = {.celu = {.alpha = ALPHA}};
static const fm_constants none;
#define ROW_OF(name, parameters)                        \
    static V row_##name(V z)                            \
    {                                                   \
        V slope;                                        \
        return fm_act_##name(z, &slope, &(parameters)); \
    }                                                   \
    ARRAY_OF(name, row_##name(z))
#define FROM_OUTPUT(name, parameters) \
    ROW_OF(name, parameters)          \
    ARRAY_OF(d##name, fm_dact_##name(v_set1(1), row_##name(z), &(parameters)))
#define FROM_PREACTIVATION(name)         \
    ROW_OF(name, none)                   \
    static V slope_##name(V z)           \
    {                                    \
        V slope;                         \
        fm_act_##name(z, &slope, &none); \
        return slope;                    \
    }                                    \
    ARRAY_OF(d##name, slope_##name(z))
FROM_OUTPUT(leaky_relu, parameters_of_leaky_relu)
FROM_OUTPUT(elu, parameters_of_elu)
FROM_OUTPUT(selu, none)
FROM_OUTPUT(celu, parameters_of_celu)
FROM_PREACTIVATION(gelu)
FROM_PREACTIVATION(silu)
FROM_PREACTIVATION(mish)
FROM_OUTPUT(softplus, none)
FROM_OUTPUT(softsign, none)
FROM_OUTPUT(relu6, none)
FROM_PREACTIVATION(hardswish)
FROM_OUTPUT(hardsigmoid, none)

#define EVERYWHERE -INFINITY, INFINITY
/* A subnormal result may be zero; with flush-to-zero numbers on the way to a result may be, too. */
enum { KEPT, FLUSHED, FLUSHED_ON_THE_WAY };
#define NONE FM_EXP_NONE
static const struct function {
    const char *name;
    void (*array)(T *restrict out, const T *restrict x, int n);
    R (*ref)(R x);
    double bound; /* in ULP of the result, or of floor if that is larger */
    double floor;
    T from, to; /* half of the random arguments fall here */
    T low, high; /* the domain */
    int subnormals; /* what may become of them */
} functions[] = {
    {"exp", array_exp, REF(exp), 1.2, 0, FM_EXP_LO, FM_EXP_HI, EVERYWHERE, KEPT},
    {"expm1", array_expm1, REF(expm1), 2.2, 0, NONE, -NONE, -INFINITY, FM_EXP_HI - 1, KEPT},
    {"log", array_log, REF(log), 1.0, 0, (T)0.5, 2, EVERYWHERE, KEPT},
    {"log1p", array_log1p, REF(log1p), 1.4, 0, (T)-0.99, 2, -1 + (T)(FM_F64 ? 0x1p-53 : 0x1p-24),
     (T)0x1p100, KEPT},
    {"tanh", array_tanh, REF(tanh), 2.7, 0, NONE / 2, -NONE / 2, EVERYWHERE, KEPT},
    {"logistic", array_logistic, ref_logistic, 2.7, 0, NONE, -NONE, EVERYWHERE, FLUSHED},
    {"softplus", array_softplus, ref_softplus, 2, 0, FM_EXP_LO, -NONE, EVERYWHERE, KEPT},
    {"log_cosh", array_log_cosh, ref_log_cosh, 3, 0, NONE, -NONE, EVERYWHERE, KEPT},
    {"logistic_loss", array_logistic_loss, ref_logistic_loss, 3, 0, NONE, -NONE, EVERYWHERE, KEPT},
    {"leaky_relu", array_leaky_relu, ref_leaky_relu, 1, 0, -2, 2, EVERYWHERE, KEPT},
    {"elu", array_elu, ref_elu, 3, 0, NONE, 1, EVERYWHERE, KEPT},
    {"selu", array_selu, ref_selu, 3, 0, NONE, 1, EVERYWHERE, KEPT},
    {"celu", array_celu, ref_celu, 3, 0, NONE, 1, EVERYWHERE, FLUSHED_ON_THE_WAY},
    {"gelu", array_gelu, ref_gelu, 3, 0, -FM_NORMAL_NONE, 8, EVERYWHERE, FLUSHED_ON_THE_WAY},
    {"silu", array_silu, ref_silu, 3, 0, FM_EXP_LO, -NONE, EVERYWHERE, KEPT},
    {"mish", array_mish, ref_mish, 3, 0, FM_EXP_LO, -NONE, EVERYWHERE, FLUSHED_ON_THE_WAY},
    {"softsign", array_softsign, ref_softsign, 3, 0, -10, 10, EVERYWHERE, KEPT},
    {"relu6", array_relu6, ref_relu6, 1, 0, -1, 7, EVERYWHERE, KEPT},
    {"hardsigmoid", array_hardsigmoid, ref_hardsigmoid, 3, 0, -4, 4, EVERYWHERE, KEPT},
    {"hardswish", array_hardswish, ref_hardswish, 3, 0, -4, 4, EVERYWHERE, KEPT},
    {"leaky_relu'", array_dleaky_relu, ref_dleaky_relu, 4, 0.5, -2, 2, EVERYWHERE, KEPT},
    {"elu'", array_delu, ref_delu, 4, 0.5, NONE, 1, EVERYWHERE, KEPT},
    {"selu'", array_dselu, ref_dselu, 4, 0.5, NONE, 1, EVERYWHERE, KEPT},
    {"celu'", array_dcelu, ref_dcelu, 4, 0.5, NONE, 1, EVERYWHERE, KEPT},
    {"gelu'", array_dgelu, ref_dgelu, 4, 0.5, -FM_NORMAL_NONE, 8, EVERYWHERE, KEPT},
    {"silu'", array_dsilu, ref_dsilu, 4, 0.5, FM_EXP_LO, -NONE, EVERYWHERE, FLUSHED_ON_THE_WAY},
    {"mish'", array_dmish, ref_dmish, 4, 0.5, FM_EXP_LO, -NONE, EVERYWHERE, FLUSHED_ON_THE_WAY},
    {"softplus'", array_dsoftplus, ref_logistic, 4, 0.5, FM_EXP_LO, -NONE, EVERYWHERE, KEPT},
    {"softsign'", array_dsoftsign, ref_dsoftsign, 4, 0.5, -10, 10, EVERYWHERE, KEPT},
    {"relu6'", array_drelu6, ref_drelu6, 4, 0.5, -1, 7, EVERYWHERE, KEPT},
    {"hardsigmoid'", array_dhardsigmoid, ref_dhardsigmoid, 4, 0.5, -4, 4, EVERYWHERE, KEPT},
    {"hardswish'", array_dhardswish, ref_dhardswish, 4, 0.5, -4, 4, EVERYWHERE, KEPT},
};

/* |got - want| in units of the last place of want; an infinite got counts as
 * the power of two after the largest finite number. */
static double ulps(T got, R want, double floor)
{
    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got) ? 0 : INFINITY;
    R above = FM_F64 ? (R)0x1p1023 * 2 : (R)0x1p127 * 2;
    R g = isinf(got) ? copysign(1, got) * above : (R)got;
    if (REF(fabs)(want) >= above)
        want = copysign(1, want) * above;
    int e;
    REF(frexp)(want, &e);
    if (e < 2 - FM_BIAS)
        e = 2 - FM_BIAS; /* of the smallest normal number */
    if (floor > 0 && e < ilogb(floor) + 1)
        e = ilogb(floor) + 1;
    return (double)(REF(fabs)(g - want) * REF(ldexp)(1, FM_MANTISSA + 1 - e));
}

struct result {
    double max_ulp;
    T at;
    uint64_t checksum;
};

static void measure(const struct function *f, const T *x, struct result *result)
{
    static T out[BLOCK], flushed[BLOCK];
    f->array(out, x, BLOCK);
    for (int i = 0; i < BLOCK; i++) {
        R want = f->ref(x[i]);
        double u = ulps(out[i], want, f->floor);
        if (x[i] < f->low || x[i] > f->high)
            continue;
        if (f->subnormals == FLUSHED && out[i] == 0 && want > 0 && want < MIN_NORMAL)
            u = 0;
        if (u > result->max_ulp) {
            result->max_ulp = u;
            result->at = x[i];
        }
        uint64_t bits = isnan(out[i]) ? 0 : to_bits(out[i]);
        result->checksum = (result->checksum ^ bits) * 0x9e3779b97f4a7c15;
        result->checksum ^= result->checksum >> 32;
    }
    set_flush_to_zero(1);
    f->array(flushed, x, BLOCK);
    set_flush_to_zero(0);
    for (int i = 0; i < BLOCK; i++) {
        int subnormal = (x[i] != 0 && fabs(x[i]) < MIN_NORMAL);
        int same = to_bits(out[i]) == to_bits(flushed[i]) || (isnan(out[i]) && isnan(flushed[i])) ||
                   (fabs(out[i]) <= MIN_NORMAL && flushed[i] == 0);
        if (f->subnormals == FLUSHED_ON_THE_WAY)
            same |= fabs(out[i] - flushed[i]) <=
                    2 * MIN_NORMAL + f->floor * (FM_F64 ? DBL_EPSILON : FLT_EPSILON);
        CHECK(same || subnormal, "%s(%a) = %a, but %a when subnormals are flushed", f->name,
              (double)x[i], (double)out[i], (double)flushed[i]);
    }
}

static void report(const struct function *f, const struct result *result)
{
    printf("%-8s f%d %-8s %.3f ULP at %.9g  %016llx\n", FM_ISA_NAME, FM_F64 ? 64 : 32, f->name,
           result->max_ulp, (double)result->at, (unsigned long long)result->checksum);
    fflush(stdout);
    /* Where long double is double the reference itself is off by up to one. */
    const double fused = strcmp(FM_ISA_NAME, "generic") ? 1 : 1.4;
    const double bound = f->bound * fused + (FM_F64 && LDBL_MANT_DIG == DBL_MANT_DIG);
    CHECK(result->max_ulp <= bound, "%s: %g ULP at %a", f->name, result->max_ulp,
          (double)result->at);
}

/* Each with its neighbours: powers of two; 3 and 6; where log cuts its range, where 1 + e^x
 * rounds to 1, where results of either dtype become subnormal, zero or infinite. */
static int edges(T *x)
{
    /* clang-format off */
    static const double special[] = {
        0, 0.5, 1, 3, 6, 1e30, INFINITY, NAN, 0.70710678118654752, 1.41421356237309505,
        9.01, 16.6, 17.33, 18.7, 36.8, 37.43, 87.3365, 88.3763, 88.7228, 89.07, 103.279, 103.973,
        708.396, 709.0895, 709.782712893384, 744.4400719213812, 745.1332191019412};
    /* clang-format on */
    int n = 0;
    for (int i = 0; i < (int)(sizeof(special) / sizeof(special[0])); i++)
        for (TU d = 0; d < 17; d++) {
            x[n] = from_bits(to_bits((T)special[i]) + d - 8);
            x[n + 1] = -x[n];
            n += 2;
        }
    for (int e = FM_F64 ? -1074 : -149; e < FM_BIAS + 1; e += FM_F64 ? 4 : 1)
        for (TU d = 0; d < 3; d++) {
            x[n] = from_bits(to_bits((T)ldexp(1, e)) + d - 1);
            x[n + 1] = -x[n];
            n += 2;
        }
    return n;
}

static void test_function(const struct function *f, int all, int log2_n)
{
    static T x[2 * BLOCK];
    struct result result = {0};
    random_state = 1;
    memset(x, 0, sizeof(x)); /* whatever function was tested before */
    CHECK(edges(x) <= BLOCK, "too many edges");
    measure(f, x, &result);
    for (uint64_t i = 0; i < (uint64_t)1 << log2_n; i += BLOCK) {
        for (int j = 0; j < BLOCK; j++) {
            uint64_t z = random_64();
            if (all && !FM_F64)
                x[j] = from_bits((TU)(i + (unsigned)j));
            else if (j % 2)
                x[j] = from_bits((TU)z);
            else
                x[j] = f->from + (f->to - f->from) * (T)((double)(z >> 11) * 0x1p-53);
        }
        measure(f, x, &result);
    }
    report(f, &result);
}

/* -------------------------------------------------------------- operations */
static void test_operations(void)
{
    static const T values[] = {0,        (T)-0.0,  1,       -1,          (T)0.5,       (T)2.5,
                               (T)-3.5,  1000,     -123456, (T)1.000001, (T)-0.333333, (T)NAN,
                               INFINITY, -INFINITY};
    enum { N = sizeof(values) / sizeof(values[0]) };
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            T a = values[i], b = values[j], c = values[(i + 3 * j + 1) % N];
            T x[3 * FM_LANES + 1], y[FM_LANES + 1];
            const int lane = (i + j) % FM_LANES; /* takes a, b, c, the others something else */
            for (int l = 0; l < FM_LANES; l++) {
                x[1 + l] = l == lane ? a : 7;
                x[1 + FM_LANES + l] = l == lane ? b : 8;
                x[1 + 2 * FM_LANES + l] = l == lane ? c : 9;
            }
            V va = v_load(x + 1), vb = v_load(x + 1 + FM_LANES), vc = v_load(x + 1 + 2 * FM_LANES);
            M lt = v_lt(va, vb), eq = v_eq(va, vb);
#define EXPECT(vector, scalar)                                                                    \
    do {                                                                                          \
        v_store(y + 1, vector);                                                                   \
        T got = y[1 + lane], want = scalar;                                                       \
        CHECK(to_bits(got) == to_bits(want) || (isnan(got) && isnan(want)), "%s(%g, %g, %g): %g", \
              #vector, (double)a, (double)b, (double)c, (double)got);                             \
    } while (0)
            EXPECT(va, a);
            EXPECT(v_set1(a), a);
            EXPECT(v_zero(), 0);
            EXPECT(va + vb * vc, a + b * c);
            EXPECT(va / vb - vc, a / b - c);
            EXPECT(v_max(va, vb), a > b ? a : b);
            EXPECT(v_min(va, vb), a < b ? a : b);
            EXPECT(v_abs(va), (T)fabs(a));
            EXPECT(v_neg(va), -a);
            EXPECT(v_sign_of(v_abs(va), vb), (T)copysign(a, b));
            EXPECT(v_sqrt(va), (T)sqrt(a));
            EXPECT(v_select(lt, va, vc), a < b ? a : c);
            EXPECT(v_select(eq, va, vc), a == b ? a : c);
            EXPECT(v_from_bits(v_bits(va)), a);
            if (strcmp(FM_ISA_NAME, "generic")) {
                EXPECT(v_fma(va, vb, vc), FM_F64 ? fma(a, b, c) : fmaf(a, b, c));
                EXPECT(v_fnma(va, vb, vc), FM_F64 ? fma(-a, b, c) : fmaf(-a, b, c));
            } else {
                EXPECT(v_fma(va, vb, vc), a * b + c);
                EXPECT(v_fnma(va, vb, vc), c - a * b);
            }
            V seen = v_fold_finite(v_fold_finite(v_zero(), va), vb);
            CHECK(v_all_finite(seen) == (isfinite(a) && isfinite(b)), "v_all_finite(%g, %g)",
                  (double)a, (double)b);
        }
}

/* Operations that move lanes. Element k of an array is k + 1. */
static void test_lanes(void)
{
    enum { N = FM_LANES, STEP = FM_LANES + 3 };
    T x[N * STEP], y[N * STEP];
    for (int k = 0; k < N * STEP; k++)
        x[k] = (T)(k + 1);
    for (int c = 0; c <= N; c++) {
        memset(y, 0, sizeof(y));
        v_store(y, v_load_part(x, c));
        for (int k = 0; k < N; k++)
            CHECK(y[k] == (k < c ? x[k] : 0), "v_load_part(., %d)[%d]", c, k);
        memset(y, 0, sizeof(y));
        v_store_part(y, v_load(x), c);
        for (int k = 0; k < N; k++)
            CHECK(y[k] == (k < c ? x[k] : 0), "v_store_part(., %d)[%d]", c, k);
    }
    v_store(y, v_swap(v_load(x), N / 2));
    v_store(y + N, v_swap(v_load(x), 1));
    for (int k = 0; k < N; k++)
        CHECK(y[k] == x[k ^ (N / 2)] && y[N + k] == x[k ^ 1], "v_swap [%d]", k);
    v_transpose(y, STEP, x, STEP);
    for (int r = 0; r < N; r++)
        for (int k = 0; k < N; k++)
            CHECK(y[r * STEP + k] == x[k * STEP + r], "v_transpose [%d, %d]", r, k);
}

static void measure_time(void)
{
    static T x[BLOCK], out[BLOCK];
    set_flush_to_zero(1); /* as in training */
    for (size_t k = 0; k < sizeof(functions) / sizeof(functions[0]); k++) {
        const struct function *f = &functions[k];
        double best = INFINITY;
        for (int i = 0; i < BLOCK; i++) /* 0.8: no subnormal results */
            x[i] =
                (T)0.8 * (f->from + (f->to - f->from) * (T)((double)(random_64() >> 11) * 0x1p-53));
        for (int round = 0; round < 50; round++) {
            struct timespec t0, t1;
            clock_gettime(CLOCK_MONOTONIC, &t0);
            for (int i = 0; i < 100; i++) {
                f->array(out, x, BLOCK);
                __asm__ volatile("" : : "r"(out) : "memory"); /* out is wanted every time */
            }
            clock_gettime(CLOCK_MONOTONIC, &t1);
            double s = (double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec);
            best = fmin(best, s / 100 / BLOCK);
        }
        printf("%-8s f%d %-8s %.3f ns\n", FM_ISA_NAME, FM_F64 ? 64 : 32, f->name, best * 1e9);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "time")) {
        measure_time();
        return 0;
    }
    int all = argc > 1 && !strcmp(argv[1], "all");
    int log2_n = all ? (FM_F64 ? 28 : 32) : argc > 1 ? atoi(argv[1]) : 22;
    test_operations();
    test_lanes();
    for (size_t k = 0; k < sizeof(functions) / sizeof(functions[0]); k++)
        test_function(&functions[k], all, log2_n);
    if (n_failed)
        printf("%d failures\n", n_failed);
    return n_failed != 0;
}

#include "simd/end.h"
