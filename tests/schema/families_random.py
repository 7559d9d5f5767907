"""Forms at random: shapes, attributes, optional inputs and which of them are known, drawn together from what the operator
allows. The families' own forms vary one thing at a time; what goes wrong where two meet is looked for here.

A function per operator or family is given a Draft and returns a case; `run.py --random N` makes N of each version, with
`--reseed --seed K` others. What an operator's text leaves open (elements that two indices write, ties) is not drawn.
"""

import zlib

import numpy as np
from onnx import defs

import drafts
import values

AT_RANDOM = {}  # (domain, operator): the function
LONG = 0.25  # of the forms have a long axis
VECTOR = 16  # elements that kernels take at once


def at_random(names, domain=""):
    """Decorator: the function makes a form of these operators."""

    def register(function):
        for name in names.split():
            assert (domain, name) not in AT_RANDOM, name
            AT_RANDOM[domain, name] = function
        return function

    return register


class Chance(drafts.Draft):
    """A Draft whose types, too, are drawn, and what choices are made with."""

    def __init__(self, schema, number, seed):
        super().__init__(schema, drafts.default_types(schema), "", seed)
        self.prefix = "%s%s-%d/random" % (schema.domain + ":" if schema.domain else "", schema.name, schema.since_version)
        self.rng = np.random.default_rng([seed, number, zlib.crc32(self.prefix.encode())])
        self.number = number
        self.long = self.rng.random() < LONG

    def any_types(self, *names):
        """Any type that the schema allows for these constraints."""
        for c in self.schema.type_constraints:
            if c.type_param_str in names:
                self.types = dict(self.types, **{c.type_param_str: self.one(*sorted(c.allowed_type_strs))})

    def one(self, *some):
        return some[int(self.rng.integers(len(some)))]

    def flip(self, share=0.5):
        return bool(self.rng.random() < share)

    def upto(self, low, high):
        """A whole number, both ends included."""
        return int(self.rng.integers(low, high, endpoint=True))

    def dims(self, rank, low=1, high=5):
        """That many; of the first ones of some forms, one is longer than the vectors of any CPU."""
        found = [self.upto(low, high) for _ in range(rank)]
        if self.long and rank:
            self.long = False
            found[self.upto(0, rank - 1)] = self.upto(VECTOR, 3 * VECTOR)
        return tuple(found)

    def axis(self, rank, since=0):
        """Of a tensor of that rank, from the back where the version has it."""
        k = self.upto(0, rank - 1)
        return k - rank if self.version >= since and self.flip() else k

    def maybe(self, inputs, *which):
        """Those inputs that are initializers: each of `which` by chance."""
        return tuple(k for k in which if k < len(inputs) and inputs[k] is not None and self.flip())

    def attributes(self, **some):
        """Each attribute that the version has, half of the time."""
        return {n: v for n, v in some.items() if self.has(n) and self.flip()}

    def form(self, inputs, fixed=(), **more):
        return self.case(str(self.number), inputs, fixed, **more)


def forms(schema, count, seed):
    """That many forms of a version, fewer where some drew what it does not allow (None)."""
    make = AT_RANDOM.get((schema.domain, schema.name))
    found = [make(Chance(schema, k, seed)) for k in range(count if make else 0)]
    return [c for c in found if c is not None]


def ints(*x):
    return np.array(x, np.int64)


def moderate(c, k, shape):
    return c.draw(k, shape, "small" if values.is_int(c.elem(k)) else "finite")


# ---- windows ----


