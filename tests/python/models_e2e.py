#!/usr/bin/env python3
"""Whole models, compiled and run, against ONNX Runtime, stored outputs and evaluations in float64:

    models_e2e.py [--full] [--seed N] [--real DIR] [--only NAME,...] [--bmc PATH] [--seconds S]

Every model is compiled for -O0 and -O2, the native CPU and x86-64-v3, with and without OpenMP, with its dims as
exported and fixed by --dim and --shape; every such artifact runs on three inputs made from a fresh, printed seed, with
1, 2, 3 and 7 threads (or none; large models: 1 and 2). Per output tensor the error must stay below 1e-4 of the range of
the oracle's values, or of their largest magnitude where the tensor has fewer than 8 elements, or below 32 units in the
last place of the largest; two inputs must give answers that differ by more than 100 times that. In a net that quantises
what floats have summed, another order of summing moves some values to the neighbouring step and an output by a few: 8
are allowed (ONNX Runtime with and without its optimisations differs from itself, too). The bits must not depend on the
number of threads. Where DIR/../f64 has float64 results of a model, the accuracy contract holds: 4 times ONNX Runtime's
own error, or 32 units in the last place of the largest value.

Without --full the artifacts are visited in an order drawn from the seed, each small model at least once, one large
one, until the time is up. Models: e2e_models.py.
"""

import argparse
import hashlib
import itertools
import os
import random
import shutil
import sys
import time

import numpy as np
import onnxruntime

import e2e_models
import harness
from harness import TOP, run

THREADS, THREADS_LARGE = (1, 2, 3, 7), (1, 2)
TOLERANCE = 1e-4
DEFAULT_SECONDS = 100


# --- inputs and the oracles' answers
# ----------------------------------------------------------------------------------------------------------------


class Prepared:
    """A model, its inputs drawn from a seed, and what the answers must be."""

    def __init__(self, args, model, seed):
        self.model, self.name, self.path = model, model.name, model.path
        self.folder = os.path.join(args.work, model.name)
        os.makedirs(self.folder)
        rng = np.random.default_rng([seed, int(hashlib.sha256(self.name.encode()).hexdigest()[:8], 16)])
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        sources = [self.path, *model.perturbed(np.random.default_rng(seed))]
        self.session, *self.others = (
            onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"]) for source in sources
        )
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.fixed = model.sizes(rng, 1)
        self.cases = {"dynamic": [], "fixed": []}
        for mode in ("dynamic", "fixed") if model.symbols else ("dynamic",):
            for k in range(e2e_models.INPUTS):
                sizes = self.fixed if mode == "fixed" else model.sizes(rng, k)
                self.add(mode, "%s%d" % (mode, k), model.values(rng, sizes, k))
        for k, sizes in enumerate(model.extra if args.full else ()):
            self.add("dynamic", "extra%d" % k, model.values(rng, sizes, k))
        stored = model.stored_case()
        if stored:
            self.add("dynamic", "stored", stored[0], stored[1])
        self.add_float64(os.path.join(args.real, "..", "f64", self.name + ".npz"))
        del self.session, self.others

    def add(self, mode, label, feeds, want=None, bound=None):
        paths = {}
        for i, (name, value) in enumerate(feeds.items()):
            paths[name] = os.path.join(self.folder, "%s_%d.npy" % (label, i))
            np.save(paths[name], value)
        want = self.session.run(self.outputs, feeds) if want is None else want
        if bound is None and self.model.step:
            bound = [8 * self.model.step] * len(want)
        if bound is None and self.model.floor:
            bound = [max(allowed_error(y), self.model.floor) for y in want]
        others = [other.run(self.outputs, feeds) for other in self.others]
        self.cases[mode].append({"label": label, "paths": paths, "want": want, "bound": bound, "others": others})

    def add_float64(self, path):
        if not os.path.exists(path):
            return
        data = np.load(path)
        want = [data["out:" + o] for o in self.outputs]
        bound = []
        for name, y in zip(self.outputs, want):
            top = float(np.abs(y).max()) if y.size and y.dtype.kind == "f" else 0.0
            contract = max(4 * float(data["err_ort:" + name]), 32 * 2.0**-24 * top)
            bound.append(min(contract, TOLERANCE * top))
        self.add("dynamic", "float64", {k[3:]: data[k] for k in data.files if k.startswith("in:")}, want, bound)

    def distinct(self):
        """Some two inputs of one shape give different answers, so that a constant would not pass."""
        cases = self.cases["dynamic"] + self.cases["fixed"]
        for one, two in itertools.combinations(cases, 2):
            for a, b in zip(one["want"], two["want"]):
                if a.shape != b.shape or a.size == 0:
                    continue
                if a.dtype.kind != "f" and not np.array_equal(a, b):
                    return True
                if a.dtype.kind == "f" and np.abs(a.astype(np.float64) - b).max() > 100 * allowed_error(a):
                    return True
        return False


