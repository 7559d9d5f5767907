"""Mutations of an ONNX model that keep it a well-formed protobuf: dims, types, attributes, edges, operators.

    what, data = mutate(model, rng)     # the model is a ModelProto and is changed in place
"""

import math

import onnx
from onnx import AttributeProto, TensorProto

SIZES = (0, 1, 2, 3, 5, 7, 16, 65, 1000, -1, -2, 2**20, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
SMALL = (0, 1, -1, 2, 3, -2, 4, 7, 64, 1000, 2**31 - 1, 2**31, 2**62, -(2**62), 2**63 - 1, -(2**63))
FEW = range(-3, 8)
REALS = (0.0, 1.0, -1.0, 0.5, 2.0, 3.75, -1.5)
BOUND = {
    TensorProto.INT64: (FEW, SMALL),
    TensorProto.INT32: (FEW, (0, -1, 1000, 2**31 - 1, -(2**31))),
    TensorProto.BOOL: ((0, 1), (0, 1)),
    TensorProto.UINT8: (range(8), (0, 255)),
    TensorProto.INT8: (FEW, (-128, 127)),
    TensorProto.FLOAT: (REALS, (float("nan"), float("inf"), -float("inf"), 1e38, -1e9, 1e-45, -0.0)),
    TensorProto.DOUBLE: (REALS, (float("nan"), float("inf"), -float("inf"), 1e300, -1e19, 5e-324, -0.0)),
}
NAMES = ("", "batch", "?", "no such", "a/b", "x" * 3000, "\x01", "é")


def graphs(graph):
    """The graph and every graph inside its nodes."""
    yield graph
    for node in graph.node:
        for a in node.attribute:
            if a.type == AttributeProto.GRAPH:
                yield from graphs(a.g)
            for g in a.graphs:
                yield from graphs(g)


def some_graph(model, rng):
    return rng.choice(list(graphs(model.graph)))


def some_node(model, rng):
    nodes = [n for g in graphs(model.graph) for n in g.node]
    return rng.choice(nodes) if nodes else None


def value_names(graph):
    return (
        [v.name for v in graph.input] + [t.name for t in graph.initializer] + [o for n in graph.node for o in n.output]
    )


def change_declared_dims(model, rng):
    graph = some_graph(model, rng)
    values = [
        v for v in list(graph.input) + list(graph.output) + list(graph.value_info) if v.type.HasField("tensor_type")
    ]
    if not values:
        return None
    value = rng.choice(values)
    shape = value.type.tensor_type.shape
    kind = rng.randrange(5)
    if kind == 0:
        value.type.tensor_type.ClearField("shape")
    elif kind == 1 or not shape.dim:
        shape.dim.add().dim_value = rng.choice(SIZES)
    elif kind == 2:
        del shape.dim[rng.randrange(len(shape.dim))]
    elif kind == 3:
        rng.choice(shape.dim).dim_param = rng.choice(NAMES)
    else:
        rng.choice(shape.dim).dim_value = rng.choice(SIZES)
    return "shape of '%s'" % value.name


def change_declared_type(model, rng):
    graph = some_graph(model, rng)
    values = list(graph.input) + list(graph.output) + list(graph.value_info)
    if not values:
        return None
    value = rng.choice(values)
    kind = rng.randrange(6)
    elem = rng.choice((0, 1, 2, 6, 7, 8, 9, 10, 11, 14, 16, 17, 21, 23, 99, -1, 2**31 - 1))
    if kind == 0:
        value.ClearField("type")
    elif kind == 1:
        value.type.sequence_type.elem_type.tensor_type.elem_type = elem
    elif kind == 2:
        value.type.optional_type.elem_type.tensor_type.elem_type = elem
    else:
        value.type.tensor_type.elem_type = elem
    return "type of '%s'" % value.name


def change_tensor(model, rng):
    tensors = [t for g in graphs(model.graph) for t in g.initializer]
    tensors += [
        a.t for g in graphs(model.graph) for n in g.node for a in n.attribute if a.type == AttributeProto.TENSOR
    ]
    if not tensors:
        return None
    t = rng.choice(tensors)
    kind = rng.randrange(6)
    if kind == 0:
        t.data_type = rng.choice((0, 1, 2, 6, 7, 8, 9, 10, 11, 14, 16, 17, 21, 99, -5))
    elif kind == 1 and t.dims:
        t.dims[rng.randrange(len(t.dims))] = rng.choice(SIZES)
    elif kind == 2:
        t.dims.append(rng.choice(SIZES))
    elif kind == 3 and t.dims:
        order = list(t.dims)
        rng.shuffle(order)
        t.dims[:] = order
    elif kind == 4:
        t.raw_data = t.raw_data[: rng.randrange(len(t.raw_data))] if t.raw_data else b"\x01\x02\x03"
    elif t.data_type == TensorProto.INT64 and len(t.raw_data) >= 8:
        value = rng.choice(SMALL).to_bytes(8, "little", signed=True)
        at = 8 * rng.randrange(len(t.raw_data) // 8)
        t.raw_data = t.raw_data[:at] + value + t.raw_data[at + 8 :]
    else:
        t.data_location = TensorProto.EXTERNAL
        t.external_data.add(key="location", value=rng.choice(("weights.bin", "../x", "/dev/zero", ".", "")))
    return "tensor '%s'" % t.name


def bind_input(model, rng):
    """A small input becomes an initializer, so that the compiler sees its values: sizes, axes, indices of every kind."""
    graph = model.graph
    ports = [v for v in graph.input if v.type.tensor_type.elem_type in BOUND and v.type.tensor_type.HasField("shape")]
    ports = [v for v in ports if all(d.dim_value for d in v.type.tensor_type.shape.dim)]
    if not ports:
        return None
    port = rng.choice(ports)
    dims = [d.dim_value for d in port.type.tensor_type.shape.dim]
    if not 0 < math.prod(dims) <= 1 << 12:
        return None
    numbers, hostile = BOUND[port.type.tensor_type.elem_type]
    share = rng.choice((0, 0.1, 1))
    values = [rng.choice(hostile if rng.random() < share else numbers) for _ in range(math.prod(dims))]
    graph.initializer.append(onnx.helper.make_tensor(port.name, port.type.tensor_type.elem_type, dims, values))
    name = port.name
    graph.input.remove(port)
    return "input '%s' bound" % name


def change_attribute(model, rng):
    node = some_node(model, rng)
    if node is None or not node.attribute:
        return None
    a = rng.choice(node.attribute)
    kind = rng.randrange(6)
    if kind == 0:
        node.attribute.remove(a)
    elif kind == 1:
        node.attribute.add().CopyFrom(a)
    elif kind == 2:
        name = a.name
        a.CopyFrom(onnx.helper.make_attribute(name, rng.choice((1, 2.5, "text", [1, 2], [1.0], ["a", "b"]))))
    elif a.type == AttributeProto.INT:
        a.i = rng.choice(SMALL)
    elif a.type == AttributeProto.INTS and a.ints:
        if rng.random() < 0.7:
            a.ints[rng.randrange(len(a.ints))] = rng.choice(SMALL)
        elif rng.random() < 0.5:
            del a.ints[rng.randrange(len(a.ints))]
        else:
            a.ints.append(rng.choice(SMALL))
    elif a.type == AttributeProto.FLOAT:
        a.f = rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e38, 1e-45))
    elif a.type == AttributeProto.STRING:
        a.s = rng.choice((b"", b"SAME_UPPER", b"VALID", b"\xff\xff", b"NOTSET", b"A" * 9000))
    elif a.type == AttributeProto.GRAPH:
        if rng.random() < 0.5 and a.g.output:
            del a.g.output[rng.randrange(len(a.g.output))]
        else:
            a.g.ClearField(rng.choice(("node", "output", "name")))
    else:
        a.type = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 99))
    return "attribute '%s' of %s" % (a.name, node.op_type)


