#!/usr/bin/env python3
"""Models with symbolic dimensions, one artifact each, against ONNX Runtime:   dynamic.py [--bmc FILE] [--seed N]

Small models of the kinds that exporters write: an image network with free height and width, convolutions with free kernels, attention whose positions
are cut from a table, a decoder with a growing past, a streaming cell over fifty steps; single operators of which no size is known. Then what names of dimensions
mean ('?', '-1', nothing, the same name twice), bounds, versions for single sizes (--bucket), inputs without a rank, what a run refuses, and how close the
memory plan comes to what lives at the same time.
"""

import argparse
import ctypes
import os
import re

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import harness
from bmc_ctypes import E_FAIL, E_INPUT, E_SHAPE, Config, Loaded, ModelError
from harness import WORK, run

F, I, U8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8


def single(op, version, domain="", **attrs):
    """A model of one node: its inputs are given by example, all sizes are unknown; outputs as many as asked for."""

    def make(path, inputs, n_out):
        names = ["x%d" % k if x is not None else "" for k, x in enumerate(inputs)]
        ports = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), [None] * x.ndim)
                 for n, x in zip(names, inputs) if n]
        outs = ["y%d" % k for k in range(n_out)]
        types = [helper.make_tensor_value_info(n, F, None) for n in outs]
        graph = helper.make_graph([helper.make_node(op, names, outs, domain=domain, **attrs)], "g", ports, types)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, version)], ir_version=10)
        onnx.save(model, path)
        return model

    return make


class Build:
    """An ONNX model under construction: names are made up, constants become initializers."""

    def __init__(self, rng):
        self.rng, self.nodes, self.consts, self.n = rng, [], [], 0

    def const(self, array):
        self.n += 1
        name = "c%d" % self.n
        self.consts.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape):
        return self.const((self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32))

    def ints(self, *values):
        return self.const(np.array(values, np.int64))

    def __call__(self, op, *inputs, out=None, **attrs):
        self.n += 1
        name = out or "v%d" % self.n
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attrs))
        return name

    def save(self, path, inputs, outputs):
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info(n, t, s) for n, t, s in inputs],
            [helper.make_tensor_value_info(n, t, None) for n, t in outputs],
            self.consts,
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path


