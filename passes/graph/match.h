/* match.h: patterns over the Graph IR, written as text. A pattern is an operator with its operands:
 *   Mul(x, 0.5, Add(1, Erf(Mul(x, 0.70710678))))
 *   x          any value; the same letter again: the same value.  v=Op(...): what matches is named
 *   0.5        a constant of one element (or all equal) of that value, within the precision of its element type
 *   #a         such a constant of any value, given to the rule as a number
 *   Op(p, q)   a node of that operator, its first operands matching in this order; more operands are not looked at
 * Mul and Add are sums and products of any number of terms in any order and nesting: what Div, Sub, Neg, Reciprocal,
 * Pow with exponent 2, 3 or -0.5 and Sqrt's powers say is brought into that form, Inv(p) is a divisor, Neg(p) a term
 * that is subtracted, and all their constants count as one number. Definitions come before mentions, left to right. */
#ifndef BMC_PASSES_GRAPH_MATCH_H
#define BMC_PASSES_GRAPH_MATCH_H
#include "passes/pass.h"

enum { MATCH_NODES = 48 };

typedef struct Match {
    Graph *g;
    Node root;
    Value bind[26];   /* by letter; 0: not bound */
    double num[26];   /* of #letter */
    bool has_num[26];
    Node node[MATCH_NODES]; /* matched nodes, the root among them */
    uint32_t n_node;
} Match;

/* The pattern matches what `root` computes, and nothing outside the match sees an intermediate value. */
bool match_node(Match *, Graph *, const char *pattern, Node root);
static inline Value match_value(const Match *m, char letter) { return m->bind[letter - 'a']; }
static inline double match_num(const Match *m, char letter) { return m->num[letter - 'a']; }
static inline Node match_def(const Match *m, char letter) { return value_rec(m->g, match_value(m, letter))->def; }

/* One number for the whole tensor: a constant of one element or of equal ones. */
bool match_scalar(Graph *, Value, double *);
/* A constant, or products and sums of constants: fold makes it one. */
bool match_constant(const Graph *, Value);

#endif
