/* system.h - what the engine asks of the operating system: memory at an alignment,
 * clocks, CPUs, threads. posix.c answers on Linux and macOS, windows.c on Windows;
 * one of the two is empty.
 */
#ifndef FM_SYSTEM_H
#define FM_SYSTEM_H

#include <stddef.h>
#include <stdint.h>
#ifndef _WIN32
#include <pthread.h>
#endif

/* ------------------------------------------------------------------ memory
 * alignment: a power of two, at least that of a pointer. NULL: there is none. */
void *fm_aligned_alloc(size_t alignment, size_t bytes);
void fm_aligned_free(void *memory); /* NULL is fine */
/* That large pages would be welcome for what is read and written all over, before it is touched.
 * Does nothing for little memory, or where the system has no such wish. */
void fm_prefer_large_pages(void *memory, size_t bytes);

/* ------------------------------------------------------------------ clocks */
int64_t fm_now_ns(void); /* only grows */

/* For how long the calling thread has run on a CPU, from a start of the system's choice; the
 * time that has passed at all where the system does not know to a millisecond. */
int64_t fm_thread_ns(void);

/* -------------------------------------------------------------------- CPUs */
int fm_system_cpus(void); /* online and open to this thread; 0: unknown */

typedef struct {
    uint64_t bits[128]; /* CPU i is bit i % 64 of bits[i / 64]; Linux has at most 8192 */
} fm_cpu_set;

/* Those of the calling thread; 0 where a thread has none of its own. */
int fm_get_affinity(fm_cpu_set *cpus);
/* Changes nothing if there is no CPU in the set. */
void fm_set_affinity(const fm_cpu_set *cpus);
/* The one that the calling thread was just on; negative: unknown. */
int fm_current_cpu(void);

/* ----------------------------------------------------------------- threads */
enum { FM_THREAD_STACK = 1 << 20 }; /* the default is 8 MB with glibc, 128 KB with musl */

typedef struct {
    void (*run)(void *arg);
    void *arg;
#ifdef _WIN32
    void *handle;
#else
    pthread_t handle;
#endif
} fm_thread;

/* Calls run(arg) on a thread that takes no signals but faults of its own; 0: there is none.
 * `thread` stays where it is until it is joined. */
int fm_thread_start(fm_thread *thread, void (*run)(void *arg), void *arg);
void fm_thread_join(fm_thread *thread);
void fm_thread_set_affinity(fm_thread *thread, const fm_cpu_set *cpus);

/* Lets other threads have this CPU, if there are any that wait for it. */
void fm_yield(void);

/* A lock and what its holders wait for (Hoare 1974). */
typedef struct {
#ifdef _WIN32
    void *lock, *signalled;
#else
    pthread_mutex_t lock;
    pthread_cond_t signalled;
#endif
} fm_monitor;

void fm_monitor_init(fm_monitor *m);
void fm_monitor_destroy(fm_monitor *m);
void fm_monitor_enter(fm_monitor *m);
void fm_monitor_leave(fm_monitor *m);
void fm_monitor_wait(fm_monitor *m); /* outside of it until signalled, or for no reason */
void fm_monitor_signal(fm_monitor *m);

/* Called once, by a constructor: calls stop before each fork and before the engine's code leaves
 * a process that goes on, and forget in the child of a fork. */
void fm_stop_threads_by(void (*stop)(void), void (*forget)(void));

#endif
