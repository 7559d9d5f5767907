/* recipe.c: see recipe.h. A compiled recipe is a model of its own: its graph is lowered, scheduled and compiled into this process, the source constants are its inputs
 * (bytes of the mapped file as they are), its one output the constant. */
#include "driver/recipe.h"
#include "base/bug.h"
#include "codegen/codegen.h"
#include "ir/graph/lower.h"
#include "ir/graph/recipe.h"
#include <string.h>

static bool fail(Session *s, const char *why)
{
    return diag(&s->diag, diag_file(s->opt.file), E_LOWER, arena_printf(&s->arena, "a constant cannot be computed: %s", why));
}

static bool whole(Session *s, Blob b, TypeId type, void **data);

/* The graph as a Kernel IR module, ready for code. What the module records of the model itself (entry, checks, state) is not the recipe's. */
static bool lower_recipe(Session *s, Graph *q, KModule *k)
{
    Module *m = &s->m;
    Graph *entry = m->entry;
    uint32_t aliases = m->alias.n, ranks = m->rank.n;
    __typeof__(m->check) checks = m->check;
    const char *prefix = m->prefix;
    MathMode math = m->math;
    uint32_t node_math = m->node_math.n;
    bool stopped;
    kmodule_init(k, &s->recipe_arena, &s->diag, &m->names, &m->dims, &m->types, &m->blobs);
    if (!codegen_target(&s->recipe_arena, &s->diag, NULL, NULL, &k->target)) return false;
    m->entry = q;
    memset(&m->check, 0, sizeof m->check);
    m->check_moves++;
    m->alias.n = m->rank.n = m->node_math.n = 0;
    m->math = MATH_STRICT;
    m->prefix = "recipe";
    for (uint32_t i = 0; i < q->in.n; i++)
        if (!value_rec(q, q->in.p[i])->name.i) value_rec(q, q->in.p[i])->name = module_fresh_name(m, "part");
    if (!q->out_name.p[0].i) q->out_name.p[0] = module_fresh_name(m, "constant");
    const PassOptions legal = {.passes = "infer,expand,infer", .rewrite_limit = -1}; /* some operators have no lowering of their own */
    bool ok = passes_run(m, NULL, &legal, &stopped) && lower_module(m, k);
    m->entry = entry;
    m->check = checks;
    m->check_moves++;
    m->alias.n = aliases;
    m->rank.n = ranks;
    m->math = math;
    m->node_math.n = node_math;
    m->prefix = prefix;
    PassOptions po = {.opt_level = 2, .rewrite_limit = -1};
    return ok && passes_run(NULL, k, &po, &stopped);
}

static bool run_compiled(Session *s, Blob b, TypeId type, void **data)
{
    const Recipe *r = blob_rec(&s->m.blobs, b)->recipe;
    Graph *q = s->m.graph.p[r->graph];
    KModule *k = arena_new(&s->recipe_arena, KModule);
    CodegenJit *jit = NULL;
    bmc_value in[RECIPE_SRC_MAX], out = {.size = sizeof out};
    for (uint32_t i = 0; i < r->n_src; i++) {
        const TypeRec *t = value_trec(q, q->in.p[i]);
        void *bytes;
        if (!whole(s, r->src[i], value_type(q, q->in.p[i]), &bytes)) return false;
        in[i] = (bmc_value){.size = sizeof in[i], .kind = BMC_TENSOR, .dtype = (uint8_t)t->elem, .rank = t->rank, .data = bytes};
        for (int a = 0; a < t->rank; a++) dim_is_const(&s->m.dims, t->dim[a], &in[i].dim[a]);
    }
    CodegenOptions o = {.opt_level = 2, .kind = CG_SO, .producer = "bmc", .recipes = {session_recipe, s}, .temps = &s->temps};
    if (!lower_recipe(s, q, k) || !codegen_jit(k, &o, &jit)) return false;
    const bmc_model *model = codegen_jit_model(jit);
    bmc_ctx *ctx = NULL;
    const bmc_config config = {.size = sizeof config, .threads = 1, .keep_denormals = 1};
    bool ok = model->create(&config, NULL, 0, &ctx) == BMC_OK;
    if (!ok) fail(s, model->message(NULL));
    else if (model->run(ctx, in, &out) != BMC_OK) ok = fail(s, model->message(ctx));
    if (ok) {
        const TypeRec *t = type_rec(&s->m.types, type);
        assert(out.bytes == (size_t)dtype_bytes(t->elem, blob_rec(&s->m.blobs, b)->count));
        *data = arena_memdup(&s->recipe_arena, out.data, out.bytes);
    }
    if (ctx) model->destroy(ctx);
    codegen_jit_free(jit);
    return ok;
}

/* It, or something that it is made of, takes long to evaluate. */
static bool is_large(const Session *s, Blob b)
{
    const BlobRec *r = blob_rec(&s->m.blobs, b);
    if (r->kind != BLOB_DERIVED || r->recipe->kind != RECIPE_GRAPH || r->recipe->graph >= s->m.graph.n) return false;
    bool large = r->count >= RECIPE_COMPILED_MIN;
    for (uint32_t i = 0; i < r->recipe->n_src && !large; i++) large = is_large(s, r->recipe->src[i]);
    return large;
}

/* All elements of a constant of any kind but PACK, dense. */
static bool whole(Session *s, Blob b, TypeId type, void **data)
{
    const BlobRec *r = blob_rec(&s->m.blobs, b);
    const char *why = "it has no graph";
    if (r->kind == BLOB_RAW) {   /* a file may hold it anywhere, a model wants whole elements */
        bool aligned = (uintptr_t)r->data % (uintptr_t)dtype_bytes(r->elem, 1) == 0;
        *data = aligned ? (void *)(uintptr_t)r->data : arena_memdup(&s->recipe_arena, r->data, (size_t)dtype_bytes(r->elem, r->count));
        return true;
    }
    if (is_large(s, b)) return run_compiled(s, b, type, data);
    Tensor *t = recipe_eval(&s->recipe_arena, &s->m, b, type, &why);
    if (!t) return fail(s, why);
    *data = t->data;
    return true;
}

bool session_recipe(void *session, Blob b, int64_t first, int64_t n, void *to)
{
    Session *s = session;
    const BlobRec *r = blob_rec(&s->m.blobs, b);
    int64_t size = dtype_bytes(r->elem, 1);
    if (s->recipe_blob.i != b.i) {
        Dim count = dim_const(&s->m.dims, r->count);
        arena_reset(&s->recipe_arena);
        s->recipe_blob = (Blob){0};
        if (!whole(s, b, type_tensor(&s->m.types, r->elem, 1, &count), &s->recipe_data)) return false;
        s->recipe_blob = b;
    }
    memcpy(to, (char *)s->recipe_data + first * size, (size_t)(n * size));
    return true;
}
