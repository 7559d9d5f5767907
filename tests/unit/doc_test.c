/* doc_test: the generated pages of docs/ are what `bmc doc` prints today (BMC_BLESS=1 rewrites them), and the list of operators that may call
 * the runtime is the one that was decided: irregular work only, everything else is generated. Runs in the top folder of the tree. */
#include "driver/doc.h"
#include "ir/graph/op.h"
#include "tests/unit/check.h"
#include <stdlib.h>

static char *read_file(Arena *a, const char *path)
{
    Str s;
    char part[4096];
    size_t n;
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    str_init(&s, a);
    while ((n = fread(part, 1, sizeof part, f)) > 0) str_add_n(&s, part, n);
    fclose(f);
    return s.p ? s.p : arena_strdup(a, "");
}

static void page(Arena *a, const char *path, const char *command, void (*write)(Str *))
{
    Str s;
    str_init(&s, a);
    write(&s);
    const char *bless = getenv("BMC_BLESS"), *have;
    if (bless && *bless == '1') {
        FILE *f = fopen(path, "wb");
        CHECK(f != NULL);
        if (f) fputs(str_get(&s), f), fclose(f);
    }
    have = read_file(a, path);
    if (!CHECK(have != NULL)) return;
    if (CHECK(!strcmp(have, str_get(&s)))) return;
    const char *want = str_get(&s);
    int line = 1;
    for (; *have && *have == *want; have++, want++) line += *have == '\n';
    printf("    %s differs from the tables in line %d: `%s > %s` writes it anew\n", path, line, command, path);
}

static const char *const IRREGULAR[] = {"ConcatFromSequence", "Fourier", "ImageDecoder", "Loop", "MapItems", "NonMaxSuppression", "NumberOf", "Optional", "OptionalGetElement", "OptionalHasElement", "Philox", "RankOf", "RegexFullMatch", "SequenceAt",
                                        "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "SplitToSequence",
                                        "StringConcat", "StringNormalizer", "StringSplit", "TextOf", "TopK", "Unique", "CategoryMapper", "DictVectorizer", "LabelEncoder", "ZipMap"};
enum { N_IRREGULAR = sizeof IRREGULAR / sizeof *IRREGULAR };

static const char *const FILE_OF[OP_COUNT] = {
#define OP(name, file, versions) [OP_##name] = #file,
#include "ir/ops/ops.def"
#undef OP
};

/* The flag stands where the list says, and a file of ir/ops/ calls the runtime exactly when it holds one of these operators. */
static void irregular(Arena *a)
{
    int n = 0;
    for (OpCode op = OP_NONE + 1; op < OP_COUNT; op++) {
        const OpDesc *d = op_desc(op);
        bool listed = false, holds = false;
        for (int k = 0; k < N_IRREGULAR; k++) listed |= !strcmp(IRREGULAR[k], d->name);
        if (!CHECK(listed == !!(d->flags & OPF_IRREGULAR))) printf("    %s\n", d->name);
        n += listed;
        for (OpCode o = OP_NONE + 1; o < OP_COUNT; o++) holds |= !strcmp(FILE_OF[o], FILE_OF[op]) && (op_desc(o)->flags & OPF_IRREGULAR);
        const char *text = read_file(a, arena_printf(a, "ir/ops/%s.c", FILE_OF[op]));
        if (!CHECK(text != NULL)) continue;
        if (!CHECK(holds == (strstr(text, "lw_call(") != NULL))) printf("    %s in ir/ops/%s.c\n", d->name, FILE_OF[op]);
    }
    CHECK(n == N_IRREGULAR);
}

int main(void)
{
    Arena a;
    arena_init(&a, "test", NULL);
    op_verify_table();
    page(&a, "docs/OPS.md", "bmc doc ops", doc_ops);
    page(&a, "docs/PASSES.md", "bmc doc passes", doc_passes);
    irregular(&a);
    arena_free(&a);
    return check_done();
}
