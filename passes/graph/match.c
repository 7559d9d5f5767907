/* match: patterns over the Graph IR (match.h). A pattern is parsed into a small tree; matching is a search with
 * backtracking over a list of goals (pattern, value), because the terms of a sum or product may stand in any order:
 *   pattern  Mul(x, 0.5, y=Erf(x))      graph  Div(Mul(%e, %a), 2), %e = Erf(%a)
 *   terms of the graph: %e, %a; number 1/2.  Tried: x=%e (then Erf(x) fails), x=%a, y=%e. */
#include "passes/graph/match.h"
#include "base/bug.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PATS = 64, KIDS = 8, TERMS = 8 };

typedef enum PatKind { PAT_VAR, PAT_NUM, PAT_ANY_NUM, PAT_OP } PatKind;
typedef struct Pat {
    PatKind kind;
    char letter; /* VAR, ANY_NUM; OP: its name or 0 */
    double num;
    OpCode op;
    bool inverse; /* stands in Inv() or Neg() */
    uint8_t kid[KIDS], n_kid;
} Pat;

typedef struct Term {
    Value v;
    bool inverse, root; /* a divisor or subtracted; a square root of v */
} Term;
typedef struct Terms {
    Term t[TERMS];
    uint32_t n;
    double num; /* all constants together: product or sum */
    bool has_num;
} Terms;

typedef struct Goal {
    uint8_t pat;
    Term term;
    const struct Goal *next;
    const struct Rest *rest; /* instead: the terms of a sum or product that are not assigned yet */
} Goal;
typedef struct Rest {
    const Pat *p;
    const Terms *t;
    uint32_t at, used;
    const Goal *next;
} Rest;

typedef struct S {
    Match *m;
    const char *at;
    Pat pat[PATS];
    uint8_t n_pat;
} S;

/* ---- the text ---- */

static uint8_t parse(S *s)
{
    if (s->n_pat == PATS) BUG("pattern too long");
    uint8_t p = s->n_pat++;
    Pat *q = &s->pat[p];
    *q = (Pat){0};
    while (*s->at == ' ') s->at++;
    if (*s->at == '#') {
        q->kind = PAT_ANY_NUM;
        q->letter = s->at[1];
        s->at += 2;
    } else if (isdigit((unsigned char)*s->at) || *s->at == '-') {
        char *end;
        q->kind = PAT_NUM;
        q->num = strtod(s->at, &end);
        s->at = end;
    } else if (islower((unsigned char)*s->at) && s->at[1] != '=') {
        q->kind = PAT_VAR;
        q->letter = *s->at++;
    } else {
        char name[32];
        size_t n = 0;
        q->kind = PAT_OP;
        if (s->at[1] == '=') {
            q->letter = *s->at;
            s->at += 2;
        }
        while (isalnum((unsigned char)*s->at) && n + 1 < sizeof name) name[n++] = *s->at++;
        name[n] = 0;
        if (*s->at++ != '(') BUG("pattern: '(' expected after %s", name);
        if (!strcmp(name, "Inv") || !strcmp(name, "Neg")) {
            s->n_pat--;
            p = parse(s);
            s->pat[p].inverse = true;
            if (*s->at++ != ')') BUG("pattern: ')' expected");
            return p;
        }
        q->op = op_find(NULL, name);
        if (!q->op) BUG("pattern: no operator %s", name);
        for (;;) {
            uint8_t kid = parse(s); /* s->pat does not move */
            if (s->pat[kid].inverse && q->op != OP_Mul && q->op != OP_Add) BUG("pattern: a divisor of %s", name);
            if (s->pat[p].n_kid == KIDS) BUG("pattern: too many operands");
            s->pat[p].kid[s->pat[p].n_kid++] = kid;
            while (*s->at == ' ') s->at++;
            if (*s->at == ')') break;
            if (*s->at++ != ',') BUG("pattern: ',' expected");
        }
        s->at++;
    }
    return p;
}

/* ---- values ---- */

bool match_scalar(Graph *g, Value v, double *x)
{
    if (!v.i || !value_is_const(g, v)) return false;
    Blob d = value_rec(g, v)->data;
    const BlobRec *b = blob_rec(&g->m->blobs, d);
    if (b->elem == DT_STR || dtype_info(b->elem)->cls == DC_COMPLEX || b->kind == BLOB_DERIVED || b->kind == BLOB_STRINGS || b->count < 1) return false;
    if (b->kind != BLOB_SPLAT && b->count != 1) return false;
    *x = dtype_is_float(b->elem) ? blob_get_f(&g->m->blobs, d, 0) : (double)blob_get_i(&g->m->blobs, d, 0);
    return true;
}

/* Constants of a model are rounded to its element type, often by way of a few decimals. */
static bool near(const S *s, double want, double have)
{
    const TypeRec *t = value_trec(s->m->g, node_out(s->m->g, s->m->root, 0));
    double eps = t->elem == DT_BF16 ? 1.0 / 128 : t->elem == DT_F16 ? 1.0 / 1024 : 2e-6;
    return fabs(want - have) <= eps * fmax(fabs(want), 1e-30);
}

