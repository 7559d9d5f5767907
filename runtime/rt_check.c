/* rt_check: what the caller passes, against the ports. Every message names the port and shows what was given and what
 * the model takes: input 'image': dim 2 is 27, expected 28 (got [1,1,27,28], the model takes [batch,1,28,28]) */
#include "runtime/rt_internal.h"
#include <string.h>

static void put_shape(rt_out *o, int rank, const int64_t *dim)
{
    rt_put(o, "[");
    for (int i = 0; i < rank; i++) rt_put(o, "%s%lld", i ? "," : "", (long long)dim[i]);
    rt_put(o, "]");
}

static void put_port(rt_out *o, const bmc_info *f, const bmc_port *p)
{
    if (p->rank > BMC_MAX_RANK) {
        rt_put(o, "any shape");
        return;
    }
    rt_put(o, "[");
    for (int i = 0; i < p->rank; i++) {
        rt_put(o, "%s", i ? "," : "");
        if (p->dim[i] >= 0) rt_put(o, "%lld", (long long)p->dim[i]);
        else if (p->dim[i] == -1) rt_put(o, "%s", f->symbol[p->sym[i]].name);
        else rt_put(o, "?");
    }
    rt_put(o, "]");
}

/* " (got [..], the model takes [..])" */
static bmc_status shape_error(rt_private *p, rt_out *o, const bmc_port *port, const bmc_value *v)
{
    rt_put(o, " (got ");
    put_shape(o, v->rank <= BMC_MAX_RANK ? v->rank : 0, v->dim);
    rt_put(o, ", the model takes ");
    put_port(o, p->desc->info, port);
    rt_put(o, ")");
    return p->status = BMC_E_INPUT;
}

bool rt_input_is_state(const rt_private *p, const bmc_value *in, const bmc_value *out, uint32_t i)
{
    int32_t o = p->desc->info->input[i].alias;
    if (o < 0 || (in[i].data && in[i].data != p->state[i].data)) return false;
    return out[o].data == p->state[i].data || !rt_given(&p->heap, &out[o], out[o].data);
}

/* The bytes that v reaches from data, [lo, hi) relative to it. false: more than the address space. */
static bool reach(const bmc_value *v, size_t elem, int64_t *lo, int64_t *hi)
{
    *lo = 0, *hi = 0;
    for (int i = 0; i < v->rank; i++) {
        int64_t far;
        if (v->dim[i] == 0) {
            *lo = *hi = 0;
            return true;
        }
        if (__builtin_mul_overflow(v->dim[i] - 1, v->stride[i], &far)) return false;
        if (far < 0 ? __builtin_add_overflow(*lo, far, lo) : __builtin_add_overflow(*hi, far, hi)) return false;
    }
    return !__builtin_mul_overflow(*lo, (int64_t)elem, lo) && !__builtin_add_overflow(*hi, 1, hi) &&
           !__builtin_mul_overflow(*hi, (int64_t)elem, hi);
}

/* Begins a message about a tensor: "input 'x': item 3: ". */
static rt_out say_input(rt_private *p, const bmc_port *port, long item)
{
    rt_out o = {p->message, 0, sizeof p->message};
    rt_put(&o, "input '%s': ", port->name);
    if (item >= 0) rt_put(&o, "item %ld: ", item);
    p->status = BMC_E_INPUT;
    return o;
}

static bmc_status rank_error(rt_private *p, const bmc_port *port, const bmc_value *v, long item)
{
    rt_out o = say_input(p, port, item);
    if (port->rank <= BMC_MAX_RANK) rt_put(&o, "rank is %d, expected %d", v->rank, port->rank);
    else rt_put(&o, "rank is %d, at most %d is possible", v->rank, BMC_MAX_RANK);
    return shape_error(p, &o, port, v);
}

