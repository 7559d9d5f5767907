/* rank: code knows the rank of every tensor, a model need not. Inputs of unknown rank are taken with RANK_ANY axes, 1
 * in front of those that a run brings; the model is there once for each rank that type-checks, and the rank chooses.
 *   graph @main(%x: f32[*]) -> (%y)
 *     =>  sym r entry input 0 rank
 *         rank "y" -> "y.rank"
 *         graph @main(%x: f32[a,b,c,d,e,f,g,h]) -> (%y, %y.rank)
 *           %c = Dims() {value=[max(0,4-r)]}               not 0 where the rank is below 4: halves, until
 *           %y, %y.rank = If(%c | %x)                      one version is left, or Fail
 *             then(%x) { those for ranks 0 to 3 }
 *             else(%x) { If ... else(%x) { %1 = Reshape(%x, [e,f,g,h])  the model
 *                                          %y = Reshape(%2, [1,1,1,1,1,1,n,m])  %y.rank = 2 } }
 * Ranks of several inputs are decided one after the other: what does not type-check whatever the others are is not
 * looked at further. Of more inputs than INPUTS_MAX, those of which only element-wise results are made keep all axes:
 * they broadcast as those that count would, the result's rank is the largest. Where the versions for the others are
 * still too many, each input is taken apart by itself, where it is used (ir/graph/arms.c).
 * Results whose rank differs between versions have RANK_ANY axes, too, and a scalar beside them that says how many
 * count; both are made for the program's ends (KPort.rank), the graph in between has nothing special. Where one
 * version alone type-checks, the inputs simply have that rank. */
#include "passes/graph/rank.h"
#include "base/bug.h"
#include "ir/graph/infer.h"
#include "ir/ops/internal.h"
#include <assert.h>

typedef struct Version {
    Graph *g; /* takes the inputs with all axes */
    int *at;
} Version;

typedef struct Ranks {
    Module *m;
    const Graph *general;
    uint32_t n;            /* inputs of unknown rank for which there are versions */
    uint32_t *input;       /* which */
    Sym *rank;             /* of each */
    TypeId *type;          /* of every input of the model: with all axes */
    Sym *kept;             /* of every input of the model: its rank, where its axes stay as they are */
    int *to, *from;        /* of each: the other one to whose rank it is raised, else -1, from which rank on */
    uint64_t out_kept;     /* results, of the first 64, that are made of such inputs */
    bool keeps;
    VEC(Version) v;
    uint64_t nodes, work;  /* of the versions; nodes inferred in search of them */
    const char *why;       /* there is not the one that got furthest */
    uint32_t far;          /* how far that was */
    Loc loc;
} Ranks;
enum {
    INPUTS_MAX = 2,        /* of more, there are versions only as far as they are few */
    VERSIONS_MAX = 81,
    NODES_MAX = 20000,     /* of all versions */
    WORK_MAX = 400000
};

static bool is_tensor(const Module *m, TypeId t) { return t.i && type_rec(&m->types, t)->kind == TY_TENSOR; }
static int rank_of(const Module *m, TypeId t) { return type_rec(&m->types, t)->rank; }

static bool unranked(const Module *m, TypeId t) { return is_tensor(m, t) && rank_of(m, t) == RANK_UNKNOWN; }

/* The arms of an If give it in different ranks. */
static bool of_arms(const Graph *g, Value v)
{
    Node from = value_rec(g, v)->def;
    return from.i && node_rec(g, from)->op == OP_If && unranked(g->m, value_type(g, v));
}

/* Result k goes through one more node: with all axes, and its rank behind it in *rank; or, with `of`, of that rank alone. */
static Value passed(Graph *g, Value v, int of, Value *rank)
{
    struct {
        uint64_t set;
        int64_t rank;
    } a = {1, of};
    assert(op_desc(OP_OfRank)->attrs_size == sizeof a);
    Loc loc = node_rec(g, value_rec(g, v)->def)->loc;
    Node n = graph_add(g, rank ? OP_AnyRank : OP_OfRank, &v, 1, rank ? 2 : 1, rank ? NULL : &a, loc, NODE_NONE);
    if (rank) *rank = node_out(g, n, 1);
    return node_out(g, n, 0);
}

