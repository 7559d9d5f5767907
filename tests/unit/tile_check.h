/* tile_check: runs one emitted contraction against a naive one and compares every element. No LLVM in here: the same text is compiled into the
 * test of this machine and, by a cross compiler, into the test that runs under an emulator.
 *
 * Operand values are small integers, so that every sum is exact in every type and equality is the criterion. A and B end at a page that cannot be
 * read; C has a margin that must stay as it was. */
#ifndef TILE_CHECK_H
#define TILE_CHECK_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Which addressing a case uses. CONV: row m of batch t is row m+t-T/2 of A, absent outside 0..rows-1. */
enum { TC_PLAIN, TC_TRANSPOSED, TC_CONV, TC_CONV_STRIDED, TC_BATCHES, TC_MODES };
enum { TC_F32, TC_F64, TC_I32, TC_BF16, TC_U8I8, TC_I64, TC_QUADS, TC_QUADS_OF_SIGNED, TC_TYPES };   /* quads: K counts groups of four bytes (KMacc) */
typedef struct TileCase {
    int type, mode;
    int packed, init, m_inner, heavy, known;      /* known: extents are constants of the code */
    int64_t rows, cols, K, T;
    int two;                                      /* not 0: rows and columns are one of two extents each, or none: which (tile_test.c) */
} TileCase;
enum { TP_ROWS, TP_COLS, TP_K, TP_T, TP_LDA, TP_LDB, TP_LDC, TP_COUNT };
typedef void TileFn(const void *a, const void *b, void *c, const int64_t *p);

static const int tc_a_bytes[TC_TYPES] = {4, 8, 4, 2, 1, 8, 1, 1}, tc_b_bytes[TC_TYPES] = {4, 8, 4, 4, 1, 8, 1, 1}, tc_c_bytes[TC_TYPES] = {4, 8, 4, 4, 4, 8, 4, 4};

static inline int tc_quads(const TileCase *c) { return c->type >= TC_QUADS; }
static inline int64_t tc_group(const TileCase *c) { return tc_quads(c) ? 4 : 1; }   /* elements per step of k */

static inline int64_t tc_value(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (int64_t)(*seed >> 28) % 8 - 3;
}
static inline void tc_put(int type, int operand, char *p, int64_t i, int64_t v)
{
    float f = (float)v;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if (type == TC_F32 || (type == TC_BF16 && operand)) ((float *)p)[i] = f;
    else if (type == TC_F64) ((double *)p)[i] = (double)v;
    else if (type == TC_I64) ((int64_t *)p)[i] = v;
    else if (type == TC_BF16) ((uint16_t *)p)[i] = (uint16_t)(bits >> 16);
    else if (type >= TC_QUADS && operand < 2) ((int8_t *)p)[i] = (int8_t)(v == -3 ? 128 : v == 4 ? 255 : v == 3 ? 127 : v * 37);
    else if (type == TC_U8I8 && operand < 2) ((int8_t *)p)[i] = (int8_t)(operand ? v : v + 3);
    else ((int32_t *)p)[i] = (int32_t)v;
}
static inline int64_t tc_get(int type, const char *p, int64_t i)
{
    if (type == TC_F32 || type == TC_BF16) return (int64_t)((const float *)p)[i];
    if (type == TC_F64) return (int64_t)((const double *)p)[i];
    return type == TC_I64 ? ((const int64_t *)p)[i] : ((const int32_t *)p)[i];
}

/* Memory whose last byte is followed by a page without access. */
typedef struct TcMem { char *map, *p; size_t bytes; } TcMem;
static inline TcMem tc_mem(int64_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = ((size_t)bytes + page - 1) / page * page + page;
    TcMem m = {.bytes = n};
    m.map = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m.map == MAP_FAILED || mprotect(m.map + n - page, page, PROT_NONE)) { perror("mmap"); exit(3); }
    m.p = m.map + n - page - bytes;
    return m;
}

static inline int64_t tc_a_at(const TileCase *c, const int64_t *p, int64_t t, int64_t m, int64_t k, int *present)
{
    int64_t r = m + t - c->T / 2;
    *present = 1;
    if (c->mode != TC_TRANSPOSED && c->mode != TC_CONV_STRIDED) k *= tc_group(c);
    switch (c->mode) {
    case TC_TRANSPOSED: return m + k * p[TP_LDA];
    case TC_CONV: *present = r >= 0 && r < c->rows; return r * p[TP_LDA] + k;
    case TC_CONV_STRIDED: *present = r >= 0 && r < c->rows; return r + k * p[TP_LDA];
    case TC_BATCHES: return (t * c->rows + m) * p[TP_LDA] + k;
    default: return m * p[TP_LDA] + k;
    }
}
/* The caller's strides for a case: rows of A and B a little longer than needed. */
static inline void tc_params(const TileCase *c, int64_t *p)
{
    int by_k = c->mode == TC_TRANSPOSED || c->mode == TC_CONV_STRIDED;
    p[TP_ROWS] = c->rows; p[TP_COLS] = c->cols; p[TP_K] = c->K; p[TP_T] = c->T;
    p[TP_LDA] = (by_k ? c->rows : c->K * tc_group(c)) + 1;
    p[TP_LDB] = c->cols + 2;
    p[TP_LDC] = c->cols + 3;
}

