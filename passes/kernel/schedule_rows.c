/* schedule_rows: sums over rows, where lanes are columns, turned inside out. A vector of columns that walks down rows
 * far apart uses a line of each page and leaves what hardware fetches beside it; so rows are read as they lie, and what
 * a column carries waits in scratch, which stays in the first cache:
 *   for %j = lo..hi vec {                              for %j = 0..hi-lo vec { store %t[%j] = 0.0 }
 *     %s = for %i = 0..N seq carry(%a = 0.0) {    =>   for %q = 0..N/4 seq { for %j = 0..hi-lo vec {
 *       yield add(%a, load %x[%i, %j]) }                 store %t[%j] = four steps from load %t[%j] }}
 *     store %y[%j] = sqrt(%s)                          the rest of the rows one by one
 *   }                                                  for %j = 0..hi-lo vec { store %y[lo+%j] = sqrt(load %t[%j]) }
 * Any number of seq loops, one behind the other or inside each other. The body falls into segments at their ends; each
 * segment is a loop of lanes. What one makes and another needs waits in scratch, too, but cheap functions of indices,
 * which are computed again. A column's operations are the same in the same order: so are the bits. */
#include "passes/kernel/schedule_rows.h"
#include "base/bug.h"

enum {
    COLUMNS = 1024,    /* of a block, */
    COLUMNS_LEAST = 32,
    SCRATCH = 16384,   /* whose scratch is no more than so many bytes */
    FAR = 256,         /* bytes between rows that are far apart */
    REACH = 49152,     /* bytes from the first row to the last that no first cache holds */
    ROWS_LEAST = 64,   /* fewer are streams that hardware sees; counted where the number is not known */
    STEPS = 4,         /* rows at a time, */
    STEPS_SIZE = 12,   /* of so many instructions at most */
    DEPTH = 6          /* operations that an index is made of */
};

typedef struct Rows {
    KModule *m;
    const Kernel *k; /* the one that is read */
    KVal iv;         /* of the loop of lanes */
    uint32_t *seg;   /* by instruction: the segment that it is in */
    bool *vary;      /* by value: differs between lanes */
    uint32_t *local; /* by value: 1 while planning; then its scratch */
    uint32_t n_seg;
    int64_t bytes;   /* of scratch a column */
    bool far;
    /* writing */
    Kb *b;
    KVal *map, lo, len, at; /* at: the lane's place in scratch; lo + at: its column */
    uint32_t *stamp, now;   /* by value: the loop of lanes for which map holds it */
} Rows;

static void plan_block(Rows *s, KBlock b);

/* ---- planning ---- */
static bool is_loop_value(const Rows *s, KVal v)
{
    KInst def = kval(s->k, v)->def;
    return v.i != s->iv.i && (!def.i || kinst(s->k, def)->op == KOP_FOR);
}

/* Made of indices and what does not vary by a few operations. */
static bool cheap(const Rows *s, KVal v, int depth)
{
    if (!s->vary[v.i] || v.i == s->iv.i) return true;
    if (is_loop_value(s, v) || !depth) return false;
    const KInstRec *r = kinst(s->k, kval(s->k, v)->def);
    uint32_t flags = kop_info(r->op)->flags;
    bool good = flags & KF_PURE && !(flags & KF_MATH) && r->op != KOP_DIV && r->op != KOP_SQRT;
    for (uint32_t n = 0; n < r->n_arg && good; n++) good = cheap(s, karg(s->k, r, n), depth - 1);
    return good;
}

static void want_local(Rows *s, KVal v)
{
    int bits = dtype_info(kval(s->k, v)->type)->bits;
    if (s->local[v.i]) return;
    s->local[v.i] = 1;
    s->bytes += bits < 8 ? 1 : bits / 8;
}

static void use(Rows *s, KVal v, uint32_t seg)
{
    if (!s->vary[v.i] || v.i == s->iv.i || is_loop_value(s, v)) return;
    if (s->seg[kval(s->k, v)->def.i] != seg && !cheap(s, v, DEPTH)) want_local(s, v);
}

static KVal carry_of(const Rows *s, const KInstRec *loop, uint32_t c)
{
    return (KVal){kblock(s->k, loop->body)->param + 1 + c};
}

static void plan_loop(Rows *s, const KInstRec *r)
{
    for (uint32_t c = 0; c < r->n_res; c++) {
        use(s, karg(s->k, r, 2 + c), s->n_seg);
        want_local(s, carry_of(s, r, c));
        s->vary[carry_of(s, r, c).i] = s->vary[r->res + c] = true;
    }
    s->n_seg++;
    plan_block(s, r->body);
    const KInstRec *y = kinst(s->k, kblock(s->k, r->body)->last);
    for (uint32_t c = 0; c < r->n_res; c++) use(s, karg(s->k, y, c), s->n_seg);
    s->n_seg++;
}

