/* attention.h: what Attention and its relatives share: heads of the queries that have a head of keys in common. */
#ifndef BMC_IR_OPS_ATTENTION_H
#define BMC_IR_OPS_ATTENTION_H
#include "ir/ops/compose.h"

/* Such heads get an axis of their own, so that a product broadcasts: [B, H, L, d] => [B, H/rep, rep, L, d] of the
 * queries; keys and values have one element there. rep 1: v itself. */
Value attention_grouped(Ex *, Value v, int64_t rep, bool query);
Value attention_ungrouped(Ex *, Value v, int64_t rep);
/* Both of rank 4 with known numbers of heads: how many of q's share one of k's; 1 where that is not known. */
int64_t attention_shared(Ex *, Value q, Value k);
/* scale * Q * K' of operands of rank 4, [B, heads of Q, length of Q, length of K], in their type. scale NULL: 1 over the
 * root of the heads' size. */
Value attention_scores(Ex *, Value q, Value k, const double *scale);

#endif
