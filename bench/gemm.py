#!/usr/bin/env python3
"""GEMM on one thread: share of the FMA peak, and against OpenBLAS:

    gemm.py [--bmc PATH] [--rounds 5] [--only peak|openblas] [--seed N]

peak: one-MatMul models with constant weights, for the native CPU and x86-64-v3. A batch of `bmc bench` and a
measurement of the machine's peak (`bmc bench --machine`) alternate; a round's share is the work over the batch's
fastest run against the peak of the same round, and the shape's share is the median over the rounds. Bars below.
openblas: 40 random shapes between 1 and 2048 (seed printed) against PyPI's OpenBLAS in one process, interleaved
(gemm_peer.c): geometric mean of the ratios at least 1.0, none below 0.8. 20 more, spread over the orders of magnitude,
are shown without a bar.

Last line 'N passed, N failed'; needs a quiet machine, an AVX-512 one for the first column, and build/venv
(scripts/test).
"""

import argparse
import json
import math
import os
import shutil
import statistics
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "python")]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import harness  # noqa: E402
from harness import TOP, run  # noqa: E402

# M, N, K: bar for AVX-512 with one or double-pumped 512-bit FMA, with two of them, bar for AVX2
BARS = {
    (128, 128, 128): (0.90, 0.90, 0.85),
    (128, 768, 768): (0.90, 0.90, 0.85),
    (128, 3072, 768): (0.90, 0.90, 0.80),
    (49, 512, 4608): (0.90, 0.90, 0.80),
    (256, 256, 256): (0.88, 0.88, 0.85),
    (512, 512, 512): (0.88, 0.88, 0.85),
    (1024, 1024, 1024): (0.84, 0.80, 0.80),
    (2048, 2048, 2048): (0.84, 0.80, 0.80),
    (3136, 64, 576): (0.84, 0.80, 0.72),
}
SHAPES = 40
MEAN, LEAST = 1.0, 0.8
ERROR = 1e-4


