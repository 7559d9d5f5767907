"""Nodes that move strings, for string_ops.py: every operator of ONNX whose schema takes a tensor of strings and does not
compute with it, and what it should give, written down or asked of the reference evaluator."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

S, I, B = TensorProto.STRING, TensorProto.INT64, TensorProto.BOOL


def words(*shape, seed=0):
    pool = ["", "a", "ab", "b", "ä", "ein längerer Text, der nicht kurz ist", "b\0c", "😀"]
    out = np.empty(shape, object)
    random = np.random.default_rng(seed)
    for k in range(out.size):
        out.flat[k] = pool[random.integers(len(pool))]
    return out


def ints(*values):
    return np.array(values, np.int64)


def node(op, n_in, n_out=1, domain="", **attributes):
    names = ["x%d" % k if k >= 0 else "" for k in range(n_in)]
    return [helper.make_node(op, names, ["y%d" % k for k in range(n_out)], domain=domain, **attributes)]


X, Y, M = words(2, 3), words(2, 3, seed=1), np.array([[True, False, True], [False, False, True]])
Q = words(1, 4, 2, 3)
PLACES = np.random.default_rng(2).uniform(-1.5, 1.5, (1, 2, 4, 2)).astype(np.float32)
# label: nodes, inputs, which inputs are constants
FORMS = {
    "Equal": (node("Equal", 2), [X, Y], []),
    "Equal, broadcast": (node("Equal", 2), [X, words(3, seed=1)], []),
    "Where": (node("Where", 3), [M, X, Y], []),
    "Gather": (node("Gather", 2, axis=1), [X, ints(2, -1, 0)], []),
    "GatherElements": (node("GatherElements", 2, axis=1), [X, ints(0, 2, 1, -1, 0, 0).reshape(2, 3)], []),
    "GatherND": (node("GatherND", 2), [X, ints(0, 2, 1, 1).reshape(2, 2)], []),
    "Concat": (node("Concat", 2, axis=0), [X, Y], []),
    "Reshape": (node("Reshape", 2), [X, ints(3, -1)], [1]),
    "Flatten": (node("Flatten", 1, axis=1), [Q], []),
    "Squeeze": (node("Squeeze", 2), [Q, ints(0)], [1]),
    "Unsqueeze": (node("Unsqueeze", 2), [X, ints(0, 3)], [1]),
    "Transpose": (node("Transpose", 1, perm=[1, 0]), [X], []),
    "Slice": (node("Slice", 5), [X, ints(1, 2), ints(-9, -9), ints(0, 1), ints(-1, -2)], [1, 2, 3, 4]),
    "Expand": (node("Expand", 2), [words(2, 1), ints(2, 2, 3)], [1]),
    "Tile": (node("Tile", 2), [X, ints(2, 2)], [1]),
    "Split": (node("Split", 2, n_out=2, axis=1), [X, ints(1, 2)], [1]),
    "Pad, constant": (node("Pad", 3), [X, ints(0, 1, 1, 0), np.array("pad", object)], [1]),
    "Pad, no value": (node("Pad", 2), [X, ints(0, 1, 1, 0)], [1]),
    "Pad, edge": (node("Pad", 2, mode="edge"), [X, ints(0, 1, 1, 2)], [1]),
    "Pad, reflect": (node("Pad", 2, mode="reflect"), [X, ints(0, 1, 1, 2)], [1]),
    "DepthToSpace": (node("DepthToSpace", 1, blocksize=2), [Q], []),
    "SpaceToDepth": (node("SpaceToDepth", 1, blocksize=2), [words(1, 1, 2, 4)], []),
    "ReverseSequence": (node("ReverseSequence", 2), [words(3, 2), ints(3, 2)], []),
    "ScatterElements": (node("ScatterElements", 3, axis=1), [X, ints(0, 2).reshape(2, 1), words(2, 1, seed=4)], []),
    "ScatterND": (node("ScatterND", 3), [X, ints(0, 2, 1, 1).reshape(2, 2), words(2, seed=4)], []),
    "TensorScatter": (node("TensorScatter", 3), [words(2, 4, 2), words(2, 2, 2, seed=3), ints(1, 2)], []),
    "Compress": (node("Compress", 2, axis=1), [X, np.array([True, False, True])], []),
    "Compress, flat": (node("Compress", 2), [X, np.array([True, False, True, False, True])], []),
    "Identity": (node("Identity", 1), [X], []),
    "Shape": (node("Shape", 1), [X], []),
    "Size": (node("Size", 1), [X], []),
    "Unique": (node("Unique", 1, n_out=4), [words(20)], []),
    "Unique, axis": (node("Unique", 1, n_out=4, axis=0), [words(20, 1)], []),
    "OneHot": (node("OneHot", 3), [ints(0, 2, -1), ints(3), np.array(["off", "on"], object)], [1]),
    "ConstantOfShape": (
        [helper.make_node("ConstantOfShape", ["x0"], ["y0"], value=numpy_helper.from_array(np.array(["fill"], object)))],
        [ints(2, 2)],
        [],
    ),
    "Constant": ([helper.make_node("Constant", [], ["c"], value_strings=["u", "v"]), helper.make_node("Concat", ["x0", "c"], ["y0"], axis=0)], [words(2)], []),
    "CenterCropPad": (node("CenterCropPad", 2, axes=[1]), [X, ints(1)], [1]),
    "CenterCropPad, larger": (node("CenterCropPad", 2, axes=[1]), [X, ints(6)], [1]),
    "Resize": (node("Resize", 3, mode="nearest"), [X, np.array([], np.float32), np.array([2, 2], np.float32)], [1, 2]),
    "GridSample": (node("GridSample", 2, mode="nearest"), [words(1, 2, 3, 3), PLACES], []),
    "GridSample, reflected": (node("GridSample", 2, mode="nearest", padding_mode="reflection"), [words(1, 2, 3, 3), PLACES], []),
    "Upsample": (node("Upsample", 2, mode="nearest"), [words(1, 1, 2, 2), np.array([1, 1, 2, 3], np.float32)], [1]),
    "Scatter": (node("Scatter", 3, axis=1), [X, ints(0, 2).reshape(2, 1), words(2, 1, seed=4)], []),
    "Optional": (
        [
            helper.make_node("Optional", ["x0"], ["o"]),
            helper.make_node("OptionalGetElement", ["o"], ["y0"]),
            helper.make_node("OptionalHasElement", ["o"], ["y1"]),
        ],
        [X],
        [],
    ),
    "Trilu": (node("Trilu", 1), [X], []),
    "NonZero": (node("NonZero", 1), [X], []),
    "EyeLike": (node("EyeLike", 1, dtype=1), [X], []),
    "StringConcat": (node("StringConcat", 2), [X, words(3)], []),
    "sequences": (
        [
            helper.make_node("SequenceConstruct", ["x0", "x1"], ["s"]),
            helper.make_node("SequenceInsert", ["s", "x0"], ["t"]),
            helper.make_node("SequenceAt", ["t", "x2"], ["y0"]),
            helper.make_node("ConcatFromSequence", ["t"], ["y1"], axis=0),
            helper.make_node("SplitToSequence", ["x0"], ["u"], axis=1),
            helper.make_node("SequenceLength", ["u"], ["y2"]),
            helper.make_node("SequenceErase", ["u"], ["v"]),
            helper.make_node("ConcatFromSequence", ["v"], ["y3"], axis=1),
        ],
        [X, Y, np.array(1, np.int64)],
        [],
    ),
}

OLDER = {"Upsample": 9, "Scatter": 10}


def branch(name, nodes, out, inputs=()):
    return helper.make_graph(nodes, name, list(inputs), [helper.make_tensor_value_info(out, S, None)])


def info(name, e, rank):
    return helper.make_tensor_value_info(name, e, [None] * rank)


# x0 twice or once with something behind, as x1 says; a loop that appends; a scan over rows that joins.
FORMS["If"] = (
    [
        helper.make_node(
            "If",
            ["x1"],
            ["y0"],
            then_branch=branch("then", [helper.make_node("Concat", ["x0", "x0"], ["t"], axis=0)], "t"),
            else_branch=branch("else", [helper.make_node("StringConcat", ["x0", "x0"], ["e"])], "e"),
        )
    ],
    [X, np.array(False)],
    [],
)
FORMS["Loop"] = (
    [
        helper.make_node(
            "Loop",
            ["x1", "x2", "x0"],
            ["y0", "y1"],
            body=helper.make_graph(
                [
                    helper.make_node("StringConcat", ["w", "w"], ["w2"]),
                    helper.make_node("Identity", ["go"], ["go2"]),
                    helper.make_node("Identity", ["w"], ["each"]),
                ],
                "body",
                [info("i", I, 0), info("go", B, 0), info("w", S, 1)],
                [info("go2", B, 0), info("w2", S, 1), info("each", S, 1)],
            ),
        )
    ],
    [words(3, seed=7), np.array(3, np.int64), np.array(True)],
    [],
)
FORMS["Scan"] = (
    [
        helper.make_node(
            "Scan",
            ["x0", "x1"],
            ["y0", "y1"],
            num_scan_inputs=1,
            body=helper.make_graph(
                [helper.make_node("StringConcat", ["a", "r"], ["a2"]), helper.make_node("Identity", ["a2"], ["o"])],
                "body",
                [info("a", S, 1), info("r", S, 1)],
                [info("a2", S, 1), info("o", S, 1)],
            ),
        )
    ],
    [words(3, seed=8), X],
    [],
)


def onnx_type(x):
    return S if x.dtype == object else helper.np_dtype_to_tensor_dtype(x.dtype)


def proto(label):
    nodes, inputs, constant = FORMS[label]
    # what is an index or a shape has a known one, else ranks would not be known
    shape = lambda x: list(x.shape) if x.dtype == np.int64 else [None] * x.ndim
    ports = [helper.make_tensor_value_info("x%d" % k, onnx_type(x), shape(x)) for k, x in enumerate(inputs)]
    graph_in = [p for k, p in enumerate(ports) if k not in constant]
    made = [o for n in nodes for o in n.output if o.startswith("y")]
    init = [numpy_helper.from_array(inputs[k], "x%d" % k) for k in constant]
    graph = helper.make_graph(nodes, "strings", graph_in, [helper.make_empty_tensor_value_info(o) for o in made], init)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OLDER.get(label, 24))], ir_version=11)
    return model, {"x%d" % k: x for k, x in enumerate(inputs) if k not in constant}


def wanted(label, model, feeds):
    """Values by the reference evaluator, where it can; else as the specification's words have them."""
    x = feeds.get("x0")
    if label.startswith(("GridSample", "Resize", "Upsample")):  # as numbers say which element it is
        numbers, _ = proto(label)
        numbers.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
        number = np.arange(1, x.size + 1, dtype=np.float32).reshape(x.shape)
        at = ReferenceEvaluator(numbers).run(None, {**feeds, "x0": number})[0]
        return [np.append(np.array([""], object), x.flatten())[at.astype(np.int64)]]
    if label == "Scatter":
        model.graph.node[0].op_type = "ScatterElements"
        model.opset_import[0].version = 13
    if label == "Optional":
        return [x, np.array(True)]
    if label == "OneHot":
        return [np.where(np.eye(3, dtype=bool)[feeds["x0"]], "on", "off")]
    if label == "Unique, axis":
        y, first, inverse, count = np.unique(x[:, 0].astype(str), return_index=True, return_inverse=True, return_counts=True)
        return [y[:, None], first, inverse, count]
    if label == "Trilu":
        return [np.where(np.triu(np.ones(x.shape, bool)), x, "")]
    if label == "NonZero":
        return [np.array(np.nonzero(np.vectorize(len)(x)), np.int64)]
    if label in ("Pad, no value", "CenterCropPad, larger"):
        wide = [(0, 1), (1, 0)] if label.startswith("Pad") else [(0, 0), (1, 2)]
        return [np.pad(x, wide, constant_values="")]
    if label.startswith("Equal"):
        return [feeds["x0"] == feeds["x1"]]
    return ReferenceEvaluator(model).run(None, feeds)
