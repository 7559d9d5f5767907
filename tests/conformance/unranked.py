#!/usr/bin/env python3
"""The ONNX backend cases with no rank and no size declared anywhere:   unranked.py [--full] [--filter TEXT] [--config N] [--slow SECONDS] [--jobs N]

Inputs, outputs and values in between of each case's model and of the graphs in its nodes lose their shapes, tensors in
sequences and optionals, too. What a type of another model says (Optional's attribute) and inputs with an initializer stay as
they are. Data, tolerances and verdicts are those of the cases (run.py), but for the outputs of IN_DOUBLE: what passes there
has to pass here, in at most a minute of processor time, the limit of build/bin/bmc-conformance. The cases that take longer than --slow (20 s) are listed.
Without --full or --filter a fixed part of the cases runs, in four configurations (run.py), picked by the hashes of their names.
"""

import argparse
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

import cases

PART = 40
FOLDER = os.path.join(cases.TOP, "build", "conformance-unranked")


# The stored zeros of these are off by what float32 rounds in one order of additions (1.9e-7, the tolerance is 1e-7): only
# who adds in that order agrees. Their outputs are made anew by ONNX's reference evaluator, in double precision.
IN_DOUBLE = ("test_dft_inverse", "test_dft_inverse_opset19")


def strip(type_proto):
    kind = type_proto.WhichOneof("value")
    if kind in ("tensor_type", "sparse_tensor_type"):
        getattr(type_proto, kind).ClearField("shape")
    elif kind in ("sequence_type", "optional_type"):
        strip(getattr(type_proto, kind).elem_type)


def strip_graph(graph):
    stored = {t.name for t in graph.initializer}
    for value in [v for v in graph.input if v.name not in stored] + list(graph.output):
        strip(value.type)
    del graph.value_info[:]
    for node in graph.node:
        strip_node(node)


def strip_node(node):
    for a in node.attribute:
        for graph in [a.g] if a.HasField("g") else a.graphs:
            strip_graph(graph)


def write_in_double(source, out):
    """The outputs of a case whose float tensors are taken as double; what is stored has to be near."""
    def load(name):
        return numpy_helper.to_array(onnx.load_tensor(os.path.join(source, "test_data_set_0", name)))

    model = onnx.load(os.path.join(source, "model.onnx"))
    for value in list(model.graph.input) + list(model.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    feeds = {v.name: load("input_%d.pb" % k) for k, v in enumerate(model.graph.input)}
    feeds = {n: x.astype(np.float64) if x.dtype == np.float32 else x for n, x in feeds.items()}
    data = os.path.join(out, "test_data_set_0")
    shutil.copytree(os.path.join(source, "test_data_set_0"), data)
    for k, wide in enumerate(ReferenceEvaluator(model).run(None, feeds)):
        stored = load("output_%d.pb" % k)
        if not np.allclose(stored, wide, rtol=1e-6, atol=1e-6):
            raise ValueError("%s: the reference in double precision is far from what is stored" % source)
        onnx.save_tensor(numpy_helper.from_array(wide.astype(stored.dtype)), os.path.join(data, "output_%d.pb" % k))


def export(source, out):
    """Writes the folder anew where the cases are newer."""
    stamp = os.path.join(out, "stamp")
    with open(os.path.join(source, "stamp"), encoding="utf-8") as f:
        want = f.read() + " " + " ".join(IN_DOUBLE)
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as f:
            if f.read() == want:
                return
    shutil.rmtree(out, ignore_errors=True)
    for name in cases.manifest(source):
        os.makedirs(os.path.join(out, name))
        for entry in os.listdir(os.path.join(source, name)):
            if entry != "model.onnx" and not (name in IN_DOUBLE and entry == "test_data_set_0"):
                os.symlink(os.path.abspath(os.path.join(source, name, entry)), os.path.join(out, name, entry))
        if name in IN_DOUBLE:
            write_in_double(os.path.join(source, name), os.path.join(out, name))
        model = onnx.load(os.path.join(source, name, "model.onnx"), load_external_data=False)
        strip_graph(model.graph)
        for function in model.functions:
            del function.value_info[:]
            for node in function.node:
                strip_node(node)
        with open(os.path.join(out, name, "model.onnx"), "wb") as f:
            f.write(model.SerializeToString())
    shutil.copy(os.path.join(source, "manifest.txt"), out)
    with open(stamp, "w", encoding="utf-8") as f:
        f.write(want)


def main():
    parser = argparse.ArgumentParser(description="the ONNX backend cases without ranks")
    parser.add_argument("--bin", default=os.path.join(cases.TOP, "build", "bin"))
    parser.add_argument("--cases", default=cases.FOLDER, help="what run.py exported")
    parser.add_argument("--filter", help="only cases whose name contains this")
    parser.add_argument("--full", action="store_true", help="all cases; hours without a second processor")
    parser.add_argument("--config", type=int, help="0 to 3, for all cases: the table in tests/tools/conformance.c")
    parser.add_argument("--slow", type=float, default=20.0)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    export(args.cases, FOLDER)
    report = os.path.join(FOLDER, "report.txt")
    command = [os.path.join(args.bin, "bmc-conformance"), "--cases", FOLDER, "--expected", cases.EXPECTED, "--report", report]
    command += ["--jobs", str(args.jobs)]
    if args.config is not None:
        command += ["--config", str(args.config)]
    if args.filter:
        command += ["--filter", args.filter]
    elif not args.full:
        command += ["--every", str(PART)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    with open(report, encoding="utf-8", errors="replace") as f:
        rows = [line.rstrip("\n").split("\t") for line in f]
    for row in sorted(rows, key=lambda r: -float(r[-1])):
        if float(row[-1]) > args.slow:
            print("slow: %s %s s" % (row[0], row[-1]))
    print(ran.stdout, end="")  # the sum comes last
    return ran.returncode


if __name__ == "__main__":
    sys.exit(main())
