/* amx_emulator: AMX in a signal handler. An instruction that the CPU does not know raises SIGILL; the handler decodes it, does its work on registers kept per
 * thread, and moves on. Known: ldtilecfg, tilerelease, tilezero, tileloadd, tileloaddt1, tilestored, tdpbf16ps; anything else ends the program as before.
 * So the very code that an AMX CPU would run is tested, its configuration of the registers included: shapes are checked at every use.
 * Reference: Intel, "Architecture Instruction Set Extensions Programming Reference" (encodings, operation). */
#define _GNU_SOURCE
#include "tests/unit/amx_emulator.h"

#ifdef __x86_64__
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ARCH_REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18, REGISTERS = 8, ROWS = 16, ROW_BYTES = 64 };

typedef struct Reg { unsigned rows, bytes; uint8_t row[ROWS][ROW_BYTES]; } Reg;
typedef struct State { bool configured; Reg reg[REGISTERS]; } State;

static __thread State state;
static unsigned long emulated;

static _Noreturn void stop(const char *what)
{
    fprintf(stderr, "AMX: %s\n", what);
    _exit(99);
}

static void configure(const uint8_t *m)
{
    if (m[0] != 1 || m[1] != 0) stop("ldtilecfg: not palette 1 from row 0");
    memset(&state, 0, sizeof state);
    state.configured = true;
    for (int i = 0; i < REGISTERS; i++) {
        uint16_t bytes;
        memcpy(&bytes, m + 16 + 2 * i, 2);
        if (bytes > ROW_BYTES || m[48 + i] > ROWS) stop("ldtilecfg: a register is too large");
        state.reg[i].bytes = bytes;
        state.reg[i].rows = m[48 + i];
    }
}

static Reg *reg(unsigned i)
{
    if (!state.configured) stop("no configuration");
    if (i >= REGISTERS || !state.reg[i].rows || !state.reg[i].bytes) stop("a register that is not configured");
    return &state.reg[i];
}

static float wide(const uint8_t *p)
{
    uint8_t b[4] = {0, 0, p[0], p[1]};
    float f;
    memcpy(&f, b, 4);
    return f;
}

/* c[m][n] += a[m][2k] * b[k][2n] + a[m][2k + 1] * b[k][2n + 1] */
static void dot(Reg *c, const Reg *a, const Reg *b)
{
    if (a->rows != c->rows || b->bytes != c->bytes || a->bytes != 4 * b->rows) stop("tdpbf16ps: shapes do not fit");
    for (unsigned m = 0; m < c->rows; m++)
        for (unsigned n = 0; n < c->bytes / 4; n++) {
            float sum, even = 0, odd = 0;
            memcpy(&sum, &c->row[m][4 * n], 4);
            for (unsigned k = 0; k < b->rows; k++) {
                even += wide(&a->row[m][4 * k]) * wide(&b->row[k][4 * n]);
                odd += wide(&a->row[m][4 * k + 2]) * wide(&b->row[k][4 * n + 2]);
            }
            sum += even + odd;
            memcpy(&c->row[m][4 * n], &sum, 4);
        }
}