def image_net(path, rng):
    """Convolutions, pools, a branch that is added and one that is concatenated, a head over what is left."""
    b = Build(rng)
    x = b("Relu", b("Conv", "image", b.weight(16, 3, 3, 3), b.weight(16), strides=[2, 2], pads=[1, 1, 1, 1]))
    y = b("Conv", x, b.weight(16, 1, 3, 3), group=16, pads=[1, 1, 1, 1])
    y = b("Add", b("Conv", b("Relu", y), b.weight(16, 16, 1, 1)), x)
    z = b("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    z = b("Sigmoid", b("Conv", z, b.weight(24, 16, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]))
    shape = b("Slice", b("Shape", y), b.ints(2), b.ints(4))
    shape = b("Concat", b("Slice", b("Shape", z), b.ints(0), b.ints(2)), shape, axis=0)
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    up = b("Resize", z, "", "", shape, **nearest)
    b("Conv", b("Concat", y, up, axis=1), b.weight(4, 40, 1, 1), out="map")
    pooled = b("Flatten", b("GlobalAveragePool", z))
    b("Softmax", b("Gemm", pooled, b.weight(10, 24), b.weight(10), transB=1), out="scores")
    return b.save(path, [("image", F, ["n", 3, "h", "w"])], [("map", F), ("scores", F)])


def attention(b, q, k, v, heads, width, mask=None):
    """Heads split by the shape arithmetic that exporters write: Shape, Gather, Unsqueeze, Concat, Reshape."""

    def split(x):
        dims = [b("Unsqueeze", b("Gather", b("Shape", x), b.const(np.int64(i))), b.ints(0)) for i in (0, 1)]
        return b("Reshape", x, b("Concat", *dims, b.ints(heads), b.ints(width // heads), axis=0))

    scores = b("MatMul", b("Transpose", split(q), perm=[0, 2, 1, 3]), b("Transpose", split(k), perm=[0, 2, 3, 1]))
    scores = b("Div", scores, b.const(np.float32(np.sqrt(width // heads))))
    if mask:
        scores = b("Add", scores, mask)
    out = b("MatMul", b("Softmax", scores, axis=-1), b("Transpose", split(v), perm=[0, 2, 1, 3]))
    out = b("Transpose", out, perm=[0, 2, 1, 3])
    keep = b("Slice", b("Shape", q), b.ints(0), b.ints(2))
    return b("Reshape", out, b("Concat", keep, b.ints(-1), axis=0))


def encoder(path, rng):
    """Tokens, positions cut from a table of 32 rows, a mask of the tokens, one layer."""
    b, width = Build(rng), 24
    seq = b("Slice", b("Shape", "tokens"), b.ints(1), b.ints(2))
    positions = b("Slice", b.weight(32, width), b.ints(0), seq, b.ints(0))
    x = b("Add", b("Gather", b.weight(50, width), "tokens"), positions)
    mask = b("Unsqueeze", b("Cast", "mask", to=F), b.ints(1, 2))
    mask = b("Mul", b("Sub", b.const(np.float32(1)), mask), b.const(np.float32(-1e4)))
    q, k, v = (b("Add", b("MatMul", x, b.weight(width, width)), b.weight(width)) for _ in range(3))
    x = b("Add", x, b("MatMul", attention(b, q, k, v, 4, width, mask), b.weight(width, width)))
    x = b("LayerNormalization", x, b.weight(width), b.weight(width))
    h = b("Mul", (t := b("MatMul", x, b.weight(width, 96))), b("Sigmoid", t))
    b("Add", x, b("MatMul", h, b.weight(96, width)), out="y")
    shape = ["batch", "seq"]
    return b.save(path, [("tokens", I, shape), ("mask", I, shape)], [("y", F)])


def decoder(path, rng):
    """A step of a decoder: keys and values are the past's and the new ones."""
    b, width = Build(rng), 16
    q, k, v = (b("MatMul", "x", b.weight(width, width)) for _ in range(3))
    keys = b("Concat", "past_k", k, axis=1, out="present_k")
    values = b("Concat", "past_v", v, axis=1, out="present_v")
    b("MatMul", attention(b, q, keys, values, 2, width), b.weight(width, width), out="y")
    past = ["batch", "past", width]
    ports = [("x", F, ["batch", "seq", width]), ("past_k", F, past), ("past_v", F, past)]
    return b.save(path, ports, [("y", F), ("present_k", F), ("present_v", F)])


def stream(path, rng):
    """A cell with a state; the frame's length is free, the input's rank has two anonymous dimensions."""
    b = Build(rng)
    frame = b("ReduceMean", b("Abs", "x"), axes=[1], keepdims=1)
    h = b("Tanh", b("Add", b("MatMul", "state", b.weight(8, 8)), b("MatMul", frame, b.weight(1, 8))))
    b("Add", b("Mul", h, b.const(np.float32(0.9))), b("Mul", "state", b.const(np.float32(0.1))), out="next")
    b("ReduceSum", b("Mul", "next", "next"), b.ints(1), keepdims=0, out="energy")
    return b.save(path, [("x", F, [None, None]), ("state", F, ["?", 8])], [("energy", F), ("next", F)])


def kernels(path, rng):
    """Convolutions whose weights are inputs of any height and width."""
    b = Build(rng)
    b("Conv", "x", "w", "bias", out="padded", pads=[1, 2, 0, 1], strides=[2, 1], dilations=[1, 2])
    b("Conv", "x", "w2", out="same", auto_pad="SAME_UPPER", strides=[1, 2], group=2)
    b("Relu", b("ConvTranspose", "x", "wt", strides=[2, 1], pads=[0, 1, 1, 0], output_padding=[1, 0], group=2), out="transposed")
    zeros = [b.const(np.uint8(v)) for v in (100, 130)]
    b("ConvInteger", "bytes", "wb", *zeros, out="integers", pads=[1, 1, 1, 1])
    scale = [b.const(np.float32(s)) for s in (0.02, 0.03, 0.4)]
    b("QLinearConv", "bytes", scale[0], zeros[0], "wb", scale[1], zeros[1], scale[2], zeros[0], out="rounded")
    sizes = ["kh", "kw"]
    ports = [("x", F, ["n", 4, "h", "w"]), ("w", F, [6, 4, *sizes]), ("bias", F, [6]), ("w2", F, [6, 2, *sizes]), ("wt", F, [4, 3, *sizes])]
    ports += [("bytes", U8, ["n", 3, "h", "w"]), ("wb", U8, [5, 3, *sizes])]
    outputs = [(name, F) for name in ("padded", "same", "transposed")] + [("integers", TensorProto.INT32), ("rounded", U8)]
    return b.save(path, ports, outputs)


def found_sizes(path, rng):
    """Products, byte products and rows over as many elements as the run finds: nothing bounds what a thread keeps of them."""
    b = Build(rng)

    def found(x, axis):
        ones = b("ConstantOfShape", b("Gather", b("Shape", x), b.ints(axis)), value=numpy_helper.from_array(np.array([1])))
        return b("Gather", x, b("Reshape", b("NonZero", ones), b.ints(-1)), axis=axis)

    u, w, t = found("x", 1), found("w", 0), found("t", 1)
    b("MatMul", u, w, out="matmul")
    b("Gemm", u, t, out="rows", transB=1, alpha=0.5)
    b("Gemm", b("Transpose", u, perm=[1, 0]), w, out="columns", transA=1)
    b("MatMul", u, b("Transpose", t, perm=[1, 0]), out="turned")
    bx, bw, bt = found("bx", 1), found("bw", 0), found("bt", 1)
    zeros, scale = [b.const(np.uint8(v)) for v in (100, 130)], [b.const(np.float32(s)) for s in (0.02, 0.03, 0.8)]
    b("MatMulInteger", bx, bw, *zeros, out="integers")
    b("QLinearMatMul", bx, scale[0], zeros[0], b("Transpose", bt, perm=[1, 0]), scale[1], zeros[1], scale[2], zeros[0], out="rounded")
    image, taps = found("image", 1), found("taps", 1)
    b("ConvInteger", b("Cast", image, to=U8), b("Cast", taps, to=U8), *zeros, out="windows")
    b("Conv", image, taps, out="conv")
    b("MaxRoiPool", image, b.const(np.float32([[0, 0, 0, 3, 3], [1, 1, 0, 4, 2]])), out="boxes", pooled_shape=[2, 2])
    b("LayerNormalization", u, found("scale", 0), out="norm")
    b("Softmax", u, out="soft")
    q, k, v = found("q", 1), found("k", 1), found("v", 1)
    b("MatMul", b("Softmax", b("MatMul", q, b("Transpose", k, perm=[0, 2, 1]))), v, out="attended")
    ports = [("x", F, ["m", "k"]), ("w", F, ["k", "n"]), ("t", F, ["n", "k"]), ("scale", F, ["k"])]
    ports += [("bx", U8, ["m", "k"]), ("bw", U8, ["k", "n"]), ("bt", U8, ["n", "k"])]
    ports += [("image", F, [2, "c", 5, 6]), ("taps", F, [3, "c", 2, 3]), *((name, F, [2, "s", 4]) for name in "qkv")]
    outputs = [(n, F) for n in ("matmul", "rows", "columns", "turned", "conv", "boxes", "norm", "soft", "attended")]
    return b.save(path, ports, outputs + [("integers", TensorProto.INT32), ("rounded", U8), ("windows", TensorProto.INT32)])


class Tests:
    def __init__(self, bmc, tally, rng):
        self.bmc, self.tally, self.rng = bmc, tally, rng
        self.out = os.path.join(WORK, "dynamic")
        os.makedirs(self.out, exist_ok=True)

    def path(self, name):
        return os.path.join(self.out, name)

    def compile(self, model, *options):
        so = self.path(os.path.basename(model)[:-5] + "-%d.so" % len(os.listdir(self.out)))
        ran = run([self.bmc, model, "-o", so, *options])
        name = "%s compiles %s" % (os.path.basename(model), " ".join(options))
        return so if self.tally.check(name, ran.status == 0, ran.brief()) else None

    def floats(self, *shape):
        return self.rng.standard_normal(shape).astype(np.float32)

    def agree(self, name, loaded, session, feeds):
        want = session.run(None, feeds)
        try:
            got = loaded.run(feeds)
        except ModelError as e:
            self.tally.check(name, False, e)
            return None
        for port, w in zip(session.get_outputs(), want):
            g = got[port.name]
            atol = 1e-5 * np.abs(w).max(initial=0) + 1e-7
            close = g.shape == w.shape and np.allclose(g, w, rtol=0, atol=atol)
            detail = np.abs(g - w).max() if g.shape == w.shape and w.size else "%s for %s" % (g.shape, w.shape)
            self.tally.check("%s: %s" % (name, port.name), close, detail)
        return got

    def sizes(self, model, cases, threads=(1, 2)):
        so, session = self.compile(model), onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        for n in threads if so else ():
            loaded = Loaded(so, threads=n)
            for label, feeds in cases:
                self.agree("%s %s, %d threads" % (os.path.basename(model), label, n), loaded, session, feeds)
            loaded.close()
        return so

    def image(self):
        model = image_net(self.path("image.onnx"), self.rng)
        shapes = [(1, 32, 32), (3, 64, 48), (1, 7, 5), (2, 33, 65), (1, 1, 1), (8, 16, 16), (1, 96, 160)]
        self.sizes(model, [("%dx3x%dx%d" % s, {"image": self.floats(s[0], 3, *s[1:])}) for s in shapes])

    def kernel_sizes(self):
        model = kernels(self.path("kernels.onnx"), self.rng)
        cases = []
        for n, h, w, kh, kw in [(1, 9, 9, 3, 3), (2, 8, 11, 1, 1), (1, 12, 7, 5, 2), (3, 6, 20, 2, 6)]:
            feeds = {"x": self.floats(n, 4, h, w), "bias": self.floats(6)}
            feeds.update({name: self.floats(*shape, kh, kw) for name, shape in (("w", (6, 4)), ("w2", (6, 2)), ("wt", (4, 3)))})
            feeds.update(bytes=self.rng.integers(0, 256, (n, 3, h, w), np.uint8), wb=self.rng.integers(0, 256, (5, 3, kh, kw), np.uint8))
            cases.append(("kernel %dx%d" % (kh, kw), feeds))
        self.sizes(model, cases)

    def found(self):
        """Sizes that only the run finds: rooms grow from run to run, and a later small one fits into them."""
        model, cases = found_sizes(self.path("found.onnx"), self.rng), []
        for m, k, n, c, s in [(3, 5, 4, 3, 3), (20, 3000, 33, 700, 900), (1, 2, 1, 1, 1), (40, 301, 70, 17, 65)]:
            feeds = {"x": self.floats(m, k), "w": self.floats(k, n), "t": self.floats(n, k), "scale": self.floats(k)}
            for name, shape in (("bx", (m, k)), ("bw", (k, n)), ("bt", (n, k))):
                feeds[name] = self.rng.integers(0, 256, shape, np.uint8)
            feeds.update(image=self.rng.integers(0, 9, (2, c, 5, 6)).astype(np.float32))
            feeds.update(taps=self.rng.integers(0, 9, (3, c, 2, 3)).astype(np.float32))
            feeds.update({name: self.floats(2, s, 4) for name in "qkv"})
            cases.append(("found %d" % k, feeds))
        self.sizes(model, cases)

    def operators(self):
        """Single operators that once had to know a size: an artifact each for all sizes, against ONNX's reference evaluator."""
        f, i = self.floats, lambda *v: np.array(v, np.int64)
        u8 = lambda *shape: self.rng.integers(0, 256, shape, np.uint8)
        turns = lambda n, r: [f(n, r), f(n, r)]
        rotary = lambda shape, r, at: [f(*shape), *turns(9, r), self.rng.integers(0, 9, at)]
        groups = lambda c, s: [f(2, c, 3), f(s), f(s)]
        linear = lambda d, w, b: [f(2, 3, 4 * d), f(2, 3, 2 * d), f(2, 3, 6), f(2, 2, d, 3), -abs(f(2, 3, w)), f(2, 3, b)]
        rows = [(3, 4), (1, 4), (3, 1), (1, 1)]
        row = lambda *shapes: [f(*s) for s in shapes]

        def deform(c, oc, kh, kw):
            place = [(7 + 1 - kh) // 2 + 1, 5 + 1 - kw + 1]
            return [f(2, c, 7, 5), f(oc, c // 2, kh, kw), f(2, 2 * kh * kw, *place), f(oc), f(2, kh * kw, *place)]

        cases = {  # name: model, inputs by run, outputs, inputs that a run refuses
            "shared heads": (
                single("Attention", 23),
                [[f(2, hq, 3, d), f(2, hk, 5, d), f(2, hk, 5, 4)] for hq, hk, d in ((6, 2, 4), (3, 3, 8), (4, 1, 1))], 1,
                [[f(2, 5, 3, 4), f(2, hk, 5, 4), f(2, hk, 5, 4)] for hk in (2, 0)]),
            "heads of any size": (
                single("RotaryEmbedding", 23), [rotary((2, 3, 4, d), d // 2, (2, 4)) for d in (2, 8, 34)], 1,
                [rotary((2, 3, 4, d), 2, (2, 4)) for d in (5, 8)]),
            "a part of them turns": (
                single("RotaryEmbedding", 23, interleaved=1, num_heads=3, rotary_embedding_dim=4),
                [rotary((2, 4, 3 * d), 2, (2, 4)) for d in (4, 6, 7)], 1, [rotary((2, 4, d), 2, (2, 4)) for d in (9, 10)]),
            "real or complex": (
                single("DFT", 20), [[f(2, n, p), None, i(1)[0]] for n, p in ((8, 2), (5, 1), (12, 1))], 1,
                [[f(2, 4, p), None, i(1)[0]] for p in (3, 0)]),
            "frames": (
                single("STFT", 17, onesided=0),
                [[f(2, n, 1), i(step)[0], None, i(k)[0]] for n, step, k in ((16, 3, 8), (9, 2, 5))], 1,
                [[f(2, 8, 3), i(2)[0], None, i(4)[0]]]),
            "any taps": (
                single("CausalConvWithState", 27, activation="silu"),
                [[f(2, c, n), f(c, 1, k), f(c), f(2, c, k - 1)] for c, n, k in ((3, 7, 4), (5, 2, 6), (1, 1, 1))], 2,
                [[f(2, c, 4), f(3, 1, k), f(3), f(2, 3, p)] for c, k, p in ((3, 0, 0), (3, 2, 2), (4, 2, 1))]),
            "scales of groups": (
                single("GroupNormalization", 18, num_groups=2), [groups(c, 2) for c in (4, 2, 6)], 1, [groups(4, 3), groups(5, 2)]),
            "scales of channels": (
                single("GroupNormalization", 21, num_groups=2), [groups(c, c) for c in (4, 2, 6)], 1, [groups(4, 8)]),
            "a scale or one": (
                single("LayerNormalization", 17, axis=1), [row((2, 3, 4), s, b) for s in rows for b in rows], 1,
                [row((2, 3, 4), (2, 4), (3, 4)), row((2, 3, 4), (3, 4), (3, 5)), row((2, 1, 4), (3, 4), (1, 1)), row((2, 1, 4), (1, 4), (0, 4))]),
            "a quantisation's scale or one": (
                single("DequantizeLinear", 21), [[u8(2, 3, 4), abs(f(s)), u8(s)] for s in (3, 1)] + [[u8(2, 1, 4), abs(f(1)), u8(1)]], 1,
                [[u8(2, 3, 4), f(s), u8(z)] for s, z in ((2, 2), (4, 4), (0, 0), (3, 1), (1, 3))] + [[u8(2, 1, 4), f(3), u8(3)]]),
            "decays": (
                single("LinearAttention", 27, q_num_heads=4, kv_num_heads=2),
                [linear(*x) for x in ((3, 2, 2), (3, 6, 1), (1, 2, 2), (4, 8, 2))], 2,
                [linear(*x) for x in ((3, 3, 2), (3, 2, 3), (3, 12, 2))]),
            "offsets": (
                single("DeformConv", 22, group=2, offset_group=1, pads=[1, 0, 0, 1], strides=[2, 1]),
                [deform(*x) for x in ((4, 6, 3, 3), (2, 2, 1, 2), (8, 4, 2, 1))], 1,
                [deform(4, 5, 2, 2), deform(3, 4, 2, 2), [x[:, 1:] if k == 2 else x for k, x in enumerate(deform(4, 6, 2, 3))]]),
            "scales or sizes": (
                single("Resize", 11, mode="linear"),
                [[f(1, 2, 3, 4), f(0), *x] for x in ((f(0), i(1, 2, 5, 6)), (np.float32([1, 1, 2, 1.5]), i()), (f(0), i(1, 2, 1, 4)))], 1,
                [[f(1, 2, 3, 4), f(0), *x] for x in ((f(0), i()), (np.float32([1, 2]), i()), (np.float32([1, 1, 2, 2]), i(1, 2, 6, 8)))]),
            "pieces": (
                single("Split", 18), [[f(a + b, 2), i(a, b)] for a, b in ((1, 4), (0, 3))], 2, [[f(4, 2), i(4)], [f(4, 2), i(1, 1, 2)]]),
            "repeats": (
                single("Tile", 13), [[f(2, 3), i(*r)] for r in ((2, 1), (1, 0), (3, 2))], 1, [[f(2, 3), i(2)], [f(2, 3), i(1, 1, 1)]]),
        }
        ways = [[], ["-O0"], ["--cpu=x86-64-v3"], ["-O0", "--cpu=x86-64-v3"]]
        for k, (name, (make, good, n_out, bad)) in enumerate(cases.items()):
            path = self.path("op%d.onnx" % k)
            want = ReferenceEvaluator(make(path, good[0], n_out))
            for options in ways:
                so = self.compile(path, *options)
                loaded = Loaded(so) if so else None
                feeds = lambda inputs: {"x%d" % k: x for k, x in enumerate(inputs) if x is not None}
                for inputs in good if loaded else ():
                    label = "%s of %s %s" % (name, [x.shape for x in inputs if x is not None], " ".join(options))
                    try:
                        got = loaded.run(feeds(inputs))
                    except ModelError as e:
                        self.tally.check(label, False, e)
                        continue
                    if name == "scales or sizes":  # the evaluator takes an operand without elements for one that is given
                        inputs = [x if x.size else None for x in inputs]
                        want = ReferenceEvaluator(single("Resize", 13, mode="linear")(self.path("given.onnx"), inputs, 1))
                    for j, w in enumerate(want.run(None, feeds(inputs))):
                        g, most = got["y%d" % j], 2e-5 * (1 + np.abs(w).max(initial=0))
                        self.tally.check(label, g.shape == w.shape and np.abs(g - w).max(initial=0) <= most, (g, w))
                for inputs in bad if loaded else ():
                    self.refused("%s of %s" % (name, [x.shape for x in inputs if x is not None]), so, feeds(inputs), None, "")

    def tokens(self, batch, seq):
        mask = (np.arange(seq) < self.rng.integers(1, seq + 1, (batch, 1))).astype(np.int64)
        return {"tokens": self.rng.integers(0, 50, (batch, seq)), "mask": mask}

    def encode(self):
        model = encoder(self.path("encoder.onnx"), self.rng)
        so = self.sizes(model, [("%dx%d" % s, self.tokens(*s)) for s in [(1, 1), (5, 17), (1, 32), (3, 2), (64, 5)]])
        if so:
            self.refused("a sequence longer than the table", so, self.tokens(1, 33), E_INPUT, r"\(seq\) is 33.*0\.\.32")
            feeds = dict(self.tokens(2, 4), mask=np.ones((2, 5), np.int64))
            self.refused("inputs that share a name", so, feeds, E_INPUT, "seq")
        bounded = self.compile(model, "--dim", "seq=2..8", "--dim", "batch=1..4")
        if bounded:
            self.refused("a sequence above --dim", bounded, self.tokens(1, 9), E_INPUT, r"2\.\.8")
            self.refused("a sequence below --dim", bounded, self.tokens(1, 1), E_INPUT, r"2\.\.8")
            loaded = Loaded(bounded)
            session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
            self.agree("within --dim", loaded, session, self.tokens(4, 8))

    def decode(self):
        model = decoder(self.path("decoder.onnx"), self.rng)
        past = lambda b, n: {"past_k": self.floats(b, n, 16), "past_v": self.floats(b, n, 16)}
        cases = [(b, n, s) for b, n, s in [(1, 0, 1), (1, 1, 1), (2, 9, 1), (1, 300, 1), (3, 0, 7), (2, 5, 4)]]
        label = "past %d, new %d, batch %d"
        self.sizes(model, [(label % (n, s, b), dict(past(b, n), x=self.floats(b, s, 16))) for b, n, s in cases])

    def steps(self):
        model = stream(self.path("stream.onnx"), self.rng)
        so, session = self.compile(model), onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        if not so:
            return
        loaded, state = Loaded(so), np.zeros((2, 8), np.float32)
        before = self.tally.failed
        for k in range(50):
            got = self.agree("step %d" % k, loaded, session, {"x": self.floats(2, 40 + k % 7), "state": state})
            if got is None or self.tally.failed > before:
                return
            state = got["next"]
        feeds = {"x": self.floats(2, 5), "state": self.floats(3, 8)}
        self.refused("batches that differ", so, feeds, E_SHAPE, "2.*3|3.*2")

    def refused(self, name, so, feeds, status, text):
        try:
            Loaded(so).run(feeds)
            self.tally.check("refused: " + name, False, "it ran")
        except ModelError as e:
            self.tally.check("refused: " + name, status in (None, e.status) and re.search(text, e.message), e)

    def names(self):
        """Only identifiers are shared; '?', '-1', '0' and nothing are a dimension of their own wherever they stand."""
        for dim in ("?", "-1", "", None, "0", "N x"):
            b = Build(self.rng)
            b("Relu", "a", out="x")
            b("Neg", "b", out="y")
            path = self.path("names.onnx")
            model = b.save(path, [("a", F, [dim, dim]), ("b", F, [dim])], [("x", F), ("y", F)])
            so = self.compile(model)
            session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
            self.agree("dims named %r" % dim, Loaded(so), session, {"a": self.floats(2, 3), "b": self.floats(5)})
        b = Build(self.rng)
        b("Add", "a", "b", out="y")
        model = b.save(self.path("same.onnx"), [("a", F, ["?", 4]), ("b", F, ["?", 4])], [("y", F)])
        so, session = self.compile(model), onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        for m, n in ((3, 3), (1, 5), (5, 1), (1, 1)):
            feeds = {"a": self.floats(m, 4), "b": self.floats(n, 4)}
            self.agree("broadcast %d and %d" % (m, n), Loaded(so), session, feeds)
        feeds = {"a": self.floats(2, 4), "b": self.floats(3, 4)}
        self.refused("what does not broadcast", so, feeds, E_SHAPE, "broadcast")

    def no_rank(self):
        b = Build(self.rng)
        b("Relu", "x", out="y")
        model = b.save(self.path("no_rank.onnx"), [("x", F, None)], [("y", F)])
        so = self.compile(model, "--shape", "x=?x3")
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        if so:
            self.agree("a shape from the command line", Loaded(so), session, {"x": self.floats(4, 3)})
        for level in ("-O0", "-O2"):
            so = self.compile(model, level)
            for shape in [(), (3,), (2, 3), (2, 0, 3), (1, 2, 1, 3, 1, 2)] if so else []:
                self.agree("rank %d %s" % (len(shape), level), Loaded(so), session, {"x": self.floats(*shape)})
            self.refused("rank 9", so, {"x": self.floats(*[1] * 9)}, E_INPUT, "rank is 9, at most 8")

    def ranks(self):
        """Inputs of unknown rank: a version for each rank that fits, results whose rank follows."""
        b = Build(self.rng)
        b("MatMul", "x", b.weight(3, 4), out="h")
        b("Softmax", "h", out="y")
        b("ReduceMax", "h", out="m", keepdims=0)
        model = b.save(self.path("ranks.onnx"), [("x", F, None)], [("y", F), ("m", F)])
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        so = self.compile(model)
        for shape in [(3,), (2, 3), (5, 2, 3), (2, 1, 2, 3)] if so else []:
            for threads in (1, 2):
                self.agree("MatMul of rank %d, %d threads" % (len(shape), threads), Loaded(so, threads=threads), session, {"x": self.floats(*shape)})
        self.refused("a rank that does not fit", so, {"x": self.floats()}, E_FAIL, "not made for inputs of these ranks")
        b = Build(self.rng)
        b("Conv", "x", b.weight(2, 3, 1, 1), out="y")
        model = b.save(self.path("one_rank.onnx"), [("x", F, None)], [("y", F)])
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        so = self.compile(model)
        if so:
            self.agree("the only rank", Loaded(so), session, {"x": self.floats(2, 3, 4, 5)})
            self.refused("another one", so, {"x": self.floats(3, 4, 5)}, E_INPUT, "rank is 3, expected 4")
        b = Build(self.rng)
        b("Add", "x", "z", out="y")
        model = b.save(self.path("two_ranks.onnx"), [("x", F, None), ("z", F, None)], [("y", F)])
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        so = self.compile(model)
        for p, q in [((), ()), ((3,), ()), ((2, 3), (3,)), ((2, 1, 3), (5, 1))] if so else []:
            self.agree("two ranks %s %s" % (p, q), Loaded(so), session, {"x": self.floats(*p), "z": self.floats(*q)})
        if so:
            self.refused("extents that do not broadcast", so, {"x": self.floats(2, 3), "z": self.floats(4)}, E_SHAPE, "broadcast")

    def buckets(self):
        """--bucket: versions for single sizes beside the one for all; weights are there once."""
        encoder, plain = self.path("encoder.onnx"), self.compile(self.path("encoder.onnx"))
        session = onnxruntime.InferenceSession(encoder, providers=["CPUExecutionProvider"])
        for options in (["--bucket", "seq=5,32"], ["--bucket=seq=7,16", "--bucket=batch=1,3", "-O0"]):
            so = self.compile(encoder, *options)
            for threads in (1, 2) if so else ():
                loaded = Loaded(so, threads=threads)
                for shape in [(1, 5), (3, 7), (1, 32), (1, 16), (3, 16), (2, 9), (4, 32), (1, 7), (1, 1)]:
                    name = "%s, %dx%d, %d threads" % (" ".join(options), *shape, threads)
                    self.agree(name, loaded, session, self.tokens(*shape))
                loaded.close()
        if so and plain:
            self.refused("a sequence longer than the table, buckets", so, self.tokens(1, 33), E_INPUT, r"\(seq\) is 33")
        big = Build(self.rng)
        big("MatMul", "x", big.weight(256, 256), out="y")
        model = big.save(self.path("big.onnx"), [("x", F, ["n", 256])], [("y", F)])
        so, plain = self.compile(model, "--bucket", "n=1,6,16"), self.compile(model)
        if so and plain:
            more = os.path.getsize(so) - os.path.getsize(plain)
            self.tally.check("versions share their weights", more < 128 << 10, more)
            session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
            for n in (1, 5, 6, 16, 17):
                self.agree("product of %d rows" % n, Loaded(so), session, {"x": self.floats(n, 256)})
        image = self.path("image.onnx")
        so, session = self.compile(image, "--bucket=h=32", "--bucket=w=32,48"), onnxruntime.InferenceSession(image)
        for shape in [(1, 3, 32, 32), (2, 3, 32, 48), (1, 3, 32, 40), (1, 3, 33, 48)] if so else ():
            self.agree("image %dx%dx%dx%d, buckets" % shape, Loaded(so), session, {"image": self.floats(*shape)})
        wrong = {
            "rows=2": "no input has a free dimension 'rows'",
            "seq=33": "'seq' is never 33",
            "seq=": "--bucket takes",
            "seq=4,": "--bucket takes",
        }
        for value, text in wrong.items():
            ran = run([self.bmc, encoder, "-o", self.path("wrong.so"), "--bucket", value])
            self.tally.check("--bucket " + value, ran.status == 1 and text in ran.err, ran.brief())

    def threads(self):
        """How many threads a run asks for grows with what there is to do; config.all_threads asks for all."""
        asked = []
        entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)

        @ctypes.CFUNCTYPE(None, ctypes.c_void_p, entry, ctypes.c_void_p, ctypes.c_int)
        def team(_pool, fn, arg, nt):
            asked.append(nt)
            fn(arg, 0, 1)  # a team may come out smaller

        so = self.compile(self.path("image.onnx"))
        for all_threads, size, want in ((0, 8, []), (0, 512, [2]), (1, 8, [2])) if so else ():
            loaded = Loaded(so)
            loaded.close()
            config = Config(size=ctypes.sizeof(Config), threads=2, all_threads=all_threads)
            config.team = ctypes.cast(team, ctypes.c_void_p)
            status = loaded.table.create(ctypes.byref(config), None, 0, ctypes.byref(loaded.ctx))
            del asked[:]
            loaded.run({"image": self.floats(1, 3, size, size)})
            name = "threads for an image of %d, all_threads %d" % (size, all_threads)
            self.tally.check(name, status == 0 and asked == want, asked)
            loaded.close()

    def plans(self):
        """Fixed sizes: at most 5 % above what lives at the same time. Free ones: 10 %, for inputs small and large."""
        fixed = {
            "image.onnx": ["--dim", "n=1", "--dim", "h=64", "--dim", "w=64"],
            "encoder.onnx": ["--dim", "batch=2", "--dim", "seq=16"],
            "decoder.onnx": ["--dim", "batch=8", "--dim", "seq=4", "--dim", "past=64"],
        }
        for name, dims in fixed.items():
            for options, most in ((dims, 105), ([], 110)):
                ran = run([self.bmc, self.path(name), "-o", self.path("plan.kir"), "--stats", *options])
                at = re.search(r"(\d+)\s+plan-memory: arena in percent", ran.out + ran.err)
                ok = at and int(at.group(1)) <= most
                self.tally.check("plan of %s %s" % (name, " ".join(options)), ok, at.group(0) if at else ran.brief())


def main():
    parser = argparse.ArgumentParser(description="models with symbolic dimensions against ONNX Runtime")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--seed", type=int)
    parser.add_argument("-v", "--verbose", action="store_true")
    args = parser.parse_args()
    tally = harness.Tally(args.verbose)
    rng = np.random.default_rng(harness.fresh_seed(args.seed))
    onnxruntime.set_default_logger_severity(4)
    t = Tests(harness.needs_bmc(args.bmc), tally, rng)
    for f in os.listdir(t.out):
        os.remove(os.path.join(t.out, f))
    for test in (t.image, t.kernel_sizes, t.found, t.operators, t.encode, t.decode, t.steps, t.names, t.no_rank, t.ranks, t.buckets, t.threads, t.plans):
        test()
    return tally.finish()


if __name__ == "__main__":
    raise SystemExit(main())
