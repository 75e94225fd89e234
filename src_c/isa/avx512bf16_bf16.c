#define FM_AMX 0
#include "simd/avx512bf16.h"
#include "kernels/block_set.h"
