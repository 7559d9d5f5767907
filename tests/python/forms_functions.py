"""Model-local functions: attributes by reference, opsets, overloads, graphs, control flow."""

import numpy as np
from onnx import TensorProto, helper

from forms_case import HEAD, NO, YES, case, f, i, s

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

case(
    "function_absent_operand_asked_for",
    HEAD
    + """
g (float[N] x, float[N] b) => (float[N] y, float[N] z)
{
   y = local.f (x)
   z = local.f (x, b)
}
<domain: "local", opset_import: ["": 21]>
f (x, b) => (y)
{
   h = OptionalHasElement (b)
   y = If (h) <
      then_branch = t () => (p) { p = Mul (x, b) },
      else_branch = e () => (p) { p = Neg (x) }
   >
}
""",
    [[f(1, -2), f(3, 4)]],
    want=[[f(-1, 2), f(3, -8)]],  # ONNX Runtime wants a value there
)

case(
    "function_results",
    HEAD
    + """
g (float[N] x) => (float[N] y, float[N] z, float[N] w, float[N] v)
{
   y, z, n = local.f (x)
   w = local.f (n)
   , v = local.f (w)
}
<domain: "local", opset_import: ["": 21]>
f (x) => (x, y, n)
{
   n = Neg (x)
   y = Identity (n)
}
""",
    [[f(1, -2)]],
    want=[[f(1, -2), f(-1, 2), f(-1, 2), f(1, -2)]],  # an operand as a result: ONNX Runtime wants a node in between
)

case(
    "function_tensor_attributes",
    HEAD
    + """
g (float[2] x) => (float[2] y, bool h, int64[2] k)
{
   y, h, k = local.f <c = float[2] {3, 4}, t: int = 7> (x)
}
<domain: "local", opset_import: ["": 21]>
f <c, t, v: tensor = int64[1] {9}> (x) => (y, h, k)
{
   a = Constant <value: tensor = @c> ()
   y = Add (x, a)
   s1 = SequenceEmpty <dtype: int = @t> ()
   o = Optional (s1)
   h = OptionalHasElement (o)
   n = Shape (x)
   k = ConstantOfShape <value: tensor = @v> (n)
}
""",
    [[f(1, -2)]],
    want=[[f(4, 2), YES, i(9, 9)]],
)

case(
    "function_chain",
    '<ir_version: 10, opset_import: ["": 21, "a": 1]>'
    + """
g (float[N] x) => (float[N] y)
{
   y = a.f <k = 2> (x)
}
<domain: "a", opset_import: ["": 13, "b": 1]>
f <k> (x) => (y)
{
   s1 = Constant <value_int: int = @k> ()
   y = Loop (s1, , x) <body = l (n, go, v) => (go2, w) { go2 = Identity (go)  w = b.g <k: int = @k> (v, n) }>
}
<domain: "b", opset_import: ["": 9, "a": 1]>
g <k> (x, n) => (y)
{
   c = ConstantOfShape <value = bool[1] {1}> (e)
   e = Constant <value = int64[0] {}> ()
   y = If (c) <then_branch = t () => (p) { p = a.h <to: int = @k> (x, n) }, else_branch = u () => (x) { }>
}
<domain: "a", opset_import: ["": 13]>
h <to> (x, n) => (y)
{
   k = Constant <value_int: int = @to> ()
   m = Mul (k, n)
   mf = Cast <to = 1> (m)
   y = Add (x, mf)
}
""",
    [[f(1, -2)]],
    want=[[f(3, 0)]],
)
