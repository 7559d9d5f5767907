#!/usr/bin/env python3
"""GEMM on one thread: share of the FMA peak, and against OpenBLAS:

    gemm.py [--bmc PATH] [--rounds 5] [--only peak|openblas] [--seed N] [--points 320]

peak: one-MatMul models with constant weights, for the native CPU and x86-64-v3. A batch of `bmc bench` and a
measurement of the machine's peak (`bmc bench --machine`) alternate; a round's share is the work over the batch's
fastest run against the peak of the same round, and the shape's share is the median over the rounds. Bars below.
openblas: a sweep over shapes from 1 to 2048 (seed printed), half of them with constant B and half with B as an input
(what our code then does to it is timed like what OpenBLAS does), against PyPI's OpenBLAS in one process, interleaved
(gemm_peer.c, processor time): the median of the ratios and their geometric mean, the ten worst, and for constant B with
all extents at least 128 the share of the FMA peak of the same moment. Bars below.

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
MEDIAN, MEAN = 0.97, 1.05
LARGE, LARGE_SHARE = 128, 0.88  # extents from here on with constant B: share of peak
ERROR = 1e-4


def matmul_model(path, m, n, k, rng, constant=True):
    """A model of one MatMul [m,k] x [k,n], constant or its second input; the weights go to path + '.bin', too."""
    weights = rng.standard_normal((k, n)).astype(np.float32)
    b = helper.make_tensor_value_info("b", TensorProto.FLOAT, [k, n])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"], "matmul")],
        "gemm",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, [m, k])] + ([] if constant else [b]),
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [m, n])],
        [numpy_helper.from_array(weights, "b")] if constant else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 9
    onnx.save(model, path)
    weights.tofile(path + ".bin")


def compiled(args, m, n, k, cpu, rng, constant=True):
    """Path of the artifact for one shape and CPU, or None with the reason printed."""
    source = os.path.join(args.work, "%dx%dx%d%s.onnx" % (m, n, k, "" if constant else "r"))
    if not os.path.exists(source):
        matmul_model(source, m, n, k, rng, constant)
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


def sweep_shapes(points, seed):
    """[(m, n, k, constant)]: half of the extents spread evenly over the orders of magnitude, as products in models are,
    a quarter evenly over 1..2048; of each a part is made odd. The last quarter are powers of two, whose strides meet in
    the same sets of a cache, with a neighbour among them. Every other point has B as an input."""
    rng = np.random.default_rng(seed)
    shapes = []
    for i in range(points):
        kind = i // 2 % 4
        if kind < 2:
            shape = [int(x) for x in np.exp(rng.uniform(0, math.log(2049), 3))]
        elif kind == 2:
            shape = [int(x) for x in rng.integers(1, 2049, 3)]
        else:
            shape = [int(x) for x in 2 ** rng.integers(0, 12, 3)]
            if rng.integers(2):
                at = rng.integers(3)
                shape[at] = max(1, shape[at] + int(rng.integers(-1, 2)))
        if kind != 3 and rng.integers(2):
            shape = [x | 1 if x < 2048 else x for x in shape]
        shapes.append((shape[0], shape[1], shape[2], i % 2 == 0))
    return shapes


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
    points = []  # ratio, share of peak, shape
    for m, n, k, constant in sweep_shapes(args.points, seed):
        artifact = compiled(args, m, n, k, "native", rng, constant)
        if not artifact:
            continue
        weights = os.path.join(args.work, "%dx%dx%d%s.onnx.bin" % (m, n, k, "" if constant else "r"))
        line = "%s %s %d %d %d\n" % (artifact, weights, m, n, k)
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
        for path in (artifact, weights, weights[: -len(".bin")]):
            if os.path.exists(path):
                os.remove(path)
        if ran.status != 0:
            args.tally.check("%dx%dx%d runs" % (m, n, k), False, ran.brief())
            continue
        ours, theirs, error, peak = (float(x) for x in ran.out.split()[3:7])
        speed = 2.0 * m * n * k / ours
        share = speed / peak if peak else 0
        text = "%4d x %4d x %4d %s  bmc %10.2f us  OpenBLAS %10.2f us  ratio %5.2f  %6.1f GFLOP/s %3.0f %% of peak" % (
            m,
            n,
            k,
            "constant" if constant else "run time",
            ours / 1e3,
            theirs / 1e3,
            theirs / ours,
            speed,
            100 * share,
        )
        points.append((theirs / ours, share, constant and min(m, n, k) >= LARGE, constant, text))
        print(text, flush=True)
        args.tally.check("%dx%dx%d: error %.1e" % (m, n, k, error), error <= ERROR)
    if not args.tally.check("%d points of %d measured" % (len(points), args.points), len(points) == args.points):
        return
    points.sort()
    print("the ten worst:")
    for point in points[:10]:
        print(point[4])
    for name, some in (
        ("constant B", [p[0] for p in points if p[3]]),
        ("run-time B", [p[0] for p in points if not p[3]]),
    ):
        print("%s: median %.3f, geometric mean %.3f" % (name, statistics.median(some), geometric_mean(some)))
    ratios = [p[0] for p in points]
    median, mean = statistics.median(ratios), geometric_mean(ratios)
    args.tally.check("median %.3f, at least %.2f" % (median, MEDIAN), median >= MEDIAN)
    args.tally.check("geometric mean %.3f, at least %.2f" % (mean, MEAN), mean >= MEAN)
    large = sorted(p[1] for p in points if p[2] and p[1])
    print("%d ratios to OpenBLAS: median %.3f, geometric mean %.3f" % (len(ratios), median, mean))
    if large:
        low = [p[4] for p in points if p[2] and p[1] < LARGE_SHARE]
        print("%d large ones with constant B: %.0f..%.0f %% of peak" % (len(large), 100 * large[0], 100 * large[-1]))
        args.tally.check("large ones reach %.0f %% of peak" % (100 * LARGE_SHARE), not low, "\n".join(low))


def geometric_mean(some):
    return math.exp(statistics.fmean(math.log(x) for x in some))


def main():
    parser = argparse.ArgumentParser(description="GEMM against the FMA peak and OpenBLAS")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="length of one batch of bmc bench")
    parser.add_argument("--only", choices=("peak", "openblas"))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--points", type=int, default=320, help="of the sweep against OpenBLAS")
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
