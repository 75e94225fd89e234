#define FM_F64 1
#include "simd/generic.h"
#include "kernels/panel_set.h"
