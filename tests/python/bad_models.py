"""Model files that bmc must refuse. Each function writes what it needs into a folder and returns (path, words): the
file and the words that the one error message has to contain beside the file's name (a node's name, an operator, a
tensor, an attribute).
"""

import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import harness

DIGITS = os.path.join(harness.TOP, "models", "digits", "digits.onnx")
node = helper.make_node


def floats(name, dims):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def model(nodes, inputs, outputs, initializers=(), opset=20, domains=(), ir_version=9):
    graph = helper.make_graph(list(nodes), "bad", list(inputs), list(outputs), list(initializers))
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in domains]
    made = helper.make_model(graph, opset_imports=imports)
    made.ir_version = ir_version
    return made


def save(folder, proto, name="bad.onnx"):
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.write(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


def one(op, inputs=(("x", [2, 3]),), out=("y", [2, 3]), initializers=(), node_inputs=None, domain="", **attributes):
    """A model of one node, called 'culprit'."""
    names = node_inputs if node_inputs is not None else [n for n, _ in inputs] + [t.name for t in initializers]
    domains = (domain,) if domain else ()
    return model(
        [node(op, names, [out[0]], "culprit", domain=domain, **attributes)],
        [floats(*i) for i in inputs],
        [floats(*out)],
        initializers,
        domains=domains,
    )


def ints(name, values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


# --- files that are no models
# -----------------------------------------------------------------------------------------------------


def empty_file(d):
    return save(d, b"", "empty.onnx"), []


def text_file(d):
    return save(d, b"This is a text file, not a model.\n" * 20, "text.onnx"), []


def random_bytes(d):
    return save(d, np.random.default_rng(1).bytes(5000), "random.onnx"), []


def directory(d):
    path = os.path.join(d, "folder.onnx")
    os.makedirs(path)
    return path, []


def missing_file(d):
    return os.path.join(d, "missing.onnx"), []


def truncated(share):
    def build(d):
        with open(DIGITS, "rb") as f:
            data = f.read()
        return save(d, data[: int(len(data) * share)], "truncated.onnx"), []

    return build


def no_graph(d):
    proto = onnx.ModelProto(ir_version=9)
    proto.opset_import.add().version = 20
    return save(d, proto), []


# --- nesting
# ----------------------------------------------------------------------------------------------------------------------


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def nest(numbers, levels, inner=b""):
    """`levels` messages inside each other, their field numbers taken in turn; built from the inside."""
    for i in range(levels):
        inner = field(numbers[i % len(numbers)], inner)
    return inner


def header():
    return b"\x08\x09" + field(8, b"\x10\x14")  # ir_version 9, opset_import version 20


def nested_graphs(d):
    """graph.node.attribute.g.node.attribute.g ...: 20,000 messages in less than 100 kB."""
    data = header() + field(7, nest((6, 5, 1), 19998))
    assert len(data) < 100000
    return save(d, data, "nested.onnx"), []


def nested_types(d):
    """A sequence of sequences of sequences ... as the type of an input."""
    inner = field(1, field(1, b"\x08\x01"))  # name length 1 byte is not needed: ValueInfo{type{...}}
    data = header() + field(7, field(11, field(1, b"x") + field(2, nest((1, 4), 19998, inner))))
    return save(d, data, "nested.onnx"), []


def nested_groups(d):
    """Unknown fields as groups within groups (wire types 3 and 4), which a recursive skipper overflows on."""
    opened, closed = varint(100 << 3 | 3), varint(100 << 3 | 4)
    return save(d, header() + opened * 20000 + closed * 20000, "nested.onnx"), []


# --- operators, edges, attributes
# -------------------------------------------------------------------------------------------------


def unknown_op(d):
    return save(d, one("NoSuchOperator")), ["culprit", "NoSuchOperator"]


def unknown_domain(d):
    return save(d, one("Frob", domain="com.example.none")), ["culprit", "Frob", "com.example.none"]


def cycle(d):
    proto = model(
        [node("Add", ["x", "b"], ["a"], "first"), node("Relu", ["a"], ["b"], "second")],
        [floats("x", [2, 3])],
        [floats("b", [2, 3])],
    )
    return save(d, proto), []


def self_cycle(d):
    return save(d, one("Add", node_inputs=["x", "y"])), []


def undeclared_input(d):
    return save(d, one("Add", node_inputs=["x", "nowhere"])), ["culprit", "nowhere"]


def undeclared_output(d):
    proto = model([node("Relu", ["x"], ["y"], "relu")], [floats("x", [2])], [floats("nothing_makes_this", [2])])
    return save(d, proto), ["nothing_makes_this"]


def defined_twice(d):
    proto = model(
        [node("Relu", ["x"], ["y"], "first"), node("Exp", ["x"], ["y"], "second")],
        [floats("x", [2])],
        [floats("y", [2])],
    )
    return save(d, proto), ["'y'"]


def attribute_type(op, name, value, **more):
    def build(d):
        more.setdefault("inputs", (("x", [1, 3, 8, 8]),))
        return save(d, one(op, out=("y", None), **more, **{name: value})), ["culprit", op, name]

    return build


def missing_attribute(d):
    return save(d, one("Cast")), ["culprit", "Cast", "to"]


def unknown_attribute(d):
    return save(d, one("Relu", wibble=3)), ["culprit", "Relu", "wibble"]


def too_few_inputs(d):
    return save(d, one("Add")), ["culprit", "Add"]


def too_many_inputs(d):
    return save(d, one("Relu", node_inputs=["x", "x", "x"])), ["culprit", "Relu"]


def mixed_types(d):
    proto = model(
        [node("Add", ["x", "i"], ["y"], "culprit")],
        [floats("x", [2]), helper.make_tensor_value_info("i", TensorProto.INT64, [2])],
        [floats("y", [2])],
    )
    return save(d, proto), ["culprit", "Add"]


def string_to_relu(d):
    proto = model(
        [node("Relu", ["x"], ["y"], "culprit")],
        [helper.make_tensor_value_info("x", TensorProto.STRING, [2])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, [2])],
    )
    return save(d, proto), ["culprit", "Relu"]


def matmul_shapes(d):
    return save(d, one("MatMul", (("a", [3, 4]), ("b", [5, 6])), ("y", [3, 6]))), ["culprit", "MatMul"]


def broadcast(d):
    return save(d, one("Add", (("a", [3, 4]), ("b", [3, 5])), ("y", None))), ["culprit", "Add"]


def conv_group(d):
    weight = numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w")
    return save(d, one("Conv", (("x", [1, 3, 8, 8]),), ("y", None), [weight], group=0)), ["culprit", "Conv"]


def conv_strides(d):
    weight = numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w")
    return save(d, one("Conv", (("x", [1, 3, 8, 8]),), ("y", None), [weight], strides=[0, 1])), ["culprit", "Conv"]


def conv_channels(d):
    weight = numpy_helper.from_array(np.zeros((4, 5, 3, 3), np.float32), "w")
    return save(d, one("Conv", (("x", [1, 3, 8, 8]),), ("y", None), [weight])), ["culprit", "Conv"]


def pool_kernel(d):
    return save(d, one("MaxPool", (("x", [1, 3, 8, 8]),), ("y", None), kernel_shape=[-2, 2])), ["culprit", "MaxPool"]


def transpose_perm(d):
    return save(d, one("Transpose", out=("y", None), perm=[0, 0])), ["culprit", "Transpose"]


def axis_range(d):
    return save(d, one("Softmax", axis=7)), ["culprit", "Softmax"]


def reshape_size(d):
    return save(d, one("Reshape", out=("y", None), initializers=[ints("shape", [4, 5])])), ["culprit", "Reshape"]


# --- dims and tensors
# -------------------------------------------------------------------------------------------------------------


def huge_input(d):
    return save(d, one("Relu", (("x", [2**62, 2**62]),), ("y", [2**62, 2**62]))), []


def huge_input_one_dim(d):
    return save(d, one("Relu", (("x", [2**62]),), ("y", [2**62]))), []


def huge_initializer(d):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**62, 4])
    return save(d, one("Add", initializers=[tensor], out=("y", None))), ["'w'"]


