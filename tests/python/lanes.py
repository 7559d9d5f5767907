#!/usr/bin/env python3
"""What goes in lanes, compiled:   lanes.py [--bmc PATH] [--seed N]

Rows whose elements lie apart (behind a Transpose), every few elements, elements repeated, elements from anywhere in a
short row, sums over rows far apart, one row times a matrix beyond the caches, products of 16-bit types, determinants a matrix a lane, constants that are made of latent ones, heads beyond the
caches, functions of doubles, trees that rows walk side by side: lengths around whole vectors and blocks, fixed and
symbolic, NaN among the elements, as code for three CPUs and without optimisation, against numpy. Inputs end with a page,
with nothing behind it that may be read. One thread and two give the same bits.
"""

import argparse
import math
import os
import shutil
import sys

import ml_dtypes
import numpy as np

import harness
from compiled import answers

TYPES = {"f32": np.float32, "f64": np.float64, "f16": np.float16, "i32": np.int32, "i8": np.int8}
CLOSE = {"f32": 2e-6, "f64": 1e-12, "f16": 2e-3}  # of the largest magnitude


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def elements(rng, kind, shape):
    if kind[0] == "i":
        return rng.integers(-100, 100, shape).astype(TYPES[kind])
    return rng.standard_normal(shape).astype(TYPES[kind])


def behind_transpose(rng, kind, shape, symbolic):
    """The last axis of %t has the first one's stride of its operand: softmax, functions, reductions along it."""
    x = elements(rng, kind, shape)
    t = np.transpose(x, (0, 3, 1, 2)).astype(np.float64)
    z = elements(rng, kind, t.shape)
    dims = "B,N,M,%d" % shape[3] if symbolic else ",".join(map(str, shape))
    other = "B,%d,N,M" % shape[3] if symbolic else ",".join(map(str, t.shape))
    text = """graph @g(%%x: %s[%s], %%z: %s[%s]) -> (%%s, %%l, %%e, %%m, %%a, %%n) {
  %%t = Transpose(%%x) {perm=[0,3,1,2]}
  %%axis = const i64[1] [3]
  %%s = Softmax(%%t) {axis=3}
  %%l = LogSoftmax(%%t) {axis=3}
  %%u = Add(%%t, %%z)
  %%v = Exp(%%u)
  %%e = Transpose(%%v) {perm=[0,2,3,1]}
  %%m = ReduceMax(%%t, %%axis)
  %%a = ReduceSum(%%t, %%axis)
  %%n = ReduceLogSumExp(%%t, %%axis)
}
""" % (kind, dims, kind, other)
    total = np.log(np.exp(t).sum(3, keepdims=True))
    grown = np.exp((t + z).astype(TYPES[kind]).astype(float))
    want = {"s": softmax(t, 3), "l": t - total, "e": np.transpose(grown, (0, 2, 3, 1)), "m": t.max(3, keepdims=True),
            "a": t.sum(3, keepdims=True), "n": total}
    return text, {"x": x, "z": z}, want


def down_rows(rng, kind, rows, columns, symbolic):
    """Reductions along the first axis: rows are read as they lie."""
    x = elements(rng, kind, (rows, columns))
    real = kind[0] == "f"
    with_nan = x.copy()
    if real:
        with_nan[rng.random(x.shape) < 1 / (4 * rows)] = np.nan
    dims = "R,C" if symbolic else "%d,%d" % x.shape
    text = "graph @g(%%x: %s[%s], %%w: %s[%s]) -> (%%m, %%i, %%a%s) {\n" % (kind, dims, kind, dims, ", %q, %s" if real else "")
    text += "  %axis = const i64[1] [0]\n  %m = ReduceMax(%w, %axis)\n  %i = ReduceMin(%x, %axis)\n  %a = ReduceSum(%x, %axis)\n"
    if real:
        text += "  %q = ReduceL2(%x, %axis)\n  %s = Softmax(%x) {axis=0}\n"
    wide = x.astype(np.float64 if real else np.int64)
    want = {"m": np.max(with_nan, 0, keepdims=True), "i": x.min(0, keepdims=True)}
    want["a"] = wide.sum(0, keepdims=True) if real else wide.sum(0, keepdims=True).astype(TYPES[kind])
    if real:
        want.update(q=np.sqrt((wide * wide).sum(0, keepdims=True)), s=softmax(wide, 0))
    return text + "}\n", {"x": x, "w": with_nan}, want