/* ---- decoding ---- */
static const int greg[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                             REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

typedef struct Insn { unsigned pp, opcode, mod, reg, rm, vvvv, length; uint8_t *memory; int64_t stride; } Insn;

static bool decode(const uint8_t *p, const greg_t *g, Insn *x)
{
    if (p[0] != 0xc4 || (p[1] & 0x1f) != 2 || p[2] >> 7 || p[2] >> 2 & 1) return false; /* VEX of three bytes, map 0F38, W0, 128 */
    unsigned r = !(p[1] >> 7 & 1), xx = !(p[1] >> 6 & 1), b = !(p[1] >> 5 & 1);
    *x = (Insn){.pp = p[2] & 3, .vvvv = ~(p[2] >> 3) & 15, .opcode = p[3], .mod = p[4] >> 6, .reg = (p[4] >> 3 & 7) | r << 3, .rm = p[4] & 7, .length = 5};
    if (x->mod == 3) return x->rm |= b << 3, true;
    int64_t base;
    unsigned at = 5;
    if (x->rm == 4) {
        unsigned sib = p[at++], index = (sib >> 3 & 7) | xx << 3, from = (sib & 7) | b << 3;
        if (index != 4) x->stride = g[greg[index]] << (sib >> 6);
        base = (sib & 7) == 5 && x->mod == 0 ? 0 : g[greg[from]];
        if ((sib & 7) == 5 && x->mod == 0) x->mod = 2;
    } else if (x->rm == 5 && x->mod == 0) {
        int32_t d;
        memcpy(&d, p + at, 4);
        x->length = at + 4;
        x->memory = (uint8_t *)(uintptr_t)p + x->length + d;
        return true;
    } else base = g[greg[x->rm | b << 3]];
    if (x->mod == 1) base += (int8_t)p[at], at += 1;
    if (x->mod == 2) {
        int32_t d;
        memcpy(&d, p + at, 4);
        base += d;
        at += 4;
    }
    x->length = at;
    x->memory = (uint8_t *)(uintptr_t)base;
    return true;
}

static bool execute(const Insn *x)
{
    if (x->opcode == 0x49 && x->pp == 0 && x->mod != 3) configure(x->memory);
    else if (x->opcode == 0x49 && x->pp == 0) memset(&state, 0, sizeof state);
    else if (x->opcode == 0x49 && x->pp == 3 && x->mod == 3) memset(reg(x->reg)->row, 0, sizeof state.reg[0].row);
    else if (x->opcode == 0x4b && (x->pp == 3 || x->pp == 1) && x->mod != 3) {
        Reg *r = reg(x->reg);
        memset(r->row, 0, sizeof r->row);
        for (unsigned i = 0; i < r->rows; i++) memcpy(r->row[i], x->memory + (int64_t)i * x->stride, r->bytes);
    } else if (x->opcode == 0x4b && x->pp == 2 && x->mod != 3) {
        const Reg *r = reg(x->reg);
        for (unsigned i = 0; i < r->rows; i++) memcpy(x->memory + (int64_t)i * x->stride, r->row[i], r->bytes);
    } else if (x->opcode == 0x5c && x->pp == 2 && x->mod == 3) dot(reg(x->reg), reg(x->rm), reg(x->vvvv));
    else return false;
    return true;
}

static void on_ill(int sig, siginfo_t *info, void *context)
{
    (void)info;
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    Insn x;
    if (!decode((const uint8_t *)(uintptr_t)g[REG_RIP], g, &x) || !execute(&x)) {
        signal(sig, SIG_DFL); /* the instruction is met again, and ends the program */
        return;
    }
    g[REG_RIP] += x.length;
    __atomic_fetch_add(&emulated, 1, __ATOMIC_RELAXED);
}

static bool handling;

static long system_call(long n, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "0"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return r;
}

/* In the place of libc's, for the runtime in this program: it is granted what the handler does. */
long syscall(long n, ...)
{
    va_list v;
    va_start(v, n);
    long a[6], r;
    for (int i = 0; i < 6; i++) a[i] = va_arg(v, long);
    va_end(v);
    if (handling && n == SYS_arch_prctl && a[0] == ARCH_REQ_XCOMP_PERM && a[1] == XTILEDATA) return 0;
    r = system_call(n, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (r >= 0 || r < -4095) return r;
    errno = (int)-r;
    return -1;
}

bool amx_available(void)
{
    static bool ready;
    if (ready) return true;
    ready = true;
    if (!system_call(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA, 0, 0, 0, 0)) return true;
    handling = true;
    struct sigaction act = {.sa_flags = SA_SIGINFO};
    act.sa_sigaction = on_ill;
    return !sigaction(SIGILL, &act, NULL);
}

unsigned long amx_emulated(void) { return emulated; }
#else
bool amx_available(void) { return false; }
unsigned long amx_emulated(void) { return 0; }
#endif
