#define FM_F64 1
#include "simd/neon.h"
#include "kernels/panel_set.h"
