/* contract_choose: the schedule of a contraction from facts of the target: the register tile from its vector registers, block sizes from its caches.
 * Nothing here was fitted to one machine; why these rules, and how fast they are: docs/PERFORMANCE.md, "GEMM". */
#include "ir/kernel/contract.h"
#include "base/num.h"

enum {
    NV_MAX = 4,             /* strips of a tile, */
    NV_WIDE = 16,           /* of a single row over columns as they lie in memory; */
    KC_WIDE = 64,           /* so many rows of B at a time where B comes from behind L2, */
    COLS_WIDE = 512,        /* in pieces of so many columns at least */
    MR_LARGE = 6,           /* its rows for large products */
    MR_POINTERS = 8,        /* rows of a tile when each needs a pointer of its own, */
    MR_AFFINE = 12,         /* and when one pointer and constant distances do; */
    MR_STRIP = 20,          /* the same for a single strip: loads are the limit, and that of B is shared by more rows */
    ROWS_MANY = 192,        /* rows that pay for bringing strips into L2 */
    BLOCKS = 32,            /* so many blocks are welcome for sharing among threads, */
    BLOCKS_NEEDED = 8,      /* for so many, rows are split more finely than the caches ask for, */
    HUGE = 1 << 30,         /* extents beyond are treated like it: products of two stay in 64 bits */
    SEARCH = 4096,          /* candidates looked at for an even division, whatever the extent */
    BLOCK_WORK = 1 << 18    /* as long as each has so many multiply-adds */
};

static int64_t l2_bytes(const KTarget *t) { return max64(t->l2_bytes, 256 << 10); }

double contract_far_rate(const KTarget *t) { return t->far_rate ? (double)t->far_rate : 9; }
bool contract_far_is_fast(const KTarget *t) { return contract_far_rate(t) > 12; }
double contract_memory_rate(const KTarget *t) { return contract_far_is_fast(t) ? contract_far_rate(t) / 2 : 6; }

/* Length of near-equal blocks of at most about `most` of an extent, in units of `unit`: one that divides it if that costs few more blocks, since then
 * every block has the same code. */
static int64_t block_length(int64_t n, int64_t most, int64_t unit)
{
    int64_t units = ceil_div(n, unit), per = max64(most / unit, 1), even = ceil_div(units, ceil_div(units, per));
    for (int64_t u = even; u > even - even / 4 - 1 && u > even - SEARCH && u > 0; u--)
        if (n % (u * unit) == 0) return u * unit;
    return even * unit;
}

/* ---- the register tile ---- */
static unsigned regs_per_strip(const KTarget *t, DType acc)
{
    unsigned r = 16u * dtype_info(acc)->bits / (t->vec_bits ? t->vec_bits : 128);
    return r ? r : 1;
}

/* Accumulators, one row of B, the broadcast element of A, and room for a product where multiply and add are two instructions, for operands on their way
 * from a narrow type. */
static bool tile_fits(const KTarget *t, const TileProblem *p, unsigned mr, unsigned nv)
{
    unsigned s = regs_per_strip(t, p->acc), more = !t->fma || !dtype_is_float(p->acc);
    if (p->a_type != p->acc || p->b_type != p->acc) more += 2;
    if (p->quads && t->bytes != KBYTES_FOURS) more += p->a_signed ? 3 : 2;
    unsigned rows_of_b = p->quads && t->bytes == KBYTES_TWOS ? 2 : 1;   /* its halves */
    if (mr == 1 && !more) rows_of_b = 0;   /* one row: operands in memory */
    return (mr + rows_of_b) * nv * s + 1 + more <= t->vec_regs;
}

/* Issue slots of a k step: two multiply-add and two load ports, latency 4 of a multiply-add. */
static int64_t tile_slots(const KTarget *t, DType acc, int64_t h, int64_t w)
{
    int64_t s = regs_per_strip(t, acc), macs = h * w * s, loads = h + w * s;
    return max64(max64(macs, loads), 8);
}

