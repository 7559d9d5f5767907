#!/usr/bin/env python3
"""Products of bytes, compiled:   byte_products.py [--bmc PATH] [--seed N] [--cases N]

MatMulInteger and ConvInteger of random shapes, either sign on both sides, full of the ends of their types, with zero
points for all, for rows, columns and channels, constant and not; against 64-bit sums in numpy that wrap. The same with
dequantised operands, which are near. All cases of a kind are one model, compiled for several CPUs and without
optimisation; inputs end with a page, with nothing behind it that may be read. One thread and two give the same bits.
"""

import argparse
import os
import shutil
import sys

import numpy as np

import harness
from compiled import TARGETS, answers

TYPES = {"u8": np.uint8, "i8": np.int8}
SIGNS = (("u8", "i8"), ("i8", "i8"), ("u8", "u8"), ("i8", "u8"))


def extremes(rng, kind, shape):
    """Bytes, a third of them at the ends of their type."""
    ends = np.iinfo(TYPES[kind])
    at = rng.random(shape)
    inside = rng.integers(ends.min, ends.max + 1, shape)
    return np.asarray(np.where(at < 0.15, ends.min, np.where(at > 0.85, ends.max, inside))).astype(TYPES[kind])


class Model:
    """A graph in text, what it is fed, and what has to come out."""

    def __init__(self, rng):
        self.rng, self.args, self.lines, self.feeds, self.want = rng, [], [], {}, {}

    def give(self, name, kind, array, constant):
        dims = ",".join(map(str, array.shape))
        if constant:
            values = ",".join(repr(v.item()) for v in array.ravel())
            self.lines.append("%%%s = const %s[%s] [%s]" % (name, kind, dims, values))
        else:
            self.args.append("%%%s: %s[%s]" % (name, kind, dims))
            self.feeds[name] = array
        return "%" + name

    def zero(self, name, kind, shapes):
        """A zero point or none: its text, its value."""
        if self.rng.random() < 0.3:
            return None, np.int64(0)
        z = extremes(self.rng, kind, shapes[self.rng.integers(len(shapes))])
        return self.give(name, kind, z, self.rng.random() < 0.6), z.astype(np.int64)

    def text(self):
        outs = ", ".join("%" + y for y in self.want)
        return "graph @g(%s) -> (%s) {\n  %s\n}\n" % (", ".join(self.args), outs, "\n  ".join(self.lines))


def operands(names):
    while names[-1] is None:
        names.pop()
    return names


def matmul(m, n, kinds):
    rng, (ka, kb) = m.rng, kinds
    rows, columns = int(rng.choice([1, 2, 5, 17, 66])), int(rng.choice([1, 3, 16, 17, 65, 100]))
    depth = int(rng.choice([1, 2, 3, 4, 5, 7, 64, 131, 299, 300]))
    batch = [(), (), (2,)][rng.integers(3)]
    a, b = extremes(rng, ka, batch + (rows, depth)), extremes(rng, kb, (depth, columns))
    names = [m.give("a%d" % n, ka, a, False), m.give("b%d" % n, kb, b, rng.random() < 0.6)]
    za, va = m.zero("za%d" % n, ka, [()] if batch else [(), (rows,)])
    zb, vb = m.zero("zb%d" % n, kb, [(), (columns,)])
    if zb and not za:
        za, va = m.give("za%d" % n, ka, np.zeros((), TYPES[ka]), True), np.int64(0)
    m.lines.append("%%y%d = MatMulInteger(%s)" % (n, ", ".join(operands(names + [za, zb]))))
    left = a.astype(np.int64) - (va[:, None] if va.ndim else va)
    m.want["y%d" % n] = (left @ (b.astype(np.int64) - vb)).astype(np.int32)