def add_attribute(model, rng):
    node = some_node(model, rng)
    if node is None:
        return None
    name = rng.choice(
        (
            "axis", "axes", "perm", "pads", "strides", "dilations", "group", "kernel_shape", "to", "auto_pad",
            "ceil_mode", "transA", "alpha", "keepdims", "wibble",
        )
    )
    node.attribute.append(
        onnx.helper.make_attribute(name, rng.choice((rng.choice(SMALL), [rng.choice(SMALL)] * 2, 0.5, "VALID")))
    )
    return "attribute '%s' added to %s" % (name, node.op_type)


def rewire_edge(model, rng):
    """An input of a node becomes another value of the graph: later ones make cycles, others change shapes and types."""
    graph = some_graph(model, rng)
    nodes = [n for n in graph.node if n.input]
    if not nodes:
        return None
    node = rng.choice(nodes)
    i = rng.randrange(len(node.input))
    node.input[i] = rng.choice(value_names(graph) + ["", "nowhere"])
    return "input %d of %s" % (i, node.op_type)


def change_arity(model, rng):
    node = some_node(model, rng)
    if node is None:
        return None
    names = node.input if rng.random() < 0.6 else node.output
    kind = rng.randrange(4)
    if kind == 0 and names:
        del names[rng.randrange(len(names))]
    elif kind == 1:
        names.append(rng.choice(("", "extra", names[0] if names else "x")))
    elif kind == 2 and len(names) > 1:
        i, j = rng.sample(range(len(names)), 2)
        names[i], names[j] = names[j], names[i]
    elif names:
        names[rng.randrange(len(names))] = rng.choice(value_names(model.graph) + [""])
    return "operands of %s" % node.op_type


