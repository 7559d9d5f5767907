#!/usr/bin/env python3
"""The structural decisions, each shown on compiled artifacts:   decisions.py [--bmc FILE]

Text tests show what the IRs mean (tests/run, tests/kir, tests/passes); this program shows what reaches the user: every
stage can be written, edited by hand and continued from; state that lives across runs; the same bits for any number of
threads; errors that name the node; weights beside the artifact; debug information; several models in one process.
"""

import argparse
import os
import re
import shutil
import threading

import numpy as np
import onnx
import onnx.numpy_helper
from onnx import TensorProto, helper, numpy_helper, save

import harness
import bmc_ctypes
from bmc_ctypes import E_CAPACITY, E_INDEX, Loaded, ModelError, as_array, empty_output, tensor
from decisions_lanes import apart, fetched, turned
from harness import WORK, run

COUNTER = """bir 1
alias "count" -> "next"
graph @main(%count: f32[4], %x: f32[4]) -> (%next, %twice) {
  %next = Add(%count, %x)
  %two = const f32[] splat(2)
  %twice = Mul(%count, %two)
}
"""

GEMM = """bir 1
sym M entry input 0 axis 0 lo 0
graph @main(%x: f32[M,96]) -> (%y) {
  %w = const f32[96,80] hex""  ; replaced below
  %y = MatMul(%x, %w)
}
"""

DATA = """bir 1
sym N entry input 0 axis 0 lo 0
sym K entry input 1 axis 0 lo 0
graph @main(%x: f32[N], %i: i64[K]) -> (%picked, %where) {
  %picked = Gather(%x, %i) !7 "pick" (Gather)
  %where = NonZero(%x) !8 "where" (NonZero)
}
"""

REDUCE = """bir 1
sym N entry input 0 axis 0 lo 0
graph @main(%x: f32[N,333]) -> (%s, %p, %m) {
  %axes = const i64[1] [1]
  %s = ReduceSum(%x, %axes)
  %p = Softmax(%x)
  %w = const f32[333,45] splat(0.37)
  %m = MatMul(%x, %w)
}
"""


class Bench:
    def __init__(self, bmc, tally, work):
        self.bmc, self.tally, self.work = bmc, tally, work

    def path(self, name):
        return os.path.join(self.work, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)

    def compile(self, source, out, *flags):
        ran = run([self.bmc, self.path(source), "-o", self.path(out)] + list(flags))
        return self.tally.check("%s -> %s %s" % (source, out, " ".join(flags)), ran.status == 0, ran.brief())


def state(t):
    """D7: an output written to an input's memory; the old value stays readable to the end of the run."""
    t.write("counter.bir", COUNTER)
    if not t.compile("counter.bir", "counter.so"):
        return
    model = Loaded(t.path("counter.so"), threads=2)
    count, x = np.zeros(4, np.float32), np.arange(4, dtype=np.float32)
    for step in range(5):
        before = count.copy()
        twice = np.empty(4, np.float32)
        outputs = [tensor(count), tensor(twice)]
        status = model.raw_run([tensor(count), tensor(x)], outputs)
        ok = status == 0 and np.array_equal(count, before + x) and np.array_equal(twice, 2 * before)
        t.tally.check("state owned by the caller, run %d" % step, ok, (model.message(), count, twice))
    for step in range(3):
        own, nothing = empty_output(), np.zeros(4, np.float32)
        state_in = tensor(nothing)
        state_in.data, state_in.bytes = None, 0
        outputs = [own, empty_output()]
        status = model.raw_run([state_in, tensor(x)], outputs)
        got = as_array(outputs[0]) if status == 0 else None
        want = (step + 1) * x
        t.tally.check("state kept by the context, run %d" % step, status == 0 and np.array_equal(got, want), (model.message(), got))
    model.close()


