"""Sparse tensors, sequences, optionals, tensors of as many axes as there may be."""

import ml_dtypes
import numpy as np
from onnx import helper, numpy_helper

from forms_case import CASES, HEAD, NO, OLD, YES, Fails, case, f, i, s


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

case(
    "flex_attention_captures",
    '<ir_version: 13, opset_import: ["": 26, "ai.onnx.preview": 1]>'
    + """
g (float[B,4,L,D] q, float[B,2,S,D] k, float[B,2,S,E] v, float[4] slope, bool[S] keep) => (float[B,4,L,E] y)
{
   y = ai.onnx.preview.FlexAttention <
      score_mod = m (sc) => (out) {
         n = Shape <start = 3> (sc)
         ax = Constant <value_ints = [1, 2]> ()
         zero = Constant <value_int = 0> ()
         one = Constant <value_int = 1> ()
         nn = Squeeze (n)
         j = Range (zero, nn, one)
         jf = Cast <to = 1> (j)
         sl = Unsqueeze (slope, ax)
         bias = Mul (sl, jf)
         t = Add (sc, bias)
         never = Constant <value_float = -inf> ()
         out = Where (keep, t, never) },
      prob_mod = p (pr) => (out) { c = Constant <value_float = 0.5> ()  out = Mul (pr, c) }
   > (q, k, v)
}
""".replace("value_float = -inf", "value = float {-inf}"),
    [
        [
            np.sin(np.arange(2 * 4 * lq * 8, dtype=np.float32)).reshape(2, 4, lq, 8),
            np.cos(np.arange(2 * 2 * lk * 8, dtype=np.float32)).reshape(2, 2, lk, 8),
            np.sin(1 + np.arange(2 * 2 * lk * 5, dtype=np.float32)).reshape(2, 2, lk, 5),
            f(0.5, 0.25, -0.5, 1),
            np.arange(lk) % 3 != 1,
        ]
        for lq, lk in ((7, 7), (1, 40), (33, 2))
    ],
    want="flex",
)


def flex(q, k, v, slope, keep):
    k, v = (np.repeat(x.astype(np.float64), 2, axis=1) for x in (k, v))
    t = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[3]) + slope[:, None, None] * np.arange(k.shape[2])
    p = np.exp(np.where(keep, t, -np.inf))
    return [(0.5 * (p / p.sum(-1, keepdims=True)) @ v).astype(np.float32)]


CASES[-1]["want"] = [flex(*feed) for feed in CASES[-1]["feeds"]]

case(
    "sequence_edges",
    HEAD
    + """
g (seq(float[K]) a, int64 p, float[N] x) => (seq(float[K]) b, float[J] c, int64 n, seq(float[K]) d)
{
   b = SequenceInsert (a, x, p)
   c = SequenceAt (b, p)
   e = SequenceErase (b, p)
   n = SequenceLength (e)
   d = Identity (a)
}
""",
    [
        [[f(1, 2), f(3)], s(0), f(7)],
        [[f(1, 2), f(3)], s(2), f()],
        [[f(1, 2), f(3)], s(-1), f(7)],
        [[f(1, 2), f(3)], s(3), f(7)],
        [[], s(0), f(7)],
        [[], s(-1), f(7)],
    ],
    want=[
        [[f(7), f(1, 2), f(3)], f(7), s(2), [f(1, 2), f(3)]],
        [[f(1, 2), f(3), f()], f(), s(2), [f(1, 2), f(3)]],
        [[f(1, 2), f(7), f(3)], f(3), s(2), [f(1, 2), f(3)]],
        Fails("position 3"),
        [[f(7)], f(7), s(0), []],
        Fails("position -1"),
    ],
)

case(
    "captured_sequence",
    HEAD
    + """
g (seq(float[K]) a, int64 m, bool c) => (float[J] y, seq(float[K]) q)
{
   z = Constant <value_floats = [0.0]> ()
   y = Loop (m, , z) <body = l (int64 k, bool go, v) => (go2, w) {
      go2 = Identity (go)
      w = If (c) <
         then_branch = t () => (p) { e = SequenceAt (a, k)  p = Concat <axis = 0> (v, e) },
         else_branch = u () => (p) { n = SequenceLength (a)  nf = Cast <to = 1> (n)  p = Add (v, nf) }
      > }>
   q = SequenceMap (a) <body = b (e) => (r) { l = SequenceLength (a)  lf = Cast <to = 1> (l)  r = Mul (e, lf) }>
}
""",
    [[[f(1, 2), f(3)], s(2), YES], [[f(1, 2), f(3)], s(2), NO], [[], s(1), YES]],
    want=[[f(0, 1, 2, 3), [f(2, 4), f(6)]], [f(4), [f(2, 4), f(6)]], Fails("position 0")],
)