def one_row(rng, k, n):
    a, b = elements(rng, "f32", (1, k)), elements(rng, "f32", (k, n))
    text = "graph @g(%%a: f32[1,%d], %%b: f32[%d,%d]) -> (%%y) {\n  %%y = MatMul(%%a, %%b)\n}\n" % (k, k, n)
    return text, {"a": a, "b": b}, {"y": a.astype(float) @ b.astype(float)}


def narrow(rng, kind, m, k, n, symbolic):
    """Products of 16-bit types by a constant and by an input; all are exact in f32."""
    draw = lambda *shape: rng.integers(-8, 9, shape).astype(np.float32)
    a, b, c = draw(m, k), draw(k, n), draw(k, n)
    dims = "M,%d" % k if symbolic else "%d,%d" % (m, k)
    text = "graph @g(%%a: f32[%s], %%b: f32[%d,%d]) -> (%%y, %%z) {\n" % (dims, k, n)
    text += "  %%c = const %s[%d,%d] [%s]\n" % (kind, k, n, ",".join("%d" % v for v in c.flat))
    text += "  %%an = Cast(%%a) {to=%s}\n  %%bn = Cast(%%b) {to=%s}\n" % (kind, kind)
    text += "  %p = MatMul(%an, %c)\n  %q = MatMul(%an, %bn)\n  %y = Cast(%p) {to=f32}\n  %z = Cast(%q) {to=f32}\n}\n"
    rounded = lambda x: x.astype(np.float16) if kind == "f16" else x.astype(ml_dtypes.bfloat16)
    return text, {"a": a, "b": b}, {"y": rounded(a @ c), "z": rounded(a @ b)}


def determinants(rng, side, batch):
    x = elements(rng, "f32", (batch, side, side))
    x[0] = 0
    if side > 1:
        x[1, 1] = x[1, 0]  # singular
        x[2] = np.eye(side)[::-1]
    text = "graph @g(%%x: f32[%d,%d,%d]) -> (%%y) {\n  %%y = Det(%%x)\n}\n" % x.shape
    return text, {"x": x}, {"y": np.linalg.det(x.astype(float))}


def latent(rng):
    """Constants too large for their sources, on the way to one that is worth storing; one step is also used by the run."""
    row = (rng.integers(-9, 10, (1, 300)) / 32).astype(np.float32)  # squares and their sums are exact
    x = elements(rng, "f32", (256, 300))
    text = """graph @g(%%x: f32[256,300]) -> (%%y, %%z) {
  %%k = const f32[1,300] [%s]
  %%d = const i64[2] [256,300]
  %%1 = Expand(%%k, %%d)
  %%2 = Mul(%%1, %%1)
  %%c = const i64[] splat(0)
  %%3 = CumSum(%%2, %%c)
  %%4 = Softmax(%%3) {axis=0}
  %%y = Mul(%%x, %%4)
  %%z = Add(%%x, %%2)
}
""" % ",".join(repr(float(v)) for v in row[0])
    square = np.repeat(row.astype(float) ** 2, 256, 0)
    return text, {"x": x}, {"y": x * softmax(square.cumsum(0), 0), "z": x + square}


