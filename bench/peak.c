/* peak.c - what the CPU can do, the yardstick of kernels.py and roofline.py.
 *
 *   peak f32|f64 n_threads   ->   GFLOPS of fused multiply-adds, all threads together
 *   peak read n_bytes        ->   GB/s of reading so many bytes again and again, one thread
 *   peak copy n_threads      ->   GB/s of copying, read and written, all threads together
 *
 * Each thread keeps N_CHAINS independent accumulators in registers, enough to hide the latency of
 * every FMA unit, and touches no memory. The vector width is that of the compiler's target.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define N_CHAINS 24
#define ROWS(ROW)                                                \
    ROW(f32, float, __m512, 16, _mm512_set1_ps, _mm512_fmadd_ps) \
    ROW(f64, double, __m512d, 8, _mm512_set1_pd, _mm512_fmadd_pd)
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define N_CHAINS 12
#define ROWS(ROW)                                               \
    ROW(f32, float, __m256, 8, _mm256_set1_ps, _mm256_fmadd_ps) \
    ROW(f64, double, __m256d, 4, _mm256_set1_pd, _mm256_fmadd_pd)
#elif defined(__aarch64__)
#include <arm_neon.h>
#define N_CHAINS 24
#define fma32(a, b, c) vfmaq_f32(c, a, b)
#define fma64(a, b, c) vfmaq_f64(c, a, b)
#define ROWS(ROW)                                       \
    ROW(f32, float, float32x4_t, 4, vdupq_n_f32, fma32) \
    ROW(f64, double, float64x2_t, 2, vdupq_n_f64, fma64)
#else
#error "no fused multiply-add"
#endif

#define SECONDS 0.1
#define STEPS 100000 /* between two looks at the clock */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* peak_f32, peak_f64: thread functions that store their GFLOPS in *result. */
#define ROW(NAME, T, V, LANES, SET, FMA)                               \
    static void *peak_##NAME(void *result)                             \
    {                                                                  \
        V acc[N_CHAINS], scale = SET((T)0.999), shift = SET((T)0.001); \
        for (int i = 0; i < N_CHAINS; i++)                             \
            acc[i] = SET((T)i);                                        \
        double flops = 0, start = now(), seconds;                      \
        do {                                                           \
            for (long step = 0; step < STEPS; step++) {                \
                _Pragma("GCC unroll 24")                               \
                for (int i = 0; i < N_CHAINS; i++)                     \
                    acc[i] = FMA(acc[i], scale, shift);                \
            }                                                          \
            flops += 2.0 * LANES * N_CHAINS * STEPS;                   \
            seconds = now() - start;                                   \
        } while (seconds < SECONDS);                                   \
        volatile V sink;                                               \
        for (int i = 0; i < N_CHAINS; i++)                             \
            sink = acc[i];                                             \
        (void)sink;                                                    \
        *(double *)result = 1e-9 * flops / seconds;                    \
        return NULL;                                                   \
    }
ROWS(ROW)

/* Prints the rate of reading n bytes; whole rounds only, so that every byte counts once. */
static int read_rate(long long n)
{
    typedef double block __attribute__((vector_size(32)));
    const long long n_blocks = n / (long long)sizeof(block) / 8 * 8;
    block *data = n_blocks > 0 ? aligned_alloc(64, (size_t)n_blocks * sizeof(block)) : NULL;
    if (!data)
        return 1;
    for (long long i = 0; i < n_blocks; i++)
        data[i] = (block){1};
    block sums[8] = {{0}};
    double bytes = 0, start = now(), seconds;
    do {
        for (long long i = 0; i < n_blocks; i += 8)
            _Pragma("GCC unroll 8")
        for (int k = 0; k < 8; k++)
            sums[k] += data[i + k];
        bytes += (double)n_blocks * sizeof(block);
        seconds = now() - start;
    } while (seconds < SECONDS);
    volatile double sink = 0;
    for (int k = 0; k < 8; k++)
        sink += sums[k][0];
    (void)sink;
    free(data);
    printf("%.3f\n", 1e-9 * bytes / seconds);
    return 0;
}

/* Of all threads together: as many as the parameters and state of ``sparse`` have in float32, too
 * many for most caches. */
#define COPIED (24L << 20)

typedef struct {
    long n; /* bytes */
    double rate;
} share;

/* Ordinary loads and stores, in whole rounds. */
static void *copy_rate(void *arg)
{
    typedef double block __attribute__((vector_size(32)));
    share *mine = arg;
    const long n = mine->n / (long)sizeof(block) / 8 * 8;
    block *from = aligned_alloc(64, (size_t)n * sizeof(block));
    block *to = aligned_alloc(64, (size_t)n * sizeof(block));
    if (!from || !to)
        exit(1);
    for (long i = 0; i < n; i++)
        from[i] = to[i] = (block){1};
    double bytes = 0, start = now(), seconds;
    do {
        for (long i = 0; i < n; i += 8) {
            _Pragma("GCC unroll 8")
            for (int k = 0; k < 8; k++)
                to[i + k] = from[i + k];
            __asm__ volatile("" : : : "memory"); /* else it becomes a call of memcpy */
        }
        bytes += 2 * (double)n * sizeof(block);
        seconds = now() - start;
    } while (seconds < SECONDS);
    mine->rate = 1e-9 * bytes / seconds;
    free(from);
    free(to);
    return NULL;
}

static int copy_rates(int n_threads)
{
    pthread_t threads[1024];
    share shares[1024];
    double sum = 0;
    for (int i = 0; i < n_threads; i++) {
        shares[i].n = COPIED / n_threads;
        if (pthread_create(&threads[i], NULL, copy_rate, &shares[i]))
            return 1;
    }
    for (int i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        sum += shares[i].rate;
    }
    printf("%.3f\n", sum);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "read"))
        return read_rate(atoll(argv[2]));
    int n = argc == 3 ? atoi(argv[2]) : 0;
    if (n < 1 || n > 1024) {
        fprintf(stderr, "usage: peak f32|f64|copy n_threads, or peak read n_bytes\n");
        return 2;
    }
    if (!strcmp(argv[1], "copy"))
        return copy_rates(n);
    void *(*run)(void *) = strcmp(argv[1], "f64") ? peak_f32 : peak_f64;
    pthread_t threads[1024];
    double rates[1024], sum = 0;
    for (int i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, run, &rates[i]))
            return 1;
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        sum += rates[i];
    }
    printf("%.3f\n", sum);
    return 0;
}