for kind in np.complex64, np.complex128, np.float16, ml_dtypes.bfloat16, np.bool_, np.uint8:
    name = np.dtype(kind).name
    case(
        "sequence_of_" + name,
        HEAD
        + """
g (KIND[N] x, KIND[M] y) => (seq(KIND[K]) q, KIND[A] a, KIND[B] b, optional(KIND[C]) o)
{
   q = SequenceConstruct (x, y)
   one = Constant <value_int = 1> ()
   a = SequenceAt (q, one)
   b = ConcatFromSequence <axis = 0> (q)
   o = Optional (a)
}
""".replace("KIND", name),
        [[np.array(v).astype(kind) for v in ([1, 0], [1, 1, 0])]],
        want=[
            [
                [np.array(v).astype(kind) for v in ([1, 0], [1, 1, 0])],
                *(np.array(v).astype(kind) for v in ([1, 1, 0], [1, 0, 1, 1, 0], [1, 1, 0])),
            ]
        ],
    )

case(
    "sequence_shape_given",
    HEAD
    + """
g (seq(float[]) a, optional(float[]) o, int64 p) => (float[N] y, float[M] z, float[K] w)
{
   e = SequenceAt (a, p)
   y = Neg (e)
   z = ConcatFromSequence <axis = 0> (a)
   g1 = OptionalGetElement (o)
   w = Exp (g1)
}
""",
    [[[f(1, 2), f(3)], f(1), s(1)]],
    options=["--shape", "a=?", "--shape", "o=?"],
    want=[[f(-3), f(1, 2, 3), np.exp(f(1))]],
)

case(
    "sequence_ranks_differ",
    HEAD
    + """
g (seq(float[]) a, float[N] x) => (seq(float[]) q, int64 n)
{
   q = SequenceInsert (a, x)
   n = SequenceLength (q)
}
""",
    [[[f(1, 2).reshape(1, 2)], f(1)], [[], f(1)]],
)

case(
    "loop_concat_new_axis",
    HEAD
    + """
g (int64 m, float[N] x) => (float[K,N] y, float[A] z)
{
   e = SequenceEmpty ()
   q, r = Loop (m, , e, e) <body = l (int64 k, bool go, v, u) => (go2, w, t) {
      go2 = Identity (go)
      kf = Cast <to = 1> (k)
      o = Add (x, kf)
      w = SequenceInsert (v, o)
      zero = Constant <value_int=0> ()
      t = SequenceInsert (u, kf, zero) }>
   y = ConcatFromSequence <axis = 0, new_axis = 1> (q)
   z = ConcatFromSequence <axis = 0, new_axis = 1> (r)
}
""",
    [[s(3), f(1, 2)]],
)

case(
    "nested_loop_seq",
    HEAD
    + """
g (int64 m, float[N] x) => (seq(float[K]) q, int64 n)
{
   e = SequenceEmpty ()
   q = Loop (m, , e) <body = l (int64 k, bool go, v) => (go2, w) {
      go2 = Identity (go)
      w = Loop (k, , v) <body = l2 (int64 k2, bool g3, v2) => (g4, w2) {
         g4 = Identity (g3)
         t = Concat <axis = 0> (x, x)
         w2 = SequenceInsert (v2, t) }> }>
   n = SequenceLength (q)
}
""",
    [[s(3), f(1, 2)], [s(0), f(1, 2)]],
)

case(
    "seq_if_in_loop_erase",
    HEAD
    + """
g (int64 m, seq(float[K]) a, float[J] x) => (seq(float[K]) q)
{
   q = Loop (m, , a) <body = l (int64 k, bool go, v) => (go2, w) {
      go2 = Identity (go)
      two = Constant <value_int = 2> ()
      r = Mod (k, two)
      c = Cast <to = 9> (r)
      w = If (c) <
         then_branch = t () => (p) { p = SequenceErase (v) },
         else_branch = e () => (p) { p = SequenceInsert (v, x) }
      > }>
}
""",
    [[s(4), [f(1, 2)], f(3)], [s(3), [], f(3)]],
)

case(
    "scan_seq_capture",
    HEAD
    + """
g (float[T,2] x, seq(float[2]) a) => (float[T,2] y)
{
   y = Scan <num_scan_inputs = 1, body = b (u) => (o) {
      z = Constant <value_int = 0> ()
      e = SequenceAt (a, z)
      o = Add (u, e) }> (x)
}
""",
    [[np.ones((3, 2), np.float32), [f(1, 2)]]],
)