static void plan_block(Rows *s, KBlock b)
{
    for (KInst i = kblock(s->k, b)->first; i.i; i = kinst(s->k, i)->next) {
        const KInstRec *r = kinst(s->k, i);
        if (r->op == KOP_YIELD) continue;
        if (r->op == KOP_FOR) {
            plan_loop(s, r);
            continue;
        }
        bool vary = !(kop_info(r->op)->flags & KF_PURE);
        for (uint32_t n = 0; n < r->n_arg; n++) vary |= s->vary[karg(s->k, r, n).i];
        s->seg[i.i] = s->n_seg;
        if (r->n_res) s->vary[r->res] = vary;
        for (uint32_t n = 0; vary && n < r->n_arg; n++) use(s, karg(s->k, r, n), s->n_seg);
    }
}

/* ---- is it worth it? ---- */
typedef struct Nest {
    const KInstRec *loop;
    const struct Nest *outer;
} Nest;

static int64_t trip(const Rows *s, const KInstRec *r)
{
    int64_t lo, hi;
    if (!kx_const_i(s->k, s->m->dims, karg(s->k, r, 0), &lo)) return -1;
    return kx_const_i(s->k, s->m->dims, karg(s->k, r, 1), &hi) ? hi - lo : -1;
}

/* The loops around the load, from `rows` outwards: rows of several axes that follow one another count together. */
static bool reaches_far(const Rows *s, KInst load, const Nest *rows)
{
    int64_t across, down, all = 1, reach = 0, bytes = dtype_info(s->k->param.p[kinst(s->k, load)->param].elem)->bits / 8;
    if (!kx_access_stride(s->k, s->m->dims, load, s->iv, &across) || across != 1) return false;
    for (; rows; rows = rows->outer) {
        KVal row = {kblock(s->k, rows->loop->body)->param};
        int64_t n = trip(s, rows->loop);
        if (!kx_access_stride(s->k, s->m->dims, load, row, &down) || down < 1 || down > INT32_MAX) return false;
        if (n < 0) n = ROWS_LEAST;
        if (n > INT32_MAX || down * bytes < FAR) return n > INT32_MAX && down * bytes >= FAR;
        if (all < ROWS_LEAST) all *= n;
        reach = n * down * bytes > reach ? n * down * bytes : reach;
        if (all >= ROWS_LEAST && reach > REACH) return true;
    }
    return false;
}

/* Straight code and seq loops; stores only outside of these. *far: some loop reads rows that are far apart. */
static bool suits(Rows *s, KBlock b, const Nest *rows)
{
    for (KInst i = kblock(s->k, b)->first; i.i; i = kinst(s->k, i)->next) {
        const KInstRec *r = kinst(s->k, i);
        if (r->op == KOP_FOR) {
            Nest inner = {r, rows};
            if (r->loop != KLOOP_SEQ || !suits(s, r->body, &inner)) return false;
        } else if (r->op == KOP_LOAD) {
            s->far |= rows && reaches_far(s, i, rows);
        } else if (r->op == KOP_STORE) {
            if (rows) return false;
        } else if (r->op != KOP_YIELD && !(kop_info(r->op)->flags & KF_PURE)) return false;
        if (r->n_res && r->type == DT_STR) return false;
    }
    return true;
}

static Rows rows_of(KModule *m, const Kernel *k, KInst loop, Arena *a)
{
    return (Rows){.m = m,
                  .k = k,
                  .iv = {kblock(k, kinst(k, loop)->body)->param},
                  .seg = arena_array(a, uint32_t, k->inst.n),
                  .vary = arena_array(a, bool, k->val.n),
                  .local = arena_array(a, uint32_t, k->val.n),
                  .stamp = arena_array(a, uint32_t, k->val.n),
                  .n_seg = 1};
}

int64_t schedule_rows_width(KModule *m, const Kernel *k, KInst loop)
{
    const KInstRec *r = kinst(k, loop);
    int64_t width = 0;
    Arena a;
    arena_init(&a, "rows", m->arena->oom);
    Rows s = rows_of(m, k, loop, &a);
    int64_t n = trip(&s, r);
    if ((n < 0 || n >= COLUMNS_LEAST) && suits(&s, r->body, NULL) && s.far) {
        s.vary[s.iv.i] = true;
        plan_block(&s, r->body);
        width = s.bytes * COLUMNS <= SCRATCH ? COLUMNS : SCRATCH / s.bytes / K_LANES * K_LANES;
        if (width < COLUMNS_LEAST) width = 0;
    }
    arena_free(&a);
    return width;
}

/* ---- writing ---- */
static KVal value(Rows *s, KVal v);

