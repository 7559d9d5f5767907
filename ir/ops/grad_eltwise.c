/* grad_eltwise.c: derivatives of element-wise operators. f'(x) is written with the result y where that is cheaper. Where a function has a corner, the
 * derivative of one side is taken (0 at Relu's and Abs's); of equal operands of Max and Min each gets its share. Branches that Where does not take stay
 * finite, so that derivatives of derivatives do not meet infinity times 0. */
#include "ir/ops/grad.h"
#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

static Value exp_of(Grad *c, Value x) { return ex1(&c->x, OP_Exp, x); }
static Value one_minus(Grad *c, Value x) { return gr_sub(c, gr_num(c, 1, x), x); }
static Value zero_like(Grad *c, Value x) { return gr_num(c, 0, x); }

/* The adjoint of the only operand is dy times that. */
static bool factor(Grad *c, Value f) { return gr_set(c, 0, gr_mul(c, gr_dy(c), f)), true; }
static bool quotient(Grad *c, Value f) { return gr_set(c, 0, gr_div(c, gr_dy(c), f)), true; }

/* ---- one operand ---- */

#define X gr_in(c, 0)
#define Y gr_out(c, 0)
bool grad_abs(Grad *c) { return factor(c, ex1(&c->x, OP_Sign, X)); }
bool grad_acos(Grad *c) { return quotient(c, gr_neg(c, ex1(&c->x, OP_Sqrt, one_minus(c, gr_square(c, X))))); }
bool grad_acosh(Grad *c) { return quotient(c, ex1(&c->x, OP_Sqrt, gr_plus(c, gr_square(c, X), -1))); }
bool grad_asin(Grad *c) { return quotient(c, ex1(&c->x, OP_Sqrt, one_minus(c, gr_square(c, X)))); }
bool grad_asinh(Grad *c) { return quotient(c, ex1(&c->x, OP_Sqrt, gr_plus(c, gr_square(c, X), 1))); }
bool grad_atan(Grad *c) { return quotient(c, gr_plus(c, gr_square(c, X), 1)); }
bool grad_atanh(Grad *c) { return quotient(c, one_minus(c, gr_square(c, X))); }
bool grad_cos(Grad *c) { return factor(c, gr_neg(c, ex1(&c->x, OP_Sin, X))); }
bool grad_cosh(Grad *c) { return factor(c, ex1(&c->x, OP_Sinh, X)); }
bool grad_erf(Grad *c) { return factor(c, gr_times(c, exp_of(c, gr_neg(c, gr_square(c, X))), 2 / sqrt(PI))); }
bool grad_exp(Grad *c) { return factor(c, Y); }
bool grad_identity(Grad *c) { return gr_set(c, 0, gr_dy(c)), true; }
bool grad_log(Grad *c) { return quotient(c, X); }
bool grad_neg(Grad *c) { return gr_set(c, 0, gr_neg(c, gr_dy(c))), true; }
bool grad_reciprocal(Grad *c) { return factor(c, gr_neg(c, gr_square(c, Y))); }
bool grad_sigmoid(Grad *c) { return factor(c, gr_mul(c, Y, one_minus(c, Y))); }
bool grad_sin(Grad *c) { return factor(c, ex1(&c->x, OP_Cos, X)); }
bool grad_sinh(Grad *c) { return factor(c, ex1(&c->x, OP_Cosh, X)); }
bool grad_sqrt(Grad *c) { return quotient(c, gr_times(c, Y, 2)); }
bool grad_tan(Grad *c) { return factor(c, gr_plus(c, gr_square(c, Y), 1)); }
bool grad_tanh(Grad *c) { return factor(c, one_minus(c, gr_square(c, Y))); }
bool grad_cast(Grad *c) { return gr_set(c, 0, gr_dy(c)), true; }

/* ---- activations ---- */

/* dy * f where the test holds, else dy * g */
static bool either(Grad *c, Value test, Value f, Value g) { return factor(c, gr_where(c, test, f, g)); }
static Value positive(Grad *c) { return gr_test(c, OP_Greater, X, 0); }
static Value below_zero(Grad *c) { return ex2(&c->x, OP_Min, X, zero_like(c, X)); }
static Value sigmoid_of(Grad *c, Value x) { return ex1(&c->x, OP_Sigmoid, x); }

