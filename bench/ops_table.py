"""Rows of bench/ops.py: element by element, along axes, order, by index. What they are made of: ops_case.py."""

import numpy as np

from ops_case import EQUAL, BF16, Case, const, elem, row, rng, f, pos, ints, bools, some, square, image

# --- element-wise

for op, values in (
    ("Relu", f),
    ("Neg", f),
    ("Abs", f),
    ("Floor", f),
    ("Round", f),
    ("Sign", f),
    ("Sqrt", pos),
    ("Reciprocal", pos),
    ("Exp", f),
    ("Log", pos),
    ("Sigmoid", f),
    ("Tanh", f),
    ("Erf", f),
    ("Softplus", f),
    ("Softsign", f),
    ("Sin", f),
    ("Cos", f),
    ("Tan", f),
    ("Atan", f),
    ("Asinh", f),
    ("Cosh", f),
    ("HardSwish", f),
    ("HardSigmoid", f),
    ("Elu", f),
    ("Selu", f),
    ("LeakyRelu", f),
    ("Gelu", f),
    ("Mish", f),
    ("ThresholdedRelu", f),
    ("IsNaN", f),
):
    row("unary", op, lambda n, op=op, values=values: Case(op, [values(n)]))
row("unary", "Not", lambda n: Case("Not", [bools(4 * n)]))
row("unary", "Neg, i64", lambda n: Case("Neg", [ints(99, n // 2)]))
row("unary", "Abs, i8", lambda n: Case("Abs", [ints(99, 4 * n, dtype=np.int8)]))
row("unary", "Exp, f16", lambda n: Case("Exp", [f(2 * n, dtype=np.float16)]))
row("unary", "Exp, f64", lambda n: Case("Exp", [f(n // 2, dtype=np.float64)]))
row("unary", "Sigmoid, bf16", lambda n: Case("Sigmoid", [f(2 * n, dtype=BF16)]))

for op in ("Add", "Sub", "Mul", "Div"):
    row("binary", op, lambda n, op=op: Case(op, [f(n), pos(n)]))
row("binary", "Add, one row", lambda n: Case("Add", [f(n // 256, 256), f(256)]))
row("binary", "Add, a short row", lambda n: Case("Add", [f(n // 12, 12), f(12)]))
row("binary", "Mul, one column", lambda n: Case("Mul", [f(n // 256, 256), f(n // 256, 1)]))
row("binary", "Mul, a scalar", lambda n: Case("Mul", [f(n), f(1)]))
row("binary", "Add, per channel", lambda n: Case("Add", [f(*image(n)), f(16, 1, 1)]))
row("binary", "Add, row and column", lambda n: Case("Add", [f(square(n)[0], 1), f(1, square(n)[1])]))
row("binary", "Add, middle axis", lambda n: Case("Add", [f(n // 1024, 32, 32), f(n // 1024, 1, 32)]))
row("binary", "Pow", lambda n: Case("Pow", [pos(n), f(n)]))
row("binary", "Pow, square", lambda n: Case("Pow", [f(n), const([2], np.float32)]))
row("binary", "PRelu, per channel", lambda n: Case("PRelu", [f(*image(n)), f(16, 1, 1)]))
row("binary", "Mod, i64", lambda n: Case("Mod", [ints(1 << 30, n // 2), ints(99, n // 2, low=1)]))
row("binary", "Div, i32", lambda n: Case("Div", [ints(1 << 30, n, dtype=np.int32), ints(99, n, dtype=np.int32, low=1)]))
row("binary", "Mul, i64", lambda n: Case("Mul", [ints(99, n // 2), ints(99, n // 2)]))
row("binary", "Add, f16", lambda n: Case("Add", [f(2 * n, dtype=np.float16), f(2 * n, dtype=np.float16)]))
row("binary", "Add, bf16", lambda n: Case("Add", [f(2 * n, dtype=BF16), f(2 * n, dtype=BF16)]))
row(
    "binary",
    "Add, u8",
    lambda n: Case("Add", [ints(99, 4 * n, dtype=np.uint8), ints(99, 4 * n, dtype=np.uint8)], opset=14),
)
row("binary", "Max of three", lambda n: Case("Max", [f(n), f(n), f(n)]))
row("binary", "Sum of four", lambda n: Case("Sum", [f(n), f(n), f(n), f(n)]))
row("binary", "Equal, i64", lambda n: Case("Equal", [ints(3, n // 2), ints(3, n // 2)]))
row("binary", "Less", lambda n: Case("Less", [f(n), f(n)]))
row("binary", "Greater, a scalar", lambda n: Case("Greater", [f(n), f(1)]))
row("binary", "And", lambda n: Case("And", [bools(4 * n), bools(4 * n)]))
row(
    "binary",
    "BitShift, u32",
    lambda n: Case("BitShift", [ints(99, n, dtype=np.uint32), ints(9, n, dtype=np.uint32)], direction="LEFT"),
)
row(
    "binary",
    "BitwiseAnd, i32",
    lambda n: Case("BitwiseAnd", [ints(99, n, dtype=np.int32), ints(99, n, dtype=np.int32)]),
)

row("choosing", "Where", lambda n: Case("Where", [bools(n), f(n), f(n)]))
row("choosing", "Where, a scalar", lambda n: Case("Where", [bools(n), f(n), const([-1e9], np.float32)]))
row("choosing", "Where, one row of conditions", lambda n: Case("Where", [bools(1, 256), f(n // 256, 256), f(1)]))
row("choosing", "Where, i64", lambda n: Case("Where", [bools(n // 2), ints(9, n // 2), ints(9, n // 2)]))
row("choosing", "Clip", lambda n: Case("Clip", [f(n), const(-1, np.float32), const(1, np.float32)]))
row("choosing", "Clip, i64", lambda n: Case("Clip", [ints(99, n // 2), const(3), const(50)]))
row("choosing", "Trilu", lambda n: Case("Trilu", [f(*square(n))], upper=0))

KINDS = {
    "f32": np.float32,
    "f16": np.float16,
    "bf16": BF16,
    "f64": np.float64,
    "bool": np.bool_,
    "i8": np.int8,
    "u8": np.uint8,
    "i32": np.int32,
    "i64": np.int64,
}


def cast_input(n, a, b):
    if a == "bool":
        return bools(n)
    return ints(99, n, dtype=KINDS[a]) if a[0] in "iu" or b == "u8" else f(n, dtype=KINDS[a])


for a, b in (
    ("f32", "f16"),
    ("f16", "f32"),
    ("f32", "bf16"),
    ("bf16", "f32"),
    ("f32", "i8"),
    ("i8", "f32"),
    ("f32", "u8"),
    ("u8", "f32"),
    ("f32", "i32"),
    ("i32", "f32"),
    ("f32", "i64"),
    ("i64", "f32"),
    ("i64", "i32"),
    ("i32", "i64"),
    ("bool", "f32"),
    ("f32", "bool"),
    ("f64", "f32"),
    ("f32", "f64"),
):
    row("casts", "%s to %s" % (a, b), lambda n, a=a, b=b: Case("Cast", [cast_input(n, a, b)], to=int(elem(KINDS[b]))))

# --- along axes

REDUCED = (
    ("last axis", lambda n: (n // 256, 256), 1),
    ("short last axis", lambda n: (n // 8, 8), 1),
    ("long last axis", lambda n: (4, n // 4), 1),
    ("first axis", lambda n: (n // 256, 256), 0),
    ("middle axis", lambda n: (n // 2048, 64, 32), 1),
    ("outer axes", lambda n: (16, n // 512, 32), (0, 2)),
)
for op in ("ReduceSum", "ReduceMax"):
    for what, shape, axes in REDUCED:
        row(
            "reductions",
            "%s, %s" % (op, what),
            lambda n, op=op, shape=shape, axes=axes: Case(op, [f(*shape(n)), const(np.atleast_1d(axes))], loose=True),
        )
row("reductions", "ReduceSum, all", lambda n: Case("ReduceSum", [f(n)], loose=True, keepdims=0))
row("reductions", "ReduceMean, pixels", lambda n: Case("ReduceMean", [f(*image(n)), const([2, 3])], loose=True))
row("reductions", "ReduceL2", lambda n: Case("ReduceL2", [f(n // 256, 256), const([1])]))
row("reductions", "ReduceProd", lambda n: Case("ReduceProd", [pos(n // 256, 256), const([1])]))
row(
    "reductions",
    "ReduceSumSquare, first axis",
    lambda n: Case("ReduceSumSquare", [f(n // 256, 256), const([0])], loose=True),
)
row("reductions", "ReduceLogSumExp", lambda n: Case("ReduceLogSumExp", [f(n // 256, 256), const([1])]))
row("reductions", "ReduceSum, i64", lambda n: Case("ReduceSum", [ints(99, n // 512, 256), const([1])]))
row(
    "reductions",
    "ReduceMin, i32, first axis",
    lambda n: Case("ReduceMin", [ints(99, n // 256, 256, dtype=np.int32), const([0])]),
)
row("reductions", "ReduceMax, u8", lambda n: Case("ReduceMax", [ints(99, n // 64, 256, dtype=np.uint8), const([1])]))
row(
    "reductions",
    "ReduceSum, f64",
    lambda n: Case("ReduceSum", [f(n // 512, 256, dtype=np.float64), const([1])], loose=True),
)
for op in ("ArgMax", "ArgMin"):
    row("reductions", op + ", last axis", lambda n, op=op: Case(op, [f(n // 256, 256)], axis=1))
row("reductions", "ArgMax, long last axis", lambda n: Case("ArgMax", [f(4, n // 4)], axis=1))
row("reductions", "ArgMax, first axis", lambda n: Case("ArgMax", [f(n // 256, 256)], axis=0))
row("reductions", "ArgMax, channels", lambda n: Case("ArgMax", [f(*image(n))], axis=1))

row("rows", "Softmax", lambda n: Case("Softmax", [f(n // 256, 256)]))
row("rows", "Softmax, short rows", lambda n: Case("Softmax", [f(n // 10, 10)]))
row("rows", "Softmax, long rows", lambda n: Case("Softmax", [f(4, n // 4)]))
row("rows", "Softmax, channels", lambda n: Case("Softmax", [f(*image(n))], axis=1))
row("rows", "LogSoftmax", lambda n: Case("LogSoftmax", [f(n // 256, 256)]))
row("rows", "Hardmax", lambda n: Case("Hardmax", [f(n // 256, 256)]))
row("rows", "LayerNormalization", lambda n: Case("LayerNormalization", [f(n // 256, 256), f(256), f(256)]))
row("rows", "LayerNormalization, 768", lambda n: Case("LayerNormalization", [f(max(1, n // 768), 768), f(768), f(768)]))
row("rows", "RMSNormalization", lambda n: Case("RMSNormalization", [f(n // 256, 256), f(256)]))
row("rows", "BatchNormalization", lambda n: Case("BatchNormalization", [f(*image(n)), f(16), f(16), f(16), pos(16)]))
row("rows", "InstanceNormalization", lambda n: Case("InstanceNormalization", [f(*image(n)), f(16), f(16)]))
row("rows", "GroupNormalization", lambda n: Case("GroupNormalization", [f(*image(n)), f(16), f(16)], num_groups=4))
row("rows", "LpNormalization", lambda n: Case("LpNormalization", [f(n // 256, 256)]))
row("rows", "MeanVarianceNormalization", lambda n: Case("MeanVarianceNormalization", [f(*image(n, 8, 2))]))
row("rows", "LRN", lambda n: Case("LRN", [f(*image(n))], size=5))

row("cumulative", "CumSum, last axis", lambda n: Case("CumSum", [f(n // 256, 256), const(1)]), EQUAL)
row("cumulative", "CumSum, long last axis", lambda n: Case("CumSum", [f(4, n // 4), const(1)], loose=True), EQUAL)
row("cumulative", "CumSum, one axis", lambda n: Case("CumSum", [f(n), const(0)], loose=True), EQUAL)
row("cumulative", "CumSum, first axis", lambda n: Case("CumSum", [f(n // 256, 256), const(0)], loose=True), EQUAL)
row("cumulative", "CumSum, middle axis", lambda n: Case("CumSum", [f(n // 2048, 64, 32), const(1)]), EQUAL)
row("cumulative", "CumSum, i64", lambda n: Case("CumSum", [ints(99, n // 512, 256), const(1)]), EQUAL)
row("cumulative", "CumSum, i32, one axis", lambda n: Case("CumSum", [ints(9, n, dtype=np.int32), const(0)]), EQUAL)
row(
    "cumulative",
    "CumSum, reverse, exclusive",
    lambda n: Case("CumSum", [f(n // 256, 256), const(1)], reverse=1, exclusive=1),
    EQUAL,
)
row("cumulative", "CumProd", lambda n: Case("CumProd", [pos(n // 256, 256), const(1)], opset=26), EQUAL)

# --- order

row("sorting", "TopK, 1 of 256", lambda n: Case("TopK", [f(n // 256, 256), const([1])], 2), EQUAL)
row("sorting", "TopK, 10 of 1000", lambda n: Case("TopK", [f(max(1, n // 1000), 1000), const([10])], 2), EQUAL)
row("sorting", "TopK, 100 of many", lambda n: Case("TopK", [f(some(n, 1 << 21)), const([100])], 2), EQUAL)
row(
    "sorting",
    "TopK, half of 1000",
    lambda n: Case("TopK", [f(max(1, some(n, 1 << 20) // 1000), 1000), const([500])], 2),
    EQUAL,
)
row("sorting", "TopK, a sort of 256", lambda n: Case("TopK", [f(some(n, 1 << 20) // 256, 256), const([256])], 2), EQUAL)
row(
    "sorting", "TopK, a sort of all", lambda n: Case("TopK", [f(some(n, 1 << 20)), const([some(n, 1 << 20)])], 2), EQUAL
)
row(
    "sorting",
    "TopK, smallest, i64",
    lambda n: Case("TopK", [ints(1 << 40, n // 512, 256), const([20])], 2, largest=0),
    EQUAL,
)
row("sorting", "TopK, first axis", lambda n: Case("TopK", [f(n // 256, 256), const([10])], 2, axis=0), EQUAL)
row("sorting", "Unique, all different", lambda n: Case("Unique", [f(some(n, 1 << 18))], 4), EQUAL)
row("sorting", "Unique, i64, few", lambda n: Case("Unique", [ints(100, some(n, 1 << 20))], 4), EQUAL)
row("sorting", "Unique, i64, unsorted", lambda n: Case("Unique", [ints(1000, some(n, 1 << 20))], 4, sorted=0), EQUAL)
row("sorting", "Unique, rows", lambda n: Case("Unique", [ints(3, some(n, 1 << 18) // 8, 4)], 4, axis=0), EQUAL)


def nms(boxes, classes, most, sure):
    corner = rng.random((1, boxes, 2), np.float32) * 10
    return Case(
        "NonMaxSuppression",
        [
            np.concatenate([corner, corner + pos(1, boxes, 2)], 2),
            rng.random((1, classes, boxes), np.float32),
            const([most]),
            const([0.5], np.float32),
            const([sure], np.float32),
        ],
        touched=lambda c: 16 * boxes + 4 * boxes * classes,
    )


row(
    "sorting",
    "NonMaxSuppression, 1 class",
    lambda n: nms({13: 100, 17: 1000}.get(n.bit_length() - 1, 10000), 1, 200, 0.05),
    EQUAL,
)
row(
    "sorting",
    "NonMaxSuppression, 20 classes",
    lambda n: nms({13: 50, 17: 500}.get(n.bit_length() - 1, 3000), 20, 100, 0.3),
    EQUAL,
)

# --- by index


def looked_up(c):
    return 2 * c.out_bytes + sum(a.nbytes for k, a in c.feeds.items() if k != "x0")


def written(c):
    """Scatter: the data is copied, the updates are read and written once more."""
    return sum(a.nbytes for a in c.feeds.values()) + c.out_bytes + c.feeds["x2"].nbytes


row(
    "gather",
    "Gather, rows of 256",
    lambda n: Case("Gather", [f(4096, 256), ints(4096, n // 256)], touched=looked_up),
    EQUAL,
)
row("gather", "Gather, rows of 8", lambda n: Case("Gather", [f(4096, 8), ints(4096, n // 8)], touched=looked_up), EQUAL)
row("gather", "Gather, elements", lambda n: Case("Gather", [f(n), ints(n, n // 2)], touched=looked_up), EQUAL)
row(
    "gather",
    "Gather, last axis",
    lambda n: Case("Gather", [f(n // 256, 256), ints(256, 128)], axis=1, touched=looked_up),
    EQUAL,
)
row(
    "gather",
    "Gather, middle axis",
    lambda n: Case("Gather", [f(n // 2048, 64, 32), ints(64, 48, dtype=np.int32)], axis=1, touched=looked_up),
    EQUAL,
)
row(
    "gather",
    "Gather, u8",
    lambda n: Case("Gather", [ints(99, n, dtype=np.uint8), ints(n, n // 2, dtype=np.int32)], touched=looked_up),
    EQUAL,
)
row(
    "gather",
    "GatherND, elements",
    lambda n: Case(
        "GatherND",
        [f(*square(n)), np.stack([ints(square(n)[0], n // 4), ints(square(n)[1], n // 4)], 1)],
        touched=looked_up,
    ),
    EQUAL,
)
row(
    "gather",
    "GatherND, slices",
    lambda n: Case(
        "GatherND",
        [f(n // 2048, 32, 64), np.stack([ints(n // 2048, n // 64), ints(32, n // 64)], 1)],
        touched=looked_up,
    ),
    EQUAL,
)
row(
    "gather",
    "GatherElements, last axis",
    lambda n: Case("GatherElements", [f(n // 256, 256), ints(256, n // 256, 256)], axis=1),
    EQUAL,
)
row(
    "gather",
    "GatherElements, first axis",
    lambda n: Case("GatherElements", [f(n // 256, 256), ints(n // 256, n // 256, 256)], axis=0),
    EQUAL,
)
row(
    "gather",
    "ScatterND, slices",
    lambda n: Case(
        "ScatterND",
        [f(n // 64, 64), rng.permutation(n // 64)[: n // 256].reshape(-1, 1), f(n // 256, 64)],
        touched=written,
    ),
    EQUAL,
)
row(
    "gather",
    "ScatterND, elements",
    lambda n: Case(
        "ScatterND",
        [f(*square(n)), np.stack(np.unravel_index(rng.permutation(n)[: n // 4], square(n)), 1), f(n // 4)],
        touched=written,
    ),
    EQUAL,
)
row(
    "gather",
    "ScatterND, add",
    lambda n: Case(
        "ScatterND",
        [f(n // 64, 64), ints(n // 64, n // 256, 1), f(n // 256, 64)],
        reduction="add",
        touched=written,
        opset=18,
    ),
    EQUAL,
)
row(
    "gather",
    "ScatterElements, last axis",
    lambda n: Case(
        "ScatterElements",
        [f(n // 256, 256), np.argsort(f(n // 256, 256), 1)[:, :64], f(n // 256, 64)],
        axis=1,
        touched=written,
    ),
    EQUAL,
)
row(
    "gather",
    "ScatterElements, first axis",
    lambda n: Case(
        "ScatterElements",
        [f(n // 256, 256), np.argsort(f(n // 256, 256), 0)[: n // 1024], f(n // 1024, 256)],
        axis=0,
        touched=written,
    ),
    EQUAL,
)
row(
    "gather",
    "ScatterElements, add",
    lambda n: Case(
        "ScatterElements",
        [f(n // 256, 256), ints(n // 256, n // 1024, 256), f(n // 1024, 256)],
        axis=0,
        reduction="add",
        touched=written,
        opset=18,
    ),
    EQUAL,
)
row(
    "gather",
    "ScatterElements, one axis",
    lambda n: Case("ScatterElements", [f(n), rng.permutation(n)[: n // 4], f(n // 4)], touched=written),
    EQUAL,
)
row("gather", "NonZero, a tenth", lambda n: Case("NonZero", [f(*square(n)) * bools(*square(n), share=0.1)]), EQUAL)
row("gather", "NonZero, bool, half", lambda n: Case("NonZero", [bools(n)]), EQUAL)
row("gather", "Compress, elements", lambda n: Case("Compress", [f(n), bools(n)]), EQUAL)
row("gather", "Compress, rows", lambda n: Case("Compress", [f(n // 64, 64), bools(n // 64)], axis=0), EQUAL)
row("gather", "OneHot", lambda n: Case("OneHot", [ints(64, n // 64), const([64]), const([0, 1], np.float32)]), EQUAL)
row(
    "gather",
    "ArrayFeatureExtractor",
    lambda n: Case("ArrayFeatureExtractor", [f(n // 64, 64), ints(64, 16)], domain="ai.onnx.ml", touched=looked_up),
    EQUAL,
)
row(
    "gather",
    "ReverseSequence",
    lambda n: Case("ReverseSequence", [f(32, n // 2048, 64), ints(33, n // 2048, low=1)]),
    EQUAL,
)
row(
    "gather",
    "TensorScatter",
    lambda n: Case("TensorScatter", [f(8, n // 512, 64), f(8, n // 2048, 64), np.zeros(8, np.int64)], opset=24),
    EQUAL,
)
