#!/usr/bin/env python3
"""A model run from two threads at once, under ThreadSanitizer:   check_tsan.py [--bmc PATH]

The runtime's sources are compiled with -fsanitize=thread into an archive of their own, which a copy of bmc beside it
links into the digits model (bmc takes ../lib/bmc/<triple>/ relative to itself); two_threads.c runs that model. With a
context per thread there must be no report and the same bits as alone. With one bmc_value for both there must be a
report: else the sanitizer would see nothing and the first half would prove nothing.
"""

import argparse
import os
import shutil
import sys
from glob import glob

import harness
from harness import TOP, run

FLAGS = [
    "-std=gnu11",
    "-O1",
    "-g",
    "-fPIC",
    "-fsanitize=thread",
    "-D_DEFAULT_SOURCE",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-I" + TOP,
]


def build_runtime(tally, prefix, triple):
    """prefix/lib/bmc/<triple>/libbmc_rt.a, instrumented."""
    folder = os.path.join(prefix, "lib", "bmc", triple)
    os.makedirs(folder)
    objects = []
    for source in sorted(glob(os.path.join(TOP, "runtime", "*.c"))):
        objects.append(os.path.join(prefix, os.path.basename(source) + ".o"))
        ran = run(["gcc"] + FLAGS + ["-c", source, "-o", objects[-1]])
        if ran.status != 0:
            return tally.check("the instrumented runtime builds", False, ran.brief())
    ran = run(["ar", "rcs", os.path.join(folder, "libbmc_rt.a")] + objects)
    return tally.check("the instrumented runtime builds", ran.status == 0, ran.brief())


def main():
    parser = argparse.ArgumentParser(description="a model run from two threads at once, under ThreadSanitizer")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("-v", action="store_true", help="name what passed, too")
    args = parser.parse_args()
    tally = harness.Tally(args.v)
    bmc = harness.needs_bmc(args.bmc)
    triples = glob(os.path.join(os.path.dirname(bmc), "..", "lib", "bmc", "*", "libbmc_rt.a"))
    prefix = os.path.join(harness.WORK, "tsan-%d" % os.getpid())
    shutil.rmtree(prefix, ignore_errors=True)
    os.makedirs(os.path.join(prefix, "bin"))
    shutil.copy2(bmc, os.path.join(prefix, "bin", "bmc"))
    program, model = os.path.join(prefix, "two_threads"), os.path.join(prefix, "digits.o")
    good = tally.check("the runtime archive is beside bmc", len(triples) >= 1, triples)
    good = good and all([build_runtime(tally, prefix, os.path.basename(os.path.dirname(t))) for t in triples])
    if good:
        ran = run(
            [
                os.path.join(prefix, "bin", "bmc"),
                os.path.join(TOP, "models", "digits", "digits.onnx"),
                "-o",
                model,
                "--threads=off",
                "--name=digits",
            ]
        )
        good = tally.check("the digits model compiles", ran.status == 0, ran.brief())
    if good:
        instrumented = "__tsan_" in run(["nm", model]).out
        tally.check("the model carries the instrumented runtime", instrumented)
        ran = run(
            ["gcc"]
            + FLAGS
            + [
                "-I" + os.path.join(TOP, "runtime"),
                os.path.join(TOP, "tests", "python", "two_threads.c"),
                model,
                "-o",
                program,
                "-lm",
                "-lpthread",
            ]
        )
        good = tally.check("two_threads.c links with the model", ran.status == 0, ran.brief())
    if good:
        options = {"TSAN_OPTIONS": "halt_on_error=0:exitcode=66"}
        own, shared = (run(["setarch", "-R", program, mode], env=options, limit=120) for mode in ("own", "shared"))
        tally.check(
            "a context per thread: no race, same bits",
            own.status == 0 and "ThreadSanitizer" not in own.err,
            own.out + own.err[:1500],
        )
        tally.check("one result value for two threads: the race is seen", "data race" in shared.err, shared.brief())
    shutil.rmtree(prefix, ignore_errors=True)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
