#!/usr/bin/env python3
"""Whole models, compiled and run, against ONNX Runtime and stored outputs:

    models_e2e.py [--full] [--seed N] [--real DIR] [--only NAME,...] [--bmc PATH] [--seconds S]

Every model is compiled for -O0 and -O2, the native CPU and x86-64-v3, with and without OpenMP, with its dims as
exported and fixed by --dim; every such artifact runs on three inputs made from a fresh, printed seed, with 1, 2, 3
and 7 threads (or none). Per output tensor the error must stay below 1e-4 of the range of the oracle's values, or of
their largest magnitude where the tensor has fewer than 8 elements. The bits must not depend on the number of threads.

Without --full the artifacts are visited in an order drawn from the seed, each model at least once, until the time is
up. Models: the repository's own; and real ones that stay outside of it, from --real DIR (layout DIR/NAME/model.onnx
and test_data_set_K/), skipped with a message where DIR is not there.
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
import onnx
import onnxruntime

import harness
from harness import TOP, dims_of, fed_inputs, read_tensor, run

REAL = ("mnist_8_zoo", "mlperf_tiny_ad", "mlperf_tiny_ic_resnet8", "silero_vad_op18_ifless")
THREADS = (1, 2, 3, 7)
TOLERANCE = 1e-4
INPUTS = 3
DEFAULT_SECONDS = 90


# --- the models and their inputs
# --------------------------------------------------------------------------------------------------


class Model:
    """One model file, its inputs drawn from a seed and the oracle's answers to them."""

    def __init__(self, name, path):
        self.name, self.path = name, path
        self.proto = onnx.load(path)
        self.inputs = fed_inputs(self.proto)
        self.symbols = sorted({d for v in self.inputs for d in dims_of(v) if isinstance(d, str)})
        self.fixed = {}
        folder = os.path.join(os.path.dirname(path), "test_data_set_0")
        self.stored = folder if os.path.isdir(folder) else None

    def sizes(self, rng, k):
        """A value for every symbol: batch 1 comes first, then anything up to 6."""
        return {s: 1 if k == 0 else int(rng.integers(2, 7)) for s in self.symbols}

    def values(self, rng, sizes, k):
        """{input name: array} for the given sizes."""
        made = {}
        for v in self.inputs:
            shape = [sizes[d] if isinstance(d, str) else d for d in dims_of(v)]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type)
            if not np.issubdtype(dtype, np.floating):
                raise ValueError("%s: no rule for input '%s' of type %s" % (self.name, v.name, dtype))
            made[v.name] = rng.standard_normal(shape).astype(dtype)
        return made

    def prepare(self, folder, seed):
        """Draw the inputs (dynamic and fixed sizes), ask the oracle, and write the inputs as .npy for bmc."""
        rng = np.random.default_rng([seed, int(hashlib.sha256(self.name.encode()).hexdigest()[:8], 16)])
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        self.outputs = [o.name for o in session.get_outputs()]
        self.fixed = self.sizes(rng, 1)
        self.cases = {"dynamic": [], "fixed": []}
        os.makedirs(folder)
        for mode in ("dynamic", "fixed") if self.symbols else ("dynamic",):
            for k in range(INPUTS):
                feeds = self.values(rng, self.fixed if mode == "fixed" else self.sizes(rng, k), k)
                self.add_case(session, folder, mode, "%s%d" % (mode, k), feeds)
        if self.stored:
            feeds = {
                v.name: read_tensor(os.path.join(self.stored, "input_%d.pb" % i)) for i, v in enumerate(self.inputs)
            }
            self.add_case(session, folder, "dynamic", "stored", feeds)
            self.cases["dynamic"][-1]["want"] = [
                read_tensor(os.path.join(self.stored, "output_%d.pb" % i)) for i in range(len(self.outputs))
            ]

    def add_case(self, session, folder, mode, label, feeds):
        paths = {}
        for i, (name, value) in enumerate(feeds.items()):
            paths[name] = os.path.join(folder, "%s_%d.npy" % (label, i))
            np.save(paths[name], value)
        self.cases[mode].append({"label": label, "paths": paths, "want": session.run(self.outputs, feeds)})


class Mnist8(Model):
    def values(self, rng, sizes, k):
        """Grey values, as this model was trained on."""
        return {"Input3": rng.integers(0, 256, (1, 1, 28, 28)).astype(np.float32)}


class Silero(Model):
    """Voice activity: the sample rate picks the branch of the If, so that both branches must be drawn."""

    def sizes(self, rng, k):
        return {
            "batch": 1 if k == 0 else int(rng.integers(2, 5)),
            "sequence": 576 if k == 0 else int(rng.integers(512, 1200)),
        }

    def values(self, rng, sizes, k):
        return {
            "input": rng.standard_normal((sizes["batch"], sizes["sequence"])).astype(np.float32),
            "sr": np.array((16000, 8000)[k % 2], np.int64),
            "state": rng.standard_normal((2, sizes["batch"], 128)).astype(np.float32),
        }


