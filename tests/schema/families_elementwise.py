"""Element by element: shapes that broadcast (or, in old versions, the attributes `broadcast` and `axis`), special values."""

import numpy as np

import values
from drafts import family

SHAPES = {"vector": (23,), "scalar": (), "empty": (2, 0, 3), "rank6": (1, 2, 1, 2, 2, 3)}


def shapes_for(c):
    """All shapes for common types, fewer where the type is only another way to store."""
    return SHAPES.items()


@family("Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor HardSwish Identity IsNaN Log Mish Neg Not"
        " Reciprocal Relu Round Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh BitwiseNot")
def unary(c):
    if c.op == "Identity" and not c.types["T" if "T" in c.types else "V"].startswith("tensor"):
        yield c.case("value", [c.value(c.types["V"])])
        return
    for name, shape in shapes_for(c):
        yield c.case(name, [c.draw(0, shape)])


@family("Celu Elu LeakyRelu Selu ThresholdedRelu Shrink HardSigmoid Swish Gelu IsInf")
def unary_attributes(c):
    other = {
        "Celu": {"alpha": 2.5}, "Elu": {"alpha": 0.25}, "LeakyRelu": {"alpha": 0.3}, "Selu": {"alpha": 2.0, "gamma": 0.5},
        "ThresholdedRelu": {"alpha": 0.5}, "Shrink": {"bias": 0.5, "lambd": 1.5}, "Swish": {"alpha": 0.5},
        "HardSigmoid": {"alpha": 0.5, "beta": 0.25}, "Gelu": {"approximate": "tanh"}, "IsInf": {"detect_negative": 0},
    }[c.op]
    # Shrink: what is left of a large integer after a detour through double is nowhere defined
    kind = "finite" if c.elem() in ("int64", "uint64") else "any"
    for name, shape in shapes_for(c):
        yield c.case(name, [c.draw(0, shape, kind)])
    yield c.case("attributes", [c.draw(0, (23,), kind)], **other)


@family("SwiGLU")
def gated(c):
    for name, shape in shapes_for(c):
        yield c.case(name, [c.draw(0, shape), c.draw(1, shape)])
    yield c.case("attributes", [c.draw(0, (23,)), c.draw(1, (23,))], alpha=0.5)


BROADCAST = {
    "equal": ((3, 4), (3, 4)), "suffix": ((2, 3, 4), (4,)), "scalar": ((2, 3), ()), "both": ((3, 1, 4), (2, 1)),
    "empty": ((2, 0), (1, 1)), "scalars": ((), ()), "rank6": ((1, 2, 1, 3, 1, 2), (2, 1, 2, 1, 2, 1)),
}
OLD = {"equal": ((3, 4), (3, 4), {}), "suffix": ((2, 3, 4), (3, 4), {"broadcast": 1}),
       "axis": ((2, 3, 4), (3,), {"broadcast": 1, "axis": 1}), "one": ((2, 3, 4), (1,), {"broadcast": 1}),
       "empty": ((2, 0), (2, 0), {})}


@family("Add Sub Mul Div And Or Xor Equal Greater Less GreaterOrEqual LessOrEqual BitwiseAnd BitwiseOr BitwiseXor Pow PRelu"
        " Mod BitShift")
def binary(c):
    variants = [{}]
    if c.op == "Mod":
        real = c.elem() in ("float", "double", "float16", "bfloat16")
        variants = [{"fmod": 1}] if real and c.version < 28 else [{}, {"fmod": 1}]
    if c.op == "BitShift":
        variants = [{"direction": "LEFT"}, {"direction": "RIGHT"}]
    one_way = c.op == "PRelu"
    for k, attrs in enumerate(variants):
        forms = OLD if c.has("broadcast") else {n: (a, b, {}) for n, (a, b) in BROADCAST.items()}
        if c.op == "PRelu" and c.version < 7:
            forms = {"equal": ((2, 3, 4), (3,), {}), "one": ((2, 3, 4), (1,), {})}
        for name, (a, b, more) in forms.items():
            if one_way and name in ("both", "rank6"):
                continue
            x, y = c.draw(0, a), c.draw(1, b)
            if c.op == "BitShift":
                y = c.draw(1, b, "positive")
            if c.op == "Mod" and y.dtype.kind in "iu":
                y = c.draw(1, b, "nonzero")
            if c.op == "Pow" and x.dtype.kind in "iu":  # what does not fit an integer is nowhere defined
                x = c.draw(0, a, "positive")
                y = np.minimum(np.rint(c.draw(1, b, "positive").astype(np.float64)), 6).astype(values.DTYPE[c.elem(1)])
            yield c.case(name + (str(k) if k else ""), [x, y], **dict(attrs, **more))


@family("Max Min Sum Mean")
def variadic(c):
    yield c.case("one", [c.draw(0, (5,))])
    yield c.case("two", [c.draw(0, (3, 7)), c.draw(0, (3, 7))])
    yield c.case("three", [c.draw(0, (3, 7)) for _ in range(3)])
    yield c.case("empty", [c.draw(0, (0, 2)) for _ in range(2)])
    if c.version >= 8:
        yield c.case("broadcast", [c.draw(0, (2, 3, 4)), c.draw(0, (4,)), c.draw(0, (3, 1)), c.draw(0, ())])


@family("Where")
def where(c):
    for name, (a, b, d) in {"equal": ((5,), (5,), (5,)), "broadcast": ((3, 1), (4,), (2, 1, 1)), "empty": ((0, 1), (1, 3), ()),
                            "scalars": ((), (), ())}.items():
        yield c.case(name, [c.draw(0, a), c.draw(1, b), c.draw(2, d)])


@family("Clip")
def clip(c):
    if c.version < 11:
        for name, shape in shapes_for(c):
            yield c.case(name, [c.draw(0, shape)], min=-1.5, max=2.0)
        yield c.case("open", [c.draw(0, (23,))])
        yield c.case("low", [c.draw(0, (23,))], min=0.0)
        return
    low, high = c.draw(1, (), "small"), c.draw(2, (), "small")
    for fixed in ((), (1, 2)):
        tail = "-fixed" if fixed else ""
        yield c.case("both" + tail, [c.draw(0, (23,)), low, high], fixed)
        yield c.case("low" + tail, [c.draw(0, (23,)), low], fixed[:1])
        yield c.case("high" + tail, [c.draw(0, (23,)), None, high], fixed[1:])
    yield c.case("open", [c.draw(0, (2, 3))])
    yield c.case("scalar", [c.draw(0, ()), low, high])
    yield c.case("empty", [c.draw(0, (0, 3)), low, high])


@family("StringConcat")
def strings(c):
    for name, (a, b) in BROADCAST.items():
        yield c.case(name, [c.draw(0, a), c.draw(1, b)])