/* The sizes that cover n by at most `most`: whole ones and a rest, or near-equal ones (what codegen's tile does with known extents). */
typedef struct Split { int64_t size[2], count[2]; } Split;
static Split split(int64_t n, int64_t most, bool even)
{
    if (!even) return (Split){{most, n % most}, {n / most, n % most != 0}};
    int64_t tiles = ceil_div(n, most), size = ceil_div(n, tiles), full = n - tiles * (size - 1);
    return (Split){{size, size - 1}, {full, tiles - full}};
}

int64_t contract_slots(const KTarget *t, DType acc, int64_t rows, int64_t strips, int64_t mr, int64_t nv)
{
    int64_t best = INT64_MAX;
    for (int v = 0; v < 4; v++) {
        Split r = split(rows, mr, v & 1), c = split(strips, nv, v >> 1);
        int64_t sum = 0;
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++)
                if (r.count[i] && c.count[j]) sum += r.count[i] * c.count[j] * tile_slots(t, acc, r.size[i], c.size[j]);
        best = min64(best, sum);
    }
    return best;
}

/* Two by two matrix registers of sums, two of A and two of B: each of the latter four serves two products. */
static void choose_tile_amx(int64_t rows, int64_t strips, TileChoice *c)
{
    c->mr = (unsigned)min64(rows, 2 * AMX_ROWS);
    c->nv = (unsigned)min64(strips, 2);
}

/* The tile with the fewest issue slots for the whole extent; among equals the one with the fewest loads per multiply-add. A single row over columns as
 * they lie in memory takes as many of them as there are registers for: a few lines of each row of B are nothing that hardware sees coming. */
static void choose_tile(const KTarget *t, const TileProblem *p, TileChoice *c)
{
    int64_t rows = p->M < 0 ? 240 : max64(min64(p->M, 240), 1), strips = p->N < 0 ? 12 : max64(min64(ceil_div(p->N, 16), 24), 1), best = INT64_MAX, best_loads = 0;
    bool affine = p->a_plain && p->a_row_bytes > 0;
    unsigned s = regs_per_strip(t, p->acc), nv_most = !p->b_packed && p->M == 1 ? NV_WIDE : NV_MAX;
    c->mr = c->nv = 1;
    if (p->tiles) {
        choose_tile_amx(rows, strips, c);
        return;
    }
    for (unsigned nv = 1; nv <= nv_most && nv <= strips; nv++)
        for (unsigned mr = 1; mr <= (!affine ? MR_POINTERS : nv == 1 ? MR_STRIP : MR_AFFINE) && mr <= rows; mr++) {
            if (!tile_fits(t, p, mr, nv)) continue;
            int64_t slots = contract_slots(t, p->acc, rows, strips, mr, nv), loads = 1000 * (mr + nv * s) / (mr * nv * s);
            if (slots < best || (slots == best && loads < best_loads)) {
                best = slots;
                best_loads = loads;
                c->mr = mr;
                c->nv = nv;
            }
        }
}

int64_t contract_cost(const KTarget *t, const TileProblem *p)
{
    enum { START = 16, ROW_START = 3 };   /* slots of a tile for each reduction batch, and more for each row with a pointer of its own */
    TileChoice c;
    choose_tile(t, p, &c);
    int64_t rows = max64(min64(p->M, 240), 1), strips = max64(ceil_div(p->N, 16), 1), T = max64(p->T, 1);
    int64_t tiles = ceil_div(rows, c.mr) * ceil_div(strips, c.nv), start = START + (p->a_plain && p->a_row_bytes > 0 ? 0 : ROW_START * c.mr);
    int64_t slots = (contract_slots(t, p->acc, rows, strips, c.mr, c.nv) * max64(p->K, 1) + tiles * start) * T;
    return p->M > rows ? (int64_t)((double)slots * (double)p->M / (double)rows) : slots;
}