case(
    "split_to_seq_map",
    HEAD
    + """
g (float[N,2] x, int64[K] sp) => (float[A,B] y)
{
   q = SplitToSequence <axis=0> (x, sp)
   r = SequenceMap (q) <body = b (e) => (t) { t = Softmax <axis=0> (e) }>
   y = ConcatFromSequence <axis=0> (r)
}
""",
    [[np.arange(8, dtype=np.float32).reshape(4, 2), i(1, 3)]],
)

case(
    "optional_absent_in_loop",
    HEAD
    + """
g (int64 m, optional(float[N]) o, float[N] x) => (float[N] y)
{
   y = Loop (m, , x) <body = l (int64 k, bool go, v) => (go2, w) {
      go2 = Identity (go)
      h = OptionalHasElement (o)
      w = If (h) <
         then_branch = t () => (p) { e = OptionalGetElement (o)  p = Add (v, e) },
         else_branch = u () => (p) { p = Neg (v) }
      > }>
}
""",
    [[s(3), f(1, 2), f(5, 6)], [s(3), None, f(5, 6)]],
    want=[[f(8, 12)], [f(-5, -6)]],
)

case(
    "has_tensor_seq_none",
    HEAD
    + """
g (float[N] x, seq(float[K]) a) => (bool p, bool q, bool r, float[N] y, seq(float[K]) b)
{
   p = OptionalHasElement (x)
   q = OptionalHasElement (a)
   r = OptionalHasElement ()
   y = OptionalGetElement (x)
   b = OptionalGetElement (a)
}
""",
    [[f(1, 2), [f(3)]]],
    want=[[YES, YES, NO, f(1, 2), [f(3)]]],
)

case(
    "optional_loop_in_branch",
    HEAD
    + """
g (bool c, int64 m, optional(float[N]) o, float[M] x) => (float[K] y, bool h)
{
   y = If (c) <
      then_branch = t () => (r) {
         r = Loop (m, , o) <body = l (int64 k, bool go, v) => (go2, w) {
            go2 = Identity (go)
            h1 = OptionalHasElement (v)
            w = If (h1) <
               then_branch = t2 () => (p) { p = OptionalGetElement (v) },
               else_branch = e2 () => (p) { p = Neg (x) }
            > }>
      },
      else_branch = e () => (r) { r = Exp (x) }
   >
   q = Loop (m, , o) <body = l3 (int64 k, bool go, v) => (go2, v2) {
      go2 = Identity (go)
      v2 = Identity (v) }>
   h = OptionalHasElement (q)
}
""",
    [
        [YES, s(2), None, f(1, 2)],
        [YES, s(2), f(5, 6, 7), f(1, 2)],
        [NO, s(2), None, f(1, 2)],
        [YES, s(0), None, f(1, 2)],
        [YES, s(0), f(5), f(1, 2)],
    ],
    want=[[f(-1, -2), NO], [f(5, 6, 7), YES], [np.exp(f(1, 2)), NO], Fails("position 0"), [f(5), YES]],
)

FLEX_HEAD = '<ir_version: 13, opset_import: ["": 26, "ai.onnx.preview": 1, "local": 1]>'
case(
    "flex_attention_in_function",
    FLEX_HEAD
    + """
g (float[1,2,L,4] q, float[1,2,S,4] k, float[1,2,S,4] v, float b) => (float[1,2,L,4] y)
{
   c = Exp (b)
   y = local.f <m = m1 (sc) => (o) { o = Mul (sc, c) }> (q, k, v, b)
}
<domain: "local", opset_import: ["": 26, "ai.onnx.preview": 1]>
f <m, p> (q, k, v, c) => (y)
{
   y = ai.onnx.preview.FlexAttention <score_mod: graph = @m, prob_mod: graph = @p> (q, k, v)
}
""",
    [
        [
            np.sin(np.arange(24, dtype=np.float32)).reshape(1, 2, 3, 4),
            np.cos(np.arange(40, dtype=np.float32)).reshape(1, 2, 5, 4),
            np.sin(2 + np.arange(40, dtype=np.float32)).reshape(1, 2, 5, 4),
            s(0.5, np.float32),
        ]
    ],
    want="its graphs: one that the caller gives, one that nobody gives",
)


def scaled(q, k, v, b):
    p = np.exp(q.astype(np.float64) @ k.swapaxes(2, 3) / 2 * np.exp(b))
    return [(p / p.sum(-1, keepdims=True) @ v).astype(np.float32)]


CASES[-1]["want"] = [scaled(*feed) for feed in CASES[-1]["feeds"]]

