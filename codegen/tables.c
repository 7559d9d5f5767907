/* tables.c: the constants of a compiled model: ports, symbols, bmc_info, rt_desc and bmc_model as runtime/bmc.h and
 * runtime/rt.h lay them out. PREFIX_model is the only name that leaves an artifact (a shared object exports it as
 * bmc_model, too). */
#include "codegen/cg.h"
#include "runtime/rt.h"
#include "runtime/rt_cpu.h"

#include <llvm-c/Target.h>
#include <string.h>

_Static_assert(RANK_ANY == RT_ANY_RANK && RANK_UNKNOWN == RT_RANK_UNKNOWN && AXIS_RANK == RT_RANK_UNKNOWN, "a port of unknown rank is the same on both sides");

static LV i8_of(Cg *g, int64_t v) { return LLVMConstInt(g->i8, (uint64_t)v, false); }
static LV text_or_null(Cg *g, const char *s) { return s ? cg_text(g, s) : LLVMConstNull(g->ptr); }
/* A constant laid out like a C struct of that size whose last field lies at `last`. */
static LV structure(Cg *g, LV *v, unsigned n, size_t size, size_t last)
{
    LV c = LLVMConstStructInContext(g->cx, v, n, false);
    LLVMTargetDataRef td = LLVMGetModuleDataLayout(g->mod);
    if (LLVMABISizeOfType(td, LLVMTypeOf(c)) != size || LLVMOffsetOfElement(td, LLVMTypeOf(c), n - 1) != last)
        BUG("a table of the runtime was changed there and not here");
    return c;
}
#define AS(T, last) sizeof(T), offsetof(T, last)

static LV i32_table(Cg *g, const uint32_t *v, uint32_t n, const char *name)
{
    LV *c = arena_array(&g->arena, LV, n + 1);
    for (uint32_t i = 0; i < n; i++) c[i] = cg_i32(g, v[i]);
    return cg_table(g, g->i32, c, n, name);
}

static LV i8_table(Cg *g, const uint8_t *v, uint32_t n, const char *name)
{
    LV *c = arena_array(&g->arena, LV, n + 1);
    for (uint32_t i = 0; i < n; i++) c[i] = i8_of(g, v[i]);
    return cg_table(g, g->i8, c, n, name);
}

static LV text_table(Cg *g, const char *const *v, uint32_t n, const char *name)
{
    LV *c = arena_array(&g->arena, LV, n + 1);
    for (uint32_t i = 0; i < n; i++) c[i] = cg_text(g, v[i]);
    return cg_table(g, g->ptr, c, n, name);
}

/* ---- ports ---- */
typedef struct Entries {
    uint32_t *sym;
    uint32_t n;
} Entries; /* entry symbols that an input binds, in the order of bmc_info.symbol */

static Entries entry_symbols(Cg *g)
{
    const Dims *d = g->m->dims;
    Entries e = {arena_array(&g->arena, uint32_t, d->sym.n + 1), 0};
    for (uint32_t s = 1; s < d->sym.n; s++)
        if (d->sym.p[s].kind == SYM_ENTRY && d->sym.p[s].input >= 0) e.sym[e.n++] = s;
    return e;
}

/* dim >= 0 fixed, -1 the symbol sym, -2 anything else (bmc.h) */
static void port_dim(Cg *g, const Entries *e, Dim d, LV *dim, LV *sym)
{
    int64_t k;
    *sym = cg_i32(g, -1);
    *dim = cg_i64(g, -2);
    if (!d.i) return;
    d = dim_resolve(g->m->dims, d);
    const DimRec *r = &g->m->dims->rec.p[d.i];
    if (dim_is_const(g->m->dims, d, &k)) {
        *dim = cg_i64(g, k);
    } else if (r->kind == DIM_SYM) {
        for (uint32_t i = 0; i < e->n; i++) {
            if (e->sym[i] != r->sym.i) continue;
            *dim = cg_i64(g, -1);
            *sym = cg_i32(g, i);
        }
    }
}

static LV port_of(Cg *g, const Entries *e, const KPort *p)
{
    static const int kind_of[] = {[TY_NONE] = BMC_NONE,
                                  [TY_TENSOR] = BMC_TENSOR,
                                  [TY_SEQ] = BMC_SEQUENCE,
                                  [TY_OPT] = BMC_OPTIONAL,
                                  [TY_MAP] = BMC_MAP};
    const TypeRec *t = type_rec(g->m->types, p->type);
    int kind = kind_of[t->kind], key = DT_NONE;
    LV of[3] = {i8_of(g, 0), i8_of(g, 0), i8_of(g, 0)};
    for (int depth = 0; t->kind == TY_SEQ || t->kind == TY_OPT || t->kind == TY_MAP; depth++) {
        if (t->kind == TY_MAP) key = t->elem;
        t = type_rec(g->m->types, t->of);
        if (t->kind != TY_TENSOR && depth < 3) of[depth] = i8_of(g, kind_of[t->kind]);
    }
    int rank = t->kind == TY_TENSOR ? t->rank : 0;
    LV dim[BMC_MAX_RANK], sym[BMC_MAX_RANK];
    for (int a = 0; a < BMC_MAX_RANK; a++) {
        if (rank != RANK_UNKNOWN && a < rank) port_dim(g, e, t->dim[a], &dim[a], &sym[a]);
        else dim[a] = cg_i64(g, 0), sym[a] = cg_i32(g, -1);
    }
    return structure(g,
                     (LV[]){cg_text(g, name_str(g->m->names, p->name)), i8_of(g, kind), i8_of(g, t->elem),
                            i8_of(g, p->rank.i ? RANK_UNKNOWN : rank), i8_of(g, 0), LLVMConstArray2(g->i8, of, 3), i8_of(g, key),
                            LLVMConstArray2(g->i64, dim, BMC_MAX_RANK),
                            LLVMConstArray2(g->i32, sym, BMC_MAX_RANK), cg_i32(g, p->alias),
                            cg_i32(g, p->alias_axis < 0 ? 0 : p->alias_axis), cg_i64(g, p->alias_axis < 0 ? 0 : p->alias_cap)},
                     12, AS(bmc_port, capacity));
}