/* What the model declares decides where the run would: of the arms that give a result, those of that rank stay. */
static bool declare(Module *m, Graph *g)
{
    bool changed = false;
    Value *out = arena_array(m->arena, Value, g->out.n + 1);
    Name *name = arena_array(m->arena, Name, g->out.n + 1);
    for (uint32_t k = 0; k < g->out.n; k++) {
        out[k] = g->out.p[k];
        name[k] = g->out_name.p[k].i ? g->out_name.p[k] : value_rec(g, out[k])->name;
        TypeId want = k < m->out_decl.n ? m->out_decl.p[k] : (TypeId){0};
        if (!of_arms(g, out[k]) || !is_tensor(m, want) || unranked(m, want)) continue;
        out[k] = passed(g, out[k], rank_of(m, want), NULL);
        changed = true;
    }
    if (!changed) return false;
    graph_set_outputs(g, out, g->out.n);
    for (uint32_t k = 0; k < g->out.n; k++) g->out_name.p[k] = name[k];
    return true;
}

/* Do the results have the ranks that the model declares? */
static bool as_declared(const Ranks *r, const Graph *g)
{
    const Module *m = r->m;
    for (uint32_t k = 0; k < g->out.n && k < m->out_decl.n; k++) {
        TypeId want = m->out_decl.p[k], have = value_type(g, g->out.p[k]);
        if (!is_tensor(m, want) || !is_tensor(m, have) || unranked(m, want)) continue;
        if (rank_of(m, want) != rank_of(m, have)) return false;
    }
    return true;
}

/* The model for the ranks of the first `n` inputs of unknown rank; the others stay as they are. false: it does not type-check, *why says what. */
static bool version(Ranks *r, const int *at, uint32_t n, Graph **made, DiagFirst *why)
{
    Module *m = r->m;
    Graph *g = *made = graph_new(m, "rank");
    const Graph *body = r->general;
    Value *map = arena_array(m->arena, Value, body->value.n), *out = arena_array(m->arena, Value, body->out.n + 1);
    for (uint32_t k = 0; k < body->in.n; k++)
        map[body->in.p[k].i] = graph_input(g, r->type[k], value_rec(body, body->in.p[k])->name);
    for (uint32_t i = n; i < r->n; i++) value_rec(g, map[body->in.p[r->input[i]].i])->type = value_type(body, body->in.p[r->input[i]]);
    for (uint32_t i = 0; i < n; i++) {
        Value *x = &map[body->in.p[r->input[i]].i];
        if (!(*x = dims_called(g, *x, type_rec(&m->types, r->type[r->input[i]])->dim + RANK_ANY - at[i], (uint32_t)at[i], r->loc)).i) return false;
    }
    graph_inline(g, NODE_NONE, body, map);
    for (uint32_t k = 0; k < body->out.n; k++) out[k] = map[body->out.p[k].i];
    graph_set_outputs(g, out, body->out.n);
    if (n < r->n) return infer_try_part(g, why);
    if (!infer_try(g, why) || (declare(m, g) && !infer_try(g, why))) return false;
    *why = (DiagFirst){E_RANK_DECL, "a result has another rank than the model declares"};
    return as_declared(r, g);
}

/* The ranks at[0..n) do not fit. What is said of it is the reason of those with which most nodes type-check; an operator that
 * takes another rank says less than one that takes this and finds something else. */
static void no_version(Ranks *r, const Graph *g, const int *at, uint32_t n, DiagFirst why)
{
    uint32_t far = 0;
    const char *ranks = "";
    for (Node k = graph_first(g); k.i; k = node_next(g, k)) far += node_n_out(g, k) && value_type(g, node_out(g, k, 0)).i;
    far = 2 * far + (why.id != E_RANK);
    if (r->why && far <= r->far) return;
    for (uint32_t i = 0; i < n; i++) ranks = arena_printf(r->m->arena, "%s%s%d", ranks, i ? ", " : "", at[i]);
    r->far = far;
    r->why = arena_printf(r->m->arena, "rank %s: %s", ranks, why.text);
}

/* Operand k is one element, or broadcasts to another, in whatever rank. */
static bool rank_free(const OpDesc *d, uint32_t k) { return k < 8 && (d->one | d->lead) >> k & 1; }

