#define FM_F64 1
#include "simd/avx512.h"
#include "kernels/panel_set.h"
