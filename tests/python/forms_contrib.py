"""Operators of com.microsoft that are ONNX's in another form, or several of them in one, as ONNX Runtime saves optimised models
(ir/ops/ms_fused.c): cases for forms.py."""

import numpy as np

from forms_case import case, i, s

RNG = np.random.default_rng(11)
HEAD = '<ir_version: 8, opset_import: ["": 18, "com.microsoft": 1]>\n'


def r(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


for k, (activation, shapes) in enumerate(
    [
        ('activation = "Relu", group = 2, strides = [2, 2]', [(2, 4, 7, 9), (6, 2, 3, 3), (6,), (2, 6, 3, 4)]),
        ('activation = "LeakyRelu", activation_params = [0.3], pads = [1, 1, 1, 1]', [(2, 4, 7, 9), (6, 4, 3, 3), (6,)]),
        ('activation = "HardSigmoid", activation_params = [0.3, 0.4]', [(2, 4, 9), (6, 4, 3)]),
        ('activation = "Clip", activation_params = [-0.3, 0.4]', [(2, 4, 7, 9), (6, 4, 3, 3)]),
        ('activation = "Tanh"', [(2, 4, 7, 9), (6, 4, 3, 3)]),
        ('activation = "Sigmoid"', [(1, 4, 5, 5), (6, 4, 3, 3)]),
    ]
):
    names = ["x", "w", "b", "z"][: len(shapes)]
    typed = ", ".join("float[%s] %s" % (",".join("%s%d" % (n, a) for a in range(len(x))), n) for n, x in zip(names, shapes))
    model = HEAD + "g (%s) => (float[] y)\n{\n   y = com.microsoft.FusedConv <%s> (%s)\n}\n" % (typed, activation, ", ".join(names))
    case("contrib_conv_%d" % k, model.replace("float[] y", "float[A,B,%s] y" % ("C" if len(shapes[0]) == 3 else "C,D")), [[r(*x) for x in shapes]])

case(
    "contrib_gemm",
    HEAD
    + """g (float[M,K] a, float[N,K] b, float[N] c, float[K,P] d) => (float[M,N] x, float[M,P] y)
{
   x = com.microsoft.FusedGemm <activation = "LeakyRelu", activation_alpha = 0.3, transB = 1, alpha = 0.5, beta = 2.0> (a, b, c)
   y = com.microsoft.FusedGemm <activation = "Relu"> (a, d)
}
""",
    [[r(3, 5), r(4, 5), r(4), r(5, 2)]],
)

for k, (attributes, x, ids) in enumerate(
    [
        ("", (2, 3, 16), i(3)),
        ("<num_heads = 2>", (2, 3, 16), np.array([[3, 1, 0], [5, 2, 2]], np.int64)),
        ("<interleaved = 1>", (2, 2, 3, 8), np.array([[3, 1, 0], [5, 2, 2]], np.int64)),
        ("<interleaved = 1>", (2, 2, 3, 8), i(7)),
        ("<num_heads = 2, rotary_embedding_dim = 8>", (2, 3, 24), i(7)),
    ]
):
    shape = "N,L,%d" % x[2] if len(x) == 3 else "N,H,L,8"
    model = HEAD + "g (float[%s] x, int64[%s] p, float[16,4] c, float[16,4] s) => (float[%s] y)\n{\n   y = com.microsoft.RotaryEmbedding %s (x, p, c, s)\n}\n"
    case("contrib_rotary_%d" % k, model % (shape, "1" if ids.ndim == 1 else "N,L", shape, attributes), [[r(*x), ids, r(16, 4), r(16, 4)]])

case(
    "contrib_range",
    HEAD
    + """g (int64 from, int64 to, float a, float b, float step) => (int64[N] x, float[M] y)
{
   x = com.microsoft.Range (from, to)
   y = com.microsoft.Range (a, b, step)
}
""",
    [[s(2), s(9), s(2.5, np.float32), s(9, np.float32), s(1.5, np.float32)], [s(2), s(1), s(5, np.float32), s(1, np.float32), s(-1.5, np.float32)]],
)