bool grad_relu(Grad *c) { return gr_set(c, 0, gr_where(c, positive(c), gr_dy(c), zero_like(c, X))), true; }
bool grad_leaky_relu(Grad *c) { return either(c, gr_test(c, OP_Less, X, 0), gr_num(c, gr_float(c, "alpha"), X), gr_num(c, 1, X)); }
bool grad_elu(Grad *c) { return either(c, positive(c), gr_num(c, 1, X), gr_times(c, exp_of(c, below_zero(c)), gr_float(c, "alpha"))); }
bool grad_selu(Grad *c)
{
    double alpha = gr_float(c, "alpha"), gamma = gr_float(c, "gamma");
    return either(c, positive(c), gr_num(c, gamma, X), gr_times(c, exp_of(c, below_zero(c)), alpha * gamma));
}
bool grad_celu(Grad *c) { return either(c, positive(c), gr_num(c, 1, X), exp_of(c, gr_div(c, below_zero(c), gr_num(c, gr_float(c, "alpha"), X)))); }
bool grad_hard_sigmoid(Grad *c)
{
    Value inside = ex2(&c->x, OP_And, gr_test(c, OP_Greater, Y, 0), gr_test(c, OP_Less, Y, 1));
    return either(c, inside, gr_num(c, gr_float(c, "alpha"), X), zero_like(c, X));
}
/* x * clamp(x/6 + 1/2, 0, 1) */
bool grad_hard_swish(Grad *c)
{
    Value middle = gr_plus(c, gr_times(c, X, 1.0 / 3), 0.5), low = gr_where(c, gr_test(c, OP_Greater, X, -3), middle, zero_like(c, X));
    return either(c, gr_test(c, OP_Less, X, 3), low, gr_num(c, 1, X));
}
bool grad_softplus(Grad *c) { return factor(c, sigmoid_of(c, X)); }
bool grad_softsign(Grad *c) { return quotient(c, gr_square(c, gr_plus(c, ex1(&c->x, OP_Abs, X), 1))); }
/* x * tanh(softplus(x)) */
bool grad_mish(Grad *c)
{
    Value t = ex1(&c->x, OP_Tanh, ex1(&c->x, OP_Softplus, X));
    return factor(c, gr_add(c, t, gr_mul(c, gr_mul(c, X, sigmoid_of(c, X)), one_minus(c, gr_square(c, t)))));
}
bool grad_thresholded_relu(Grad *c) { return either(c, gr_test(c, OP_Greater, X, gr_float(c, "alpha")), gr_num(c, 1, X), zero_like(c, X)); }

/* x * sigmoid(alpha * x): s (1 + alpha x (1 - s)) */
static Value swish_slope(Grad *c, Value x, Value s) { return gr_mul(c, s, gr_plus(c, gr_mul(c, gr_times(c, x, gr_float(c, "alpha")), one_minus(c, s)), 1)); }
bool grad_swish(Grad *c) { return factor(c, swish_slope(c, X, sigmoid_of(c, gr_times(c, X, gr_float(c, "alpha"))))); }
bool grad_swiglu(Grad *c)
{
    Value s = sigmoid_of(c, gr_times(c, X, gr_float(c, "alpha"))), dy = gr_dy(c);
    if (gr_need(c, 0)) gr_set(c, 0, gr_mul(c, gr_mul(c, dy, gr_in(c, 1)), swish_slope(c, X, s)));
    if (gr_need(c, 1)) gr_set(c, 1, gr_mul(c, dy, gr_mul(c, X, s)));
    return true;
}

bool grad_gelu(Grad *c)
{
    Value x = X, xx = gr_square(c, x);
    if (strcmp(gr_string(c, "approximate"), "tanh")) { /* x Phi(x): Phi + x phi */
        Value phi = gr_times(c, exp_of(c, gr_times(c, xx, -0.5)), 1 / sqrt(2 * PI)), Phi = gr_times(c, gr_plus(c, ex1(&c->x, OP_Erf, gr_times(c, x, sqrt(0.5))), 1), 0.5);
        return factor(c, gr_add(c, Phi, gr_mul(c, x, phi)));
    }
    double k = sqrt(2 / PI), a = 0.044715; /* x/2 (1 + tanh u), u = k (x + a x^3) */
    Value t = ex1(&c->x, OP_Tanh, gr_mul(c, gr_times(c, x, k), gr_plus(c, gr_times(c, xx, a), 1)));
    Value du = gr_plus(c, gr_times(c, xx, 3 * a * k), k);
    return factor(c, gr_times(c, gr_plus(c, gr_add(c, t, gr_mul(c, gr_mul(c, x, one_minus(c, gr_square(c, t))), du)), 1), 0.5));
}

bool grad_shrink(Grad *c) { return either(c, gr_test(c, OP_Greater, ex1(&c->x, OP_Abs, X), gr_float(c, "lambd")), gr_num(c, 1, X), zero_like(c, X)); }

bool grad_prelu(Grad *c)
{
    Value below = gr_test(c, OP_Less, X, 0), dy = gr_dy(c);
    if (gr_need(c, 0)) gr_set(c, 0, gr_where(c, below, gr_mul(c, dy, gr_in(c, 1)), dy));
    if (gr_need(c, 1)) gr_set(c, 1, gr_where(c, below, gr_mul(c, dy, X), zero_like(c, X)));
    return true;
}

