#define FM_F64 0
#include "simd/avx2.h"
#include "kernels/panel_set.h"