/* ---- raised ranks ----
 * Axes of 1 in front of an operand that broadcasts change nothing as long as another operand has as many axes: there is no
 * version for ranks that differ then, only that for the larger one of both. MatMul(a, b) has 22 versions, not 64:
 * (1,1), (1,2..8), (2..8,1), (2,2), (3,3), ... */

/* From how many axes on operand k may have further ones in front; -1: it may not. A scalar has versions of its own: they are
 * the faster code. */
static int rises_from(const Graph *g, Node n, uint32_t k)
{
    const OpDesc *d = node_desc(g, n);
    if (d->cls == CLS_ELTWISE && !d->infer && !rank_free(d, k)) return 1;
    return k < 8 && d->batch >> k & 1 ? 2 : -1;
}

/* least[v]: the inputs, as bits, whose ranks v's is at least. Which input the uses of x (bit i) all meet, raised from *from on; -1: none. */
static int meets(const Ranks *r, const Graph *g, const uint64_t *least, Value x, uint32_t i, int *from)
{
    uint64_t all = ~(1ull << i);
    *from = 0;
    for (uint32_t k = 0; k < g->out.n; k++)
        if (g->out.p[k].i == x.i) return -1;
    for (Node n = graph_first(g); n.i; n = node_next(g, n))
        for (uint32_t k = 0; k < node_n_in(g, n); k++) {
            if (node_in(g, n, k).i != x.i || rank_free(node_desc(g, n), k)) continue;
            int lo = rises_from(g, n, k);
            uint64_t other = 0;
            for (uint32_t o = 0; o < node_n_in(g, n); o++)
                if (o != k && rises_from(g, n, o) == lo && node_in(g, n, o).i) other |= least[node_in(g, n, o).i];
            if (lo < 0 || !(all &= other)) return -1;
            if (lo > *from) *from = lo;
        }
    for (uint32_t j = 0; j < r->n && j < 64; j++)
        if (j != i && all >> j & 1) return (int)j;
    return -1;
}

static void find_raised(Ranks *r)
{
    Module *m = r->m;
    const Graph *g = m->entry;
    uint64_t *least = arena_array(m->arena, uint64_t, g->value.n);
    r->to = arena_array(m->arena, int, r->n + 1);
    r->from = arena_array(m->arena, int, r->n + 1);
    for (uint32_t i = 0; i < r->n && i < 64; i++) least[g->in.p[r->input[i]].i] = 1ull << i;
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        uint64_t of = 0;
        for (uint32_t k = 0; k < node_n_in(g, n); k++)
            if (node_in(g, n, k).i && rises_from(g, n, k) == 1) of |= least[node_in(g, n, k).i];
        for (uint32_t k = 0; k < node_n_out(g, n); k++) least[node_out(g, n, k).i] = of;
    }
    for (uint32_t i = 0; i < r->n; i++) r->to[i] = i < 64 ? meets(r, g, least, g->in.p[r->input[i]], i, &r->from[i]) : -1;
    for (uint32_t i = 0; i < r->n; i++)   /* one after the other is no pair */
        if (r->to[i] >= 0 && r->to[r->to[i]] >= 0 && r->to[r->to[i]] != (int)i) r->to[i] = -1;
}

/* The rank of input i, raised. */
static Dim raised(Ranks *r, uint32_t i)
{
    Dims *d = &r->m->dims;
    Dim one = dim_const(d, 1), own = dim_sym(d, r->rank[i]);
    if (r->to[i] < 0) return own;
    Dim more = dim_max(d, dim_const(d, 0), dim_sub(d, dim_sym(d, r->rank[r->to[i]]), own));
    Dim may = dim_max(d, dim_const(d, 0), dim_min(d, one, dim_sub(d, own, dim_const(d, r->from[i] - 1))));
    return dim_add(d, own, dim_mul(d, may, more));
}

static bool paired(const Ranks *r)
{
    for (uint32_t i = 0; i < r->n; i++)
        if (r->to[i] >= 0) return true;
    return false;
}

static bool is_raised(const Ranks *r, const int *at, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (r->to[i] >= 0 && (uint32_t)r->to[i] < n && at[i] >= r->from[i] && at[i] < at[r->to[i]]) return true;
    return false;
}

/* All versions that begin with at[0..i). What does not type-check whatever the ranks of the other inputs are is not looked at further.
 * false: too many. */
