/* graph_test: the mutators keep what verify.c checks; the verifier notices each invariant when it is broken; clone,
 * inline and outline; attributes; mutilated texts are refused without a crash. What passes do is tested in
 * tests/passes, the text form in tests/graph. */
#include "ir/graph/op.h"
#include "tests/unit/check.h"

typedef struct Fix {
    Arena arena;
    Diag diag;
    Module m;
    Graph *g;
} Fix;

static void fix_init(Fix *f)
{
    arena_init(&f->arena, "test", NULL);
    diag_init(&f->diag, &f->arena);
    module_init(&f->m, &f->arena, &f->diag);
    f->g = f->m.entry = graph_new(&f->m, "g");
}

static TypeId f32_4(Fix *f) { return type_tensor(&f->m.types, DT_F32, 1, (Dim[]){dim_const(&f->m.dims, 4)}); }
#define RANDOM(n) ((uint32_t)(rng_next(&rng) % (n)))
static const Loc NOWHERE = {.node = -1};

static Value unary(Fix *f, OpCode op, Value x)
{
    Node n = graph_add(f->g, op, &x, 1, 1, NULL, NOWHERE, NODE_NONE);
    value_rec(f->g, node_out(f->g, n, 0))->type = f32_4(f);
    return node_out(f->g, n, 0);
}

/* x -> Exp -> (Neg, Abs) -> Add -> output */
static void fix_diamond(Fix *f, Value v[5])
{
    fix_init(f);
    v[0] = graph_input(f->g, f32_4(f), name_of(&f->m.names, "x"));
    v[1] = unary(f, OP_Exp, v[0]);
    v[2] = unary(f, OP_Neg, v[1]);
    v[3] = unary(f, OP_Abs, v[1]);
    Node add = graph_add(f->g, OP_Add, (Value[]){v[2], v[3]}, 2, 1, NULL, NOWHERE, NODE_NONE);
    v[4] = node_out(f->g, add, 0);
    value_rec(f->g, v[4])->type = f32_4(f);
    value_rec(f->g, v[4])->name = name_of(&f->m.names, "y");
    graph_set_outputs(f->g, &v[4], 1);
}

static const char *text(Fix *f)
{
    Str s;
    str_init(&s, &f->arena);
    bir_print(&s, &f->m);
    return str_get(&s);
}

static bool sound(Fix *f)
{
    f->diag.first_error = NULL;
    return bir_verify(&f->m, "test");
}

/* The verifier complains, with that text among the first message. */
static bool broken(Fix *f, const char *want) { return !sound(f) && strstr(f->diag.first_error, want); }

static void reading(void)
{
    Fix f;
    Value v[5];
    fix_diamond(&f, v);
    Graph *g = f.g;
    Node exp = value_rec(g, v[1])->def, add = value_rec(g, v[4])->def;
    CHECK(sound(&f) && bir_verify_typed(&f.m, "test"));
    CHECK(node_n_in(g, add) == 2 && node_in(g, add, 1).i == v[3].i && node_in(g, add, 2).i == 0);
    CHECK(!value_single_user(g, v[1]).i && value_single_user(g, v[2]).i == add.i && !value_single_user(g, v[4]).i);
    CHECK(node_used(g, exp) && node_used(g, add) && graph_first(g).i == exp.i && graph_last(g).i == add.i);
    CHECK(!strcmp(value_name(g, v[0]), "x") && value_name(g, v[1])[0] == '%');
    CHECK(op_find("", "Relu") == OP_Relu && op_find("ai.onnx", "Relu") == OP_Relu && !op_find("x", "Relu") &&
          !op_find(NULL, "Group") && op_find("bmc", "Group") == OP_Group);
    arena_free(&f.arena);
}

