#!/usr/bin/env python3
"""Write the ONNX project's backend test cases as files:   export.py [--out build/conformance]

All 2,033 cases of onnx==1.23.2: 1,884 of single operators (expanded function bodies included), 23 simple models, 117
converted from PyTorch, and 9 "light" copies of well-known networks. Standard layout:

    OUT/<case>/model.onnx
    OUT/<case>/test_data_set_K/input_I.pb, output_O.pb     TensorProto, SequenceProto, OptionalProto or MapProto
    OUT/manifest.txt
    OUT/stamp                                              package version and a hash of this script, written last

Inputs belong to graph.input by position (initializers that are also listed as inputs are not fed, except where a case
feeds them). An optional without a value is an OptionalProto with no element.

manifest.txt: one line per case, sorted by name, five fields with a tab between, lists joined by ",":

    name  rtol  atol  ops  types

    rtol, atol  the suite's tolerances: |got - want| <= atol + rtol * |want|, want being the stored output; bfloat16
                takes rtol = max(rtol, 2^-6), as the suite's own runner does. Shape and element type must be equal;
                NaN equals NaN, infinities must be equal; strings are compared byte by byte.
    ops         every operator that the model's nodes name, in subgraphs and model-local functions too. Functions
                defined in the model are not operators: their bodies count. Outside the default domain as domain:Op.
    types       every element type in the model: declared, stored, in casts, and inferred for values inside, by ONNX's
                names in lower case (float, float16, bfloat16, double, int4, float8e4m3fn, complex64, ...), and the
                words sequence, optional, map and sparse where such a type occurs.

expected.txt, beside this script and read by the C runner, says for every case `name pass` or `name refuse REASON...`.
A case marked refuse must be refused with a message at compile time; a wrong answer or a crash is never expected.
"""

import argparse
import hashlib
import os
import shutil
import sys
import warnings

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

CASES = 2033
KINDS = ("node", "real", "simple", "pytorch-converted", "pytorch-operator")


def encode(value, declared):
    """The bytes of one input_K.pb or output_K.pb: a numpy array, TensorProto, list, dict or None as the declared type
    says."""
    kind = declared.type.WhichOneof("value")
    if isinstance(value, TensorProto):
        return value.SerializeToString()
    if kind == "map_type":
        return numpy_helper.from_dict(value, declared.name).SerializeToString()
    if kind == "sequence_type":
        return numpy_helper.from_list(value, declared.name).SerializeToString()
    if kind == "optional_type":
        return numpy_helper.from_optional(value, declared.name).SerializeToString()
    if kind != "tensor_type":
        raise ValueError("no encoding for %s" % kind)
    return numpy_helper.from_array(np.asarray(value), declared.name).SerializeToString()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def write_built(case, folder):
    """A case that the package builds in memory: model and arrays."""
    write(os.path.join(folder, "model.onnx"), case.model.SerializeToString())
    for k, (inputs, outputs) in enumerate(case.data_sets):
        data = os.path.join(folder, "test_data_set_%d" % k)
        os.makedirs(data)
        for what, values, declared in (
            ("input", inputs, case.model.graph.input),
            ("output", outputs, case.model.graph.output),
        ):
            for i, value in enumerate(values):
                write(os.path.join(data, "%s_%d.pb" % (what, i)), encode(value, declared[i]))
    return case.model


def write_stored(case, folder):
    """A case that the package ships as files."""
    shutil.copy(os.path.join(case.model_dir, "model.onnx"), folder)
    for name in os.listdir(case.model_dir):
        source = os.path.join(case.model_dir, name)
        if name.startswith("test_data_set_"):
            shutil.copytree(source, os.path.join(folder, name))
        elif os.path.isfile(source) and not name.endswith(".json"):
            shutil.copy(source, folder)  # external data
    return onnx.load(os.path.join(folder, "model.onnx"))


def write_light(case, folder):
    """A well-known network with its weights thinned out; the input is a ramp and the output is stored, as in the
    package's runner."""
    source = os.path.join(os.path.dirname(onnx.__file__), "..", case.url)
    shutil.copy(source, os.path.join(folder, "model.onnx"))
    model = onnx.load(source)
    data = os.path.join(folder, "test_data_set_0")
    os.makedirs(data)
    stored = {t.name for t in model.graph.initializer}
    for i, declared in enumerate(v for v in model.graph.input if v.name not in stored):
        value = Runner.generate_dummy_data(declared, name=case.name)
        write(os.path.join(data, "input_%d.pb" % i), encode(value, declared))
    for i in range(len(model.graph.output)):
        shutil.copy(source[: -len(".onnx")] + "_output_%d.pb" % i, os.path.join(data, "output_%d.pb" % i))
    return model


