"""Control flow, sequences, optionals, random numbers, strings, updates of training."""

import numpy as np
from onnx import helper, numpy_helper

import values
from drafts import family
from oracle import type_proto


def elem_drawn(c, *names):
    """The element type that the constraint in question names."""
    return values.element_of(c.types[c.constraint if c.constraint in names else names[0]])[1]


def linked(c, elem, **forms):
    return dict(c.types, **{n: f % elem for n, f in forms.items()})


SEQ, TENSOR = "seq(tensor(%s))", "tensor(%s)"


def some(c, elem, *shape):
    return values.draw(c.rng, elem, shape, "finite")


@family("SequenceConstruct")
def construct(c):
    e = elem_drawn(c, "T", "S")
    types = linked(c, e, T=TENSOR, S=SEQ)
    yield c.case("three", [some(c, e, 2, 3), some(c, e, 1), some(c, e)], types=types)


@family("SequenceEmpty")
def empty(c):
    yield c.case("empty", [], dtype=values.NUMBER[values.element_of(c.types["S"])[1]])


@family("SequenceAt SequenceErase SequenceInsert SequenceLength ConcatFromSequence SplitToSequence")
def sequences(c):
    e = elem_drawn(c, *(("S",) if c.op in ("SequenceErase", "SequenceLength") else ("T", "S")))
    types = linked(c, e, **{n: f for n, f in (("T", TENSOR), ("S", SEQ)) if n in c.types})
    where = lambda x: np.asarray(x).astype(values.DTYPE[values.element_of(c.types["I"])[1]])  # noqa: E731
    three = [some(c, e, 2, 3), some(c, e, 2, 3), some(c, e, 2, 3)]
    if c.op == "SequenceAt":
        yield c.case("first", [three, where(0)], types=types)
        yield c.case("last", [three, where(-1)], types=types)
    elif c.op == "SequenceErase":
        yield c.case("last", [three], types=types)
        yield c.case("first", [three, where(0)], types=types)
    elif c.op == "SequenceInsert":
        yield c.case("last", [three, some(c, e, 4)], types=types)
        yield c.case("second", [three, some(c, e), where(1)], types=types)
    elif c.op == "SequenceLength":
        yield c.case("three", [three], types=types)
        yield c.case("none", [[]], types=types)
    elif c.op == "ConcatFromSequence":
        yield c.case("old-axis", [three], types=types, axis=1)
        yield c.case("new-axis", [three], types=types, axis=0, new_axis=1)
    else:
        x = some(c, e, 5, 2)
        yield c.case("ones", [x], types=types)
        yield c.case("dropped", [x], types=types, keepdims=0)
        yield c.case("size", [x, where(2)], (1,), types=types)
        yield c.case("sizes", [x, where([1, 4])], (1,), types=types)
        yield c.case("sizes-running", [x, where([2, 3])], types=types)


@family("Optional OptionalGetElement OptionalHasElement")
def optionals(c):
    kind = c.types[c.constraint] if c.constraint in ("V", "O") else c.types["O"]
    inner = kind[len("optional("):-1] if kind.startswith("optional(") else kind
    if c.op == "Optional":
        types = dict(c.types, V=inner, O="optional(%s)" % inner)
        yield c.case("value", [c.value(inner)], types=types)
        yield c.case("none", [], types=types, type=type_proto(inner))
        return
    types = dict(c.types, O=kind if c.constraint == "O" else "optional(%s)" % inner, **({"V": inner} if "V" in c.types else {}))
    yield c.case("value", [c.value(types["O"])], types=types)
    if c.op == "OptionalHasElement" and c.version >= 18:
        yield c.case("absent", [], types=types)


def body(inputs, nodes, outputs, name="body"):
    return helper.make_graph(nodes, name, [helper.make_value_info(n, t) for n, t in inputs],
                             [helper.make_value_info(n, t) for n, t in outputs])


def made(c, type_str, name):
    """Nodes that make a value of a type, named `name`."""
    head, rest = type_str[:-1].split("(", 1)
    if head == "tensor":
        value = values.draw(c.rng, rest, (2,), "finite")
        return [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))]
    op = {"seq": "SequenceConstruct", "optional": "Optional"}[head]
    return made(c, rest, name + "_of") + [helper.make_node(op, [name + "_of"], [name])]


@family("If")
def if_(c):
    kind = c.types["V"]
    graphs = {side: body([], made(c, kind, name), [(name, type_proto(kind))], side)
              for side, name in (("then_branch", "then_y"), ("else_branch", "else_y"))}
    for choice in (True, False):
        yield c.case("fed-%s" % choice, [np.array(choice)], **graphs)
    yield c.case("fixed", [np.array(True)], (0,), **graphs)


@family("Loop")
def loop(c):
    kind = c.types["V"]
    tensor = kind.startswith("tensor(")
    flag, count = helper.make_tensor_type_proto(9, []), helper.make_tensor_type_proto(7, [])
    turn = body([("i", count), ("go_in", flag), ("v_in", type_proto(kind))],
                [helper.make_node("Identity", ["go_in"], ["go"]), helper.make_node("Identity", ["v_in"], ["v"])]
                + ([helper.make_node("Identity", ["v_in"], ["each"])] if tensor else []),
                [("go", flag), ("v", type_proto(kind))] + ([("each", type_proto(kind))] if tensor else []))
    v = c.value(kind)
    n_out = 2 if tensor else 1
    yield c.case("three", [np.array(3, np.int64), np.array(True), v], (0,), n_out=n_out, body=turn)
    yield c.case("running", [np.array(2, np.int64), np.array(True), v], n_out=n_out, body=turn)
    if not tensor:  # nothing is said of a scan output's dims where no iteration has made one
        yield c.case("none", [np.array(3, np.int64), np.array(False), v], body=turn)


