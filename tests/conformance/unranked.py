#!/usr/bin/env python3
"""The ONNX backend cases with no rank and no size declared anywhere:   unranked.py [--full] [--filter TEXT] [--config N] [--slow SECONDS] [--jobs N]

Inputs, outputs and values in between of each case's model and of the graphs in its nodes lose their shapes, tensors in
sequences and optionals, too. What a type of another model says (Optional's attribute) and inputs with an initializer stay as
they are. Data, tolerances and verdicts are those of the cases (run.py): what passes there has to pass here, in at most a
minute of processor time, the limit of build/bin/bmc-conformance. The cases that take longer than --slow (20 s) are listed.
Without --full or --filter a fixed part of the cases runs, in four configurations (run.py), picked by the hashes of their names.
"""

import argparse
import os
import shutil
import subprocess
import sys

import onnx

import cases

PART = 40
FOLDER = os.path.join(cases.TOP, "build", "conformance-unranked")


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


def export(source, out):
    """Writes the folder anew where the cases are newer."""
    stamp = os.path.join(out, "stamp")
    with open(os.path.join(source, "stamp"), encoding="utf-8") as f:
        want = f.read()
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as f:
            if f.read() == want:
                return
    shutil.rmtree(out, ignore_errors=True)
    for name in cases.manifest(source):
        os.makedirs(os.path.join(out, name))
        for entry in os.listdir(os.path.join(source, name)):
            if entry != "model.onnx":
                os.symlink(os.path.abspath(os.path.join(source, name, entry)), os.path.join(out, name, entry))
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
