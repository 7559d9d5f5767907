#!/usr/bin/env python3
"""Ranks that only the run decides, inside a model and at its ends:   ranks.py [--bmc FILE] [--seed N] [NAME...]

Shapes and lists of axes of unknown length, squeezed axes that may be 1, branches and loops whose values change their
rank, sequences and optionals that hold tensors of any rank. Each model is compiled at -O0 and for x86-64-v3 and runs
with one and two threads; the answers are ONNX Runtime's, the ONNX project's reference's where that does not run it.
"""

import argparse
import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import harness
from bmc_ctypes import E_FAIL, Loaded, ModelError
from harness import WORK, run

F, I, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
TRAINING = "ai.onnx.preview.training"
CONFIGS = (["-O0"], ["-O2", "--cpu=x86-64-v3"])
CASES = {}


def value(name, elem, shape=None):
    return helper.make_tensor_value_info(name, elem, shape)


def sequence(name):
    return helper.make_tensor_sequence_value_info(name, F, None)


def optional(name):
    return helper.make_value_info(name, helper.make_optional_type_proto(helper.make_tensor_type_proto(F, None)))


def node(op, inputs, outputs, **attrs):
    return helper.make_node(op, inputs.split(" ") if inputs else [], outputs.split(" "), **attrs)


def body(nodes, outputs, inputs=()):
    return helper.make_graph(nodes, "body", list(inputs), list(outputs))


def ints(*values):
    return np.array(values, np.int64)


def case(f):
    """f(floats): nodes, inputs, outputs, feeds, and constants by name."""
    CASES[f.__name__] = f
    return f


def old_case(opset, want):
    """Of an opset or a form that neither oracle runs: want(feed) is what the results are."""

    def added(f):
        f.opset, f.want = opset, want
        return case(f)

    return added


SHAPED = [value("x", F, ["n"]), value("s", I, ["k"])]  # a list of numbers and the shape they take


def shapes(floats, *more):
    return [{"x": floats(n), "s": ints(*s)} for n, s in [(6, [6]), (6, [2, 3]), (8, [1, 2, 1, 2, 2, 1]), *more]]


@case
def reshape(floats):
    nodes = [node("Reshape", "x s", "h"), node("Relu", "h", "r"), node("Add", "r c", "a"), node("ReduceSum", "r", "y", keepdims=0)]
    feeds = shapes(floats, (6, [1, -1, 2, 1]), (1, []), (6, [1, 2, 1, 1, 3, 1, 1, 1]))
    return nodes, SHAPED, [value("a", F), value("y", F, [])], feeds, {"c": np.float32(1.5)}


@case
def declared(floats):
    """The model says the result's rank: other shapes end in an error."""
    return [node("Reshape", "x s", "h"), node("Neg", "h", "y")], SHAPED, [value("y", F, ["p", "q"])], shapes(floats)[1:2], {}


@case
def product(floats):
    nodes = [node("Reshape", "x s", "h"), node("MatMul", "h w", "u"), node("Softmax", "u", "v"), node("Transpose", "v", "y")]
    feeds = [{"x": floats(n), "s": ints(*s)} for n, s in [(6, [2, 3]), (6, [1, 1, 2, 3]), (3, [3])]]
    return nodes, SHAPED, [value("y", F)], feeds, {"w": floats(3, 4)}


@case
def one_shape_twice(floats):
    nodes = [node("Reshape", "x s", "h"), node("Reshape", "z s", "g"), node("Add", "h g", "y")]
    feeds = [dict(feed, z=floats(*feed["x"].shape)) for feed in shapes(floats)]
    return nodes, [*SHAPED, value("z", F, ["n"])], [value("y", F)], feeds, {}


@case
def two_shapes(floats):
    nodes = [node("Reshape", "x s", "h"), node("Expand", "x t", "g"), node("Mul", "h g", "u"), node("Relu", "u", "y")]
    feeds = [{"x": floats(1), "s": ints(*s), "t": ints(*t)} for s, t in [((1,), (2, 3)), ((1, 1, 1), (4,)), ((), (5,))]]
    return nodes, [*SHAPED, value("t", I, ["l"])], [value("y", F)], feeds, {}


@case
def filled(floats):
    nodes = [node("ConstantOfShape", "s", "h"), node("Shape", "h", "y"), node("RandomNormalLike", "h", "r"), node("Shape", "r", "z")]
    feeds = [{"s": ints(2, 3)}, {"s": ints()}, {"s": ints(4)}]
    return nodes, SHAPED[1:], [value("y", I), value("h", F), value("z", I)], feeds, {}


@case
def counted(floats):
    """How many elements are not zero is the rank."""
    nodes = [node("NonZero", "x", "z"), node("Squeeze", "z zero", "p"), node("Gather", "d p", "s"), node("Expand", "one s", "y")]
    feeds = [{"x": np.array(x, np.float32), "d": ints(2, 4, 3)} for x in ([1, 0, 1], [1, 1, 1], [0, 0, 0])]
    ports = [value("x", F, ["n"]), value("d", I, ["n"])]
    return nodes, ports, [value("y", F)], feeds, {"zero": ints(0), "one": np.float32(1)}