SPECIAL = {"mnist_8_zoo": Mnist8, "silero_vad_op18_ifless": Silero}


def collect(args):
    """Every model that is here; a message for those that are not."""
    paths = harness.own_models(os.path.join(harness.WORK, "models"))
    for name in REAL:
        path = os.path.join(args.real, name, "model.onnx")
        if os.path.exists(path):
            paths[name] = path
        else:
            print(
                "skipped %s: no such model in %s (other people's data stays out of the repository; --real DIR)"
                % (name, args.real)
            )
    if args.only:
        paths = {n: p for n, p in paths.items() if n in args.only.split(",")}
    return [SPECIAL.get(name, Model)(name, path) for name, path in paths.items()]


# --- one artifact
# -----------------------------------------------------------------------------------------------------------------


def error_of(got, want):
    """None when `got` is right, else what is wrong with it. The bound: see the head of this file."""
    if got.dtype != want.dtype or got.shape != want.shape:
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
    scale = np.abs(want).max() if want.size < 8 else want.max() - want.min()
    error = np.abs(got - want).max()
    return None if error <= TOLERANCE * scale else "error %.3g, allowed %.3g" % (error, TOLERANCE * scale)


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
    ran = run(command, limit=120)
    name = "%s %s threads=%s" % (label, case["label"], threads or "off")
    if ran.status != 0:
        tally.check(name, False, ran.brief())
        return None
    try:
        got = read_outputs(folder, model.outputs)
    except (OSError, ValueError) as error:
        tally.check(name, False, error)
        return None
    wrong = ["%s: %s" % (o, e) for o, e in zip(model.outputs, map(error_of, got, case["want"])) if e]
    return (
        hashlib.sha256(b"".join(a.tobytes() for a in got)).hexdigest()
        if tally.check(name, not wrong, "; ".join(wrong))
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
    command += ["--dim=%s=%d" % pair for pair in model.fixed.items()] if mode == "fixed" else []
    ran = run(command, limit=300)
    if not tally.check(label + " compiles", ran.status == 0 and os.path.exists(artifact), ran.brief()):
        return
    for case in model.cases[mode]:
        digests = {}
        for threads in THREADS if threaded else (0,):
            digests[threads] = run_case(args, tally, label, model, artifact, case, threads, os.path.join(folder, "out"))
        if threaded and None not in digests.values():
            tally.check(
                "%s %s same bits" % (label, case["label"]),
                len(set(digests.values())) == 1,
                "differs between threads: %s" % {t: d[:8] for t, d in digests.items()},
            )
    shutil.rmtree(folder, ignore_errors=True)


def plan(models, seed):
    """Every artifact, in an order drawn from the seed in which each model comes around early."""
    rng = random.Random(seed)
    per_model = []
    for model in models:
        variants = [
            (model,) + v
            for v in itertools.product(
                ("-O2", "-O0"),
                ("native", "x86-64-v3"),
                (True, False),
                ("dynamic", "fixed") if model.symbols else ("dynamic",),
            )
        ]
        rng.shuffle(variants)
        per_model.append(variants)
    rng.shuffle(per_model)
    return [v for row in itertools.zip_longest(*per_model) for v in row if v]


def main():
    parser = argparse.ArgumentParser(description="whole models against ONNX Runtime and stored outputs")
    parser.add_argument("--full", action="store_true", help="every configuration")
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--real", default=os.environ.get("BMC_REAL_MODELS", os.path.join(TOP, "..", "shared", "models", "real"))
    )
    parser.add_argument("--only", help="names of models, with commas")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="time for the visit without --full")
    parser.add_argument("-v", action="store_true", help="name what passed, too")
    args = parser.parse_args()
    args.bmc = harness.needs_bmc(args.bmc)
    args.real = os.path.normpath(args.real)
    args.work = os.path.join(harness.WORK, "e2e-%d" % os.getpid())
    seed = harness.fresh_seed(args.seed)
    tally = harness.Tally(args.v)
    models = collect(args)
    shutil.rmtree(args.work, ignore_errors=True)
    for model in models:
        model.prepare(os.path.join(args.work, model.name), seed)
    artifacts = plan(models, seed)
    deadline = time.monotonic() + args.seconds
    done = []

    def job(place, artifact):
        if args.full or place < len(models) or time.monotonic() < deadline:
            check_artifact(args, tally, *artifact)
            done.append(artifact)

    harness.parallel([lambda p=p, a=a: job(p, a) for p, a in enumerate(artifacts)])
    print("%d models, %d of %d artifacts visited" % (len(models), len(done), len(artifacts)))
    shutil.rmtree(args.work, ignore_errors=True)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
