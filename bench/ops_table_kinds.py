"""Rows of bench/ops.py: other forms of what works element by element or moves elements: types, axes, shapes. See
ops_case.py."""

import numpy as np
from onnx import TensorProto, helper

from ops_case import EQUAL, Case, Const, bools, const, row, rng, f, pos, ints, some, square, image

# --- choosing, comparing, bits

row("choosing", "Where, one column", lambda n: Case("Where", [bools(n // 256, 1), f(n // 256, 256), f(n // 256, 256)]))
row("choosing", "Where, three forms", lambda n: Case("Where", [bools(n // 256, 256), f(1, 256), f(n // 256, 1)]))
row("choosing", "Where, bool", lambda n: Case("Where", [bools(n), bools(n), bools(n)]))
row(
    "choosing",
    "Where, u8",
    lambda n: Case("Where", [bools(n), ints(99, n, dtype=np.uint8), ints(99, n, dtype=np.uint8)]),
)
row("choosing", "Where, f64", lambda n: Case("Where", [bools(n), f(n).astype(np.float64), f(n).astype(np.float64)]))
row(
    "choosing", "Clip, i8", lambda n: Case("Clip", [ints(99, n, dtype=np.int8), const(-5, np.int8), const(50, np.int8)])
)
row("choosing", "Trilu, i64, lower", lambda n: Case("Trilu", [ints(9, *square(n))], upper=0))
row(
    "binary",
    "BitwiseXor, u8",
    lambda n: Case("BitwiseXor", [ints(255, n, dtype=np.uint8), ints(255, n, dtype=np.uint8)]),
)
row(
    "binary",
    "BitShift, u8",
    lambda n: Case("BitShift", [ints(255, n, dtype=np.uint8), ints(7, n, dtype=np.uint8)], direction="RIGHT"),
)
row(
    "binary",
    "BitShift, u64",
    lambda n: Case("BitShift", [ints(255, n, dtype=np.uint64), ints(7, n, dtype=np.uint64)], direction="LEFT"),
)
row("binary", "Xor", lambda n: Case("Xor", [bools(n), bools(n)]))
row("binary", "Equal, f32, one column", lambda n: Case("Equal", [f(n // 256, 256), f(n // 256, 1)]))
row(
    "binary",
    "GreaterOrEqual, i32",
    lambda n: Case("GreaterOrEqual", [ints(9, n, dtype=np.int32), ints(9, n, dtype=np.int32)]),
)
row("binary", "Mod, f32", lambda n: Case("Mod", [f(n) * 10, pos(n)], fmod=1, loose=True))
row("binary", "Mod, i32, a scalar", lambda n: Case("Mod", [ints(999, n, dtype=np.int32, low=-999), const(7, np.int32)]))
row("binary", "Div, i64", lambda n: Case("Div", [ints(99999, n), ints(99, n, low=1)]))
row("binary", "Div, i64, a scalar", lambda n: Case("Div", [ints(99999, n), const(7)]))
row("binary", "Pow, half", lambda n: Case("Pow", [pos(n), const(0.5, np.float32)], loose=True))
row("binary", "Pow, i64", lambda n: Case("Pow", [ints(9, n), const(3)]))
row("binary", "Min, i64", lambda n: Case("Min", [ints(9, n), ints(9, n)]))
row("binary", "Mean of three", lambda n: Case("Mean", [f(n), f(n), f(n)], loose=True))
row("binary", "Add, f64", lambda n: Case("Add", [f(n).astype(np.float64), f(n).astype(np.float64)]))
row("binary", "Mul, outer, f32", lambda n: Case("Mul", [f(square(n)[0], 1), f(1, square(n)[1])]))
row("binary", "Add, rows of 7", lambda n: Case("Add", [f(n // 7, 7), f(1, 7)]))
row("binary", "Mul, i32, a scalar", lambda n: Case("Mul", [ints(9, n, dtype=np.int32), const(3, np.int32)]))
for op in ("Acos", "Asin", "Sinh", "Acosh", "Atanh", "Celu", "Swish"):
    row(
        "unary",
        op,
        lambda n, op=op: Case(
            op, [1 + pos(n) if op == "Acosh" else pos(n) / 2], loose=True, **({"opset": 24} if op == "Swish" else {})
        ),
    )
row("unary", "Gelu, tanh", lambda n: Case("Gelu", [f(n)], approximate="tanh", loose=True))
row("unary", "Ceil", lambda n: Case("Ceil", [f(n)]))
row("unary", "IsInf", lambda n: Case("IsInf", [f(n)]))
row("unary", "Shrink", lambda n: Case("Shrink", [f(n)], lambd=0.5, bias=0.1))
row("unary", "BitwiseNot, i32", lambda n: Case("BitwiseNot", [ints(99, n, dtype=np.int32)]))
F64_FUNCTIONS = {
    "Sqrt": pos,
    "Log": pos,
    "Tanh": f,
    "Sigmoid": f,
    "Erf": f,
    "Sin": f,
    "Cos": f,
    "Tan": f,
    "Asin": lambda n: pos(n) / 2,
    "Acos": lambda n: pos(n) / 2,
    "Atan": f,
    "Sinh": f,
    "Cosh": f,
    "Asinh": f,
    "Acosh": lambda n: 1 + pos(n),
    "Atanh": lambda n: pos(n) / 2,
    "Softplus": f,
    "Gelu": f,
    "Mish": f,
    "Elu": f,
    "Selu": f,
    "Softsign": f,
    "HardSigmoid": f,
}
for op, values in F64_FUNCTIONS.items():
    row("unary", op + ", f64", lambda n, op=op, values=values: Case(op, [values(n).astype(np.float64)], loose=True))
row("binary", "Pow, f64", lambda n: Case("Pow", [pos(n).astype(np.float64), f(n).astype(np.float64)], loose=True))
row("binary", "Pow, f64, a scalar", lambda n: Case("Pow", [pos(n).astype(np.float64), const(1.7, np.float64)], loose=True))
row("binary", "Mod, f64", lambda n: Case("Mod", [f(n).astype(np.float64) * 10, pos(n).astype(np.float64)], fmod=1, loose=True))
row("binary", "Mod, f16", lambda n: Case("Mod", [(f(n) * 10).astype(np.float16), pos(n).astype(np.float16)], fmod=1, loose=True))
row("unary", "Relu, f16", lambda n: Case("Relu", [f(n, dtype=np.float16)]))
row("unary", "Sign, i64", lambda n: Case("Sign", [ints(9, n, low=-9)]))
row("unary", "Tanh, f16", lambda n: Case("Tanh", [f(n, dtype=np.float16)], loose=None))

# --- casts

KINDS = {
    "i8": np.int8,
    "u8": np.uint8,
    "i16": np.int16,
    "u16": np.uint16,
    "i32": np.int32,
    "i64": np.int64,
    "f16": np.float16,
    "f64": np.float64,
    "bool": np.bool_,
    "f32": np.float32,
    "u32": np.uint32,
    "u64": np.uint64,
}
for a, b in (
    ("i64", "bool"),
    ("bool", "i64"),
    ("i32", "bool"),
    ("bool", "i32"),
    ("i32", "u8"),
    ("u8", "i32"),
    ("i64", "f16"),
    ("f16", "i64"),
    ("f16", "i32"),
    ("f64", "i64"),
    ("i64", "f64"),
    ("f64", "f16"),
    ("u8", "f16"),
    ("f16", "u8"),
    ("i8", "i64"),
    ("i64", "i8"),
    ("i16", "f32"),
    ("f32", "i16"),
    ("u16", "f32"),
    ("f32", "u32"),
    ("f32", "u64"),
    ("u64", "f32"),
    ("u8", "i8"),
    ("bool", "f16"),
    ("bool", "u8"),
):
    row(
        "casts",
        "%s to %s" % (a, b),
        lambda n, a=a, b=b: Case(
            "Cast",
            [ints(2, n).astype(KINDS[a]) if a == "bool" else ints(99, n).astype(KINDS[a])],
            to=helper.np_dtype_to_tensor_dtype(np.dtype(KINDS[b])),
        ),
    )
row("casts", "i64 to string", lambda n: Case("Cast", [ints(9999, some(n, 1 << 17))], to=TensorProto.STRING, loose=None))
row("casts", "f32 to string", lambda n: Case("Cast", [f(some(n, 1 << 17))], to=TensorProto.STRING, loose=None))
row(
    "casts",
    "f64 to string",
    lambda n: Case("Cast", [f(some(n, 1 << 17)).astype(np.float64)], to=TensorProto.STRING, loose=None),
)

# --- moving

row("moves", "Concat, middle axis", lambda n: Case("Concat", [f(n // 1024, 8, 64), f(n // 1024, 8, 64)], axis=1))
row("moves", "Concat, pairs", lambda n: Case("Concat", [f(n // 2, 1), f(n // 2, 1)], axis=1))
row("moves", "Concat, eight", lambda n: Case("Concat", [f(n // 512, 32) for _ in range(8)], axis=1))
row(
    "moves",
    "Concat, u8",
    lambda n: Case("Concat", [ints(9, n // 128, 64, dtype=np.uint8), ints(9, n // 128, 64, dtype=np.uint8)], axis=1),
)
row("moves", "Split, first axis", lambda n: Case("Split", [f(n // 256, 256)], 4, axis=0, num_outputs=4))
row("moves", "Split, middle axis", lambda n: Case("Split", [f(n // 1024, 16, 64)], 4, axis=1, num_outputs=4))
row("moves", "Split, singles", lambda n: Case("Split", [f(n // 2, 2)], 2, axis=1, num_outputs=2))
row(
    "moves",
    "Slice, rows",
    lambda n: Case(
        "Slice", [f(n // 256, 256), const([3]), const([1 << 40]), const([0])], touched=lambda c: 2 * c.out_bytes
    ),
)
row("moves", "Slice, pixels", lambda n: Case("Slice", [f(*image(n)), const([1, 1]), const([-1, -1]), const([2, 3])]))
row(
    "moves",
    "Slice, every third row",
    lambda n: Case(
        "Slice",
        [f(n // 256, 256), const([0]), const([1 << 40]), const([0]), const([3])],
        touched=lambda c: 2 * c.out_bytes,
    ),
)
row("moves", "Pad, reflect, one axis", lambda n: Case("Pad", [f(1, n), const([0, 200, 0, 200])], mode="reflect"))
row("moves", "Pad, wrap", lambda n: Case("Pad", [f(*image(n)), const([0, 0, 2, 2, 0, 0, 2, 2])], mode="wrap"))
row(
    "moves",
    "Pad, channels last",
    lambda n: Case("Pad", [f(1, image(n)[2], image(n)[3], 16), const([0, 1, 1, 0, 0, 1, 1, 0])]),
)
row("moves", "Tile, rows", lambda n: Case("Tile", [f(n // 1024, 256), const([4, 1])]))
row("moves", "Tile, elements", lambda n: Case("Tile", [f(n // 8, 1, 1), const([1, 8, 1])]))
row("moves", "Expand, channels", lambda n: Case("Expand", [f(1, 16, 1, 1), const(image(n))]))
row("moves", "Expand, bool", lambda n: Case("Expand", [bools(1, 256), const([n // 256, 256])]))
row("transposes", "planes", lambda n: Case("Transpose", [f(n // 4096, 64, 64)], perm=(0, 2, 1)))
row("transposes", "last of three first", lambda n: Case("Transpose", [f(n // 512, 8, 64)], perm=(2, 0, 1)))
row("transposes", "windows", lambda n: Case("Transpose", [f(1, n // 4096, 8, 8, 2, 32)], perm=(0, 2, 1, 4, 3, 5)))
row("transposes", "pairs", lambda n: Case("Transpose", [f(n // 2, 2)], perm=(1, 0)))
row("transposes", "pairs back", lambda n: Case("Transpose", [f(2, n // 2)], perm=(1, 0)))
row("transposes", "first two", lambda n: Case("Transpose", [f(n // 2048, 64, 32)], perm=(1, 0, 2)))
row(
    "transposes",
    "3 channels from NHWC",
    lambda n: Case("Transpose", [f(1, image(n, 3)[2], image(n, 3)[2], 3)], perm=(0, 3, 1, 2)),
)
row(
    "transposes",
    "3 channels from NHWC, u8",
    lambda n: Case("Transpose", [ints(255, 1, image(n, 3)[2], image(n, 3)[2], 3, dtype=np.uint8)], perm=(0, 3, 1, 2)),
)
row("transposes", "shuffle of channels", lambda n: Case("Transpose", [f(1, 4, 4, n // 16)], perm=(0, 2, 1, 3)))

# --- gather, scatter

row(
    "gather",
    "Gather, rows of 64, f16",
    lambda n: Case("Gather", [f(n // 64, 64, dtype=np.float16), ints(n // 64, n // 64)]),
    EQUAL,
)
row("gather", "Gather, elements, i32 places", lambda n: Case("Gather", [f(n), ints(n, n, dtype=np.int32)]), EQUAL)
row(
    "gather",
    "Gather, one row",
    lambda n: Case("Gather", [f(n // 256, 256), const(3)], touched=lambda c: 2 * c.out_bytes),
    EQUAL,
)
row(
    "gather",
    "Gather, a constant table",
    lambda n: Case("Gather", [Const(f(5000, 64)), ints(5000, n // 64)], touched=lambda c: 2 * c.out_bytes),
    EQUAL,
)
row(
    "gather",
    "GatherND, pairs",
    lambda n: Case("GatherND", [f(*square(n)), np.stack([ints(square(n)[0], n), ints(square(n)[1], n)], 1)]),
    EQUAL,
)
row(
    "gather",
    "GatherElements, middle axis",
    lambda n: Case("GatherElements", [f(n // 2048, 64, 32), ints(64, n // 2048, 64, 32)], axis=1),
    EQUAL,
)
row(
    "gather",
    "ScatterElements, max",
    lambda n: Case(
        "ScatterElements", [f(n // 256, 256), ints(256, n // 256, 256), f(n // 256, 256)], axis=1, reduction="max"
    ),
    EQUAL,
)
row("gather", "ScatterND, max", lambda n: Case("ScatterND", [f(n), ints(n, n, 1), f(n)], reduction="max"), EQUAL)
row(
    "gather",
    "ScatterND, few rows",
    lambda n: Case("ScatterND", [f(n // 256, 256), const([[1], [3]]), f(2, 256)]),
    EQUAL,
)
row("gather", "NonZero, i64", lambda n: Case("NonZero", [ints(2, n // 256, 256)]), EQUAL)
row("gather", "NonZero, three axes", lambda n: Case("NonZero", [bools(n // 256, 16, 16, share=0.1)]), EQUAL)
row("gather", "Compress, columns", lambda n: Case("Compress", [f(n // 256, 256), bools(256)], axis=1), EQUAL)
row(
    "gather",
    "OneHot, first axis",
    lambda n: Case("OneHot", [ints(256, n // 256), const(256), const([0, 1], np.float32)], axis=0),
    EQUAL,
)
row("gather", "OneHot, i64", lambda n: Case("OneHot", [ints(256, n // 256), const(256), const([0, 1])]), EQUAL)

# --- quantising

row(
    "quantise",
    "QuantizeLinear, i16",
    lambda n: Case("QuantizeLinear", [f(n), const(0.0002, np.float32), const(0, np.int16)], loose=None),
)
row(
    "quantise",
    "QuantizeLinear, f16",
    lambda n: Case(
        "QuantizeLinear", [f(n, dtype=np.float16), const(0.02, np.float16), const(128, np.uint8)], loose=None
    ),
)
row(
    "quantise",
    "QuantizeLinear, last axis",
    lambda n: Case(
        "QuantizeLinear", [f(n // 256, 256), Const(pos(256) / 20), const([3] * 256, np.int8)], axis=1, loose=None
    ),
)
row(
    "quantise",
    "DequantizeLinear, i32",
    lambda n: Case("DequantizeLinear", [ints(9999, n, dtype=np.int32), const(0.02, np.float32)]),
)
row(
    "quantise",
    "DequantizeLinear, per channel",
    lambda n: Case(
        "DequantizeLinear", [ints(99, *image(n), dtype=np.int8), Const(pos(16)), const([3] * 16, np.int8)], axis=1
    ),
)
row(
    "quantise",
    "DequantizeLinear, i8",
    lambda n: Case("DequantizeLinear", [ints(99, n, dtype=np.int8), const(0.02, np.float32), const(3, np.int8)]),
)

# --- classical, strings


def members(n, trees=50, depth=6, values=16):
    """Complete trees over 32 features; a node asks for one of 64 values, or whether it is among some of them."""
    rows = {13: 1, 17: 64}.get(n.bit_length() - 1, 4096)
    inner, leaves = (1 << depth) - 1, 1 << depth
    at = np.arange(inner)
    left, right = 2 * at + 1, 2 * at + 2
    nodes, leafs = [], []
    modes, splits, members_, feature, true, false, tleaf, fleaf = [], [], [], [], [], [], [], []
    for t in range(trees):
        for k in range(inner):
            ask = k % 4 == 0
            modes.append(6 if ask else 0)
            splits.append(0.0 if ask else float(rng.integers(0, 64)))
            if ask:
                members_.extend(float(v) for v in rng.choice(64, values, replace=False))
                members_.append(float("nan"))
            feature.append(int(rng.integers(0, 32)))
            for child, to, leaf in ((left[k], true, tleaf), (right[k], false, fleaf)):
                leaf.append(int(child >= inner))
                to.append(int(t * leaves + child - inner if child >= inner else t * inner + child))
    return Case(
        "TreeEnsemble",
        [ints(64, rows, 32).astype(np.float32)],
        domain="ai.onnx.ml",
        loose=True,
        n_targets=1,
        aggregate_function=1,
        post_transform=0,
        tree_roots=[t * inner for t in range(trees)],
        nodes_modes=helper.make_tensor("m", TensorProto.UINT8, [len(modes)], modes),
        nodes_featureids=feature,
        nodes_splits=helper.make_tensor("s", TensorProto.FLOAT, [len(splits)], splits),
        membership_values=helper.make_tensor("v", TensorProto.FLOAT, [len(members_)], members_),
        nodes_truenodeids=true,
        nodes_trueleafs=tleaf,
        nodes_falsenodeids=false,
        nodes_falseleafs=fleaf,
        leaf_targetids=[0] * (trees * leaves),
        leaf_weights=helper.make_tensor("w", TensorProto.FLOAT, [trees * leaves], f(trees * leaves).tolist()),
        touched=lambda c: 8 * trees * depth * rows,
    )


row("classical", "TreeEnsemble with members", members, EQUAL)


def words(n, count=1000):
    return np.array(["word%d" % k for k in rng.integers(0, count, n)], object)


row(
    "classical",
    "LabelEncoder, i64 to strings",
    lambda n: Case(
        "LabelEncoder",
        [ints(1000, some(n, 1 << 17))],
        domain="ai.onnx.ml",
        values_strings=["word%d" % k for k in range(1000)],
        keys_int64s=list(range(1000)),
        loose=None,
    ),
)
row(
    "classical",
    "LinearClassifier",
    lambda n: Case(
        "LinearClassifier",
        [f(n // 32, 32)],
        2,
        domain="ai.onnx.ml",
        coefficients=f(10 * 32).tolist(),
        intercepts=f(10).tolist(),
        classlabels_ints=list(range(10)),
        post_transform="SOFTMAX",
        loose=True,
    ),
)
row(
    "classical",
    "FeatureVectorizer",
    lambda n: Case(
        "FeatureVectorizer", [f(n // 32, 16), f(n // 32, 16)], domain="ai.onnx.ml", inputdimensions=[16, 16]
    ),
)