static bool take_node(S *s, Node n)
{
    Match *m = s->m;
    for (uint32_t k = 0; k < m->n_node; k++)
        if (m->node[k].i == n.i) return true;
    if (m->n_node == MATCH_NODES) return false;
    m->node[m->n_node++] = n;
    return true;
}

static void number(Terms *t, double x, bool inverse, bool product)
{
    if (!t->has_num) t->num = product ? 1 : 0;
    t->has_num = true;
    if (product) t->num = inverse ? t->num / x : t->num * x;
    else t->num += inverse ? -x : x;
}

/* Collects the terms of v; nodes passed through join the match. The outermost node is always opened, others when
 * nothing else uses them. */
static bool flatten(S *s, Value v, bool product, bool inverse, bool outer, Terms *t)
{
    Graph *g = s->m->g;
    Node d = value_rec(g, v)->def;
    double x, e;
    if (match_scalar(g, v, &x)) return number(t, x, inverse, product), true;
    OpCode op = d.i && (outer || value_single_user(g, v).i) ? node_rec(g, d)->op : OP_NONE;
    Value a = op ? node_in(g, d, 0) : VALUE_NONE, b = op ? node_in(g, d, 1) : VALUE_NONE;
    bool scaled = op == OP_Pow && match_scalar(g, b, &e);
    if (op == (product ? OP_Mul : OP_Add))
        return take_node(s, d) && flatten(s, a, product, inverse, false, t) &&
               flatten(s, b, product, inverse, false, t);
    if (op == (product ? OP_Div : OP_Sub))
        return take_node(s, d) && flatten(s, a, product, inverse, false, t) &&
               flatten(s, b, product, !inverse, false, t);
    if (op == OP_Neg && !product) return take_node(s, d) && flatten(s, a, product, !inverse, false, t);
    if (op == OP_Neg) return number(t, -1, false, true), take_node(s, d) && flatten(s, a, true, inverse, false, t);
    if (op == OP_Reciprocal && product) return take_node(s, d) && flatten(s, a, true, !inverse, false, t);
    uint32_t times = product && scaled && (e == 2 || e == 3) ? (uint32_t)e : 1;
    bool root = product && scaled && (e == -0.5 || e == -1);
    if (times > 1 || root) {
        if (!take_node(s, d)) return false;
        v = a;
    }
    for (uint32_t k = 0; k < times; k++) {
        if (t->n == TERMS) return false;
        t->t[t->n++] = (Term){v, root ? !inverse : inverse, root && e == -0.5};
    }
    return true;
}

/* ---- the search ---- */

static bool solve(S *s, const Goal *goal);

/* Assigns a term to the pattern's next operand; then to the others, as a goal behind those of the first. */
static bool assign(S *s, const Rest *r)
{
    uint32_t at = r->at;
    while (at < r->p->n_kid && s->pat[r->p->kid[at]].kind != PAT_VAR && s->pat[r->p->kid[at]].kind != PAT_OP) at++;
    if (at == r->p->n_kid) return r->used == (1u << r->t->n) - 1 && solve(s, r->next);
    for (uint32_t k = 0; k < r->t->n; k++) {
        if (r->used >> k & 1 || r->t->t[k].inverse != s->pat[r->p->kid[at]].inverse) continue;
        Rest others = {r->p, r->t, at + 1, r->used | 1u << k, r->next};
        if (solve(s, &(Goal){r->p->kid[at], r->t->t[k], &(Goal){.rest = &others}, NULL})) return true;
    }
    return false;
}

static bool terms(S *s, const Pat *p, Value v, const Goal *rest)
{
    bool product = p->op == OP_Mul;
    Terms t = {.num = product ? 1 : 0};
    double want = t.num;
    uint32_t kids = 0;
    int any = -1;
    if (!flatten(s, v, product, false, true, &t)) return false;
    for (uint32_t k = 0; k < p->n_kid; k++) {
        const Pat *q = &s->pat[p->kid[k]];
        if (q->kind == PAT_NUM) want = product ? want * q->num : want + q->num;
        else if (q->kind == PAT_ANY_NUM) any = q->letter - 'a';
        else kids++;
    }
    if (kids != t.n) return false;
    if (any >= 0) {
        if (!t.has_num) return false;
        s->m->num[any] = t.num;
        s->m->has_num[any] = true;
    } else if (!near(s, want, t.num)) return false;
    return assign(s, &(Rest){p, &t, 0, 0, rest});
}