static bool search(Ranks *r, int *at, uint32_t i, bool bounded)
{
    Module *m = r->m;
    for (at[i] = 0; at[i] <= RANK_ANY; at[i]++) {
        uint32_t checks = m->check.n;
        uint64_t work = m->infer_count;
        DiagFirst why = {0, "it does not type-check"};
        Version v = {NULL, NULL};
        if (is_raised(r, at, i + 1)) continue;
        if (!version(r, at, i + 1, &v.g, &why)) {
            m->check.n = checks;
            no_version(r, v.g, at, i + 1, why);
        } else if (i + 1 < r->n) {
            m->check.n = checks;
            if (!search(r, at, i + 1, bounded)) return false;
        } else {
            v.at = arena_memdup(m->arena, at, r->n * sizeof *at);
            vec_push(m->arena, &r->v, v);
            r->nodes += v.g->node.n;
        }
        r->work += m->infer_count - work;
        if (bounded && (r->v.n > VERSIONS_MAX || r->nodes > NODES_MAX || r->work > WORK_MAX)) return false;
    }
    return true;
}

/* ---- axes that stay ---- */

/* Results are made element by element of operands that broadcast, or are like one of them. */
static bool any_rank(const OpDesc *d) { return (d->cls == CLS_ELTWISE && !d->infer) || (d->flags & OPF_ANY_RANK); }

/* Inputs of which nothing is made but element by element, or which are such operands, need no versions (the
 * former only where there are many): they keep all axes, whose broadcasting is that of those that count. */
static void keep_axes(Ranks *r, bool many)
{
    Module *m = r->m;
    const Graph *g = m->entry;
    uint64_t *of = arena_array(m->arena, uint64_t, g->value.n), ranked = 0;
    for (uint32_t i = 0; i < r->n; i++) of[g->in.p[r->input[i]].i] = 1ull << (i < 63 ? i : 63);
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        uint64_t from = 0;
        for (uint32_t k = 0; k < node_n_in(g, n); k++)
            if (node_in(g, n, k).i && !rank_free(node_desc(g, n), k)) from |= of[node_in(g, n, k).i];
        if (!many || !any_rank(node_desc(g, n))) ranked |= from;
        else
            for (uint32_t k = 0; k < node_n_out(g, n); k++) of[node_out(g, n, k).i] = from;
    }
    for (uint32_t k = 0; k < g->out.n; k++) {
        TypeId want = k < m->out_decl.n ? m->out_decl.p[k] : (TypeId){0};
        if (!many || k >= 64 || (is_tensor(m, want) && !unranked(m, want))) ranked |= of[g->out.p[k].i];
    }
    uint32_t left = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        if (ranked >> (i < 63 ? i : 63) & 1) {
            r->input[left] = r->input[i];
            r->rank[left++] = r->rank[i];
        } else r->kept[r->input[i]] = r->rank[i];
    }
    r->keeps = left < r->n;
    r->n = left;
    for (uint32_t k = 0; k < g->out.n && k < 64; k++)
        if (of[g->out.p[k].i] & ~ranked) r->out_kept |= 1ull << k;
}

static Dim rank_dim(Ranks *r, const Graph *g, const Dim *rank, Value v)
{
    const TypeRec *t = value_trec(g, v);
    if (rank[v.i].i) return rank[v.i];
    return t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN ? dim_const(&r->m->dims, t->rank) : (Dim){0};
}

/* How many of the axes of each value count, by value; 0 where all do. false: inference has moved such values into the arms of an If. */
static bool ranks_along(Ranks *r, const Graph *g, Dim *rank)
{
    Dims *d = &r->m->dims;
    for (uint32_t k = 0; k < g->in.n; k++)
        if (r->kept[k].i) rank[g->in.p[k].i] = dim_sym(d, r->kept[k]);
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        bool all = true, like = node_desc(g, n)->cls != CLS_ELTWISE && node_n_in(g, n) > 1;
        Dim most = dim_const(d, 0);
        for (uint32_t k = 0; k < node_n_in(g, n); k++)
            if (node_in(g, n, k).i && rank[node_in(g, n, k).i].i && !rank_free(node_desc(g, n), k)) all = false;
        if (all || node_rec(g, n)->op == OP_Reshape) continue;   /* made by inference, of what may have any rank */
        if (!any_rank(node_desc(g, n))) return false;
        for (uint32_t k = 0; k < node_n_in(g, n) && !like; k++) {
            Dim x = node_in(g, n, k).i ? rank_dim(r, g, rank, node_in(g, n, k)) : dim_const(d, 0);
            if (!x.i) return false;
            most = dim_max(d, most, x);
        }
        for (uint32_t o = 0; o < node_n_out(g, n); o++) {
            Value y = node_out(g, n, o);
            for (uint32_t k = node_n_in(g, n); like && k-- > 0;)
                if (value_type(g, node_in(g, n, k)).i == value_type(g, y).i) most = rank_dim(r, g, rank, node_in(g, n, k));
            if (rank_of(r->m, value_type(g, y)) != RANK_ANY) return false;
            rank[y.i] = most;
        }
    }
    return true;
}

