/* recurrent.h: what LSTM, GRU and RNN share: their attributes and activation functions by number. The reference
 * evaluation stands apart (recurrent_eval.c). */
#ifndef BMC_IR_OPS_RECURRENT_H
#define BMC_IR_OPS_RECURRENT_H
#include "ir/graph/eval.h"

enum { RNN_X, RNN_W, RNN_R, RNN_B, RNN_LENS, RNN_H0, RNN_C0, RNN_P }; /* operands; the last two of LSTM only */
enum { RNN_FNS = 3 };                                                 /* activation functions of a direction, at most */

typedef struct Rnn {
    uint64_t set;
    AttrStrings activations;
    AttrFloats activation_alpha, activation_beta;
    const char *direction;
    double clip;
    int64_t hidden_size, layout, output_sequence /* before opset 7; says nothing that optional results do not */,
        input_forget, linear_before_reset;
} Rnn;

typedef enum RnnFn {
    RNN_SIGMOID,
    RNN_TANH,
    RNN_RELU,
    RNN_AFFINE,
    RNN_LEAKY,
    RNN_THRESHOLDED,
    RNN_SCALED_TANH,
    RNN_HARD_SIGMOID,
    RNN_ELU,
    RNN_SOFTSIGN,
    RNN_SOFTPLUS
} RnnFn;
typedef struct RnnAct {
    RnnFn fn;
    double alpha, beta;
} RnnAct;

/* The attributes made plain. */
typedef struct RnnForm {
    int gates, fns; /* LSTM: 4 (i o f c) and 3 (f g h), GRU: 3 (z r h) and 2, RNN: 1 and 1 */
    int dirs;       /* 1 or 2 */
    bool reverse;   /* the only direction runs backwards; of two, the second one does */
    RnnAct act[2][RNN_FNS];
    double clip; /* 0: none */
} RnnForm;
/* false: *why says what is wrong with the attributes. */
bool rnn_form(OpCode, const Rnn *, RnnForm *, const char **why);


bool rnn_eval(Eval *);
bool rnn_expand(Graph *, Node);   /* into Scan and elementary operators, for their gradients */

#endif