def window(c, rank, size, dilated=True, auto=True):
    """Attributes of a window that fits into maps of these sizes: kernel, strides, dilations, pads or auto_pad; and how many
    places it has along each axis (None with auto_pad)."""
    kernel = [c.upto(1, min(4, s)) for s in size]
    dilations = [c.upto(1, max(1, (s - 1) // (k - 1))) if k > 1 and c.flip() else c.upto(1, 3) for s, k in zip(size, kernel)]
    dilations = [min(d, 3) for d in dilations] if dilated else [1] * rank
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    attrs = {"kernel_shape": kernel}
    if c.flip(0.8):
        attrs["strides"] = [c.upto(1, 3) for _ in range(rank)]
    if dilated and max(dilations) > 1:
        attrs["dilations"] = dilations
    pad = c.one("NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID") if auto else "NOTSET"
    if pad != "NOTSET":
        attrs["auto_pad"] = pad
        if pad[0] == "S" and "strides" in attrs:  # beyond the window pads would be negative: both oracles have it in two ways
            attrs["strides"] = [min(s, n) for s, n in zip(attrs["strides"], span)]
        return attrs if pad[0] == "S" or all(s >= n for s, n in zip(size, span)) else None
    pads = [c.upto(0, k - 1) for k in kernel] + [c.upto(0, k - 1) for k in kernel]
    if c.flip(0.7):
        attrs["pads"] = pads
    else:
        pads = [0] * 2 * rank
    return attrs if all(s + pads[k] + pads[k + rank] >= n for k, (s, n) in enumerate(zip(size, span))) else None


@at_random("AveragePool LpPool MaxPool")
def pool(c):
    rank = c.upto(1, 3)
    size = c.dims(rank, 3, 9)
    attrs = window(c, rank, size, c.has("dilations"))
    if attrs is None or c.op == "LpPool" and c.version == 1:
        return None
    attrs.update(c.attributes(ceil_mode=1, count_include_pad=1, p=c.upto(1, 3), storage_order=0 if "auto_pad" in attrs else c.upto(0, 1)))
    n_out = c.upto(1, 2) if c.op == "MaxPool" and c.version >= 8 else 1
    x = (c.rng.permutation(2 * 3 * int(np.prod(size))).reshape((2, 3) + size) - 50).astype(values.DTYPE[c.elem()]) if n_out > 1 \
        else c.draw(0, (2, 3) + size, "finite")
    return c.form([x], n_out=n_out, **attrs)


@at_random("Conv ConvTranspose ConvInteger")
def convolution(c):
    rank, group = c.upto(1, 3), c.upto(1, 3)
    size = c.dims(rank, 3, 7)
    attrs = window(c, rank, size)
    if attrs is None:
        return None
    turned, whole = c.op == "ConvTranspose", c.op == "ConvInteger"
    ins, outs = group * c.upto(1, 3), group * c.upto(1, 3)
    kernel = tuple(attrs["kernel_shape"])
    if c.flip():
        del attrs["kernel_shape"]
    draw = c.draw if whole else lambda k, s: c.draw(k, s, "finite")
    if whole:
        c.any_types("T1", "T2")
    inputs = [draw(0, (2, ins) + size), draw(1, ((ins, outs // group) if turned else (outs, ins // group)) + kernel)]
    if whole and c.flip():
        inputs += [np.asarray(3).astype(inputs[0].dtype)] + ([np.asarray(c.upto(0, 5)).astype(inputs[1].dtype)] if c.flip() else [])
    elif not whole and c.flip():
        inputs.append(draw(2, (outs,)))
    strides, dilations = attrs.get("strides", [1] * rank), attrs.get("dilations", [1] * rank)
    if turned and c.flip() and attrs.get("auto_pad", "NOTSET") == "NOTSET":  # what both oracles take
        attrs["output_padding"] = [c.upto(0, s - 1) for s in strides]
    if turned and c.version >= 11 and not whole:
        full = [(n - 1) * s + (k - 1) * d + 1 - attrs.get("pads", [0] * 2 * rank)[i] - attrs.get("pads", [0] * 2 * rank)[i + rank]
                for i, (n, s, k, d) in enumerate(zip(size, strides, kernel, dilations))]
        if min(full) < 1:
            return None
    return c.form(inputs, c.maybe(inputs, 1, 2, 3), group=group, rtol=1e-5, atol=1e-4, **attrs)


@at_random("QLinearConv")
def quantized_convolution(c):
    c.any_types("T1", "T2", "T3")
    rank, group = 2, c.upto(1, 2)
    size = c.dims(rank, 3, 7)
    attrs = window(c, rank, size)
    if attrs is None:
        return None
    ins, outs = group * c.upto(1, 3), group * c.upto(1, 3)
    each = (outs,) if c.flip() else ()
    point = lambda k, s=(): np.asarray(c.rng.integers(0, 5, s)).astype(values.DTYPE[c.elem(k)])  # noqa: E731
    wide = c.draw(4, each, "positive") * np.float32(0.01)
    inputs = [c.draw(0, (2, ins) + size), np.float32(0.5), point(1 + 1), c.draw(3, (outs, ins // group) + tuple(attrs["kernel_shape"])),
              np.asarray(wide, np.float32), point(5, each) if c.flip() else np.zeros(each, values.DTYPE[c.elem(5)]), np.float32(0.37), point(7)]
    if c.flip():
        inputs.append(c.rng.integers(-500, 500, (outs,)).astype(np.int32))
    return c.form(inputs, c.maybe(inputs, 1, 2, 3, 4, 5, 6, 7, 8), group=group, **attrs)


@at_random("DeformConv")
def deformed(c):
    group, parts = c.upto(1, 2), c.upto(1, 2)
    size = c.dims(2, 4, 7)
    attrs = window(c, 2, size, auto=False)
    if attrs is None:
        return None
    ins, outs = 2 * c.upto(1, 2), 2 * c.upto(1, 2)
    kernel, strides = attrs["kernel_shape"], attrs.get("strides", [1, 1])
    pads, dilations = attrs.get("pads", [0] * 4), attrs.get("dilations", [1, 1])
    out = tuple((s + pads[k] + pads[k + 2] - (kernel[k] - 1) * dilations[k] - 1) // strides[k] + 1 for k, s in enumerate(size))
    points = parts * kernel[0] * kernel[1]
    inputs = [c.draw(0, (2, ins) + size, "finite"), c.draw(1, (outs, ins // group) + tuple(kernel), "finite"),
              c.draw(2, (2, 2 * points) + out, "unit") * np.float32(2)]
    inputs += [c.draw(3, (outs,), "finite") if c.flip() else None]
    inputs += [c.draw(4, (2, points) + out, "unit")] if c.flip() or inputs[3] is None else []
    return c.form(inputs, c.maybe(inputs, 1, 3), group=group, offset_group=parts, rtol=1e-5, atol=1e-4, **attrs)


@at_random("Col2Im")
def columns(c):
    rank = c.upto(1, 3)
    size = c.dims(rank, 3, 6)
    attrs = window(c, rank, size, auto=False)
    if attrs is None:
        return None
    kernel = attrs.pop("kernel_shape")
    pads, strides, dilations = attrs.get("pads", [0] * 2 * rank), attrs.get("strides", [1] * rank), attrs.get("dilations", [1] * rank)
    places = [(size[k] + pads[k] + pads[k + rank] - (kernel[k] - 1) * dilations[k] - 1) // strides[k] + 1 for k in range(rank)]
    inputs = [moderate(c, 0, (2, 3 * int(np.prod(kernel)), int(np.prod(places)))), ints(*size), ints(*kernel)]
    return c.form(inputs, c.maybe(inputs, 1, 2), **attrs)


@at_random("RoiAlign")
def regions(c):
    h, w = c.dims(2, 3, 8)
    count = c.upto(1, 5)
    low = c.rng.uniform(-2, 6, (count, 2))
    rois = np.concatenate([low, low + c.rng.uniform(-0.5, 8, (count, 2))], 1).astype(values.DTYPE[c.elem(1)])
    attrs = c.attributes(coordinate_transformation_mode=c.one("half_pixel", "output_half_pixel"), mode=c.one("avg", "max"),
                         sampling_ratio=c.upto(0, 3), spatial_scale=c.one(0.5, 1.0, 1.75), output_height=c.upto(1, 4), output_width=c.upto(1, 4))
    return c.form([c.draw(0, (2, 3, h, w), "finite"), rois, c.rng.integers(0, 2, count)], atol=1e-5, **attrs)


@at_random("GridSample")
def samples(c):
    rank = 3 if c.version >= 20 and c.flip() else 2
    modes = ("bilinear", "nearest", "bicubic") if c.version < 20 else ("linear", "nearest") + (("cubic",) if rank == 2 else ())
    grid = c.rng.uniform(-1.7, 1.7, (2,) + c.dims(rank, 1, 4) + (rank,)).astype(values.DTYPE[c.elem(1)])
    attrs = c.attributes(mode=c.one(*modes), padding_mode=c.one("zeros", "border", "reflection"), align_corners=c.upto(0, 1))
    return c.form([c.draw(0, (2, 2) + c.dims(rank, 1, 5), "finite"), grid], atol=1e-4, **attrs)


@at_random("AffineGrid")
def affine(c):
    rank = c.upto(2, 3)
    inputs = [c.draw(0, (2, rank, rank + 1), "unit"), ints(2, c.upto(1, 3), *c.dims(rank, 1, 5))]
    return c.form(inputs, c.maybe(inputs, 1), **c.attributes(align_corners=c.upto(0, 1)))


@at_random("Resize")
def resized(c):
    """Scales are such that no place lies where rounding decides."""
    rank = c.upto(1, 4)
    shape = c.dims(rank, 1, 6)
    x = c.draw(0, shape, "finite")
    if c.version < 11:
        by = np.array([c.one(1, 2, 3, 0.5) for _ in range(rank)], np.float32)
        return c.form([x, by], c.maybe([x, by], 1), mode="nearest")
    axes = sorted(c.rng.permutation(rank)[: c.upto(1, rank)].tolist()) if c.version >= 18 and c.flip() else list(range(rank))
    listed = len(axes) < rank or (c.version >= 18 and c.flip())
    mode = c.one("nearest", "linear", "linear", "cubic")
    how = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"] + ["half_pixel_symmetric"] * (c.version >= 19)
    attrs = {"mode": mode, "coordinate_transformation_mode": c.one(*how)}
    crop = attrs["coordinate_transformation_mode"] == "tf_crop_and_resize"
    real = values.DTYPE[c.elem(1)]
    roi = np.zeros(0, real) if c.version < 13 else None
    if crop:
        start = c.rng.uniform(-0.2, 0.4, len(axes))
        roi = np.concatenate([start, start + c.rng.uniform(0.3, 0.8, len(axes))]).astype(real)
        attrs.update(c.attributes(extrapolation_value=-7.5))
    attrs.update(c.attributes(nearest_mode=c.one("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")) if mode == "nearest" else {})
    attrs.update(c.attributes(cubic_coeff_a=-0.5, exclude_outside=1) if mode == "cubic" else {})
    if mode != "nearest" and not crop:
        attrs.update(c.attributes(antialias=1))
    by, to = np.array([c.one(0.53, 0.7, 1, 1.63, 2, 3.1) for _ in axes], np.float32), ints(*c.dims(len(axes), 1, 9))
    if attrs["coordinate_transformation_mode"] == "pytorch_half_pixel":  # of one element: the reference asks for an extent that is 1 before it is rounded
        by = np.array([1 if 1 < shape[k] * s < 2 else s for k, s in zip(axes, by)], np.float32)
    if c.version < 13:
        inputs = [x, roi] + ([by] if c.flip() and not crop else [np.zeros(0, np.float32), to])
    else:
        inputs = [x, roi, by] if c.flip() and not crop else [x, roi, None, to]
    if len(inputs) == 4 and c.version >= 18 and not crop:
        attrs.update(c.attributes(keep_aspect_ratio_policy=c.one("stretch", "not_larger", "not_smaller")))
    if c.version >= 18 and listed:
        attrs["axes"] = [k - rank if c.flip() else k for k in axes]
    return c.form(inputs, c.maybe(inputs, 1, 2, 3), atol=1e-4, **attrs)


@at_random("MaxUnpool")
def unpooled(c):
    n = c.upto(2, 4)
    full = [c.upto(n * 2, n * 2 + 1) for _ in range(2)]
    at = np.stack([np.sort(c.rng.permutation(full[0] * full[1] if c.flip() else 4 * n * n)[: n * n]) for _ in range(2)])
    if at.max() >= 4 * n * n:
        inputs = [c.draw(0, (1, 2, n, n), "finite"), at.reshape(1, 2, n, n) % (4 * n * n), ints(1, 2, 2 * n, 2 * n)]
    else:
        inputs = [c.draw(0, (1, 2, n, n), "finite"), at.reshape(1, 2, n, n)]
    flat = inputs[1].reshape(2, -1)
    if any(len(set(row.tolist())) < row.size for row in flat):
        return None
    return c.form(inputs, c.maybe(inputs, 2), kernel_shape=[2, 2], strides=[2, 2])


# ---- rows and axes ----


@at_random("ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare")
def reduction(c):
    rank = c.upto(0, 5)
    shape = c.dims(rank, 1, 4)
    x = c.draw(0, shape, "positive" if c.op == "ReduceLogSum" else "finite")
    axes = c.rng.permutation(rank)[: c.upto(0, rank)].tolist()
    axes = [a - rank if c.version >= 11 and c.flip() else a for a in axes]
    attrs = c.attributes(keepdims=c.upto(0, 1), noop_with_empty_axes=c.upto(0, 1))
    if len(c.schema.inputs) == 1:
        return c.form([x], **attrs, **({"axes": axes} if axes else {}))
    inputs = [x] + ([ints(*axes)] if axes or c.flip() else [])
    return c.form(inputs, c.maybe(inputs, 1), **attrs)


@at_random("Softmax LogSoftmax Hardmax")
def softmax(c):
    """Before version 13 the axes from `axis` on are one."""
    rank = c.upto(1, 5)
    last = rank if c.version < 11 else rank - 1
    attrs = {} if c.flip(0.2) and (rank > 1 or c.version >= 13) else {"axis": c.axis(rank, 11) if c.flip(0.9) else min(last, rank - 1)}
    x = c.draw(0, c.dims(rank, 1, 4), "small" if c.op == "Hardmax" else "finite")
    return c.form([x], **attrs)


@at_random("CumSum CumProd")
def running(c):
    rank = c.upto(1, 4)
    x = moderate(c, 0, c.dims(rank, 1, 9))
    inputs = [x, np.asarray(c.axis(rank)).astype(values.DTYPE[c.elem(1)])]
    return c.form(inputs, c.maybe(inputs, 1), rtol=1e-5, **c.attributes(reverse=1, exclusive=1))


@at_random("ArgMax ArgMin")
def extreme(c):
    rank = c.upto(1, 4)
    return c.form([c.draw(0, c.dims(rank, 1, 5), "small")], axis=c.axis(rank, 11), **c.attributes(keepdims=c.upto(0, 1), select_last_index=1))


@at_random("TopK")
def best(c):
    rank = c.upto(1, 4)
    shape = c.dims(rank, 1, 7)
    axis = c.axis(rank, 11)
    ties = c.version >= 11 and c.flip()
    x = c.draw(0, shape, "small") if ties else c.rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)
    attrs = {"axis": axis, **c.attributes(largest=c.upto(0, 1))}
    k = c.upto(1, shape[axis])
    if c.version < 10:
        return c.form([x], n_out=2, k=k, **attrs)
    return c.form([x, ints(k)], c.maybe([x, ints(k)], 1), n_out=2, **attrs)


@at_random("LayerNormalization RMSNormalization")
def normalized(c):
    """The scale and bias broadcast to what is normalised."""
    rank = c.upto(1, 5)
    shape, axis = c.dims(rank, 2, 5), c.axis(rank)
    tail = shape[axis % rank:]

    def scale(k):
        some = tuple(1 if c.flip(0.2) else n for n in tail)
        return c.draw(k, some[c.upto(0, len(some)):] if c.flip(0.2) else tail if c.flip() else some, "finite")

    inputs = [c.draw(0, shape, "finite"), scale(1)] + ([scale(2)] if c.op[0] == "L" and c.flip() else [])
    return c.form(inputs, c.maybe(inputs, 1, 2), n_out=c.upto(1, 3) if c.op[0] == "L" else 1, axis=axis, rtol=1e-5, atol=1e-5,
                  **c.attributes(epsilon=0.02))


@at_random("GroupNormalization InstanceNormalization BatchNormalization LpNormalization MeanVarianceNormalization LRN")
def normalized_channels(c):
    groups, rank = c.upto(1, 4), c.upto(1, 3)
    channels = groups * c.upto(1, 3)
    x = c.draw(0, (2, channels) + c.dims(rank, 2, 5), "finite")
    if c.op == "LpNormalization":
        return c.form([x], axis=c.axis(x.ndim), p=c.upto(1, 2))
    if c.op == "MeanVarianceNormalization":
        return c.form([c.draw(0, (2, 3) + c.dims(2, 2, 5), "finite")], rtol=1e-4, atol=1e-4,
                      **c.attributes(axes=sorted(c.rng.permutation(4)[: c.upto(1, 4)].tolist())))
    if c.op == "LRN":
        return c.form([x], size=c.upto(1, 5), **c.attributes(alpha=0.5, beta=0.6, bias=1.5))
    if c.op == "BatchNormalization" and c.version < 9:
        return None
    per = groups if c.op[0] == "G" and c.version < 21 else channels
    inputs = [x] + [c.draw(k, (per,), "finite") for k in (1, 2)]
    inputs += [c.draw(3, (per,), "finite"), c.draw(4, (per,), "positive")] if c.op[0] == "B" else []
    more = {"num_groups": groups} if c.op[0] == "G" else {}
    return c.form(inputs, c.maybe(inputs, 1, 2, 3, 4), rtol=1e-5, atol=1e-5, **more, **c.attributes(epsilon=0.03))


@at_random("NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss")
def loss(c):
    rank, classes = c.upto(0, 3), c.upto(1, 5)
    shape = (c.upto(1, 4), classes) + c.dims(rank, 1, 4)
    target = c.rng.integers(0, classes, shape[:1] + shape[2:]).astype(values.DTYPE[c.elem(1)])
    inputs = [c.draw(0, shape, "finite"), target] + ([c.draw(2, (classes,), "positive")] if c.flip() else [])
    attrs = c.attributes(reduction=c.one("none", "sum", "mean"), ignore_index=c.one(0, classes - 1, -1))
    if attrs.get("reduction", "mean") == "mean" and (target == attrs.get("ignore_index", -100)).all():
        return None
    if attrs.get("ignore_index") == -1:
        target[c.rng.random(target.shape) < 0.3] = -1
        if (target == -1).all():
            return None
    return c.form(inputs, c.maybe(inputs, 2), n_out=c.upto(1, 2) if c.op[0] == "S" else 1, atol=1e-5, **attrs)


# ---- products ----


@at_random("MatMul")
def product(c):
    m, k, n = c.dims(3, 1, 9)
    batch = c.dims(c.upto(0, 3), 1, 3)
    left, right = ([1 if c.flip(0.3) else d for d in batch][c.upto(0, len(batch)) if c.flip(0.3) else 0:] for _ in range(2))
    a, b = tuple(left) + (m, k), tuple(right) + (k, n)
    a, b = (k,) if c.flip(0.1) else a, (k,) if c.flip(0.1) else b
    inputs = [moderate(c, 0, a), moderate(c, 1, b)]
    return c.form(inputs, c.maybe(inputs, 0, 1), rtol=1e-5, atol=1e-4)


@at_random("MatMulInteger")
def integer_product(c):
    c.any_types("T1", "T2")
    m, k, n = c.dims(3, 1, 20)
    batch = c.dims(c.upto(0, 2), 1, 3)
    a, b = c.draw(0, batch + (m, k)), c.draw(1, (batch if c.flip() else ()) + (k, n))
    zero_a = c.draw(2, c.one((), (1,), (m,)) if not batch else (), "small")
    zero_b = c.draw(3, c.one((), (1,), (n,)) if b.ndim == 2 else (), "small")
    inputs = [a, b] + c.one([], [zero_a], [zero_a, zero_b], [None, zero_b])
    return c.form(inputs, c.maybe(inputs, 1, 2, 3))


@at_random("Gemm")
def gemm(c):
    if c.version < 7:
        return None
    m, k, n = c.dims(3, 1, 9)
    ta, tb = c.upto(0, 1), c.upto(0, 1)
    inputs = [moderate(c, 0, (k, m) if ta else (m, k)), moderate(c, 1, (n, k) if tb else (k, n))]
    if c.version < 11 or c.flip(0.8):
        inputs.append(moderate(c, 2, c.one((), (1,), (n,), (1, n), (m, 1), (m, n), (1, 1))))
    return c.form(inputs, c.maybe(inputs, 0, 1, 2), transA=ta, transB=tb, rtol=1e-5, atol=1e-4, **c.attributes(alpha=0.5, beta=2.0))


@at_random("Einsum")
def einsum(c):
    letters = "abcDe"[: c.upto(1, 5)]
    size = dict(zip(letters, c.dims(len(letters), 1, 4)))
    free = c.dims(c.upto(1, 2), 2, 3) if c.flip(0.3) else None
    terms, inputs = [], []
    for k in range(c.upto(1, 3)):
        own = [letters[i] for i in c.rng.integers(0, len(letters), c.upto(0, 4))]
        shape = [size[x] for x in own]
        if free is not None and c.flip(0.7):
            at = c.upto(0, len(own))
            part = free[c.upto(0, len(free) - 1):]
            shape[at:at] = [1 if c.flip(0.2) else d for d in part]
            own.insert(at, "...")
        terms.append("".join(own))
        inputs.append(moderate(c, k, shape))
    used = [x for x in letters if any(x in t for t in terms)]
    dots = any("..." in t for t in terms)
    equation = ",".join(terms)
    if c.flip(0.8):
        out = [used[i] for i in c.rng.permutation(len(used))[: c.upto(0, len(used))]]
        if dots and c.flip(0.9):
            out.insert(c.upto(0, len(out)), "...")
        elif dots:
            return None
        equation += "->" + "".join(out)
    if c.flip(0.3):
        equation = equation.replace(",", " , ").replace("->", " -> ")
    return c.form(inputs, c.maybe(inputs, 0, 1, 2), equation=equation, rtol=1e-5, atol=1e-4)


@at_random("Det")
def determinant(c):
    n = c.upto(1, 6)
    return c.form([c.draw(0, c.dims(c.upto(0, 2), 1, 3) + (n, n), "unit")], atol=1e-5)


@at_random("Attention")
def attention(c):
    batch, kv, repeat, q_len, kv_len, size, v_size = c.dims(3, 1, 3) + c.dims(2, 1, 6) + c.dims(2, 1, 8)
    heads, flat = kv * repeat, c.flip(0.4)
    attrs = {"q_num_heads": heads, "kv_num_heads": kv} if flat else {}

    def some(k, n, length, width):
        x = c.draw(k, (batch, n, length, width), "unit")
        return x.transpose(0, 2, 1, 3).reshape(batch, length, n * width) if flat else x

    past = c.upto(1, 4) if c.flip(0.4) else 0
    total = kv_len + past
    inputs = [some(0, heads, q_len, size), some(1, kv, kv_len, size), some(2, kv, kv_len, v_size), None]
    if c.flip():
        shape = c.one((q_len, total), (1, 1, q_len, total), (batch, 1, q_len, total), (batch, heads, q_len, total), (heads, q_len, total),
                      (1, 1, 1, total), (batch, 1, 1, total), (q_len, 1))
        if c.flip():
            c.types = dict(c.types, U="tensor(bool)")
            inputs[3] = c.rng.random(shape) < 0.7
            inputs[3][..., 0] = True
        else:
            inputs[3] = c.draw(3, shape, "unit")
    if past:
        inputs += [c.draw(4, (batch, kv, past, size), "unit"), c.draw(5, (batch, kv, past, v_size), "unit")]
    elif c.version >= 24 and c.flip(0.4) and q_len <= kv_len:
        inputs += [None, None, c.rng.integers(q_len, kv_len, batch, endpoint=True)]
    attrs.update(c.attributes(is_causal=1, scale=0.4, softcap=1.5, qk_matmul_output_mode=c.upto(0, 3)))
    if attrs.get("qk_matmul_output_mode") == 0:
        attrs.pop("softcap", None)  # "the output of qk matmul": the reference gives it behind the cap
    if c.flip(0.3):
        attrs.update(c.attributes(left_window_size=c.upto(0, 3), right_window_size=c.upto(0, 3)))
    if attrs.get("is_causal") and inputs[3] is not None and inputs[3].dtype == bool:
        return None  # rows without any key left: of these nothing is said
    while inputs[-1] is None:
        inputs.pop()
    return c.form(inputs, c.maybe(inputs, 3), n_out=4 if "qk_matmul_output_mode" in attrs else 3 if past else 1, rtol=1e-5, atol=1e-5, **attrs)


@at_random("LinearAttention")
def linear_attention(c):
    batch, kv, length, size, v_size = c.dims(2, 1, 3) + c.dims(1, 1, 7) + c.dims(2, 1, 5)
    heads = kv * c.upto(1, 2)
    rule = c.one("linear", "gated", "delta", "gated_delta")
    inputs = [c.draw(k, (batch, length, n * w), "unit") for k, (n, w) in enumerate(((heads, size), (kv, size), (kv, v_size)))]
    inputs.append(values.draw(c.rng, c.elem(3), (batch, kv, size, v_size), "unit") if c.flip() else None)
    inputs.append(-np.abs(c.draw(4, (batch, length, c.one(kv, kv * size)), "unit")) if "gated" in rule else None)
    inputs.append(np.abs(c.draw(5, (batch, length, c.one(kv, 1)), "unit")) if "delta" in rule else None)
    while inputs[-1] is None:
        inputs.pop()
    return c.form(inputs, n_out=2, q_num_heads=heads, kv_num_heads=kv, update_rule=rule, rtol=1e-5, atol=1e-5, **c.attributes(scale=0.3, chunk_size=2))


@at_random("CausalConvWithState")
def causal(c):
    batch, channels, length, kernel = c.dims(4, 1, 5)
    inputs = [c.draw(0, (batch, channels, length), "unit"), c.draw(1, (channels, 1, kernel), "unit"), c.draw(2, (channels,), "unit") if c.flip() else None]
    inputs += [c.draw(3, (batch, channels, kernel - 1), "unit")] if c.flip() else []
    inputs = inputs[:2] if len(inputs) == 3 and inputs[2] is None else inputs
    return c.form(inputs, c.maybe(inputs, 1, 2), n_out=2, atol=1e-5, **c.attributes(activation=c.one("none", "silu", "swish")))


@at_random("RotaryEmbedding")
def rotary(c):
    batch, heads, length = c.dims(3, 1, 4)
    size = 2 * c.upto(1, 6)
    part = 2 * c.upto(1, size // 2) if c.flip() else 0
    half = (part or size) // 2
    flat, ids = c.flip(), c.flip()
    x = c.draw(0, (batch, length, heads * size) if flat else (batch, heads, length, size), "unit")
    cache = (9, half) if ids else (batch, length, half)
    inputs = [x, c.draw(1, cache, "unit"), c.draw(2, cache, "unit")] + ([c.rng.integers(0, 9, (batch, length))] if ids else [])
    attrs = {"rotary_embedding_dim": part} if part else {}
    if flat or part:
        attrs["num_heads"] = heads
    return c.form(inputs, c.maybe(inputs, 1, 2), **attrs, **c.attributes(interleaved=c.upto(0, 1)))


@at_random("RNN GRU LSTM")
def recurrent(c):
    if c.version < 7:
        return None
    gates, outs = {"RNN": 1, "GRU": 3, "LSTM": 4}[c.op], 3 if c.op == "LSTM" else 2
    length, batch, size, hidden = c.dims(4, 1, 5)
    direction = c.one("forward", "reverse", "bidirectional")
    n, turned = 2 if direction[0] == "b" else 1, c.has("layout") and c.flip(0.3)

    def state(k):
        x = c.draw(k, (n, batch, hidden), "unit")
        return x.transpose(1, 0, 2) if turned else x

    x = c.draw(0, (length, batch, size), "unit")
    inputs = [x.transpose(1, 0, 2) if turned else x, c.draw(1, (n, gates * hidden, size), "unit"), c.draw(2, (n, gates * hidden, hidden), "unit"),
              c.draw(3, (n, 2 * gates * hidden), "unit") if c.flip() else None,
              c.rng.integers(1, length, batch, endpoint=True).astype(np.int32) if c.flip() else None]
    inputs.append(state(5) if c.flip() else None)
    if c.op == "LSTM":
        inputs += [state(6) if c.flip() else None, c.draw(7, (n, 3 * hidden), "unit") if c.flip() else None]
    while inputs[-1] is None:
        inputs.pop()
    attrs = c.attributes(clip=0.4, linear_before_reset=c.upto(0, 1), input_forget=c.upto(0, 1))
    return c.form(inputs, c.maybe(inputs, 1, 2, 3, 7), n_out=c.upto(1, outs), hidden_size=hidden, direction=direction, rtol=1e-5, atol=1e-5,
                  **({"layout": 1} if turned else {}), **attrs)


# ---- transforms ----


@at_random("DFT")
def fourier(c):
    rank = c.upto(2, 4)
    real = c.flip()
    shape = c.dims(rank - 1, 1, 9) + (1 if real else 2,)
    axis, length = c.upto(0, rank - 2), c.upto(1, 12) if c.flip() else None
    attrs = c.attributes(onesided=1) if real else c.attributes(inverse=1)
    size = None if length is None else np.asarray(length).astype(values.DTYPE[c.elem(1)])
    if c.version < 20:
        inputs = [c.draw(0, shape, "unit")] + ([size] if size is not None else [])
        return c.form(inputs, c.maybe(inputs, 1), axis=axis, atol=1e-4, **attrs)
    inputs = [c.draw(0, shape, "unit"), size, np.array(axis - rank if c.flip() else axis, np.int64)]
    return c.form(inputs, c.maybe(inputs, 1, 2), atol=1e-4, **attrs)


@at_random("STFT")
def short_fourier(c):
    frame, step = c.upto(1, 12), c.upto(1, 6)
    length = frame + c.upto(0, 20)
    real, number = c.flip(0.7), lambda k, x: np.asarray(x).astype(values.DTYPE[c.elem(k)])
    shaped = c.flip()
    signal = c.draw(0, (2, length, 1 if real else 2), "unit")
    inputs = [signal, number(1, step), c.draw(2, (frame,), "unit") if shaped else None, number(3, frame) if not shaped or c.flip() else None]
    while inputs[-1] is None:
        inputs.pop()
    return c.form(inputs, c.maybe(inputs, 1, 2, 3), onesided=c.upto(0, 1) if real else 0, atol=1e-4)
