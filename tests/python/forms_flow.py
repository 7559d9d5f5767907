"""If, Loop and Scan: how they end, what they carry, capture and collect."""

import numpy as np
from onnx import numpy_helper

from forms_case import Fails, HEAD, NO, OLD, YES, case, f, i, s

case(
    "if_forms",
    HEAD
    + """
g (bool[1] c, float[N] x) => (float[M] a, float[K] b, float[L] d, int64 e)
{
   n = Neg (x)
   a, b = If (c) <
      then_branch = t () => (p, q) { p = Identity (x)  q = Concat <axis = 0> (x, n) },
      else_branch = u () => (n2, x2) { n2 = Identity (n)  x2 = Identity (x) }
   >
   d, e = If (c) <
      then_branch = v () => (p, q) { p = Constant <value = float[2] {5, 6}> ()  q = Constant <value_int = 1> () },
      else_branch = w () => (p, q) { p = Constant <value = float[3] {7, 8, 9}> ()  q = Constant <value_int = 2> () }
   >
}
""",
    [[np.array([True]), f(1, 2)], [np.array([False]), f(3)]],
)

case(
    "if_outer_value_as_result",
    HEAD
    + """
g (bool c, float[N] x, float[N] y) => (float[N] a, float[N] b)
{
   a, b = If (c) <
      then_branch = t () => (x, y) { },
      else_branch = u () => (y, x) { }
   >
}
""",
    [[YES, f(1, 2), f(3, 4)], [NO, f(1), f(2)]],
    want=[[f(1, 2), f(3, 4)], [f(2), f(1)]],  # ONNX Runtime wants a node in between
)

case(
    "if_ranks_differ",
    HEAD
    + """
g (bool c, float[N] x) => (float s)
{
   r = If (c) <
      then_branch = t () => (p) { a = Constant <value_ints = [0]> ()  p = Unsqueeze (x, a) },
      else_branch = u () => (p) { p = Exp (x) }
   >
   s = ReduceSum <keepdims = 0> (r)
}
""",
    [[YES, f(1, 2)], [NO, f(3)]],
)

case(
    "if_opset1",
    OLD % 8
    + """
g (bool c, float[N] x) => (float[N] y)
{
   y = If (c) <
      then_branch = t () => (float[N] p) { p = Clip <min = 0.0> (x) },
      else_branch = u () => (float[N] p) { p = Upsample <mode = "nearest", scales = [1.0]> (x) }
   >
}
""",
    [[YES, f(1, -2)], [NO, f(3, -3)]],
    want=[[f(1, 0)], [f(3, -3)]],
)

# ---- Loop ----

case(
    "loop_ends",
    HEAD
    + """
g (int64 m, bool c, float lim, float[N] x) => (float[N] a, int64[P] ai, float[N] b, int64[Q] bi, float[N] d, int64[R] di)
{
   a, ai = Loop (m, c, x) <body = l1 (int64 k, bool go, v) => (more, w, o) {
      more = Identity (go)  w = Add (v, x)  o = Identity (k) }>
   b, bi = Loop (, c, x) <body = l2 (int64 k, bool go, v) => (more, w, o) {
      w = Add (v, x)  t = ReduceMax <keepdims = 0> (w)  more = Less (t, lim)  o = Identity (k) }>
   d, di = Loop (m, , x) <body = l3 (int64 k, bool go, v) => (more, w, o) {
      w = Mul (v, x)  t = ReduceMax <keepdims = 0> (w)  more = Less (t, lim)  o = Identity (k) }>
}
""",
    [
        [s(4), YES, s(9, np.float32), f(1, 2)],
        [s(0), YES, s(9, np.float32), f(1, 2)],
        [s(3), NO, s(5, np.float32), f(1, 2)],
        [s(-2), YES, s(-5, np.float32), f(1, 2)],
    ],
)

case(
    "loop_carried_forms",
    HEAD
    + """
g (int64 m, float[N] x, float[M] y) => (float[A] a, float[B] b, float[C] c, int64 d)
{
   z = Constant <value_int = 7> ()
   a, b, c, d = Loop (m, , x, y, x, z) <body = l (int64 k, bool go, p, q, r, u) => (go2, q, p, r2, u) {
      go2 = Identity (go)
      r2 = Concat <axis = 0> (r, x) }>
}
""",
    [[s(0), f(1), f(2, 3)], [s(1), f(1), f(2, 3)], [s(4), f(1), f(2, 3)], [s(3), f(), f(2, 3)]],
    want=[
        [f(1), f(2, 3), f(1), s(7)],
        [f(2, 3), f(1), f(1, 1), s(7)],
        [f(1), f(2, 3), f(1, 1, 1, 1, 1), s(7)],
        [f(2, 3), f(), f(), s(7)],
    ],  # carried values change places: ONNX Runtime wants nodes in between
)

