#!/usr/bin/env python3
"""DFT of many lengths and forms against numpy in double:   fourier.py [--bmc FILE]

Lengths that take one pass, several, sums and convolutions; rows in lanes, with a rest and without; cut and filled;
halves of spectra in both directions; along each axis. Two threads give the same bits.
"""

import argparse
import os
import shutil

import numpy as np

import harness
from bmc_ctypes import Loaded, ModelError
from harness import WORK, run

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


def reference(x, axis, n, inverse, onesided):
    z = x[..., 0].astype(np.float64)
    if x.shape[-1] == 2:
        z = z + 1j * x[..., 1]
    if inverse and onesided:
        return np.fft.irfft(z, n, axis)[..., None]
    y = np.fft.ifft(z, n, axis) if inverse else np.fft.rfft(z, n, axis) if onesided else np.fft.fft(z, n, axis)
    return np.stack([y.real, y.imag], -1)


def model(all_cases):
    text, outs, args = [], [], []
    for i, (shape, axis, n, inverse, onesided) in enumerate(all_cases):
        args.append("%%x%d: f32[%s]" % (i, ",".join(map(str, shape))))
        outs.append("%%y%d" % i)
        text.append("  %%a%d = const i64[] [%d]" % (i, axis))
        if n:
            text.append("  %%n%d = const i64[] [%d]" % (i, n))
        text.append("  %%y%d = DFT(%%x%d, %s, %%a%d) {inverse=%d, onesided=%d}" % (i, i, "%%n%d" % i if n else "_", i, inverse, onesided))
    return "bir 1\ngraph @main(%s) -> (%s) {\n%s\n}\n" % (", ".join(args), ", ".join(outs), "\n".join(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    bmc = harness.needs_bmc(parser.parse_args().bmc)
    t = harness.Tally()
    work = os.path.join(WORK, "fourier")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    every, random = list(cases()), np.random.default_rng(1)
    with open(os.path.join(work, "fourier.bir"), "w") as f:
        f.write(model(every))
    feeds = {"x%d" % i: random.standard_normal(c[0]).astype(np.float32) for i, c in enumerate(every)}
    for flags in ([], ["--cpu=x86-64-v3"], ["-O0"]):
        so = os.path.join(work, "fourier%s.so" % "".join(flags))
        made = run([bmc, os.path.join(work, "fourier.bir"), "-o", so] + flags)
        if not t.check("compiles %s" % flags, made.status == 0, made.brief()):
            continue
        try:
            got, two = Loaded(so).run(feeds), Loaded(so, threads=2).run(feeds)
        except ModelError as e:
            t.check("runs %s" % flags, False, e)
            continue
        t.check("%s: two threads, the same bits" % flags, all(np.array_equal(got[k], two[k]) for k in got))
        for i, (shape, axis, n, inverse, onesided) in enumerate(every):
            want = reference(feeds["x%d" % i], axis, n or shape[axis], inverse, onesided)
            y, label = got["y%d" % i], "%s: %s along %d, %s points, inverse=%d, onesided=%d" % (flags, shape, axis, n, inverse, onesided)
            if t.check(label + ": shape", y.shape == want.shape, y.shape):
                off = np.abs(y - want).max() / np.abs(want).max()
                t.check(label, off <= (INVERSE if inverse else FORWARD), off)
    return t.finish()


if __name__ == "__main__":
    raise SystemExit(main())