def huge_typed_initializer(d):
    """2^62 elements claimed, three there: the product of the dims overflows to a small number on the way."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**62, 4, 3], float_data=[1, 2, 3])
    return save(d, one("Add", initializers=[tensor], out=("y", None))), ["'w'"]


def huge_constant_of_shape(d):
    return save(d, one("ConstantOfShape", (), ("y", None), [ints("shape", [2**62, 2**62])])), ["culprit"]


def huge_expand(d):
    return save(d, one("Expand", (("x", [1, 1]),), ("y", None), [ints("shape", [2**62, 2**62])])), ["culprit"]


def negative_initializer(d):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-3], float_data=[1, 2, 3])
    return save(d, one("Add", initializers=[tensor], out=("y", None))), ["'w'"]


def short_raw_data(d):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 3], raw_data=b"\0" * 20)
    return save(d, one("Add", initializers=[tensor])), ["'w'"]


def unknown_dtype(d):
    tensor = TensorProto(name="w", data_type=99, dims=[2, 3], raw_data=b"\0" * 24)
    return save(d, one("Add", initializers=[tensor])), ["'w'"]


def external(name, location, size=None, **entries):
    """An initializer 'w' of 24 bytes stored in `location`; `size`: bytes in the file that is written, None: no file."""

    def build(d):
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 3], data_location=TensorProto.EXTERNAL)
        for key, value in dict(location=location, **entries).items():
            tensor.external_data.add(key=key, value=str(value))
        inner = os.path.join(d, "inner")
        os.makedirs(inner)
        if size is not None:
            with open(os.path.normpath(os.path.join(inner, location)), "wb") as f:
                f.write(b"\0" * size)
        return save(inner, one("Add", initializers=[tensor]), name + ".onnx"), ["'w'"]

    return build


def conv(name, value):
    weight = numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w")
    return attribute_type("Conv", name, value, initializers=[weight])


CASES = {
    "empty file": empty_file,
    "text file": text_file,
    "random bytes": random_bytes,
    "directory": directory,
    "missing file": missing_file,
    "truncated at 1 %": truncated(0.01),
    "truncated at 50 %": truncated(0.5),
    "truncated at 90 %": truncated(0.9),
    "truncated at 99.9 %": truncated(0.999),
    "no graph": no_graph,
    "20,000 nested graphs": nested_graphs,
    "20,000 nested types": nested_types,
    "20,000 nested groups": nested_groups,
    "unknown op": unknown_op,
    "unknown domain": unknown_domain,
    "cyclic graph": cycle,
    "node reads itself": self_cycle,
    "undeclared input": undeclared_input,
    "undeclared output": undeclared_output,
    "defined twice": defined_twice,
    "attribute type: Conv strides float": conv("strides", 2.5),
    "attribute type: Conv auto_pad ints": conv("auto_pad", [1, 2]),
    "attribute type: Conv group string": conv("group", "one"),
    "attribute type: Softmax axis string": attribute_type("Softmax", "axis", "last"),
    "attribute type: Cast to float": attribute_type("Cast", "to", 1.0),
    "attribute type: Concat axis ints": attribute_type("Concat", "axis", [0, 1]),
    "attribute type: Transpose perm tensor": attribute_type("Transpose", "perm", ints("p", [0, 1, 2, 3])),
    "attribute missing": missing_attribute,
    "attribute unknown": unknown_attribute,
    "too few inputs": too_few_inputs,
    "too many inputs": too_many_inputs,
    "two element types": mixed_types,
    "string to Relu": string_to_relu,
    "MatMul shapes": matmul_shapes,
    "broadcast": broadcast,
    "Conv group 0": conv_group,
    "Conv stride 0": conv_strides,
    "Conv channels": conv_channels,
    "MaxPool kernel -2": pool_kernel,
    "Transpose perm twice 0": transpose_perm,
    "axis out of range": axis_range,
    "Reshape to another size": reshape_size,
    "input of 2^124 elements": huge_input,
    "input of 2^62 elements": huge_input_one_dim,
    "initializer of 2^64 elements": huge_initializer,
    "initializer whose size overflows": huge_typed_initializer,
    "ConstantOfShape 2^124": huge_constant_of_shape,
    "Expand to 2^124": huge_expand,
    "initializer with a negative dim": negative_initializer,
    "initializer data too short": short_raw_data,
    "initializer of unknown type": unknown_dtype,
    "external data missing": external("missing", "weights.bin"),
    "external data too short": external("short", "weights.bin", 20),
    "external data ends before offset": external("offset", "weights.bin", 4000, offset=4096, length=24),
    "external data length too small": external("length", "weights.bin", 4096, offset=0, length=20),
    "external data offset no number": external("number", "weights.bin", 4096, offset="here"),
    "external data offset negative": external("negative", "weights.bin", 4096, offset=-8),
    "external data offset overflows": external("overflow", "weights.bin", 4096, offset=2**63 - 8, length=24),
    "external data above the folder": external("above", "../weights.bin", 24),
    "external data by way of the folder above": external("around", "../inner/weights.bin", 24),
    "external data absolute": external("absolute", "/etc/hostname"),
    "external data without location": external("nowhere", ""),
}