static void mutators(void)
{
    Fix f;
    Value v[5];
    fix_diamond(&f, v);
    Graph *g = f.g;
    Node add = value_rec(g, v[4])->def, neg = value_rec(g, v[2])->def;
    graph_set_input(g, add, 0, v[0]);
    CHECK(sound(&f) && !node_used(g, neg));
    graph_erase(g, neg);
    CHECK(sound(&f) && node_rec(g, neg)->dead && value_rec(g, v[1])->n_use == 1);
    graph_replace_uses(g, v[3], v[1]);
    CHECK(sound(&f) && node_in(g, add, 1).i == v[1].i && !value_used(g, v[3]));
    /* the output keeps its name, and the value that becomes it takes the name over */
    graph_replace_uses(g, v[4], v[1]);
    CHECK(sound(&f) && g->out.p[0].i == v[1].i && !strcmp(name_str(&f.m.names, g->out_name.p[0]), "y") &&
          !strcmp(value_name(g, v[1]), "y"));
    graph_replace_uses(g, v[1], v[0]);
    CHECK(sound(&f) && !strcmp(name_str(&f.m.names, g->out_name.p[0]), "y") && !strcmp(value_name(g, v[0]), "x"));
    Node cat = graph_add(g, OP_Concat, (Value[]){v[0], v[1]}, 2, 1, NULL, NOWHERE, NODE_NONE);
    unary(&f, OP_Neg, v[0]);
    graph_add_input(g, cat, v[1]); /* moves the span: another one stands behind it */
    graph_add_input(g, cat, v[0]);
    CHECK(sound(&f) || strstr(f.diag.first_error, "axis"));
    CHECK(node_n_in(g, cat) == 4 && node_in(g, cat, 0).i == v[0].i && node_in(g, cat, 2).i == v[1].i &&
          node_in(g, cat, 3).i == v[0].i);
    graph_drop_inputs(g, cat, 1);
    CHECK(node_n_in(g, cat) == 1 && node_in(g, cat, 0).i == v[0].i);
    graph_erase(g, cat);
    CHECK(sound(&f));
    arena_free(&f.arena);
}

/* Random edits; the use lists and the order hold after each. */
static void random_edits(void)
{
    Rng rng = {12345};
    for (int round = 0; round < 20; round++) {
        Fix f;
        fix_init(&f);
        VEC(Value) v = {0};
        vec_push(&f.arena, &v, graph_input(f.g, f32_4(&f), name_of(&f.m.names, "x")));
        for (int step = 0; step < 120; step++) {
            uint32_t a = RANDOM(v.n), b = RANDOM(v.n);
            Node n = value_rec(f.g, v.p[a])->def;
            switch (RANDOM(6)) {
            case 0:
            case 1: vec_push(&f.arena, &v, unary(&f, OP_Neg, v.p[a])); break;
            case 2: {
                Node add = graph_add(f.g, OP_Add, (Value[]){v.p[a], v.p[b]}, 2, 1, NULL, NOWHERE, NODE_NONE);
                value_rec(f.g, node_out(f.g, add, 0))->type = f32_4(&f);
                vec_push(&f.arena, &v, node_out(f.g, add, 0));
                break;
            }
            case 3:
                if (n.i && b < a) graph_set_input(f.g, n, 0, v.p[b]);
                break; /* values are in order of creation */
            case 4:
                if (b < a) graph_replace_uses(f.g, v.p[a], v.p[b]);
                break;
            case 5:
                if (!n.i || node_used(f.g, n)) break;
                graph_erase(f.g, n);
                memmove(v.p + a, v.p + a + 1, (v.n - a - 1) * sizeof *v.p);
                v.n--;
                break;
            }
            if (step % 10 == 0) graph_set_outputs(f.g, (Value[]){v.p[v.n - 1]}, 1);
            f.g->out_name.p[0] = name_of(&f.m.names, "y");
            CHECK(sound(&f));
        }
        const char *before = text(&f);
        Graph *c = graph_clone(f.g);
        f.m.entry = c;
        CHECK(sound(&f) && !strcmp(before, text(&f)));
        arena_free(&f.arena);
    }
}