LONG = np.longdouble
FUNCTIONS = {  # of doubles: how it is computed with more bits
    "Exp": np.exp, "Log": np.log, "Tanh": np.tanh, "Sinh": np.sinh, "Cosh": np.cosh, "Asinh": np.arcsinh,
    "Acosh": np.arccosh, "Atanh": np.arctanh, "Sin": np.sin, "Cos": np.cos, "Tan": np.tan, "Asin": np.arcsin,
    "Acos": np.arccos, "Atan": np.arctan, "Softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "Erf": np.vectorize(math.erf, otypes=[LONG]), "Sigmoid": lambda x: 1 / (1 + np.exp(-x)), "Elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
}
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, 710.0, 711.0, -745.0, 1e-300, -1e-20, 1e16, -1e300, 7e8]


def of_doubles(rng, n, symbolic):
    """All elementary functions of doubles, and Pow; huge angles beside small ones. The remainder, of floats, too."""
    x = rng.standard_normal(n) * rng.choice([0.1, 1, 30], n)
    y = rng.standard_normal(n) * 5
    where = rng.permutation(n)[: min(n, len(SPECIAL))]
    x[where] = rng.permutation(SPECIAL)[: len(where)]
    y[::3] = np.round(y[::3])
    z = np.where(rng.random(n) < 0.9, rng.standard_normal(n), rng.choice([0, np.inf, 1e-9, np.nan], n))
    dims = "N" if symbolic else str(n)
    names = list(FUNCTIONS)
    outs = ", ".join("%%%s" % k.lower() for k in names)
    text = "graph @g(%%x: f64[%s], %%y: f64[%s], %%z: f64[%s]) -> (%s, %%pow, %%d, %%f, %%h) {\n" % (dims, dims, dims, outs)
    text += "".join("  %%%s = %s(%%x)\n" % (k.lower(), k) for k in names) + "  %pow = Pow(%x, %y)\n"
    for k, kind in ("d", "f64"), ("f", "f32"), ("h", "f16"):
        text += "  %%%sx = Cast(%%x) {to=%s}\n  %%%sz = Cast(%%z) {to=%s}\n  %%%s = Mod(%%%sx, %%%sz) {fmod=1}\n" % (k, kind, k, kind, k, k, k)
    text += "}\n"
    with np.errstate(all="ignore"):
        want = {k.lower(): f(x.astype(LONG)) for k, f in FUNCTIONS.items()}
        want["pow"] = np.power(x.astype(LONG), y.astype(LONG))
        for k, kind in ("d", np.float64), ("f", np.float32), ("h", np.float16):
            want[k] = np.fmod(x.astype(kind), z.astype(kind))
    return text, {"x": x, "y": y, "z": z}, want


def ulps(y, w):
    """The largest error in units in the last place; infinite where one is no finite number and the other is another,
    or signs of zeros differ. What is denormal counts as zero."""
    with np.errstate(all="ignore"):
        near = w.astype(np.float64)
    same = (y == near) & (np.signbit(y) == np.signbit(near)) | np.isnan(y) & np.isnan(near)
    same |= (np.abs(near) < 2.3e-308) & (np.abs(y) < 2.3e-308)
    with np.errstate(all="ignore"):
        off = np.abs(y.astype(LONG) - w) / np.spacing(np.abs(near))
    off = np.where(np.isfinite(near) & np.isfinite(y) & (near != 0), off, np.inf)
    return float(np.max(np.where(same, 0, off)))


def one_tree(rng, features, depth):
    """(feature, value, whether NaN follows yes, yes, no) or a leaf's number, of which `count` have been given."""
    nodes = []

    def grow(left):
        at = len(nodes)
        nodes.append(None)
        if left and (left == depth or rng.random() < 0.8):
            feature, value, missing = int(rng.integers(features)), int(rng.integers(-4, 5)) / 2, int(rng.integers(2))
            nodes[at] = (feature, value, missing, grow(left - 1), grow(left - 1))
        return at

    grow(depth)
    return nodes