/* A copy of what the instruction says, its operands being those of this loop of lanes. */
static void copy(Rows *s, KInst i)
{
    const KInstRec *r = kinst(s->k, i);
    for (uint32_t n = 0; n < r->n_arg; n++) value(s, karg(s->k, r, n));
    kb_copy(s->b, s->k, i, s->map);
    if (r->n_res) s->stamp[r->res] = s->now;
}

static KVal value(Rows *s, KVal v)
{
    if (!s->vary[v.i] || s->stamp[v.i] == s->now) return s->map[v.i];
    if (v.i == s->iv.i) s->map[v.i] = kb_add(s->b, s->lo, s->at);
    else if (s->local[v.i]) s->map[v.i] = kb_load(s->b, s->local[v.i], &s->at);
    else copy(s, kval(s->k, v)->def);
    s->stamp[v.i] = s->now;
    return s->map[v.i];
}

static void lanes_begin(Rows *s)
{
    s->at = kb_for(s->b, KLOOP_VEC, kb_i(s->b, 0), s->len);
    s->now++;
}

/* Does what becomes of carry c wait where it does already? */
static bool in_place(const Rows *s, const KInstRec *loop, uint32_t c, const KInstRec *values, uint32_t v0)
{
    uint32_t local = s->local[karg(s->k, values, v0 + c).i];
    return local && local == s->local[carry_of(s, loop, c).i];
}

/* All of a segment in one loop of lanes: what varies between `first` and `end` in the block, and what becomes of
 * carries: v[c] goes to where carry c waits. */
static void segment(Rows *s, KInst first, KInst end, const KInstRec *loop, const KInstRec *values, uint32_t v0)
{
    bool any = false;
    for (uint32_t c = 0; loop && c < loop->n_res; c++) any = any || !in_place(s, loop, c, values, v0);
    for (KInst i = first; i.i != end.i; i = kinst(s->k, i)->next) {
        const KInstRec *r = kinst(s->k, i);
        if (r->op == KOP_YIELD) continue;
        if (r->n_res && !s->vary[r->res]) kb_copy(s->b, s->k, i, s->map);
        else any = any || !r->n_res || !cheap(s, (KVal){r->res}, DEPTH);
    }
    if (!any) return;
    lanes_begin(s);
    for (KInst i = first; i.i != end.i; i = kinst(s->k, i)->next) {
        const KInstRec *r = kinst(s->k, i);
        if (r->op == KOP_YIELD || (r->n_res && !s->vary[r->res])) continue;
        copy(s, i);
        if (r->n_res && s->local[r->res]) kb_store(s->b, s->local[r->res], &s->at, s->map[r->res]);
    }
    KVal out[K_CARRIES];
    for (uint32_t c = 0; loop && c < loop->n_res; c++)
        if (!in_place(s, loop, c, values, v0)) out[c] = value(s, karg(s->k, values, v0 + c));
    for (uint32_t c = 0; loop && c < loop->n_res; c++)
        if (!in_place(s, loop, c, values, v0)) kb_store(s->b, s->local[carry_of(s, loop, c).i], &s->at, out[c]);
    kb_end(s->b);
}

/* `steps` rows from index `row` on in one loop of lanes; the loop holds no other. */
static void steps(Rows *s, const KInstRec *r, KVal row, int64_t many)
{
    KVal out[K_CARRIES], iv = {kblock(s->k, r->body)->param};
    const KInstRec *y = kinst(s->k, kblock(s->k, r->body)->last);
    lanes_begin(s);
    for (int64_t n = 0; n < many; n++) {
        if (n) s->now++;
        s->map[iv.i] = n ? kb_add(s->b, row, kb_i(s->b, n)) : row;
        for (uint32_t c = 0; n && c < r->n_res; c++) {
            s->map[carry_of(s, r, c).i] = out[c];
            s->stamp[carry_of(s, r, c).i] = s->now;
        }
        for (KInst i = kblock(s->k, r->body)->first; i.i; i = kinst(s->k, i)->next)
            if (kinst(s->k, i)->op != KOP_YIELD) copy(s, i);
        for (uint32_t c = 0; c < r->n_res; c++) out[c] = value(s, karg(s->k, y, c));
    }
    for (uint32_t c = 0; c < r->n_res; c++) kb_store(s->b, s->local[carry_of(s, r, c).i], &s->at, out[c]);
    kb_end(s->b);
}

static void write_block(Rows *s, KBlock b, const KInstRec *owner);

/* Instructions of the block; functions are many. */
static int64_t size(const Rows *s, KBlock b, bool *loops)
{
    int64_t n = 0;
    for (KInst i = kblock(s->k, b)->first; i.i; i = kinst(s->k, i)->next) {
        *loops |= kinst(s->k, i)->op == KOP_FOR;
        n += kop_info(kinst(s->k, i)->op)->flags & KF_MATH ? STEPS_SIZE : 1;
    }
    return n;
}

