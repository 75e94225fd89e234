#define FM_BF16 1
#include "simd/neon.h"
#include "kernels/panel_set.h"
