/* panel_set.h - a kernel set in panels; see set.h. */
#ifdef FM_LANES

#include "kernels/panels.h"

#include "kernels/set.h"

#endif
#include "simd/end.h"
