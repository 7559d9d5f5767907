"""Many cases in one model, compiled and run once: `bmc run`, inputs and outputs as ONNX's files.

A node that is refused, or a run that ends in an error, is taken out by its name and the rest tried again; a crash is
looked for by halving. The verdict of a case is a list of outputs, or a Failure."""

import os
import re
import tempfile
from collections import namedtuple

import numpy as np
import onnx
from onnx import numpy_helper

import harness
from oracle import Parts, model_of

Failure = namedtuple("Failure", "verdict message")  # refuse, fail (while running), crash


def map_proto(value, kind):
    proto = onnx.MapProto(key_type=kind.key_type)
    if kind.key_type == onnx.TensorProto.STRING:
        proto.string_keys.extend(k.encode() for k in value)
    else:
        proto.keys.extend(value)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.value_type.tensor_type.elem_type)
    proto.values.elem_type = onnx.SequenceProto.TENSOR
    proto.values.tensor_values.extend(numpy_helper.from_array(np.array(v, dtype)) for v in value.values())
    return proto


def dict_of(proto):
    keys = [k.decode() for k in proto.string_keys] or list(proto.keys)
    return dict(zip(keys, [numpy_helper.to_array(t).item() for t in proto.values.tensor_values]))


def sequence_proto(value, kind):
    """Of arrays, lists or dicts, as the type says."""
    proto = onnx.SequenceProto()
    inner = kind.sequence_type.elem_type
    form = inner.WhichOneof("value")
    proto.elem_type = {"tensor_type": 1, "sequence_type": 3, "map_type": 4}[form]
    for x in value:
        if form == "tensor_type":
            proto.tensor_values.append(numpy_helper.from_array(x))
        elif form == "map_type":
            proto.map_values.append(map_proto(x, inner.map_type))
        else:
            proto.sequence_values.append(sequence_proto(x, inner))
    return proto


def value_proto(value, kind):
    form = kind.WhichOneof("value")
    if form == "sequence_type":
        return sequence_proto(value, kind)
    if form == "map_type":
        return map_proto(value, kind.map_type)
    if form == "tensor_type":
        return numpy_helper.from_array(value)
    proto = onnx.OptionalProto()
    inner = kind.optional_type.elem_type
    if value is not None and inner.WhichOneof("value") == "sequence_type":
        proto.elem_type = onnx.OptionalProto.SEQUENCE
        proto.sequence_value.CopyFrom(sequence_proto(value, inner))
    elif value is not None:
        proto.elem_type = onnx.OptionalProto.TENSOR
        proto.tensor_value.CopyFrom(numpy_helper.from_array(value))
    return proto


def value_bytes(value, info):
    proto = value_proto(value, info.type)
    proto.name = info.name
    return proto.SerializeToString()


def of_sequence(proto):
    return ([numpy_helper.to_array(x) for x in proto.tensor_values] + [dict_of(x) for x in proto.map_values]
            + [of_sequence(x) for x in proto.sequence_values])


def read_value(path, info):
    form = info.type.WhichOneof("value")
    proto = {"sequence_type": onnx.SequenceProto, "optional_type": onnx.OptionalProto, "map_type": onnx.MapProto}.get(
        form, onnx.TensorProto)()
    with open(path, "rb") as f:
        proto.ParseFromString(f.read())
    if form == "sequence_type":
        return of_sequence(proto)
    if form == "optional_type":
        return {1: lambda: numpy_helper.to_array(proto.tensor_value), 3: lambda: of_sequence(proto.sequence_value)}.get(
            proto.elem_type, lambda: None)()
    return dict_of(proto) if form == "map_type" else numpy_helper.to_array(proto)


def forget(kind):
    """Takes all sizes out of a type; ranks stay."""
    form = kind.WhichOneof("value")
    if form == "tensor_type":
        for d in kind.tensor_type.shape.dim:
            d.Clear()
    elif form in ("sequence_type", "optional_type"):
        forget(getattr(kind, form).elem_type)


class Runner:
    """bmc with its options. `form`: fixed, every input is an initializer, so that the compiler computes the answer; free,
    none is one, and of the inputs' types the model says the elements and the ranks only."""

    def __init__(self, bmc, options=(), form=""):
        self.bmc, self.options, self.form = bmc, list(options), form
        self.runs = 0

    def results(self, cases):
        """{case name: outputs or Failure} of cases of one operator's version."""
        found, waiting = {}, [list(cases)]
        while waiting:
            some = waiting.pop()
            if not some:
                continue
            outcome = self.run(some)
            if isinstance(outcome, list):
                found.update(zip((c.name for c in some), outcome))
                continue
            blamed = {0: outcome.message} if len(some) == 1 else by_case(outcome)
            if not blamed or not set(blamed) <= set(range(len(some))):
                waiting += [some[: len(some) // 2], some[len(some) // 2:]]
                continue
            found.update((some[k].name, Failure(outcome.verdict, text)) for k, text in blamed.items())
            waiting.append([c for k, c in enumerate(some) if k not in blamed])
        return found

    def run(self, cases):
        """A list with each case's outputs, or the Failure of the whole."""
        self.runs += 1
        free = self.form == "free"
        parts = [Parts(c._replace(fixed=()) if free else c, "c%d_" % k, self.form == "fixed") for k, c in enumerate(cases)]
        model = model_of(parts, cases[0].domain, cases[0].version)
        for v in model.graph.input if free else ():
            forget(v.type)
        with tempfile.TemporaryDirectory(prefix="bmc-schema-") as folder:
            path, data, out = (os.path.join(folder, n) for n in ("model.onnx", "in", "out"))
            os.mkdir(data)
            with open(path, "wb") as f:
                f.write(model.SerializeToString())
            feeds = {n: v for p in parts for n, v in p.feeds.items()}
            for k, info in enumerate(model.graph.input):
                with open(os.path.join(data, "input_%d.pb" % k), "wb") as f:
                    f.write(value_bytes(feeds[info.name], info))
            ran = harness.run([self.bmc, "run", path, "-q", "--data", data, "--output-dir", out, "--format", "pb",
                               "--threads", "1"] + self.options, limit=120)
            if ran.status != 0:
                text = " | ".join(x for x in ran.err.strip().splitlines() if "error" in x) or ran.brief()
                crash = ran.status is None or ran.status < 0 or "internal error" in ran.err or ran.status not in (1,)
                return Failure("crash" if crash else "refuse", text.replace(path, "").strip())
            read, k = [], 0
            for p in parts:
                read.append([read_value(os.path.join(out, "output_%d.pb" % (k + i)), y) for i, y in enumerate(p.outputs)])
                k += len(p.outputs)
            return read


def by_case(outcome):
    """{number of a case: message} of the cases that the messages name; none after a crash."""
    found = {}
    for line in outcome.message.split(" | ") if outcome.verdict != "crash" else ():
        match = re.search(r"\bc(\d+)_", line)
        if match:
            found.setdefault(int(match.group(1)), line)
    return found