def stages(t):
    """D16: .bir and .kir continue to the same answers; a tile size edited by hand compiles and is still right."""
    rng = np.random.default_rng(1)
    w = rng.integers(-8, 8, (96, 80)).astype(np.float32)
    text = GEMM.replace('hex""  ; replaced below', "[%s]" % ",".join("%g" % v for v in w.ravel()))
    t.write("gemm.bir", text)
    x = rng.integers(-8, 8, (37, 96)).astype(np.float32)
    want = x @ w
    names = ["gemm.so"]
    t.compile("gemm.bir", "gemm.so", "-O2")
    if t.compile("gemm.bir", "grouped.bir") and t.compile("grouped.bir", "grouped.so"):
        names.append("grouped.so")
    if t.compile("gemm.bir", "gemm.kir") and t.compile("gemm.kir", "again.so"):
        names.append("again.so")
        kir = open(t.path("gemm.kir")).read()
        for tile in ("1x1", "2x2", "3x4", "12x2", "5x3"):
            edited, n = re.subn(r"\btile\(\d+, \d+\)", "tile(%s)" % tile.replace("x", ", "), kir)
            if not t.tally.check("the .kir names its tile", n > 0):
                break
            t.write("tile_%s.kir" % tile, edited)
            if t.compile("tile_%s.kir" % tile, "tile_%s.so" % tile):
                names.append("tile_%s.so" % tile)
    for name in names:
        if os.path.exists(t.path(name)):
            for threads in (1, 3):
                got = list(Loaded(t.path(name), threads=threads).run({"x": x}).values())[0]
                t.tally.check("%s, %d threads" % (name, threads), np.array_equal(got, want))
    for out in ("gemm.s", "gemm.ll", "gemm.o", "gemm.a"):
        if t.compile("gemm.bir", out):
            t.tally.check(out + " is there", os.path.getsize(t.path(out)) > 0)
    once, twice = t.path("once.kir"), t.path("twice.kir")
    if t.compile("gemm.kir", "once.kir", "--passes=") and t.compile("once.kir", "twice.kir", "--passes="):
        same = open(once).read().replace("once", "") == open(twice).read().replace("once", "")
        t.tally.check(".kir read and written again is the same", same)
    # a mode goes through both text forms; the command line's goes over the text's
    if t.compile("gemm.bir", "strict.bir", "--math=strict") and t.compile("strict.bir", "strict.kir"):
        t.compile("strict.kir", "kept.kir", "--passes=")
        t.compile("strict.bir", "flushed.kir", "--math=default")
        for name, flush in (("strict.kir", False), ("kept.kir", False), ("flushed.kir", True), ("gemm.kir", True)):
            t.tally.check("denormals in " + name, ("option flush_denormals" in open(t.path(name)).read()) == flush)


def errors(t):
    """D10: a bad index inside a parallel kernel is an error that names the node, and the next run is fine; data-dependent outputs."""
    t.write("data.bir", DATA)
    for flags in (["-O0"], ["-O2"]):
        if not t.compile("data.bir", "data.so", *flags):
            continue
        for threads in (1, 2, 7):
            model = Loaded(t.path("data.so"), threads=threads)
            x = np.zeros(1000, np.float32)
            x[::3] = 1
            index = np.arange(5000, dtype=np.int64) % 1000
            got = model.run({"x": x, "i": index})
            label = "%s, %d threads: " % (flags[0], threads)
            t.tally.check(label + "Gather", np.array_equal(got["picked"], x[index]))
            t.tally.check(label + "NonZero", np.array_equal(got["where"], np.stack(np.nonzero(x))))
            index[1234], index[4321] = -1001, 1000
            try:
                model.run({"x": x, "i": index})
                t.tally.check(label + "an index out of range is refused", False)
            except ModelError as e:
                t.tally.check(label + "the error names the node", e.status == E_INDEX and "pick" in e.message and "Gather" in e.message, e)
            index[1234], index[4321] = -1000, 999
            again = model.run({"x": x, "i": index})
            t.tally.check(label + "the context goes on", np.array_equal(again["picked"], x[index]))
            small = np.empty((1, 3), np.int64)
            outputs = [empty_output(), tensor(small)]
            status = model.raw_run([tensor(x), tensor(index)], outputs)
            t.tally.check(label + "a result that does not fit says what it needs",
                          status == E_CAPACITY and list(outputs[1].dim[:2]) == [1, 334] and outputs[1].bytes == 334 * 8, (status, list(outputs[1].dim[:2])))
            model.close()


def bits(t):
    """D9: the same bits for any number of threads, also in what sums."""
    t.write("reduce.bir", REDUCE)
    x = np.random.default_rng(3).standard_normal((41, 333)).astype(np.float32)
    for flags in ([], ["--cpu=x86-64-v3"], ["--cpu=x86-64"]):
        if not t.compile("reduce.bir", "reduce.so", *flags):
            continue
        base = None
        for threads in (1, 2, 3, 7):
            got = Loaded(t.path("reduce.so"), threads=threads).run({"x": x})
            base = base or got
            same = all(got[k].tobytes() == base[k].tobytes() for k in got)
            t.tally.check("%s, %d threads: the same bits" % (flags or "native", threads), same)
        exact = x.astype(np.float64)
        t.tally.check("%s: the sums are right" % (flags or "native"), np.allclose(base["s"][:, 0], exact.sum(1), rtol=1e-5, atol=1e-4))


FILTER = """bir 1
sym H entry input 0 axis 2 lo 0
sym W entry input 0 axis 3 lo 0
graph @main(%%x: f32[2,%(ic)d,H,W], %%r: f32[2,%(oc)d,H,W]) -> (%%y, %%p) {
  %%w = const f32[%(oc)d,%(ic)d,3,3] [%(w)s]
  %%b = const f32[%(oc)d] splat(-0.25)
  %%c = Conv(%%x, %%w, %%b) {pads=[1,0,1,2], winograd=%(m)d}
  %%y = Relu(%%c)
  %%d = Conv(%%x, %%w) {pads=[1,0,1,2], winograd=%(m)d}
  %%s = Add(%%d, %%r)
  %%p = MaxPool(%%s) {kernel_shape=[2,2], strides=[2,2]}
}
"""


