"""Sums of products and windows: matrices, convolutions, pools, resampling, transforms, attention, recurrences."""

import numpy as np

import values
from drafts import family


def ints(*x):
    return np.array(x, np.int64)


def moderate(c, k, shape):
    return c.draw(k, shape, "small" if values.is_int(c.elem(k)) else "finite")


def scalar(c, k, x):
    return np.asarray(x).astype(values.DTYPE[c.elem(k)])


@family("MatMul")
def matmul(c):
    for name, (a, b) in {"square": ((3, 4), (4, 5)), "batch": ((2, 3, 4), (2, 4, 3)), "broadcast": ((2, 1, 3, 4), (3, 4, 2)),
                         "vector": ((4,), (4,)), "row": ((4,), (4, 3)), "column": ((3, 4), (4,)), "empty": ((2, 0), (0, 3)),
                         "none": ((0, 4), (4, 2)), "large": ((17, 33), (33, 19))}.items():
        yield c.case(name, [moderate(c, 0, a), moderate(c, 1, b)])


@family("Gemm")
def gemm(c):
    old = c.version < 7
    forms = {"plain": ((3, 4), (4, 5), (3, 5), {}), "trans": ((4, 3), (5, 4), (3, 5), {"transA": 1, "transB": 1}),
             "scaled": ((3, 4), (4, 5), (3, 5), {"alpha": 0.5, "beta": 2.0}), "row": ((3, 4), (4, 5), (5,), {}),
             "one": ((3, 4), (4, 5), (1,) if old else (), {}), "column": ((3, 4), (4, 5), (3, 1), {}),
             "empty": ((0, 4), (4, 5), (5,), {})}
    for name, (a, b, d, attrs) in forms.items():
        if old and name in ("row", "one", "column", "empty"):
            attrs = dict(attrs, broadcast=1)
        if values.is_int(c.elem()) and name == "scaled":
            attrs = {"alpha": 2.0, "beta": 3.0}
        yield c.case(name, [moderate(c, 0, a), moderate(c, 1, b), moderate(c, 2, d)], **attrs)
    if c.version >= 11:
        yield c.case("no-c", [moderate(c, 0, (3, 4)), moderate(c, 1, (4, 5))])


@family("Einsum")
def einsum(c):
    for name, equation, shapes in (("matmul", "ij,jk->ik", ((2, 3), (3, 4))), ("trace", "ii->i", ((3, 3),)), ("sum", "ij->", ((3, 4),)),
                                   ("transpose", "ijk->kji", ((2, 3, 4),)), ("batch", "...ij,...jk->...ik", ((2, 2, 3), (2, 3, 4))),
                                   ("implicit", "ij,jk", ((2, 3), (3, 4))), ("three", "ab,bc,cd->ad", ((2, 3), (3, 2), (2, 4)))):
        yield c.case(name, [moderate(c, 0, s) for s in shapes], equation=equation)


@family("MatMulInteger")
def matmul_integer(c):
    x, y = c.draw(0, (3, 4)), c.draw(1, (4, 5))
    yield c.case("plain", [x, y])
    yield c.case("zero-points", [x, y, scalar(c, 2, 3), scalar(c, 3, 2)])
    yield c.case("rows", [x, y, c.draw(2, (3,), "small"), c.draw(3, (5,), "small")], (2, 3))
    yield c.case("batch", [c.draw(0, (2, 3, 4)), c.draw(1, (2, 4, 3)), scalar(c, 2, 1)])


def scale(c, k, x):
    return np.asarray(x).astype(values.DTYPE[c.elem(k)])


@family("QLinearMatMul")
def qlinear_matmul(c):
    def zero(k):
        return scalar(c, k, 2) if c.elem(k) not in values.FLOAT8 else np.zeros((), values.DTYPE[c.elem(k)])
    x, y = (c.draw(0, (3, 4), "finite"), c.draw(3, (4, 5), "finite"))
    for fixed in ((), (1, 2, 3, 4, 5, 6, 7)):
        yield c.case("fixed" if fixed else "fed", [x, scale(c, 1, 0.5), zero(2), y, scale(c, 4, 0.25), zero(5), scale(c, 6, 2.0), zero(7)], fixed)


