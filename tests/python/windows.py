#!/usr/bin/env python3
"""Windows, and pools over whole images, compiled:   windows.py [--bmc PATH] [--seed N]

Pools, convolutions channel by channel, both with long windows too, and deformed ones over row-major maps of random
shapes, pads, strides and dilations, NaN and infinities among the elements, pools over whole images with channels side by
side, as code for three CPUs and without optimisation, against loops in numpy. Inputs end with a page, with nothing behind
it that may be read. One thread and two give the same bits.
"""

import argparse
import itertools
import os
import shutil
import sys

import numpy as np

import harness
from compiled import answers

TYPES = {"f32": np.float32, "f16": np.float16, "f64": np.float64, "i8": np.int8, "i32": np.int32}


def text(name, array):
    return ",".join("nan" if v != v else repr(v.item()) for v in array.ravel())


def extent(size, k, stride, dilation, before, behind, ceil):
    room = size + before + behind - ((k - 1) * dilation + 1)
    if not ceil:
        return room // stride + 1
    return min(-(-room // stride) + 1, -(-(size + before) // stride))


LONG = 65  # columns of a window that is cut into parts, and a few more


def spatial(rng, long):
    return [int(rng.integers(1, 4)), int(rng.integers(LONG, 3 * LONG))] if long else [int(rng.integers(1, 24)), int(rng.integers(1, 40))]


class Window:
    """Random attributes for two spatial axes that fit the extents."""

    def __init__(self, rng, size, ceil, long=False):
        while True:
            self.kernel = [int(v) for v in rng.integers(1, 6, 2)]
            self.stride = [int(v) for v in rng.integers(1, 4, 2)]
            self.dilation = [int(v) for v in rng.choice([1, 1, 1, 2, 3], 2)]
            self.pads = [int(v) for v in rng.integers(0, 3, 4)]
            if long and rng.integers(2):
                self.kernel[1] = int(rng.integers(LONG, 2 * LONG))
            elif long:  # few columns far apart, as in causal networks: more windows at the edge than inside
                self.kernel[1], self.dilation[1] = 3, int(rng.integers(LONG // 2, LONG))
                self.pads[1] = 2 * self.dilation[1]
            self.ceil = ceil
            each = zip(size, self.kernel, self.stride, self.dilation, self.pads[:2], self.pads[2:])
            self.out = [extent(*e, ceil) for e in each]
            if min(self.out) > 0:
                return

    def attrs(self):
        names = ("strides", self.stride), ("dilations", self.dilation), ("pads", self.pads)
        return ", ".join("%s=%s" % (n, v) for n, v in names)

    def places(self, size):
        """For each output position the taps inside: (position, [(tap, place), ...])."""
        for o in itertools.product(*map(range, self.out)):
            inside = []
            for t in itertools.product(*map(range, self.kernel)):
                p = tuple(o[i] * self.stride[i] - self.pads[i] + t[i] * self.dilation[i] for i in range(2))
                if all(0 <= p[i] < size[i] for i in range(2)):
                    inside.append((t, p))
            yield o, inside


def max_pool(rng, kind, long=False):
    dtype, ceil = TYPES[kind], bool(rng.integers(2))
    shape = [1 + int(rng.integers(2)), 2, *spatial(rng, long)]
    w = Window(rng, shape[2:], ceil, long)
    if dtype == np.int8:
        x = rng.integers(-128, 128, shape).astype(dtype)
    else:
        x = rng.standard_normal(shape).astype(dtype)
        x[rng.random(shape) < 0.02] = np.nan
        x[rng.random(shape) < 0.1] = -np.inf
    want = np.full(shape[:2] + w.out, -np.inf if dtype != np.int8 else -128, dtype)
    for o, inside in w.places(shape[2:]):
        if inside:
            want[:, :, o[0], o[1]] = np.max([x[:, :, p[0], p[1]] for _, p in inside], axis=0)
    dims = "%d,2,%s" % (shape[0], "H,W" if rng.integers(2) else "%d,%d" % tuple(shape[2:]))
    body = "%%y = MaxPool(%%x) {kernel_shape=%s, %s, ceil_mode=%d}" % (w.kernel, w.attrs(), ceil)
    return "graph @g(%%x: %s[%s]) -> (%%y) {\n %s\n}\n" % (kind, dims, body), {"x": x}, want, 0


def large(rng):
    """Many channels, and images of which two window rows exceed a first cache: they are gone through in bands of rows."""
    return int(rng.choice([96, 160, 208])), [int(rng.integers(8, 40)), int(rng.integers(24, 40))]


def average_pool(rng, kind, wide=False):
    """Long windows, all with something inside; what lies outside is not counted."""
    dtype, channels, size = TYPES[kind], int(rng.choice([2, 32])), spatial(rng, True)
    if wide:
        channels, size = large(rng)
    shape = [1, channels, *size]
    w = Window(rng, shape[2:], False, not wide)
    while not all(inside for _, inside in w.places(shape[2:])):
        w = Window(rng, shape[2:], False, not wide)
    x = rng.standard_normal(shape).astype(dtype)
    want = np.zeros(shape[:2] + w.out)
    for o, inside in w.places(shape[2:]):
        want[:, :, o[0], o[1]] = np.mean([x[:, :, p[0], p[1]].astype(np.float64) for _, p in inside], axis=0)
    dims = "H,W,%d" % channels if not wide and rng.integers(2) else "%d,%d,%d" % (*shape[2:], channels)
    body = "%%t = Transpose(%%x) {perm=[0,3,1,2]}\n %%y = AveragePool(%%t) {kernel_shape=%s, %s}" % (w.kernel, w.attrs())
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    return "graph @g(%%x: %s[1,%s]) -> (%%y) {\n %s\n}\n" % (kind, dims, body), {"x": x}, want, {"f32": 1e-5, "f64": 1e-13, "f16": 2e-3}[kind]


def depthwise(rng, kind, beside=False, long=False, wide=False):
    """beside: channels lie side by side, so many that they may be cut into chunks."""
    dtype, size = TYPES[kind], spatial(rng, long)
    channels, per = int(rng.choice([32, 48]) if beside else rng.integers(2, 4)), int(rng.choice([1, 1, 2]))
    if wide:
        (channels, size), per = large(rng), 1
    shape = [1 + int(rng.integers(2)), channels, *size]
    w = Window(rng, shape[2:], False, long)
    x = rng.standard_normal(shape).astype(dtype)
    k = rng.standard_normal([channels * per, 1] + w.kernel).astype(dtype)
    bias = rng.standard_normal(channels * per).astype(dtype)
    want = np.zeros([shape[0], channels * per] + w.out)
    for o, inside in w.places(shape[2:]):
        want[:, :, o[0], o[1]] = bias
        for t, p in inside:
            want[:, :, o[0], o[1]] += np.repeat(x[:, :, p[0], p[1]].astype(np.float64), per, 1) * k[:, 0, t[0], t[1]]
    dims = "%d,%d,%s" % (shape[0], channels, "H,W" if not wide and rng.integers(2) else "%d,%d" % tuple(shape[2:]))
    sizes = "%d,1,%d,%d" % (channels * per, *w.kernel)
    lines = "%%w = const %s[%s] [%s]\n %%b = const %s[%d] [%s]\n" % (
        kind, sizes, text("w", k), kind, channels * per, text("b", bias))
    body = "%%c = Conv(%%x, %%w, %%b) {group=%d, %s}\n %%y = Relu(%%c)" % (channels, w.attrs())
    if beside:
        parts = dims.split(",")
        dims = ",".join([str(rng.choice(["N", parts[0]])), parts[2], parts[3], parts[1]])
        body = "%t = Transpose(%x) {perm=[0,3,1,2]}\n " + body.replace("Conv(%x", "Conv(%t")
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    graph = "graph @g(%%x: %s[%s]) -> (%%y) {\n %s %s\n}\n" % (kind, dims, lines, body)
    return graph, {"x": x}, np.maximum(want, 0), {"f32": 1e-5, "f64": 1e-13, "f16": 2e-3}[kind]


def grouped(rng, kind):
    """Groups of two, four and eight channels, as many of the result as of the input: several in a vector."""
    dtype, size, each = TYPES[kind], spatial(rng, False), int(rng.choice([2, 4, 8]))
    channels, size = large(rng) if rng.integers(2) else (int(rng.choice([16, 32, 48])), size)
    shape = [1 + int(rng.integers(2)), channels, *size]
    w = Window(rng, size, False)
    x = rng.standard_normal(shape).astype(dtype)
    k = rng.standard_normal([channels, each] + w.kernel).astype(dtype)
    want = np.zeros([shape[0], channels] + w.out)
    weights = k.astype(np.float64).reshape([channels // each, each, each] + w.kernel)
    for o, inside in w.places(size):
        for t, p in inside:
            column = x[:, :, p[0], p[1]].astype(np.float64).reshape(shape[0], channels // each, each)
            want[:, :, o[0], o[1]] += np.einsum("goc,ngc->ngo", weights[..., t[0], t[1]], column).reshape(shape[0], channels)
    fixed = int(rng.integers(2))
    dims = [["N", str(shape[0])][fixed], str(channels), *("%d,%d" % tuple(size) if fixed or rng.integers(2) else "H,W").split(",")]
    lines = "%%w = const %s[%s] [%s]\n" % (kind, ",".join(map(str, k.shape)), text("w", k))
    body = "%%y = Conv(%%x, %%w) {group=%d, %s}" % (channels // each, w.attrs())
    if rng.integers(3):  # channels lie side by side
        body = "%t = Transpose(%x) {perm=[0,3,1,2]}\n " + body.replace("Conv(%x", "Conv(%t")
        dims, x = [dims[0], *dims[2:], dims[1]], np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    dims = ",".join(dims)
    graph = "graph @g(%%x: %s[%s]) -> (%%y) {\n %s %s\n}\n" % (kind, dims, lines, body)
    return graph, {"x": x}, want, {"f32": 1e-5, "f64": 1e-13, "f16": 5e-3}[kind]


def side_by_side(rng, kind):
    return depthwise(rng, kind, True)


def long_window(rng, kind):
    make = [max_pool, depthwise, lambda *x, **more: depthwise(*x, beside=True, **more)][int(rng.integers(3))]
    return make(rng, kind, long=True)


def banded(rng, kind):
    return average_pool(rng, kind, True) if rng.integers(3) == 0 else depthwise(rng, kind, beside=True, wide=True)


def over_all(rng, kind):
    """Pools over whole images, channels side by side: fewer and more pixels than are summed in parts."""
    dtype, op = TYPES[kind], str(rng.choice(["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"]))
    pixels = [int(v) for v in rng.integers(9, 40, 2)]
    shape = [1 + int(rng.integers(2)), *pixels, int(rng.choice([16, 32, 75, 128, 160]))]
    x = rng.standard_normal(shape).astype(dtype)
    wide = x.astype(np.float64)
    want = {"Average": wide.mean((1, 2)), "Max": wide.max((1, 2)), "Lp": np.sqrt((wide**2).sum((1, 2)))}[op[6:-4]]
    dims = "N,%s,%d" % ("H,W" if rng.integers(2) else "%d,%d" % tuple(pixels), shape[3])
    body = "%%t = Transpose(%%x) {perm=[0,3,1,2]}\n %%y = %s(%%t)" % op
    graph = "graph @g(%%x: %s[%s]) -> (%%y) {\n %s\n}\n" % (kind, dims, body)
    return graph, {"x": x}, want[:, :, None, None], {"f32": 1e-5, "f64": 1e-13, "f16": 2e-3}[kind]


def deformed(rng, kind):
    dtype = TYPES[kind]
    group, offsets = int(rng.choice([1, 1, 2])), int(rng.choice([1, 2]))
    channels, results, masked = 4 * int(rng.integers(1, 6)), 2 * int(rng.integers(1, 5)), bool(rng.integers(2))
    shape = [1 + int(rng.integers(2)), channels, int(rng.integers(1, 9)), int(rng.integers(1, 40))]
    w = Window(rng, shape[2:], False)
    taps = w.kernel[0] * w.kernel[1]
    x = rng.standard_normal(shape).astype(dtype)
    k = rng.standard_normal([results, channels // group] + w.kernel).astype(dtype)
    bias = rng.standard_normal(results).astype(dtype)
    move = (rng.standard_normal([shape[0], offsets, taps, 2] + w.out) * 3).round(2).astype(dtype)
    move[rng.random(move.shape) < 0.02] = 1e9
    factor = rng.random([shape[0], offsets, taps] + w.out).astype(dtype)
    columns = np.zeros([shape[0], channels, taps] + w.out)
    around = np.zeros([shape[0], channels, shape[2] + 3, shape[3] + 3])  # one in front, two behind
    around[:, :, 1:-2, 1:-2] = x
    for b, c, t in itertools.product(range(shape[0]), range(channels), range(taps)):
        og = c * offsets // channels
        for o in itertools.product(*map(range, w.out)):
            tap = divmod(t, w.kernel[1])
            still = [o[i] * w.stride[i] - w.pads[i] + tap[i] * w.dilation[i] for i in range(2)]
            at = [still[i] + float(move[(b, og, t, i) + o]) for i in range(2)]
            if not all(-1 < at[i] < shape[2 + i] for i in range(2)):
                continue
            (y, v), (z, u) = ((int(a // 1), a % 1) for a in at)
            near_by = around[b, c, y + 1 : y + 3, z + 1 : z + 3]
            value = np.array([1 - v, v]) @ near_by @ np.array([1 - u, u])
            columns[(b, c, t) + o] = value * (factor[(b, og, t) + o] if masked else 1)
    columns = columns.reshape([shape[0], group, channels // group, taps] + w.out)
    weights = k.astype(np.float64).reshape(group, results // group, channels // group, taps)
    want = np.einsum("gokt,bgktyx->bgoyx", weights, columns).reshape([shape[0], results] + w.out)
    want += bias.reshape(1, -1, 1, 1)
    free = bool(rng.integers(2))
    places = "R,S" if free else "%d,%d" % tuple(w.out)
    args = ["%%x: %s[%d,%d,%s]" % (kind, shape[0], channels, "H,W" if free else "%d,%d" % tuple(shape[2:]))]
    args.append("%%o: %s[%d,%d,%s]" % (kind, shape[0], offsets * taps * 2, places))
    args += ["%%m: %s[%d,%d,%s]" % (kind, shape[0], offsets * taps, places)] * masked
    lines = "%%w = const %s%s [%s]\n %%b = const %s[%d] [%s]\n" % (
        kind, list(k.shape), text("w", k), kind, results, text("b", bias))
    attrs = "group=%d, offset_group=%d, kernel_shape=%s, %s" % (group, offsets, w.kernel, w.attrs())
    body = "%%y = DeformConv(%%x, %%w, %%o, %%b%s) {%s}" % (", %m" if masked else "", attrs)
    feeds = {"x": x, "o": move.reshape([shape[0], -1] + w.out)}
    if masked:
        feeds["m"] = factor.reshape([shape[0], -1] + w.out)
    graph = "graph @g(%s) -> (%%y) {\n %s %s\n}\n" % (", ".join(args), lines, body)
    return graph, feeds, want, {"f32": 1e-4, "f64": 1e-12}[kind]


def near(got, want, tolerance):
    if got.shape != want.shape:
        return False
    if not tolerance:
        return np.array_equal(got, want, equal_nan=got.dtype.kind == "f")
    return bool(np.all(np.abs(got - want) <= tolerance * (1 + np.abs(want))))


def check(tally, bmc, work, name, case):
    graph, feeds, want, tolerance = case
    for label, got in answers(tally, bmc, work, name, graph, feeds):
        tally.check(label, near(got["y"], want, tolerance), graph[:160])


KINDS = ((max_pool, ("f32", "f16", "f64", "i8")), (depthwise, ("f32", "f64", "f16")), (side_by_side, ("f32", "f64")), (banded, ("f32", "f16")), (grouped, ("f32", "f64", "f16", "f32")),
         (long_window, ("f32", "f64")), (average_pool, ("f32", "f64")),
         (over_all, ("f32", "f64", "f16")), (deformed, ("f32", "f64")))


def main():
    parser = argparse.ArgumentParser(description="windows and pools over whole images, compiled")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=4, help="of each kind")
    args = parser.parse_args()
    bmc, tally = harness.needs_bmc(args.bmc), harness.Tally()
    work = os.path.join(harness.WORK, "windows-%d" % os.getpid())
    os.makedirs(work)
    rng = np.random.default_rng(args.seed)
    for make, kinds in KINDS:
        for number in range(args.cases):
            kind = kinds[number % len(kinds)]
            check(tally, bmc, work, "%s %s %d" % (make.__name__, kind, number), make(rng, kind))
    shutil.rmtree(work)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
