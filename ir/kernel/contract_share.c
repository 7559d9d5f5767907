/* contract_share: blocks that threads can share evenly. contract_choose cuts for the caches; where that gives few blocks,
 * an odd one is a thread's idle time (three blocks of 256 columns: two threads need as long as two of them), so the
 * grid is cut once more by counting: of all grids of somewhat more blocks the one with the least time on one and two
 * threads together, four in the background. Each thread takes a run of neighbours (codegen/nest.c), so its time is the sum over that run.
 *   128 x 768 x 3072, blocks of 128 x 256: 3        =>     128 x 192: 4
 *   49 x 160 x 960, one block                       =>     49 x 80: 2
 * Time of a block: issue slots of its tiles, or bringing its operands from behind L2 where that takes longer, so of a
 * cut along rows and one along columns the one that reads less wins; and what each block costs again: its rows of A
 * anew, the strips of its first tile column without prefetch.
 * Where rows are not known and all strips stay in L2, a last block of other width is avoided by one block of columns: its
 * width would not be known either, and what is left of it beside whole tiles is a strip at a time, which waits for its
 * sums (one row of 400 x 300: 4.0 us in blocks of 128, 3.2 in one). Rows are shared then, in shorter blocks. Neither blocks nor results depend on how many
 * threads there are. */
#include "ir/kernel/contract.h"
#include "base/num.h"

enum {
    ENOUGH = 32,        /* blocks that share well whatever their number */
    MORE = 4,           /* so many times the blocks of the caches' grid at most, and so many beyond */
    LITTLE = 1 << 17,   /* multiply-adds that nobody shares, */
    LITTLE_BYTES = 256 << 10, /* unless so much of B has to be brought for them */
    START = 400,        /* cycles of a block beside its tiles */
    NEAR_BYTES = 32,    /* bytes a cycle from L2 */
    ROW_TILES = 8       /* tiles of rows in a block whose strips stay in L2 */
};

static const double TAIL = 1.03, FOUR = 0.4;

typedef struct Grid {
    int64_t M, strips, Z;  /* extents of a batch, in rows and strips of 16 columns; batches */
    int64_t mb, nb;        /* of a block, likewise */
} Grid;

static double block_time(const KTarget *t, const TileProblem *p, const TileChoice *c, int64_t rows, int64_t strips)
{
    double depth = (double)p->K * (double)(p->T < 0 ? 1 : p->T);
    double slots = (double)contract_slots(t, p->acc, rows, strips, c->mr, c->nv) * depth / 2;
    double a = depth * (double)rows * dtype_info(p->a_type)->bits / 8, strip = depth * 2 * dtype_info(p->b_type)->bits;
    double far = (a + strip * (double)strips) / contract_memory_rate(t);
    if (p->M > 0 && p->M % rows) slots *= TAIL; /* the code does not know how many rows there are */
    return (slots > far ? slots : far) + START + (a + strip * (double)min64(strips, c->nv)) / NEAR_BYTES;
}

/* The time of `nt` threads: the slowest's. */
static double grid_time(const KTarget *t, const TileProblem *p, const TileChoice *c, const Grid *g, int64_t nt)
{
    int64_t nm = ceil_div(g->M, g->mb), nn = ceil_div(g->strips, g->nb), n = g->Z * nm * nn;
    int64_t last_m = g->M - (nm - 1) * g->mb, last_n = g->strips - (nn - 1) * g->nb;
    double kind[2][2], most = 0;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) kind[i][j] = block_time(t, p, c, i ? last_m : g->mb, j ? last_n : g->nb);
    for (int64_t th = 0; th < nt; th++) {
        double sum = 0;
        for (int64_t q = n * th / nt; q < n * (th + 1) / nt; q++) sum += kind[q / nn % nm == nm - 1][q % nn == nn - 1];
        most = sum > most ? sum : most;
    }
    return most;
}

static double grid_cost(const KTarget *t, const TileProblem *p, const TileChoice *c, const Grid *g)
{
    return grid_time(t, p, c, g, 1) + 2 * grid_time(t, p, c, g, 2) + FOUR * grid_time(t, p, c, g, 4);
}

void contract_share(const KTarget *t, const TileProblem *p, int64_t Z, TileChoice *c)
{
    const int64_t huge = 1 << 20;
    if (p->N < 1 || p->N > huge || p->M > huge || p->M == 0 || p->K < 1 || p->K > huge || p->T > huge || !p->b_packed) return;
    int64_t b_bytes = p->K * max64(p->T, 1) * p->N * dtype_info(p->b_type)->bits / 8;
    bool cut = p->N > c->nb && p->N % c->nb, near = b_bytes <= max64(t->l2_bytes, 256 << 10) / 4;
    if (p->M < 0 && cut && near && !c->kc && !c->tc && c->m_inner) {
        c->nb = 16 * ceil_div(p->N, 16);
        c->mb = min64(c->mb, ROW_TILES * c->mr);
        return;
    }
    Grid g = {p->M < 0 ? c->mb : p->M, ceil_div(p->N, 16), Z < 1 ? 1 : Z, c->mb, ceil_div(c->nb, 16)};
    g.mb = min64(g.mb, g.M);
    g.nb = min64(g.nb, g.strips);
    int64_t nm = ceil_div(g.M, g.mb), nn = ceil_div(g.strips, g.nb), depth = p->K * max64(p->T, 1);
    bool little = g.M * p->N < LITTLE / depth / g.Z && (p->M < 0 || b_bytes < LITTLE_BYTES);
    if (g.Z >= ENOUGH || g.Z * nm * nn >= ENOUGH || little) return;
    int64_t most_m = p->M < 0 ? nm : min64(ceil_div(g.M, c->mr), nm + MORE), most_n = min64(g.strips, nn + MORE);
    Grid best = g;
    double least = grid_cost(t, p, c, &g) * 0.985;   /* not for nothing: the caches' choice was a good one */
    for (int64_t m = nm; m <= most_m; m++)
        for (int64_t n = nn; n <= most_n; n++) {
            Grid x = g;
            if (m > nm) x.mb = ceil_div(g.M, m);
            if (n > nn) x.nb = ceil_div(g.strips, n);
            if (n > nn && p->M < 2) x.nb = ceil_div(x.nb, c->nv) * c->nv; /* one row, perhaps: narrow tiles wait for their sums */
            if (p->M > 0 && p->M % x.mb && x.mb > (int64_t)c->mr) x.mb = ceil_div(x.mb, c->mr) * c->mr;
            double cost = grid_cost(t, p, c, &x);
            if (cost >= least) continue;
            least = cost;
            best = x;
        }
    if (best.mb != g.mb) c->mb = best.mb;
    if (best.nb != g.nb) c->nb = 16 * best.nb;
}