static bool goal_holds(S *s, const Goal *goal)
{
    Graph *g = s->m->g;
    if (goal->rest) return assign(s, goal->rest);
    const Pat *p = &s->pat[goal->pat];
    Value v = goal->term.v;
    Node d = v.i ? value_rec(g, v)->def : NODE_NONE;
    double x;
    if (!v.i) return false;
    if (goal->term.root) { /* v stands for its square root */
        return p->kind == PAT_OP && p->op == OP_Sqrt && !p->letter &&
               solve(s, &(Goal){p->kid[0], {v, false, false}, goal->next, NULL});
    }
    switch (p->kind) {
    case PAT_VAR: {
        Value *b = &s->m->bind[p->letter - 'a'];
        if (b->i && b->i != v.i) return false;
        *b = v;
        return solve(s, goal->next);
    }
    case PAT_NUM: return match_scalar(g, v, &x) && near(s, p->num, x) && solve(s, goal->next);
    case PAT_ANY_NUM:
        if (!match_scalar(g, v, &x)) return false;
        s->m->num[p->letter - 'a'] = x;
        s->m->has_num[p->letter - 'a'] = true;
        return solve(s, goal->next);
    case PAT_OP: break;
    }
    if (!d.i || node_rec(g, d)->n_out != 1) return false;
    if (p->letter) {
        Value *b = &s->m->bind[p->letter - 'a'];
        if (b->i && b->i != v.i) return false;
        *b = v;
    }
    if (p->op == OP_Mul || p->op == OP_Add) {
        OpCode op = node_rec(g, d)->op;
        bool product = op == OP_Mul || op == OP_Div || op == OP_Reciprocal || op == OP_Pow;
        bool sum = op == OP_Add || op == OP_Sub;
        return (p->op == OP_Mul ? product || op == OP_Neg : sum || op == OP_Neg) && terms(s, p, v, goal->next);
    }
    if (p->op == OP_Sqrt && node_rec(g, d)->op == OP_Pow && match_scalar(g, node_in(g, d, 1), &x) && x == 0.5)
        return take_node(s, d) && solve(s, &(Goal){p->kid[0], {node_in(g, d, 0), false, false}, goal->next, NULL});
    if (node_rec(g, d)->op != p->op || node_n_in(g, d) < p->n_kid || !take_node(s, d)) return false;
    Goal kid[KIDS];
    for (uint32_t k = 0; k < p->n_kid; k++)
        kid[k] = (Goal){p->kid[k], {node_in(g, d, k), false, false}, k + 1 < p->n_kid ? &kid[k + 1] : goal->next, NULL};
    return solve(s, kid);
}

static bool solve(S *s, const Goal *goal)
{
    if (!goal) return true;
    Match keep = *s->m;
    if (goal_holds(s, goal)) return true;
    *s->m = keep;
    return false;
}

static bool inside(const Match *m, Node n)
{
    for (uint32_t k = 0; k < m->n_node; k++)
        if (m->node[k].i == n.i) return true;
    return false;
}

/* What is matched below the root is used by matched nodes only. */
static bool closed(const Match *m)
{
    for (uint32_t k = 0; k < m->n_node; k++) {
        if (m->node[k].i == m->root.i) continue;
        const ValueRec *v = value_rec(m->g, node_out(m->g, m->node[k], 0));
        if (v->n_out_use) return false;
        for (uint32_t u = v->first_use; u; u = m->g->operand.p[u - 1].next_use) {
            Node user = m->g->operand.p[u - 1].user;
            if (!inside(m, user) && node_used(m->g, user)) return false; /* what is unused waits for dce */
        }
    }
    return true;
}

/* Most nodes fail here, before the pattern is read. */
static bool root_fits(const char *pattern, OpCode op)
{
    size_t n = strcspn(pattern, "(");
    if (n == 3 && !memcmp(pattern, "Mul", 3))
        return op == OP_Mul || op == OP_Div || op == OP_Reciprocal || op == OP_Pow || op == OP_Neg;
    if (n == 3 && !memcmp(pattern, "Add", 3)) return op == OP_Add || op == OP_Sub || op == OP_Neg;
    if (n == 4 && !memcmp(pattern, "Sqrt", 4) && op == OP_Pow) return true;
    const char *name = op_desc(op)->name;
    return !strncmp(name, pattern, n) && !name[n];
}

bool match_node(Match *m, Graph *g, const char *pattern, Node root)
{
    if (!root_fits(pattern, node_rec(g, root)->op)) return false;
    S s = {.m = m, .at = pattern};
    *m = (Match){.g = g, .root = root};
    uint8_t p = parse(&s);
    if (*s.at || s.pat[p].inverse) BUG("pattern '%s': one operator", pattern);
    if (node_n_out(g, root) != 1) return false;
    const TypeRec *t = value_trec(g, node_out(g, root, 0));
    if (t->kind != TY_TENSOR || t->rank == RANK_UNKNOWN) return false;
    return solve(&s, &(Goal){p, {node_out(g, root, 0), false, false}, NULL, NULL}) && inside(m, root) && closed(m);
}

bool match_constant(const Graph *g, Value v)
{
    if (value_is_const(g, v)) return true;
    Node n = value_rec(g, v)->def;
    if (!n.i || node_n_in(g, n) != 2 || node_desc(g, n)->cls != CLS_ELTWISE) return false;
    return match_constant(g, node_in(g, n, 0)) && match_constant(g, node_in(g, n, 1));
}
