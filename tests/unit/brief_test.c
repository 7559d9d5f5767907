/* brief_test: graphs for reading: a line a node with its shape and name, members of groups below it, shapes and
 * numbers where they are read, and no line wider than 140 columns however long the names are. */
#include "ir/graph/infer.h"
#include "tests/unit/check.h"

#define LONG "a/very/long/name/a/very/long/name/a/very/long/name/a/very/long/name/a/very/long/name/a/very/long/name"

static const char TEXT[] = "bir 1\n"
                           "graph @g(%x: f32[N,64], %r: f32[N,64]) -> (\"out\" = %z) {\n"
                           "  %w = const f32[64,64] splat(0.5)\n"
                           "  %k = const f32[] splat(2)\n"
                           "  %s = Dims() {value=[N,4,16]} : i64[3]\n"
                           "  %y = Group(%x, %r) {kind=\"contract\"} : f32[N,64] !3 \"block/add\" (Add)\n"
                           "    graph @contract(%x: f32[N,64], %r: f32[N,64]) -> (%y) {\n"
                           "      %w = const f32[64,64] splat(0.5)\n"
                           "      %1 = MatMul(%x, %w) : f32[N,64] !2 \"block/matmul\" (MatMul)\n"
                           "      %y = Add(%1, %r) : f32[N,64] !3 \"block/add\" (Add)\n"
                           "    }\n"
                           "  %2 = MatMul(%y, %w) : f32[N,64] !4 \"" LONG "/matmul\" (MatMul)\n"
                           "  %3 = Mul(%2, %k)\n"
                           "  %z = Reshape(%3, %s) : f32[N,4,16]\n"
                           "}\n";

static const char WANT[] =
    "in %x : f32[N,64]\n"
    "in %r : f32[N,64]\n"
    "  %1 = contract(%x, %r) : f32[N,64] !3 block/add\n"
    "  | %2 = MatMul(%x, w f32[64,64]) : f32[N,64] !2 block/matmul\n"
    "  | %1 = Add(%2, %r) : f32[N,64] !3 block/add\n"
    "  %3 = MatMul(%1, w f32[64,64]) : f32[N,64] !4 a/very/long/name/a/very/long/na..me/a/very/long/name/a/"
    "very/long/name/a/very/long/name/matmul\n"
    "  %4 = Mul(%3, 2) : f32[N,64]\n"
    "  %5 = Reshape(%4, [N,4,16]) : f32[N,4,16]\n"
    "out out = %5\n";

int main(void)
{
    Arena a;
    Diag diag;
    Module m;
    Str s;
    arena_init(&a, "test", NULL);
    diag_init(&diag, &a);
    module_init(&m, &a, &diag);
    str_init(&s, &a);
    if (CHECK(bir_parse(&m, "t", TEXT, sizeof TEXT - 1)) && CHECK(infer_graph(m.entry))) {
        bir_print_brief(&s, &m);
        CHECK_STR(str_get(&s), WANT);
        for (const char *line = str_get(&s), *end; *line; line = end + 1) {
            end = strchr(line, '\n');
            CHECK(end - line <= 140);
        }
    }
    arena_free(&a);
    return check_done();
}
