#!/usr/bin/env python3
"""Compiled code reads nothing beyond its inputs:   check_bounds.py [--bmc PATH]

Pads images whose last byte is the last of a page, with a page behind it that nobody may read, for every length of the
rest of a vector loop and several CPUs; the answer must be numpy's. A process of its own for each run: a read too far
is a signal there.
"""

import argparse
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import harness
from compiled import at_page_end

BEFORE, AFTER = (3, 5), (2, 5)


def child(artifact, width):
    from bmc_ctypes import Loaded

    x = np.random.default_rng(width).standard_normal((7, width)).astype(np.float32)
    got = Loaded(artifact).run({"x": at_page_end(x)})["y"]
    return 0 if np.array_equal(got, np.pad(x, tuple(zip(BEFORE, AFTER)))) else 3


def write_model(path, width):
    pads = numpy_helper.from_array(np.array(BEFORE + AFTER, np.int64), "pads")
    graph = helper.make_graph(
        [helper.make_node("Pad", ["x", "pads"], ["y"])],
        "pad",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [7, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [pads],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)


def main():
    parser = argparse.ArgumentParser(description="nothing beyond the inputs is read")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--child", nargs=2)
    args = parser.parse_args()
    if args.child:
        return child(args.child[0], int(args.child[1]))
    bmc = harness.needs_bmc(args.bmc)
    tally = harness.Tally()
    folder = os.path.join(harness.WORK, "bounds-%d" % os.getpid())
    os.makedirs(folder)
    model, artifact = os.path.join(folder, "pad.onnx"), os.path.join(folder, "pad.so")

    for width in range(36, 54):
        write_model(model, width)
        for cpu in ("native", "x86-64-v3", "x86-64-v2"):
            name = "width %d for %s" % (width, cpu)
            ran = harness.run([bmc, model, "-o", artifact, "--cpu=" + cpu, "--threads=off"])
            if tally.check(name + " compiles", ran.status == 0, ran.brief()):
                ran = harness.run([sys.executable, __file__, "--child", artifact, width])
                tally.check(name, ran.status == 0, ran.brief())
            if os.path.exists(artifact):
                os.remove(artifact)
    os.remove(model)
    os.rmdir(folder)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
