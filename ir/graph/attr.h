/* attr.h: the text form of attributes, by the op's AttrSpec table: {axis=1, pads=[1,1], mode="same", to=f32, value=f32[2] [0.5,1.5], dims=[N,64]}.
 * Printed are the attributes that were given or differ from their default; reading marks them as given. */
#ifndef BMC_IR_GRAPH_ATTR_H
#define BMC_IR_GRAPH_ATTR_H
#include "ir/graph/op.h"
#include "ir/lex.h"

void attrs_print(Str *, const Module *, const OpDesc *, const void *attrs);   /* "" or " {...}" */
bool attrs_parse(Lex *, Module *, const OpDesc *, void *attrs);              /* at the token after '{'; eats '}'. attrs: from attrs_new */
const AttrSpec *attr_find(const OpDesc *, const char *name, uint32_t *k);    /* NULL: no such attribute; k: its bit in `set` */
int64_t node_int(const Graph *, Node, const char *name);                     /* an ATTR_INT of that name, given or its default: for code that serves several ops */
double node_float(const Graph *, Node, const char *name);                    /* the same for an ATTR_FLOAT */

#endif
