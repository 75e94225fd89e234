/* target.h - from here on the compiler may use the instructions in FM_TARGET. */
#define FM_PRAGMA(text) _Pragma(#text)
#define FM_USE(target_) FM_USE_(target_)
#ifdef __clang__
#define FM_USE_(names) \
    FM_PRAGMA(clang attribute push(__attribute__((target(names))), apply_to = function))
#else
#define FM_USE_(names) FM_PRAGMA(GCC target(names))
#endif
FM_USE(FM_TARGET)
