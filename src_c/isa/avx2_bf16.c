#define FM_BF16 1
#include "simd/avx2.h"
#include "kernels/panel_set.h"