static void verifier(void)
{
    Fix f;
    Value v[5];
#define BREAK(change, message)                                                                                         \
    do {                                                                                                               \
        fix_diamond(&f, v);                                                                                            \
        Graph *g = f.g;                                                                                                \
        (void)g;                                                                                                       \
        CHECK(sound(&f));                                                                                              \
        change;                                                                                                        \
        CHECK(broken(&f, message));                                                                                    \
        arena_free(&f.arena);                                                                                          \
    } while (0)
    BREAK(value_rec(g, v[1])->n_use++, "uses");
    BREAK(value_rec(g, v[1])->first_use = 0, "uses");
    BREAK(g->operand.p[value_rec(g, v[1])->first_use - 1].prev_use = 1, "use list");
    BREAK(g->operand.p[1].v = v[2], "use list");
    BREAK(g->operand.p[1].user = (Node){2}, "another node's");
    BREAK(node_rec(g, g->first)->dead = true, "erased");
    BREAK(node_rec(g, g->last)->next = g->first, "broken");
    BREAK(node_rec(g, g->last)->prev = NODE_NONE, "lead back");
    BREAK(g->last = g->first, "wrong node");
    BREAK(graph_move_before(g, g->last, g->first), "defined later");
    BREAK(value_rec(g, v[2])->result = 1, "is not result");
    BREAK(value_rec(g, v[2])->type.i = 4711, "type number");
    BREAK(g->in.p[0] = v[1], "something else");
    BREAK(g->out_name.n = 0, "output names");
    BREAK(value_rec(g, v[4])->n_out_use = 0, "outputs");
    BREAK(graph_set_outputs(g, (Value[]){v[1]}, 1), "has no name");
    BREAK(node_rec(g, g->first)->n_capture = 3, "captures");
    BREAK(node_rec(g, g->first)->op = OP_MatMul, "missing");
    BREAK(node_rec(g, g->first)->op = OP_Softmax, "no attributes");
    BREAK(node_rec(g, g->first)->op = OP_COUNT, "operator number");
    BREAK(value_rec(g, v[0])->type = type_tensor(&f.m.types, DT_BOOL, 0, NULL), "does not take");
    BREAK(value_rec(g, graph_const(g, blob_splat_f(&f.m.blobs, DT_F32, 3, 1), f32_4(&f), (Name){0}))->n_use = 0,
          "elements");
    BREAK(f.m.entry = NULL, "no graph");
#undef BREAK
    fix_diamond(&f, v);
    value_rec(f.g, v[2])->type = (TypeId){0};
    CHECK(sound(&f) && !bir_verify_typed(&f.m, "test"));
    arena_free(&f.arena);
    /* one region of two nodes */
    fix_diamond(&f, v);
    struct { /* as in internal.c */
        uint64_t set;
        const char *kind;
        AttrDims causal;
    } attrs = {.set = 1, .kind = "map"};
    Node group =
        graph_outline(f.g, (Node[]){value_rec(f.g, v[2])->def, value_rec(f.g, v[3])->def, value_rec(f.g, v[4])->def}, 3,
                      OP_Group, &attrs, "map", NOWHERE);
    CHECK(sound(&f));
    Node twin = graph_add(f.g, OP_Group, &v[1], 1, 1, &attrs, NOWHERE, NODE_NONE);
    graph_set_region(f.g, twin, (const Graph *const[]){node_rec(f.g, group)->region[0]}, 1);
    CHECK(broken(&f, "region of two nodes"));
    arena_free(&f.arena);
}

static void outline_inline(void)
{
    Fix f;
    Value v[5];
    fix_diamond(&f, v);
    const char *before = text(&f);
    struct { /* as in internal.c */
        uint64_t set;
        const char *kind;
        AttrDims causal;
    } attrs = {.set = 1, .kind = "map"};
    Node member[] = {value_rec(f.g, v[1])->def, value_rec(f.g, v[2])->def, value_rec(f.g, v[3])->def,
                     value_rec(f.g, v[4])->def};
    Node group = graph_outline(f.g, member, 4, OP_Group, &attrs, "map", NOWHERE);
    Graph *r = node_rec(f.g, group)->region[0];
    CHECK(sound(&f) && r->in.n == 1 && r->out.n == 1 && graph_first(f.g).i == group.i && graph_last(f.g).i == group.i);
    Value *map = arena_array(&f.arena, Value, r->value.n);
    map[r->in.p[0].i] = v[0];
    graph_inline(f.g, group, r, map);
    graph_replace_uses(f.g, node_out(f.g, group, 0), map[r->out.p[0].i]);
    graph_erase(f.g, group);
    CHECK(sound(&f) && !strcmp(before, text(&f)));
    arena_free(&f.arena);
}

