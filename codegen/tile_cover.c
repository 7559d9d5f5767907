/* tile_cover: which tiles cover the rows and columns of a macc, and the loops over them.
 *   known extents     at most two row heights and two strip widths: whole tiles and a rest, or near-equal ones
 *   one of two        tiles of both, each extent's number of them
 *   others            a chain of halving heights; whole vectors of columns, then the last strip by itself
 * A body is emitted once per part, so code size follows the number of parts. */
#include "codegen/tile_internal.h"

#include "base/bug.h"

unsigned tile_strip_regs(const Tile *t)
{
    unsigned r = 16u * dtype_info(t->e->acc)->bits / (t->e->target->vec_bits ? t->e->target->vec_bits : 128);
    return r ? r : 1;
}

/* Issue slots of one k step of an h x w tile: two FMA and two load ports, FMA latency 4 (so at least 8 accumulators in flight). */
static int64_t tile_cost(const Tile *t, unsigned h, unsigned w)
{
    unsigned per_strip = tile_strip_regs(t) * t->e->sums;
    int64_t fma = (int64_t)h * w * per_strip, loads = h + w * per_strip;
    int64_t c = fma > loads ? fma : loads;
    return c > 8 ? c : 8;
}

/* Sizes for a known extent of n units by tiles of at most `max`: whole tiles and a rest, or near-equal tiles, whichever takes fewer slots.
 * size[0]*count[0] + size[1]*count[1] = n. */
static void split_known(const Tile *t, int64_t n, unsigned max, bool rows, unsigned other, unsigned size[2], int64_t count[2])
{
    int64_t tiles = (n + max - 1) / max, rest = n % max;
    unsigned even = (unsigned)((n + tiles - 1) / tiles);
    int64_t n_even = n - tiles * (even - 1);
#define COST(s) ((s) == 0 ? 0 : rows ? tile_cost(t, (unsigned)(s), other) : tile_cost(t, other, (unsigned)(s)))
    int64_t with_rest = n / max * COST(max) + COST(rest), near_equal = n_even * COST(even) + (tiles - n_even) * COST(even - 1);
#undef COST
    if (near_equal <= with_rest) {
        size[0] = even; count[0] = n_even;
        size[1] = even - 1; count[1] = tiles - n_even;
    } else {
        size[0] = max; count[0] = n / max;
        size[1] = (unsigned)rest; count[1] = rest != 0;
    }
}

static void cover_add(Cover *c, unsigned size, int64_t lo, int64_t count, PartMask mask)
{
    if (!count) return;
    assert(c->n < PARTS_MAX);
    c->part[c->n++] = (Part){.size = size, .lo = lo, .count = count, .mask = mask};
}

/* The tiles of both lengths that an extent can have, largest first: how many of each, the extent decides. */
static void cover_two(Tile *t, Cover *c, V extent, const int64_t length[2], bool rows, unsigned max, unsigned other)
{
    unsigned size[2][2];
    int64_t count[2][2];
    V is[2];
    for (int x = 0; x < 2; x++) {
        int64_t n = rows ? length[x] : (length[x] + 15) / 16;
        split_known(t, n, max, rows, other, size[x], count[x]);
        is[x] = LLVMBuildICmp(t->b, LLVMIntEQ, extent, k64(t, length[x]), "");
    }
    for (unsigned s = max; s > 0; s--) {
        int64_t n[2] = {0, 0};
        bool ragged = false;
        for (int x = 0; x < 2; x++)
            for (int p = 0; p < 2; p++) {
                if (size[x][p] != s || !count[x][p]) continue;
                n[x] += count[x][p];
                ragged |= !rows && length[x] % 16 && (p == 1 || !count[x][1]);   /* its last tile is of this size */
            }
        if (!n[0] && !n[1]) continue;
        assert(c->n < PARTS_MAX);
        V none = LLVMBuildSelect(t->b, is[1], k64(t, n[1]), k64(t, 0), "");   /* no columns: nothing */
        c->part[c->n++] = (Part){.size = s, .count = -1, .tiles = LLVMBuildSelect(t->b, is[0], k64(t, n[0]), none, ""), .mask = ragged ? PART_EITHER : PART_FULL};
    }
}

