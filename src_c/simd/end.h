/* end.h - the last lines of a unit that includes simd/<isa>.h. */
#if defined(__clang__) && defined(FM_TARGET)
#pragma clang attribute pop
#endif
#ifndef FM_LANES
typedef int fm_not_for_this_architecture; /* C wants something in a file */
#endif
