/* op: the table of operators and what every row of it must have. */
#include "ir/graph/op.h"
#include "base/bug.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const OpDesc *const table[OP_COUNT] = {
#define OP(name, file, versions) [OP_##name] = &op_##name,
#include "ir/ops/ops.def"
#undef OP
};
static const char *const row_name[OP_COUNT] = {
#define OP(name, file, versions) [OP_##name] = #name,
#include "ir/ops/ops.def"
#undef OP
};

static const char *const row_versions[OP_COUNT] = {
#define OP(name, file, versions) [OP_##name] = versions,
#include "ir/ops/ops.def"
#undef OP
};

const char *op_versions(OpCode op)
{
    assert(op > OP_NONE && op < OP_COUNT);
    return row_versions[op];
}

int op_version_at(OpCode op, int64_t opset)
{
    int version = 0;
    for (const char *p = op_versions(op); *p;) {
        char *end;
        long v = strtol(p, &end, 10);
        if (v <= opset) version = (int)v;
        p = end;
    }
    return version;
}

const OpDesc *op_desc(OpCode op)
{
    assert(op > OP_NONE && op < OP_COUNT);
    return table[op];
}

bool op_result_unsure(const Graph *g, Node n, const struct Tensor *index)
{
    (void)g, (void)n, (void)index;
    return false;
}

bool op_lowers(const OpDesc *d)
{
    return d->lower || (d->cls == CLS_ELTWISE && (d->scalar || d->kop)) || (d->cls == CLS_MOVE && d->route);
}

unsigned op_computed_by(const OpDesc *d)
{
    if (!op_lowers(d)) return 0;
    unsigned own = d->cls == CLS_CONTROL ? BY_REGION : d->cls == CLS_CONTRACT ? BY_TILE | BY_NEST : BY_NEST;
    return d->by | (d->flags & OPF_IRREGULAR ? BY_RUNTIME : own);
}

const char *op_by_text(const OpDesc *d, char text[OP_BY_TEXT])
{
    static const char *const NAME[] = {"nest", "tile", "runtime", "program"}; /* bits of BY_* */
    unsigned by = op_computed_by(d);
    *text = 0;
    for (int k = 0; k < 4; k++)
        if (by >> k & 1) sprintf(text + strlen(text), "%s%s", *text ? " " : "", NAME[k]);
    return *text ? text : strcpy(text, "other operators");
}

static const char *domain_text(const char *domain) { return !domain || !strcmp(domain, "ai.onnx") ? "" : domain; }

const char *op_full_name(Arena *a, const char *domain, const char *name)
{
    return domain && *domain ? arena_printf(a, "%s.%s", domain, name ? name : "") : name ? name : "";
}

OpCode op_find(const char *domain, const char *name)
{
    domain = domain_text(domain);
    for (OpCode op = OP_NONE + 1; op < OP_COUNT; op++) {
        const OpDesc *d = table[op];
        if (strcmp(d->name, name)) continue;
        if (!strcmp(d->flags & OPF_INTERNAL ? "bmc" : domain_text(d->domain), domain)) return op;
    }
    return OP_NONE;
}

/* ---- the table's own checks ---- */

static void verify_ports(const char *op, const char *side, const Port *p)
{
    if (!p) BUG("op %s: no %s ports", op, side);
    for (uint32_t k = 0; p[k].name; k++) {
        if (!p[k].types && !(p[k].flags & (PORT_ANY_KIND | PORT_SEQ)))
            BUG("op %s: %s port '%s' takes no type", op, side, p[k].name);
        if ((p[k].flags & PORT_VARIADIC) && p[k + 1].name)
            BUG("op %s: variadic %s port '%s' is not the last", op, side, p[k].name);
        for (uint32_t j = 0; j < k; j++)
            if (!strcmp(p[j].name, p[k].name)) BUG("op %s: two %s ports are called '%s'", op, side, p[k].name);
    }
}

