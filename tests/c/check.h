/* check.h - what the C test programs share: a check that says where it failed. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__SANITIZE_THREAD__) /* gcc's name */
#define THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER
#endif
#endif

/* Slower, with larger frames; the Makefile defines it for gcov. */
#ifdef INSTRUMENTED
#elif defined(THREAD_SANITIZER) || defined(__SANITIZE_ADDRESS__)
#define INSTRUMENTED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define INSTRUMENTED
#endif
#endif

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

static inline double cpu_seconds(void) /* of all threads, in seconds */
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Runs one test, and names it first, so that a hang or a sanitizer's report has a place.
 * ONLY=name in the environment leaves out the others. */
#define RUN(test)                                            \
    do {                                                     \
        if (getenv("ONLY") && strcmp(getenv("ONLY"), #test)) \
            break;                                           \
        const double start = cpu_seconds();                  \
        printf("  %-32s", #test);                            \
        fflush(stdout);                                      \
        test();                                              \
        printf(" %7.2f s of CPU\n", cpu_seconds() - start);  \
    } while (0)

#endif
