#!/usr/bin/env python3
"""DFT and STFT of many lengths and forms against numpy in double:   fourier.py [--bmc FILE]

Lengths that take one pass, several, sums and convolutions; rows in lanes, with a rest and without; cut and filled;
halves of spectra in both directions; along each axis; all of it again with sizes, lengths and steps that only the run
knows, so many that the arena is no formula of them. Two threads give the same bits.
"""

import argparse
import os
import shutil

import numpy as np

import harness
from compiled import TARGETS, answers
from harness import WORK

FORWARD, INVERSE = 1.2e-7, 6e-7  # of the largest value: computed in double and rounded; in float
LENGTHS = [1, 2, 5, 9, 14, 16, 22, 34, 48, 61, 63, 67, 80, 96, 122, 128, 134, 200, 240, 360, 500, 512, 1001, 1024]
SHAPES = [((13, 20, 1), 1), ((9, 20, 1), 0), ((16, 24, 2), 0), ((5, 7, 11, 2), 0), ((5, 7, 11, 2), 1), ((4, 33, 3, 1), 1), ((101, 12, 1), 1)]


def cases():
    """(shape, axis, length or None, inverse, onesided)"""
    for n in LENGTHS:
        yield (2, n, 1), 1, None, 0, n % 2
        yield (3, n, 1), 1, None, 0, 1 - n % 2
        yield (2, n, 2), 1, None, n % 2, 0
        if n > 1:
            yield (2, n // 2 + 1, 2), 1, n, 1, 1
    for shape, axis in SHAPES:
        yield shape, axis, None, 0, 0
        yield shape, axis, None, 1, 0
        yield shape, axis, shape[axis] + 5, 0, 0
        yield shape, axis, shape[axis] - 3, 0, int(shape[-1] == 1)


# signal, length, step, window, onesided
FRAMES = [((2, 90, 1), 16, 5, 1, 1), ((1, 90, 1), 25, 10, 1, 0), ((3, 200, 1), 67, 30, 1, 1), ((1, 1500, 1), 400, 160, 1, 1)]
FRAMES += [((2, 90, 2), 20, 7, 1, 0), ((2, 33, 1), 33, 1, 0, 1), ((1, 700, 1), 122, 60, 0, 0), ((2, 600, 1), 512, 32, 1, 1)]


def frames(x, window, length, step, onesided):
    z = x[..., 0].astype(np.float64)
    if x.shape[-1] == 2:
        z = z + 1j * x[..., 1]
    z = np.stack([z[:, i : i + length] for i in range(0, z.shape[1] - length + 1, step)], 1) * window.astype(np.float64)
    y = np.fft.rfft(z, axis=2) if onesided else np.fft.fft(z, axis=2)
    return np.stack([y.real, y.imag], -1)


def reference(x, axis, n, inverse, onesided):
    z = x[..., 0].astype(np.float64)
    if x.shape[-1] == 2:
        z = z + 1j * x[..., 1]
    if inverse and onesided:
        return np.fft.irfft(z, n, axis)[..., None]
    y = np.fft.ifft(z, n, axis) if inverse else np.fft.rfft(z, n, axis) if onesided else np.fft.fft(z, n, axis)
    return np.stack([y.real, y.imag], -1)


def model(all_cases, free):
    """free: no size is known, and numbers of points and steps are inputs."""
    text, outs, args = [], [], []
    port = lambda name, shape: "%%%s: f32[%s]" % (name, ",".join("?" if free else str(d) for d in shape))  # noqa: E731

    def number(name, value):
        if free:
            args.append("%%%s: i64[]" % name)
        else:
            text.append("  %%%s = const i64[] [%d]" % (name, value))

    for i, (shape, axis, n, inverse, onesided) in enumerate(all_cases):
        args.append(port("x%d" % i, shape))
        outs.append("%%y%d" % i)
        text.append("  %%a%d = const i64[] [%d]" % (i, axis))
        if n:
            number("n%d" % i, n)
        text.append("  %%y%d = DFT(%%x%d, %s, %%a%d) {inverse=%d, onesided=%d}" % (i, i, "%%n%d" % i if n else "_", i, inverse, onesided))
    for i, (shape, length, step, window, onesided) in enumerate(FRAMES):
        args += [port("s%d" % i, shape), port("w%d" % i, (length,))]
        outs.append("%%f%d" % i)
        number("p%d" % i, step)
        number("l%d" % i, length)
        text.append("  %%f%d = STFT(%%s%d, %%p%d, %s, %%l%d) {onesided=%d}" % (i, i, i, "%%w%d" % i if window else "_", i, onesided))
    return "graph @main(%s) -> (%s) {\n%s\n}\n" % (", ".join(args), ", ".join(outs), "\n".join(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    bmc = harness.needs_bmc(parser.parse_args().bmc)
    t = harness.Tally()
    work = os.path.join(WORK, "fourier")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    every, random = list(cases()), np.random.default_rng(1)
    feeds = {"x%d" % i: random.standard_normal(c[0]).astype(np.float32) for i, c in enumerate(every)}
    for i, (shape, length, *_) in enumerate(FRAMES):
        feeds["s%d" % i], feeds["w%d" % i] = (random.standard_normal(d).astype(np.float32) for d in (shape, length))
    check(t, bmc, work, every, feeds, False)
    feeds.update({"n%d" % i: np.array(c[2]) for i, c in enumerate(every) if c[2]})
    feeds.update({name % i: np.array(c[k]) for i, c in enumerate(FRAMES) for name, k in (("p%d", 2), ("l%d", 1))})
    check(t, bmc, work, every, feeds, True)
    for flags, got in answers(t, bmc, work, "constant", CONSTANT, {"x": np.array([[[1, 2]]], np.float32)}, TARGETS[:1]):
        t.check(flags + ": of a constant", np.array_equal(got["y"], [[[1048577, 2]]]), got["y"])
    return t.finish()


# large, so that code made for it computes it, and a small constant made of that
CONSTANT = """graph @g(%x: f32[1,1,2]) -> (%y) {
  %c = const f32[1,1048576,1] splat(1)
  %from = const i64[1] splat(0)
  %to = const i64[1] splat(1)
  %d = DFT(%c)
  %s = Slice(%d, %from, %to, %to)
  %y = Add(%x, %s)
}
"""


def check(t, bmc, work, every, feeds, free):
    for flags, got in answers(t, bmc, work, "free" if free else "fourier", model(every, free), feeds, TARGETS[:1 if free else 3]):
        flags = "%s%s" % (flags, ", sizes unknown" if free else "")
        for i, (shape, axis, n, inverse, onesided) in enumerate(every):
            want = reference(feeds["x%d" % i], axis, n or shape[axis], inverse, onesided)
            y, label = got["y%d" % i], "%s: %s along %d, %s points, inverse=%d, onesided=%d" % (flags, shape, axis, n, inverse, onesided)
            if t.check(label + ": shape", y.shape == want.shape, y.shape):
                off = np.abs(y - want).max() / np.abs(want).max()
                t.check(label, off <= (INVERSE if inverse else FORWARD), off)
        for i, (shape, length, step, window, onesided) in enumerate(FRAMES):
            want = frames(feeds["s%d" % i], feeds["w%d" % i] if window else np.ones(length), length, step, onesided)
            y, label = got["f%d" % i], "%s: STFT of %s, %d points every %d, window=%d, onesided=%d" % (flags, shape, length, step, window, onesided)
            if t.check(label + ": shape", y.shape == want.shape, y.shape):
                off = np.abs(y - want).max() / np.abs(want).max()
                t.check(label, off <= FORWARD, off)


if __name__ == "__main__":
    raise SystemExit(main())