/* ---- blocks ---- */
/* The strips of one tile column may take an eighth of L2: they are there twice (the next ones are prefetched) beside a block of A and the sums, and pages
 * land anywhere in a cache with few ways, so no more than half of it can be counted on. */
static int64_t reduction_most(const KTarget *t, DType acc)
{
    TileProblem p = {.acc = acc, .a_type = acc, .b_type = acc};
    unsigned nv = NV_MAX;   /* strips of a tile for large products */
    while (nv > 1 && !tile_fits(t, &p, MR_LARGE, nv)) nv--;
    return max64(l2_bytes(t) / 8 / (nv * 16 * (dtype_info(acc)->bits / 8)), 256);
}

/* A longer reduction than this is cut: half as much again as a block's, since passing sums costs, too. Where the cache behind L2 keeps up with the tile, which
 * takes a step of B for (mr * nv * registers) / 2 cycles, strips that have left L2 cost little, passing sums 3 to 5 % for three to four blocks: as long as a
 * tile column takes half of L2. Beyond that the rows of A leave, too. */
static int64_t reduction_whole(const KTarget *t, DType acc)
{
    int64_t most = reduction_most(t, acc), rate = 32 * (dtype_info(acc)->bits / 8) / (MR_LARGE * regs_per_strip(t, acc));
    return t->far_rate > rate ? 4 * most : most + most / 2;
}

static int64_t reduction_block(const KTarget *t, DType acc, int64_t K, int64_t whole)
{
    int64_t most = reduction_most(t, acc);
    int64_t n = ceil_div(K, most);
    if (K <= whole) return max64(K, 1);
    for (int64_t k = n; k <= n + n / 2 + 1 && k < n + SEARCH; k++)   /* equal blocks have one code, with a known K */
        if (K % k == 0) return K / k;
    return n > 1 && K % (n - 1) == 0 && K / (n - 1) <= most + most / 2 ? K / (n - 1) : ceil_div(K, n);
}

int64_t contract_pack_kc(const KTarget *t, DType acc, int64_t K) { return reduction_block(t, acc, K, reduction_whole(t, acc)); }

/* The strips of a tile lie apart by a power of two of lines as often as not, and a few rows wait for nothing else than B. Side by side, row by row, they
 * are one stream. What comes from memory is read faster through several. Where a batch may be large, a block for each panel pays only with weights that
 * come from behind L2, fetched ahead. */
int64_t contract_panel(const KTarget *t, DType acc, int64_t M, int64_t N, int64_t K, int64_t weights)
{
    enum { ROWS = 4, L2S = 8, L2S_BATCH = 2 };
    TileProblem p = {.acc = acc, .a_type = acc, .b_type = acc, .M = M, .N = N, .K = K, .T = 1, .a_plain = true, .a_row_bytes = 1, .b_packed = true};
    if (M < 0 && (!contract_far_is_fast(t) || weights <= L2S_BATCH * l2_bytes(t))) return 0;
    if (M > ROWS || N < 1 || K < 1 || N > HUGE / K || N * K * (dtype_info(acc)->bits / 8) <= t->l1_bytes || weights > L2S * l2_bytes(t)) return 0;
    TileChoice c;
    choose_tile(t, &p, &c);
    return c.nv > 1 && N % (16 * c.nv) == 0 ? 16 * c.nv : 0;
}

/* Strips that a block makes take a quarter of L2, so a long reduction leaves fewer columns, and A is read anew for each block of them: whole where a tile column
 * of four strips is what stays, except for few rows, or a few columns beside the first 64. */
int64_t contract_strips_kc(const KTarget *t, DType acc, int64_t M, int64_t N, int64_t K)
{
    int64_t cut = reduction_most(t, acc) * 3 / 2, column = 16 * NV_MAX, fits = l2_bytes(t) / 2 / (column * (dtype_info(acc)->bits / 8));
    bool whole = M >= ROWS_MANY && N > 0 && (N <= column || N >= 2 * column);
    return reduction_block(t, acc, K, whole ? max64(min64(reduction_whole(t, acc), fits), cut) : cut);
}