# --- one artifact
# -----------------------------------------------------------------------------------------------------------------


def scale_of(y):
    finite = y[np.isfinite(y)].astype(np.float64)
    if not finite.size:
        return 0.0
    return np.abs(finite).max() if finite.size < 8 else finite.max() - finite.min()


def allowed_error(want):
    top = np.abs(want[np.isfinite(want)]).max(initial=0.0)
    return max(TOLERANCE * scale_of(want), 32 * 2.0**-24 * top)


def error_of(got, want, bound=None):
    """None when `got` is right, else what is wrong with it. The bound: see the head of this file."""
    if (got.dtype != want.dtype and bound is None) or got.shape != want.shape:
        return "%s %s, expected %s %s" % (got.dtype, got.shape, want.dtype, want.shape)
    if want.size == 0:
        return None
    if not np.issubdtype(want.dtype, np.floating):
        return None if np.array_equal(got, want) else "%d elements differ" % np.count_nonzero(got != want)
    if not np.array_equal(np.isfinite(got), np.isfinite(want)):
        return "finite in other places"
    got, want = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True):
        return "infinities or NaNs differ"
    got, want = got[finite], want[finite]
    if not want.size:
        return None
    error, allowed = np.abs(got - want).max(), allowed_error(want) if bound is None else bound
    return None if error <= allowed else "error %.3g, allowed %.3g" % (error, allowed)


def read_outputs(folder, names):
    arrays = []
    for name in names:
        path = os.path.join(folder, harness.file_name(name) + ".npy")
        arrays.append(np.load(path, allow_pickle=False))
    return arrays


def run_case(args, tally, label, model, artifact, case, threads, folder):
    """Run one input; the outputs' digest when they are right, else None."""
    command = [args.bmc, "run", artifact, "--output-dir", folder]
    for name, path in case["paths"].items():
        command += ["--input", "%s=@%s" % (name, path)]
    if threads:
        command += ["--threads", str(threads)]
    ran = run(command, limit=300)
    name = "%s %s threads=%s" % (label, case["label"], threads or "off")
    if ran.status != 0:
        tally.check(name, False, ran.brief())
        return None
    try:
        got = read_outputs(folder, model.outputs)
    except (OSError, ValueError) as error:
        tally.check(name, False, error)
        return None
    bounds = case["bound"] or [None] * len(got)
    verdict = model.model.compare(got, case["want"], case["others"])
    if verdict is NotImplemented:
        errors = map(error_of, got, case["want"], bounds)
        verdict = "; ".join("%s: %s" % (o, e) for o, e in zip(model.outputs, errors) if e)
    return (
        hashlib.sha256(b"".join(a.tobytes() for a in got)).hexdigest()
        if tally.check(name, not verdict, verdict)
        else None
    )


