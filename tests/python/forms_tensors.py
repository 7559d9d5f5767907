"""How a tensor's elements are stored: raw_data, the typed field of its type, external data; of every element type.

One model for each way and each shape, with an initializer of every type and an output for each, and one whose inputs
come in files written that way. ONNX's own helper writes the typed fields and reads what comes back.
"""

import os

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import harness

TYPES = [n for name, n in TensorProto.DataType.items() if name != "UNDEFINED"]
SHAPES = ((3, 5), (), (0, 3), (8,))  # 15 elements fill no byte, no three bytes of six bits


def elements(rng, number, shape):
    """Any elements of a type, with its smallest and largest; no NaN, whose bits are nobody's business."""
    dtype = helper.tensor_dtype_to_np_dtype(number)
    count = int(np.prod(shape))
    if number == TensorProto.STRING:
        return np.array([["", "a", "zürich", "x" * 40][k % 4] for k in range(count)], object).reshape(shape)
    if dtype.kind in "iub" or "int" in dtype.name:
        info = None if dtype.kind == "b" else ml_dtypes.iinfo(dtype)
        lo, hi = (0, 1) if info is None else (int(info.min), int(info.max))
        drawn = rng.integers(max(lo, -100), min(hi, 100), max(count, 1), endpoint=True)
        return np.array(([lo, hi, hi // 2] + drawn.tolist())[:count], np.int64 if lo < 0 else np.uint64).astype(dtype).reshape(shape)
    if dtype.kind == "c":
        values = list(rng.standard_normal(max(count, 1)) + 1j * rng.standard_normal(max(count, 1)))
    else:
        info = ml_dtypes.finfo(dtype)
        values = [float(info.max), float(info.min), 1.5, 0.5] + list(rng.standard_normal(max(count, 1)))
        if float(info.min) > 0:
            values = [abs(v) + 0.25 for v in values[2:]] * 2
    return np.array(values[:count]).astype(dtype).reshape(shape)


def by_raw(name, number, array, folder):
    return numpy_helper.from_array(array, name)


def by_field(name, number, array, folder):
    return helper.make_tensor(name, number, array.shape, array.ravel().tolist() if number == TensorProto.STRING else array.ravel(), raw=False)


def by_file(name, number, array, folder):
    """Behind some bytes of something else."""
    tensor = numpy_helper.from_array(array, name)
    if number == TensorProto.STRING:
        return tensor
    data = tensor.raw_data
    with open(os.path.join(folder, name + ".bin"), "wb") as f:
        f.write(b"\xff" * 64 + data + b"\xff" * 3)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", name + ".bin"), ("offset", 64), ("length", len(data))):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


WAYS = {"raw_data": by_raw, "typed fields": by_field, "external data": by_file}


def same(got, want):
    if want.dtype == object:
        return got.shape == want.shape and [x.decode() if isinstance(x, bytes) else x for x in got.ravel()] == list(want.ravel())
    return got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()


def outputs(bmc, path, folder, data=None):
    """What `bmc run` gives: {name: array}, or the message."""
    out = os.path.join(folder, "out")
    ran = harness.run([bmc, "run", path, "-q", "--output-dir", out, "--format", "pb"] + (["--data", data] if data else []))
    if ran.status != 0:
        return ran.brief()
    found = {}
    for k in range(len(onnx.load(path, load_external_data=False).graph.output)):
        tensor = onnx.load_tensor(os.path.join(out, "output_%d.pb" % k))
        found[k] = numpy_helper.to_array(tensor)
    return found


def compare(tally, label, got, arrays):
    if not tally.check(label + " runs", not isinstance(got, str), got):
        return
    for k, (number, want) in enumerate(arrays):
        tally.check("%s, %s" % (label, TensorProto.DataType.Name(number)), same(got[k], want), "%s, expected %s" % (got[k], want))


def check(tally, bmc, work):
    rng = np.random.default_rng(7)
    for where, shape in enumerate(SHAPES):
        arrays = [(n, elements(rng, n, shape)) for n in TYPES]
        infos = [helper.make_tensor_value_info("y%d" % n, n, shape) for n in TYPES]
        nodes = [helper.make_node("Identity", ["x%d" % n], ["y%d" % n]) for n in TYPES]
        for way, write in WAYS.items():
            folder = os.path.join(work, "tensors-%d-%s" % (where, way.replace(" ", "-")))
            os.makedirs(os.path.join(folder, "in"), exist_ok=True)
            tensors = [write("x%d" % n, n, a, folder) for n, a in arrays]
            path = os.path.join(folder, "model.onnx")
            for fed in (False, True):
                label = "%s %s %s" % ("inputs" if fed else "initializers", list(shape), way)
                if fed and way == "external data":
                    continue
                inputs = [helper.make_tensor_value_info("x%d" % n, n, shape) for n in TYPES] if fed else []
                graph = helper.make_graph(nodes, "g", inputs, infos, [] if fed else tensors)
                with open(path, "wb") as f:  # onnx.save would move external data
                    f.write(helper.make_model(graph, opset_imports=[helper.make_opsetid("", onnx.defs.onnx_opset_version())],
                                              ir_version=13).SerializeToString())
                for k, t in enumerate(tensors if fed else ()):
                    with open(os.path.join(folder, "in", "input_%d.pb" % k), "wb") as f:
                        f.write(t.SerializeToString())
                compare(tally, label, outputs(bmc, path, folder, os.path.join(folder, "in") if fed else None), arrays)
