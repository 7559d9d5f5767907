"""The models of forms.py: CASES, dicts of

    name    letters
    model   ONNX's text form
    feeds   lists of inputs: arrays, lists (sequences), None (an optional without a value)
    patch   what the text form cannot say, done to the ModelProto
    want    the outputs of each feed, or Fails(text), where no oracle is right; says why in a comment
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


class Fails:
    """The run ends with a message that contains this."""

    def __init__(self, text):
        self.text = text


CASES = []


def case(name, model, feeds, **more):
    CASES.append(dict(name=name, model=model, feeds=feeds, **more))


def f(*x):
    return np.array(x, np.float32)


def i(*x):
    return np.array(x, np.int64)


def s(x, t=np.int64):
    return np.array(x, t)


YES, NO = np.array(True), np.array(False)
HEAD = '<ir_version: 10, opset_import: ["": 21, "local": 1]>\n'
OLD = '<ir_version: 4, opset_import: ["": %d]>\n'

# ---- functions ----

case(
    "function_attributes",
    HEAD
    + """
g (float[N] x) => (float[N] y, float[N] z, float[N] w)
{
   y = local.outer <a = 3.0> (x)
   z = local.outer (x)
   w = local.outer <a = -1.0, n = 2> (x)
}
<domain: "local", opset_import: ["": 21, "local": 1]>
outer <a: float = 2.0, n: int = 4> (x) => (y)
{
   y = local.inner <alpha: float = @a, size: int = @n> (x)
}
<domain: "local", opset_import: ["": 21]>
inner <alpha, size> (x) => (r)
{
   c = Constant <value_float: float = @alpha> ()
   k = Constant <value_int: int = @size> ()
   kf = CastLike (k, x)
   t = LeakyRelu <alpha: float = @alpha> (x)
   u = Mul (t, c)
   r = Add (u, kf)
}
""",
    [[f(1, -2, 3)], [f()]],
)

case(
    "function_attribute_left_out",
    HEAD
    + """
g (float[N] x) => (float[N] y, float[N] z)
{
   y = local.act (x)
   z = local.act <alpha = 0.5> (x)
}
<domain: "local", opset_import: ["": 21]>
act <alpha> (x) => (y)
{
   y = LeakyRelu <alpha: float = @alpha> (x)
}
""",
    [[f(1, -2, 3)]],
    want=[[f(1, -0.02, 3), f(1, -1, 3)]],  # a reference to what the caller left out: the operator's default holds
)

case(
    "function_opsets",
    '<ir_version: 10, opset_import: ["": 21, "old": 1, "new": 1]>'
    + """
g (float[1,N,1] x) => (float[N] y, float[N] z)
{
   y = old.f (x)
   z = new.f (x)
}
<domain: "old", opset_import: ["": 9]>
f (x) => (y)
{
   t = Squeeze <axes = [0, 2]> (x)
   u = Clip <min = -1.0, max = 1.0> (t)
   y = Dropout (u)
}
<domain: "new", opset_import: ["": 18]>
f (x) => (y)
{
   axes = Constant <value_ints = [0, 2]> ()
   low = Constant <value_float = -2.0> ()
   t = Squeeze (x, axes)
   y = Clip (t, low)
}
""",
    [[f(1, -2, -3).reshape(1, 3, 1)]],
    want=[[f(1, -1, -1), f(1, -2, -2)]],  # the reference evaluator runs both bodies at one opset
)

case(
    "function_lists",
    HEAD
    + """
g (float[4] x) => (float[2,2] y, float[3] z, string w)
{
   y, z, w = local.f <shape = [2, 2], add = [1.0, 2.0], word = "ab"> (x)
}
<domain: "local", opset_import: ["": 21]>
f <shape, add, word, more: ints = [0, 1, 2]> (x) => (y, z, w)
{
   sh = Constant <value_ints: ints = @shape> ()
   a = Constant <value_floats: floats = @add> ()
   r = Reshape (x, sh)
   y = Add (r, a)
   m = Constant <value_ints: ints = @more> ()
   z = Cast <to = 1> (m)
   w = Constant <value_string: string = @word> ()
}
""",
    [[f(1, 2, 3, 4)]],
)

case(
    "function_optional_operands",
    HEAD
    + """
g (float[N] x, float lo) => (float[N] y, float[N] z, float[N] u)
{
   y = local.f (x)
   z = local.f (x, lo)
   u, = local.g (x, , lo)
}
<domain: "local", opset_import: ["": 21]>
f (x, lo, hi) => (y)
{
   y = Clip (x, lo, hi)
}
<domain: "local", opset_import: ["": 21, "local": 1]>
g (x, lo, hi) => (y, n)
{
   y = local.f (x, lo, hi)
   n = Neg (x)
}
""",
    [[f(1, -2, 3), s(0, np.float32)]],
    want=[[f(1, -2, 3), f(1, 0, 3), f(0, -2, 0)]],
)

case(
    "function_control_flow",
    HEAD
    + """