static uint32_t attr_bytes(AttrKind kind)
{
    switch (kind) {
    case ATTR_INT:
    case ATTR_TYPE:
    case ATTR_FULL_TYPE: return sizeof(int64_t); /* a TypeId takes a whole one */
    case ATTR_FLOAT: return sizeof(double);
    case ATTR_STRING: return sizeof(const char *);
    case ATTR_INTS: return sizeof(AttrInts);
    case ATTR_FLOATS: return sizeof(AttrFloats);
    case ATTR_STRINGS: return sizeof(AttrStrings);
    case ATTR_TENSOR: return sizeof(AttrTensor);
    case ATTR_DIMS: return sizeof(AttrDims);
    case ATTR_GRAPH: return 0;
    }
    UNREACHABLE();
}

static void verify_attrs(const char *op, const OpDesc *d)
{
    const AttrSpec *s = d->attrs;
    if (!s) return;
    for (uint32_t k = 0; s[k].name; k++) {
        uint32_t bytes = attr_bytes(s[k].kind);
        if (k >= 64) BUG("op %s: more than 64 attributes", op);
        if (bytes && (s[k].offset < sizeof(uint64_t) || s[k].offset + bytes > d->attrs_size || s[k].offset % 8))
            BUG("op %s: attribute '%s' lies outside its struct, or over `set`", op, s[k].name);
        for (uint32_t j = 0; j < k; j++) {
            if (!strcmp(s[j].name, s[k].name)) BUG("op %s: two attributes are called '%s'", op, s[k].name);
            if (bytes && s[j].kind != ATTR_GRAPH && s[j].offset == s[k].offset)
                BUG("op %s: '%s' and '%s' share a field", op, s[j].name, s[k].name);
        }
    }
}

/* Lowering is total: every row has a way down. What a class supplies by itself is not asked for. */
static void verify_hooks(const char *op, const OpDesc *d)
{
    bool way_down = d->lower || d->expand;
    switch (d->cls) {
    case CLS_ELTWISE:
        if (!d->scalar && !d->kop && !way_down) BUG("op %s: an element-wise op needs `scalar` or `kop`", op);
        break;
    case CLS_MOVE:
        if (!d->route && !way_down) BUG("op %s: a move needs `route`, or `lower` for a view", op);
        break;
    case CLS_SHAPE:
    case CLS_CONTROL:
    case CLS_REDUCE:
    case CLS_ROW:
    case CLS_CONTRACT:
    case CLS_WINDOW:
    case CLS_OPAQUE:
        if (!way_down) BUG("op %s: no `lower` and no `expand`", op);
        break;
    default: BUG("op %s: class %d", op, d->cls);
    }
    if (d->cls != CLS_ELTWISE && (d->scalar || d->kop)) BUG("op %s: `scalar` without class ELTWISE", op);
    if (d->cls != CLS_MOVE && d->route) BUG("op %s: `route` without class MOVE", op);
    if ((d->flags & OPF_INPLACE_0) && !d->in[0].name) BUG("op %s: in place of what?", op);
}

/* Rows of other domains begin with a short form of it: the same name may stand in several. */
static const char *row_prefix(const OpDesc *d)
{
    const char *domain = domain_text(d->domain);
    return !strcmp(domain, "ai.onnx.ml") ? "ml_" : !strcmp(domain, "com.microsoft") ? "ms_" : "";
}

void op_verify_table(void)
{
    for (OpCode op = OP_NONE + 1; op < OP_COUNT; op++) {
        const OpDesc *d = table[op];
        const char *name = row_name[op];
        const char *prefix = row_prefix(d);
        if (!d->name || strncmp(name, prefix, strlen(prefix)) || strcmp(d->name, name + strlen(prefix)))
            BUG("op %s: its description is called '%s'", name, d->name ? d->name : "(none)");
        if (op > OP_NONE + 1 && strcmp(row_name[op - 1], name) > 0)
            BUG("ops.def: %s stands after %s", name, row_name[op - 1]);
        if (!(d->flags & OPF_INTERNAL) && (d->since < 1 || d->since > OPSET_NEWEST) && !*domain_text(d->domain))
            BUG("op %s: since %d", name, d->since);
        verify_ports(name, "input", d->in);
        verify_ports(name, "output", d->out);
        verify_attrs(name, d);
        verify_hooks(name, d);
    }
}
