/* ml.h: what the operators of ai.onnx.ml share: post transformations of scores, class labels. */
#ifndef BMC_IR_OPS_ML_H
#define BMC_IR_OPS_ML_H
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"

#define DTS_ML (DTS(DT_F32) | DTS(DT_F64) | DTS(DT_I64) | DTS(DT_I32))

typedef enum MlPost { POST_NONE, POST_SOFTMAX, POST_LOGISTIC, POST_SOFTMAX_ZERO, POST_PROBIT, POST_COUNT } MlPost;
int ml_named(const char *text, const char *const *name, int n); /* its index; -1 */
MlPost ml_post_of(const char *name);                            /* POST_COUNT: no such name */
Value ml_post(Ex *, Value scores, MlPost);                     /* scores [N, C] */
void ml_post_eval(double *s, int64_t n, MlPost);                /* one row */

Value ml_labels(Ex *, AttrInts, AttrStrings, Value index); /* the label of each index */
void ml_label_eval(Tensor *y, int64_t k, AttrInts, AttrStrings, int64_t index);
Value ml_above(Ex *, Value s, double limit); /* [N, 1] > limit as indices 0 and 1 [N] */
Value ml_joined(Ex *, Value a, Value b);     /* side by side */
/* Two classes from one score s [N, 1]: probability (1 - s, s) or margin (-s, s). */
Value ml_two(Ex *, Value s, bool probability, MlPost);
/* x as f32, or f64 when it is; one row [F] becomes [1, F]. */
Value ml_rows(Ex *, Value x);
bool ml_columns_fit(Infer *, int64_t features);          /* operand 0 has that many columns, as far as is known; else says so */
Value ml_matrix(Ex *, AttrFloats, int64_t rows, DType);  /* a list as a matrix */
Value ml_by_rows(Ex *, Value x, Value c);                /* x * c^T */
Value ml_row_reduce(Ex *, OpCode, Value); /* over axis 1, kept */

/* r[i * n + j]: how probable class i is, i and j being the only ones; p: the probability of each of n classes. */
void ml_coupling_eval(Arena *, const double *r, int64_t n, double *p);

#endif