static void cover_rows(Tile *t)
{
    const TileEmit *e = t->e;
    Cover *c = &t->rows;
    int64_t n;
    *c = (Cover){.unit = 1, .end = e->rows};
    if (!is_const(e->rows, &n) && e->row_counts[1]) {
        cover_two(t, c, e->rows, e->row_counts, true, t->mr, t->nv);
        return;
    }
    if (!is_const(e->rows, &n)) {
        for (unsigned h = t->mr;; h = h > 6 ? (h + 1) / 2 : h - 1) {   /* a rest of up to mr-1 rows takes a tile or two, code stays small */
            cover_add(c, h, 0, -1, PART_FULL);
            if (h == 1) return;
        }
    }
    if (n <= 0) return;
    unsigned size[2]; int64_t count[2];
    split_known(t, n, t->mr, true, t->nv, size, count);
    cover_add(c, size[0], 0, count[0], PART_FULL);
    cover_add(c, size[1], size[0] * count[0], count[1], PART_FULL);
}

static void cover_cols(Tile *t)
{
    const TileEmit *e = t->e;
    Cover *c = &t->cols;
    int64_t n, rows;
    *c = (Cover){.unit = 16, .end = e->cols};
    bool masks = !e->b_packed && (e->col_counts[0] % 16 || e->col_counts[1] % 16);   /* loads of the last tile must not run past the row */
    if (!is_const(e->cols, &n) && e->col_counts[1] && !masks) {
        cover_two(t, c, e->cols, e->col_counts, false, t->nv, t->mr);
        return;
    }
    if (!is_const(e->cols, &n)) {
        if (t->nv > 1 || !e->b_packed) cover_add(c, t->nv, 0, -1, PART_FULL);
        cover_add(c, 1, 0, -1, e->b_packed ? PART_EITHER : PART_MASKED);
        return;
    }
    if (n <= 0) return;
    unsigned size[2]; int64_t count[2];
    unsigned h = is_const(e->rows, &rows) && rows < t->mr ? (unsigned)(rows > 0 ? rows : 1) : t->mr;
    split_known(t, (n + 15) / 16, t->nv, false, h, size, count);
    bool ragged = n % 16 != 0;
    int64_t lo = 0;
    for (unsigned p = 0; p < 2; p++) {
        if (!count[p]) continue;
        bool last = p == 1 || !count[1];
        if (!(ragged && last)) cover_add(c, size[p], lo, count[p], PART_FULL);
        else if (count[p] == 1) cover_add(c, size[p], lo, 1, PART_MASKED);
        else if (e->b_packed) cover_add(c, size[p], lo, count[p], PART_EITHER);
        else {   /* in place, the loads of the last tile must not run past the row: a body of its own */
            cover_add(c, size[p], lo, count[p] - 1, PART_FULL);
            cover_add(c, size[p], lo + (count[p] - 1) * size[p] * 16, 1, PART_MASKED);
        }
        lo += count[p] * size[p] * 16;
    }
}

void tile_cover(Tile *t)
{
    cover_rows(t);
    cover_cols(t);
}

void tile_cover_emit(Tile *t, const Cover *c, void (*body)(Tile *, const Part *, V pos))
{
    V pos = k64(t, 0);
    for (unsigned p = 0; p < c->n; p++) {
        const Part *part = &c->part[p];
        int64_t step = (int64_t)part->size * c->unit;
        if (part->count == 1) {
            body(t, part, k64(t, part->lo));
            continue;
        }
        V first = part->count < 0 ? pos : k64(t, part->lo);
        V end = part->tiles ? add(t, pos, mul(t, part->tiles, k64(t, step))) : NULL;
        Block before = here(t), head = block_new(t, "tiles"), inside = block_new(t, "tile"), after = block_new(t, "tiles.end");
        LLVMBuildBr(t->b, head);
        at(t, head);
        V iv = phi(t, t->i64, first, before);
        V more;
        if (part->tiles) more = LLVMBuildICmp(t->b, LLVMIntSLT, iv, end, "");
        else if (part->count >= 0) more = LLVMBuildICmp(t->b, LLVMIntSLT, iv, k64(t, part->lo + part->count * step), "");
        else more = LLVMBuildICmp(t->b, LLVMIntSLE, add_k(t, iv, part->mask == PART_FULL ? step : 1), c->end, "");
        LLVMBuildCondBr(t->b, more, inside, after);
        at(t, inside);
        body(t, part, iv);
        phi_add(iv, add_k(t, iv, step), here(t));
        tile_leave_alone(t, LLVMBuildBr(t->b, head));
        at(t, after);
        pos = iv;
    }
}
