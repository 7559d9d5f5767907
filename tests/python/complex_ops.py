#!/usr/bin/env python3
"""Complex tensors through every operator that takes them:   complex_ops.py [--full] [--bmc PATH] [--filter TEXT]

complex64 and complex128, at -O0 and -O2 for two CPUs (--full: both levels for both), against numpy written out here (moves) or ONNX's reference evaluator.
"""

import argparse
import copy
import os
import shutil
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import harness

NP = {TensorProto.COMPLEX64: np.complex64, TensorProto.COMPLEX128: np.complex128}
NAMES = {TensorProto.COMPLEX64: "complex64", TensorProto.COMPLEX128: "complex128"}
# a region that reaches outside, where a real number stands; places, some of them outside, that float32 computes without rounding
CROP = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 2.5}
REGION = np.array([0, 0, 0.25, -0.25, 1, 1, 1.4, 0.9], np.float32)
PLACES = (np.random.default_rng(5).integers(-42, 42, (2, 3, 2, 2)) / 32).astype(np.float32)
I64, BOOL = TensorProto.INT64, TensorProto.BOOL


def ints(*values):
    return np.array(values, np.int64)


def cases():
    """(name, operator, attributes, inputs: a shape is a complex tensor, an array a constant, outputs)."""
    move = [
        ("Identity", {}, [(3, 4)]),
        ("Reshape", {}, [(3, 4), ints(0, 2, -1)]),
        ("Flatten", {"axis": 2}, [(2, 3, 4)]),
        ("Squeeze", {}, [(3, 1, 4), ints(1)]),
        ("Unsqueeze", {}, [(3, 4), ints(0, 3)]),
        ("Transpose", {"perm": [2, 0, 1]}, [(2, 3, 19)]),
        ("Concat", {"axis": 1}, [(2, 3), (2, 17), (2, 1)]),
        ("Gather", {"axis": 1}, [(3, 5), np.array([[4, -1], [0, 2]])]),
        ("GatherElements", {"axis": 0}, [(3, 2), np.array([[2, -1], [0, 1]])]),
        ("GatherND", {}, [(3, 4), np.array([[2, 3], [0, -1]])]),
        ("Slice", {}, [(20, 6), ints(17, 1), ints(2, 5), ints(0, 1), ints(-3, 2)]),
        ("Expand", {}, [(3, 1), ints(2, 3, 4)]),
        ("Tile", {}, [(2, 3), ints(2, 3)]),
        ("Where", {}, [np.array([[True], [False], [True]]), (3, 4), (4,)]),
        ("Pad", {}, [(3, 4), ints(1, 2, 0, 3)]),
        ("Pad", {"mode": "reflect"}, [(3, 4), ints(1, 2, 0, 3)]),
        ("Pad", {}, [(3, 4), ints(1, 2, 0, 3), ()]),
        ("Trilu", {}, [(4, 5)]),
        ("Compress", {"axis": 0}, [(3, 2), np.array([True, False, True])]),
        ("DepthToSpace", {"blocksize": 2}, [(1, 8, 2, 3)]),
        ("SpaceToDepth", {"blocksize": 2}, [(1, 2, 4, 6)]),
        ("ReverseSequence", {"batch_axis": 1, "time_axis": 0}, [(4, 3), ints(1, 4, 2)]),
        ("CenterCropPad", {}, [(5, 6), ints(3, 9)]),
        ("OneHot", {"axis": -1}, [ints(1, 0, 2), np.array(4), (2,)]),
        ("ScatterND", {}, [(4, 3), np.array([[2], [0]]), (2, 3)]),
        ("ScatterElements", {"axis": 0}, [(3, 2), np.array([[2, 0]]), (1, 2)]),
        ("Resize", {"mode": "nearest"}, [(1, 1, 2, 3), None, np.array([1, 1, 2, 2], np.float32)]),
        ("NonZero", {}, [np.array([[0, 1j, 2], [0, 0, np.nan]])]),
        ("NonZero", {}, [(3, 4)]),
        ("Col2Im", {}, [(2, 8, 9), ints(4, 4), ints(2, 2)]),
        ("Col2Im", {"pads": [1, 0, 1, 2], "strides": [2, 1]}, [(1, 4, 15), ints(4, 4), ints(2, 2)]),
        ("ScatterND", {"reduction": "add"}, [(4, 3), np.array([[2], [0], [2]]), (3, 3)]),
        ("ScatterND", {"reduction": "mul"}, [(4, 3), np.array([[2, 1], [0, 0], [2, 1], [2, 1]]), (4,)]),
        ("ScatterElements", {"axis": 0, "reduction": "add"}, [(3, 2), np.array([[2, 0], [2, 1]]), (2, 2)]),
        ("ScatterElements", {"axis": 1, "reduction": "mul"}, [(3, 4), np.array([[2, 0, 2], [-1, 1, 0]]), (2, 3)]),
        ("Resize", {"mode": "linear"}, [(1, 2, 3, 3), None, np.array([1, 1, 2, 1.5], np.float32)]),
        ("Resize", {"mode": "cubic", "antialias": 1}, [(1, 1, 6, 5), None, np.array([1, 1, 0.5, 0.5], np.float32)]),
        ("Resize", dict(CROP, mode="linear"), [(1, 1, 3, 4), REGION, None, ints(1, 1, 4, 5)]),
        ("Resize", dict(CROP, mode="nearest"), [(1, 1, 3, 4), REGION, None, ints(1, 1, 4, 5)]),
        ("GridSample", {"mode": "linear"}, [(2, 3, 4, 5), PLACES]),
        ("GridSample", {"mode": "cubic", "padding_mode": "border"}, [(2, 3, 4, 5), PLACES]),
        ("GridSample", {"mode": "nearest", "padding_mode": "reflection"}, [(2, 3, 4, 5), PLACES]),
        ("Shape", {}, [(3, 4)]),
        ("Size", {}, [(3, 4)]),
    ]
    for op, attributes, inputs in move:
        yield op, op, attributes, inputs, 1
    yield "Unique", "Unique", {"axis": 0}, [np.array([3 + 1j, 1, 3 - 1j, 1, 3 + 1j])], 4
    yield "SequenceAt", "SequenceAt", {}, [(3, 4), (2, 2)], 1
    yield "Split", "Split", {"axis": 1, "num_outputs": 3}, [(2, 6)], 3


