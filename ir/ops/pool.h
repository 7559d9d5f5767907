/* pool.h: what the files of the pools share. */
#ifndef BMC_IR_OPS_POOL_H
#define BMC_IR_OPS_POOL_H
#include "ir/ops/window.h"

typedef enum PoolKind { POOL_MAX, POOL_AVERAGE, POOL_LP } PoolKind;

/* The windows of a MaxPool, AveragePool or LpPool. false: *why. */
bool pool_resolve(const Graph *, Node, Window *, const char **why);

/* What a pool does with an element: the accumulator's start, a step, and the end of a sum of powers. */
typedef struct PoolSum { PoolKind kind; DType type; /* compute type */ double p; /* LP */ } PoolSum;
KVal pool_start(Kb *, const PoolSum *);
KVal pool_power(Kb *, const PoolSum *, KVal x);              /* an element as it is accumulated */
KVal pool_join(Kb *, const PoolSum *, KVal acc, KVal power);
KVal pool_root(Kb *, const PoolSum *, KVal acc);             /* LP; others as they are */

/* pool_global.c: the pool over all spatial axes of operand 0. */
bool pool_lower_global(Lw *, const PoolSum *);

#endif