/* Which results have a rank that depends on the version. */
static bool *results_vary(Ranks *r, const Version *v, uint32_t n)
{
    bool *vary = arena_array(r->m->arena, bool, r->general->out.n + 1);
    for (uint32_t k = 0; k < r->general->out.n && k < 64; k++) vary[k] = r->out_kept >> k & 1;
    for (uint32_t k = 0; k < r->general->out.n; k++)
        for (uint32_t i = 0; i < n; i++) {
            TypeId a = value_type(v[0].g, v[0].g->out.p[k]), b = value_type(v[i].g, v[i].g->out.p[k]);
            if (is_tensor(r->m, a) && is_tensor(r->m, b)) vary[k] |= rank_of(r->m, a) != rank_of(r->m, b) || unranked(r->m, a);
        }
    return vary;
}

/* The versions whose results have more axes than a rank that the run decides may have go: for them a run ends with *why.
 * Returns how many are left. */
static uint32_t without_high(Ranks *r, Version *v, uint32_t n, const bool *vary, const char **why)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool high = false;
        for (uint32_t k = 0; k < r->general->out.n; k++) {
            int rank = vary[k] ? rank_of(r->m, value_type(v[i].g, v[i].g->out.p[k])) : 0;
            if (rank == RANK_UNKNOWN || rank <= RANK_ANY) continue;
            if (!*why) *why = arena_printf(r->m->arena, "a result of rank %d, where the rank depends on the inputs at most %d is possible", rank, RANK_ANY);
            high = true;
        }
        if (!high) v[left++] = v[i];
    }
    return left;
}

/* Such results get all axes, and their ranks stand behind the results. */
static bool widen(Ranks *r, Graph *g, const bool *vary)
{
    Module *m = r->m;
    uint32_t n = g->out.n, to = n;
    bool again = false;
    Value *out = arena_array(m->arena, Value, 2 * n + 1);
    Dim *kept = arena_array(m->arena, Dim, g->value.n);
    if (r->keeps && !ranks_along(r, g, kept)) BUG("the ranks of results are lost");
    for (uint32_t k = 0; k < n; k++) {
        out[k] = g->out.p[k];
        if (!vary[k]) continue;
        if (kept[out[k].i].i) {
            if (!(out[to++] = dims_scalar(g, kept[out[k].i], DT_I32, r->loc)).i) return false;
            continue;
        }
        const TypeRec t = *value_trec(g, out[k]);
        bool own = t.rank == RANK_UNKNOWN;   /* else: dims that a node binds, which may give way to others */
        for (int a = 0; !own && a < t.rank; a++) own = dim_has_kind(&m->dims, dim_resolve(&m->dims, t.dim[a]), SYM_NODE);
        if (own) {
            out[k] = passed(g, out[k], 0, &out[to++]);
            again = true;
            continue;
        }
        Dim dim[RANK_ANY], rank = dim_const(&m->dims, t.rank);
        assert(t.rank <= RANK_ANY);
        for (int a = 0, skip = RANK_ANY - t.rank; a < RANK_ANY; a++) dim[a] = a < skip ? dim_const(&m->dims, 1) : t.dim[a - skip];
        if (!(out[k] = dims_called(g, out[k], dim, RANK_ANY, r->loc)).i) return false;
        if (!(out[to++] = dims_scalar(g, rank, DT_I32, r->loc)).i) return false;
    }
    graph_set_outputs(g, out, to);
    return !again || infer_graph(g);
}

