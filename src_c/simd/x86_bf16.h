/* x86_bf16.h - whether the compiler knows the bfloat16 instructions of x86-64. */
#ifndef FM_X86_BF16_H
#define FM_X86_BF16_H

#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<avx512bf16intrin.h>)
#define FM_HAS_AVX512BF16
#endif
/* Headers of gcc, of clang. A process asks for AMX in Linux's way, see dispatch.c. */
#if defined(__linux__) && \
    (__has_include(<amxbf16intrin.h>) || (defined(__clang__) && __has_include(<amxintrin.h>)))
#define FM_HAS_AMX
#endif
#endif

#endif
