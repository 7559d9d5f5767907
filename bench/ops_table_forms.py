"""Rows of bench/ops.py: other forms of sorting, windows, products, transforms and reductions: sizes, attributes, element
types, ranks. See ops_case.py."""

import numpy as np

from ops_case import EQUAL, Case, Const, bools, const, row, rng, f, pos, ints, some, square, image

# --- sorting and choosing


def top(n, columns, k, axis=-1, kind=np.float32, **attrs):
    x = f(n // columns, columns) if kind == np.float32 else ints(250, n // columns, columns, dtype=kind)
    return Case("TopK", [x, const([k])], 2, axis=axis, loose=None if attrs.get("sorted") == 0 else False, **attrs)


row("sorting", "TopK, 1 of 1000", lambda n: top(n, 1000, 1), EQUAL)
row("sorting", "TopK, 1 of 32", lambda n: top(n, 32, 1), EQUAL)
row("sorting", "TopK, 2 of 8", lambda n: top(n, 8, 2), EQUAL)
row("sorting", "TopK, 8 of 64", lambda n: top(n, 64, 8), EQUAL)
row("sorting", "TopK, 50 of 1000, in any order", lambda n: top(n, 1000, 50, sorted=0), EQUAL)
row("sorting", "TopK, 900 of 1000, in any order", lambda n: top(n, 1000, 900, sorted=0), EQUAL)
row("sorting", "TopK, smallest 10 of 1000", lambda n: top(n, 1000, 10, largest=0), EQUAL)
row("sorting", "TopK, 5 of 64, i32", lambda n: top(n, 64, 5, kind=np.int32), EQUAL)
row("sorting", "TopK, 5 of 64, first axis", lambda n: Case("TopK", [f(64, n // 64), const([5])], 2, axis=0), EQUAL)
row("sorting", "Unique, columns", lambda n: Case("Unique", [ints(9, 2, some(n, 1 << 18) // 2)], axis=1), EQUAL)
row("sorting", "Unique, four outputs", lambda n: Case("Unique", [ints(5000, some(n, 1 << 20))], 4), EQUAL)


def boxes(count):
    at = rng.random((1, count, 2), np.float32) * 100
    return np.concatenate([at, at + rng.random((1, count, 2), np.float32) * 20], 2)


for what, count, classes, least in (("80 classes", 64, 80, 0.5), ("80 classes, none below a score", 64, 80, 0.0)):
    row(
        "sorting",
        "NonMaxSuppression, " + what,
        lambda n, count=count, classes=classes, least=least: Case(
            "NonMaxSuppression",
            [
                boxes(some(n, 1 << 18) // 80),
                rng.random((1, classes, some(n, 1 << 18) // 80), np.float32),
                const([20]),
                const([0.5], np.float32),
                const([least], np.float32),
            ],
        ),
        EQUAL,
    )

# --- cumulative

for what, axis, shape, attrs in (
    ("reverse, last axis", -1, lambda n: (n // 256, 256), {"reverse": 1}),
    ("exclusive, last axis", -1, lambda n: (n // 256, 256), {"exclusive": 1}),
    ("reverse, first axis", 0, lambda n: (64, n // 64), {"reverse": 1}),
    ("exclusive, first axis", 0, lambda n: (64, n // 64), {"exclusive": 1}),
    ("reverse, exclusive, middle axis", 1, lambda n: (n // 2048, 64, 32), {"reverse": 1, "exclusive": 1}),
    ("short last axis", -1, lambda n: (n // 8, 8), {}),
):
    row(
        "cumulative",
        "CumSum, " + what,
        lambda n, axis=axis, shape=shape, attrs=attrs: Case("CumSum", [f(*shape(n)), const(axis)], loose=True, **attrs),
        EQUAL,
    )
row("cumulative", "CumSum, f64", lambda n: Case("CumSum", [f(n // 256, 256).astype(np.float64), const(1)]), EQUAL)

# --- images

for what, mode, scale, attrs in (
    ("cubic, 1.5 times", "cubic", 1.5, {}),
    ("cubic, half, antialias", "cubic", 0.5, {"antialias": 1}),
    ("linear, a third, antialias", "linear", 1 / 3, {"antialias": 1}),
    ("nearest, 3 times", "nearest", 3, {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("nearest, twice, half pixels", "nearest", 2, {}),
    ("linear, 4 times, PyTorch's", "linear", 4, {"coordinate_transformation_mode": "pytorch_half_pixel"}),
):
    row(
        "resize",
        what,
        lambda n, mode=mode, scale=scale, attrs=attrs: Case(
            "Resize",
            [f(*image(int(n / max(scale, 1) ** 2))), None, const([1, 1, scale, scale], np.float32)],
            mode=mode,
            loose=True,
            **attrs
        ),
        EQUAL,
    )
row(
    "resize",
    "linear, twice, one axis",
    lambda n: Case("Resize", [f(1, 16, n // 32), None, const([1, 1, 2], np.float32)], mode="linear", loose=True),
    EQUAL,
)
row(
    "resize",
    "linear, twice, u8",
    lambda n: Case(
        "Resize",
        [ints(255, *image(n), dtype=np.uint8), None, const([1, 1, 2, 2], np.float32)],
        mode="linear",
        loose=None,
    ),
    EQUAL,
)
row(
    "resize",
    "linear, twice, pixels last",
    lambda n: Case(
        "Resize", [f(1, image(n)[2], image(n)[3], 16), None, const([1, 2, 2, 1], np.float32)], mode="linear", loose=True
    ),
    EQUAL,
)
row(
    "resize",
    "linear, twice, volumes",
    lambda n: Case(
        "Resize", [f(1, 4, *(side3(n // 32),) * 3), None, const([1, 1, 2, 2, 2], np.float32)], mode="linear", loose=True
    ),
    EQUAL,
)


def side3(n):
    return max(2, round(n ** (1 / 3)))


row(
    "images",
    "GridSample, volumes",
    lambda n: Case(
        "GridSample",
        [f(1, 4, *(side3(n // 4),) * 3), rng.random((1, *(side3(n // 4),) * 3, 3), np.float32) * 2 - 1],
        mode="linear",
        opset=20,
        loose=True,
    ),
)
for padding in ("border", "reflection"):
    row(
        "images",
        "GridSample, linear, " + padding,
        lambda n, padding=padding: Case(
            "GridSample",
            [f(*image(n)), rng.random((1, *image(n)[2:], 2), np.float32) * 2.4 - 1.2],
            mode="linear",
            padding_mode=padding,
            opset=20,
            loose=True,
        ),
    )
row(
    "images",
    "RoiAlign, max",
    lambda n: Case(
        "RoiAlign",
        [f(*image(n)), np.tile(np.float32([[1, 1, 9, 9]]), (n // 4096, 1)), np.zeros(n // 4096, np.int64)],
        output_height=7,
        output_width=7,
        sampling_ratio=2,
        mode="max",
        opset=22,
        loose=None,
        touched=lambda c: 2 * c.out_bytes,
    ),
)
row("images", "DepthToSpace, CRD", lambda n: Case("DepthToSpace", [f(*image(n))], blocksize=2, mode="CRD"))
row(
    "images",
    "CenterCropPad",
    lambda n: Case("CenterCropPad", [f(*image(n)), const([image(n)[2] - 2, image(n)[3] + 2])], axes=[2, 3]),
)


def pool(op, shape, kernel, stride, pads=0, **attrs):
    axes = len(shape) - 2
    return Case(op, [f(*shape)], kernel_shape=[kernel] * axes, strides=[stride] * axes, pads=[pads] * 2 * axes, **attrs)


row("pools", "MaxPool, volumes", lambda n: pool("MaxPool", (1, 4, *(side3(n // 4),) * 3), 2, 2))
row("pools", "MaxPool 3x3, dilated", lambda n: pool("MaxPool", image(n), 3, 1, 2, dilations=[2, 2]))
row("pools", "AveragePool 3x3, stride 2", lambda n: pool("AveragePool", image(n), 3, 2, 1))
row("pools", "AveragePool 3x3, pads count", lambda n: pool("AveragePool", image(n), 3, 1, 1, count_include_pad=1))
row("pools", "AveragePool, one axis", lambda n: pool("AveragePool", (1, 16, n // 16), 3, 1, 1))
row("pools", "AveragePool, volumes", lambda n: pool("AveragePool", (1, 4, *(side3(n // 4),) * 3), 2, 2))
row(
    "pools",
    "MaxPool 2x2, u8",
    lambda n: Case("MaxPool", [ints(255, *image(n), dtype=np.uint8)], kernel_shape=[2, 2], strides=[2, 2]),
)
row("pools", "MaxPool 3x3, channels 3", lambda n: pool("MaxPool", image(n, 3), 3, 2, 1))
row("pools", "GlobalLpPool", lambda n: Case("GlobalLpPool", [f(*image(n))], loose=True))

# --- products


def conv(op, shape, w, flops=None, **attrs):
    macs = int(np.prod(w[1:])) * w[0] * int(np.prod(shape[2:])) * shape[0]
    return Case(op, [f(*shape), Const(f(*w) / 8)], flops=2 * macs, loose=True, **attrs)


def sq(n, c):
    return image(some(n, 1 << 19), c)


row("convolutions", "Conv 1x1", lambda n: conv("Conv", sq(n, 32), (32, 32, 1, 1)))
row(
    "convolutions",
    "Conv 3x3, stride 2",
    lambda n: conv("Conv", sq(n, 32), (32, 32, 3, 3), strides=[2, 2], pads=[1] * 4),
)
row("convolutions", "Conv 5x5", lambda n: conv("Conv", sq(n, 16), (16, 16, 5, 5), pads=[2] * 4))
row(
    "convolutions",
    "Conv 7x7, 3 channels, stride 2",
    lambda n: conv("Conv", sq(n, 3), (32, 3, 7, 7), strides=[2, 2], pads=[3] * 4),
)
row(
    "convolutions",
    "Conv 3x3, dilated",
    lambda n: conv("Conv", sq(n, 32), (32, 32, 3, 3), dilations=[2, 2], pads=[2] * 4),
)
row("convolutions", "Conv 3x3, 4 groups", lambda n: conv("Conv", sq(n, 32), (32, 8, 3, 3), group=4, pads=[1] * 4))
row(
    "convolutions",
    "Conv 3, one axis",
    lambda n: conv("Conv", (1, 32, some(n, 1 << 19) // 32), (32, 32, 3), pads=[1] * 2),
)
row("convolutions", "Conv 31, one channel", lambda n: conv("Conv", (1, 1, some(n, 1 << 19)), (1, 1, 31), pads=[15] * 2))
row(
    "convolutions",
    "Conv 3x3x3, volumes",
    lambda n: conv("Conv", (1, 8, *(side3(some(n, 1 << 18) // 8),) * 3), (8, 8, 3, 3, 3), pads=[1] * 6),
)
row("convolutions", "Conv 1x1 to one channel", lambda n: conv("Conv", sq(n, 32), (1, 32, 1, 1)))
row("convolutions", "Conv 3x3, one channel", lambda n: conv("Conv", sq(n, 1), (1, 1, 3, 3), pads=[1] * 4))
row(
    "convolutions",
    "Conv 3x3, depthwise, stride 2",
    lambda n: conv("Conv", image(n, 32), (32, 1, 3, 3), group=32, strides=[2, 2], pads=[1] * 4),
)
row("convolutions", "Conv 7x7, depthwise", lambda n: conv("Conv", sq(n, 32), (32, 1, 7, 7), group=32, pads=[3] * 4))
row(
    "convolutions",
    "Conv 3, depthwise, one axis",
    lambda n: conv("Conv", (1, 32, n // 32), (32, 1, 3), group=32, pads=[1] * 2),
)
row(
    "convolutions",
    "Conv 3x3, weights are an input",
    lambda n: Case(
        "Conv", [f(*sq(n, 32)), f(32, 32, 3, 3)], pads=[1] * 4, loose=True, flops=18 * 32 * 32 * sq(n, 32)[2] ** 2
    ),
)
row(
    "convolutions",
    "ConvTranspose 3x3, stride 2",
    lambda n: conv(
        "ConvTranspose",
        image(some(n, 1 << 19) // 4, 32),
        (32, 32, 3, 3),
        strides=[2, 2],
        pads=[1] * 4,
        output_padding=[1, 1],
    ),
)
row(
    "convolutions",
    "ConvTranspose 4x4, stride 2",
    lambda n: conv("ConvTranspose", image(some(n, 1 << 19) // 4, 32), (32, 32, 4, 4), strides=[2, 2], pads=[1] * 4),
)
row("convolutions", "ConvTranspose 3x3", lambda n: conv("ConvTranspose", sq(n, 16), (16, 16, 3, 3), pads=[1] * 4))
row(
    "convolutions",
    "ConvTranspose 4x4, 4 groups",
    lambda n: conv(
        "ConvTranspose", image(some(n, 1 << 19) // 4, 32), (32, 8, 4, 4), group=4, strides=[2, 2], pads=[1] * 4
    ),
)
row(
    "convolutions",
    "ConvTranspose 4x4, depthwise",
    lambda n: conv(
        "ConvTranspose", image(some(n, 1 << 19) // 4, 32), (32, 1, 4, 4), group=32, strides=[2, 2], pads=[1] * 4
    ),
)
row(
    "convolutions",
    "ConvTranspose 16, one axis, stride 8",
    lambda n: conv("ConvTranspose", (1, 32, some(n, 1 << 17) // 64), (32, 32, 16), strides=[8], pads=[4, 4]),
)
row(
    "convolutions",
    "QLinearConv 3x3",
    lambda n: Case(
        "QLinearConv",
        [
            ints(255, *sq(n, 32), dtype=np.uint8),
            const(0.02, np.float32),
            const(128, np.uint8),
            Const(ints(99, 32, 32, 3, 3, dtype=np.int8)),
            const(0.02, np.float32),
            const(0, np.int8),
            const(0.5, np.float32),
            const(128, np.uint8),
        ],
        pads=[1] * 4,
        loose=None,
        flops=18 * 32 * 32 * sq(n, 32)[2] ** 2,
    ),
)
row(
    "convolutions",
    "ConvInteger 3x3",
    lambda n: Case(
        "ConvInteger",
        [ints(255, *sq(n, 32), dtype=np.uint8), Const(ints(99, 32, 32, 3, 3, dtype=np.uint8)), const(128, np.uint8)],
        pads=[1] * 4,
        flops=18 * 32 * 32 * sq(n, 32)[2] ** 2,
    ),
)

for equation, shapes in (
    ("ijk,kl->ijl", lambda n: ((n // 2048, 32, 64), (64, 64))),
    (
        "bhqd,bkhd->bhqk",
        lambda n: ((1, 4, n // 256, 64), (1, n // 256, 4, 64)) if n < 1 << 20 else ((1, 8, 512, 64), (1, 512, 8, 64)),
    ),
    ("ij,jk,kl->il", lambda n: ((64, 64), (64, 64), (64, n // 64 if n < 1 << 20 else 4096))),
    ("ii->i", lambda n: ((square(n)[0], square(n)[0]),)),
    ("ijk->k", lambda n: ((n // 2048, 32, 64),)),
    ("ij,ij->", lambda n: ((n // 256, 256), (n // 256, 256))),
    ("bi,bj->bij", lambda n: ((n // 256, 16), (n // 256, 16))),
    ("bnd,nde->bne", lambda n: ((n // 4096, 16, 64), (16, 64, 64))),
    ("...ij,...jk", lambda n: ((n // 1024, 32, 32), (n // 1024, 32, 32))),
    ("ijk,ijl->kl", lambda n: ((n // 2048, 32, 64), (n // 2048, 32, 64))),
):
    row(
        "products",
        "Einsum " + equation,
        lambda n, equation=equation, shapes=shapes: Case(
            "Einsum", [f(*s) for s in shapes(n)], equation=equation, loose=True
        ),
    )


def mm(a, b, **attrs):
    return Case("MatMul", [a, b], loose=True, flops=2 * a.size * (b.array if isinstance(b, Const) else b).shape[-1])


row("products", "MatMul, one column", lambda n: mm(f(n // 256, 256), f(256, 1)))
row("products", "MatMul, one row, constant", lambda n: mm(f(1, n // 256), Const(f(n // 256, 256))))
row("products", "MatMul, 8 rows, constant", lambda n: mm(f(8, n // 256), Const(f(n // 256, 256))))
row("products", "MatMul, 3 columns", lambda n: mm(f(n // 64, 64), Const(f(64, 3))))
row("products", "MatMul, 4x4 batches", lambda n: mm(f(n // 16, 4, 4), f(n // 16, 4, 4)))
row("products", "MatMul, 4x4 by vectors", lambda n: mm(f(n // 16, 4, 4), f(n // 16, 4, 1)))
row(
    "products",
    "MatMul, f64",
    lambda n: mm(f(some(n, 1 << 18) // 128, 128).astype(np.float64), f(128, 128).astype(np.float64)),
)
row(
    "products",
    "MatMul, f16",
    lambda n: mm(f(some(n, 1 << 18) // 128, 128).astype(np.float16), Const(f(128, 128).astype(np.float16))),
)
row("products", "MatMul, one batch of b", lambda n: mm(f(n // 1024, 32, 32), f(1, 32, 32)))
row("products", "MatMul, vector by vector", lambda n: Case("MatMul", [f(n), f(n)], loose=True, flops=2 * n))
row(
    "products",
    "MatMul, i32",
    lambda n: Case(
        "MatMul",
        [ints(9, 64, some(n, 1 << 18) // 64, dtype=np.int32), ints(9, some(n, 1 << 18) // 64, 64, dtype=np.int32)],
        flops=2 * 64 * some(n, 1 << 18),
    ),
)
row(
    "products",
    "Gemm, bias of a column",
    lambda n: Case("Gemm", [f(n // 256, 64), Const(f(64, 64)), Const(f(n // 256, 1))], loose=True, alpha=0.5, beta=2.0),
)
row(
    "products",
    "MatMulInteger, one row",
    lambda n: Case(
        "MatMulInteger", [ints(255, 1, n // 256, dtype=np.uint8), const(ints(99, n // 256, 256), np.int8)], flops=2 * n
    ),
)


def attend(n, heads, kv, width=64, masked=False, **attrs):
    t = {13: 16, 17: 128}.get(n.bit_length() - 1, 384)
    ins = [f(1, h, t, width) for h in (heads, kv, kv)] + ([f(t, t)] if masked else [])
    return Case("Attention", ins, loose=True, flops=4 * heads * width * t**2, **attrs)


row("products", "Attention, groups of heads", lambda n: attend(n, 8, 2))
row("products", "Attention, causal", lambda n: attend(n, 4, 4, is_causal=1))
row("products", "Attention, masked", lambda n: attend(n, 4, 4, masked=True))
row(
    "products",
    "Attention, one query",
    lambda n: Case("Attention", [f(1, 8, 1, 64), f(1, 8, n // 512, 64), f(1, 8, n // 512, 64)], loose=True),
)
row(
    "products",
    "RotaryEmbedding",
    lambda n: Case(
        "RotaryEmbedding",
        [f(1, 8, n // 512, 64), f(n // 512, 32), f(n // 512, 32), np.arange(n // 512)[None]],
        loose=True,
    ),
)
row(
    "products",
    "GatherND of one product",
    lambda n: Case("GatherND", [f(n // 64, 8, 8), ints(8, n // 64, 1)], batch_dims=1),
    EQUAL,
)

# --- transforms


def fourier(length, rows=8, kind=np.float32, parts=1, **attrs):
    return lambda n: Case(
        "DFT",
        [f(rows, length, parts).astype(kind)],
        opset=17,
        axis=1,
        loose=True,
        flops=int(5 * rows * length * np.log2(length)),
        **attrs
    )


for what, make in (
    ("DFT, 256, one row", fourier(256, 1)),
    ("DFT, 64, 512 rows", fourier(64, 512)),
    ("DFT, 400", fourier(400, 32)),
    ("DFT, 480, onesided", fourier(480, 32, onesided=1)),
    ("DFT, 512, inverse", fourier(512, 32, parts=2, inverse=1)),
    ("DFT, 4096", fourier(4096)),
    ("DFT, 2187", fourier(2187)),
    ("DFT, 1331", fourier(1331)),
    ("DFT, 251", fourier(251, 32)),
    ("DFT, 2039", fourier(2039)),
    ("DFT, 1024, f64", fourier(1024, 32, np.float64)),
    ("DFT, 1000, complex, f64", fourier(1000, 32, np.float64, 2)),
):
    row("transforms", what, lambda n, make=make: make(n), 0.1)
row(
    "transforms",
    "STFT, 400, onesided",
    lambda n: Case(
        "STFT",
        [f(1, some(n, 1 << 17), 1), const(160), const(np.hanning(400), np.float32), const(400)],
        loose=True,
        onesided=1,
    ),
    0.1,
)
row(
    "transforms",
    "MelWeightMatrix",
    lambda n: Case(
        "MelWeightMatrix",
        [np.array(v) for v in (80, 512, 16000, 0, 8000)][:3] + [np.array(0, np.float32), np.array(8000, np.float32)],
        opset=17,
    ),
)
row("transforms", "HannWindow", lambda n: Case("HannWindow", [np.array(n)], opset=17, loose=True))

# --- recurrent


def cells(op, gates, n, batch, hidden=64, steps=32, **attrs):
    both = 2 if attrs.get("direction") == "bidirectional" else 1
    steps = {13: 8, 17: 32}.get(n.bit_length() - 1, 64)
    return Case(
        op,
        [
            f(steps, batch, hidden),
            Const(f(both, gates * hidden, hidden) / 8),
            Const(f(both, gates * hidden, hidden) / 8),
        ],
        hidden_size=hidden,
        loose=True,
        flops=4 * both * steps * batch * gates * hidden * hidden,
        **attrs
    )


for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
    row("recurrent", op + ", batch 8", lambda n, op=op, gates=gates: cells(op, gates, n, 8))
    row(
        "recurrent", op + ", both ways", lambda n, op=op, gates=gates: cells(op, gates, n, 2, direction="bidirectional")
    )
row("recurrent", "GRU, reset behind", lambda n: cells("GRU", 3, n, 4, linear_before_reset=1))
row("recurrent", "LSTM, batch 64, 20 units", lambda n: cells("LSTM", 4, n, 64, 20))

# --- rows, reductions

row(
    "rows",
    "LayerNormalization, two axes",
    lambda n: Case(
        "LayerNormalization", [f(n // 1024, 16, 64), Const(pos(16, 64)), Const(f(16, 64))], axis=1, loose=True
    ),
)
row(
    "rows",
    "LayerNormalization, f16",
    lambda n: Case(
        "LayerNormalization",
        [f(n // 256, 256, dtype=np.float16), Const(pos(256, dtype=np.float16)), Const(f(256, dtype=np.float16))],
        loose=None,
    ),
)
row("rows", "Softmax, f16", lambda n: Case("Softmax", [f(n // 256, 256, dtype=np.float16)], loose=None))
row("rows", "Softmax, first axis", lambda n: Case("Softmax", [f(64, n // 64)], axis=0, loose=True))
row("rows", "Softmax, two axes", lambda n: Case("Softmax", [f(n // 256, 16, 16)], axis=1, opset=11, loose=True))
row("rows", "LpNormalization, L1, channels", lambda n: Case("LpNormalization", [f(*image(n))], p=1, axis=1, loose=True))
row(
    "rows",
    "MeanVarianceNormalization, channels",
    lambda n: Case("MeanVarianceNormalization", [f(*image(n))], axes=[1], loose=True),
)
row(
    "rows",
    "SoftmaxCrossEntropyLoss",
    lambda n: Case("SoftmaxCrossEntropyLoss", [f(n // 256, 256), ints(256, n // 256)], loose=True),
)
row(
    "rows",
    "NegativeLogLikelihoodLoss, pixels",
    lambda n: Case("NegativeLogLikelihoodLoss", [f(*image(n)), ints(16, 1, *image(n)[2:])], loose=True),
)
for op in ("ReduceMean", "ReduceMax", "ReduceL1", "ReduceLogSum", "ReduceSumSquare"):
    row("reductions", op + ", all", lambda n, op=op: Case(op, [pos(n // 256, 256)], keepdims=0, loose=True))
row(
    "reductions",
    "ReduceSum, all, i32",
    lambda n: Case("ReduceSum", [ints(9, n // 256, 256, dtype=np.int32)], keepdims=0),
)
row("reductions", "ReduceMax, all, i64", lambda n: Case("ReduceMax", [ints(9, n // 256, 256)], keepdims=0))
row("reductions", "ReduceMean, channels", lambda n: Case("ReduceMean", [f(*image(n)), const([1])], loose=True))
row(
    "reductions",
    "ReduceMean, first and last axis",
    lambda n: Case("ReduceMean", [f(n // 2048, 32, 64), const([0, 2])], loose=True),
)
row(
    "reductions",
    "ReduceSum, first axis of few columns",
    lambda n: Case("ReduceSum", [f(n // 8, 8), const([0])], loose=True),
)
row(
    "reductions",
    "ReduceMean, f16",
    lambda n: Case("ReduceMean", [f(n // 256, 256, dtype=np.float16), const([1])], loose=None),
)
row(
    "reductions",
    "ReduceMax, bool",
    lambda n: Case("ReduceMax", [bools(n // 256, 256, share=0.01), const([1])], opset=20),
)
row("reductions", "ArgMax, all", lambda n: Case("ArgMax", [f(n)], axis=0, keepdims=0))
row("reductions", "ArgMax, last, last axis", lambda n: Case("ArgMax", [f(n // 256, 256)], axis=1, select_last_index=1))
row("reductions", "ArgMax, u8", lambda n: Case("ArgMax", [ints(255, n // 256, 256, dtype=np.uint8)], axis=1))
row("reductions", "ArgMax, 4 of a row", lambda n: Case("ArgMax", [f(n // 4, 4)], axis=1))