MANY = 150  # inputs of one node
case(
    "many_inputs",
    HEAD
    + "g (%s) => (float[n,2] total, float[n,2] most, float[n,2] least, float[n,2] middle)\n{\n"
    % ", ".join("float[n,2] x%d" % k for k in range(MANY))
    + "".join("   %s = %s (%s)\n" % (y, op, ", ".join("x%d" % k for k in range(MANY))) for y, op in (("total", "Sum"), ("most", "Max"), ("least", "Min"), ("middle", "Mean")))
    + "}\n",
    [[np.sin(np.arange(2 * n, dtype=np.float32) + k).reshape(n, 2) for k in range(MANY)] for n in (1, 5)],
)

case(
    "batch_norm_by_place",
    OLD % 7
    + """
g (float[n,3,2,4] x, float[3,2,4] s, float[3,2,4] b, float[3,2,4] m, float[3,2,4] v) => (float[n,3,2,4] y)
{
   y = BatchNormalization <spatial = 0> (x, s, b, m, v)
}
""",
    [[np.sin(np.arange(24 * n, dtype=np.float32)).reshape(n, 3, 2, 4)] + [np.cos(np.arange(24, dtype=np.float32) / k).reshape(3, 2, 4) + 2 for k in (3, 5, 7, 9)] for n in (1, 3)],
    want="a mean and a variance for each place",
)
CASES[-1]["want"] = [[(x - m) / np.sqrt(v + np.float32(1e-5)) * s + b] for x, s, b, m, v in CASES[-1]["feeds"]]

case(
    "outputs_listed_again",
    HEAD
    + """
g (float[3] x) => (float[3] y, float[3] x, float[3] y, float[3] y)
{
   y = Neg (x)
}
""",
    [[f(1, -2, 3)]],
)


def nameless_results(model):
    """All but one of each node, "two" apart."""
    split, comma, _, low, high, unique = model.graph.node
    for node, k in ((split, 1), (comma, 1), (low, 1), (high, 0), (unique, 0)):
        node.output[k] = ""


case(
    "results_left_out",
    HEAD
    + """
g (string[2,2] x, string[3] z, float[M] v) => (string[2,2,K] y, string[3,L] w, float[2] top, int64[2] at, int64[U] places)
{
   y, y_n = StringSplit (x)
   w, w_n = StringSplit <delimiter = ","> (z)
   two = Constant <value_ints = [2]> ()
   top, top_at = TopK (v, two)
   top_2, at = TopK (v, two)
   u, places = Unique (v)
}
""",
    [[np.array([["a b c", " d"], ["", "e f"]], object), np.array(["1,2", "3", ""], object), f(3, 5, 3)]],
    patch=nameless_results,
    want=[
        [
            np.array([[["a", "b", "c"], ["d", "", ""]], [["", "", ""], ["e", "f", ""]]], object),
            np.array([["1", "2"], ["3", ""], ["", ""]], object),
            f(5, 3),
            i(1, 0),
            i(0, 1),
        ]
    ],  # neither oracle gives a result without a name
)


def many_axes():
    """The state of a system of 14 two-way parts among axes of 1, 32 in all: two parts meet a matrix, others are summed, chosen, put in another order."""
    sizes = [2 if k % 9 in (0, 3, 4, 7) else 1 for k in range(32)]
    pair = [3, 4] + [k for k in range(32) if k not in (3, 4)]
    back = [pair.index(k) for k in range(32)]
    turned = [(k * 5 + 3) % 32 for k in range(32)]
    of = lambda dims: ",".join(map(str, dims))
    model = (
        HEAD
        + f"""
g (float[{of(sizes)}] x, float[4,4] gate, float[{of("abcdefghijklmnopqrstuvwxyzABCDEF")}] u) => (float[{of(sizes)}] y, float[{of(sizes[k] for k in turned)}] t, float[{of(sizes[:27])}] r, float[{of(sizes)}] s, float[] v)
<int64[2] four = {{4, -1}}, int64[32] whole = {{{of(sizes)}}}, int64[5] last = {{27, 28, 29, 30, 31}}, int64[1] minus = {{-1}}, int64[1] least = {{-9}}, int64[1] at = {{4}}>
{{
   moved = Transpose <perm = [{of(pair)}]> (x)
   rows = Reshape (moved, four)
   product = MatMul (gate, rows)
   again = Reshape (product, whole)
   y = Transpose <perm = [{of(back)}]> (again)
   t = Transpose <perm = [{of(turned)}]> (u)
   r = ReduceSum <keepdims = 0> (x, last)
   reverse = Slice (y, minus, least, at, minus)
   s = Add (x, reverse)
   v = ReduceMax <keepdims = 0> (u)
}}
"""
    )
    rng = np.random.default_rng(32)
    x, u = (rng.standard_normal(sizes).astype(np.float32) for _ in range(2))
    case("many_axes", model, [[x, rng.standard_normal((4, 4)).astype(np.float32), u]])


many_axes()
