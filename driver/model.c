/* model.c: see model.h. */
#include "driver/model.h"
#include "driver/npy.h"
#include "runtime/rt.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t value_count(const bmc_value *v)
{
    int64_t n = 1;
    for (int i = 0; i < v->rank; i++) n *= v->dim[i];
    return n;
}

int64_t symbol_extent(const bmc_info *info, uint32_t k, const bmc_value *in)
{
    const bmc_symbol *s = &info->symbol[k];
    if (s->input < 0) return s->lo;
    return rt_extent(info->input[s->input].rank, &in[s->input], s->axis);
}

/* ---- loading ---- */

static bool is_shared_object(const char *path)
{
    unsigned char magic[4] = {0};
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(magic, 1, 4, f) : 0;
    if (f) fclose(f);
    return n == 4 && !memcmp(magic, "\177ELF", 4);
}

static bool load_file(Session *s, const char *path, Loaded *l)
{
    struct stat st;
    const char *real = strchr(path, '/') ? path : arena_printf(&s->arena, "./%s", path);
    uint64_t t = clock_ns();
    l->handle = dlopen(real, RTLD_NOW | RTLD_LOCAL);
    if (!l->handle) return diag(&s->diag, diag_file(path), E_LOAD, dlerror());
    l->model = dlsym(l->handle, "bmc_model");
    if (!l->model) return diag(&s->diag, diag_file(path), E_LOAD, "it exports no bmc_model: not made by bmc");
    if (l->model->abi != BMC_ABI) return diag(&s->diag, diag_file(path), E_LOAD, arena_printf(&s->arena, "it has interface version %u, this bmc runs %u", l->model->abi, BMC_ABI));
    bmc_config c = {.size = sizeof c, .threads = s->opt.threads, .seed = s->opt.seed, .all_threads = s->opt.cmd == CMD_PROFILE};
    if (l->model->create(&c, NULL, 0, &l->ctx) != BMC_OK) return diag(&s->diag, diag_file(path), E_LOAD, l->model->message(NULL));
    l->load_ns = clock_ns() - t;
    l->file_bytes = stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
    return true;
}

bool model_alone(Session *s, const Loaded *l, Loaded *alone)
{
    bmc_config c = {.size = sizeof c, .threads = 1, .seed = s->opt.seed};
    uint32_t n = l->model->info->n_output;
    *alone = *l;
    alone->handle = NULL;
    if (l->model->create(&c, NULL, 0, &alone->ctx) != BMC_OK)
        return diag(&s->diag, diag_file(s->opt.file), E_LOAD, l->model->message(NULL));
    alone->out = arena_array(&s->arena, bmc_value, n + 1);
    for (uint32_t k = 0; k < n; k++) alone->out[k] = (bmc_value){.size = sizeof(bmc_value)};
    return true;
}