case(
    "loop_scan_shapes",
    HEAD
    + """
g (int64 m, float[N] x) => (float[A, B] a)
{
   a = Loop (m, ) <body = l (int64 k, bool go) => (go2, o) {
      go2 = Identity (go)
      one = Constant <value_ints = [1]> ()
      zero = Constant <value_ints = [0]> ()
      e = Add (k, one)
      n = Min (e, one)
      o = Slice (x, zero, n) }>
}
""",
    [[s(0), f(1, 2)], [s(3), f(1, 2)]],
    want=[[np.zeros((0, 0), np.float32)], [f(1, 1, 1).reshape(3, 1)]],
)

case(
    "loop_scan_shapes_differ",
    HEAD
    + """
g (int64 m, float[N] x) => (float[A, B] a)
{
   a = Loop (m, ) <body = l (int64 k, bool go) => (go2, o) {
      go2 = Identity (go)
      one = Constant <value_ints = [1]> ()
      zero = Constant <value_ints = [0]> ()
      e = Add (k, one)
      o = Slice (x, zero, e) }>
}
""",
    [[s(1), f(1, 2)], [s(2), f(1, 2)]],
    want=[[f(1).reshape(1, 1)], Fails("differs in shape")],
)

case(
    "captures_two_deep",
    HEAD
    + """
g (int64 m, bool c, float[N] x, float[N] y) => (float[N] a, float[P, Q, N] b)
{
   k3 = Constant <value_float = 3.0> ()
   t = Mul (y, k3)
   a, b = Loop (m, , x) <body = outer (int64 k, bool go, v) => (go2, w, o) {
      go2 = Identity (go)
      w = If (c) <
         then_branch = t1 () => (p) {
            p, rest = Loop (m, , v) <body = inner (int64 k2, bool go3, v2) => (go4, w2, o2) {
               go4 = Identity (go3)
               u = Add (v2, t)
               w2 = Add (u, v)
               o2 = Mul (w2, k3) }> },
         else_branch = e1 () => (p) { p = Sub (v, t) }
      >
      q, o = Loop (m, , w) <body = inner2 (int64 k5, bool go5, v5) => (go6, w5, o5) {
         go6 = Identity (go5)
         kf = Cast <to = 1> (k)
         k5f = Cast <to = 1> (k5)
         d = Sub (kf, k5f)
         w5 = Add (v5, d)
         o5 = Add (w5, x) }>
   }>
}
""",
    [[s(3), YES, f(1, 2), f(3, 4)], [s(2), NO, f(1), f(2)]],
)

# As exporters write it whose loops slice by the number of the iteration.
case(
    "loop_number_as_vector",
    HEAD
    + """
g (int64[1] m, bool[1] c, float[N,2] x) => (float[K,2] y, float[2] z)
{
   z0 = Constant <value = float[2] {0, 0}> ()
   z, y = Loop (m, c, z0) <
      body = b (int64[1] i, bool[1] go, float[2] s) => (bool[1] again, float[2] sum, float[2] row) {
         one = Constant <value = int64[1] {1}> ()
         axis = Constant <value = int64[1] {0}> ()
         end = Add (i, one)
         rows = Slice (x, i, end, axis)
         row = Squeeze (rows, axis)
         sum = Add (s, row)
         k = Constant <value = int64[1] {3}> ()
         less = Less (end, k)
         again = And (go, less)
      }
   >
}
""",
    [[np.array([m]), np.array([True]), np.arange(8, dtype=np.float32).reshape(4, 2)] for m in (2, 4)],
)

case(
    "loop_initializers_in_body",
    HEAD
    + """
g (int64 m, float[2] x) => (float[2] y)
{
   y = Loop (m, , x) <body = l (int64 k, bool go, v) => (go2, w)
      <float[2] b = {1, 2}, float s = {0.5}>
   {
      go2 = Identity (go)
      t = Mul (v, s)
      w = Add (t, b) }>
}
""",
    [[s(3), f(1, 2)], [s(0), f(1, 2)]],
)

case(
    "loop_opset1",
    OLD % 8
    + """
g (int64 m, float[2] x) => (float[2] y, float[K,2] z)
{
   go0 = Constant <value = bool {1}> ()
   y, z = Loop (m, go0, x) <body = l (int64 k, bool go, float[2] v) => (bool go2, float[2] w, float[2] o) {
      go2 = Identity (go)
      t = Clip <min = -3.0, max = 3.0> (v)
      w = Add (t, x)
      o = Neg (w) }>
}
""",
    [[s(5), f(1, -2)]],
)