g (float[N] x, bool c, int64 n) => (float[N] y, float[N] z, float[K, N] r)
{
   y = local.pick <by = 2.0> (c, x)
   z, r = local.turn <by = 3.0> (n, x)
}
<domain: "local", opset_import: ["": 21]>
pick <by> (c, x) => (y)
{
   t = Neg (x)
   y = If (c) <
      then_branch = a () => (p) { k = Constant <value_float: float = @by> ()  p = Mul (t, k) },
      else_branch = b () => (p) { p = Sub (x, t) }
   >
}
<domain: "local", opset_import: ["": 21, "local": 1]>
turn <by> (n, x) => (y, r)
{
   go = Constant <value = bool {1}> ()
   y, r = Loop (n, go, x) <
      body = b (int64 k, bool more, v) => (next, w, row) {
         next = Identity (more)
         zero = Constant <value_int = 0> ()
         even = Equal (k, zero)
         w = local.pick <by: float = @by> (even, v)
         row = Add (w, x)
      }
   >
}
""",
    [[f(1, -2, 3), YES, s(3)], [f(1, 5), NO, s(1)]],
)

case(
    "function_in_subgraph_captures",
    HEAD
    + """
g (float[N] x, bool c) => (float[N] y)
{
   a = Exp (x)
   y = If (c) <
      then_branch = t () => (p) { p = local.f (a) },
      else_branch = e () => (p) { q = local.f (x)  p = local.f (q) }
   >
}
<domain: "local", opset_import: ["": 21]>
f (a) => (y)
{
   x = Add (a, a)
   y = Mul (x, a)
}
""",
    [[f(1, -2, 3), YES], [f(1, 2), NO]],
)

case(
    "function_instead_of_operator",
    '<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>'
    + """
g (float[N] x) => (float[N] y)
{
   y = com.microsoft.Gelu (x)
}
<domain: "com.microsoft", opset_import: ["": 21]>
Gelu (x) => (y)
{
   y = Neg (x)
}
""",
    [[f(1, -2, 3)]],
    want=[[f(-1, 2, -3)]],  # what a model defines goes before
)

case(
    "function_overloads",
    HEAD
    + """
g (float[N] x) => (float[N] y, float[N] z)
{
   y = local.f:plus (x)
   z = local.f:minus (x)
}
<domain: "local", overload: "plus", opset_import: ["": 21]>
f (x) => (y) { y = Add (x, x) }
<domain: "local", overload: "minus", opset_import: ["": 21]>
f (x) => (y) { y = Neg (x) }
""",
    [[f(1, -2, 3)]],
    want=[[f(2, -4, 6), f(-1, 2, -3)]],  # neither oracle chooses by overload
)


def graph_by_reference(model):
    """Function "choose" runs graphs that its caller gives, one of which captures a value of the caller's."""

    def branch(name, node):
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info("p", TensorProto.FLOAT, None)])

    call = model.graph.node[1]
    call.attribute.append(helper.make_attribute("yes", branch("t", helper.make_node("Mul", ["a", "x"], ["p"]))))
    call.attribute.append(helper.make_attribute("no", branch("e", helper.make_node("Neg", ["a"], ["p"]))))
    choice = model.functions[0].node[2]
    for name, ref in ("then_branch", "yes"), ("else_branch", "no"):
        choice.attribute.add(name=name, ref_attr_name=ref, type=5)
    model.functions[0].attribute.extend(["yes", "no"])


case(
    "function_graph_attribute",
    HEAD
    + """
g (float[N] x, float[N] b) => (float[N] y)
{
   a = Exp (x)
   y = local.choose (b)
}
<domain: "local", opset_import: ["": 21]>
choose (a) => (y)
{
   d = ReduceSum <keepdims = 0> (a)
   c = Cast <to = 9> (d)
   e = If (c)
   y = Add (e, a)
}
""",
    [[f(0, 1, 2), f(1, 2, 3)], [f(0, 1, 2), f(0, 0, 0)]],
    patch=graph_by_reference,
    want=[
        [np.exp(f(0, 1, 2)) * f(0, 1, 2) + f(1, 2, 3)],
        [-np.exp(f(0, 1, 2))],
    ],  # the names in a graph are its writer's: `a` is Exp(x), not the function's operand
)

# ---- If ----

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

# ---- sparse tensors ----


def sparse(name, dense, flat):
    at = np.argwhere(dense)
    values = numpy_helper.from_array(dense[tuple(at.T)], name)
    where = np.ravel_multi_index(tuple(at.T), dense.shape) if flat else at
    return helper.make_sparse_tensor(values, numpy_helper.from_array(where.astype(np.int64), name + "_at"), dense.shape)