@case
def axes(floats):
    nodes = [node("Squeeze", "x a", "s"), node("Unsqueeze", "x b", "u"), node("ReduceSum", "x c", "r", keepdims=0)]
    ports = [value("x", F, [1, "n", 1]), value("a", I, ["i"]), value("b", I, ["j"]), value("c", I, ["k"])]
    lists = [([0], [0], [0]), ([0, 2], [0, 4], [2, 0]), ([2], [-1, 0, 1], [0, 1, 2])]
    feeds = [{"x": floats(1, 3, 1), "a": ints(*a), "b": ints(*b), "c": ints(*c)} for a, b, c in lists]
    return nodes, ports, [value("s", F), value("u", F), value("r", F)], feeds, {}


@case
def ones(floats):
    """A Squeeze of whatever is 1."""
    nodes = [node("Squeeze", "x", "h"), node("Relu", "h", "y")]
    feeds = [{"x": floats(*s)} for s in [(2, 4, 3), (1, 4, 3), (2, 1, 3), (1, 1, 3), (1, 0, 3)]]
    return nodes, [value("x", F, ["n", "m", 3])], [value("y", F)], feeds, {}


@case
def depths(floats):
    nodes = [node("GatherND", "x i", "y"), node("ScatterND", "x i y", "z")]
    feeds = [{"x": floats(2, 3, 4), "i": np.array(i)} for i in ([[0, 1], [1, 2]], [[1], [0]], [[0, 1, 3]])]
    return nodes, [value("x", F, [2, 3, 4]), value("i", I, ["n", "k"])], [value("y", F), value("z", F)], feeds, {}


@case
def cuts(floats):
    nodes = [node("Slice", "x s e a", "y"), node("Pad", "x p  a", "z")]
    ports = [value("x", F, ["n", "m"]), *(value(n, I, ["k"]) for n in "sea"), value("p", I, ["l"])]
    lists = [([1], [3], [1], [1, 0]), ([1, 2], [3, 6], [1, 0], [1, 0, 2, 1])]
    feeds = [{"x": floats(5, 6), "s": ints(*s), "e": ints(*e), "a": ints(*a), "p": ints(*p)} for s, e, a, p in lists]
    return nodes, ports, [value("y", F), value("z", F)], feeds, {}


@case
def blocks(floats):
    ports = [value("x", F, ["n", "c", "l"]), value("s", I, ["k"]), value("b", I, ["k"])]
    feeds = [{"x": floats(1, 4, n), "s": ints(*s), "b": ints(*b)} for n, s, b in [(6, [3, 4], [2, 2]), (3, [4], [2])]]
    return [node("Col2Im", "x s b", "y")], ports, [value("y", F)], feeds, {}


@case
def branches(floats):
    then, other = [node("Identity", "x", "t")], [node("Unsqueeze", "x zero", "e")]
    nodes = [node("If", "c", "y", then_branch=body(then, [value("t", F)]), else_branch=body(other, [value("e", F)])), node("Shape", "y", "s")]
    feeds = [{"c": np.array(c), "x": floats(3)} for c in (True, False)]
    return nodes, [value("c", B, []), value("x", F, ["n"])], [value("y", F), value("s", I)], feeds, {"zero": ints(0)}


def loop(nodes, inputs, outputs, carried, results):
    """A Loop of n rounds."""
    ports = [value("i", I, []), value("on", B, []), *carried]
    yields = [value("go", B, []), *results]
    inside = body([*nodes, node("Identity", "yes", "go")], yields, ports)
    return node("Loop", "n yes" + inputs, outputs, body=inside)


@case
def growing(floats):
    """A carried value gains an axis in each round, another one is made of it."""
    inside = [node("Unsqueeze", "v zero", "w"), node("ReduceSum", "w", "u", keepdims=0), node("Add", "p u", "q")]
    carried, results = [value("v", F), value("p", F, [])], [value("w", F), value("q", F, [])]
    nodes = [loop(inside, " x z", "h r", carried, results), node("Relu", "h", "y")]
    feeds = [{"n": np.int64(n), "x": floats(3), "z": floats()} for n in (0, 1, 2, 5)]
    ports = [value("n", I, []), value("x", F, ["m"]), value("z", F, [])]
    return nodes, ports, [value("y", F), value("r", F, [])], feeds, {"zero": ints(0), "yes": np.array(True)}


@case
def captured(floats):
    nodes = [node("Reshape", "x s", "h"), loop([node("Add", "v h", "w")], " z", "y", [value("v", F)], [value("w", F)])]
    feeds = [dict(feed, n=np.int64(2), z=floats()) for feed in shapes(floats)[:2]]
    return nodes, [*SHAPED, value("n", I, []), value("z", F, [])], [value("y", F)], feeds, {"yes": np.array(True)}


@case
def nested(floats):
    """Each iteration of a Loop runs another one that adds axes; what both give differs in rank from run to run."""
    inner = [value("j", I, []), value("still", B, []), value("u", F)]
    grows = helper.make_graph([node("Unsqueeze", "u zero", "t"), node("Identity", "yes", "ok")], "inner", inner, [value("ok", B, []), value("t", F)])
    parts = [node("Loop", "i yes v", "w", body=grows), node("ReduceSum", "w", "e", keepdims=0), node("Unsqueeze", "e zero", "c")]
    nodes = [loop(parts, " x", "y z", [value("v", F)], [value("w", F), value("c", F)])]
    feeds = [{"n": np.int64(n), "x": floats(3)} for n in (1, 2, 3)]
    return nodes, [value("n", I, []), value("x", F, ["m"])], [value("y", F), value("z", F)], feeds, {"zero": ints(0), "yes": np.array(True)}