/* Data of a tensor with strides that are not the dense ones. */
static bmc_status strides_check(rt_private *p, const bmc_port *port, const bmc_value *v, long item)
{
    int bits = rt_dtype_bits(v->dtype);
    int64_t lo, hi;
    if (bits % 8) {
        rt_out o = say_input(p, port, item);
        rt_put(&o, "elements smaller than a byte cannot have strides");
        return BMC_E_INPUT;
    }
    if (!reach(v, (size_t)bits / 8, &lo, &hi)) {
        rt_out o = say_input(p, port, item);
        rt_put(&o, "the strides reach beyond any memory");
        return BMC_E_INPUT;
    }
    if (v->bytes && lo >= 0 && (uint64_t)hi > v->bytes) { /* data may point into the middle when a stride is negative */
        rt_out o = say_input(p, port, item);
        rt_put(&o, "%zu bytes of data, the strides reach %lld", v->bytes, (long long)hi);
        return shape_error(p, &o, port, v);
    }
    return BMC_OK;
}

/* Type, rank, memory of one tensor (an input, or an item of one: `item` >= 0). Its dims against the port come later,
 * all inputs together. */
static bmc_status tensor_check(rt_private *p, const bmc_port *port, const bmc_value *v, long item, bool no_data)
{
    size_t bytes;
    if (v->dtype != port->dtype) {
        rt_out o = say_input(p, port, item);
        rt_put(&o, "element type is %s, expected %s", rt_dtype_name(v->dtype), rt_dtype_name(port->dtype));
        return BMC_E_INPUT;
    }
    if (v->rank > BMC_MAX_RANK || (port->rank <= BMC_MAX_RANK && v->rank != port->rank))
        return rank_error(p, port, v, item);
    for (int i = 0; i < v->rank; i++)
        if (v->dim[i] < 0) {
            rt_out o = say_input(p, port, item);
            rt_put(&o, "dim %d is %lld, it must not be negative", i, (long long)v->dim[i]);
            return shape_error(p, &o, port, v);
        }
    bool fits = rt_dense_bytes(v->dtype, v->rank, v->dim, &bytes);
    if (fits && bytes && port->capacity) fits = rt_port_bytes(port, v->rank, v->dim, NULL, &bytes);
    if (!fits) {
        rt_out o = say_input(p, port, item);
        rt_put(&o, "the tensor is larger than any memory");
        return shape_error(p, &o, port, v);
    }
    if (no_data || !bytes) return BMC_OK;
    if (!v->data) {
        rt_out o = say_input(p, port, item);
        rt_put(&o, "data is NULL, expected %zu bytes", bytes);
        return shape_error(p, &o, port, v);
    }
    if (!port->capacity && v->stride && !rt_is_dense(v->rank, v->dim, v->stride)) {
        bmc_status s = strides_check(p, port, v, item);
        if (s) return s;
    } else if (v->bytes && v->bytes < bytes) {
        rt_out o = say_input(p, port, item);
        rt_put(&o, "%zu bytes of data, expected %zu", v->bytes, bytes);
        return shape_error(p, &o, port, v);
    }
    size_t align = rt_dtype_align(v->dtype);
    if ((uintptr_t)v->data % align) {
        rt_out o = say_input(p, port, item);
        rt_put(&o, "the address of data is not a multiple of %zu", align);
        return BMC_E_INPUT;
    }
    return BMC_OK;
}

/* Kind of what stands `depth` levels inside the port. */
static int kind_inside(const bmc_port *port, int depth)
{
    int kind = depth == 0 ? port->kind : depth <= 3 ? port->of[depth - 1] : BMC_NONE;
    return kind == BMC_NONE ? BMC_TENSOR : kind;
}

static bmc_status item_check(rt_private *p, const bmc_port *port, const bmc_value *v, size_t k, int depth);