bool model_load(Session *s, Loaded *l)
{
    *l = (Loaded){0};
    struct stat st;
    if (stat(s->opt.file, &st) != 0) return diag(&s->diag, diag_file(s->opt.file), E_OPEN, strerror(errno));
    if (is_shared_object(s->opt.file)) return load_file(s, s->opt.file, l);
    const char *tmp = getenv("TMPDIR");
    char *dir = arena_printf(&s->arena, "%s/bmc-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) return diag(&s->diag, diag_file(dir), E_WRITE, strerror(errno));
    const char *so = arena_printf(&s->arena, "%s/model.so", dir);
    temps_add(&s->temps, dir);
    bool ok = session_compile(s, so) && load_file(s, so, l);
    l->compiled = true;
    temps_clear(dir);
    temps_done(&s->temps, dir);
    return ok;
}

void model_unload(Loaded *l)
{
    if (l->ctx) l->model->destroy(l->ctx);
    /* the library stays mapped: OpenMP's threads may still run in it */
}

/* ---- inputs ---- */

const char *data_file(Session *s, const char *what, uint32_t k)
{
    const char *path = arena_printf(&s->arena, "%s/%s_%u.pb", s->opt.data, what, k);
    return access(path, R_OK) == 0 ? path : NULL;
}

ValueProto port_proto(const bmc_port *p)
{
    return p->kind == BMC_SEQUENCE ? PROTO_SEQUENCE : p->kind == BMC_OPTIONAL ? PROTO_OPTIONAL : p->kind == BMC_MAP ? PROTO_MAP : PROTO_TENSOR;
}

static int port_named(const bmc_info *info, const char *name)
{
    for (uint32_t k = 0; k < info->n_input; k++)
        if (!strcmp(info->input[k].name, name)) return (int)k;
    return -1;
}

/* splitmix64: small, and the same on every machine */
static uint64_t next_random(uint64_t *x)
{
    uint64_t z = *x += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Integers of made-up inputs are below MADE_UP. Where the model refuses them, for example as an index into two types of
 * token, below 2, then 0. */
enum { MADE_UP = 10 };

/* Floats uniform in [-1, 1), integers in 0..below-1, bools either. */
static void fill_random(bmc_value *v, uint64_t seed, unsigned below)
{
    uint64_t x = seed;
    int64_t n = value_count(v);
    for (int64_t k = 0; k < n; k++) {
        uint64_t r = next_random(&x);
        double u = (double)(r >> 11) * 0x1p-52 - 1;
        switch ((DType)v->dtype) {
        case DT_F32: ((float *)v->data)[k] = (float)u; break;
        case DT_F64: ((double *)v->data)[k] = u; break;
        case DT_BF16: {
            float f = (float)u;
            uint32_t b;
            memcpy(&b, &f, 4);
            ((uint16_t *)v->data)[k] = (uint16_t)(b >> 16);
            break;
        }
        case DT_F16: ((uint16_t *)v->data)[k] = (uint16_t)((r & 0x8000) | (11 + (r >> 20) % 4) << 10 | (r >> 32 & 0x3ff)); break;
        case DT_BOOL: ((uint8_t *)v->data)[k] = r & 1; break;
        case DT_I64: case DT_U64: ((int64_t *)v->data)[k] = (int64_t)(r % below); break;
        case DT_I32: case DT_U32: ((int32_t *)v->data)[k] = (int32_t)(r % below); break;
        case DT_I16: case DT_U16: ((int16_t *)v->data)[k] = (int16_t)(r % below); break;
        default: ((int8_t *)v->data)[k] = (int8_t)(r % below); break;
        }
    }
}

/* The value of a symbol for made-up inputs: --dim, else the smallest that its bounds allow (at least 1). */
static int64_t symbol_value(Session *s, const bmc_symbol *y)
{
    for (uint32_t k = 0; k < s->opt.dim.n; k++)
        if (!strcmp(s->opt.dim.p[k].name, y->name)) return s->opt.dim.p[k].lo;
    return y->lo > 1 ? y->lo : 1;
}

static uint64_t made_up_seed(const Session *s, uint32_t input) { return s->opt.seed * 1000003 + input; }

static bool make_input(Session *s, const bmc_info *info, uint32_t k, bool random, bmc_value *v)
{
    const bmc_port *p = &info->input[k];
    *v = (bmc_value){.size = sizeof *v, .kind = p->kind, .dtype = p->dtype, .rank = p->rank};
    if (p->kind != BMC_TENSOR) {
        if (random) return diag(&s->diag, diag_file(s->opt.file), E_INPUT, p->name, "it is no tensor: give it with --input or --data");
        v->rank = 0;
        return true;
    }
    int64_t count = 1;
    if (p->rank > BMC_MAX_RANK) return diag(&s->diag, diag_file(s->opt.file), E_INPUT, p->name, "it may have any rank: give it with --input or --data");
    for (int i = 0; i < p->rank; i++) {
        v->dim[i] = p->dim[i] >= 0 ? p->dim[i] : symbol_value(s, &info->symbol[p->sym[i]]);
        if (__builtin_mul_overflow(count, v->dim[i], &count)) return diag(&s->diag, diag_file(s->opt.file), E_INPUT, p->name, "too many elements");
    }
    v->bytes = v->dtype == DT_STR ? (size_t)count * sizeof(bmc_string) : (size_t)dtype_bytes((DType)v->dtype, count);
    v->data = arena_alloc(&s->arena, v->bytes + 64);
    v->data = (void *)(((uintptr_t)v->data + 63) & ~(uintptr_t)63);
    if (v->dtype == DT_STR)
        for (int64_t i = 0; i < count; i++) ((bmc_string *)v->data)[i] = (bmc_string){"", 0};
    else if (random) fill_random(v, made_up_seed(s, k), s->made_up);
    return true;
}

static bool read_input(Session *s, const bmc_info *info, int k, const char *path, bmc_value *v)
{
    size_t n = strlen(path);
    if (n > 4 && !strcmp(path + n - 4, ".npy")) {
        if (!npy_read(&s->arena, &s->diag, path, v)) return false;
        if (info->input[k].dtype == DT_BF16 && v->dtype == DT_U16) v->dtype = DT_BF16;   /* numpy has no bfloat16 */
        return true;
    }
    return onnx_read_value(&s->arena, &s->diag, path, port_proto(&info->input[k]), v, NULL);
}

/* A tensor of a port with a capacity, from dense memory into memory of the capacity or back. */
static void lie_as(Arena *a, const bmc_port *port, bmc_value *v, bool dense)
{
    size_t part = dtype_info((DType)port->dtype)->bits / 8, rows = 1;
    for (int i = 0; i < port->rank; i++) *(i < port->alias_axis ? &rows : &part) *= i == port->alias_axis ? 1 : (size_t)v->dim[i];
    size_t filled = part * (size_t)v->dim[port->alias_axis], all = part * (size_t)port->capacity;
    size_t to = dense ? filled : all, from = dense ? all : filled;
    if (!filled || filled > all) return; /* too much: the run says so */
    char *p = arena_alloc_n(a, to, rows);
    for (size_t r = 0; r < rows; r++) memcpy(p + r * to, (const char *)v->data + r * from, to < from ? to : from);
    v->data = p;
    v->bytes = rows * to;
    v->stride = NULL;
}

bool model_inputs(Session *s, Loaded *l)
{
    const bmc_info *info = l->model->info;
    bool *have = arena_array(&s->arena, bool, info->n_input + 1);
    if (!s->made_up) s->made_up = MADE_UP;
    l->in = arena_array(&s->arena, bmc_value, info->n_input + 1);
    l->random = arena_array(&s->arena, bool, info->n_input + 1);
    l->out = arena_array(&s->arena, bmc_value, info->n_output + 1);
    for (uint32_t k = 0; k < info->n_output; k++) l->out[k] = (bmc_value){.size = sizeof(bmc_value)};
    if (s->opt.data && access(s->opt.data, R_OK | X_OK) != 0) return diag(&s->diag, diag_file(s->opt.data), E_OPEN, strerror(errno));
    for (uint32_t k = 0; s->opt.data && k < info->n_input; k++) {
        const char *path = data_file(s, "input", k), *name = NULL;
        if (!path) break;
        bmc_value v;
        if (!onnx_read_value(&s->arena, &s->diag, path, port_proto(&info->input[k]), &v, &name)) return false;
        int at = name && *name ? port_named(info, name) : -1;
        if (at < 0 || have[at]) at = (int)k;   /* files without names, or with others': by number */
        l->in[at] = v;
        have[at] = true;
    }
    for (uint32_t i = 0; i < s->opt.input.n; i++) {
        const InputOption *o = &s->opt.input.p[i];
        int k = port_named(info, o->name);
        if (k < 0) {
            Str names;
            str_init(&names, &s->arena);
            for (uint32_t j = 0; j < info->n_input; j++) str_printf(&names, "%s%s", j ? ", " : "", info->input[j].name);
            return diag(&s->diag, diag_file(s->opt.file), E_INPUT, o->name, arena_printf(&s->arena, "the model has no such input (it has %s)", str_get(&names)));
        }
        bool ok = o->value[0] == '@' ? read_input(s, info, k, o->value + 1, &l->in[k]) : make_input(s, info, (uint32_t)k, !strcmp(o->value, "rand"), &l->in[k]);
        if (!ok) return false;
        have[k] = true;
        l->random[k] = !strcmp(o->value, "rand");
    }
    for (uint32_t k = 0; k < info->n_input; k++) {
        if (have[k]) continue;
        if (s->opt.cmd == CMD_RUN) return diag(&s->diag, diag_file(s->opt.file), E_INPUT, info->input[k].name, "it is not given: --input NAME=@FILE, rand or zeros, or --data DIR");
        if (!make_input(s, info, k, true, &l->in[k])) return false;
        l->random[k] = true;
    }
    for (uint32_t k = 0; k < info->n_input; k++) {
        const bmc_port *port = &info->input[k];
        if (port->capacity && l->in[k].rank == port->rank && l->in[k].dtype == port->dtype) lie_as(&s->arena, port, &l->in[k], false);
    }
    return true;
}

/* Runs again with smaller integers for what was made up. false: there are none, or it fails with zeros as well. */
static bool run_smaller(Session *s, Loaded *l, const char *why)
{
    const bmc_info *info = l->model->info;
    while (s->made_up > 1) {
        bool any = false;
        s->made_up = s->made_up > 2 ? 2 : 1;
        for (uint32_t k = 0; k < info->n_input; k++) {
            bool integer = l->in[k].kind == BMC_TENSOR && dtype_is_int((DType)l->in[k].dtype);
            if (!l->random[k] || !integer) continue;
            fill_random(&l->in[k], made_up_seed(s, k), s->made_up);
            any = true;
        }
        if (!any) return false;
        if (l->model->run(l->ctx, l->in, l->out) != BMC_OK) continue;
        diag(&s->diag, diag_file(s->opt.file), E_MADE_UP, why, s->made_up > 1 ? "0 and 1" : "zeros");
        return true;
    }
    return false;
}

bool model_run(Session *s, Loaded *l)
{
    bmc_status got = l->model->run(l->ctx, l->in, l->out);
    const char *why = got == BMC_OK ? NULL : arena_strdup(&s->arena, l->model->message(l->ctx));
    if (got != BMC_OK && (got == BMC_E_MEMORY || !run_smaller(s, l, why))) return diag(&s->diag, diag_file(s->opt.file), E_RUN, why);
    for (uint32_t k = 0; k < l->model->info->n_output; k++)
        if (l->out[k].stride) lie_as(&s->arena, &l->model->info->output[k], &l->out[k], true);
    return true;
}
