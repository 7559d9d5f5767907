/* npy.h: NumPy's .npy files (format 1.0 to 3.0, little-endian, C order; Fortran order is turned). */
#ifndef BMC_DRIVER_NPY_H
#define BMC_DRIVER_NPY_H
#include "base/diag.h"
#include "base/temps.h"
#include "runtime/bmc.h"

/* Tensors of every numeric type and bool (bfloat16 comes as uint16, strings as <U or |S). Data lives in the arena. */
bool npy_read(Arena *, Diag *, const char *path, bmc_value *);
bool npy_write(Arena *, Diag *, Temps *, const char *path, const bmc_value *);

#endif