/* The elements of a sequence or optional, the keys and values of a map. */
static bmc_status items_check(rt_private *p, const bmc_port *port, const bmc_value *v, int kind, int depth)
{
    if (v->n_item && !v->item)
        return rt_say(p, BMC_E_INPUT, "input '%s': %zu items, but item is NULL", port->name, v->n_item);
    size_t most = kind == BMC_OPTIONAL ? 1 : PTRDIFF_MAX / sizeof *v;
    if (v->n_item > most)
        return rt_say(p, BMC_E_INPUT, "input '%s': %zu items, at most %zu are possible", port->name, v->n_item, most);
    bmc_status s = BMC_OK;
    if (kind != BMC_MAP) {
        for (size_t k = 0; k < v->n_item && !s; k++) s = item_check(p, port, &v->item[k], k, depth + 1);
        return s;
    }
    if (v->n_item != 2)
        return rt_say(p, BMC_E_INPUT, "input '%s': a map has two items, keys and values, not %zu", port->name,
                      v->n_item);
    for (int k = 0; k < 2; k++) {
        const bmc_value *e = &v->item[k];
        int dtype = k ? port->dtype : port->key;
        bool fits = e->size == sizeof *e && e->kind == BMC_TENSOR && e->rank == 1 && e->dim[0] >= 0 && !e->stride &&
                    (e->dtype == dtype || !e->dim[0]) && (e->data || !e->dim[0]);
        if (!fits)
            return rt_say(p, BMC_E_INPUT, "input '%s': the %s of a map are a dense tensor of one axis, of %s",
                          port->name, k ? "values" : "keys", rt_dtype_name(dtype));
    }
    if (v->item[0].dim[0] != v->item[1].dim[0])
        return rt_say(p, BMC_E_INPUT, "input '%s': a map has %lld keys and %lld values", port->name,
                      (long long)v->item[0].dim[0], (long long)v->item[1].dim[0]);
    return BMC_OK;
}

static bmc_status item_check(rt_private *p, const bmc_port *port, const bmc_value *e, size_t k, int depth)
{
    int kind = kind_inside(port, depth);
    if (e->size != sizeof *e || e->kind != kind)
        return rt_say(p, BMC_E_INPUT, "input '%s': item %zu is not a %s", port->name, k, rt_kind_name(kind));
    if (kind != BMC_TENSOR) return items_check(p, port, e, kind, depth);
    bmc_status s = tensor_check(p, port, e, (long)k, false);
    if (s) return s;
    for (int d = 0; port->rank <= BMC_MAX_RANK && d < port->rank; d++)
        if (port->dim[d] >= 0 && e->dim[d] != port->dim[d]) {
            rt_out o = {p->message, 0, sizeof p->message};
            rt_put(&o, "input '%s': item %zu: dim %d is %lld, expected %lld", port->name, k, d, (long long)e->dim[d],
                   (long long)port->dim[d]);
            return shape_error(p, &o, port, e);
        }
    return BMC_OK;
}

static bmc_status input_check(rt_private *p, const bmc_value *in, const bmc_value *out, uint32_t i)
{
    const bmc_port *port = &p->desc->info->input[i];
    const bmc_value *v = &in[i];
    if (v->size != sizeof *v)
        return rt_say(p, BMC_E_ARG, "input '%s': size is %u, set it to sizeof(bmc_value) = %zu", port->name, v->size,
                      sizeof *v);
    if (v->kind != port->kind)
        return rt_say(p, BMC_E_INPUT, "input '%s': kind is %s, expected %s", port->name, rt_kind_name(v->kind),
                      rt_kind_name(port->kind));
    if (port->kind == BMC_TENSOR) {
        bool state = rt_input_is_state(p, in, out, i);
        if (port->alias >= 0 && !state) {
            if (port->flags & BMC_PORT_STATE)
                return rt_say(p, BMC_E_INPUT,
                              "input '%s': the context keeps this state, data must be NULL here and in output '%s'",
                              port->name, p->desc->info->output[port->alias].name);
            int64_t full[BMC_MAX_RANK];
            size_t bytes;
            rt_port_bytes(port, v->rank, v->dim, full, &bytes);
            if (v->data && v->stride && v->rank == port->rank && !rt_is_dense(v->rank, full, v->stride))
                return rt_say(p, BMC_E_INPUT, "input '%s': it is updated in place, so it must be dense", port->name);
        }
        if (port->capacity && v->rank == port->rank && v->dim[port->alias_axis] > port->capacity)
            return rt_say(p, BMC_E_CAPACITY, "input '%s': %lld along axis %d, the capacity is %lld", port->name,
                          (long long)v->dim[port->alias_axis], port->alias_axis, (long long)port->capacity);
        return tensor_check(p, port, v, -1, state);
    }
    return items_check(p, port, v, port->kind, 0);
}