DENSE = np.array([[0, 2, 0], [3, 0, 0], [0, 0, -4]])


def sparse_forms(model):
    model.graph.sparse_initializer.append(sparse("w", DENSE.astype(np.float32), True))
    model.graph.sparse_initializer.append(sparse("v", DENSE.astype(np.int32), False))
    model.graph.sparse_initializer.append(sparse("none", np.zeros((2, 2), np.float32), False))
    for node, (t, flat) in zip(model.graph.node, ((np.float64, False), (np.int64, True), (np.float16, True))):
        node.attribute.append(helper.make_attribute("sparse_value", sparse("c", DENSE.astype(t), flat)))


case(
    "sparse_forms",
    HEAD
    + """
g (float[3,3] x, bool c) => (float[3,3] y, int32[3,3] v2, double[3,3] d, int64[3,3] e, float16[3,3] h, float[2,2] z)
{
   d1 = Constant ()
   e1 = Constant ()
   h1 = Constant ()
   d = Identity (d1)
   e = Identity (e1)
   h = Identity (h1)
   z = Neg (none)
   v2 = Add (v, v)
   y = If (c) <
      then_branch = t () => (p) { p = MatMul (x, w) },
      else_branch = u () => (p) { p = Add (x, w) }
   >
}
""",
    [[np.arange(9, dtype=np.float32).reshape(3, 3), c] for c in (YES, NO)],
    patch=sparse_forms,
    want=[
        [y, 2 * DENSE.astype(np.int32), DENSE.astype(np.float64), DENSE, DENSE.astype(np.float16), -np.zeros((2, 2), np.float32)]
        for y in (np.arange(9).reshape(3, 3) @ DENSE, np.arange(9).reshape(3, 3) + DENSE)
        for y in [y.astype(np.float32)]
    ],
)

# ---- sequences and optionals ----

case(
    "sequence_map_forms",
    HEAD
    + """
g (seq(float[K]) a, seq(float[J]) b, float[1] x) => (seq(float[K]) p, seq(float[M]) q)
{
   k = Exp (x)
   p, q = SequenceMap (a, b, x) <body = m (u, v, w) => (r, t) {
      s1 = Add (u, w)
      r = Mul (s1, k)
      t = Concat <axis = 0> (v, u) }>
}
""",
    [[[f(1, 2), f(3)], [f(4), f(5, 6)], f(1)], [[], [], f(1)]],
    want=[
        [[f(2, 3) * np.exp(f(1)), f(4) * np.exp(f(1))], [f(4, 1, 2), f(5, 6, 3)]],
        [[], []],
    ],
)

case(
    "sequence_through_if",
    HEAD
    + """
g (bool c, seq(float[K]) a, float[N] x) => (seq(float[J]) q, float[M] y)
{
   q = If (c) <
      then_branch = t () => (p) { p = SequenceInsert (a, x) },
      else_branch = e () => (p) { n = Neg (x)  p = SequenceConstruct (n, x) }
   >
   last = Constant <value_int = -1> ()
   y = SequenceAt (q, last)
}
""",
    [[YES, [f(1, 2)], f(3)], [YES, [], f(3)], [NO, [f(1, 2)], f(3, 4)]],
)

OPTIONAL = """
g (optional(%s) o, %s d) => (bool h, %s y)
{
   h = OptionalHasElement (o)
   y = If (h) <
      then_branch = t () => (p) { p = OptionalGetElement (o) },
      else_branch = e () => (p) { p = Identity (d) }
   >
}
"""
case(
    "optional_tensor",
    HEAD + OPTIONAL % (("float[N]",) * 3),
    [[f(1, 2), f(5)], [None, f(5)]],
    want=[[YES, f(1, 2)], [NO, f(5)]],
)
case(
    "optional_sequence",
    HEAD + OPTIONAL % (("seq(float[N])",) * 3),
    [[[f(1, 2), f(3)], []], [[], []], [None, [f(5)]]],
    want=[[YES, [f(1, 2), f(3)]], [YES, []], [NO, [f(5)]]],
)
case(
    "optional_made",
    HEAD
    + """
g (bool c, float[N] x) => (optional(float[N]) o, optional(seq(float[N])) q, bool h)
{
   o = If (c) <
      then_branch = t () => (p) { p = Optional (x) },
      else_branch = e () => (p) { p = Optional <type = float[N]> () }
   >
   sq = SequenceConstruct (x, x)
   q = Optional (sq)
   h = OptionalHasElement (o)
}
""",
    [[YES, f(1, 2)], [NO, f(5)]],
    want=[[f(1, 2), [f(1, 2), f(1, 2)], YES], [None, [f(5), f(5)], NO]],
)
