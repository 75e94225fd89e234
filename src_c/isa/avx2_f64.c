#define FM_F64 1
#include "simd/avx2.h"
#include "kernels/panel_set.h"
