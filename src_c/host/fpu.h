/* fpu.h - flush-to-zero for the length of a training run, and gradual underflow within.
 *
 * Optimizer state decays through the subnormal numbers, where x86 arithmetic is
 * up to a hundred times slower (a whole step was measured 40 % slower). A thread
 * switches flushing on when it starts a run and restores what it found after.
 */
#ifndef FM_FPU_H
#define FM_FPU_H

#if defined(__x86_64__)
#include <xmmintrin.h>
typedef unsigned fm_fpu_state;
static inline fm_fpu_state fm_fpu_flush(void)
{
    fm_fpu_state before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* flush to zero, denormals are zero */
    return before;
}
static inline fm_fpu_state fm_fpu_gradual(void)
{
    fm_fpu_state before = _mm_getcsr();
    _mm_setcsr(before & ~0x8040u);
    return before;
}
static inline void fm_fpu_restore(fm_fpu_state before) { _mm_setcsr(before); }
#elif defined(__aarch64__)
#include <stdint.h>
typedef uint64_t fm_fpu_state;
static inline fm_fpu_state fm_fpu_flush(void)
{
    fm_fpu_state before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" ::"r"(before | (1u << 24))); /* FZ */
    return before;
}
static inline fm_fpu_state fm_fpu_gradual(void)
{
    fm_fpu_state before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" ::"r"(before & ~((fm_fpu_state)1 << 24)));
    return before;
}
static inline void fm_fpu_restore(fm_fpu_state before)
{
    __asm__ volatile("msr fpcr, %0" ::"r"(before));
}
#else
typedef int fm_fpu_state;
static inline fm_fpu_state fm_fpu_flush(void) { return 0; }
static inline fm_fpu_state fm_fpu_gradual(void) { return 0; }
static inline void fm_fpu_restore(fm_fpu_state before) { (void)before; }
#endif

#endif
