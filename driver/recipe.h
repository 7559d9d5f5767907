/* recipe.h: evaluates constants that a graph computes from others (design D11) for the weight writer: small ones by reference evaluation, large ones in code that
 * the compiler makes for this machine and runs here. */
#ifndef BMC_DRIVER_RECIPE_H
#define BMC_DRIVER_RECIPE_H
#include "driver/compile.h"

/* Elements from which on compiling is cheaper than the naive evaluation (a compile takes about as long as evaluating this many). */
#define RECIPE_COMPILED_MIN ((int64_t)1 << 21)

/* CodegenRecipes.eval with the session as `arg`: elements [first, first + n) of the blob. The whole constant is kept until another one is asked for. */
bool session_recipe(void *session, Blob, int64_t first, int64_t n, void *to);

#endif