@case
def iterations_of_any_rank(floats):
    """Scan outputs whose rank only the run knows, between others; without an iteration there is none."""
    parts = [node("SequenceAt", "q i", "e"), node("Relu", "e", "a"), node("Add", "v one", "w"), node("Shape", "a", "s"), node("Neg", "e", "b")]
    results = [value("w", F, []), value("v", F, []), value("a", F), value("s", I), value("b", F)]
    nodes = [loop(parts, " z", "l r y s t", [value("v", F, [])], results)]
    feeds = [{"q": [floats(*s)] * n, "n": np.int64(n), "z": floats()} for s, n in [((3,), 2), ((2, 1, 3), 3), ((), 1), ((4, 2), 0)]]
    outputs = [value("l", F, []), value("r", F, ["n"]), value("s", I), value("y", F), value("t", F)]
    return nodes, [sequence("q"), value("n", I, []), value("z", F, [])], outputs, feeds, {"yes": np.array(True), "one": np.float32(1)}


def slices(feed):
    parts = [row.reshape(feed["s"]) for row in feed["x"]]
    return [np.stack(parts[::-1], 1), feed["z"].reshape(feed["s"]) + sum(parts), np.stack(parts, -1), np.float32(feed["x"].sum(1))]


@old_case(18, slices)
def scanned(floats):
    """The same of a Scan, with axes and directions; its state keeps a rank that the body does not show."""
    parts = [node("Reshape", "e s", "h"), node("Reshape", "v s", "g"), node("Add", "g h", "w"), node("ReduceSum", "e", "t", keepdims=0)]
    outputs = [value("w", F), value("h", F), value("h", F), value("t", F, [])]
    each = helper.make_graph([*parts, node("Identity", "h", "k")], "body", [value("v", F), value("e", F, [6])], [*outputs[:2], value("k", F), outputs[3]])
    attrs = {"scan_output_axes": [1, -1, 0], "scan_output_directions": [1, 0, 0]}
    nodes = [node("Reshape", "z s", "z0"), node("Scan", "z0 x", "l y k t", body=each, num_scan_inputs=1, **attrs)]
    ports = [value("x", F, ["n", 6]), value("z", F, [6]), value("s", I, ["k"])]
    feeds = [{"x": floats(n, 6), "z": floats(6), "s": ints(*s)} for n, s in [(2, [2, 3]), (3, [6]), (1, [1, 2, 1, 3])]]
    return nodes, ports, [value("y", F), value("l", F), value("k", F), value("t", F)], feeds, {}


@case
def alive_later(floats):
    """A branch that does not fit what a Loop begins with, but what it carries later."""
    then = body([node("Concat", "v one", "t", axis=0)], [value("t", F)])
    other = body([node("Add", "v four", "e")], [value("e", F)])
    parts = [node("Shape", "v", "s"), node("Equal", "s three", "c"), node("If", "c", "w", then_branch=then, else_branch=other)]
    nodes = [loop(parts, " x", "y", [value("v", F)], [value("w", F)])]
    consts = {"one": floats(1), "three": ints(3), "four": floats(4), "yes": np.array(True)}
    feeds = [{"n": np.int64(n), "x": floats(3)} for n in (0, 1, 3)]
    return nodes, [value("n", I, []), value("x", F, [3])], [value("y", F)], feeds, consts


@case
def elements(floats):
    nodes = [node("SequenceConstruct", "a b c", "q"), node("SequenceAt", "q i", "h"), node("Relu", "h", "y")]
    ports = [value("a", F, ["n"]), value("b", F, ["n", "m"]), value("c", F, []), value("i", I, [])]
    feeds = [{"a": floats(3), "b": floats(3, 2), "c": floats(), "i": np.int64(i)} for i in (0, 1, 2, -1)]
    return nodes, ports, [value("y", F)], feeds, {}


@case
def given_elements(floats):
    """A sequence at the input, whose elements have any rank."""
    nodes = [node("SequenceAt", "q i", "h"), node("Relu", "h", "y"), node("SequenceLength", "q", "n")]
    feeds = [{"q": [floats(3), floats(2, 3), floats()], "i": np.int64(i)} for i in (0, 1, 2)]
    return nodes, [sequence("q"), value("i", I, [])], [value("y", F), value("n", I, [])], feeds, {}


@case
def joined(floats):
    nodes = [node("ConcatFromSequence", "q", "y", axis=0, new_axis=1)]
    return nodes, [sequence("q")], [value("y", F)], [{"q": [floats(*s), floats(*s)]} for s in [(3,), (2, 3), ()]], {}