/* 0 where the ranks are those of the version. */
static Dim distance(Ranks *r, const int *at)
{
    Dims *d = &r->m->dims;
    Dim sum = dim_const(d, 0);
    for (uint32_t i = 0; i < r->n; i++) {
        Dim x = dim_sub(d, raised(r, i), dim_const(d, at[i]));
        sum = r->n == 1 ? x : dim_add(d, sum, dim_max(d, x, dim_sub(d, dim_const(d, 0), x)));
    }
    return sum;
}

static Graph *failing(Ranks *r, const Graph *like, const char *why)
{
    Module *m = r->m;
    Graph *g = graph_new(m, "rank");
    struct {
        uint64_t set;
        const char *message;
    } fail = {1, arena_printf(m->arena, "the model is not made for inputs of these ranks: %s", why)};
    Value *out = arena_array(m->arena, Value, like->out.n + 1);
    for (uint32_t k = 0; k < r->general->in.n; k++) graph_input(g, r->type[k], value_rec(r->general, r->general->in.p[k])->name);
    assert(op_desc(OP_Fail)->attrs_size == sizeof fail);
    Node f = graph_add(g, OP_Fail, NULL, 0, like->out.n, &fail, r->loc, NODE_NONE);
    for (uint32_t k = 0; k < like->out.n; k++) {
        out[k] = node_out(g, f, k);
        value_rec(g, out[k])->type = value_type(like, like->out.p[k]);
    }
    graph_set_outputs(g, out, like->out.n);
    return g;
}

/* The ranks of all inputs as one number; versions stand in its order. */
static int64_t code_of(const Ranks *r, const int *at)
{
    int64_t code = 0;
    for (uint32_t i = 0; i < r->n; i++) code = code * (RANK_ANY + 1) + at[i];
    return code;
}

static Dim code(Ranks *r)
{
    Dims *d = &r->m->dims;
    Dim sum = dim_const(d, 0);
    for (uint32_t i = 0; i < r->n; i++) sum = dim_add(d, dim_mul(d, sum, dim_const(d, RANK_ANY + 1)), raised(r, i));
    return sum;
}

static bool choose(Ranks *r, Graph *g, const Version *v, uint32_t n, int64_t lo, int64_t hi, const char *why);

/* The graph for codes from lo to hi: a version alone, or one that chooses. NULL: diagnosed. */
static Graph *among(Ranks *r, const Version *v, uint32_t n, int64_t lo, int64_t hi, const char *why)
{
    if (n == 1 && lo == hi) return v->g;
    Graph *g = graph_new(r->m, "ranks");
    for (uint32_t k = 0; k < r->general->in.n; k++) graph_input(g, r->type[k], value_rec(r->general, r->general->in.p[k])->name);
    return choose(r, g, v, n, lo, hi, why) ? g : NULL;
}

/* An If at the end of g, whose results become g's: among the first or the second half of the versions, so that regions do not nest deeply; in the end one or Fail. */
static bool choose(Ranks *r, Graph *g, const Version *v, uint32_t n, int64_t lo, int64_t hi, const char *why)
{
    Module *m = r->m;
    Dims *d = &m->dims;
    uint32_t n_in = g->in.n, n_out = v->g->out.n, half = n / 2;
    Value *arg = arena_array(m->arena, Value, n_in + 1), *out = arena_array(m->arena, Value, n_out + 1);
    Graph *branch[2] = {NULL, v->g};
    Dim cond = distance(r, v->at);
    if (n == 1) branch[0] = failing(r, v->g, why);
    else {
        int64_t at = code_of(r, v[half].at);
        cond = dim_max(d, dim_const(d, 0), dim_sub(d, dim_const(d, at), code(r)));
        branch[0] = among(r, v, half, lo, at - 1, why);
        branch[1] = among(r, v + half, n - half, at, hi, why);
    }
    if (!branch[0] || !branch[1] || !(arg[0] = dims_scalar(g, cond, DT_BOOL, r->loc)).i) return false;
    for (uint32_t k = 0; k < n_in; k++) arg[1 + k] = g->in.p[k];
    Node made = graph_add(g, OP_If, arg, 1 + n_in, n_out, NULL, r->loc, NODE_NONE);
    graph_set_region(g, made, (const Graph *const[]){branch[0], branch[1]}, 2);
    node_rec(g, made)->n_capture = n_in;
    for (uint32_t k = 0; k < n_out; k++) out[k] = node_out(g, made, k);
    graph_set_outputs(g, out, n_out);
    return true;
}

