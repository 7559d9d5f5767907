/* graph.h: making and reading graphs. The only functions that change a graph are the ones under "mutators". */
#ifndef BMC_IR_GRAPH_GRAPH_H
#define BMC_IR_GRAPH_GRAPH_H
#include "ir/graph/ir.h"

void module_init(Module *, Arena *, Diag *);
Graph *graph_new(Module *, const char *name);
Name module_fresh_name(Module *, const char *stem);

/* ---- mutators ---- */
Value graph_input(Graph *, TypeId, Name);                        /* appends an input */
Value graph_insert_input(Graph *, uint32_t at, TypeId, Name);    /* stands at that place; those behind it move on */
Value graph_const(Graph *, Blob, TypeId, Name);                  /* type is a tensor with constant dims */
/* Appends (before.i == 0) or inserts before a node. attrs: the op's struct, copied shallowly into the arena (NULL: defaults). Results get no type yet. */
Node graph_add(Graph *, OpCode, const Value *in, uint32_t n_in, uint32_t n_out, const void *attrs, Loc, Node before);
void graph_set_input(Graph *, Node, uint32_t k, Value);
void graph_add_input(Graph *, Node, Value);                      /* one more operand at the end */
void graph_insert_operand(Graph *, Node, uint32_t at, Value);    /* stands at that place; those behind it move on */
void graph_drop_inputs(Graph *, Node, uint32_t from);            /* operands from.. become none and are cut off */
void graph_replace_uses(Graph *, Value old, Value by);           /* operands and graph outputs; keeps the output's name on `by` when it had none */
void graph_erase(Graph *, Node);                                 /* its results must be unused */
void graph_set_outputs(Graph *, const Value *, uint32_t n);
void graph_set_region(Graph *, Node, const Graph *const *regions, uint32_t n);
void graph_move_before(Graph *, Node, Node before);
/* Copies the nodes and constants of `from` into `to` before a node, with `map[v.i]` giving the value for each input of `from`; fills map for all values. */
void graph_inline(Graph *to, Node before, const Graph *from, Value *map);
Graph *graph_clone(Graph *);
/* Moves nodes (in list order, without regions; nothing outside stands between them that depends on one and is needed by a later one) into a graph owned by one new
 * node of `op`, which takes the last one's place. Constants are copied inside. */
Node graph_outline(Graph *, const Node *, uint32_t n, OpCode op, const void *attrs, const char *name, Loc);

/* ---- reading ---- */
static inline Value node_in(const Graph *g, Node n, uint32_t k) { const NodeRec *r = node_rec(g, n); return k < r->n_in ? g->operand.p[r->in + k].v : VALUE_NONE; }
static inline Value node_out(const Graph *g, Node n, uint32_t k) { return (Value){node_rec(g, n)->out + k}; }
static inline uint32_t node_n_in(const Graph *g, Node n) { return node_rec(g, n)->n_in; }
static inline uint32_t node_n_out(const Graph *g, Node n) { return node_rec(g, n)->n_out; }
static inline Node graph_first(const Graph *g) { return g->first; }
static inline Node graph_last(const Graph *g) { return g->last; }
static inline Node node_next(const Graph *g, Node n) { return node_rec(g, n)->next; }
static inline Node node_prev(const Graph *g, Node n) { return node_rec(g, n)->prev; }
static inline bool value_used(const Graph *g, Value v) { return value_rec(g, v)->n_use + value_rec(g, v)->n_out_use > 0; }
static inline TypeId value_type(const Graph *g, Value v) { return value_rec(g, v)->type; }
static inline const TypeRec *value_trec(const Graph *g, Value v) { return type_rec(&g->m->types, value_rec(g, v)->type); }
static inline bool value_is_const(const Graph *g, Value v) { return v.i && value_rec(g, v)->data.i != 0; }
bool node_used(const Graph *, Node);                             /* any result used */
Node value_single_user(const Graph *, Value);                    /* 0 unless exactly one operand and no graph output uses it */
DiagLoc graph_loc(const Graph *, Node);                          /* for diag() */
const char *value_name(const Graph *, Value);                    /* for messages: ONNX name or %k */
/* for each use:  for (uint32_t u = value_rec(g, v)->first_use; u; u = g->operand.p[u - 1].next_use) ... operand u-1 */

/* ---- print.c parse.c verify.c ---- */
void graph_print(Str *, Graph *);
void bir_print(Str *, Module *);                                 /* the whole module, `bir 1` first */
bool bir_parse(Module *, const char *file, const char *text, size_t n);
/* The graphs that GRAPH recipes among these constants name, in the form of `recipe` items; false: there are none. Reading gives them the same numbers again. */
bool bir_print_recipes(Str *, Module *, const Blob *, uint32_t n);
bool bir_parse_recipes(Module *, const char *file, const char *text, size_t n);
bool bir_verify(Module *, const char *after);                    /* structure; all errors as E_VERIFY */
bool bir_verify_typed(Module *, const char *after);              /* the same, and every value has a type: what holds after inference */
/* All graphs that are reachable from the entry graph through regions, inner ones first. */
uint32_t module_graphs(Module *, Arena *, Graph ***out);
/* How many operands of nodes, of all graphs that module_graphs gives, each blob is; by its number. */
uint32_t *module_blob_uses(Module *, Arena *);
/* Bytes of all constants that nodes use, each blob once; the arena is for the counting alone. */
int64_t module_weight_bytes(Module *, Arena *);
/* Appends to Module.check. */
void module_check(Module *, CheckRec);
/* Where in Module.check those of the graph stand, in order; the list is the graph's and holds until the next check is made.
 * A model without ranks has thousands of graphs and of checks. */
uint32_t graph_checks(const Graph *, const uint32_t **at);
/* Takes them out: their records stay in their places, of no graph. */
void graph_drop_checks(Graph *);
/* Drops the checks that mention a symbol of a node which no value has in its type any more, and returns how many: the node that found it is gone.
 * Records of no graph go, too. */
uint32_t module_drop_checks(Module *, Arena *scratch);

#endif