case(
    "loop_carried_sequence",
    HEAD
    + """
g (int64 m, float[N] x) => (float[K] y, int64 n, seq(float[J]) q)
{
   e = SequenceEmpty ()
   q = Loop (m, , e) <body = l (int64 k, bool go, v) => (go2, w) {
      go2 = Identity (go)
      one = Constant <value_ints = [1]> ()
      zero = Constant <value_ints = [0]> ()
      en = Add (k, one)
      o = Slice (x, zero, en)
      w = SequenceInsert (v, o) }>
   n = SequenceLength (q)
   y = ConcatFromSequence <axis = 0> (q)
}
""",
    [[s(3), f(1, 2, 3)], [s(1), f(5)], [s(0), f(5)]],
    want=[
        [f(1, 1, 2, 1, 2, 3), s(3), [f(1), f(1, 2), f(1, 2, 3)]],
        [f(5), s(1), [f(5)]],
        Fails("an empty sequence"),
    ],
)

# ---- Scan ----

case(
    "scan_axes_directions",
    HEAD
    + """
g (float[2] h, float[2,T] x, float[T,2] y) => (float[2] z, float[2,T] a, float[T,2] b)
{
   z, a, b = Scan <num_scan_inputs = 2, scan_input_axes = [1, -2], scan_input_directions = [1, 0],
                   scan_output_axes = [-1, 0], scan_output_directions = [0, 1],
                   body = l (p, u, v) => (q, o1, o2) {
      t = Add (p, u)
      q = Sub (t, v)
      o1 = Identity (q)
      o2 = Mul (u, v) }> (h, x, y)
}
""",
    [
        [f(1, 2), np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(6, dtype=np.float32).reshape(3, 2)],
        [f(1, 2), np.zeros((2, 1), np.float32), np.ones((1, 2), np.float32)],
    ],
)

case(
    "scan_zero_length",
    HEAD
    + """
g (float[2] h, float[T,2] x) => (float[2] z, float[T,2] a)
{
   z, a = Scan <num_scan_inputs = 1, body = l (p, u) => (q, o) { q = Add (p, u)  o = Neg (q) }> (h, x)
}
""",
    [[f(1, 2), np.zeros((0, 2), np.float32)], [f(1, 2), np.ones((2, 2), np.float32)]],
    want=[[f(1, 2), np.zeros((0, 2), np.float32)], [f(3, 4), -np.array([[2, 3], [3, 4]], np.float32)]],
)

case(
    "scan_captures",
    HEAD
    + """
g (float[N] h, float[T,N] x, bool c) => (float[N] z, float[T] a)
{
   k = Exp (h)
   z, a = Scan <num_scan_inputs = 1, body = l (p, u) => (q, o) {
      q = If (c) <
         then_branch = t () => (r) { m = Mul (u, k)  r = Add (p, m) },
         else_branch = e () => (r) { r = Max (p, u) }
      >
      o = ReduceSum <keepdims = 0> (q) }> (h, x)
}
""",
    [[f(0, 1), np.arange(6, dtype=np.float32).reshape(3, 2), c] for c in (YES, NO)],
)

SCAN8 = (
    OLD % 8
    + """
g (%sfloat[B,2] h, float[B,T,2] x) => (float[B,2] z, float[B,T,2] a)
{
   z, a = Scan <num_scan_inputs = 1%s, body = l (float[2] p, float[2] u) => (float[2] q, float[2] o) {
      q = Add (p, u)
      o = Identity (q) }> (%s, h, x)
}
"""
)
BATCH = [np.arange(4, dtype=np.float32).reshape(2, 2), np.arange(12, dtype=np.float32).reshape(2, 3, 2)]


def scan8(h, x, lens=None, back=False):
    z, a = h.copy(), np.zeros_like(x)
    for b in range(len(h)):
        n = x.shape[1] if lens is None else int(lens[b])
        for t in range(n):
            at = n - 1 - t if back else t
            z[b] += x[b, at]
            a[b, t] = z[b]
    return [z, a]