@case
def mapped(floats):
    """What a SequenceMap takes and gives: of any rank."""
    each, other = [value("e", F)], [value("r", F)]
    parts, sums = [node("Add", "e a", "p"), node("Relu", "p", "r")], [node("ReduceSum", "e", "r", keepdims=0)]
    nodes = [node("SequenceMap", "q a", "s", body=body(parts, other, [*each, value("a", F)])), node("SequenceAt", "s i", "y")]
    nodes += [node("SequenceMap", "s", "t", body=body(sums, other, each)), node("ConcatFromSequence", "t", "z", axis=0, new_axis=1)]
    feeds = [{"q": [floats(3), floats(2, 3), floats()], "a": floats(), "i": np.int64(i)} for i in (0, 1, 2)]
    return nodes, [sequence("q"), value("a", F, []), value("i", I, [])], [value("y", F), value("z", F, ["n"])], feeds, {}


@case
def one_element(floats):
    """Conditions and counts are one element, whatever their rank."""
    inside = body([node("Add", "v x", "w"), node("Identity", "go", "on")], [value("on", B), value("w", F)], [value("i", I), value("go", B), value("v", F)])
    then, other = body([node("Neg", "x", "t")], [value("t", F)]), body([node("Relu", "x", "e")], [value("e", F)])
    nodes = [node("If", "c", "y", then_branch=then, else_branch=other), node("Loop", "n c x", "z", body=inside)]
    feeds = [{"c": np.full(s, True), "n": np.full(s, 3), "x": floats(4)} for s in ([], [1])]
    return nodes, [value("c", B), value("n", I), value("x", F, [4])], [value("y", F, [4]), value("z", F, [4])], feeds, {}


@case
def kept(floats):
    """The versions for each rank give a number of elements that a node counts."""
    pairs = [((4,), [True, False]), ((2, 3), [True, True]), ((2, 1, 2), [False, False]), ((2, *[1] * 6, 3), [False, True])]
    feeds = [{"x": floats(*s), "c": np.array(c)} for s, c in pairs]
    return [node("Compress", "x c", "y", axis=0)], [value("x", F), value("c", B, [2])], [value("y", F)], feeds, {}


@case
def maybe(floats):
    then = body([node("Optional", "x", "t")], [optional("t")])
    other = body([node("Unsqueeze", "x zero", "u"), node("Optional", "u", "e")], [optional("e")])
    nodes = [node("If", "c", "o", then_branch=then, else_branch=other), node("OptionalGetElement", "o", "h"), node("Relu", "h", "y")]
    feeds = [{"c": np.array(c), "x": floats(3)} for c in (True, False)]
    return nodes, [value("c", B, []), value("x", F, ["n"])], [value("y", F)], feeds, {"zero": ints(0)}


@case
def three_inputs(floats):
    """More inputs without a rank than there are versions of a whole model for."""
    nodes = [node("Add", "a b", "s"), node("Mul", "s c", "y")]
    ranks = [((3,), (2, 3), ()), ((), (), (1, 2, 1, 3)), ((2, 1, 3), (4, 1), (3,))]
    feeds = [dict(zip("abc", (floats(*s) for s in shape))) for shape in ranks]
    return nodes, [value(n, F) for n in "abc"], [value("y", F)], feeds, {}


@case
def many_inputs(floats):
    """Whatever the ranks of seven inputs are, results are made element by element."""
    one = [node("Adagrad", "r t a b c d e f", "p q u v", domain=TRAINING), node("Add", "p q", "y")]
    ranks = [((3,), (2, 3)), ((), (4,)), ((2, 1, 3), (1,))]
    feeds = [dict(zip("abcdef", (np.abs(floats(*s)) for s in shape * 3)), r=np.float32(0.1), t=np.int64(2)) for shape in ranks]
    ports = [value("r", F), value("t", I), *(value(n, F) for n in "abcdef")]
    return one, ports, [value(n, F) for n in "pquvy"], feeds, {}


@case
def cropped(floats):
    """Of the picture, the region and the sizes nothing is known: a scalar with three empty lists is among what is compiled."""
    crop = dict(mode="linear", coordinate_transformation_mode="tf_crop_and_resize")
    part = np.array([0, 0, 0.4, 0.6, 1, 1, 0.6, 1.7], np.float32)
    feeds = [{"x": floats(1, 1, 4, 4), "r": part, "s": ints(1, 1, 3, 3)}]
    return [node("Resize", "x r  s", "y", **crop)], [value("x", F), value("r", F), value("s", I)], [value("y", F)], feeds, {}


@case
def long_branch(floats):
    """A branch of more steps than stand in one function of the compiled program."""
    names = ["x", *("s%d" % k for k in range(70))]
    long = [node("CumSum", "%s zero" % a, b) for a, b in zip(names, names[1:])]
    then = body([*long, node("Gather", "s69 i", "t")], [value("t", F)])
    other = body([node("Neg", "x", "n"), node("Gather", "n i", "e")], [value("e", F)])
    feeds = [{"c": np.array(c), "x": floats(*n), "i": ints(1, 0)} for c in (True, False) for n in ((2,), (3, 2))]
    ports = [value("c", B, []), value("x", F), value("i", I, ["k"])]
    return [node("If", "c", "y", then_branch=then, else_branch=other)], ports, [value("y", F)], feeds, {"zero": np.array(0)}


@case
def lists_alike(floats):
    """Starts, ends, axes and steps, of no rank and as many as the run brings: one decides for all."""
    lists = [((1,), (3,), (1,), (1,)), ((0, 3), (2, 0), (2, 0), (1, -2)), ((1, 0, 0), (9, 9, 9), (-1, 0, 1), (1, 1, 2))]
    feeds = [{"x": floats(4, 3, 5), **{n: ints(*v) for n, v in zip("seap", some)}} for some in lists]
    ports = [value("x", F, ["A", "B", "C"]), *(value(n, I) for n in "seap")]
    return [node("Slice", "x s e a p", "y")], ports, [value("y", F)], feeds, {}