def filtering(t):
    """Minimal filtering: right answers for sizes of all kinds, the same bits for any number of threads."""
    rng = np.random.default_rng(4)
    for ic, oc, flags in ((20, 72, ["-O2"]), (20, 72, ["--cpu=x86-64-v3"]), (3, 33, ["-O0"]), (5, 16, ["--cpu=x86-64"])):
        w = rng.standard_normal((oc, ic, 3, 3)).astype(np.float32)
        text = ",".join("%.9g" % v for v in w.ravel())
        for m in (2, 4):
            t.write("filter.bir", FILTER % {"ic": ic, "oc": oc, "m": m, "w": text})
            artifact = "filter%d_%d%s.so" % (m, ic, flags[0].strip("-").replace("=", "_"))  # loaded once per name
            if not t.compile("filter.bir", artifact, "--math=fast", *flags):
                continue
            models = [Loaded(t.path(artifact), threads=threads) for threads in (1, 2, 3, 7)]
            for height, width in ((1, 1), (4, 5), (13, 14), (23, 31)):
                x = rng.standard_normal((2, ic, height, width)).astype(np.float32)
                r = rng.standard_normal((2, oc, height, width)).astype(np.float32)
                got = [model.run({"x": x, "r": r}) for model in models]
                padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (0, 2)))
                want = sum(
                    np.einsum("nchw,oc->nohw", padded[:, :, a : a + height, b : b + width], w[:, :, a, b], optimize=True)
                    for a in range(3)
                    for b in range(3)
                )
                pooled = (want + r)[:, :, : height // 2 * 2, : width // 2 * 2]
                pooled = pooled.reshape(2, oc, height // 2, 2, width // 2, 2).max((3, 5))
                for out, exact in (("y", np.maximum(want - 0.25, 0)), ("p", pooled)):
                    name = "%s m=%d %dx%d %s" % (out, m, height, width, flags)
                    all_got = [g[out] for g in got]
                    error = np.abs(all_got[0] - exact).max(initial=0)
                    t.tally.check(name, all_got[0].shape == exact.shape and error <= 1e-5 * max(1, np.abs(exact).max(initial=0)))
                    t.tally.check(name + ": the same bits", all(g.tobytes() == all_got[0].tobytes() for g in all_got))


FILTER_ROWS = """bir 1
graph @main(%%x: f32[2,%(c)d,%(h)d,%(w)d]) -> (%%y, %%p) {
  %%w = const f32[%(c)d,%(c)d,3,3] hex "%(hex)s"
  %%y = Conv(%%x, %%w) {pads=[1,1,1,1], winograd=2}
  %%p = MaxPool(%%y) {kernel_shape=[2,2], strides=[2,2]}
}
"""


def filtering_rows(t):
    """Weights that push out of L2 what a block computes: its planes come in turns of one row of the tile."""
    rng = np.random.default_rng(5)
    v3 = "--cpu=x86-64-v3"  # which is told a size of L2; the machine's own may hold everything
    for c, h, w, flags in ((256, 10, 9, ["-O2"]), (184, 9, 16, [v3]), (184, 13, 12, [v3, "-O0"])):
        k = rng.standard_normal((c, c, 3, 3)).astype("<f4")
        t.write("rows.bir", FILTER_ROWS % {"c": c, "h": h, "w": w, "hex": k.tobytes().hex()})
        artifact = "rows%d.so" % h  # loaded once per name
        if not t.compile("rows.bir", artifact, *flags) or not t.compile("rows.bir", "rows.kir", *flags):
            continue
        if v3 in flags:
            with open(t.path("rows.kir")) as f:
                t.tally.check("%s: row by row" % flags, "parts" in f.read())
        x = rng.standard_normal((2, c, h, w)).astype(np.float32)
        got = [Loaded(t.path(artifact), threads=threads).run({"x": x}) for threads in (1, 2, 3)]
        padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
        want = sum(
            np.einsum("nchw,oc->nohw", padded[:, :, a : a + h, b : b + w], k[:, :, a, b], optimize=True)
            for a in range(3)
            for b in range(3)
        )
        pooled = want[:, :, : h // 2 * 2, : w // 2 * 2].reshape(2, c, h // 2, 2, w // 2, 2).max((3, 5))
        for out, exact in (("y", want), ("p", pooled)):
            name = "%s, %d channels, %dx%d %s" % (out, c, h, w, flags)
            error = np.abs(got[0][out] - exact).max()
            t.tally.check(name, got[0][out].shape == exact.shape and error <= 1e-5 * np.abs(exact).max())
            t.tally.check(name + ": the same bits", all(g[out].tobytes() == got[0][out].tobytes() for g in got))


PANELS = """bir 1
graph @main(%%x: f32[%(m)d,%(k)d], %%i: f32[1,%(k)d,1,%(m)d]) -> (%%y, %%z, %%c) {
  %%w = const f32[%(k)d,%(n)d] hex"%(w)s"
  %%v = const f32[%(n)d,%(k)d] hex"%(v)s"
  %%f = const f32[%(n)d,%(k)d,1,1] hex"%(v)s"
  %%zero = const f32[%(n)d] splat(0)
  %%y = MatMul(%%x, %%w)
  %%z = Gemm(%%x, %%v, %%zero) {transB=1}
  %%c = Conv(%%i, %%f)
}
"""


TIED = """bir 1
graph @main(%%x: f32[1,256], %%i: i64[4]) -> (%%y, %%rows) {
  %%w = const f32[256,128] hex"%s"
  %%y = MatMul(%%x, %%w)
  %%rows = Gather(%%w, %%i)
}
"""


BLOCKS = """bir 1
graph @main(%%x: f32[n,384]) -> (%%y) {
  %%w = const f32[384,%d] splat(0.1)
  %%y = MatMul(%%x, %%w)
}
"""


def blocks(t):
    """The strips of the next block of columns are fetched while the rows of a run-time number pass, by two lines a step where two tiles share them."""
    for n, some in (1536, True), (64, False):
        stem = "blocks%d" % n
        t.write(stem + ".bir", BLOCKS % n)
        if t.compile(stem + ".bir", stem + ".kir") and t.compile(stem + ".bir", stem + ".s", "--cpu=x86-64-v4", "--threads=off"):
            with open(t.path(stem + ".kir")) as f, open(t.path(stem + ".s")) as g:
                t.tally.check("%s: what follows a block" % stem, (" next(" in f.read()) == some)
                t.tally.check("%s: the line behind it" % stem, (re.search(r"prefetcht1\s+64\(", g.read()) is not None) == some)


def panels(t):
    """Constants that a few rows meet lie in panels as wide as a tile where caches hold them, one stream each; what more rows meet, in strips."""
    rng = np.random.default_rng(8)
    for m, k, n, flags, some in (
        (1, 301, 128, [], True), (3, 301, 128, ["--cpu=x86-64-v3"], True), (1, 500, 192, ["--cpu=x86-64-v3"], True),
        (1, 301, 80, [], False), (9, 301, 128, [], False), (1, 64, 64, [], False), (1, 700, 512, ["--cpu=x86-64-v3"], False),
    ):
        w, v = (rng.standard_normal(shape).astype("<f4") for shape in ((k, n), (n, k)))
        stem = "panels%d_%d_%d" % (m, k, n)
        t.write(stem + ".bir", PANELS % {"m": m, "k": k, "n": n, "w": w.tobytes().hex(), "v": v.tobytes().hex()})
        if not t.compile(stem + ".bir", stem + ".so", *flags) or not t.compile(stem + ".bir", stem + ".kir", *flags):
            continue
        with open(t.path(stem + ".kir")) as f:
            t.tally.check("%s: panels" % stem, ("bstrip=16)" in f.read()) == some)
        x, i = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (1, k, 1, m)))
        got = [Loaded(t.path(stem + ".so"), threads=threads).run({"x": x, "i": i}) for threads in (1, 2)]
        wide = [a.astype(np.float64) for a in (x, w, v, i)]
        for out, want in (("y", wide[0] @ wide[1]), ("z", wide[0] @ wide[2].T), ("c", np.einsum("bkhm,nk->bnhm", wide[3], wide[2]))):
            error = np.abs(got[0][out] - want).max()
            t.tally.check("%s: %s" % (stem, out), error <= 1e-5 * np.abs(want).max())
            t.tally.check("%s: %s, the same bits" % (stem, out), got[0][out].tobytes() == got[1][out].tobytes())
        if m == 1 and t.compile(stem + ".bir", stem + ".s", "--cpu=znver5", "--threads=off"):
            with open(t.path(stem + ".s")) as f:
                t.tally.check("%s: fetched ahead from behind L2" % stem, ("prefetcht0" in f.read()) == (k * n > 300000))
    t.write("tied.bir", TIED % rng.standard_normal((256, 128)).astype("<f4").tobytes().hex())
    if t.compile("tied.bir", "tied.kir"):
        with open(t.path("tied.kir")) as f:
            text = f.read()
        t.tally.check("tied: in strips, stored once", "bstrip=16)" not in text and text.count("f32[32768] const") == 1 and "f32[256,128] const" not in text)


NARROW = """bir 1
sym M entry input 0 axis 0 lo 1
graph @main(%%x: f32[M,%(k)d], %%i: f32[1,%(k)d,5,8]) -> (%%y, %%o) {
  %%w = const f32[%(k)d,%(n)d] [%(w)s]
  %%c = const f32[%(n)d,%(k)d,1,1] [%(c)s]
  %%f = const f32[%(n)d,%(k)d,3,3] [%(f)s]
  %%y = MatMul(%%x, %%w) !0 "product"
  %%p = Conv(%%i, %%c)
  %%q = Conv(%%i, %%f) {pads=[1,1,1,1], strides=[2,1]}
  %%r = ReduceMean(%%q) {keepdims=1}
  %%o = Add(%%p, %%r)
}
"""


def bf16_of(x):
    """Rounded to nearest even, as float32."""
    u = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((u + 0x7FFF + (u >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def narrow(t):
    """--math=bf16: the error of operands rounded to bf16 and no other, the same bits for any number of threads; weights of
    half the size; a node that opts out has the numbers of the default mode."""
    rng = np.random.default_rng(5)
    targets = [["-O2"], ["-O0"], ["--cpu=x86-64-v3"], ["--cpu=x86-64"]]
    for k, n in ((64, 96), (33, 20), (301, 7)):
        w = rng.standard_normal((k, n)).astype(np.float32)
        c = rng.standard_normal((n, k)).astype(np.float32)
        f = rng.standard_normal((n, k, 3, 3)).astype(np.float32)
        text = {a: ",".join("%.9g" % v for v in b.ravel()) for a, b in (("w", w), ("c", c), ("f", f))}
        t.write("narrow.bir", NARROW % dict(text, k=k, n=n))
        for number, flags in enumerate(targets):
            stem = "narrow%d_%d" % (k, number)
            modes = {"bf16": ["--math=bf16"], "default": [], "out": ["--math=bf16", "--math", "product=default"]}
            if not all([t.compile("narrow.bir", "%s%s.so" % (stem, m), *(f + flags)) for m, f in modes.items()]):
                continue
            run = {m: [Loaded(t.path("%s%s.so" % (stem, m)), threads=h) for h in (1, 3)] for m in modes}
            for rows in (1, 5, 70):
                x = rng.standard_normal((rows, k)).astype(np.float32)
                i = rng.standard_normal((1, k, 5, 8)).astype(np.float32)
                got = {m: [model.run({"x": x, "i": i}) for model in run[m]] for m in modes}
                name = "bf16 %dx%dx%d %s" % (rows, n, k, flags)
                for m in modes:
                    same = all(g[o].tobytes() == got[m][0][o].tobytes() for g in got[m] for o in ("y", "o"))
                    t.tally.check("%s, %s: the same bits" % (name, m), same)
                want = x.astype(np.float64) @ w
                y = got["bf16"][0]["y"].astype(np.float64)
                half = x.astype(np.float64) @ bf16_of(w)  # operands of one side rounded, and of both
                both = bf16_of(x).astype(np.float64) @ bf16_of(w)
                error = np.abs(y - want).max() / np.abs(want).max()
                t.tally.check("%s: error %.2e" % (name, error), error <= 2**-7)
                exact = min(np.abs(y - half).max(), np.abs(y - both).max()) / np.abs(want).max()
                t.tally.check("%s: %.2e from rounded operands" % (name, exact), exact <= 1e-5)
                t.tally.check(name + ": not the default's numbers", got["default"][0]["y"].tobytes() != got["bf16"][0]["y"].tobytes())
                t.tally.check(name + ": opted out", got["default"][0]["y"].tobytes() == got["out"][0]["y"].tobytes())
                o, plain = got["bf16"][0]["o"], got["default"][0]["o"]
                error = np.abs(o - plain).max() / np.abs(plain).max()
                t.tally.check("%s: convolutions, error %.2e" % (name, error), error <= 2**-7)


def halves(t):
    """--math=fast: large weights that few rows meet are stored as f16 and give the numbers of weights rounded to f16; not
    where rows are many, where f16 does not hold the weights, nor in a node that opts out or another mode."""
    rng = np.random.default_rng(6)
    k, n = 1030, 516
    plain = rng.standard_normal((k, n)).astype(np.float32)
    plain[:, 0] *= 1e-6  # below the normal numbers of f16
    large = plain.copy()
    large[3, 5] = 7e4
    fast = ["--math=fast"]
    cases = (  # rows, weights, flags, as f16?
        ("fixed", 3, plain, fast, True), ("batch", "N", plain, fast, True), ("O0", 3, plain, fast + ["-O0"], True),
        ("avx2", 3, plain, fast + ["--cpu=x86-64-v3"], True), ("baseline", 3, plain, fast + ["--cpu=x86-64"], False),
        ("many", 40, plain, fast, False), ("large", 3, large, fast, False), ("tiny", 3, plain * np.float32(1e-5), fast, False),
        ("default", 3, plain, [], False), ("out", 3, plain, fast + ["--math", "product=default"], False),
    )  # fmt: skip
    for name, rows, w, flags, half in cases:
        node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
        x_info, y_info = (helper.make_tensor_value_info(v, TensorProto.FLOAT, [rows, c]) for v, c in (("x", k), ("y", n)))
        graph = helper.make_graph([node], "halves", [x_info], [y_info], [numpy_helper.from_array(w, "w")])
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), t.path("halves.onnx"))
        artifact = "halves_%s.so" % name
        if not t.compile("halves.onnx", artifact, *flags):
            continue
        x = rng.standard_normal((rows if rows != "N" else 2, k)).astype(np.float32)
        got = [Loaded(t.path(artifact), threads=h).run({"x": x})["y"] for h in (1, 3)]
        want = x.astype(np.float64) @ (w.astype(np.float16) if half else w).astype(np.float64)
        error = np.abs(got[0] - want).max() / np.abs(want).max()
        t.tally.check("f16 weights, %s: error %.2e" % (name, error), error <= 5e-6)
        t.tally.check("f16 weights, %s: the same bits" % name, got[0].tobytes() == got[1].tobytes())
        small = os.path.getsize(t.path(artifact)) < 3 * k * n
        t.tally.check("f16 weights, %s: stored in half the bytes: %s" % (name, small), small == half)


def matrix_registers(t):
    """--math=bf16 for a CPU with AMX: the products are there, their loop keeps nothing on the stack, and a machine without
    it is told so. (test_contract runs such code, on any CPU.)"""
    rng = np.random.default_rng(6)
    k, n = 64, 96
    text = {a: ",".join("%.3g" % v for v in rng.standard_normal(c)) for a, c in (("w", k * n), ("c", k * n), ("f", 9 * k * n))}
    t.write("matrix.bir", NARROW % dict(text, k=k, n=n))
    cpu = "--cpu=sapphirerapids"
    for stem, flags, some in (("amx", ["--math=bf16"], True), ("amx0", ["--math=bf16", "-O0"], True), ("plain", [], False)):
        if not t.compile("matrix.bir", stem + ".s", cpu, *flags):
            continue
        blocks = open(t.path(stem + ".s")).read().split(":\n")
        loops = [b for b in blocks if "tdpbf16ps" in b]
        t.tally.check("%s: %d blocks with matrix products" % (stem, len(loops)), bool(loops) == some)
        stack = [line for b in loops for line in b[: b.rindex("tdpbf16ps")].splitlines() if "tile" in line and "sp" in line]
        t.tally.check(stem + ": no register on the stack in a loop", not stack, stack[:3])
    if t.compile("matrix.bir", "amx.so", cpu, "--math=bf16") and not amx_here():
        ran = run([t.bmc, "run", t.path("amx.so"), "--input", "x=zeros", "--input", "i=zeros"])
        t.tally.check("a CPU without AMX is told", ran.status == 1 and ("AMX" in ran.brief() or "missing here" in ran.brief()), ran.brief())


PICK = """bir 1
graph @main(%x: f32[N,6], %i: i64[M]) -> (%y) {
  %y = Gather(%x, %i) {axis=0} !1 "pick" (Gather)
}
"""


def unchecked(t):
    """--unchecked leaves out the checks of indices and nothing else: the same numbers for good ones; without it a bad one
    is an error that names the node, the index and its bound."""
    t.write("pick.bir", PICK)
    rng = np.random.default_rng(8)
    x, i = rng.standard_normal((5, 6)).astype(np.float32), rng.integers(-5, 5, 9)
    got = {}
    for stem, flags in (("checked", []), ("unchecked", ["--unchecked"])):
        if not (t.compile("pick.bir", stem + ".kir", *flags) and t.compile("pick.bir", stem + ".so", *flags)):
            return
        with open(t.path(stem + ".kir")) as f:
            text = f.read()
        t.tally.check(stem + ": checks in the code", ("record " in text) == (stem == "checked"))
        t.tally.check(stem + ": the text says so", ("option unchecked" in text) == (stem == "unchecked"))
        got[stem] = Loaded(t.path(stem + ".so")).run({"x": x, "i": i})["y"]
        t.tally.check(stem + ": right", np.array_equal(got[stem], x[i]))
    for bad in (5, -6):
        try:
            Loaded(t.path("checked.so")).run({"x": x, "i": np.array([0, bad])})
            t.tally.check("index %d ends the run" % bad, False)
        except ModelError as e:
            said = e.status == E_INDEX and "pick" in str(e) and str(bad) in str(e) and "5" in str(e)
            t.tally.check("index %d ends the run" % bad, said, e)


def tables(t):
    """A table that is looked up and multiplied, transposed or not, is in the file once, and the numbers are the same as
    with two copies (-O0)."""
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(7)
    rows, width = 3000, 72
    w = rng.standard_normal((rows, width)).astype(np.float32)
    ids = rng.integers(-rows, rows, 29)
    for stem, nodes in (
        ("tied_t", [helper.make_node("Transpose", ["w"], ["v"], perm=[1, 0]), helper.make_node("MatMul", ["e", "v"], ["y"])]),
        ("tied_n", [helper.make_node("Gemm", ["e", "w"], ["y"], transB=1)]),
    ):
        graph = helper.make_graph(
            [helper.make_node("Gather", ["w", "i"], ["e"])] + nodes,
            stem,
            [helper.make_tensor_value_info("i", TensorProto.INT64, ["n"])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", rows])],
            [numpy_helper.from_array(w, "w")],
        )
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), t.path(stem + ".onnx"))
        if not (t.compile(stem + ".onnx", stem + ".so") and t.compile(stem + ".onnx", stem + "0.so", "-O0")):
            continue
        size = os.path.getsize(t.path(stem + ".so"))
        t.tally.check("%s: %d bytes for a table of %d" % (stem, size, w.nbytes), size < 1.02 * w.nbytes + (1 << 18))
        got, plain = (Loaded(t.path(stem + o + ".so"), threads=2).run({"i": ids})["y"] for o in ("", "0"))
        want = w[ids].astype(np.float64) @ w.T.astype(np.float64)
        t.tally.check(stem + ": right", np.abs(got - want).max() <= 1e-5 * np.abs(want).max())
        t.tally.check(stem + ": as with two copies", got.tobytes() == plain.tobytes())


EYE = """bir 1
graph @main(%x: f32[1100,1000]) -> (%y, %z) {
  %y = EyeLike(%x) {k=-100}
  %zero = const f32[1] [0]
  %shape = const i64[2] [1100,1000]
  %z = Expand(%zero, %shape)
}
"""


def zeros(t):
    """Zeros beyond L2 are the C library's to write: into memory that holds something else, by one thread and by two."""
    t.write("eye.bir", EYE)
    if t.compile("eye.bir", "eye.s", "--cpu=x86-64-v4"):
        t.tally.check("zeros by memset", "memset" in open(t.path("eye.s")).read())
    if not t.compile("eye.bir", "eye.so"):
        return
    x = np.zeros((1100, 1000), np.float32)
    for threads in (1, 2):
        model = Loaded(t.path("eye.so"), threads)
        ins, outs = (bmc_ctypes.Value * 1)(bmc_ctypes.tensor(x)), (bmc_ctypes.Value * 2)(empty_output(), empty_output())
        memory = [np.full((1100, 1000), 7, np.float32) for _ in outs]
        for v, a in zip(outs, memory):
            v.data, v.bytes, v.flags = a.ctypes.data, a.nbytes, 0
        status = model.table.run(model.ctx.value, bmc_ctypes.ctypes.addressof(ins), bmc_ctypes.ctypes.addressof(outs))
        right = np.array_equal(memory[0], np.eye(1100, 1000, -100, np.float32)) and not memory[1].any()
        t.tally.check("zeros, %d threads" % threads, status == 0 and right, model.message())


def amx_here():
    with open("/proc/cpuinfo") as f:
        return "amx_bf16" in f.read()


TWO = """bir 1
graph @main(%x: f32[1,32,24,24]) -> (%y) {
  %w = const f32[64,32,3,3] splat(0.3)
  %v = const f32[32,64,3,3] splat(0.7)
  %c = Conv(%x, %w) {pads=[1,1,1,1]} !1 "wide" (Conv)
  %y = Conv(%c, %v) {pads=[1,1,1,1]} !2 "narrow" (Conv)
}
"""


def budget(t):
    """--weights-budget bounds what --stats counts; --math=strict leaves nothing to count; NODE=strict one less."""
    t.write("two.bir", TWO)
    each = 16 * 32 * 64 * 4
    for flags, want in (([], 2), (["--weights-budget=%d" % (2 * each)], 2), (["--weights-budget=%d" % (2 * each - 1)], 1),
                        (["--weights-budget=177%"], 1), (["--weights-budget=178%"], 2), (["--weights-budget=0"], 0),
                        (["--math=strict"], 0), (["--math", "wide=strict"], 1)):
        ran = run([t.bmc, t.path("two.bir"), "-o", t.path("two.so"), "--stats"] + flags)
        found = re.search(r"(\d+)  winograd: bytes of transformed weights", ran.err)
        t.tally.check("transformed weights %s" % flags, ran.status == 0 and int(found.group(1) if found else 0) == want * each, ran.brief())


def files(t):
    """D11, D13: weights in a file beside the artifact, found from anywhere; a file that is not the one compiled is refused."""
    digits = os.path.join(harness.TOP, "models", "digits", "digits.onnx")
    data = np.load(os.path.join(harness.TOP, "models", "digits", "digits.npy"))[:4].astype(np.float32).reshape(-1, 1, 8, 8)
    ran = run([t.bmc, digits, "-o", t.path("inside.so")])
    out = run([t.bmc, digits, "-o", t.path("beside.so"), "--weights=file"])
    if not t.tally.check("weights in a file", ran.status == 0 and out.status == 0, out.brief()):
        return
    inside = Loaded(t.path("inside.so")).run({"image": data})["probability"]
    beside = Loaded(t.path("beside.so")).run({"image": data})["probability"]
    t.tally.check("weights in a file: the same answers", np.array_equal(inside, beside))
    side = [f for f in os.listdir(t.work) if f.startswith("beside") and f != "beside.so"]
    t.tally.check("one file beside it", len(side) == 1, side)
    broken = t.path("broken")
    shutil.rmtree(broken, ignore_errors=True)
    os.makedirs(broken)
    shutil.copy(t.path("beside.so"), broken)
    for what, content in (("missing", None), ("another", b"x" * os.path.getsize(t.path(side[0])))):
        if content:
            with open(os.path.join(broken, side[0]), "wb") as f:
                f.write(content)
        ran = run([t.bmc, "run", os.path.join(broken, "beside.so")])
        t.tally.check("weights file %s: one clear message" % what, ran.status == 1 and side[0] in ran.err and len(ran.err.splitlines()) == 1, ran.brief())


def recipes(t):
    """D11: a large constant that a graph computes is computed by compiled code while the weights are written, a small one naively."""
    for rows, cols in ((300, 200), (1700, 1300)):
        w = np.random.default_rng(9).standard_normal((rows, cols)).astype("<f4")
        node = onnx.helper.make_node
        info = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            [node("Transpose", ["w"], ["t"]), node("Exp", ["t"], ["e"]), node("Add", ["e", "x"], ["y"])], "recipe",
            [info("x", onnx.TensorProto.FLOAT, [rows])], [info("y", onnx.TensorProto.FLOAT, [cols, rows])],
            [onnx.numpy_helper.from_array(w, "w")])
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8), t.path("recipe.onnx"))
        folded, plain = "recipe%d.so" % rows, "plain%d.so" % rows
        if not (t.compile("recipe.onnx", folded) and t.compile("recipe.onnx", plain, "-O0")):
            continue
        x = np.arange(rows, dtype=np.float32)
        want = np.exp(w.T.astype(np.float64)) + x
        for name in (folded, plain):
            got = Loaded(t.path(name)).run({"x": x})["y"]
            t.tally.check("%s: a constant of %d elements" % (name, w.size), np.allclose(got, want, rtol=1e-6), np.abs(got - want).max())
        t.tally.check("the constant is in the artifact", os.path.getsize(t.path(folded)) > w.nbytes)
        parts = [onnx.numpy_helper.from_array(a, name) for name, a in (
            ("w", w[None]), ("one", np.ones(rows, np.float32)), ("shift", np.arange(rows, dtype=np.float32)))]
        graph = onnx.helper.make_graph(  # five operands, three results, two of them used
            [node("BatchNormalization", ["w", "one", "shift", "shift", "one"], ["s", "m", "v"], training_mode=1, momentum=0.0),
             node("Add", ["s", "x"], ["y"]), node("Add", ["m", "x"], ["z"])], "recipe",
            [info("x", onnx.TensorProto.FLOAT, [1])], [info("y", onnx.TensorProto.FLOAT, [1, rows, cols]), info("z", onnx.TensorProto.FLOAT, [rows])],
            parts)
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8), t.path("results.onnx"))
        several = "results%d.so" % rows
        if not t.compile("results.onnx", several):
            continue
        got, wide = Loaded(t.path(several)).run({"x": np.zeros(1, np.float32)}), w.astype(np.float64)
        want = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5) + np.arange(rows)[:, None]
        t.tally.check("two results of one operator", np.allclose(got["y"][0], want, rtol=1e-6, atol=1e-5) and np.allclose(got["z"], wide.mean(1), atol=1e-6))
        t.tally.check("nothing is left to normalise", os.path.getsize(t.path(several)) > w.nbytes)