static void write_loop(Rows *s, const KInstRec *r)
{
    Kb *b = s->b;
    KVal lo = s->map[karg(s->k, r, 0).i], hi = s->map[karg(s->k, r, 1).i], zero = kb_i(b, 0);
    bool loops = false;
    int64_t n = size(s, r->body, &loops), rows = trip(s, r), many = n <= STEPS_SIZE ? STEPS : 1;
    if (many > 1 && rows > 0 && rows < 2 * STEPS && n * rows <= STEPS * STEPS_SIZE) many = rows; /* as many as there are */
    if (loops) {
        s->map[kblock(s->k, r->body)->param] = kb_for(b, KLOOP_SEQ, lo, hi);
        write_block(s, r->body, r);
        kb_end(b);
        return;
    }
    KVal from = lo;
    if (many > 1) {
        KVal count = kb_bin(b, KOP_FLOORDIV, kb_bin(b, KOP_MAX, kb_sub(b, hi, lo), zero), kb_i(b, many));
        KVal q = kb_for(b, KLOOP_SEQ, zero, count);
        steps(s, r, kb_add(b, lo, kb_mul(b, q, kb_i(b, many))), many);
        kb_end(b);
        if (rows >= 0 && rows % many == 0) return;
        from = kb_add(b, lo, kb_mul(b, count, kb_i(b, many)));
    }
    KVal i = kb_for(b, KLOOP_SEQ, from, hi);
    steps(s, r, i, 1);
    kb_end(b);
}

/* owner: the loop whose body it is, NULL: the loop of lanes itself. */
static void write_block(Rows *s, KBlock b, const KInstRec *owner)
{
    KInst first = kblock(s->k, b)->first, none = {0};
    for (KInst i = first; i.i; i = kinst(s->k, i)->next) {
        const KInstRec *r = kinst(s->k, i);
        if (r->op != KOP_FOR) continue;
        segment(s, first, i, r, r, 2);
        write_loop(s, r);
        first = r->next;
    }
    const KInstRec *y = owner ? kinst(s->k, kblock(s->k, b)->last) : NULL;
    segment(s, first, none, owner, y, 0);
}

/* The carry of the loop around that only goes on as this loop's carry c, and becomes what that gives; 0: there is none. */
static KVal carried_on(const Rows *s, const KInstRec *r, uint32_t c)
{
    KVal init = karg(s->k, r, 2 + c), none = {0};
    KInst outer = kblock(s->k, r->block)->owner;
    if (kval(s->k, init)->def.i || !outer.i || kval(s->k, init)->block.i != r->block.i) return none;
    const KInstRec *o = kinst(s->k, outer), *y = kinst(s->k, kblock(s->k, r->block)->last);
    uint32_t of = init.i - carry_of(s, o, 0).i, uses = 0;
    if (o->op != KOP_FOR || of >= o->n_res || karg(s->k, y, of).i != r->res + c) return none;
    for (uint32_t i = 1; i < s->k->inst.n; i++) {
        const KInstRec *u = &s->k->inst.p[i];
        for (uint32_t n = 0; u->block.i && n < u->n_arg; n++) uses += karg(s->k, u, n).i == init.i;
    }
    return uses == 1 ? init : none;
}

/* Every value that waits gets its scratch; what a loop gives waits where its carry does, and so does a carry of a loop
 * around that this one carries on. */
static void make_locals(Rows *s, int64_t width)
{
    Dim dim = dim_const(s->m->dims, width);
    for (uint32_t v = 1; v < s->k->val.n; v++)
        if (s->local[v]) s->local[v] = kb_local(s->b, "t", kval(s->k, (KVal){v})->type, 1, &dim);
    for (uint32_t i = 1; i < s->k->inst.n; i++) {
        const KInstRec *r = &s->k->inst.p[i];
        if (!r->block.i || r->op != KOP_FOR || !r->n_res || !s->local[carry_of(s, r, 0).i]) continue;
        for (uint32_t c = 0; c < r->n_res; c++) {
            KVal outer = carried_on(s, r, c);
            if (outer.i) s->local[carry_of(s, r, c).i] = s->local[outer.i];
        }
        for (uint32_t c = 0; c < r->n_res; c++) s->local[r->res + c] = s->local[carry_of(s, r, c).i];
    }
}

void schedule_rows_emit(Kb *b, const Kernel *from, KVal *map, KInst loop, KVal lo, KVal hi, int64_t width)
{
    Arena a;
    KModule *m = kb_module(b);
    arena_init(&a, "rows", m->arena->oom);
    Rows s = rows_of(m, from, loop, &a);
    s.b = b, s.map = map, s.lo = lo, s.len = kb_sub(b, hi, lo);
    s.vary[s.iv.i] = true;
    plan_block(&s, kinst(from, loop)->body);
    make_locals(&s, width);
    write_block(&s, kinst(from, loop)->body, NULL);
    arena_free(&a);
}