@case
def framed(floats):
    """As many sizes as the picture has axes, or as are named: neither is known."""
    nodes = [node("CenterCropPad", "x s", "y"), node("CenterCropPad", "x t", "z", axes=[-1])]
    feeds = [{"x": floats(*x), "s": ints(*s), "t": ints(2)} for x, s in [((4,), [2]), ((3, 5), [4, 2]), ((2, 3, 4), [5, 1, 4])]]
    return nodes, [value("x", F), value("s", I, ["k"]), value("t", I, ["l"])], [value("y", F), value("z", F)], feeds, {}


@case
def branch_of_a_rank(floats):
    """An operator in a branch asks for the rank of an input that has none as yet."""
    then = body([node("Slice", "x zero two one", "s"), node("Concat", "s s", "p", axis=1)], [value("p", F)])
    other = body([node("Identity", "x", "q")], [value("q", F)])
    nodes = [node("Size", "s_", "n"), node("Equal", "n four", "c"), node("If", "c", "z", then_branch=then, else_branch=other), node("MatMul", "z w", "y")]
    feeds = [{"x": floats(3, n), "s_": ints(*range(k))} for n, k in ((3, 4), (4, 5))]
    consts = dict(zero=ints(0), two=ints(2), one=ints(1), four=np.int64(4), w=floats(4, 2))
    return nodes, [value("x", F), value("s_", I, ["k"])], [value("y", F)], feeds, consts


@case
def filled_around(floats):
    """The value that is put around has no rank either: it is one element."""
    nodes = [node("Pad", "x p v", "y"), node("Pad", "x q v a", "z")]
    feeds = [{"x": floats(*x), "p": ints(*p), "q": ints(1, 2), "a": ints(-1), "v": v} for v in (np.float32(5), np.float32([2]))
             for x, p in [((4,), [1, 2]), ((3, 5), [1, 0, 0, -2]), ((2, 3, 4), [0, 0, 1, 2, 0, 0])]]
    ports = [value("x", F), value("p", I, ["k"]), value("q", I, ["l"]), value("a", I, ["m"]), value("v", F)]
    return nodes, ports, [value("y", F), value("z", F)], feeds, {}


def attended(feed):
    q, k, v = feed["q"], np.concatenate([feed["a"], feed["k"]], 2), np.concatenate([feed["b"], feed["v"]], 2)
    s = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[3]) + feed["m"]
    e = np.exp(s - s.max(3, keepdims=True))
    return [e / e.sum(3, keepdims=True) @ v, k, v]


@old_case(24, attended)
def fitting_ranks(floats):
    """Of six inputs few combinations of ranks type-check."""
    nodes = [node("Attention", "q k v m a b", "y x z")]
    shapes = dict(q=(1, 2, 3, 4), k=(1, 2, 5, 4), v=(1, 2, 5, 4), a=(1, 2, 2, 4), b=(1, 2, 2, 4))
    feeds = [{"m": floats(*m), **{n: floats(*s) for n, s in shapes.items()}} for m in ((3, 7), (1, 3, 7), (1, 2, 3, 7))]
    return nodes, [value(n, F) for n in "qkvmab"], [value(n, F) for n in "yxz"], feeds, {}


@case
def limits(floats):
    """Limits are one element in any rank, above that of what they limit, too."""
    feeds = [{"x": floats(*x), "l": np.full(l, -0.5, np.float32), "h": np.full(h, 0.25, np.float32)}
             for x, l, h in [((), (), ()), ((), (1,), (1,)), ((3, 4), (), (1,)), ((2, 1, 3), (1,), ())]]
    return [node("Clip", "x l h", "y"), node("Clip", "x  h", "z")], [value(n, F) for n in "xlh"], [value(n, F) for n in "yz"], feeds, {}


def scaled(feed):
    x, at = feed["x"].astype(np.float32), 0 if feed["x"].ndim == 1 else 1
    shape = [-1 if a == at else 1 for a in range(x.ndim)] if feed["s"].ndim else []
    return [(x - feed["z"].reshape(shape if feed["s"].ndim else feed["z"].shape)) * feed["s"].reshape(shape)]


@old_case(21, scaled)
def dequantised(floats):
    """One scale for all, or one for each part of an axis: whether there is such an axis the run says."""
    scales = [((3, 4), ()), ((3, 4), (4,)), ((2, 3, 2), (3,)), ((5,), (5,)), ((), ())]
    feeds = [{"x": np.arange(np.prod(x), dtype=np.uint8).reshape(x), "s": np.abs(floats(*s)), "z": np.full(s, 3, np.uint8)} for x, s in scales]
    singles = [((5,), (), (1,)), ((3, 4), (1,), (1,)), ((2, 3, 2), (1,), ()), ((5,), (1,), (1,)), ((), (1,), (1,)), ((), (1,), ())]
    feeds += [{"x": np.arange(np.prod(x), dtype=np.uint8).reshape(x), "s": np.abs(floats(*s)), "z": np.full(z, 3, np.uint8)} for x, s, z in singles]
    return [node("DequantizeLinear", "x s z", "y")], [value("x", TensorProto.UINT8), value("s", F), value("z", TensorProto.UINT8)], [value("y", F)], feeds, {}