def forest(rng, kind, trees, rows, classes, aggregate, symbolic):
    """Weights are whole numbers: every order of adding them up gives the same."""
    features = 5
    x = rng.integers(-5, 6, (rows, features)).astype(TYPES[kind]) / 2
    x[rng.random(x.shape) < 0.1] = np.nan
    all_trees = [one_tree(rng, features, int(rng.integers(0, 7))) for _ in range(trees)]
    lists = {k: [] for k in "treeids nodeids featureids values modes truenodeids falsenodeids missing".split()}
    to = {k: [] for k in "treeids nodeids ids weights".split()}
    weights = {}
    for t, nodes in enumerate(all_trees):
        for k, node in enumerate(nodes):
            row = (t, k) + ((node[0], node[1], "BRANCH_LEQ", node[3], node[4], node[2]) if node else (0, 0.0, "LEAF", 0, 0, 0))
            for name, v in zip(lists, row):
                lists[name].append(v)
            for c in range(classes) if not node else ():
                weights[t, k, c] = int(rng.integers(-20, 21))
                for name, v in zip(to, (t, k, c, float(weights[t, k, c]))):
                    to[name].append(v)
    want = np.zeros((rows, classes))
    for r in range(rows):
        for t, nodes in enumerate(all_trees):
            at = 0
            while nodes[at]:
                feature, value, missing, yes, no = nodes[at]
                v = x[r, feature]
                at = yes if v <= value or (np.isnan(v) and missing) else no
            for c in range(classes):
                w = weights[t, at, c]
                want[r, c] = w if not t else {"SUM": want[r, c] + w, "MIN": min(want[r, c], w), "MAX": max(want[r, c], w)}[aggregate]
    lists["missing_value_tracks_true"] = lists.pop("missing")
    attrs = ["aggregate_function=\"%s\"" % aggregate, "n_targets=%d" % classes]
    for stem, group in ("nodes_", lists), ("target_", to):
        for name, v in group.items():
            attrs.append("%s%s=[%s]" % (stem, name, ",".join('"%s"' % e if isinstance(e, str) else repr(e) for e in v)))
    text = "graph @g(%%x: %s[%s,%d]) -> (%%y) {\n  %%y = ai.onnx.ml.TreeEnsembleRegressor(%%x) {%s}\n}\n" % (
        kind, "N" if symbolic else rows, features, ", ".join(attrs))
    return text, {"x": x}, {"y": want}


def every_few(rng, kind, step, width, symbolic):
    """Elements a step apart, also backwards, and windows that far apart: whole vectors, and what is left of one."""
    x = elements(rng, kind, (1, 2, 3, width))
    dims = "1,2,R,W" if symbolic else "1,2,3,%d" % width
    start, end = (0, 1 << 31) if step > 0 else (-1, -(1 << 31))
    pool = step > 0 and kind == "f32"
    text = "graph @g(%%x: %s[%s]) -> (%%y%s) {\n" % (kind, dims, ", %z" if pool else "")
    for name, v in ("a", start), ("b", end), ("c", 3), ("d", step):
        text += "  %%%s = const i64[1] [%d]\n" % (name, v)
    text += "  %s = Slice(%x, %a, %b, %c, %d)\n  %y = Add(%s, %s)\n"
    want = {"y": x[..., ::step] + x[..., ::step]}
    if pool:
        text += "  %%z = MaxPool(%%x) {kernel_shape=[2,2], strides=[1,%d]}\n" % step
        rows = np.maximum(x[:, :, 1:], x[:, :, :-1])
        want["z"] = np.maximum(rows[..., :-1:step], rows[..., 1::step])
    return text + "}\n", {"x": x}, want


def repeated(rng, kind, times, width, symbolic):
    """Each element several times, and what is made of it."""
    x = elements(rng, kind, (1, 2, 3, width))
    dims = "1,2,R,W" if symbolic else "1,2,3,%d" % width
    text = "graph @g(%%x: %s[%s]) -> (%%y) {\n  %%by = const f32[4] [1,1,1,%d]\n" % (kind, dims, times)
    text += "  %r = Resize(%x, _, %by) {mode=\"nearest\"}\n  %y = Add(%r, %r)\n}\n"
    return text, {"x": x}, {"y": np.repeat(x + x, times, 3)}