def change_op(model, rng):
    """A node of one kind becomes one of another, with operands and attributes that do not belong to it."""
    node = some_node(model, rng)
    if node is None:
        return None
    before = node.op_type
    node.op_type = rng.choice(
        (
            "Add", "Relu", "MatMul", "Gemm", "Conv", "MaxPool", "AveragePool", "Softmax", "Reshape", "Transpose",
            "Slice", "Concat", "Split", "Pad", "Expand", "Squeeze", "Unsqueeze", "Gather", "Shape", "Range",
            "ConstantOfShape", "NonZero", "CumSum", "If", "Loop", "SequenceInsert", "SequenceAt", "Cast", "Where",
            "ReduceMean", "ArgMax", "LayerNormalization", "Constant", "Flatten", "StringConcat", "Equal", "Not",
            "And", "Pow", "Mod", "",
        )
    )
    if rng.random() < 0.3:
        node.domain = rng.choice(("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "x"))
    return "%s became %s" % (before, node.op_type)


def move_node(model, rng):
    graph = some_graph(model, rng)
    if not graph.node:
        return None
    i = rng.randrange(len(graph.node))
    node = onnx.NodeProto()
    node.CopyFrom(graph.node[i])
    kind = rng.randrange(3)
    if kind != 2:
        del graph.node[i]
    if kind != 0:
        nodes = list(graph.node)
        nodes.insert(rng.randrange(len(nodes) + 1), node)
        del graph.node[:]
        graph.node.extend(nodes)
    return "node %s %s" % (node.op_type, ("removed", "moved", "doubled")[kind])


def change_ports(model, rng):
    """Graph inputs, outputs and initializers come, go and share names."""
    graph = some_graph(model, rng)
    lists = [x for x in (graph.input, graph.output, graph.initializer) if len(x)]
    if not lists:
        return None
    ports = rng.choice(lists)
    i = rng.randrange(len(ports))
    name = ports[i].name
    kind = rng.randrange(3)
    if kind == 0:
        del ports[i]
    elif kind == 1:
        ports.add().CopyFrom(ports[i])
    else:
        ports[i].name = rng.choice(value_names(graph) + list(NAMES))
    return "port '%s'" % name


def change_versions(model, rng):
    kind = rng.randrange(4)
    if kind == 0:
        model.ir_version = rng.choice((0, 1, 2, 3, 4, 99, 2**62, -1))
    elif kind == 1:
        del model.opset_import[:]
    elif kind == 2:
        model.opset_import.add(domain=rng.choice(("", "x", "ai.onnx")), version=rng.choice(SIZES))
    elif model.opset_import:
        model.opset_import[0].version = rng.choice((1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 17, 21, 25, 999, 0, -1, 2**62))
    return "versions"


KINDS = (
    bind_input, bind_input, bind_input, change_declared_dims, change_declared_dims, change_declared_type, change_tensor,
    change_tensor, change_attribute,
    change_attribute, change_attribute, add_attribute, rewire_edge, rewire_edge, change_arity, change_op, change_op,
    move_node, change_ports, change_versions,
)


def mutate(model, rng):
    """(what was done, the bytes of the changed model); one to four changes."""
    done = []
    wanted = rng.choice((1, 1, 2, 4))
    while len(done) < wanted:
        try:
            what = rng.choice(KINDS)(model, rng)
        except ValueError:  # a value that this field cannot hold
            continue
        if what:
            done.append(what)
    return ", ".join(done), model.SerializeToString()