int64_t contract_pairs_kc(const KTarget *t, int64_t kc) { return round_up(kc, t->bf16 == KDOTS_TILES ? AMX_K : 2); }

int64_t contract_quads_kc(const KTarget *t, int64_t K) { return 4 * contract_pack_kc(t, DT_I32, ceil_div(K, 4)); }

int64_t contract_pairs_gain(const KTarget *t) { return t->bf16 == KDOTS_TILES ? 16 : t->bf16 == KDOTS_PAIRS ? 2 : 1; }

/* One row times columns as they lie in memory, from behind L2: what hardware fetches ahead are whole rows of B, or long
 * pieces of them. So these are used up, all tile columns over a few rows, before the next ones are touched. */
static bool is_wide(const KTarget *t, const TileProblem *p)
{
    if (p->b_packed || p->M != 1 || p->T != 1 || p->N < 1 || p->K < 2 * KC_WIDE || p->tiles) return false;
    return min64(p->K, HUGE) * min64(p->N, HUGE) > l2_bytes(t) / (dtype_info(p->b_type)->bits / 8);
}

/* A number of rows that divides K, if one is about right: then every block has the same code. */
static int64_t wide_kc(int64_t K)
{
    for (int64_t k = KC_WIDE; k <= 2 * KC_WIDE; k++)
        if (K % k == 0) return k;
    return KC_WIDE;
}

/* Rows: a block of A in a quarter of L2, read by all tile columns. Columns: as many blocks as threads like, since columns run fastest and the block of A
 * stays; but some tile columns at least for each, more where sums are passed between blocks of the reduction. These sums take an eighth of L2 at most.
 * Rows are split more finely only to keep threads busy. */
TileChoice contract_choose(const KTarget *t, const TileProblem *p)
{
    TileChoice c = {.m_inner = true};
    choose_tile(t, p, &c);
    bool wide = is_wide(t, p);
    c.kc = p->b_packed && p->K > p->pack_kc ? p->pack_kc : wide ? wide_kc(p->K) : 0;
    int64_t acc_bytes = dtype_info(p->acc)->bits / 8, a_bytes = max64(dtype_info(p->a_type)->bits / 8, 1), l2 = l2_bytes(t);
    int64_t K = p->K < 0 ? 512 : max64(min64(p->K, HUGE), 1), kc = c.kc ? min64(c.kc, K) : K, T = p->T < 0 ? 1 : max64(min64(p->T, HUGE), 1);
    if (c.kc) c.tc = 1;
    else if (p->b_packed && T > 1 && T < HUGE && K < HUGE && K * T > reduction_whole(t, p->acc))
        for (c.tc = max64(min64(T - 1, reduction_most(t, p->acc) * 3 / 2 / K), 1); T % c.tc;) c.tc--;
    bool blocked = c.kc || c.tc;
    int64_t M = p->M < 0 ? 1024 : max64(min64(p->M, HUGE), 1), N = p->N < 0 ? 1024 : max64(min64(p->N, HUGE), 1), column = 16 * c.nv;
    int64_t most_m = max64(l2 / 4 / (kc * a_bytes), 8 * c.mr), blocks = M > BLOCKS * BLOCK_WORK / N / K / T ? BLOCKS : max64(M * N * K * T / BLOCK_WORK, 1);
    int64_t m_blocks = ceil_div(4 * M, 5 * most_m), columns = ceil_div(N, column);
    int64_t n_blocks = min64(ceil_div(blocks, m_blocks), max64(wide ? N / COLS_WIDE : columns / (blocked ? 4 : 2), 1));
    blocks = min64(blocks, BLOCKS_NEEDED);
    if (m_blocks * n_blocks < blocks) m_blocks = min64(ceil_div(blocks, n_blocks), max64(M / (8 * c.mr), m_blocks));
    c.mb = block_length(M, ceil_div(M, m_blocks), p->M < 0 ? c.mr : 1);
    if (M % c.mb) c.mb = round_up(c.mb, c.mr);
    int64_t most_n = ceil_div(columns, n_blocks) * column;
    if (blocked) most_n = min64(most_n, max64(l2 / 8 / (c.mb * acc_bytes), 4 * column));
    /* Rows inside columns, stores hop from row to row and the strips come through prefetching; columns inside rows, stores are streams and the strips must
     * stay in L2. The latter wins where the reduction is short: a few tile columns of strips fit, and there are rows enough to use them. */
    int64_t stay = l2 / 4 / K / T / acc_bytes / column;
    if (!blocked && p->M >= ROWS_MANY && columns > 4 && stay > 4) {
        c.m_inner = false;
        most_n = stay * column;
    }
    c.nb = block_length(N, most_n, column);
    return c;
}