def picked(rng, kind, width, places, symbolic):
    """Elements from anywhere in a short row: the same places of each row, other ones in each, and a table of one row."""
    x = elements(rng, kind, (5, width))
    same, own = rng.integers(-width, width, places), rng.integers(-width, width, (5, places))
    dims = "R,%d" % width if symbolic else "5,%d" % width
    text = """graph @g(%%x: %s[%s], %%i: i64[%d], %%j: i64[%s,%d], %%t: %s[%d]) -> (%%y, %%z, %%w) {
  %%y = Gather(%%x, %%i) {axis=1}
  %%z = GatherElements(%%x, %%j) {axis=1}
  %%w = Gather(%%t, %%j) {axis=0}
}
""" % (kind, dims, places, "R" if symbolic else "5", places, kind, width)
    want = {"y": x[:, same], "z": np.take_along_axis(x, own % width, 1), "w": x[3][own]}
    return text, {"x": x, "i": same, "j": own, "t": x[3].copy()}, {k: v.astype(np.float64) for k, v in want.items()}


def cases(rng):
    for shape in (1, 9, 7, 4), (2, 3, 8, 4), (1, 5, 17, 3), (1, 4, 33, 6), (1, 3, 100, 16):
        yield "apart %s" % (shape,), "f32", behind_transpose(rng, "f32", shape, False)
    yield "apart, symbolic", "f32", behind_transpose(rng, "f32", (2, 6, 29, 5), True)
    yield "apart, f64", "f64", behind_transpose(rng, "f64", (1, 4, 21, 5), False)
    yield "apart, f16", "f16", behind_transpose(rng, "f16", (1, 4, 21, 5), False)
    for rows, columns in (63, 2000), (64, 1025), (65, 300), (130, 100), (67, 1056):
        yield "down %d x %d" % (rows, columns), "f32", down_rows(rng, "f32", rows, columns, False)
    for kind, rows, columns in ("f64", 70, 513), ("f16", 101, 600), ("i32", 66, 700), ("i8", 257, 400):
        yield "down, %s" % kind, kind, down_rows(rng, kind, rows, columns, False)
    yield "down, symbolic", "f32", down_rows(rng, "f32", 133, 1100, True)
    for k, n in (131, 8193), (700, 1000), (2048, 515):
        yield "one row, %d x %d" % (k, n), "f32", one_row(rng, k, n)
    for kind, m, k, n, symbolic in ("f16", 4, 67, 96, False), ("bf16", 33, 131, 100, True), ("f16", 37, 515, 130, True):
        yield "product of %s, %d x %d x %d" % (kind, m, k, n), "exact", narrow(rng, kind, m, k, n, symbolic)
    for side, batch in (1, 9), (2, 17), (3, 8), (7, 33), (48, 8), (49, 8):
        yield "det %d of %d" % (batch, side), "f32", determinants(rng, side, batch)
    for step, width in (2, 20), (2, 65), (3, 47), (3, 100), (4, 61), (5, 90), (-1, 23), (-2, 45):
        yield "every %d of %d" % (step, width), "f32", every_few(rng, "f32", step, width, False)
    for kind, step, width in ("i8", 2, 45), ("i8", 3, 130), ("f16", 4, 77), ("f64", 2, 25), ("i32", -3, 70), ("f32", 2, 51):
        yield "every %d of %s" % (step, kind), kind, every_few(rng, kind, step, width, True)
    for kind, times, width in (
        ("f32", 2, 8), ("f32", 2, 37), ("f32", 4, 21), ("f32", 8, 5), ("i8", 2, 29), ("f16", 4, 13), ("f64", 2, 19), ("i32", 8, 11),
        ("f32", 3, 8), ("f32", 3, 37), ("f32", 3, 112), ("f32", 5, 23), ("f32", 6, 31), ("f32", 7, 16), ("f32", 15, 11), ("f32", 16, 5), ("f32", 17, 9),
        ("f32", 48, 3), ("f32", 100, 4), ("i8", 3, 45), ("f16", 3, 26), ("f16", 9, 12), ("f64", 3, 39), ("f64", 5, 10), ("i32", 11, 17),
    ):
        yield "%d times %d of %s" % (times, width, kind), kind, repeated(rng, kind, times, width, width % 2)
    for kind, width, places in (
        ("f32", 1, 8), ("f32", 5, 16), ("i32", 16, 19), ("f32", 17, 8), ("f32", 31, 33), ("i32", 32, 16), ("f32", 47, 100), ("f32", 48, 9), ("i32", 49, 40), ("f32", 64, 16),
        ("f32", 65, 24), ("i32", 81, 17), ("f32", 97, 20), ("f32", 128, 16), ("i32", 129, 30), ("f16", 20, 18), ("f64", 20, 18), ("i8", 64, 35),
    ):
        yield "%d of %d of %s" % (places, width, kind), kind, picked(rng, kind, width, places, places % 2)
    yield "latent", "f32", latent(rng)
    yield "heads", "i32", heads(rng, "i32", 1040)
    yield "heads of halves", "f16", heads(rng, "f16", 1040)
    for n in 1, 7, 16, 67, 1031:
        yield "functions of %d doubles" % n, "ulps", of_doubles(rng, n, n == 67)
    for trees, rows, classes, aggregate in (
        (1, 150, 1, "SUM"), (1, 3, 2, "SUM"), (2, 64, 1, "SUM"), (3, 77, 2, "MAX"), (4, 33, 1, "SUM"), (7, 19, 3, "MIN"),
        (16, 50, 1, "SUM"), (18, 31, 1, "SUM"), (33, 16, 1, "MAX"), (70, 37, 2, "SUM"), (5, 20, 200, "SUM"),
    ):
        yield "%d trees, %d rows, %s of %d" % (trees, rows, aggregate, classes), "f32", forest(rng, "f32", trees, rows, classes, aggregate, rows % 2)
    yield "6 trees, f64", "f64", forest(rng, "f64", 6, 21, 2, "SUM", True)