def debug(t):
    """D16: -g points into the .kir beside the artifact, by relative name."""
    digits = os.path.join(harness.TOP, "models", "digits", "digits.onnx")
    ran = run([t.bmc, digits, "-g", "-o", t.path("debug.so")])
    if not t.tally.check("-g", ran.status == 0, ran.brief()):
        return
    t.tally.check("-g writes the .kir", os.path.exists(t.path("debug.kir")))
    symbols = [line.split() for line in run(["nm", t.path("debug.so")]).out.splitlines()]
    kernels = [s for s in symbols if len(s) == 3 and re.match(r"k\d+_", s[2])]
    if not t.tally.check("kernels keep their names", kernels):
        return
    where = run(["addr2line", "-e", t.path("debug.so"), "0x" + kernels[0][0]]).out.strip()
    match = re.search(r"debug\.kir:(\d+)", where)
    t.tally.check("an address leads to a line of debug.kir", match, where)
    if match:
        line = open(t.path("debug.kir")).read().splitlines()[int(match.group(1)) - 1]
        name = re.sub(r"^k\d+_", "", kernels[0][2])
        t.tally.check("that line belongs to the kernel", "kernel @" in line or line.startswith("  "), (name, line))


def together(t):
    """D6, D13: contexts of several models at work at the same time in one process, each in a thread of its own."""
    t.write("reduce2.bir", REDUCE.replace("0.37", "0.91"))
    if not (t.compile("reduce.bir", "one.so", "--name=one") and t.compile("reduce2.bir", "two.so", "--name=two")):
        return
    x = np.random.default_rng(5).standard_normal((23, 333)).astype(np.float32)
    want = {name: Loaded(t.path(name)).run({"x": x}) for name in ("one.so", "two.so")}
    wrong = []

    def work(name):
        model = Loaded(t.path(name), threads=1)
        for _ in range(200):
            got = model.run({"x": x})
            if any(got[k].tobytes() != want[name][k].tobytes() for k in got):
                wrong.append(name)
                return

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one.so", "two.so", "one.so")]
    for th in threads:
        th.start()
    for th in threads:
        th.join()
    t.tally.check("three contexts of two models at once", not wrong, wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    args = parser.parse_args()
    work = os.path.join(WORK, "decisions")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    t = Bench(harness.needs_bmc(args.bmc), harness.Tally(), work)
    for part in (state, stages, errors, bits, filtering, filtering_rows, blocks, panels, budget, narrow, halves, matrix_registers, turned, apart, fetched, zeros, unchecked, tables, files, recipes, debug, together):
        try:
            part(t)
        except (ModelError, OSError, ValueError) as e:
            t.tally.check(part.__name__, False, repr(e))
    return t.tally.finish()


if __name__ == "__main__":
    raise SystemExit(main())
