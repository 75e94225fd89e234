#define FM_BF16 1
#include "simd/generic.h"
#include "kernels/panel_set.h"
