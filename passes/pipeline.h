/* pipeline.h: which passes run when nobody names them. */
#ifndef BMC_PASSES_PIPELINE_H
#define BMC_PASSES_PIPELINE_H
#include "passes/pass.h"

const Pass *const *pipeline_of(int opt_level);   /* NULL-terminated; levels below 0 and above 3 are taken as 0 and 3 */

#endif