@family("Scan")
def scan(c):
    kind = type_proto(c.types["V"])
    step = body([("s_in", kind), ("x_in", kind)], [helper.make_node("Identity", ["s_in"], ["s"]), helper.make_node("Identity", ["x_in"], ["x"])],
                [("s", kind), ("x", kind)])
    e = values.element_of(c.types["V"])[1]
    if c.version == 8:
        yield c.case("batch", [None, some(c, e, 2, 3), some(c, e, 2, 4, 2)], n_out=2, body=step, num_scan_inputs=1)
        return
    yield c.case("rows", [some(c, e, 3), some(c, e, 4, 2)], n_out=2, body=step, num_scan_inputs=1)
    yield c.case("back", [some(c, e, 3), some(c, e, 4, 2)], n_out=2, body=step, num_scan_inputs=1, scan_input_directions=[1],
                 scan_input_axes=[1], scan_output_axes=[1])


@family("SequenceMap")
def sequence_map(c):
    e = elem_drawn(c, "S")
    if c.constraint == "V" and not c.types["V"].startswith("tensor("):
        yield c.case("extra", [[some(c, e, 2), some(c, e, 3)], c.value(c.types["V"])],
                     body=body([("x_in", helper.make_tensor_type_proto(values.NUMBER[e], [None])), ("v_in", type_proto(c.types["V"]))],
                               [helper.make_node("Identity", ["x_in"], ["x"])], [("x", type_proto("tensor(%s)" % e))]))
        return
    kind = helper.make_tensor_type_proto(values.NUMBER[e], [None])
    yield c.case("same", [[some(c, e, 2), some(c, e, 3)]], body=body([("x_in", kind)], [helper.make_node("Identity", ["x_in"], ["x"])], [("x", kind)]))
    if c.constraint == "V":
        v = type_proto(c.types["V"])
        yield c.case("extra", [[some(c, e, 2), some(c, e, 3)], c.value(c.types["V"])],
                     body=body([("x_in", kind), ("v_in", v)], [helper.make_node("Identity", ["x_in"], ["x"])], [("x", kind)]))


@family("RandomNormal RandomUniform RandomNormalLike RandomUniformLike Bernoulli Multinomial")
def random(c):
    to = {"dtype": values.NUMBER[c.out_elem()]}
    if c.op in ("RandomNormal", "RandomUniform"):
        yield c.case("shape", [], kind="random", shape=[3, 4], seed=1.0, **to)
        return
    x = c.draw(0, (3, 4), "finite")
    if c.op == "Bernoulli":
        x = np.abs(c.draw(0, (3, 4), "unit"))
    elif c.op == "Multinomial":
        to["sample_size"] = 5
    yield c.case("typed", [x], kind="random", seed=2.0, **to)
    if c.op.endswith("Like") and c.types["T1"] in dict((k.type_param_str, k.allowed_type_strs) for k in c.schema.type_constraints)["T2"]:
        yield c.case("like", [x], kind="random", types=dict(c.types, T2=c.types["T1"]))


@family("StringNormalizer")
def normalizer(c):
    x = c.draw(0, (5,))
    yield c.case("default", [x])
    yield c.case("upper", [x], case_change_action="UPPER")
    yield c.case("stop", [x], case_change_action="LOWER", stopwords=["a", "ab"], is_case_sensitive=1)


@family("StringSplit")
def splitting(c):
    x = np.array(["a b c", "", " x  y ", "a,b"], object)
    yield c.case("blanks", [x], n_out=2)
    yield c.case("comma", [x], n_out=2, delimiter=",")
    yield c.case("most", [x.reshape(2, 2)], n_out=2, maxsplit=1)


@family("RegexFullMatch")
def regex(c):
    x = np.array(["abc", "ab", "a1", ""], object)
    yield c.case("class", [x], pattern="[a-c]+")
    yield c.case("groups", [x.reshape(2, 2)], pattern="(a|b)[0-9]?")


@family("Adagrad Adam Momentum", "ai.onnx.preview.training")
def update(c):
    extra = {"Adagrad": 1, "Adam": 2, "Momentum": 1}[c.op]
    rate = c.draw(0, (), "positive")
    step = np.array(3, np.int64)
    tensors = [c.draw(2, (4,), "finite"), c.draw(2, (4,), "finite")] + [c.draw(2, (4,), "positive") for _ in range(extra)]
    attrs = {"Momentum": {"alpha": 0.5, "beta": 0.25, "norm_coefficient": 0.01}}.get(c.op, {"norm_coefficient": 0.01})
    for mode in ("standard", "nesterov") if c.op == "Momentum" else (None,):
        more = {"mode": mode} if mode else {}
        yield c.case(mode or "step", [rate, step] + tensors, n_out=1 + extra, **attrs, **more)
        yield c.case("zero-" + (mode or "step"), [rate, np.array(0, np.int64)] + tensors, n_out=1 + extra, **attrs, **more)
