#define FM_F64 0
#include "simd/neon.h"
#include "kernels/panel_set.h"
