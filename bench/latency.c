/* latency.c - how far apart two CPUs are: a cache line's way there and back.
 *
 *   latency   ->   nanoseconds
 *
 * Two threads raise numbers in turn, each on the CPU that it happens to run on. Reported is the
 * median of the rounds: a thread that was not running for a while spoils one of them. Where others
 * keep a CPU busy a trip may take milliseconds, so there are fewer rounds then.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 1001, TRIPS = 50, LAST = -1 };
static const double ENOUGH = 0.05; /* seconds */

static _Alignas(128) _Atomic long ball;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What has been raised to the number, or LAST. */
static long wait_for(long number)
{
    for (;;) {
        const long seen = atomic_load_explicit(&ball, memory_order_acquire);
        if (seen == number || seen == LAST)
            return seen;
    }
}

static void *answer(void *arg)
{
    (void)arg;
    for (long i = 0; wait_for(2 * i + 1) != LAST; i++)
        atomic_store_explicit(&ball, 2 * i + 2, memory_order_release);
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void)
{
    pthread_t other;
    double ns[ROUNDS];
    if (pthread_create(&other, NULL, answer, NULL))
        return 1;
    const double begin = now();
    int n = 0;
    for (long i = 0; n < ROUNDS && now() - begin < ENOUGH; n++) {
        const double start = now();
        for (long trip = 0; trip < TRIPS; trip++, i++) {
            atomic_store_explicit(&ball, 2 * i + 1, memory_order_release);
            wait_for(2 * i + 2);
        }
        ns[n] = 1e9 * (now() - start) / TRIPS;
    }
    atomic_store(&ball, LAST);
    pthread_join(other, NULL);
    qsort(ns, (size_t)n, sizeof(*ns), ascending);
    printf("%.1f\n", ns[n / 2]);
    return 0;
}
