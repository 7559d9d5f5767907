/* attention.h: what Attention and its relatives share: heads of the queries that have a head of keys in common. */
#ifndef BMC_IR_OPS_ATTENTION_H
#define BMC_IR_OPS_ATTENTION_H
#include "ir/ops/compose.h"

/* Such heads get an axis of their own, so that a product broadcasts: [B, heads * rep, L, d] => [B, heads, rep, L, d] of the
 * queries; keys and values (heads: none) have one element there. rep constant 1: v itself. */
Value attention_grouped(Ex *, Value v, Dim rep, Dim heads);
Value attention_ungrouped(Ex *, Value v, Dim rep);
/* Both of rank 4: how many heads of q share one of k; symbolic where only the run knows. */
Dim attention_shared(Ex *, Value q, Value k);
/* For inference: hq heads of the queries share hk heads of the keys evenly: an error, or a check for the run. */
bool attention_heads(Infer *, Dim hq, Dim hk);
/* scale * Q * K' of operands of rank 4, [B, heads of Q, length of Q, length of K], in their type. scale NULL: 1 over the
 * root of the heads' size. */
Value attention_scores(Ex *, Value q, Value k, const double *scale);

#endif