static LV ports(Cg *g, const Entries *e, const KPort *p, uint32_t n, const char *name)
{
    LV *v = arena_array(&g->arena, LV, n + 1);
    for (uint32_t i = 0; i < n; i++) v[i] = port_of(g, e, &p[i]);
    return n ? cg_table(g, LLVMTypeOf(v[0]), v, n, name) : cg_table(g, g->i64, NULL, 0, name);
}

static LV symbols(Cg *g, const Entries *e)
{
    LV *v = arena_array(&g->arena, LV, e->n + 1);
    for (uint32_t i = 0; i < e->n; i++) {
        const SymRec *r = &g->m->dims->sym.p[e->sym[i]];
        v[i] = structure(g,
                         (LV[]){cg_text(g, name_str(g->m->names, r->name)), cg_i64(g, r->lo), cg_i64(g, r->hi),
                                cg_i32(g, r->input), cg_i32(g, r->axis)},
                         5, AS(bmc_symbol, axis));
    }
    return e->n ? cg_table(g, LLVMTypeOf(v[0]), v, e->n, "symbols") : cg_table(g, g->i64, NULL, 0, "symbols");
}

/* ---- what the runtime knows about outputs ---- */
static LV slots_of(Cg *g, const KPort *p, uint32_t n, const char *name)
{
    uint32_t *v = arena_array(&g->arena, uint32_t, n + 1);
    for (uint32_t i = 0; i < n; i++) {
        KSpace s = kbuf(g->m, p[i].buf)->space;
        if (s != KS_IN && s != KS_OUT && s != KS_BOX && s != KS_SEQ)
            BUG("%s: the buffer of a port has no slot", name_str(g->m->names, p[i].name));
        v[i] = g->slot[p[i].buf.i];
    }
    return i32_table(g, v, n, name);
}

typedef struct Moved {
    KBuf buf;
    bool is;
} Moved;

static void find_moved(void *arg, KStep *s)
{
    Moved *m = arg;
    m->is |= s->kind == KST_MOVE && s->src.i == m->buf.i;
}

static LV global(Cg *g, LV init, const char *name)
{
    LV v = LLVMAddGlobal(g->mod, LLVMTypeOf(init), name);
    LLVMSetInitializer(v, init);
    LLVMSetGlobalConstant(v, true);
    LLVMSetLinkage(v, LLVMInternalLinkage);
    return v;
}

/* ---- thunks ---- */
static LV thunk(Cg *g, const char *name, const char *target, LV desc, LT *arg, unsigned n)
{
    LT all[8] = {g->ptr};
    memcpy(all + 1, arg, n * sizeof *arg);
    LV callee = cg_extern(g, target, g->i32, all, n + 1), fn = cg_fn(g, name, g->i32, arg, n, true), v[8] = {desc};
    for (unsigned i = 0; i < n; i++) v[i + 1] = LLVMGetParam(fn, i);
    LLVMPositionBuilderAtEnd(g->b, cg_block(g, fn, "entry"));
    debug_function(g, fn, NULL, (KLoc){0});
    LLVMBuildRet(g->b, cg_call(g, callee, v, n + 1, ""));
    return fn;
}

/* void bmc_profile(ctx, out) of runtime/bmc_profile.h */
static void export_profile(Cg *g)
{
    LT arg[] = {g->ptr, g->ptr};
    LV callee = cg_extern(g, "rt_profile", g->vd, arg, 2), fn = cg_fn(g, "bmc_profile", g->vd, arg, 2, false);
    LLVMPositionBuilderAtEnd(g->b, cg_block(g, fn, "entry"));
    debug_function(g, fn, NULL, (KLoc){0});
    cg_call(g, callee, (LV[]){LLVMGetParam(fn, 0), LLVMGetParam(fn, 1)}, 2, "");
    LLVMBuildRetVoid(g->b);
}

