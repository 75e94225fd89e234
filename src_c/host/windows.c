/* windows.c - system.h on Windows 8 and later. */
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0602
#endif
#include "host/system.h"

#include <malloc.h>
#include <process.h>
#include <windows.h>

_Static_assert(sizeof(void *) == sizeof(SRWLOCK), "fm_monitor");
_Static_assert(sizeof(void *) == sizeof(CONDITION_VARIABLE), "fm_monitor");

void *fm_aligned_alloc(size_t alignment, size_t bytes) { return _aligned_malloc(bytes, alignment); }

void fm_aligned_free(void *memory) { _aligned_free(memory); }

void fm_prefer_large_pages(void *memory, size_t bytes) { (void)memory, (void)bytes; }

int64_t fm_now_ns(void)
{
    enum { SECOND = 1000000000 };
    LARGE_INTEGER ticks, per_second;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&per_second);
    const int64_t n = ticks.QuadPart, f = per_second.QuadPart;
    return n / f * SECOND + n % f * SECOND / f;
}

/* GetThreadTimes counts in ticks of 15.6 ms, and QueryThreadCycleTime in a unit that it keeps to
 * itself. */
int64_t fm_thread_ns(void) { return fm_now_ns(); }

int fm_get_affinity(fm_cpu_set *cpus)
{
    (void)cpus;
    return 0;
}

void fm_set_affinity(const fm_cpu_set *cpus) { (void)cpus; }

int fm_current_cpu(void) { return -1; }

void fm_thread_set_affinity(fm_thread *thread, const fm_cpu_set *cpus) { (void)thread, (void)cpus; }

/* Those of one group of at most 64, in which the threads of a process start. Both masks are 0 if
 * the process has threads in several groups already: these it may use all. */
int fm_system_cpus(void)
{
    DWORD_PTR own, all;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &own, &all))
        return 0;
    return own ? __builtin_popcountll(own) : (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
}

static unsigned __stdcall run(void *arg)
{
    fm_thread *thread = arg;
    thread->run(thread->arg);
    return 0;
}

/* The code of a thread stays loaded for ever: while a library is unloaded, no thread can end. */
static void pin_code(void)
{
    const DWORD how = GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS;
    HMODULE module;
    GetModuleHandleExW(how, (LPCWSTR)(void *)run, &module);
}

int fm_thread_start(fm_thread *thread, void (*task)(void *), void *arg)
{
    pin_code();
    thread->run = task;
    thread->arg = arg;
    thread->handle = (void *)_beginthreadex(NULL, FM_THREAD_STACK, run, thread,
                                            STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    return thread->handle != NULL;
}

void fm_thread_join(fm_thread *thread)
{
    WaitForSingleObject(thread->handle, INFINITE);
    CloseHandle(thread->handle);
}

void fm_yield(void) { SwitchToThread(); }

static PSRWLOCK lock_of(fm_monitor *m) { return (PSRWLOCK)&m->lock; }

static PCONDITION_VARIABLE signalled_of(fm_monitor *m)
{
    return (PCONDITION_VARIABLE)&m->signalled;
}

void fm_monitor_init(fm_monitor *m)
{
    InitializeSRWLock(lock_of(m));
    InitializeConditionVariable(signalled_of(m));
}

void fm_monitor_destroy(fm_monitor *m) { (void)m; }

void fm_monitor_enter(fm_monitor *m) { AcquireSRWLockExclusive(lock_of(m)); }

void fm_monitor_leave(fm_monitor *m) { ReleaseSRWLockExclusive(lock_of(m)); }

void fm_monitor_wait(fm_monitor *m)
{
    SleepConditionVariableSRW(signalled_of(m), lock_of(m), INFINITE, 0);
}

void fm_monitor_signal(fm_monitor *m) { WakeConditionVariable(signalled_of(m)); }

/* There is no fork, pin_code keeps the code, and the end of a process ends its threads first. */
void fm_stop_threads_by(void (*stop)(void), void (*forget)(void)) { (void)stop, (void)forget; }
#else
typedef int fm_no_windows; /* a file may not be empty */
#endif