/* Dims against the port: fixed ones, bounds of symbols, and symbols that several axes share. */
static bmc_status dims_check(bmc_ctx *x, const bmc_value *in, uint32_t i)
{
    rt_private *p = x->rt;
    const bmc_info *f = p->desc->info;
    const bmc_port *port = &f->input[i];
    const bmc_value *v = &in[i];
    if (port->kind != BMC_TENSOR) return BMC_OK;
    if (port->rank > BMC_MAX_RANK) { /* every axis has a symbol of its own, without bounds */
        if (v->rank <= RT_ANY_RANK) return BMC_OK;
        rt_out o = say_input(p, port, -1);
        rt_put(&o, "rank is %d, at most %d is possible", v->rank, RT_ANY_RANK);
        return shape_error(p, &o, port, v);
    }
    for (int d = 0; d < port->rank; d++) {
        rt_out o = {p->message, 0, sizeof p->message};
        if (port->dim[d] >= 0) {
            if (v->dim[d] == port->dim[d]) continue;
            rt_put(&o, "input '%s': dim %d is %lld, expected %lld", port->name, d, (long long)v->dim[d],
                   (long long)port->dim[d]);
            return shape_error(p, &o, port, v);
        }
        if (port->dim[d] != -1) continue;
        const bmc_symbol *s = &f->symbol[port->sym[d]];
        if (v->dim[d] < s->lo || v->dim[d] > s->hi) {
            rt_put(&o, "input '%s': dim %d (%s) is %lld, ", port->name, d, s->name, (long long)v->dim[d]);
            if (s->hi == INT64_MAX) rt_put(&o, "it must be at least %lld", (long long)s->lo);
            else rt_put(&o, "it must be in %lld..%lld", (long long)s->lo, (long long)s->hi);
            return shape_error(p, &o, port, v);
        }
        if (s->input < 0) continue;
        int64_t bound = in[s->input].dim[s->axis];
        if (v->dim[d] == bound) continue;
        if ((uint32_t)s->input == i)
            rt_put(&o, "input '%s': dims %d and %d are both '%s', but %lld and %lld", port->name, s->axis, d, s->name,
                   (long long)bound, (long long)v->dim[d]);
        else
            rt_put(&o, "input '%s': dim %d (%s) is %lld, but dim %d of input '%s' made it %lld", port->name, d, s->name,
                   (long long)v->dim[d], s->axis, f->input[s->input].name, (long long)bound);
        return shape_error(p, &o, port, v);
    }
    return BMC_OK;
}

bmc_status rt_inputs_check(bmc_ctx *x, const bmc_value *in, const bmc_value *out)
{
    rt_private *p = x->rt;
    const bmc_info *f = p->desc->info;
    bmc_status s;
    for (uint32_t i = 0; i < f->n_input; i++)
        if ((s = input_check(p, in, out, i))) return s;
    for (uint32_t i = 0; i < f->n_input; i++)
        if ((s = dims_check(x, in, i))) return s;
    for (uint32_t k = 0; k < f->n_symbol; k++) {
        const bmc_symbol *y = &f->symbol[k];
        if (y->input >= 0) x->sym[p->desc->sym_of_entry[k]] = rt_extent(f->input[y->input].rank, &in[y->input], y->axis);
    }
    return p->status = BMC_OK;
}

/* Sorted by address (insertion sort: callers mostly pass the same buffers again, in the same order), then each range is
 * compared with those that begin inside it. Inputs may overlap one another; an aliased pair is given as one range, so
 * it does not meet itself. */
bmc_status rt_overlap_check(rt_private *p)
{
    const bmc_info *f = p->desc->info;
    rt_range *r = p->range;
    for (uint32_t i = 1; i < p->n_range; i++) {
        rt_range t = r[i];
        uint32_t j = i;
        for (; j && (uintptr_t)r[j - 1].lo > (uintptr_t)t.lo; j--) r[j] = r[j - 1];
        r[j] = t;
    }
    for (uint32_t i = 0; i < p->n_range; i++)
        for (uint32_t j = i + 1; j < p->n_range && (uintptr_t)r[j].lo < (uintptr_t)r[i].hi; j++) {
            if (!r[i].out && !r[j].out) continue;
            const rt_range *a = r[i].out ? &r[i] : &r[j], *b = r[i].out ? &r[j] : &r[i];
            return rt_say(p, BMC_E_INPUT, "output '%s' overlaps %s '%s' in memory", f->output[a->port].name,
                          b->out ? "output" : "input", b->out ? f->output[b->port].name : f->input[b->port].name);
        }
    return BMC_OK;
}