@family("ConvInteger")
def conv_integer(c):
    x, w = c.draw(0, (1, 2, 5, 5)), c.draw(1, (3, 2, 3, 3))
    yield c.case("plain", [x, w])
    yield c.case("zero-points", [x, w, scalar(c, 2, 3), scalar(c, 3, 1)], (1, 3), pads=[1, 1, 1, 1])
    yield c.case("strides", [x, w, scalar(c, 2, 1)], strides=[2, 2])


@family("QLinearConv")
def qlinear_conv(c):
    x, w = c.draw(0, (1, 2, 5, 5)), c.draw(3, (3, 2, 3, 3))
    base = [x, scale(c, 1, 0.5), scalar(c, 2, 3), w, scale(c, 4, 0.25), scalar(c, 5, 1), scale(c, 6, 4.0), scalar(c, 7, 2)]
    yield c.case("plain", base)
    yield c.case("fixed", base, (1, 2, 3, 4, 5, 6, 7), pads=[1, 1, 1, 1])
    yield c.case("bias", base + [c.draw(8, (3,), "small")], (1, 2, 3, 4, 5, 6, 7, 8), strides=[2, 2])


@family("Conv")
def conv(c):
    for name, x, w, attrs in (("image", (1, 2, 5, 6), (3, 2, 3, 3), {}), ("pads", (2, 2, 5, 5), (4, 2, 3, 3), {"pads": [1, 1, 1, 1]}),
                              ("line", (1, 2, 9), (3, 2, 4), {"strides": [2]}), ("volume", (1, 1, 4, 4, 4), (2, 1, 2, 2, 2), {}),
                              ("groups", (1, 4, 5, 5), (4, 2, 3, 3), {"group": 2}), ("dilated", (1, 1, 7, 7), (1, 1, 3, 3), {"dilations": [2, 2]}),
                              ("same", (1, 2, 5, 5), (3, 2, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
                              ("lower", (1, 2, 5, 5), (3, 2, 2, 2), {"auto_pad": "SAME_LOWER"}),
                              ("depthwise", (1, 3, 5, 5), (3, 1, 3, 3), {"group": 3}), ("batch0", (0, 2, 5, 5), (3, 2, 3, 3), {})):
        inputs = [moderate(c, 0, x), moderate(c, 1, w)]
        yield c.case(name, inputs, kernel_shape=list(w[2:]), **attrs)
        yield c.case(name + "-bias", inputs + [moderate(c, 2, w[:1])], (1, 2), **attrs)


@family("ConvTranspose")
def conv_transpose(c):
    for name, x, w, attrs in (("image", (1, 2, 3, 4), (2, 3, 3, 3), {}), ("strides", (1, 2, 3, 3), (2, 2, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
                              ("line", (1, 2, 5), (2, 3, 4), {"strides": [3]}), ("groups", (1, 4, 3, 3), (4, 1, 2, 2), {"group": 2}),
                              ("shape", (1, 1, 3, 3), (1, 2, 3, 3), {"strides": [2, 2], "output_shape": [7, 8]}),
                              ("padding", (1, 1, 3, 3), (1, 2, 3, 3), {"strides": [2, 2], "output_padding": [1, 1]}),
                              ("dilated", (1, 1, 3, 3), (1, 1, 2, 2), {"dilations": [2, 2]}),
                              ("same", (1, 1, 3, 3), (1, 2, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]})):
        inputs = [moderate(c, 0, x), moderate(c, 1, w)]
        yield c.case(name, inputs, kernel_shape=list(w[2:]), **attrs)
        bias = w[1] * attrs.get("group", 1)
        yield c.case(name + "-bias", inputs + [moderate(c, 2, (bias,))], (1, 2), **attrs)


@family("DeformConv")
def deform_conv(c):
    x, w = c.draw(0, (1, 2, 5, 5), "finite"), c.draw(1, (3, 2, 2, 2), "finite")
    offset = c.draw(2, (1, 8, 4, 4), "unit")
    yield c.case("plain", [x, w, offset])
    yield c.case("mask", [x, w, offset, c.draw(3, (3,), "finite"), c.draw(4, (1, 4, 4, 4), "unit")])
    yield c.case("pads", [x, w, c.draw(2, (1, 8, 3, 3), "unit")], strides=[2, 2], pads=[1, 1, 1, 1])


@family("AveragePool MaxPool LpPool")
def pools(c):
    if c.op == "LpPool" and c.version == 1:
        yield c.case("p", [moderate(c, 0, (1, 2, 6, 6))], kernel_shape=[3, 3], p=3.0)
        return
    forms = [("image", (1, 2, 6, 6), [3, 3], {}), ("strides", (2, 1, 7, 6), [3, 2], {"strides": [2, 2]}), ("line", (1, 2, 9), [3], {"strides": [2]}),
             ("volume", (1, 1, 4, 4, 4), [2, 2, 2], {}), ("same", (1, 1, 5, 5), [3, 3], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
             ("lower", (1, 1, 5, 5), [2, 2], {"auto_pad": "SAME_LOWER"}), ("pads", (1, 1, 5, 5), [3, 3], {"pads": [1, 1, 1, 1]})]
    if c.has("ceil_mode"):
        forms.append(("ceil", (1, 1, 6, 6), [3, 3], {"ceil_mode": 1, "strides": [2, 2]}))
    if c.has("dilations"):
        forms.append(("dilated", (1, 1, 7, 7), [3, 3], {"dilations": [2, 2]}))
    if c.has("count_include_pad"):
        forms.append(("include", (1, 1, 5, 5), [3, 3], {"count_include_pad": 1, "pads": [1, 1, 1, 1]}))
    for name, x, k, attrs in forms:
        yield c.case(name, [moderate(c, 0, x)], kernel_shape=k, **attrs)
        if c.op == "MaxPool" and len(c.schema.outputs) > 1:
            yield c.case(name + "-indices", [permuted(c, x)], n_out=2, kernel_shape=k, **attrs)
    if c.op == "LpPool":
        yield c.case("p1", [moderate(c, 0, (1, 2, 6, 6))], kernel_shape=[3, 3], p=1)
    if c.op == "MaxPool" and c.has("storage_order"):
        yield c.case("columns", [permuted(c, (1, 1, 5, 5))], n_out=2, kernel_shape=[3, 3], storage_order=1)


def permuted(c, shape):
    """No ties."""
    count = int(np.prod(shape))
    return (c.rng.permutation(count) % 120).reshape(shape).astype(values.DTYPE[c.elem()])


@family("GlobalAveragePool GlobalMaxPool GlobalLpPool")
def global_pools(c):
    for name, shape in (("image", (2, 3, 4, 5)), ("line", (1, 2, 7)), ("point", (1, 2, 1, 1))):
        yield c.case(name, [c.draw(0, shape, "finite")])
    if c.op == "GlobalLpPool":
        yield c.case("p", [c.draw(0, (1, 2, 3, 3), "finite")], p=3.0 if c.version == 1 else 3)


@family("MaxUnpool")
def max_unpool(c):
    x, at = c.draw(0, (1, 1, 2, 2), "finite"), ints(5, 7, 13, 15).reshape(1, 1, 2, 2)
    yield c.case("plain", [x, at], kernel_shape=[2, 2], strides=[2, 2])
    yield c.case("shape", [x, at, ints(1, 1, 5, 5)], (2,), kernel_shape=[2, 2], strides=[2, 2])


@family("RoiAlign")
def roi_align(c):
    rois = np.array([[0, 0, 4, 4], [1, 1, 3, 5], [2, 0, 5, 3]]).astype(values.DTYPE[c.elem(1)])
    at = np.array([0, 1, 0], np.int64)
    modes = ("half_pixel", "output_half_pixel") if c.has("coordinate_transformation_mode") else (None,)
    for how in ("avg", "max"):
        for mode in modes:
            attrs = {"coordinate_transformation_mode": mode} if mode else {}
            yield c.case("%s-%s" % (how, mode), [c.draw(0, (2, 2, 6, 6), "finite"), rois, at], mode=how, output_height=2, output_width=3,
                         sampling_ratio=2, **attrs)
    yield c.case("adaptive", [c.draw(0, (2, 1, 6, 6), "finite"), rois, at], output_height=2, output_width=2, spatial_scale=0.5)


@family("Col2Im")
def col2im(c):
    yield c.case("plain", [moderate(c, 0, (1, 8, 9)), ints(4, 4), ints(2, 2)], (1, 2))
    yield c.case("strides", [moderate(c, 0, (1, 4, 4)), ints(4, 4), ints(2, 2)], (1, 2), strides=[2, 2])
    yield c.case("pads", [moderate(c, 0, (1, 4, 25)), ints(4, 4), ints(2, 2)], (1, 2), pads=[1, 1, 1, 1])


@family("GridSample")
def grid_sample(c):
    modes = ("bilinear", "nearest", "bicubic") if c.version < 20 else ("linear", "nearest", "cubic")
    for mode in modes:
        for padding in ("zeros", "border", "reflection"):
            for align in (0, 1):
                kind = "small" if not values.is_float(c.elem()) else "finite"
                if c.elem() == "string" and mode != "nearest":
                    continue
                yield c.case("%s-%s-%d" % (mode, padding, align), [c.draw(0, (1, 2, 4, 5), kind), c.draw(1, (1, 3, 3, 2), "unit")],
                             mode=mode, padding_mode=padding, align_corners=align, atol=1.0 if values.is_int(c.elem()) else 1e-5)
    if c.version >= 20:
        how = {"mode": "nearest"} if c.elem() == "string" else {}
        yield c.case("volume", [c.draw(0, (1, 1, 3, 3, 3), "small"), c.draw(1, (1, 2, 2, 2, 3), "unit")], atol=1.0 if values.is_int(c.elem()) else 0.0,
                     **how)


@family("AffineGrid")
def affine_grid(c):
    for align in (0, 1):
        yield c.case("image%d" % align, [c.draw(0, (2, 2, 3), "unit"), ints(2, 1, 3, 4)], (1,), align_corners=align)
        yield c.case("volume%d" % align, [c.draw(0, (1, 3, 4), "unit"), ints(1, 1, 2, 3, 2)], (1,), align_corners=align)


@family("Det")
def det(c):
    yield c.case("batch", [c.draw(0, (2, 3, 3), "finite")])
    yield c.case("one", [c.draw(0, (4, 4), "finite")])


@family("DFT")
def dft(c):
    number = lambda k, x: np.asarray(x).astype(values.DTYPE[c.elem(k)])  # noqa: E731
    real, both = c.draw(0, (1, 6, 3, 1), "unit"), c.draw(0, (1, 5, 2), "unit")
    if c.version < 20:
        yield c.case("real", [real], axis=1)
        yield c.case("complex", [both], axis=1)
        yield c.case("inverse", [both], axis=1, inverse=1)
        yield c.case("onesided", [real], axis=1, onesided=1)
        yield c.case("length", [both, number(1, 4)], (1,), axis=1)
    else:
        axis = np.array(1, np.int64)
        yield c.case("real", [real, None, axis], (2,))
        yield c.case("default", [c.draw(0, (2, 5, 1), "unit")])
        yield c.case("inverse", [both, None, axis], (2,), inverse=1)
        yield c.case("onesided", [real, None, axis], (2,), onesided=1)
        yield c.case("length", [both, number(1, 8), axis], (1, 2))


@family("STFT")
def stft(c):
    number = lambda k, x: np.asarray(x).astype(values.DTYPE[c.elem(k)])  # noqa: E731
    signal = c.draw(0, (1, 32, 1), "unit")
    yield c.case("length", [signal, number(1, 8), None, number(3, 16)], (1, 3))
    yield c.case("window", [signal, number(1, 4), c.draw(2, (8,), "unit")], (1, 2))
    yield c.case("both-sides", [signal, number(1, 8), c.draw(2, (16,), "unit"), number(3, 16)], (1, 3), onesided=0)


@family("HannWindow HammingWindow BlackmanWindow")
def windows(c):
    to = {"output_datatype": values.NUMBER[c.out_elem()]}
    size = scalar(c, 0, 10)
    yield c.case("default", [size], (0,), types=dict(c.types, T2="tensor(float)"))
    yield c.case("plain", [size], (0,), **to)
    yield c.case("symmetric", [size], (0,), periodic=0, **to)
    yield c.case("running", [size], **to)


@family("MelWeightMatrix")
def mel(c):
    to = {"output_datatype": values.NUMBER[c.out_elem()]}
    yield c.case("plain", [scalar(c, 0, 8), scalar(c, 1, 64), scalar(c, 2, 100 if "8" in c.elem(2) else 8192),
                           scalar(c, 3, 0.0), scalar(c, 4, 40.0 if "8" in c.elem(2) else 4096.0)], (0, 1, 2, 3, 4), **to)


@family("Resize")
def resize(c):
    scales = np.array([1, 1, 2, 1.5], np.float32)
    shape = (1, 2, 4, 4)
    x = c.draw(0, shape, "finite" if not values.is_int(c.elem()) else "small")
    numeric = c.elem() not in ("string", "bool")
    whole = 1.0 if values.is_int(c.elem()) else 1e-5  # weights are float32 as scales are; rounding to integers is open
    if c.version == 10:
        yield c.case("nearest", [x, scales], (1,), mode="nearest", kind="move")
        if numeric:
            yield c.case("linear", [x, scales], (1,), mode="linear", atol=whole)
        return
    empty = np.zeros(0, values.DTYPE[c.elem(1)])
    roi = empty if c.version < 13 else None
    names = ("nearest", "linear", "cubic")
    for mode in names if numeric else names[:1]:
        for how in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel") + (() if c.version < 19 else ("half_pixel_symmetric",)):
            yield c.case("%s-%s" % (mode, how), [x, roi, scales], (2,), mode=mode, coordinate_transformation_mode=how,
                         kind="move" if mode == "nearest" else "", atol=0.0 if mode == "nearest" else whole)
        if c.version >= 18 and mode != "nearest":
            yield c.case(mode + "-antialias", [x, roi, np.array([1, 1, 0.5, 0.75], np.float32)], (2,), mode=mode, antialias=1, atol=whole)
    for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        yield c.case("nearest-" + rounding, [x, roi, scales], (2,), nearest_mode=rounding, kind="move")
    if c.version < 13 and c.elem() in ("float", "int32", "uint8"):  # which ONNX Runtime resizes; nobody else knows the word
        yield c.case("nearest-half", [x, roi, scales], (2,), nearest_mode="floor", coordinate_transformation_mode="tf_half_pixel_for_nn", kind="move")
    none = np.zeros(0, np.float32) if c.version < 13 else None
    yield c.case("sizes", [x, roi, none, ints(1, 2, 7, 3)], (3,) if none is None else (2, 3), kind="move")
    if numeric:
        crop = np.array([0, 0, 0.2, 0.1, 1, 1, 0.8, 0.9]).astype(values.DTYPE[c.elem(1)])
        yield c.case("crop", [x, crop, none, ints(1, 2, 5, 6)], (1, 2, 3), mode="linear", coordinate_transformation_mode="tf_crop_and_resize",
                     atol=whole)
        yield c.case("crop-scales", [x, crop, scales], (1, 2), mode="linear", coordinate_transformation_mode="tf_crop_and_resize")


@family("Upsample")
def upsample(c):
    x = c.draw(0, (1, 2, 3, 3), "small")
    for mode in ("nearest", "linear") if c.version > 1 else ("nearest", "bilinear"):
        if mode != "nearest" and c.elem() in ("string", "bool"):
            continue
        how = {"kind": "move"} if mode == "nearest" else {"atol": 1.0 if values.is_int(c.elem()) else 0.0}
        if c.version == 1:
            yield c.case(mode, [x], mode=mode, height_scale=2.0, width_scale=3.0, **how)
        elif c.version < 9:
            yield c.case(mode, [x], mode=mode, scales=[1.0, 1.0, 2.0, 3.0], **how)
        else:
            yield c.case(mode, [x, np.array([1, 1, 2, 3], np.float32)], (1,), mode=mode, **how)


@family("RNN GRU LSTM")
def recurrent(c):
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[c.op]
    length, batch, size, hidden = 4, 2, 3, 5
    for direction in ("forward", "reverse", "bidirectional"):
        n = 2 if direction == "bidirectional" else 1
        base = [c.draw(0, (length, batch, size), "unit"), c.draw(1, (n, gates * hidden, size), "unit"), c.draw(2, (n, gates * hidden, hidden), "unit")]
        bias = c.draw(3, (n, 2 * gates * hidden), "unit")
        start = [c.draw(5, (n, batch, hidden), "unit")] + ([c.draw(6, (n, batch, hidden), "unit")] if c.op == "LSTM" else [])
        attrs = {"hidden_size": hidden, "direction": direction}
        if c.version < 7:
            attrs["output_sequence"] = 1
        outs = 3 if c.op == "LSTM" else 2
        yield c.case(direction, base, (1, 2), n_out=outs, **attrs)
        yield c.case(direction + "-state", base + [bias, None] + start, (1, 2, 3), n_out=outs, **attrs)
        yield c.case(direction + "-lengths", base + [bias, np.array([4, 2], np.int32)] + start, (1, 2, 3), n_out=outs, **attrs)
        if n == 1:
            yield c.case(direction + "-clip", base + [bias], (1, 2, 3), n_out=outs, clip=0.5, **attrs)
        if c.has("linear_before_reset"):
            yield c.case(direction + "-linear", base + [bias], (1, 2, 3), n_out=outs, linear_before_reset=1, **attrs)
        if c.has("layout") and n == 1:
            turned = [base[0].transpose(1, 0, 2)] + base[1:]
            yield c.case(direction + "-layout", turned, (1, 2), n_out=outs, layout=1, **attrs)
    if c.op == "LSTM":
        yield c.case("peepholes", base[:1] + [c.draw(1, (1, 20, size), "unit"), c.draw(2, (1, 20, hidden), "unit"), None, None, None, None,
                                              c.draw(7, (1, 15), "unit")], (1, 2, 7), n_out=3, hidden_size=hidden)


@family("Attention")
def attention(c):
    def some(k, *shape):
        return c.draw(k, shape, "unit")
    q, k, v = some(0, 2, 2, 3, 4), some(1, 2, 2, 5, 4), some(2, 2, 2, 5, 4)
    yield c.case("plain", [q, k, v])
    yield c.case("causal", [q, k, v], is_causal=1)
    yield c.case("scale", [q, k, v], scale=0.3, softcap=2.0)
    yield c.case("group", [some(0, 2, 4, 3, 4), k, v])
    yield c.case("rank3", [some(0, 2, 3, 8), some(1, 2, 5, 8), some(2, 2, 5, 8)], q_num_heads=2, kv_num_heads=2)
    mask = c.draw(3, (3, 5), "small")
    yield c.case("mask", [q, k, v, mask])
    yield c.case("past", [q, k, v, None, some(4, 2, 2, 2, 4), some(5, 2, 2, 2, 4)], n_out=3)
    for mode in range(4):
        yield c.case("product%d" % mode, [q, k, v, None, some(4, 2, 2, 2, 4), some(5, 2, 2, 2, 4)], n_out=4, qk_matmul_output_mode=mode)


@family("RotaryEmbedding")
def rotary(c):
    def some(k, *shape):
        return c.draw(k, shape, "unit")
    ids = np.array([[0, 1, 2], [4, 3, 2]], np.int64)
    for name, attrs in (("plain", {}), ("interleaved", {"interleaved": 1}), ("partial", {"rotary_embedding_dim": 4})):
        half = 2 if name == "partial" else 4
        yield c.case(name, [some(0, 2, 2, 3, 8), some(1, 6, half), some(2, 6, half), ids], **attrs)
    yield c.case("no-ids", [some(0, 2, 2, 3, 8), some(1, 2, 3, 4), some(2, 2, 3, 4)])
    yield c.case("rank3", [some(0, 2, 3, 16), some(1, 6, 4), some(2, 6, 4), ids], num_heads=2)


@family("LinearAttention")
def linear_attention(c):
    def some(k, *shape):
        return c.draw(k, shape, "unit")
    q, k, v = some(0, 2, 3, 8), some(1, 2, 3, 8), some(2, 2, 3, 6)
    past = values.draw(c.rng, c.elem(3), (2, 2, 4, 3), "unit")
    heads = {"q_num_heads": 2, "kv_num_heads": 2}
    yield c.case("linear", [q, k, v, past], n_out=2, update_rule="linear", **heads)
    yield c.case("gated", [q, k, v, past, some(4, 2, 3, 8)], n_out=2, update_rule="gated", **heads)
    yield c.case("delta", [q, k, v, past, None, some(5, 2, 3, 2)], n_out=2, update_rule="delta", **heads)
    yield c.case("default", [q, k, v, past, some(4, 2, 3, 8), some(5, 2, 3, 2)], n_out=2, **heads)


@family("CausalConvWithState")
def causal_conv(c):
    x, w = c.draw(0, (2, 3, 6), "unit"), c.draw(1, (3, 1, 4), "unit")
    yield c.case("plain", [x, w], n_out=2)
    yield c.case("full", [x, w, c.draw(2, (3,), "unit"), c.draw(3, (2, 3, 3), "unit")], n_out=2, activation="silu")


@family("QuantizeLinear DequantizeLinear")
def quantize(c):
    down = c.op[0] == "Q"
    x_kind = "finite"
    target = c.out_elem() if down else c.elem(0)
    zero_type = target
    if c.op == "DequantizeLinear" and c.version >= 23:
        to = {} if c.out_elem() == c.elem(1) else {"output_dtype": values.NUMBER[c.out_elem()]}
    elif down and c.version >= 21:
        to = {"output_dtype": values.NUMBER[target]}
    else:
        to = {}

    def zero(shape):
        if zero_type in values.FLOAT8 + values.SMALL_FLOAT or zero_type == "int32" or values.is_float(zero_type):
            return np.zeros(shape, values.DTYPE[zero_type])
        return values.draw(c.rng, zero_type, shape, "positive")

    def scales(shape):
        if c.elem(1) == "int32":
            return np.full(shape, 2, np.int32)
        return values.draw(c.rng, c.elem(1), shape, "positive")

    x = c.draw(0, (4, 6), x_kind)
    if not down or c.version >= 21:
        yield c.case("no-zero", [x, scales(())], **to)
    elif target == "uint8":
        yield c.case("no-zero", [x, scales(())])
    given = {} if down else to
    yield c.case("scalar", [x, scales(()), zero(())], **given)
    yield c.case("fixed", [x, scales(()), zero(())], (1, 2), **given)
    yield c.case("empty", [c.draw(0, (0, 3)), scales(()), zero(())], **given)
    if c.has("axis"):
        yield c.case("axis", [x, scales((6,)), zero((6,))], axis=1, **given)
        yield c.case("axis0", [x, scales((4,)), zero((4,))], axis=0, **given)
    if c.has("block_size"):
        yield c.case("blocks", [x, scales((4, 2)), zero((4, 2))], axis=1, block_size=3, **given)
    if c.has("saturate") and target in values.FLOAT8:
        yield c.case("open", [c.draw(0, (4, 6), "any"), scales(()), zero(())], saturate=0)


@family("DynamicQuantizeLinear")
def dynamic_quantize(c):
    yield c.case("plain", [c.draw(0, (3, 7), "finite")], n_out=3)
    yield c.case("positive", [c.draw(0, (9,), "positive")], n_out=3)


@family("NonMaxSuppression")
def nms(c):
    boxes = np.sort(c.rng.random((1, 8, 2, 2)), axis=2).reshape(1, 8, 4).astype(np.float32)
    scores = c.rng.permutation(16).reshape(1, 2, 8).astype(np.float32) / 16
    full = [boxes, scores, ints(3), np.array([0.3], np.float32), np.array([0.1], np.float32)]
    yield c.case("full", full, (2, 3, 4))
    yield c.case("running", full)
    yield c.case("default", [boxes, scores])
    yield c.case("center", full, (2, 3, 4), center_point_box=1)
    order = c.rng.permutation(100)  # the best 40 lie on one another, so that what is first looked at does not suffice
    crowded = np.where(order[:, None] >= 60, 0, order[:, None] / 20) + [0.0, 0.0, 1.0, 1.0]
    yield c.case("crowded", [crowded[None].astype(np.float32), order[None, None].astype(np.float32), ints(4), np.array([0.9], np.float32)], (2, 3))


@family("TfIdfVectorizer")
def tf_idf(c):
    words = c.elem() == "string"
    pool = {"pool_strings": ["a", "b", "ab", "a", "b"]} if words else {"pool_int64s": [2, 3, 5, 2, 3]}
    x = c.draw(0, (3, 8), "small")
    for mode in ("TF", "IDF", "TFIDF"):
        yield c.case(mode, [x], mode=mode, min_gram_length=1, max_gram_length=2, max_skip_count=1, ngram_counts=[0, 3], ngram_indexes=[0, 1, 2, 3],
                     weights=[0.5, 1.5, 2.0, 0.25], **pool)