/* min(max(x, low), high) */
bool grad_clip(Grad *c)
{
    Value dy = gr_dy(c), zero = zero_like(c, dy), low = gr_in(c, 1), high = gr_in(c, 2), v = low.i ? ex2(&c->x, OP_Max, X, low) : X;
    Value over = high.i ? ex2(&c->x, OP_Greater, v, high) : VALUE_NONE, inner = over.i ? gr_where(c, over, zero, dy) : dy;
    Value under = low.i ? ex2(&c->x, OP_Less, X, low) : VALUE_NONE;
    gr_set(c, 0, under.i ? gr_where(c, under, zero, inner) : inner);
    if (gr_need(c, 1)) gr_set(c, 1, gr_where(c, under, inner, zero));
    if (gr_need(c, 2)) gr_set(c, 2, gr_where(c, over, dy, zero));
    return true;
}

/* ---- several operands ---- */

#define A gr_in(c, 0)
#define B gr_in(c, 1)
bool grad_add(Grad *c) { return gr_set(c, 0, gr_dy(c)), gr_set(c, 1, gr_dy(c)), true; }
bool grad_sub(Grad *c)
{
    gr_set(c, 0, gr_dy(c));
    if (gr_need(c, 1)) gr_set(c, 1, gr_neg(c, gr_dy(c)));
    return true;
}
bool grad_mul(Grad *c)
{
    if (gr_need(c, 0)) gr_set(c, 0, gr_mul(c, gr_dy(c), B));
    if (gr_need(c, 1)) gr_set(c, 1, gr_mul(c, gr_dy(c), A));
    return true;
}
bool grad_div(Grad *c)
{
    Value q = gr_div(c, gr_dy(c), B);
    gr_set(c, 0, q);
    if (gr_need(c, 1)) gr_set(c, 1, gr_neg(c, gr_mul(c, q, Y)));
    return true;
}

/* a^b: b a^(b-1), 0 where b is; y log a, 0 where a is not positive */
bool grad_pow(Grad *c)
{
    Value a = A, b = ex_cast(&c->x, B, gr_elem(c, a)), dy = gr_dy(c), zero = zero_like(c, a), one = gr_num(c, 1, a);
    if (gr_need(c, 0)) {
        Value none = gr_test(c, OP_Equal, b, 0), power = ex2(&c->x, OP_Pow, a, gr_sub(c, gr_where(c, none, one, b), one));
        gr_set(c, 0, gr_mul(c, dy, gr_mul(c, b, power)));
    }
    if (gr_need(c, 1)) {
        Value some = gr_test(c, OP_Greater, a, 0), log = ex1(&c->x, OP_Log, gr_where(c, some, a, one));
        gr_set(c, 1, gr_where(c, some, gr_mul(c, gr_mul(c, dy, Y), log), zero));
    }
    return true;
}

/* a - b q, q = a/b rounded toward 0 (fmod) or down */
bool grad_mod(Grad *c)
{
    gr_set(c, 0, gr_dy(c));
    if (!gr_need(c, 1)) return true;
    Value q = gr_div(c, A, B), down = gr_int(c, "fmod") ? gr_mul(c, ex1(&c->x, OP_Sign, q), ex1(&c->x, OP_Floor, ex1(&c->x, OP_Abs, q))) : ex1(&c->x, OP_Floor, q);
    gr_set(c, 1, gr_neg(c, gr_mul(c, gr_dy(c), down)));
    return true;
}

/* Max, Min */
bool grad_extremum(Grad *c)
{
    uint32_t n = node_n_in(c->g, c->n);
    Value *hit = arena_array(c->g->m->arena, Value, n), dy = gr_dy(c), count = VALUE_NONE;
    for (uint32_t k = 0; k < n; k++) {
        hit[k] = ex2(&c->x, OP_Equal, gr_in(c, k), Y);
        Value one = ex_cast(&c->x, hit[k], ex_elem(&c->x, dy));
        count = count.i ? gr_add(c, count, one) : one;
    }
    Value share = gr_div(c, dy, count);
    for (uint32_t k = 0; k < n; k++)
        if (gr_need(c, k)) gr_set(c, k, gr_where(c, hit[k], share, zero_like(c, dy)));
    return true;
}

bool grad_variadic_sum(Grad *c)
{
    for (uint32_t k = 0; k < node_n_in(c->g, c->n); k++) gr_set(c, k, gr_dy(c));
    return true;
}
bool grad_mean(Grad *c)
{
    uint32_t n = node_n_in(c->g, c->n);
    Value share = gr_div(c, gr_dy(c), gr_num(c, n, gr_dy(c)));
    for (uint32_t k = 0; k < n; k++) gr_set(c, k, share);
    return true;
}

bool grad_where(Grad *c)
{
    Value dy = gr_dy(c), zero = zero_like(c, dy);
    if (gr_need(c, 1)) gr_set(c, 1, gr_where(c, A, dy, zero));
    if (gr_need(c, 2)) gr_set(c, 2, gr_where(c, A, zero, dy));
    return true;
}