def facts(model):
    """(operators, types) of a model, as sorted lists; see the head of this file."""
    ops, types = set(), set()
    local = {(f.domain, f.name) for f in model.functions}

    def elem(number):
        if number != TensorProto.UNDEFINED:
            types.add(TensorProto.DataType.Name(number).lower())

    def typed(proto):
        kind = proto.WhichOneof("value")
        if kind == "tensor_type":
            elem(proto.tensor_type.elem_type)
        elif kind == "sparse_tensor_type":
            types.add("sparse")
            elem(proto.sparse_tensor_type.elem_type)
        elif kind == "sequence_type":
            types.add("sequence")
            typed(proto.sequence_type.elem_type)
        elif kind == "optional_type":
            types.add("optional")
            typed(proto.optional_type.elem_type)
        elif kind == "map_type":
            types.add("map")
            elem(proto.map_type.key_type)
            typed(proto.map_type.value_type)

    def nodes(node_list):
        for node in node_list:
            domain = "" if node.domain == "ai.onnx" else node.domain
            if (node.domain, node.op_type) not in local:
                ops.add(domain + ":" + node.op_type if domain else node.op_type)
            for a in node.attribute:
                if a.type == onnx.AttributeProto.TENSOR:
                    elem(a.t.data_type)
                elif a.type == onnx.AttributeProto.SPARSE_TENSOR:
                    types.add("sparse")
                elif a.type == onnx.AttributeProto.TYPE_PROTO:
                    typed(a.tp)
                elif a.type == onnx.AttributeProto.GRAPH:
                    graph(a.g)
                elif a.type == onnx.AttributeProto.GRAPHS:
                    for g in a.graphs:
                        graph(g)
                elif a.name in ("to", "dtype", "output_datatype") and a.type == onnx.AttributeProto.INT:
                    elem(a.i)

    def graph(g):
        nodes(g.node)
        for tensor in g.initializer:
            elem(tensor.data_type)
        if g.sparse_initializer:
            types.add("sparse")
        for value in list(g.input) + list(g.output) + list(g.value_info):
            typed(value.type)

    try:
        model = shape_inference.infer_shapes(model)
    except Exception:  # some cases are beyond ONNX's own inference: what is declared must do then
        pass
    graph(model.graph)
    for f in model.functions:
        nodes(f.node)
    return sorted(ops), sorted(types)


def stamp():
    with open(os.path.abspath(__file__), "rb") as f:
        return "onnx %s %s\n" % (onnx.__version__, hashlib.sha256(f.read()).hexdigest())


def is_current(out):
    try:
        with open(os.path.join(out, "stamp")) as f:
            return f.read() == stamp()
    except OSError:
        return False


def export(out):
    """Write everything below `out`, unless it is there already. Returns the number of cases."""
    if is_current(out):
        with open(os.path.join(out, "manifest.txt")) as f:
            return sum(1 for _ in f)
    warnings.simplefilter("ignore")
    shutil.rmtree(out, ignore_errors=True)
    lines = []
    for kind in KINDS:
        for case in load_model_tests(kind=kind):
            folder = os.path.join(out, case.name)
            os.makedirs(folder)
            writer = write_built if case.model is not None else write_stored if case.model_dir else write_light
            ops, types = facts(writer(case, folder))
            lines.append("%s\t%g\t%g\t%s\t%s\n" % (case.name, case.rtol, case.atol, ",".join(ops), ",".join(types)))
    if len(lines) != CASES:
        sys.exit("the package has %d cases, %d are expected: is it onnx==1.23.2?" % (len(lines), CASES))
    with open(os.path.join(out, "manifest.txt"), "w") as f:
        f.writelines(sorted(lines))
    with open(os.path.join(out, "stamp"), "w") as f:
        f.write(stamp())
    return len(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="write the ONNX backend test cases as files")
    parser.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "..", "..", "build", "conformance"))
    print("%d cases" % export(os.path.abspath(parser.parse_args().out)))
