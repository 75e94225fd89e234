/* check.h - what the C test programs share: a check that says where it failed. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_THREAD__) /* gcc's name */
#define THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER
#endif
#endif

#if defined(THREAD_SANITIZER) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

/* Runs one test and names it, so that a hang or a sanitizer's report has a place. */
#define RUN(test)                \
    do {                         \
        printf("  %s\n", #test); \
        fflush(stdout);          \
        test();                  \
    } while (0)

#endif