void contract_choose_strips(const KTarget *t, const TileProblem *p, TileChoice *c)
{
    enum { COLUMNS = 512, ROWS_MOST = 2048 };   /* scratch has room for so many, known or not */
    c->kc = p->K > 0 && p->pack_kc < p->K ? p->pack_kc : 0;
    c->tc = 0;
    int64_t bytes = dtype_info(p->acc)->bits / 8, K = c->kc ? c->kc : p->K < 0 ? 512 : max64(min64(p->K, HUGE), 1), column = 16 * c->nv;
    int64_t most = max64(min64(l2_bytes(t) / 4 / (K * bytes), COLUMNS) / column, 1) * column, N = p->N < 0 ? HUGE : max64(min64(p->N, HUGE), 1);
    c->nb = block_length(N, min64(most, round_up(N, column)), column);
    c->m_inner = c->kc || p->M < ROWS_MANY || c->nb <= 4 * column;
    if (p->M < 0) {
        c->mb = round_up(max64(c->mb, ROWS_MANY), c->mr);
        return;
    }
    int64_t M = max64(min64(p->M, HUGE), 1), n_blocks = ceil_div(N, c->nb), blocks = max64(min64(BLOCKS_NEEDED, M / (2 * ROWS_MANY)), 1);
    c->mb = block_length(M, min64(ceil_div(M, ceil_div(blocks, n_blocks)), ROWS_MOST), 1);
    if (M % c->mb) c->mb = round_up(c->mb, c->mr);
}

/* In place each step of k reads a few lines of another page, the last columns need masks, and vectors of a caller's matrix
 * that no first cache holds lie across lines. The copy is worth it for so many rows. */
bool contract_copies_b(const KTarget *t, DType acc, bool foreign, int64_t M, int64_t N, int64_t K)
{
    int64_t l2 = l2_bytes(t), bytes = dtype_info(acc)->bits / 8;
    if (M < 0 || N < 0 || K < 0) return false;
    bytes *= min64(N, HUGE) * min64(K, HUGE);
    if (bytes > l2 / 2) return M >= (bytes > l2 ? 8 : 48);
    return N % 16 ? M >= 64 : bytes > (foreign ? t->l1_bytes / 2 : l2 / 4) && M >= ROWS_MANY;
}

/* ---- dot products ---- */
/* Sums carried at once: half of the registers, but no more than 16, which are combined in one go. */
int64_t contract_dot_chains(const KTarget *t, DType acc) { return max64(min64(t->vec_regs / 2 / regs_per_strip(t, acc), 16), 1); }

/* The sums of lanes at the end cost as much as four vectors of k; the tile wastes the part of its 16 columns that does not exist. */
bool contract_is_dot(const KTarget *t, DType acc, int64_t N, int64_t K)
{
    return N >= 1 && N <= 8 && N <= contract_dot_chains(t, acc) && K >= (N <= 4 ? 32 : 16 * N);
}

int64_t contract_dot_rows(int64_t M, int64_t N, int64_t K)
{
    if (M < 0) return 64;
    M = max64(min64(M, HUGE), 1);
    return ceil_div(M, max64(min64(BLOCKS, M * N * min64(K, HUGE) / BLOCK_WORK), 1));
}
