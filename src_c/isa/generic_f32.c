#define FM_F64 0
#include "simd/generic.h"
#include "kernels/panel_set.h"