static void attributes(void)
{
    Fix f;
    fix_init(&f);
    const OpDesc *d = op_desc(OP_Softmax);
    int64_t *a = attrs_new(&f.arena, d), *b = attrs_new(&f.arena, d); /* {set, axis} */
    CHECK(a[1] == -1 && attrs_equal(d, a, b) && attrs_hash(d, a) == attrs_hash(d, b));
    b[1] = 0;
    CHECK(!attrs_equal(d, a, b) && attrs_hash(d, a) != attrs_hash(d, b));
    b[1] = -1;
    b[0] = 1; /* given, though with the default value: some ops look at that */
    CHECK(!attrs_equal(d, a, b) && attrs_equal(d, NULL, NULL) && !attrs_equal(d, a, NULL));
    op_verify_table();
    arena_free(&f.arena);
}

/* Bytes of a good text changed, removed or doubled: an error or another module, never a crash. */
static void mutilated(void)
{
    static const char good[] = "bir 1\nsource \"m\"\nalias \"x\" -> \"y\"\nsym n node lo 0 hi 64\nrecipe 1\ngraph "
                               "@r(%a: f32[4]) -> (%b) {\n %b = Neg(%a) : f32[4]\n}\n"
                               "graph @g(%x: f32[N,4], %c: bool[], %q: seq<f32[?]>) -> (%y, \"z\" = %x) {\n require N "
                               "== 4, \"m\" bcast !4 \"f\"\n %d = const f32[4] graph(1, f32 4 [1,2,3,5])\n"
                               " %k = const i64[2] [1,2]\n %1 = Add(%x, %d) : f32[N,4] !3 \"a\" (Add)\n check n == 5, "
                               "\"h\"\n %2 = Softmax(%1) {axis=1}\n %y, %3 = If(%c | %1) : f32[N//2+1,n], ?\n"
                               "  graph @t(%a: f32[N,4]) -> (%a, %a) {\n  }\n  graph @e(%a: f32[N,4]) -> (%b, %a) {\n  "
                               " %b = Clip(%a, _, %a)\n  }\n %s = Dims() {value=[N,2*N], dtype=i32}\n}\nsame N n+1\n";
    Rng rng = {99};
    int parsed = 0;
    for (int k = 0; k < 6000; k++) {
        char copy[2 * sizeof good];
        size_t n = sizeof good - 1;
        Fix f;
        fix_init(&f);
        f.m.entry = NULL;
        memcpy(copy, good, n);
        for (uint32_t edits = k ? 1 + RANDOM(3) : 0; edits; edits--) {
            size_t at = RANDOM((uint32_t)n), len = 1 + RANDOM(6);
            if (len > n - at) len = n - at;
            switch (RANDOM(4)) {
            case 0: copy[at] = (char)(32 + RANDOM(95)); break;
            case 1:
                memmove(copy + at, copy + at + len, n - at - len);
                n -= len;
                break;
            case 2:
                memmove(copy + at + len, copy + at, n - at);
                n += len;
                break;
            case 3: copy[at] = good[RANDOM((uint32_t)(sizeof good - 1))]; break;
            }
        }
        if (bir_parse(&f.m, "t", copy, n)) {
            parsed++;
            Str s, t;
            str_init(&s, &f.arena);
            str_init(&t, &f.arena);
            bir_print(&s, &f.m);
            bir_verify(&f.m, "t");
            Module again;
            module_init(&again, &f.arena, &f.diag);
            CHECK(bir_parse(&again, "again", s.p, s.n));
            bir_print(&t, &again);
            CHECK(!strcmp(s.p, t.p));
        } else CHECK(f.diag.errors);
        arena_free(&f.arena);
    }
    CHECK(parsed > 100 && parsed < 6000);
}

int main(void)
{
    reading();
    mutators();
    random_edits();
    verifier();
    outline_inline();
    attributes();
    mutilated();
    return check_done();
}
