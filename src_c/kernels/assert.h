/* assert.h - assertions of development and sanitizer builds; nothing in releases. */
#ifndef FM_ASSERT_H
#define FM_ASSERT_H

#ifdef FM_ASSERTIONS
#include <stdio.h>
#include <stdlib.h>

#define FM_ASSERT(condition)                                                          \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                  \
        }                                                                             \
    } while (0)
#else
#define FM_ASSERT(condition) ((void)0)
#endif

#endif