def convolve(x, w, stride, dilation, pads):
    x = np.pad(x, [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])])
    out = [(x.shape[2 + i] - (w.shape[2 + i] - 1) * dilation[i] - 1) // stride[i] + 1 for i in range(2)]
    y = np.zeros((x.shape[0], w.shape[0], *out), x.dtype)
    for t in np.ndindex(*w.shape[2:]):
        part = tuple(slice(t[i] * dilation[i], t[i] * dilation[i] + (out[i] - 1) * stride[i] + 1, stride[i]) for i in range(2))
        y += np.einsum("nchw,oc->nohw", x[(slice(None), slice(None)) + part], w[:, :, t[0], t[1]])
    return y


def window(rng):
    kernel, pads = [int(v) for v in rng.integers(1, 5, 2)], [int(v) for v in rng.integers(0, 3, 4)]
    stride, dilation = [int(v) for v in rng.choice([1, 1, 2], 2)], [int(v) for v in rng.choice([1, 1, 2], 2)]
    return kernel, stride, dilation, pads, "{strides=%s, dilations=%s, pads=%s}" % (stride, dilation, pads)


def conv(m, n, kinds):
    rng, (kx, kw) = m.rng, kinds
    channels, outs = int(rng.choice([1, 2, 3, 4, 7, 16, 33])), int(rng.choice([1, 3, 16, 17, 66]))
    kernel, stride, dilation, pads, attrs = window(rng)
    x = extremes(rng, kx, (int(rng.choice([1, 2])), channels, *[int(v) for v in rng.integers(8, 14, 2)]))
    w = extremes(rng, kw, (outs, channels, *kernel))
    names = [m.give("x%d" % n, kx, x, False), m.give("w%d" % n, kw, w, rng.random() < 0.6)]
    zx, vx = m.zero("zx%d" % n, kx, [()])
    zw, vw = m.zero("zw%d" % n, kw, [(), (outs,)])
    if zw and not zx:
        zx, vx = m.give("zx%d" % n, kx, np.zeros((), TYPES[kx]), True), np.int64(0)
    m.lines.append("%%y%d = ConvInteger(%s) %s" % (n, ", ".join(operands(names + [zx, zw])), attrs))
    w = w.astype(np.int64) - vw.reshape(-1, 1, 1, 1)
    m.want["y%d" % n] = convolve(x.astype(np.int64) - vx, w, stride, dilation, pads).astype(np.int32)


def real(m, name, kind, array, shape, axis):
    """A dequantised operand: its name and its values."""
    s = m.rng.uniform(0.01, 0.1, shape).astype(np.float32)
    z = extremes(m.rng, kind, shape)
    q = m.give(name, kind, array, "w" in name)
    m.lines.append("%%%s_r = DequantizeLinear(%s, %s, %s) {axis=%d}"
                   % (name, q, m.give(name + "_s", "f32", s, True), m.give(name + "_z", kind, z, True), axis))
    along = [-1 if i == axis else 1 for i in range(array.ndim)] if shape else []
    return "%%%s_r" % name, (array.astype(np.float64) - z.reshape(along)) * s.reshape(along).astype(np.float64)


def dequantized(m, n, kinds):
    rng, (ka, kb) = m.rng, kinds
    if n % 2:
        depth, columns = int(rng.choice([3, 64, 131])), int(rng.choice([3, 17, 64]))
        a, va = real(m, "a%d" % n, ka, extremes(rng, ka, (5, depth)), (), 0)
        b, vb = real(m, "w%d" % n, kb, extremes(rng, kb, (depth, columns)), (columns,) if n % 4 == 1 else (), 1)
        m.lines.append("%%y%d = MatMul(%s, %s)" % (n, a, b))
        m.want["y%d" % n] = va @ vb
        return
    outs = int(rng.choice([3, 17]))
    kernel, stride, dilation, pads, attrs = window(rng)
    a, va = real(m, "a%d" % n, ka, extremes(rng, ka, (1, 3, 9, 10)), (), 0)
    b, vb = real(m, "w%d" % n, kb, extremes(rng, kb, (outs, 3, *kernel)), (outs,) if n % 4 else (), 0)
    bias = rng.standard_normal(outs).astype(np.float32)
    m.lines.append("%%y%d = Conv(%s, %s, %s) %s" % (n, a, b, m.give("bias%d" % n, "f32", bias, True), attrs))
    m.want["y%d" % n] = convolve(va, vb, stride, dilation, pads) + bias.astype(np.float64).reshape(-1, 1, 1)


def right(got, want):
    if got.shape != want.shape:
        return False
    if want.dtype.kind == "i":
        return np.array_equal(got, want)
    return bool(np.max(np.abs(got - want), initial=0) <= 1e-5 * np.max(np.abs(want), initial=0))


def main():
    parser = argparse.ArgumentParser(description="products of bytes, compiled")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=12, help="of each kind")
    args = parser.parse_args()
    bmc, tally = harness.needs_bmc(args.bmc), harness.Tally()
    work = os.path.join(harness.WORK, "byte-products-%d" % os.getpid())
    os.makedirs(work)
    for make in (matmul, conv, dequantized):
        m = Model(np.random.default_rng(args.seed))
        for n in range(args.cases):
            make(m, n, SIGNS[n % 4])
        for label, got in answers(tally, bmc, work, make.__name__, m.text(), m.feeds, (*TARGETS, ["--cpu=x86-64-v4"])):
            for y, want in m.want.items():
                tally.check("%s: %s" % (label, y), right(got[y], want), "seed %d" % args.seed)
    shutil.rmtree(work)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