def check_artifact(args, tally, model, level, cpu, threaded, mode):
    """Compile once, run on every input with every number of threads."""
    label = "%s %s cpu=%s %s%s" % (model.name, level, cpu, mode, "" if threaded else " threads=off")
    folder = os.path.join(args.work, label.replace(" ", "_").replace("=", "-"))
    os.makedirs(folder)
    artifact = os.path.join(folder, "model.so")
    command = [args.bmc, model.path, "-o", artifact, level, "--cpu=" + cpu]
    command += [] if threaded else ["--threads=off"]
    command += model.model.flags(model.fixed) if mode == "fixed" else []
    ran = run(command, limit=300)
    if not tally.check(label + " compiles", ran.status == 0 and os.path.exists(artifact), ran.brief()):
        return
    for case in model.cases[mode]:
        digests = {}
        for threads in (THREADS_LARGE if model.model.large else THREADS) if threaded else (0,):
            digests[threads] = run_case(args, tally, label, model, artifact, case, threads, os.path.join(folder, "out"))
        if threaded and None not in digests.values():
            tally.check(
                "%s %s same bits" % (label, case["label"]),
                len(set(digests.values())) == 1,
                "differs between threads: %s" % {t: d[:8] for t, d in digests.items()},
            )
    shutil.rmtree(folder, ignore_errors=True)


def variants(symbolic, rng):
    """Every (level, cpu, threaded, mode), in an order of its own."""
    made = list(
        itertools.product(
            ("-O2", "-O0"), ("native", "x86-64-v3"), (True, False), ("dynamic", "fixed") if symbolic else ("dynamic",)
        )
    )
    rng.shuffle(made)
    return made


def visit(args, tally, open_model, seed, rng, most, deadline):
    """One model: its inputs, then at most `most` of its artifacts, the first in any case. How many there were."""
    prepared = Prepared(args, open_model(), seed)
    tally.check(prepared.name + " answers differ between inputs", prepared.distinct())
    done = 0
    for variant in variants(prepared.model.symbols, rng)[:most]:
        if not done or time.monotonic() < deadline:
            check_artifact(args, tally, prepared, *variant)
            done += 1
    shutil.rmtree(prepared.folder, ignore_errors=True)
    return done


def main():
    parser = argparse.ArgumentParser(description="whole models against ONNX Runtime and stored outputs")
    parser.add_argument("--full", action="store_true", help="every configuration of every model")
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--real", default=os.environ.get("BMC_REAL_MODELS", os.path.join(TOP, "..", "shared", "models", "real"))
    )
    parser.add_argument("--only", help="names of models, with commas")
    parser.add_argument("--most", type=int, default=99, help="artifacts of a model at most")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="time for the visit without --full")
    parser.add_argument("-v", action="store_true", help="name what passed, too")
    args = parser.parse_args()
    args.bmc = harness.needs_bmc(args.bmc)
    args.real = os.path.normpath(args.real)
    args.work = os.path.join(harness.WORK, "e2e-%d" % os.getpid())
    seed = harness.fresh_seed(args.seed)
    rng = random.Random(seed)
    tally = harness.Tally(args.v)
    only = args.only.split(",") if args.only else None
    shutil.rmtree(args.work, ignore_errors=True)
    small = e2e_models.collect(args.real, only, large=False)
    every = e2e_models.collect(args.real, only)
    order = sorted(every, key=lambda n: (n not in small, rng.random()))
    if not args.full and not only:   # one large model a day, drawn from the seed
        order = order[: len(small) + 1]
    deadline = time.monotonic() + (1e9 if args.full else args.seconds)
    done = []

    def job(name, most):
        done.append(visit(args, tally, every[name], seed, random.Random(rng.random()), most, deadline))

    harness.parallel([lambda n=n: job(n, args.most if args.full or n in small else 1) for n in order])
    print("%d models, %d artifacts visited" % (len(order), sum(done)))
    shutil.rmtree(args.work, ignore_errors=True)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