/* The only version that there is: no choice. */
static void settle(Ranks *r, const Version *v)
{
    Module *m = r->m;
    Graph *g = m->entry;
    for (uint32_t i = 0; i < r->n; i++) {
        uint32_t k = r->input[i];
        const TypeRec t = *type_rec(&m->types, r->type[k]);
        value_rec(g, g->in.p[k])->type = type_tensor(&m->types, t.elem, v->at[i], t.dim + RANK_ANY - v->at[i]);
        for (uint32_t s = 1; s < m->dims.sym.n; s++) {
            SymRec *y = &m->dims.sym.p[s];
            if (y->kind != SYM_ENTRY || y->input != (int32_t)k) continue;
            y->axis -= RANK_ANY - v->at[i];
            if (y->axis < 0 || y->axis >= v->at[i]) y->input = y->axis = -1;
        }
    }
}

static bool find_inputs(Ranks *r)
{
    Module *m = r->m;
    Graph *g = m->entry;
    Dims *d = &m->dims;
    r->input = arena_array(m->arena, uint32_t, g->in.n + 1);
    r->rank = arena_array(m->arena, Sym, g->in.n + 1);
    r->type = arena_array(m->arena, TypeId, g->in.n + 1);
    r->kept = arena_array(m->arena, Sym, g->in.n + 1);
    for (uint32_t k = 0; k < g->in.n; k++) {
        r->type[k] = value_type(g, g->in.p[k]);
        if (!unranked(m, r->type[k])) continue;
        Dim dim[RANK_ANY];
        for (int a = 0; a <= RANK_ANY; a++) {
            bool axis = a < RANK_ANY;
            Sym s = sym_new(d, module_fresh_name(m, axis ? "axis" : "rank"), SYM_ENTRY, 0, axis ? INT64_MAX : RANK_ANY);
            d->sym.p[s.i].input = (int32_t)k;
            d->sym.p[s.i].axis = axis ? a : AXIS_RANK;
            if (axis) dim[a] = dim_sym(d, s);
            else r->rank[r->n] = s;
        }
        r->type[k] = type_tensor(&m->types, type_rec(&m->types, r->type[k])->elem, RANK_ANY, dim);
        r->input[r->n++] = k;
    }
    return true;
}

/* The entry graph keeps its inputs, with all axes, and loses everything else. */
static void clear(Ranks *r)
{
    Graph *g = r->m->entry;
    graph_set_outputs(g, NULL, 0);
    for (Node x = graph_last(g), p; x.i; x = p) {
        p = node_prev(g, x);
        graph_erase(g, x);
    }
    for (uint32_t k = 0; k < g->in.n; k++) value_rec(g, g->in.p[k])->type = r->type[k];
}

/* More combinations than versions of a model make sense: each input has arms of its own, as far as its rank matters. */
static void each_alone(Ranks *r)
{
    Graph *g = r->m->entry;
    for (uint32_t i = 0; i < r->n; i++) {
        Value x = g->in.p[r->input[i]];
        value_rec(g, x)->type = r->type[r->input[i]];
        infer_arms_of_input(g, x, dim_sym(&r->m->dims, r->rank[i]), type_rec(&r->m->types, r->type[r->input[i]])->dim);
    }
}

/* Names for the results of the entry graph, behind which the ranks of those stand that vary. */
static void name_ranks(Ranks *r, const Name *name, uint32_t n_out, const bool *vary)
{
    Module *m = r->m;
    Graph *g = m->entry;
    for (uint32_t k = 0, to = n_out; k < n_out; k++) {
        g->out_name.p[k] = name[k];
        if (!vary[k]) continue;
        Name rank = module_fresh_name(m, "rank");
        g->out_name.p[to++] = rank;
        vec_push(m->arena, &m->rank, (RankRec){name[k], rank});
        if (k < m->out_decl.n) m->out_decl.p[k] = (TypeId){0};
    }
}

static Name *out_names(Module *m)
{
    Graph *g = m->entry;
    Name *name = arena_array(m->arena, Name, g->out.n + 1);
    for (uint32_t k = 0; k < g->out.n; k++) name[k] = g->out_name.p[k].i ? g->out_name.p[k] : value_rec(g, g->out.p[k])->name;
    return name;
}

