/* posix.c - system.h on Linux and macOS. */
#ifndef _WIN32
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity, pthread_setaffinity_np */
#endif
#include "host/system.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void *fm_aligned_alloc(size_t alignment, size_t bytes)
{
    void *memory;
    return posix_memalign(&memory, alignment, bytes) ? NULL : memory;
}

void fm_aligned_free(void *memory) { free(memory); }

void fm_prefer_large_pages(void *memory, size_t bytes)
{
#ifdef __linux__
    const uintptr_t large = (uintptr_t)1 << 21;
    const uintptr_t begin = ((uintptr_t)memory + large - 1) & ~(large - 1);
    const uintptr_t end = ((uintptr_t)memory + bytes) & ~(large - 1);
    if (begin < end)
        (void)!madvise((void *)begin, end - begin, MADV_HUGEPAGE); /* a kernel may lack them */
#else
    (void)memory, (void)bytes;
#endif
}

static int64_t read_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t fm_now_ns(void) { return read_clock(CLOCK_MONOTONIC); }

int64_t fm_thread_ns(void) { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

int fm_get_affinity(fm_cpu_set *cpus)
{
#ifdef __linux__
    /* The call fails if the set is smaller than the kernel's own; cpu_set_t has room for 1024. */
    return !sched_getaffinity(0, sizeof(*cpus), (cpu_set_t *)cpus);
#else
    (void)cpus;
    return 0;
#endif
}

void fm_set_affinity(const fm_cpu_set *cpus)
{
#ifdef __linux__
    (void)!sched_setaffinity(0, sizeof(*cpus), (const cpu_set_t *)cpus);
#else
    (void)cpus;
#endif
}

int fm_current_cpu(void)
{
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

void fm_thread_set_affinity(fm_thread *thread, const fm_cpu_set *cpus)
{
#ifdef __linux__
    pthread_setaffinity_np(thread->handle, sizeof(*cpus), (const cpu_set_t *)cpus);
#else
    (void)thread, (void)cpus;
#endif
}

static int n_set(const fm_cpu_set *cpus)
{
    int n = 0;
    for (size_t i = 0; i < sizeof(cpus->bits) / sizeof(*cpus->bits); i++)
        n += __builtin_popcountll(cpus->bits[i]);
    return n;
}

int fm_system_cpus(void)
{
    const int online = (int)sysconf(_SC_NPROCESSORS_ONLN);
    fm_cpu_set cpus = {{0}};
    const int allowed = fm_get_affinity(&cpus) ? n_set(&cpus) : 0;
    return allowed > 0 && (online <= 0 || allowed < online) ? allowed : online;
}

static void *run(void *arg)
{
    fm_thread *thread = arg;
    thread->run(thread->arg);
    return NULL;
}

int fm_thread_start(fm_thread *thread, void (*task)(void *), void *arg)
{
    /* A thread inherits the mask: signals are for threads that know Python. A fault
     * of its own would kill the process past the handlers (faulthandler's) if blocked. */
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
        sigdelset(&blocked, faults[i]);
    pthread_attr_t attr;
    if (pthread_attr_init(&attr))
        return 0;
    thread->run = task;
    thread->arg = arg;
    pthread_attr_setstacksize(&attr, FM_THREAD_STACK);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(&thread->handle, &attr, run, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return !error;
}

void fm_thread_join(fm_thread *thread) { pthread_join(thread->handle, NULL); }

void fm_yield(void) { sched_yield(); }

void fm_monitor_init(fm_monitor *m)
{
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->signalled, NULL);
}

void fm_monitor_destroy(fm_monitor *m)
{
    pthread_cond_destroy(&m->signalled);
    pthread_mutex_destroy(&m->lock);
}

void fm_monitor_enter(fm_monitor *m) { pthread_mutex_lock(&m->lock); }

void fm_monitor_leave(fm_monitor *m) { pthread_mutex_unlock(&m->lock); }

void fm_monitor_wait(fm_monitor *m) { pthread_cond_wait(&m->signalled, &m->lock); }

void fm_monitor_signal(fm_monitor *m) { pthread_cond_signal(&m->signalled); }

static void (*stop_threads)(void);

void fm_stop_threads_by(void (*stop)(void), void (*forget)(void))
{
    stop_threads = stop;
    pthread_atfork(stop, NULL, forget);
}

__attribute__((destructor)) static void unload(void)
{
    if (stop_threads)
        stop_threads();
}
#else
typedef int fm_no_posix; /* a file may not be empty */
#endif