def reference(model, feeds, op):
    if op not in ("Resize", "GridSample"):
        return ReferenceEvaluator(model).run(None, feeds)
    model, real = copy.deepcopy(model), []  # it takes real parts only
    for part in (np.real, np.imag):
        for attribute in model.graph.node[0].attribute:
            if attribute.name == "extrapolation_value" and part is np.imag:
                attribute.f = 0.0
        real.append(ReferenceEvaluator(model).run(None, {k: part(v).astype(np.float64) for k, v in feeds.items()})[0])
    return [(real[0] + 1j * real[1]).astype(next(iter(feeds.values())).dtype)]


def build(op, attributes, inputs, n_out, dtype):
    rng = np.random.default_rng(len(op))
    names, feeds, values, constants = [], {}, [], []
    for k, given in enumerate(inputs):
        name = "" if given is None else "x%d" % k
        names.append(name)
        if isinstance(given, tuple) or np.iscomplexobj(given):
            values.append(helper.make_tensor_value_info(name, dtype, np.shape(given) if not isinstance(given, tuple) else given))
        if np.iscomplexobj(given):
            feeds[name] = given.astype(NP[dtype])
        elif isinstance(given, tuple):
            feeds[name] = (rng.standard_normal(given) + 1j * rng.standard_normal(given)).astype(NP[dtype])
        elif given is not None:
            constants.append(numpy_helper.from_array(np.asarray(given), name))
    outputs = [helper.make_empty_tensor_value_info("y%d" % k) for k in range(n_out)]
    nodes = [helper.make_node(op, names, [o.name for o in outputs], "culprit", **attributes)]
    if op == "SequenceAt":  # of a sequence made of the inputs; its last element
        constants.append(numpy_helper.from_array(ints(-1)[0], "at"))
        nodes = [helper.make_node("SequenceConstruct", names, ["all"]), helper.make_node(op, ["all", "at"], ["y0"])]
    graph = helper.make_graph(nodes, "complex", values, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    want = reference(model, feeds, op)
    for value, w in zip(outputs, want):
        value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.asarray(w).dtype)
    del graph.output[:]
    graph = helper.make_graph(list(graph.node), "complex", values, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), feeds, want


def main():
    from bmc_ctypes import Loaded

    parser = argparse.ArgumentParser(description="complex tensors")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--filter", default="")
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    bmc, tally = harness.needs_bmc(args.bmc), harness.Tally()
    folder = os.path.join(harness.WORK, "complex-%d" % os.getpid())
    os.makedirs(folder)
    n = 0
    for name, op, attributes, inputs, n_out in cases():
        if args.filter not in name:
            continue
        for dtype in NP:
            model, feeds, want = build(op, attributes, inputs, n_out, dtype)
            path = os.path.join(folder, "model.onnx")
            onnx.save(model, path)
            for flags in harness.configurations(args.full):
                n += 1
                artifact = os.path.join(folder, "%d.so" % n)
                what = "%s %s %s" % (name, NAMES[dtype], " ".join(flags))
                ran = harness.run([bmc, path, "-o", artifact, *flags, "--threads=off"])
                if not tally.check(what + " compiles", ran.status == 0, ran.brief()):
                    continue
                got = list(Loaded(artifact).run(feeds).values())
                good = all(
                    g.dtype == np.asarray(w).dtype and g.shape == np.shape(w) and np.allclose(g, w, rtol=1e-6, atol=1e-7)
                    for g, w in zip(got, want)
                )
                tally.check(what, good and len(got) == len(want), (got, want))
                os.remove(artifact)
    shutil.rmtree(folder)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