@case
def quantised(floats):
    """A vector is one scale for all if it has one value."""
    scales = [((3, 4), (), ()), ((3, 4), (4,), (4,)), ((3, 4), (1,), (1,)), ((2, 3, 2), (1,), ()), ((5,), (1,), (1,)), ((), (1,), (1,))]
    feeds = [{"x": floats(*x), "s": np.abs(floats(*s)) + 0.1, "z": np.full(z, 99, np.uint8)} for x, s, z in scales]
    return [node("QuantizeLinear", "x s z", "y")], [value("x", F), value("s", F), value("z", TensorProto.UINT8)], [value("y", TensorProto.UINT8)], feeds, {}


@case
def quantised_windows(floats):
    """One scale and zero point of weights, or one for each output channel; with one group and with two."""
    U = TensorProto.UINT8
    byte = lambda *shape: np.clip(floats(*shape) * 9 + 9, 0, 40).astype(np.uint8)
    params = [((4,), (4,)), ((1,), (1,)), ((1,), (4,)), ((4,), ()), ((), (1,))]
    feeds = [{"x": byte(1, 4, 5, 4), "w": byte(4, 4, 3, 2), "s": np.float32(0.25) * (1 + np.arange(np.prod(s), dtype=np.float32)).reshape(s), "z": np.full(z, 7, np.uint8)} for s, z in params]
    nodes = [node("QLinearConv", "x h n w s z d n", "y"), node("QLinearConv", "x h n v s z d n", "g", group=2)]
    consts = {"v": byte(4, 2, 2, 3), "h": np.float32(0.5), "d": np.float32(8), "n": np.uint8(5)}
    return nodes, [value("x", U), value("w", U), value("s", F), value("z", U)], [value("y", U), value("g", U)], feeds, consts


@case
def framed_by_axes(floats):
    """How many axes are padded, and which, only the run knows."""
    pads = [((2, 3), [1, 0], [1, 2, 0, 1]), ((3, 2, 2), [-1], [2, 1]), ((4,), [], []), ((2, 1, 3), [2, -3, 1], [1, 0, 2, 0, -1, 1])]
    feeds = [{"x": floats(*x), "p": ints(*p), "v": np.full(v, 2, np.float32), "a": ints(*a)} for (x, a, p), v in zip(pads, [(), (1,), (), ()])]
    return [node("Pad", "x p v a", "y")], [value("x", F), value("p", I), value("v", F), value("a", I)], [value("y", F)], feeds, {}