/* 0: right. */
static inline int tc_check(const TileCase *c, TileFn *f, uint32_t seed)
{
    int64_t p[TP_COUNT], strips = (c->cols + 15) / 16, n_c = (c->rows + 1) * (c->cols + 3), present_rows;
    tc_params(c, p);
    int64_t a_len = 0, b_len = c->packed ? c->T * strips * c->K * 16 * tc_group(c) : ((c->T * c->K) - 1) * p[TP_LDB] + c->cols;
    for (int64_t t = 0; t < c->T; t++)
        for (int64_t m = 0; m < c->rows; m++) {
            int present;
            int64_t at = tc_a_at(c, p, t, m, c->K - 1, &present);
            if (present && at + tc_group(c) > a_len) a_len = at + tc_group(c);
        }
    present_rows = a_len;
    if (b_len < 0) b_len = 0;
    TcMem a = tc_mem(present_rows * tc_a_bytes[c->type]), b = tc_mem(b_len * tc_b_bytes[c->type]), out = tc_mem(n_c * tc_c_bytes[c->type]);
    for (int64_t i = 0; i < a_len; i++) tc_put(c->type, 0, a.p, i, tc_value(&seed));
    for (int64_t i = 0; i < b_len; i++) {
        int64_t at = i / tc_group(c), col = (at / (16 * (c->K ? c->K : 1)) % (strips ? strips : 1)) * 16 + at % 16;
        tc_put(c->type, 1, b.p, i, c->packed && col >= c->cols ? 0 : tc_value(&seed));
    }
    for (int64_t i = 0; i < n_c; i++) tc_put(c->type, 2, out.p, i, i % 5 + 100);
    f(a.p, b.p, out.p, p);
    int bad = 0;
    for (int64_t m = 0; m < c->rows + 1 && !bad; m++)
        for (int64_t j = 0; j < p[TP_LDC] && !bad; j++) {
            int64_t want = (m * p[TP_LDC] + j) % 5 + 100, got = tc_get(c->type, out.p, m * p[TP_LDC] + j);
            if (m < c->rows && j < c->cols) {
                if (!c->init) want = 0;
                for (int64_t t = 0; t < c->T; t++)
                    for (int64_t k = 0; k < c->K; k++) {
                        int present;
                        int64_t ia = tc_a_at(c, p, t, m, k, &present);
                        if (!present) continue;
                        int64_t ib = c->packed ? ((t * strips + j / 16) * c->K + k) * 16 + j % 16 : (t * c->K + k) * p[TP_LDB] + j, va, vb;
                        for (int q = 0; q < 4 && tc_quads(c); q++) {
                            int64_t byte = ((uint8_t *)a.p)[ia + q];
                            want += (c->type == TC_QUADS ? byte : byte ^ 128) * ((int8_t *)b.p)[4 * ib + q];
                        }
                        if (tc_quads(c)) continue;
                        if (c->type == TC_BF16) {
                            uint32_t bits = (uint32_t)((uint16_t *)a.p)[ia] << 16;
                            float x;
                            memcpy(&x, &bits, 4);
                            va = (int64_t)x;
                            vb = (int64_t)((float *)b.p)[ib];
                        } else if (c->type == TC_U8I8) va = ((uint8_t *)a.p)[ia], vb = ((int8_t *)b.p)[ib];
                        else va = tc_get(c->type, a.p, ia), vb = tc_get(c->type, b.p, ib);
                        want += va * vb;
                    }
            }
            if (want != got) {
                fprintf(stderr, "type %d mode %d packed %d init %d m_inner %d heavy %d known %d, %lldx%lldx%lld T %lld: C[%lld,%lld] is %lld, expected %lld\n",
                        c->type, c->mode, c->packed, c->init, c->m_inner, c->heavy, c->known, (long long)c->rows, (long long)c->cols, (long long)c->K,
                        (long long)c->T, (long long)m, (long long)j, (long long)got, (long long)want);
                bad = 1;
            }
        }
    munmap(a.map, a.bytes);
    munmap(b.map, b.bytes);
    munmap(out.map, out.bytes);
    return bad;
}
#endif
