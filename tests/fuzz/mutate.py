#!/usr/bin/env python3
"""Mutated models through the compiler:

    mutate.py [--bmc PATH] [--count 500] [--seconds S] [--seed N] [--only I] [--real DIR] [--cases DIR]

Half of them are models, half cases of the conformance stage, which have every operator (its export; not there: models
only). Half of the mutations are made on the wire (wire.py: fields, lengths, nesting), half on the model (semantic.py:
dims, types, attributes, edges). Each goes through `bmc -O2` (give an ASan/UBSan build). Failures: a signal, a sanitizer's
report, an exit status other than 0, 1 and 3, an exit status 1 without a message or with the output left behind, and
taking too long. Mutation I of seed N of the same sources is always the same; a file that fails is kept in
build/fuzz-failures/.
"""

import argparse
import glob
import os
import random
import re
import shutil
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "python"), HERE]

import onnx  # noqa: E402

import numpy as np  # noqa: E402

import harness  # noqa: E402
import ml_gen  # noqa: E402
import semantic  # noqa: E402
import wire  # noqa: E402

CASE_BYTES = 1 << 16
LIMIT = 60  # seconds; an ASan build of a small model takes one or two
REPORT = re.compile(r"Sanitizer|runtime error:|Assertion .* failed|LLVM ERROR|PLEASE submit a bug report")
# 99 tells a sanitizer's exit from an honest 1
SANITIZER = {
    "ASAN_OPTIONS": "detect_leaks=0:exitcode=99:allocator_may_return_null=1:max_allocation_size_mb=8192",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=99",
}


def sources(real):
    """(name, bytes) of the models that are mutated."""
    paths = harness.own_models()
    for name in ("mnist_8_zoo", "mlperf_tiny_ad", "mlperf_tiny_ic_resnet8", "silero_vad_op18_ifless"):
        path = os.path.join(real, name, "model.onnx")
        if os.path.exists(path):
            paths[name] = path
    found = []
    for name, path in sorted(paths.items()):
        with open(path, "rb") as f:
            found.append((name, f.read()))
    for version in (1, 3, 5):  # operators of ai.onnx.ml
        model = ml_gen.mixture(version, np.random.default_rng(version))[0]
        found.append(("ml%d" % version, model.SerializeToString()))
    return found


def cases_of(folder):
    """(name, bytes) of the small models in folders of this one."""
    found = []
    for path in sorted(glob.glob(os.path.join(folder, "*", "model.onnx"))):
        if os.path.getsize(path) <= CASE_BYTES:
            with open(path, "rb") as f:
                found.append((os.path.basename(os.path.dirname(path)), f.read()))
    return found


def make(seed, index, models, cases):
    """Mutation `index`: (description, bytes)."""
    rng = random.Random("%d/%d" % (seed, index))
    name, data = rng.choice(cases if cases and rng.random() < 0.5 else models)
    if index % 2 == 0:
        what, mutated = wire.mutate(data, rng)
        return "%s, wire: %s" % (name, what), mutated
    what, mutated = semantic.mutate(onnx.load_from_string(data), rng)
    return "%s, semantic: %s" % (name, what), mutated


def verdict(ran, out):
    """None, or what the compiler did wrong."""
    if ran.status is None or ran.status not in (0, 1, 3) or REPORT.search(ran.err):
        found = REPORT.search(ran.err)
        return (
            ran.brief()
            if not found
            else ran.err[max(found.start() - 200, 0) : found.start() + 600].replace("\n", " | ")
        )
    if ran.status == 0 and not os.path.exists(out):
        return "exit 0 without an output"
    if ran.status == 1 and "error" not in ran.err:
        return "exit 1 without a message: " + ran.brief()
    if ran.status != 0 and os.path.exists(out):
        return "output left behind: " + ran.brief()
    return None


def main():
    parser = argparse.ArgumentParser(description="mutated models through the compiler")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=0, help="stop after so long (0: never)")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--only", type=int, help="this one mutation")
    parser.add_argument(
        "--real", default=os.environ.get("BMC_REAL_MODELS", os.path.join(harness.TOP, "..", "shared", "models", "real"))
    )
    parser.add_argument("--cases", default=os.path.join(harness.TOP, "build", "conformance"))
    parser.add_argument("-v", action="store_true", help="name what passed, too")
    args = parser.parse_args()
    bmc = harness.needs_bmc(args.bmc)
    seed = harness.fresh_seed(args.seed)
    models, cases = sources(args.real), cases_of(args.cases)
    tally = harness.Tally(args.v)
    work = os.path.join(harness.WORK, "fuzz-%d" % os.getpid())
    kept = os.path.join(harness.TOP, "build", "fuzz-failures")
    os.makedirs(work)
    deadline = time.monotonic() + args.seconds if args.seconds else float("inf")
    counts = {}

    def job(index):
        if time.monotonic() > deadline:
            return
        what, data = make(seed, index, models, cases)
        path, out = (os.path.join(work, "%d.%s" % (index, end)) for end in ("onnx", "so"))
        with open(path, "wb") as f:
            f.write(data)
        ran = harness.run([bmc, path, "-o", out, "-O2"], limit=LIMIT, env=SANITIZER)
        wrong = verdict(ran, out)
        counts[ran.status] = counts.get(ran.status, 0) + 1
        if not tally.check("mutation %d (%s)" % (index, what), not wrong, wrong):
            os.makedirs(kept, exist_ok=True)
            shutil.copy(path, os.path.join(kept, "%d-%d.onnx" % (seed, index)))
        for leftover in (path, out):
            if os.path.exists(leftover):
                os.unlink(leftover)

    indices = [args.only] if args.only is not None else range(args.count)
    harness.parallel([lambda i=i: job(i) for i in indices])
    shutil.rmtree(work, ignore_errors=True)
    print(
        "%d of %d mutations of %d models and %d cases; exit statuses: %s"
        % (sum(counts.values()), len(indices), len(models), len(cases), ", ".join("%s %d times" % c for c in sorted(counts.items(), key=str)))
    )
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
