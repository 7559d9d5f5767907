#!/usr/bin/env python3
"""The random operators by their statistics:   random_ops.py [--bmc FILE]

Bounds are wide: a right generator stays inside five standard deviations, whatever the seed, more often than once in a
million checks; the seeds here are fixed, so nothing changes from run to run. D14 besides: a seed, the number of the draw
and the element decide, and nothing else.
"""

import argparse
import os
import shutil

import numpy as np

import harness
from bmc_ctypes import Loaded, ModelError
from harness import WORK, run

N = 200000
MODEL = """bir 1
sym B entry input 1 axis 0 lo 0
graph @main(%%p: f32[%(n)d], %%l: f32[B,5], %%t: bool[]) -> (%%u, %%v, %%z, %%d, %%b, %%m, %%x, %%k) {
  %%u = RandomUniform() {shape=[%(n)d], low=-2.0, high=6.0}
  %%v = RandomUniformLike(%%p)
  %%z = RandomNormal() {shape=[%(n)d], mean=3.0, scale=2.0}
  %%d = RandomNormalLike(%%p) {dtype=11, seed=7.0}
  %%b = Bernoulli(%%p) {dtype=9}
  %%m = Multinomial(%%l) {sample_size=20000, dtype=7}
  %%r = const f32[] [0.25]
  %%x, %%k = Dropout(%%p, %%r, %%t)
}
""" % {"n": N}


def near(sample, mean, deviation):
    """Is the mean of independent values of that deviation where it should be?"""
    return abs(float(np.mean(sample)) - mean) <= 5 * deviation / np.sqrt(np.size(sample))


def uniform(t, label, u, low, high):
    span = high - low
    t.check(label + ": within bounds", u.min() >= low and u.max() < high, (u.min(), u.max()))
    t.check(label + ": mean", near(u, (low + high) / 2, span / np.sqrt(12)), u.mean())
    count = np.histogram(u, 64, (low, high))[0]
    chi = float(((count - len(u) / 64) ** 2 / (len(u) / 64)).sum())
    t.check(label + ": chi square of 64 bins", 63 - 5 * 11.3 < chi < 63 + 5 * 11.3, chi)
    t.check(label + ": neighbours are independent", near((u[1:] - u.mean()) * (u[:-1] - u.mean()), 0, span**2 / 12))


def normal(t, label, z, mean, scale):
    z = (z.astype(np.float64) - mean) / scale
    for power, want, deviation in ((1, 0, 1), (2, 1, np.sqrt(2)), (3, 0, np.sqrt(15)), (4, 3, np.sqrt(96))):
        t.check("%s: moment %d" % (label, power), near(z**power, want, deviation), (z**power).mean())


def statistics(t, got, p, logits, training):
    uniform(t, "RandomUniform", got["u"], -2, 6)
    uniform(t, "RandomUniformLike", got["v"], 0, 1)
    normal(t, "RandomNormal", got["z"], 3, 2)
    normal(t, "RandomNormalLike", got["d"], 0, 1)
    t.check("RandomNormalLike: type", got["d"].dtype == np.float64, got["d"].dtype)
    t.check("Bernoulli: type", got["b"].dtype == np.bool_, got["b"].dtype)
    for low in (0.0, 0.25, 0.75):
        some = (p >= low) & (p < low + 0.25)
        t.check("Bernoulli, p from %g" % low, near(got["b"][some] - p[some], 0, 0.5))
    t.check("Bernoulli: 0 never, 1 always", not got["b"][p == 0].any() and got["b"][p == 1].all())
    want = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for row in range(len(logits)):
        share = np.bincount(got["m"][row], minlength=5) / got["m"].shape[1]
        off = np.abs(share - want[row]).max()
        t.check("Multinomial, row %d" % row, len(share) == 5 and off <= 5 * 0.5 / np.sqrt(got["m"].shape[1]), share)
    kept = got["k"]
    if training:
        t.check("Dropout: how many stay", near(kept, 0.75, 0.44), kept.mean())
        t.check("Dropout: what stays is larger", np.allclose(got["x"], np.where(kept, p / 0.75, 0), rtol=1e-6))
    else:
        t.check("Dropout: nothing falls away in inference", kept.all() and np.array_equal(got["x"], p))
    between = np.corrcoef(np.stack([got["u"], got["v"], got["z"], got["d"].astype(np.float32)]))
    t.check("operators are independent of each other", np.abs(between - np.eye(4)).max() < 5 / np.sqrt(N), between)


def same(x, y):
    return all(np.array_equal(x[k], y[k]) for k in x)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    bmc = harness.needs_bmc(parser.parse_args().bmc)
    t = harness.Tally()
    work = os.path.join(WORK, "random")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    with open(os.path.join(work, "random.bir"), "w") as f:
        f.write(MODEL)
    p = np.random.default_rng(1).random(N).astype(np.float32)
    p[:1000], p[1000:2000] = 0, 1
    logits = np.array([[0, 0, 0, 0, 0], [1, -1, 2, 0, -30]], np.float32)
    feeds = {"p": p, "l": logits, "t": np.array(True)}
    first = None
    for flags in ([], ["-O0", "--cpu=x86-64-v3"]):
        so = os.path.join(work, "random%d.so" % len(flags))
        made = run([bmc, os.path.join(work, "random.bir"), "-o", so] + flags)
        if not t.check("compiles %s" % flags, made.status == 0, made.brief()):
            continue
        try:
            model, two = Loaded(so), Loaded(so, threads=2)
            got = model.run(feeds)
            if first is None:
                first = got
                statistics(t, got, p, logits, True)
            exact = all(np.array_equal(got[k], first[k]) for k in ("u", "v", "b", "m", "k"))
            t.check("%s: the same numbers" % (flags or "native"), exact)
            t.check("%s: two threads, the same numbers" % (flags or "native"), same(got, two.run(feeds)))
            again = model.run({**feeds, "t": np.array(False)})
            statistics(t, again, p, logits, False)
            t.check("another run: other numbers", not np.array_equal(again["u"], got["u"]) and abs(np.corrcoef(again["u"], got["u"])[0, 1]) < 5 / np.sqrt(N))
            model.reset()
            t.check("after reset: the first run again", same(model.run(feeds), got))
            other = Loaded(so, seed=12345678901).run(feeds)
            t.check("another seed: other numbers, but for a node with its own", not np.array_equal(other["u"], got["u"]) and np.array_equal(other["d"], got["d"]))
        except ModelError as e:
            t.check("runs %s" % flags, False, e)
    return t.finish()


if __name__ == "__main__":
    raise SystemExit(main())