@case
def matrices(floats):
    """Matrices of differing ranks are those of the larger one; vectors are not."""
    ranks = [((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (4, 5)), ((4,), (2, 4, 3)), ((2, 3, 4), (4,)), ((4,), (4,)), ((1, 2, 1, 3, 4), (2, 4, 2))]
    return [node("MatMul", "x w", "y")], [value("x", F), value("w", F)], [value("y", F)], [{"x": floats(*a), "w": floats(*b)} for a, b in ranks], {}


@case
def pairs(floats):
    """Ranks of a pair are raised to the larger one; what is also used alone keeps its own."""
    ranks = [((3,), (2, 3)), ((), (2, 1)), ((2, 1, 3), (1,)), ((4,), ()), ((), ()), ((2, 3), (2, 3))]
    nodes = [node("Sub", "x w", "y"), node("Shape", "w", "s"), node("Sub", "y x", "z")]
    return nodes, [value("x", F), value("w", F)], [value("y", F), value("s", I), value("z", F)], [{"x": floats(*a), "w": floats(*b)} for a, b in ranks], {}


@case
def normalised(floats):
    """Scale and bias broadcast to the row in whatever rank."""
    ranks = [((2, 3, 4), (4,), (3, 4)), ((2, 3), (), (1,)), ((5,), (5,), ()), ((1, 2, 2, 3), (1, 2, 2, 3), (3,))]
    ports = [value(n, F) for n in "xsb"]
    feeds = [dict(zip("xsb", (floats(*s) for s in shape))) for shape in ranks]
    return [node("LayerNormalization", "x s b", "y", axis=-1)], ports, [value("y", F)], feeds, {}


def quantised_product(feed):
    real = [(feed[x].astype(np.float64) - feed[z]) * feed[s] for x, s, z in ("asz", "btu")]
    return [np.clip(np.rint(real[0] @ real[1] / 0.5), 0, 255).astype(np.float32)]


@old_case(21, quantised_product)
def quantised_matrices(floats):
    """Parameters of rows and columns, whose ranks nobody says: one value, or with the rank of their matrix."""
    rng = np.random.default_rng(int(1e6 * abs(float(floats(1)[0]))))
    shapes = [((2, 3), (), (3, 4), ()), ((2, 3), (2, 1), (3, 4), (1, 4)), ((2, 2, 3), (2, 2, 1), (3, 4), (4,)), ((3,), (), (2, 3, 2), (2, 1, 2))]
    feeds = []
    for a, s, b, t in shapes:
        scales = {"s": np.float32(2) ** rng.integers(-3, 0, s), "t": np.float32(2) ** rng.integers(-3, 0, t)}
        zeros = {"z": np.full(s, 3, np.uint8), "u": np.full(t, 2, np.uint8)}
        feeds.append({"a": rng.integers(0, 20, a).astype(np.uint8), "b": rng.integers(0, 20, b).astype(np.uint8), **{k: np.asarray(v, np.float32) for k, v in scales.items()}, **zeros})
    U = TensorProto.UINT8
    ports = [value("a", U), value("s", F), value("z", U), value("b", U), value("t", F), value("u", U)]
    consts = {"half": np.float32(0.5), "none": np.uint8(0)}
    return [node("QLinearMatMul", "a s z b t u half none", "q"), node("Cast", "q", "y", to=F)], ports, [value("y", F)], feeds, consts


@case
def split_by_list(floats):
    """The sizes of parts are as many as the parts, which the list itself does not say."""
    feeds = [{"x": floats(*x), "s": ints(*s)} for x, s in [((5,), (2, 3)), ((3, 2), (0, 3)), ((0,), (0, 0))]]
    return [node("Split", "x s", "y z")], [value("x", F), value("s", I)], [value("y", F), value("z", F)], feeds, {}


@case
def counted_loop(floats):
    """How often and whether are one element in any rank, which makes no versions."""
    parts = [node("Identity", "go", "on"), node("Add", "v v", "w")]
    taken, given = [value("i", I, []), value("go", B, []), value("v", F)], [value("on", B, []), value("w", F)]
    nodes = [node("Loop", "n c x", "y", body=helper.make_graph(parts, "body", taken, given))]
    nodes += [node("If", "d", "z", then_branch=body([node("Neg", "x", "t")], [value("t", F)]), else_branch=body([node("MatMul", "x x", "e")], [value("e", F)]))]
    feeds = [{"n": n, "c": c, "x": floats(3, 3), "d": d}
             for n, c, d in [(np.int64(3), np.array(True), np.array([True])), (ints(2), np.array([[True]]), np.array(False)), (ints(1), np.array([False]), np.array([[[False]]]))]]
    return nodes, [value("n", I), value("c", B), value("x", F), value("d", B)], [value("y", F), value("z", F)], feeds, {}


@case
def collected(floats):
    """A Loop collects what it carries, which begins as an input without a rank: the result has one axis more."""
    parts = [node("Identity", "go", "on"), node("Add", "v v", "w"), node("Identity", "v", "each")]
    taken, given = [value("i", I, []), value("go", B, []), value("v", F)], [value("on", B, []), value("w", F), value("each", F)]
    nodes = [node("Loop", "three yes x", "last y", body=helper.make_graph(parts, "body", taken, given))]
    feeds = [{"x": floats(*s)} for s in [(2, 3), (), (1, 2, 1, 2, 3)]]
    return nodes, [value("x", F)], [value("y", F)], feeds, {"three": np.int64(3), "yes": np.array(True)}


def behind(y, x, axis):
    """y with axes of 1 behind its own, so that they stand at that axis of x."""
    return y.reshape(y.shape + (1,) * (x.ndim - y.ndim - axis % x.ndim))


def summed(feed):
    x, y = feed["x"], feed["y"]
    return [x + behind(y, x, 1), x * behind(y, x, -2), np.less(x, behind(y, x, 1))]


@old_case(6, summed)
def old_broadcast(floats):
    """Which axis of x the axes of y stand at depends on the ranks of both."""
    at = {"broadcast": 1, "axis": 1}
    nodes = [node("Add", "x y", "s", **at), node("Mul", "x y", "m", broadcast=1, axis=-2), node("Less", "x y", "l", **at)]
    feeds = [{"x": floats(*a), "y": floats(*b)} for a, b in [((2, 3, 4), (3,)), ((2, 3, 4), (3, 4)), ((2, 5, 1), (5, 1))]]
    return nodes, [value("x", F), value("y", F)], [value("s", F), value("m", F), value("l", B)], feeds, {}


def sloped(feed):
    x, c = feed["x"], feed["c"]
    return [np.where(x < 0, x * c.reshape(-1, *[1] * (x.ndim - 2)), x)]


@old_case(6, sloped)
def old_slope(floats):
    """Before opset 7 a slope belonged to the channels, whatever the rank."""
    feeds = [{"x": floats(*s), "c": floats(3)} for s in [(2, 3), (2, 3, 4), (1, 3, 2, 5)]]
    return [node("PRelu", "x c", "y")], [value("x", F), value("c", F, [3])], [value("y", F)], feeds, {}


@old_case(5, lambda feed: [np.concatenate([feed["x"]] * int(feed["t"][0]), int(feed["a"][0]))])
def old_tile(floats):
    feeds = [{"x": floats(*s), "t": np.float32([t]), "a": np.float32([a])} for s, t, a in [((2, 3), 3, 1), ((4,), 2, 0), ((2, 1, 3), 2, 1)]]
    return [node("Tile", "x t a", "y")], [value("x", F), value("t", F, [1]), value("a", F, [1])], [value("y", F)], feeds, {}


@case
def repeated(floats):
    """As many repeats as axes, which the list itself does not say."""
    feeds = [{"x": floats(2, 3), "s": ints(2, 1), "z": floats(*z), "t": ints(*t)} for z, t in [((3,), [2]), ((2, 1), [3, 2]), ((), [])]]
    ports = [value("x", F, ["n", "m"]), value("s", I, ["k"]), value("z", F), value("t", I, ["l"])]
    return [node("Tile", "x s", "y"), node("Tile", "z t", "w")], ports, [value("y", F), value("w", F)], feeds, {}


def reads(nodes):
    """The names that nodes and their subgraphs read."""
    inner = [a.g for n in nodes for a in n.attribute if a.HasField("g")]
    ends = {o.name for g in inner for o in g.output}
    return ends.union({i for n in nodes for i in n.input}, *(reads(g.node) for g in inner))


class Tests:
    def __init__(self, bmc, tally, rng):
        self.bmc, self.tally, self.rng = bmc, tally, rng
        self.out = os.path.join(WORK, "ranks")
        os.makedirs(self.out, exist_ok=True)

    def floats(self, *shape):
        return self.rng.standard_normal(shape).astype(np.float32)

    def expected(self, model, feeds):
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            return [session.run(None, feed) for feed in feeds]
        except Exception:  # a model that ONNX Runtime does not take
            return [ReferenceEvaluator(model).run(None, feed) for feed in feeds]

    def build(self, name, nodes, inputs, outputs, consts, opset=18):
        used = reads(nodes)
        stored = [numpy_helper.from_array(np.asarray(a), n) for n, a in consts.items() if n in used]
        graph = helper.make_graph(nodes, name, inputs, outputs, stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(TRAINING, 1)], ir_version=10)

    def compiled(self, name, model, options):
        path, so = os.path.join(self.out, name + ".onnx"), os.path.join(self.out, name + ".so")
        onnx.save(model, path)
        ran = run([self.bmc, path, "-o", so, *options])
        return so if self.tally.check("%s compiles %s" % (name, " ".join(options)), ran.status == 0, ran.brief()) else None

    def run(self, name):
        made, want = CASES[name], getattr(CASES[name], "want", None)
        nodes, inputs, outputs, feeds, consts = made(self.floats)
        feeds = [{k: v if isinstance(v, list) else np.asarray(v) for k, v in feed.items()} for feed in feeds]
        model = self.build(name, nodes, inputs, outputs, consts, getattr(made, "opset", 18))
        wants = [want(feed) for feed in feeds] if want else self.expected(model, feeds)
        for options in CONFIGS:
            so = self.compiled(name, model, options)
            for threads in (1, 2) if so else ():
                loaded = Loaded(so, threads=threads)
                for k, (feed, want) in enumerate(zip(feeds, wants)):
                    label = "%s %d, %s, %d threads" % (name, k, " ".join(options), threads)
                    try:
                        got = loaded.run(feed)
                    except ModelError as e:
                        self.tally.check(label, False, e)
                        continue
                    for port, w in zip(model.graph.output, want):
                        g = np.asarray(got[port.name])
                        same = g.shape == np.shape(w) and np.allclose(g, w, rtol=1e-5, atol=1e-6)
                        self.tally.check("%s: %s" % (label, port.name), same, "%s for %s" % (g.shape, np.shape(w)))
                loaded.close()

    def refused(self):
        """What no version is made for is an error of the run; where there is none at all, the compiler says why not of the likeliest rank."""
        nodes = [node("MatMul", "x w", "u"), node("Gemm", "u v", "y")]
        consts = {"w": self.floats(4, 3), "v": self.floats(4, 3)}
        path = os.path.join(self.out, "none.onnx")
        onnx.save(self.build("none", nodes, [value("x", F)], [value("y", F)], consts), path)
        ran = run([self.bmc, path, "-o", path + ".so"])
        self.tally.check("refused: none", ran.status == 1 and "rank 2: " in ran.err and "inner dimension" in ran.err, ran.brief())
        wrong = {
            "reshape": [(ints(*[1] * 9), E_FAIL, "more than 8"), (ints(4), None, "6")],
            "declared": [(ints(6), E_FAIL, "rank 1"), (ints(1, 2, 3), E_FAIL, "rank 3")],
        }
        for name, cases in wrong.items():
            nodes, inputs, outputs, _, consts = CASES[name](self.floats)
            so = self.compiled(name, self.build(name, nodes, inputs, outputs, consts), ["-O2"])
            for shape, status, text in cases if so else ():
                loaded = Loaded(so)
                try:
                    loaded.run({"x": self.floats(6 if status is None or name == "declared" else 1), "s": shape})
                    self.tally.check("refused: %s %s" % (name, shape), False, "it ran")
                except ModelError as e:
                    ok = (status is None or e.status == status) and text in e.message
                    self.tally.check("refused: %s %s" % (name, shape), ok, e)
                loaded.close()


def main():
    parser = argparse.ArgumentParser(description="ranks that the run decides, against ONNX Runtime and the reference")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--seed", type=int)
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    tally = harness.Tally(args.verbose)
    rng = np.random.default_rng(harness.fresh_seed(args.seed))
    onnxruntime.set_default_logger_severity(4)
    t = Tests(harness.needs_bmc(args.bmc), tally, rng)
    for name in args.names or CASES:
        t.run(name)
    if not args.names:
        t.refused()
    return tally.finish()


if __name__ == "__main__":
    raise SystemExit(main())
