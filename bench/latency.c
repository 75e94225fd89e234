/* latency.c - how far apart two CPUs are: a cache line's way there and back.
 *
 *   latency   ->   nanoseconds
 *
 * Two threads raise numbers in turn, each on the CPU that it happens to run on. Reported is the
 * median of the rounds: a thread that was not running for a while spoils one of them.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 101, TRIPS = 500 };

static _Alignas(128) _Atomic long ball;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void wait_for(long number)
{
    while (atomic_load_explicit(&ball, memory_order_acquire) != number)
        ;
}

static void *answer(void *arg)
{
    (void)arg;
    for (long i = 0; i < (long)ROUNDS * TRIPS; i++) {
        wait_for(2 * i + 1);
        atomic_store_explicit(&ball, 2 * i + 2, memory_order_release);
    }
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
    for (long round = 0, i = 0; round < ROUNDS; round++) {
        const double start = now();
        for (long trip = 0; trip < TRIPS; trip++, i++) {
            atomic_store_explicit(&ball, 2 * i + 1, memory_order_release);
            wait_for(2 * i + 2);
        }
        ns[round] = 1e9 * (now() - start) / TRIPS;
    }
    pthread_join(other, NULL);
    qsort(ns, ROUNDS, sizeof(*ns), ascending);
    printf("%.1f\n", ns[ROUNDS / 2]);
    return 0;
}