def heads(rng, kind, rows):
    """Two axes in front of short runs change places, beyond the caches: as blocks of rows."""
    x = elements(rng, kind, (2, rows, 8, 64))
    text = """graph @g(%%x: %s[2,%d,8,64]) -> (%%y) {
  %%y = Transpose(%%x) {perm=[0,2,1,3]}
}
""" % (kind, rows)
    return text, {"x": x}, {"y": np.transpose(x, (0, 2, 1, 3)).astype(np.float64)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    bmc = harness.needs_bmc(args.bmc)
    tally = harness.Tally()
    work = os.path.join(harness.WORK, "lanes")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    for name, kind, (text, feeds, want) in cases(np.random.default_rng(args.seed)):
        for label, got in answers(tally, bmc, work, name, text, feeds):
            for k, w in want.items():
                if kind == "ulps":
                    off = ulps(got[k], w)
                    tally.check("%s: %s" % (label, k), off < 3 if w.dtype == LONG else off == 0, off)
                    continue
                y = got[k].astype(np.float64)
                if not tally.check("%s: %s, shape" % (label, k), y.shape == w.shape, y.shape):
                    continue
                tally.check("%s: %s, NaN" % (label, k), np.array_equal(np.isnan(y), np.isnan(w)))
                off = np.nanmax(np.abs(y - w)) / (np.nanmax(np.abs(w)) or 1)
                tally.check("%s: %s" % (label, k), off <= CLOSE.get(kind, 0), off)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