def matmul_model(path, m, n, k, rng):
    """A model of one MatMul [m,k] x constant [k,n]; the weights go to path + '.bin', too."""
    weights = rng.standard_normal((k, n)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"], "matmul")],
        "gemm",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, [m, k])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [m, n])],
        [numpy_helper.from_array(weights, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 9
    onnx.save(model, path)
    weights.tofile(path + ".bin")


def compiled(args, m, n, k, cpu, rng):
    """Path of the artifact for one shape and CPU, or None with the reason printed."""
    source = os.path.join(args.work, "%dx%dx%d.onnx" % (m, n, k))
    if not os.path.exists(source):
        matmul_model(source, m, n, k, rng)
    artifact = "%s.%s.so" % (source, cpu)
    ran = run([args.bmc, source, "-o", artifact, "-O2", "--cpu=" + cpu])
    if ran.status != 0:
        args.tally.check("%dx%dx%d %s compiles" % (m, n, k, cpu), False, ran.brief())
        return None
    return artifact


def read_json(command):
    ran = run(command)
    if ran.status != 0:
        sys.exit("%s: %s\n0 passed, 1 failed" % (" ".join(command), ran.brief()))
    return json.loads(ran.out)


def peaks(args):
    """{isa: GFLOP/s on one thread} as `bmc bench --machine --json` says it: {"fma_peak": {"avx512": {"1": G, ...},
    ...}, ...}."""
    found = {}
    for isa, value in read_json([args.bmc, "bench", "--machine", "--json"])["fma_peak"].items():
        found[isa] = value if isinstance(value, (int, float)) else value["1"]
    return found


def share_of_peak(args, artifact, isa, flops):
    """Median, best over the rounds of (work / fastest run) / peak, batch and peak in turn."""
    shares, peak = [], peaks(args)[isa]
    seconds = max(args.seconds, 12 * flops / (0.8e9 * peak))  # a dozen runs at least: the fastest of three is luck
    for _ in range(args.rounds):
        fastest = read_json(
            [args.bmc, "bench", artifact, "--threads", "1", "--seconds", "%g" % seconds, "--json"]
        )["min_ns"]
        after = peaks(args)[isa]
        shares.append(flops / fastest / max(peak, after))
        peak = after
    return statistics.median(shares), max(shares)


def measure_peak(args):
    rng = np.random.default_rng(0)
    machine = peaks(args)
    print("FMA peak of one thread, GFLOP/s: " + ", ".join("%s %.1f" % p for p in machine.items()))
    two = "avx512" in machine and machine["avx512"] > 1.5 * machine["avx2"]
    columns = [("native", "avx512", 1 if two else 0)] if "avx512" in machine else []
    columns.append(("x86-64-v3", "avx2", 2))
    if len(columns) == 1:
        print("no AVX-512 on this machine: the first column is left out")
    for cpu, isa, column in columns:
        for (m, n, k), bars in BARS.items():
            artifact = compiled(args, m, n, k, cpu, rng)
            if not artifact:
                continue
            middle, best = share_of_peak(args, artifact, isa, 2.0 * m * n * k)
            text = "%dx%dx%d %s: %.1f %% of peak (best %.1f %%), bar %.0f %%" % (
                m,
                n,
                k,
                isa,
                100 * middle,
                100 * best,
                100 * bars[column],
            )
            print(text, flush=True)
            args.tally.check(text, middle >= bars[column])


def random_shapes(seed):
    """(shape, counts): SHAPES spread evenly over 1..2048, which the bars are for, and half as many spread evenly over
    the orders of magnitude, which are shown: tiny products cost what calling a model costs, about 0.1 us."""
    rng = np.random.default_rng(seed)
    even = [tuple(int(x) for x in rng.integers(1, 2049, 3)) for _ in range(SHAPES)]
    small = [tuple(int(x) for x in np.exp(rng.uniform(0, math.log(2049), 3))) for _ in range(SHAPES // 2)]
    return [(shape, True) for shape in even] + [(shape, False) for shape in small]


def openblas():
    import scipy_openblas32

    return os.path.join(scipy_openblas32.get_lib_dir(), scipy_openblas32.get_library(fullname=True))


def measure_openblas(args):
    seed = harness.fresh_seed(args.seed)
    rng = np.random.default_rng(seed)
    program = os.path.join(args.work, "gemm_peer")
    built = run(
        [
            "gcc",
            "-O2",
            "-std=gnu11",
            "-I" + os.path.join(TOP, "runtime"),
            os.path.join(TOP, "bench", "gemm_peer.c"),
            "-o",
            program,
            "-ldl",
        ]
    )
    if not args.tally.check("gemm_peer.c builds", built.status == 0, built.brief()):
        return
    ratios, shown = [], []
    for (m, n, k), counts in random_shapes(seed):
        artifact = compiled(args, m, n, k, "native", rng)
        if not artifact:
            continue
        line = "%s %s %d %d %d\n" % (artifact, os.path.join(args.work, "%dx%dx%d.onnx.bin" % (m, n, k)), m, n, k)
        ran = run(
            [
                "/bin/sh",
                "-c",
                'printf "%s" "$1" | "$2" "$3" scipy_ "$4"',
                "sh",
                line,
                program,
                openblas(),
                str(args.rounds),
            ]
        )
        if ran.status != 0:
            args.tally.check("%dx%dx%d runs" % (m, n, k), False, ran.brief())
            continue
        ours, theirs, error = (float(x) for x in ran.out.split()[3:6])
        ratio = theirs / ours
        (ratios if counts else shown).append(ratio)
        print(
            "%5d x %4d x %4d  bmc %9.1f us  OpenBLAS %9.1f us  ratio %.2f  %6.1f GFLOP/s  error %.1e"
            % (m, n, k, ours / 1e3, theirs / 1e3, ratio, 2.0 * m * n * k / ours, error),
            flush=True,
        )
        if counts:
            args.tally.check("%dx%dx%d: ratio to OpenBLAS %.2f, at least %.2f" % (m, n, k, ratio, LEAST), ratio >= LEAST)
        args.tally.check("%dx%dx%d: error %.1e" % (m, n, k, error), error <= ERROR)
    mean = math.exp(statistics.fmean(math.log(r) for r in ratios)) if ratios else 0
    print("geometric mean of %d ratios to OpenBLAS: %.3f, least %.2f" % (len(ratios), mean, min(ratios, default=0)))
    if shown:
        small = math.exp(statistics.fmean(math.log(r) for r in shown))
        print("orders of magnitude (no bar): geometric mean of %d ratios %.3f, least %.2f" % (len(shown), small, min(shown)))
    args.tally.check("geometric mean %.3f, at least %.2f" % (mean, MEAN), len(ratios) == SHAPES and mean >= MEAN)


def main():
    parser = argparse.ArgumentParser(description="GEMM against the FMA peak and OpenBLAS")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="length of one batch of bmc bench")
    parser.add_argument("--only", choices=("peak", "openblas"))
    parser.add_argument("--seed", type=int)
    args = parser.parse_args()
    args.bmc = harness.needs_bmc(args.bmc)
    args.tally = harness.Tally()
    args.work = os.path.join(harness.WORK, "gemm-%d" % os.getpid())
    os.makedirs(args.work)
    if args.only != "openblas":
        measure_peak(args)
    if args.only != "peak":
        measure_openblas(args)
    shutil.rmtree(args.work, ignore_errors=True)
    return args.tally.finish()


if __name__ == "__main__":
    sys.exit(main())
