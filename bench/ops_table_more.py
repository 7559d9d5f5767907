"""Rows of bench/ops.py: images, moves, products, quantising, classical models, random. See ops_case.py."""

import numpy as np
from onnx import TensorProto, helper

from ops_case import EQUAL, Case, Const, const, row, rng, f, pos, ints, some, square, image

# --- images


def resized(n, scale, mode, channels=16, **attrs):
    n = int(n / scale**2 if scale > 1 else n)
    return Case(
        "Resize",
        [f(*image(n, channels)), None, const([1, 1, scale, scale], np.float32)],
        mode=mode,
        loose=mode == "cubic",
        **attrs
    )


row(
    "resize",
    "nearest, twice",
    lambda n: resized(n, 2, "nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    EQUAL,
)
row("resize", "nearest, 1.5 times", lambda n: resized(n, 1.5, "nearest"), EQUAL)
row("resize", "nearest, half", lambda n: resized(n, 0.5, "nearest"), EQUAL)
row("resize", "linear, twice", lambda n: resized(n, 2, "linear"), EQUAL)
row("resize", "linear, twice, 3 channels", lambda n: resized(n, 2, "linear", 3), EQUAL)
row(
    "resize",
    "linear, 1.5 times, corners",
    lambda n: resized(n, 1.5, "linear", coordinate_transformation_mode="align_corners"),
    EQUAL,
)
row("resize", "linear, half", lambda n: resized(n, 0.5, "linear"), EQUAL)
row("resize", "linear, half, antialias", lambda n: resized(n, 0.5, "linear", antialias=1), EQUAL)
row("resize", "cubic, twice", lambda n: resized(n, 2, "cubic"), EQUAL)
row("resize", "cubic, half", lambda n: resized(n, 0.5, "cubic"), EQUAL)


def pooled(op, n, kernel, stride, pad, outputs=1, **attrs):
    return Case(op, [f(*image(n))], outputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, **attrs)


row("pools", "MaxPool 2x2", lambda n: pooled("MaxPool", n, 2, 2, 0))
row("pools", "MaxPool 3x3, stride 2", lambda n: pooled("MaxPool", n, 3, 2, 1))
row("pools", "MaxPool 5x5, stride 1", lambda n: pooled("MaxPool", n, 5, 1, 2))
row("pools", "MaxPool 2x2 with indices", lambda n: pooled("MaxPool", n, 2, 2, 0, 2))
row("pools", "AveragePool 3x3, stride 1", lambda n: pooled("AveragePool", n, 3, 1, 1))
row("pools", "AveragePool 2x2", lambda n: pooled("AveragePool", n, 2, 2, 0))
row("pools", "LpPool 3x3, stride 2", lambda n: pooled("LpPool", n, 3, 2, 1))
row("pools", "MaxPool, one axis", lambda n: Case("MaxPool", [f(1, 16, n // 16)], kernel_shape=[3], strides=[2]))
row("pools", "GlobalAveragePool", lambda n: Case("GlobalAveragePool", [f(*image(n))], loose=True))
row("pools", "GlobalMaxPool", lambda n: Case("GlobalMaxPool", [f(*image(n))]))
row("pools", "MaxUnpool 2x2", lambda n: Case("MaxUnpool", unpooled(n), kernel_shape=[2, 2], strides=[2, 2]))


def unpooled(n):
    b, c, h, w = image(n // 4)
    y, x = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    at = (2 * y + ints(2, c, h, w)) * 2 * w + 2 * x + ints(2, c, h, w) + np.arange(c).reshape(-1, 1, 1) * 4 * h * w
    return [f(b, c, h, w), at[None].astype(np.int64)]


def sampled(n, mode):
    b, c, h, w = image(n)
    return Case(
        "GridSample", [f(b, c, h, w), rng.random((b, h, w, 2), np.float32) * 2 - 1], mode=mode, opset=20, loose=True
    )


row("images", "GridSample, linear", lambda n: sampled(n, "linear"))
row("images", "GridSample, nearest", lambda n: sampled(n, "nearest"))
row("images", "GridSample, cubic", lambda n: sampled(some(n, 1 << 20), "cubic"))
row(
    "images",
    "RoiAlign",
    lambda n: Case(
        "RoiAlign",
        [
            f(*image(n)),
            np.concatenate([rng.random((n // 2048, 2)) * 8, 8 + rng.random((n // 2048, 2)) * 8], 1).astype(np.float32),
            np.zeros(n // 2048, np.int64),
        ],
        output_height=7,
        output_width=7,
        sampling_ratio=2,
        opset=16,
        touched=lambda c: 2 * c.out_bytes,
    ),
)
row(
    "images",
    "MaxRoiPool",
    lambda n: Case(
        "MaxRoiPool",
        [
            f(*image(n)),
            np.concatenate(
                [np.zeros((n // 2048, 1)), rng.integers(0, 4, (n // 2048, 2)), 8 + rng.integers(0, 4, (n // 2048, 2))],
                1,
            ).astype(np.float32),
        ],
        pooled_shape=[5, 5],
        opset=16,
        touched=lambda c: 2 * c.out_bytes,
    ),
)
row(
    "images",
    "Col2Im",
    lambda n: (
        Case("Col2Im", [f(1, 4 * 9, n // 36), const([2, n // 72]), const([3, 3])], pads=[1, 1, 1, 1], opset=18)
        if n // 36 % 2 == 0
        else Case("Col2Im", [f(1, 4 * 9, n // 36), const([1, n // 36]), const([3, 3])], pads=[1, 1, 1, 1], opset=18)
    ),
)
row(
    "images",
    "AffineGrid",
    lambda n: Case("AffineGrid", [f(1, 2, 3), const([1, 1, square(n // 2)[0], square(n // 2)[1]])], opset=20),
)
row("images", "DepthToSpace", lambda n: Case("DepthToSpace", [f(*image(n))], blocksize=2))
row("images", "SpaceToDepth", lambda n: Case("SpaceToDepth", [f(*image(n))], blocksize=2))
row("images", "DeformConv 3x3", lambda n: deformed(some(n, 1 << 18)))


def deformed(n):
    b, c, h, w = image(n)
    return Case(
        "DeformConv",
        [f(b, c, h, w), f(16, c, 3, 3), f(b, 18, h, w)],
        kernel_shape=[3, 3],
        pads=[1] * 4,
        flops=2 * b * 16 * c * 9 * h * w,
        opset=22,
        loose=True,
    )


# --- moving

for what, shape, perm in (
    ("2-D", lambda n: square(n), (1, 0)),
    ("a few rows", lambda n: (12, n // 12), (1, 0)),
    ("a few columns", lambda n: (n // 12, 12), (1, 0)),
    ("NCHW to NHWC", lambda n: image(n, 64), (0, 2, 3, 1)),
    ("NHWC to NCHW", lambda n: (1, image(n, 64)[2], image(n, 64)[2], 64), (0, 3, 1, 2)),
    ("3 channels to NHWC", lambda n: image(n, 3), (0, 2, 3, 1)),
    ("heads", lambda n: (1, n // 512, 8, 64), (0, 2, 1, 3)),
    ("heads turned", lambda n: (1, n // 512, 8, 64), (0, 2, 3, 1)),
    ("all axes", lambda n: (8, 8, n // 512, 8), (3, 2, 1, 0)),
):
    row("transposes", what, lambda n, shape=shape, perm=perm: Case("Transpose", [f(*shape(n))], perm=perm))
for what, kind in (("u8", np.uint8), ("i64", np.int64), ("f16", np.float16)):
    row(
        "transposes",
        "2-D, " + what,
        lambda n, kind=kind: Case("Transpose", [ints(99, *square(n), dtype=kind)], perm=(1, 0)),
    )

row("moves", "Concat, last axis", lambda n: Case("Concat", [f(n // 512, 128), f(n // 512, 128)], axis=1))
row("moves", "Concat, narrow", lambda n: Case("Concat", [f(n // 8, 4), f(n // 8, 2), f(n // 8, 1)], axis=1))
row("moves", "Concat, first axis", lambda n: Case("Concat", [f(n // 512, 256), f(n // 512, 256)], axis=0))
row("moves", "Split, last axis", lambda n: Case("Split", [f(n // 256, 256)], 2, axis=1, num_outputs=2))
row("moves", "Split, narrow", lambda n: Case("Split", [f(n // 8, 8)], 4, axis=1, num_outputs=4))
row(
    "moves",
    "Slice, last axis",
    lambda n: Case(
        "Slice", [f(n // 256, 256), const([3]), const([200]), const([1])], touched=lambda c: 2 * c.out_bytes
    ),
)
row(
    "moves",
    "Slice, every second",
    lambda n: Case("Slice", [f(n // 256, 256), const([0]), const([256]), const([1]), const([2])]),
)
row(
    "moves",
    "Slice, backwards",
    lambda n: Case("Slice", [f(n // 256, 256), const([-1]), const([-999]), const([1]), const([-1])]),
)
row(
    "moves",
    "Slice, rows backwards",
    lambda n: Case("Slice", [f(n // 256, 256), const([-1]), const([-(1 << 40)]), const([0]), const([-1])]),
)
row("moves", "Pad, pixels", lambda n: Case("Pad", [f(*image(n)), const([0, 0, 1, 1, 0, 0, 1, 1])]))
row("moves", "Pad, edge", lambda n: Case("Pad", [f(*image(n)), const([0, 0, 2, 2, 0, 0, 2, 2])], mode="edge"))
row("moves", "Pad, reflect", lambda n: Case("Pad", [f(*image(n)), const([0, 0, 2, 2, 0, 0, 2, 2])], mode="reflect"))
row("moves", "Tile", lambda n: Case("Tile", [f(n // 1024, 256), const([2, 2])]))
row("moves", "Tile, narrow", lambda n: Case("Tile", [f(n // 8, 2), const([1, 4])]))
row("moves", "Expand, rows", lambda n: Case("Expand", [f(1, 256), const([n // 256, 256])]))
row("moves", "Expand, columns", lambda n: Case("Expand", [f(n // 256, 1), const([n // 256, 256])]))
row("moves", "Reshape", lambda n: Case("Reshape", [f(n // 256, 256), const([-1])]))
row("moves", "Range", lambda n: Case("Range", [np.array(0), np.array(n // 2), np.array(1)]))
row(
    "moves",
    "ConstantOfShape",
    lambda n: Case("ConstantOfShape", [np.array([n])], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [2.0])),
)
row("moves", "EyeLike", lambda n: Case("EyeLike", [f(*square(n))], touched=lambda c: c.out_bytes))

# --- products


def product(op, a, b, flops, **attrs):
    return Case(op, [a, b], flops=flops, loose=True, **attrs)


def side(n):
    return {13: 64, 17: 192}.get(n.bit_length() - 1, 768)


row("products", "MatMul", lambda n: product("MatMul", f(side(n), side(n)), f(side(n), side(n)), 2 * side(n) ** 3))
row("products", "MatMul, batches", lambda n: product("MatMul", f(n // 1024, 32, 32), f(n // 1024, 32, 32), 2 * n * 32))
row("products", "MatMul, one row", lambda n: product("MatMul", f(1, n // 256), f(n // 256, 256), 2 * n))
row(
    "products",
    "Gemm, both turned",
    lambda n: product("Gemm", f(side(n), side(n)), f(side(n), side(n)), 2 * side(n) ** 3, transA=1, transB=1),
)
row(
    "products",
    "MatMulInteger",
    lambda n: product(
        "MatMulInteger",
        ints(255, side(n), side(n), dtype=np.uint8),
        const(ints(255, side(n), side(n), low=-99) % 99, np.int8),
        2 * side(n) ** 3,
    ),
)
for what, equation, shapes in (
    ("bij,bjk->bik", "bij,bjk->bik", lambda n: ((n // 1024, 32, 32), (n // 1024, 32, 32))),
    ("bhid,bhjd->bhij", "bhid,bhjd->bhij", lambda n: ((1, n // 2048, 32, 64), (1, n // 2048, 32, 64))),
    ("ij,ij->i", "ij,ij->i", lambda n: ((n // 256, 256), (n // 256, 256))),
    ("ij->ji", "ij->ji", lambda n: (square(n),)),
    ("bij,kj->bik", "bij,kj->bik", lambda n: ((4, n // 1024, 64), (64, 64))),
    ("i,j->ij", "i,j->ij", lambda n: ((square(n)[0],), (square(n)[1],))),
    ("bijk,bil->bjkl", "bijk,bil->bjkl", lambda n: ((n // 4096, 16, 16, 16), (n // 4096, 16, 16))),
):
    row(
        "products",
        "Einsum " + what,
        lambda n, equation=equation, shapes=shapes: Case(
            "Einsum", [f(*s) for s in shapes(n)], equation=equation, loose=True, flops=einsum_flops(equation, shapes(n))
        ),
    )


def einsum_flops(equation, shapes):
    if "," not in equation:
        return 0
    extent = {}
    for term, shape in zip(equation.split("->")[0].split(","), shapes):
        extent.update(zip(term, shape))
    return 2 * int(np.prod(list(extent.values())))


row(
    "products",
    "Det",
    lambda n: Case(
        "Det", [f(some(n, 1 << 20) // 256, 16, 16)], loose=True, flops=some(n, 1 << 20) // 256 * 2 * 16**3 // 3
    ),
)
row(
    "products",
    "Attention",
    lambda n: Case(
        "Attention",
        [f(1, 4, t, 64) for t in ({13: 16, 17: 128}.get(n.bit_length() - 1, 512),) * 3],
        loose=True,
        flops=4 * 4 * 64 * {13: 16, 17: 128}.get(n.bit_length() - 1, 512) ** 2,
    ),
)
row("products", "Conv 3x3", lambda n: convolved(some(n, 1 << 19), 32, 1))
row("products", "Conv 3x3, depthwise", lambda n: convolved(n, 32, 32))
row(
    "products",
    "ConvTranspose 2x2",
    lambda n: Case(
        "ConvTranspose",
        [f(*image(some(n, 1 << 19) // 4, 32)), Const(f(32, 32, 2, 2))],
        strides=[2, 2],
        loose=True,
        flops=2 * 32 * 4 * int(np.prod(image(some(n, 1 << 19) // 4, 32))),
    ),
)


def convolved(n, channels, group):
    shape = image(n, channels)
    return Case(
        "Conv",
        [f(*shape), Const(f(channels, channels // group, 3, 3))],
        pads=[1] * 4,
        group=group,
        loose=True,
        flops=2 * int(np.prod(shape)) * 9 * channels // group,
    )


def spectrum(rows, length):
    return Case(
        "DFT", [f(rows, length, 1)], opset=17, axis=1, loose=True, flops=int(5 * rows * length * np.log2(length))
    )


row("products", "DFT, 1024", lambda n: spectrum(some(n, 1 << 17) // 1024, 1024), 0.1)
row("products", "DFT, 1000", lambda n: spectrum(some(n, 1 << 17) // 1000, 1000), 0.1)
row("products", "DFT, 997", lambda n: spectrum(some(n, 1 << 17) // 997, 997), 0.1)
row(
    "products",
    "STFT, 512",
    lambda n: Case(
        "STFT",
        [f(1, some(n, 1 << 17), 1), const(160), const(np.hanning(512), np.float32), const(512)],
        loose=True,
        flops=int(5 * 512 * 9 * (some(n, 1 << 17) - 352) // 160),
    ),
    0.1,
)


def recurrent(op, gates, n):
    hidden, steps = {13: (16, 16), 17: (64, 32)}.get(n.bit_length() - 1, (256, 64))
    return Case(
        op,
        [f(steps, 1, hidden), Const(f(1, gates * hidden, hidden) / 8), Const(f(1, gates * hidden, hidden) / 8)],
        hidden_size=hidden,
        loose=True,
        flops=4 * steps * gates * hidden * hidden,
    )


for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
    row("products", op, lambda n, op=op, gates=gates: recurrent(op, gates, n))

# --- quantising

row(
    "quantise",
    "QuantizeLinear",
    lambda n: Case("QuantizeLinear", [f(n), const(0.02, np.float32), const(128, np.uint8)], loose=True),
)
row(
    "quantise",
    "QuantizeLinear, per channel",
    lambda n: Case("QuantizeLinear", [f(*image(n)), Const(pos(16) / 20), const([3] * 16, np.int8)], axis=1, loose=True),
)
row(
    "quantise",
    "DequantizeLinear",
    lambda n: Case("DequantizeLinear", [ints(255, n, dtype=np.uint8), const(0.02, np.float32), const(128, np.uint8)]),
)
row(
    "quantise",
    "DequantizeLinear, blocks",
    lambda n: Case(
        "DequantizeLinear", [ints(99, n // 256, 256, dtype=np.int8), Const(pos(n // 256, 8))], axis=1, block_size=32
    ),
)
row("quantise", "DynamicQuantizeLinear", lambda n: Case("DynamicQuantizeLinear", [f(n)], 3, loose=True))
row(
    "quantise",
    "QLinearMatMul",
    lambda n: Case(
        "QLinearMatMul",
        [
            ints(255, side(n), side(n), dtype=np.uint8),
            const(0.02, np.float32),
            const(128, np.uint8),
            Const(ints(99, side(n), side(n), dtype=np.int8)),
            const(0.02, np.float32),
            const(0, np.int8),
            const(0.5, np.float32),
            const(128, np.uint8),
        ],
        flops=2 * side(n) ** 3,
        loose=True,
    ),
)

# --- classical


def forest(n, trees, depth, op="TreeEnsembleRegressor", classes=1):
    """Complete trees over 32 features."""
    rows, features = {13: 1, 17: 64}.get(n.bit_length() - 1, 4096), 32
    inner, nodes = (1 << depth) - 1, (1 << depth + 1) - 1
    at = np.arange(nodes)
    attrs = {
        "nodes_treeids": np.repeat(np.arange(trees), nodes),
        "nodes_nodeids": np.tile(at, trees),
        "nodes_featureids": ints(features, trees * nodes),
        "nodes_values": f(trees * nodes),
        "nodes_modes": (["BRANCH_LEQ"] * inner + ["LEAF"] * (nodes - inner)) * trees,
        "nodes_truenodeids": np.tile(np.where(at < inner, 2 * at + 1, 0), trees),
        "nodes_falsenodeids": np.tile(np.where(at < inner, 2 * at + 2, 0), trees),
    }
    leaves = nodes - inner
    kind = "target" if op.endswith("Regressor") else "class"
    attrs.update(
        {
            kind + "_treeids": np.repeat(np.arange(trees), leaves),
            kind + "_nodeids": np.tile(np.arange(inner, nodes), trees),
            kind + "_ids": ints(classes, trees * leaves),
            kind + "_weights": f(trees * leaves),
        }
    )
    if kind == "target":
        attrs["n_targets"] = 1
    else:
        attrs["classlabels_int64s"] = list(range(classes))
    return Case(
        op,
        [f(rows, features)],
        1 if kind == "target" else 2,
        domain="ai.onnx.ml",
        loose=True,
        touched=lambda c: 8 * trees * depth * rows,
        **{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in attrs.items()}
    )


def grown(n, trees, leaves):
    """Trees that split a random leaf until there are so many: deep and uneven."""
    rows, features = {13: 1, 17: 64}.get(n.bit_length() - 1, 4096), 32
    nodes = 2 * leaves - 1
    yes, no = np.zeros((2, trees, nodes), np.int64)
    steps = 0
    for t in range(trees):
        ends, depth = [0], np.zeros(nodes, np.int64)
        for k in range(1, nodes, 2):
            at = ends.pop(int(ints(len(ends), 1)[0]))
            yes[t, at], no[t, at] = k, k + 1
            depth[k : k + 2] = depth[at] + 1
            ends += [k, k + 1]
        steps += int(np.mean(depth[ends]))
    inner = yes > 0
    tree, at = np.nonzero(~inner)
    return Case(
        "TreeEnsembleRegressor",
        [f(rows, features)],
        domain="ai.onnx.ml",
        loose=True,
        touched=lambda c: 8 * steps * rows,
        n_targets=1,
        nodes_treeids=np.repeat(np.arange(trees), nodes).tolist(),
        nodes_nodeids=np.tile(np.arange(nodes), trees).tolist(),
        nodes_featureids=ints(features, trees * nodes).tolist(),
        nodes_values=f(trees * nodes).tolist(),
        nodes_modes=np.where(inner, "BRANCH_LEQ", "LEAF").ravel().tolist(),
        nodes_truenodeids=yes.ravel().tolist(),
        nodes_falsenodeids=no.ravel().tolist(),
        target_treeids=tree.tolist(),
        target_nodeids=at.tolist(),
        target_ids=[0] * len(at),
        target_weights=f(len(at)).tolist(),
    )


row("classical", "1 grown tree of 1000 leaves", lambda n: grown(n, 1, 1000), EQUAL)
row("classical", "10 grown trees of 1000 leaves", lambda n: grown(n, 10, 1000), EQUAL)
row("classical", "100 grown trees of 1000 leaves", lambda n: grown(n, 100, 1000), EQUAL)
row("classical", "100 trees of depth 6", lambda n: forest(n, 100, 6), EQUAL)
row("classical", "10 trees of depth 4", lambda n: forest(n, 10, 4), EQUAL)
row("classical", "500 trees of depth 8", lambda n: forest(n, 500, 8), EQUAL)
row("classical", "classifier, 100 trees of depth 6", lambda n: forest(n, 100, 6, "TreeEnsembleClassifier", 5), EQUAL)


def machine(n, rows, kernel="RBF", features=16):
    vectors = 100
    return Case(
        "SVMRegressor",
        [f(rows, features)],
        domain="ai.onnx.ml",
        loose=True,
        coefficients=f(vectors).tolist(),
        support_vectors=f(vectors * features).tolist(),
        n_supports=vectors,
        kernel_type=kernel,
        kernel_params=[0.1, 0.0, 3.0],
        rho=[0.5],
        flops=3 * rows * vectors * features,
    )


MACHINE_ROWS = {13: 8, 17: 256}
row("classical", "SVMRegressor", lambda n: machine(n, MACHINE_ROWS.get(n.bit_length() - 1, 4096)))
row("classical", "SVMRegressor, 5 features", lambda n: machine(n, MACHINE_ROWS.get(n.bit_length() - 1, 4096), features=5))
row("classical", "SVMRegressor, cubic", lambda n: machine(n, MACHINE_ROWS.get(n.bit_length() - 1, 4096), kernel="POLY"))
row(
    "classical",
    "LinearRegressor",
    lambda n: Case(
        "LinearRegressor",
        [f(n // 64, 64)],
        domain="ai.onnx.ml",
        loose=True,
        coefficients=f(64).tolist(),
        intercepts=[0.5],
        targets=1,
    ),
)
row(
    "classical",
    "Scaler",
    lambda n: Case("Scaler", [f(n // 64, 64)], domain="ai.onnx.ml", offset=f(64).tolist(), scale=f(64).tolist()),
)
row("classical", "Normalizer", lambda n: Case("Normalizer", [f(n // 64, 64)], domain="ai.onnx.ml", norm="L2"))
row("classical", "Binarizer", lambda n: Case("Binarizer", [f(n)], domain="ai.onnx.ml", threshold=0.5))
row(
    "classical",
    "Imputer",
    lambda n: Case(
        "Imputer", [f(n // 64, 64)], domain="ai.onnx.ml", imputed_value_floats=[0.5], replaced_value_float=float("nan")
    ),
)
row(
    "classical",
    "LabelEncoder, i64",
    lambda n: Case(
        "LabelEncoder",
        [ints(1000, n // 2)],
        domain="ai.onnx.ml",
        keys_int64s=list(range(0, 3000, 3)),
        values_int64s=list(range(1000)),
        default_int64=-1,
    ),
)
row(
    "classical",
    "OneHotEncoder",
    lambda n: Case("OneHotEncoder", [ints(32, n // 32)], domain="ai.onnx.ml", cats_int64s=list(range(32))),
)
row(
    "classical",
    "TfIdfVectorizer",
    lambda n: Case(
        "TfIdfVectorizer",
        [ints(50, n // 256, 64)],
        mode="TF",
        min_gram_length=1,
        max_gram_length=2,
        max_skip_count=0,
        ngram_counts=[0, 20],
        ngram_indexes=list(range(120)),
        pool_int64s=list(range(20)) + [t for k in range(100) for t in (k // 2, (7 * k + 3) % 50)],
    ),
)


# --- random, control

row(
    "random",
    "RandomNormalLike",
    lambda n: Case("RandomNormalLike", [f(n)], touched=lambda c: c.out_bytes, seed=3.0, loose=None),
)
row(
    "random",
    "RandomUniformLike",
    lambda n: Case("RandomUniformLike", [f(n)], touched=lambda c: c.out_bytes, seed=3.0, loose=None),
)
row("random", "Bernoulli", lambda n: Case("Bernoulli", [pos(n) / 2], seed=3.0, loose=None))
row("random", "Multinomial", lambda n: Case("Multinomial", [f(4, n // 64)], sample_size=16, seed=3.0, loose=None))
