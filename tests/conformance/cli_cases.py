#!/usr/bin/env python3
"""A hundred conformance cases through the command line:   cli_cases.py [--bmc PATH] [--count 100] [--seed N]

Cases that are expected to pass, drawn from a printed seed, go through `bmc run model.onnx --data DIR --check`; every
fourth writes its outputs with --format=pb too, which are compared here. Ten that are expected to be refused must exit
with 1 and one message. And the check itself is checked: with a stored output that has been changed it must fail.
"""

import argparse
import os
import random
import shutil
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python")]

import onnx  # noqa: E402
from onnx import numpy_helper  # noqa: E402
from onnx.backend.test.runner import Runner  # noqa: E402

import cases  # noqa: E402
import export  # noqa: E402
import harness  # noqa: E402
from harness import run  # noqa: E402


def read_value(path, declared):
    """An output as numpy sees it, decoded as its declared type says."""
    kind = declared.type.WhichOneof("value")
    message, decode = {
        "tensor_type": (onnx.TensorProto, numpy_helper.to_array),
        "sequence_type": (onnx.SequenceProto, numpy_helper.to_list),
        "optional_type": (onnx.OptionalProto, numpy_helper.to_optional),
        "map_type": (onnx.MapProto, numpy_helper.to_dict),
    }[kind]
    proto = message()
    with open(path, "rb") as f:
        proto.ParseFromString(f.read())
    return decode(proto)


def tolerances(case):
    rtol = max(case.rtol, 2.0**-6) if "bfloat16" in case.types else case.rtol
    return ["--rtol", "%g" % rtol, "--atol", "%g" % case.atol]


def run_case(bmc, tally, case, folder, scratch):
    """scratch: where outputs go as .pb, or None."""
    data = os.path.join(folder, "test_data_set_0")
    command = [bmc, "run", os.path.join(folder, "model.onnx"), "--data", data, "--check"] + tolerances(case)
    if scratch:
        command += ["--output-dir", scratch, "--format=pb"]
    ran = run(command, limit=120)
    if not tally.check(case.name, ran.status == 0, ran.brief()) or not scratch:
        return
    try:
        declared = onnx.load(os.path.join(folder, "model.onnx")).graph.output
        got, want = (
            [read_value(os.path.join(d, "output_%d.pb" % i), v) for i, v in enumerate(declared)]
            for d in (scratch, data)
        )
        Runner.assert_similar_outputs(want, got, case.rtol, case.atol)
        wrong = None
    except (AssertionError, OSError, KeyError, TypeError, ValueError) as error:
        wrong = " ".join(str(error).split())[:400]
    tally.check(case.name + " as .pb", not wrong, wrong)


def check_the_check(bmc, tally, case, folder, scratch):
    """One element of the stored output is off by far more than the tolerance: --check must say so."""
    shutil.copytree(folder, scratch)
    path = os.path.join(scratch, "test_data_set_0", "output_0.pb")
    array = harness.read_tensor(path).copy()
    array.flat[array.size // 2] += 1
    harness.write_tensor(path, array)
    ran = run(
        [bmc, "run", os.path.join(scratch, "model.onnx"), "--data", os.path.dirname(path), "--check"] + tolerances(case)
    )
    tally.check(
        "%s with a changed output fails" % case.name, ran.status == 1 and (ran.out + ran.err).strip(), ran.brief()
    )


def main():
    parser = argparse.ArgumentParser(description="conformance cases through the command line")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--cases", default=cases.FOLDER)
    parser.add_argument("--expected", default=cases.EXPECTED)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int)
    parser.add_argument("-v", action="store_true", help="name what passed, too")
    args = parser.parse_args()
    bmc = harness.needs_bmc(args.bmc)
    rng = random.Random(harness.fresh_seed(args.seed))
    tally = harness.Tally(args.v)
    export.export(os.path.abspath(args.cases))
    manifest, expected = cases.manifest(args.cases), cases.expected(args.expected)
    good = [c for c in manifest.values() if expected.get(c.name, ("",))[0] == "pass"]
    refused = [c for c in manifest.values() if expected.get(c.name, ("",))[0] == "refuse"]
    tally.check("there are %d cases to draw from" % args.count, len(good) >= args.count, len(good))
    work = os.path.join(harness.WORK, "cli-%d" % os.getpid())
    os.makedirs(work)
    drawn = rng.sample(good, min(args.count, len(good)))
    jobs = [
        lambda i=i, c=c: run_case(
            bmc, tally, c, os.path.join(args.cases, c.name), os.path.join(work, str(i)) if i % 4 == 0 else None
        )
        for i, c in enumerate(drawn)
    ]

    def refuse(case):
        ran = run(
            [
                bmc,
                "run",
                os.path.join(args.cases, case.name, "model.onnx"),
                "--data",
                os.path.join(args.cases, case.name, "test_data_set_0"),
                "--check",
            ],
            limit=60,
        )
        tally.check(case.name + " is refused", ran.status == 1 and "error" in ran.err, ran.brief())

    jobs += [lambda c=c: refuse(c) for c in rng.sample(refused, min(10, len(refused)))]
    harness.parallel(jobs)
    for name in ("test_relu", "test_add", "test_reduce_sum_default_axes_keepdims_example"):
        if name in manifest:
            check_the_check(bmc, tally, manifest[name], os.path.join(args.cases, name), os.path.join(work, name))
    shutil.rmtree(work, ignore_errors=True)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