case("scan_opset8", SCAN8 % ("", "", ""), [BATCH], want=[scan8(*BATCH)])
case("scan_opset8_backward", SCAN8 % ("", ", directions = [1]", ""), [BATCH], want=[scan8(*BATCH, back=True)])
case(
    "scan_opset8_lengths",
    SCAN8 % ("int64[B] n, ", "", "n"),
    [[i(3, 1)] + BATCH, [i(0, 2)] + BATCH, [i(4, 1)] + BATCH],
    want=[scan8(*BATCH, lens=i(3, 1)), scan8(*BATCH, lens=i(0, 2)), Fails("out of range")],
)
case(
    "scan_opset8_lengths_backward",
    SCAN8 % ("int64[B] n, ", ", directions = [1]", "n"),
    [[i(2, 1)] + BATCH],
    want=[scan8(*BATCH, lens=i(2, 1), back=True)],
)

case(
    "loop_vectors_of_one",
    HEAD
    + """
g (int64[1] m, bool[1] c, float16[N] x, string[K] t) => (float16[N] y, string[K] u, bool[A] o, string[A, K] v)
{
   y, u, o, v = Loop (m, c, x, t) <body = l (int64 k, bool go, p, q) => (go2, r, q2, e, q3) {
      go2 = Identity (go)
      r = Add (p, x)
      one = Constant <value_int = 1> ()
      e = Less (k, one)
      q2 = StringConcat (q, t)
      q3 = Identity (q2) }>
}
""",
    [
        [i(m), np.array([c]), np.array([1, -2], np.float16), np.array(["a", "bc"], object)]
        for m, c in ((3, True), (0, True), (2, False))
    ],
    want=[
        [
            np.array([1 + n, -2 - 2 * n], np.float16),
            np.array(["a" * (n + 1), "bc" * (n + 1)], object),
            np.arange(n) < 1,
            np.array([["a" * (k + 2), "bc" * (k + 2)] for k in range(n)], object).reshape(n, 2),
        ]
        for n in (3, 0, 0)
    ],  # the reference evaluator gives scan outputs of no iteration one axis
)

case(
    "scan_in_loop",
    HEAD
    + """
g (int64 m, float[T,N] x) => (float[T,N] y, float[A,N] z)
{
   y, z = Loop (m, , x) <body = l (int64 k, bool go, p) => (go2, r, last) {
      go2 = Identity (go)
      shape = Shape <start = 1> (x)
      h = ConstantOfShape <value = float[1] {1}> (shape)
      last, r = Scan <num_scan_inputs = 2, body = b (float[N] a, float[N] u, float[N] v) => (float[N] a2, float[N] o) {
         t = Mul (u, a)
         a2 = Add (t, v)
         kf = Cast <to = 1> (k)
         o = Sub (a2, kf) }> (h, p, x) }>
}
""",
    [[s(2), f(1, 2, -1, 3, 0, 1).reshape(3, 2)], [s(1), f(1, 2).reshape(1, 2)]],
)

case(
    "if_of_a_constant",
    HEAD
    + """
g (float[N] x) => (float[N] y, float z)
{
   c = Constant <value = bool {0}> ()
   y = If (c) <
      then_branch = t () => (p) { a = Constant <value_ints = [5]> ()  p = Reshape (x, a) },
      else_branch = e () => (p) { p = Exp (x) }
   >
   d = Not (c)
   z = If (d) <
      then_branch = t2 () => (p) { p = ReduceSum <keepdims = 0> (x) },
      else_branch = e2 () => (p) { p = MatMul (x, c) }
   >
}
""",
    [[f(1, 2)]],
    want=[[np.exp(f(1, 2)), s(3, np.float32)]],  # the branch that is not taken is wrong
)

case(
    "while_from_body",
    HEAD
    + """
g (float x) => (float y, int64 n, float[A] steps)
{
   zero = Constant <value_int = 0> ()
   yes = Constant <value = bool {1}> ()
   y, n, steps = Loop (, yes, x, zero) <body = l (int64 k, bool go, v, c) => (more, w, c2, w2) {
      half = Constant <value_float = 0.5> ()
      one = Constant <value_int = 1> ()
      lim = Constant <value_float = 1.0> ()
      w = Mul (v, half)
      c2 = Add (c, one)
      w2 = Identity (w)
      more = Greater (w, lim) }>
}
""",
    [[s(9, np.float32)], [s(0.5, np.float32)]],
)

case(
    "loop_in_branch_grows",
    HEAD
    + """
g (bool c, int64 m, float[N] x) => (float[K] y)
{
   y = If (c) <
      then_branch = t () => (r) {
         r = Loop (m, , x) <body = l (int64 k, bool go, v) => (go2, w) { go2 = Identity (go)  w = Concat <axis = 0> (v, x) }>
      },
      else_branch = e () => (r) { z = NonZero (x)  zf = Cast <to = 1> (z)  a = Constant <value_ints = [0]> ()  r = Squeeze (zf, a) }
   >
}
""",
    [[YES, s(2), f(1, 0)], [YES, s(0), f(1, 0)], [NO, s(2), f(0, 1, 5)]],
)


