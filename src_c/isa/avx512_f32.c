#define FM_F64 0
#include "simd/avx512.h"
#include "kernels/panel_set.h"
