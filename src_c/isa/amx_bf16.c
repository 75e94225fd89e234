#define FM_AMX 1
#include "simd/amx.h"
#include "kernels/block_set.h"