def direct(m, x, y):
    a, b, c, d, e = x, y, [], [], []
    for k in range(m):
        c, d, e = c + [k], d + [a], e + [a + b]
        a, b = x, a + b
    d, e = (np.array(v, np.float32).reshape(m, 2) for v in (d, e))
    return [a, b, np.array(c, np.int64), d, e, e, np.full(m, 3, np.float32)]


case(
    "loop_direct_results",
    HEAD
    + """
g (int64 m, float[N] x, float[N] y) => (float[N] a, float[N] b, int64[K] c, float[K,N] d, float[K,N] e, float[K,N] h, float[K] z)
{
   a, b, c, d, e, h, z = Loop (m, , x, y) <
      body = l (int64 k, bool go, p, q) => (yes, x, w, k, p, w, w, one) <bool yes = {1}, float one = {3}> { w = Add (p, q) }
   >
}
""",
    [[s(3), f(1, 2), f(5, 6)], [s(0), f(1, 2), f(5, 6)]],
    want=[direct(m, f(1, 2), f(5, 6)) for m in (3, 0)],
)

case(
    "if_constant_results",
    HEAD
    + """
g (bool c) => (float[N] a, int64 b)
{
   a, b = If (c) <
      then_branch = t () => (u, v) <float[2] u = {1, 2}, int64 v = {5}> { },
      else_branch = e () => (u, v) <float[3] u = {1, 2, 3}, int64 v = {6}> { }
   >
}
""",
    [[YES], [NO]],
    want=[[f(1, 2), s(5)], [f(1, 2, 3), s(6)]],
)

case(
    "unused_results",
    HEAD
    + """
g (int64 m, float[N] x) => (float[N] a, float[K,N] d, float[3] u)
{
   a, , d = Loop (m, , x, x) <body = l (int64 k, bool go, p, q) => (g2, w, q2, o) {
      g2 = Identity (go)  w = Add (p, q)  q2 = Neg (q)  o = Mul (p, q) }>
   six = Constant <value_floats = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]> ()
   u, = Split <num_outputs = 2, axis = 0> (six)
}
""",
    [[s(2), f(1, 2)]],
    patch=lambda model: model.graph.node[2].output.extend([""] * (2 - len(model.graph.node[2].output))),
    want=[[f(1, 2), np.array([[1, 4], [-2, -8]], np.float32), f(1, 2, 3)]],
)

case(
    "loop_int4",
    HEAD
    + """
g (int64 m, float[N] x) => (float[K,N] y, float[K,N] z, float[N] v)
{
   i = Cast <to = 22> (x)
   j, a, b = Loop (m, , i) <body = l (int64 k, bool go, q) => (go2, q2, o, p) {
      go2 = Identity (go)
      kf = Cast <to = 1> (k)
      t = Add (x, kf)
      o = Cast <to = 22> (t)
      p = Cast <to = 17> (t)
      qf = Cast <to = 1> (q)
      q3 = Neg (qf)
      q2 = Cast <to = 22> (q3) }>
   y = Cast <to = 1> (a)
   z = Cast <to = 1> (b)
   v = Cast <to = 1> (j)
}
""",
    [[s(3), f(1, 2, -3)], [s(4), f(1)], [s(0), f(1)]],
    want=[
        [y, y, v]
        for y, v in (
            (np.array([[1, 2, -3], [2, 3, -2], [3, 4, -1]], np.float32), f(-1, -2, 3)),
            (np.array([[1], [2], [3], [4]], np.float32), f(1)),
            (np.zeros((0, 1), np.float32), f(1)),
        )
    ],  # two int4 share a byte, so rows of an odd length do
)

case(
    "if_branch_without_a_result",
    HEAD
    + """
g (bool c, float[N] x) => (float[M] y)
{
   y = If (c) <
      then_branch = t () => (p) { p = GatherElements (table, places) },
      else_branch = u () => (p) { p = Neg (x) }
   >
}
""",
    [[NO, f(1, 2)], [YES, f(1)]],
    patch=lambda m: m.graph.initializer.extend(
        [numpy_helper.from_array(29000 + np.arange(20000) * 7919 % 20000, "places"), numpy_helper.from_array(np.ones(30000, np.float32) / 3, "table")]
    ),
    want=[[f(-1, -2)], Fails("out of range")],  # constants: what the node would give is larger than what is computed at once
)