typedef enum Found { FAILED, DONE, NOT_KEPT } Found;

/* All axes of all inputs stay: no versions. */
static Found keep_all(Ranks *r)
{
    Module *m = r->m;
    Graph *g = m->entry, *probe;
    DiagFirst why;
    uint32_t n_out = g->out.n, checks = m->check.n;
    Name *name = out_names(m);
    bool fits = version(r, NULL, 0, &probe, &why) && ranks_along(r, probe, arena_array(m->arena, Dim, probe->value.n));
    m->check.n = checks;
    if (!fits) return NOT_KEPT;
    bool *vary = results_vary(r, NULL, 0);
    for (uint32_t k = 0; k < g->in.n; k++) value_rec(g, g->in.p[k])->type = r->type[k];
    if (!infer_graph(g) || !widen(r, g, vary)) return FAILED;
    return name_ranks(r, name, n_out, vary), DONE;
}

static Found specialise(Module *m, bool keeps)
{
    Graph *g = m->entry;
    Ranks r = {.m = m};
    if (!find_inputs(&r)) return FAILED;
    if (!r.n) return DONE;
    bool many = r.n > INPUTS_MAX;
    uint32_t first = r.input[0], n_out = g->out.n;
    if (keeps) keep_axes(&r, many);
    r.general = graph_clone(g);
    if (!r.n) return keep_all(&r);
    find_raised(&r);
    int *at = arena_array(m->arena, int, r.n);
    if (!search(&r, at, 0, many)) {
        if (r.keeps) return NOT_KEPT;
        return each_alone(&r), DONE;
    }
    uint32_t n = r.v.n;
    Version *v = r.v.p;
    bool *vary = n ? results_vary(&r, v, n) : NULL;
    n = without_high(&r, v, n, vary, &r.why);
    if (!n) {
        diag(m->diag, diag_file(m->source), E_LOWER,
             arena_printf(m->arena, "input '%s' has no known rank, and none from 0 to %d fits: %s",
                          value_name(g, g->in.p[first]), RANK_ANY, r.why));
        return FAILED;
    }
    if (n == 1 && !r.keeps && !paired(&r)) return settle(&r, v), DONE;
    vary = results_vary(&r, v, n);
    for (uint32_t i = 0; i < n && r.keeps; i++)
        if (!ranks_along(&r, v[i].g, arena_array(m->arena, Dim, v[i].g->value.n))) return NOT_KEPT;
    for (uint32_t i = 0; i < n; i++)
        if (!widen(&r, v[i].g, vary)) return FAILED;
    Name *name = out_names(m);
    clear(&r);
    int64_t count = 1;
    for (uint32_t i = 0; i < r.n; i++) count *= RANK_ANY + 1;
    if (!choose(&r, g, v, n, 0, count - 1, r.why ? r.why : "")) return FAILED;
    return name_ranks(&r, name, n_out, vary), DONE;
}

bool rank_specialise(Module *m)
{
    Found found = specialise(m, true);
    if (found == NOT_KEPT) found = specialise(m, false);
    return found == DONE;
}

bool rank_results(Module *m)
{
    Graph *g = m->entry;
    uint32_t n = g->out.n, to = n;
    if (declare(m, g) && !infer_graph(g)) return false;
    Value *out = arena_array(m->arena, Value, 2 * n + 1);
    Name *name = arena_array(m->arena, Name, 2 * n + 1);
    for (uint32_t k = 0; k < n; k++) {
        out[k] = g->out.p[k];
        name[k] = g->out_name.p[k].i ? g->out_name.p[k] : value_rec(g, out[k])->name;
        if (!of_arms(g, out[k])) continue;
        if (!name[k].i) name[k] = module_fresh_name(m, "result");
        name[to] = module_fresh_name(m, "rank");
        vec_push(m->arena, &m->rank, (RankRec){name[k], name[to]});
        out[k] = passed(g, out[k], 0, &out[to]);
        if (k < m->out_decl.n) m->out_decl.p[k] = (TypeId){0};
        to++;
    }
    if (to == n) return true;
    graph_set_outputs(g, out, to);
    for (uint32_t k = 0; k < to; k++) g->out_name.p[k] = name[k];
    return infer_graph(g);
}