bool tables_emit(Cg *g, LV body, LV plan, LV out_dims)
{
    KModule *m = g->m;
    const CodegenOptions *o = g->opt;
    Entries e = entry_symbols(g);
    LV none = LLVMConstNull(g->ptr);
    uint64_t need[RT_CPU_WORDS] = {0};
    target_cpu_need(&m->target, need);
    if (m->target.bf16 == KDOTS_TILES) {
        uint64_t tile[RT_CPU_WORDS];
        rt_cpu_tile_bits(tile);
        for (int i = 0; i < RT_CPU_WORDS; i++) need[i] &= ~tile[i]; /* asked for when used: RT_TILES */
    }

    LV weights_bytes = cg_i64(g, g->data->bytes), weights_hash = LLVMConstInt(g->i64, g->data->hash, false);
    LV info = global(
        g,
        structure(g,
                  (LV[]){cg_text(g, m->prefix), cg_text(g, o->producer ? o->producer : "bmc"),
                         cg_text(g, m->target.triple), cg_text(g, m->target.cpu),
                         ports(g, &e, m->input.p, m->input.n, "inputs"),
                         ports(g, &e, m->output.p, m->output.n, "outputs"), symbols(g, &e), cg_i32(g, m->input.n),
                         cg_i32(g, m->output.n), cg_i32(g, e.n), cg_i32(g, o->threads), weights_bytes, weights_hash},
                  13, AS(bmc_info, weights_hash)),
        "info");

    uint8_t *boxed = arena_array(&g->arena, uint8_t, m->output.n + 1),
            *planned = arena_array(&g->arena, uint8_t, m->output.n + 1);
    for (uint32_t i = 0; i < m->output.n; i++) {
        const KBufRec *r = kbuf(m, m->output.p[i].buf);
        Moved moved = {m->output.p[i].buf, false};
        kstep_each(&m->program, find_moved, &moved);
        boxed[i] = r->space == KS_BOX && !moved.is ? RT_BOX_STAYS : r->space == KS_BOX || r->space == KS_SEQ ? RT_BOX : 0;
        planned[i] = r->space != KS_SEQ;
        for (int a = 0; a < r->rank; a++) planned[i] &= !dim_has_kind(m->dims, r->dim[a], SYM_NODE);
    }
    const char **step = arena_array(&g->arena, const char *, g->step.n + 1);
    for (uint32_t i = 0; i < g->step.n; i++) step[i] = program_loc_text(g, g->step.p[i]);
    uint32_t flags = (m->flush_denormals ? 1u : 0) | (o->threads ? 2u : 0) | (g->tiles ? 4u : 0);
    const char *file = g->weights_out ? strrchr(o->out_path, '/') : NULL;
    if (g->weights_out) file = arena_printf(&g->arena, "%s.weights", file ? file + 1 : o->out_path);
    bool inside = g->data->bytes && !file;

    LV desc = global(
        g,
        structure(
            g,
            (LV[]){cg_i32(g, BMC_ABI),
                   cg_i32(g, m->dims->sym.n),
                   cg_i32(g, g->n_slot),
                   cg_i32(g, g->message.n),
                   info,
                   LLVMConstArray2(
                       g->i64, (LV[]){LLVMConstInt(g->i64, need[0], false), LLVMConstInt(g->i64, need[1], false)}, 2),
                   inside ? g->weights : none,
                   text_or_null(g, file),
                   weights_bytes,
                   weights_hash,
                   slots_of(g, m->input.p, m->input.n, "in_slot"),
                   slots_of(g, m->output.p, m->output.n, "out_slot"),
                   i8_table(g, boxed, m->output.n, "out_boxed"),
                   i32_table(g, e.sym, e.n, "sym_of_entry"),
                   text_table(g, g->message.p, g->message.n, "messages"),
                   cg_i32(g, flags),
                   cg_i32(g, 0),
                   plan,
                   out_dims,
                   body,
                   i8_table(g, planned, m->output.n, "out_planned"),
                   text_table(g, step, g->step.n, "step_names"),
                   cg_i32(g, g->step.n)},
            23, AS(rt_desc, n_step)),
        "desc");

    LV model = structure(g,
                         (LV[]){cg_i32(g, BMC_ABI), info,
                                thunk(g, "sizes", "rt_sizes", desc, (LT[]){g->ptr, g->i32, g->ptr}, 3),
                                thunk(g, "create", "rt_create", desc, (LT[]){g->ptr, g->ptr, g->i64, g->ptr}, 4),
                                cg_extern(g, "rt_run", g->i32, (LT[]){g->ptr, g->ptr, g->ptr}, 3),
                                cg_extern(g, "rt_reset", g->i32, (LT[]){g->ptr}, 1),
                                cg_extern(g, "rt_destroy", g->vd, (LT[]){g->ptr}, 1),
                                cg_extern(g, "rt_message", g->ptr, (LT[]){g->ptr}, 1)},
                         8, AS(bmc_model, message));
    LV v = global(g, model, arena_printf(&g->arena, "%s_model", m->prefix));
    LLVMSetLinkage(v, LLVMExternalLinkage);
    if (o->kind == CG_SO) LLVMAddAlias2(g->mod, LLVMTypeOf(model), 0, v, "bmc_model");
    if (o->kind == CG_SO && o->profile) export_profile(g);
    return true;
}
