"""The cases of gradients.py: operators with the inputs at which they are differentiated.

    case("Mul", f(2, 3), f(3))           arrays of floats are inputs and differentiated by; integers and bools are initializers

Inputs keep away from corners (Relu's 0, equal maxima) by more than the step of the differences.
"""

import numpy as np
from onnx import helper


class Case:
    def __init__(self, number, name, nodes, inputs, outputs, **options):
        self.number, self.name, self.nodes, self.inputs, self.outputs = number, name, nodes, inputs, outputs
        self.opset = options.get("opset", 24)
        self.constant = options.get("constant", ())  # fed, but not differentiated by
        self.static = options.get("static", ())      # of fixed size also where others are symbolic
        self.modes = options.get("modes", (None, "symbolic"))
        self.feed = options.get("feed", ())          # integers that are inputs all the same
        self.initializers = options.get("initializers", ())
        self.tol = options.get("tol", 1e-7)
        self.step = options.get("step")
        self.options = options.get("options", [])

    def fed(self, name):
        return name not in self.initializers and (self.inputs[name].dtype == np.float64 or name in self.feed)


class Cases:
    def __init__(self, rng):
        self.rng, self.list = rng, []

    def f(self, *shape, lo=-2.0, hi=2.0, away=()):
        """Uniform in [lo, hi], at least 0.05 from the numbers `away`."""
        a = self.rng.uniform(lo, hi, shape)
        for x in away:
            near = np.abs(a - x) < 0.05
            a = np.where(near, x + np.where(a < x, -0.05, 0.05) - (x - a), a)
        return a

    def spread(self, *shape):
        """All different, at least 0.1 apart: for maxima."""
        n = int(np.prod(shape))
        return (self.rng.permutation(n).reshape(shape) * 0.1 + self.rng.uniform(0, 0.02, shape) - n * 0.05).astype(np.float64)

    def case(self, op, *inputs, out=None, name=None, domain="", more=None, outputs=None, **attrs):
        """One node. out: the shapes of its results (None: like numpy's broadcasting of all inputs)."""
        options = attrs.pop("options", {})
        names = ["" if a is None else "x%d" % k for k, a in enumerate(inputs)]
        given = {n: a for n, a in zip(names, inputs) if a is not None}
        if out is None:
            out = [np.broadcast_shapes(*(a.shape for a in given.values() if a.dtype == np.float64))]
        results = ["" if s is None else "y%d" % k for k, s in enumerate(out)]
        node = helper.make_node(op, names, results, domain=domain, **attrs)
        shapes = {n: s for n, s in zip(results, out) if n and s != "no"}
        label = name or "%s %s%s" % (op, "x".join(str(list(a.shape)).replace(" ", "") for a in given.values()), attrs or "")
        self.list.append(Case(len(self.list), label, [node] + (more or []), given, outputs or shapes, **options))


def unary(c):
    f, case = c.f, c.case
    for op, lo, hi in (
        ("Acos", -0.9, 0.9), ("Acosh", 1.2, 3), ("Asin", -0.9, 0.9), ("Asinh", -2, 2), ("Atan", -2, 2), ("Atanh", -0.9, 0.9),
        ("Cos", -2, 2), ("Cosh", -2, 2), ("Erf", -2, 2), ("Exp", -2, 2), ("Identity", -2, 2), ("Log", 0.3, 3), ("Neg", -2, 2),
        ("Reciprocal", 0.5, 2), ("Sigmoid", -3, 3), ("Sin", -2, 2), ("Sinh", -2, 2), ("Sqrt", 0.3, 3), ("Tan", -1, 1),
        ("Tanh", -2, 2), ("Softplus", -3, 3), ("Softsign", -3, 3), ("Mish", -3, 3), ("Gelu", -3, 3), ("Swish", -3, 3),
    ):
        case(op, f(3, 5, lo=lo, hi=hi, away=(0,) if op == "Softsign" else ()))
    for op, away, attrs in (
        ("Abs", (0,), {}), ("Relu", (0,), {}), ("LeakyRelu", (0,), {"alpha": 0.2}), ("Elu", (0,), {"alpha": 0.7}),
        ("Selu", (0,), {}), ("Celu", (0,), {"alpha": 0.6}), ("HardSigmoid", (-2.5, 2.5), {}), ("HardSwish", (-3, 3), {}),
        ("ThresholdedRelu", (0.8,), {"alpha": 0.8}), ("Shrink", (-0.5, 0.5), {"bias": 0.3}), ("Floor", range(-4, 5), {}),
        ("Ceil", range(-4, 5), {}), ("Round", np.arange(-4.5, 5), {}), ("Sign", (0,), {}),
        ("Gelu", (), {"approximate": "tanh"}), ("Swish", (), {"alpha": 1.7}),
    ):
        case(op, f(4, 6, lo=-4, hi=4, away=away), **attrs)
    case("Clip", f(3, 4, away=(-1, 1)), np.float64(-1), np.float64(1), out=[(3, 4)])
    case("Clip", f(3, 4, away=(0.5,)), None, np.float64(0.5), out=[(3, 4)])
    case("Cast", f(3, 4), to=11)


def binary(c):
    f, case = c.f, c.case
    distinct = {"modes": (None, "symbolic", "distinct")}
    for op in ("Add", "Sub", "Mul"):
        case(op, f(2, 3), f(2, 3), options=distinct)
        case(op, f(2, 3, 4), f(3, 1), options=distinct)
        case(op, f(4), f(2, 3, 1), options=distinct)
        case(op, f(1), f())
    case("Mul", f(3, 4), f(3, 4), name="x*x", options={})
    c.list[-1].nodes[0].input[1] = "x0"
    case("Div", f(2, 3, 4), f(3, 1, lo=0.5), options=distinct)
    case("Div", f(4), f(3, 4, lo=0.5))
    case("Pow", f(3, 4, lo=0.3), f(4))
    case("Pow", f(3, 4, away=(0,)), np.float64(3), out=[(3, 4)], options={"constant": ("x1",)})
    case("Pow", f(3, 4), np.array([2, 0, 1, 3]), out=[(3, 4)])
    case("Mod", f(3, 4, lo=5.1, hi=5.9), f(4, lo=1.9, hi=2), fmod=1)
    case("PRelu", f(2, 3, 4, away=(0,)), f(3, 1))
    for op in ("Max", "Min"):
        a = c.spread(4, 3, 2)
        case(op, a[0], a[1], a[2], a[3, :1])
    for op in ("Sum", "Mean"):
        case(op, f(3, 2), f(2), f(3, 1))
    case("SwiGLU", f(3, 4), f(3, 4), alpha=1.3, options={"opset": 28})
    case("Where", c.rng.random((3, 4)) < 0.5, f(4), f(3, 1), options=distinct)


def products(c):
    f, case = c.f, c.case
    for a, b, y in (
        ((3, 4), (4, 5), (3, 5)), ((2, 3, 4), (4, 5), (2, 3, 5)), ((2, 3, 4), (2, 4, 5), (2, 3, 5)), ((2, 1, 3, 4), (3, 4, 2), (2, 3, 3, 2)),
        ((4,), (4,), ()), ((4,), (2, 4, 3), (2, 3)), ((2, 3, 4), (4,), (2, 3)), ((3, 4), (2, 4, 5), (2, 3, 5)),
    ):
        case("MatMul", f(*a), f(*b), out=[y])
    for ta in (0, 1):
        for tb in (0, 1):
            case("Gemm", f(*((4, 3) if ta else (3, 4))), f(*((5, 4) if tb else (4, 5))), f(5), out=[(3, 5)], transA=ta, transB=tb, alpha=0.5, beta=1.5)
    case("Gemm", f(3, 4), f(4, 5), out=[(3, 5)])
    case("Gemm", f(3, 4), f(4, 5), f(3, 1), out=[(3, 5)])


def reductions(c):
    f, case = c.f, c.case
    axes = np.array([1])
    for op in ("ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceLogSum", "ReduceProd"):
        lo = 0.3 if op in ("ReduceLogSum", "ReduceL1") else -2
        case(op, f(2, 3, 4, lo=lo), axes, out=[(2, 1, 4)])
        case(op, f(2, 3, 4, lo=lo), np.array([0, -1]), out=[(3,)], keepdims=0)
        case(op, f(2, 3, lo=lo), out=[()], keepdims=0)
    for op in ("ReduceMax", "ReduceMin"):
        case(op, c.spread(2, 3, 4), axes, out=[(2, 1, 4)])
        case(op, c.spread(2, 3, 4), np.array([2, 0]), out=[(3,)], keepdims=0)
    zeros = f(3, 4, away=(0,))
    zeros[1, 2] = zeros[2, 0] = zeros[2, 1] = 0
    case("ReduceProd", zeros, axes, out=[(3, 1)], name="ReduceProd of zeros")
    case("ReduceSum", f(2, 3, 4), axes, out=[(2, 1, 4)], name="ReduceSum, run-time axes", options={"feed": ("x1",), "static": ("x1",)})
    case("ReduceMax", c.spread(2, 3), axes, out=[(2,)], keepdims=0, name="ReduceMax, run-time axes", options={"feed": ("x1",), "static": ("x1",)})
    for attrs in ({}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}):
        case("CumSum", f(3, 4), np.array(1), out=[(3, 4)], **attrs)


def moves(c):
    f, case, i = c.f, c.case, np.array
    case("Transpose", f(2, 3, 4), out=[(4, 3, 2)])
    case("Transpose", f(2, 3, 4), out=[(4, 2, 3)], perm=[2, 0, 1])
    case("Reshape", f(2, 3, 4), i([4, -1]), out=[(4, 6)])
    case("Flatten", f(2, 3, 4), out=[(2, 12)])
    case("Squeeze", f(2, 1, 4), i([1]), out=[(2, 4)])
    case("Unsqueeze", f(2, 4), i([1, -1]), out=[(2, 1, 4, 1)])
    case("Expand", f(3, 1), i([2, 3, 4]), out=[(2, 3, 4)])
    case("Expand", f(3, 1), i([2, 1, 4]), out=[(2, 3, 4)], name="Expand, run-time shape", options={"feed": ("x1",), "static": ("x1",)})
    case("Tile", f(2, 3), i([3, 2]), out=[(6, 6)])
    case("Concat", f(2, 3), f(2, 1), f(2, 4), out=[(2, 8)], axis=1, options={"modes": (None, "symbolic", "distinct")})
    case("Split", f(2, 7), i([3, 4]), out=[(2, 3), (2, 4)], axis=1, options={"modes": (None,)})
    case("Split", f(6, 2), i([1, 2, 3]), out=[None, (2, 2), (3, 2)], name="Split, two of three", options={"static": ("x0",)})
    case("Slice", f(5, 6), i([1, -4]), i([4, -1]), out=[(3, 3)])
    case("Slice", f(5, 6), i([1]), i([100]), i([1]), i([2]), out=[(5, 3)])
    case("Slice", f(5, 6), i([-1, 4]), i([-100, 0]), i([0, 1]), i([-1, -2]), out=[(5, 2)])
    case("Slice", f(5, 6), i([1]), i([3]), i([0]), out=[(2, 6)], name="Slice, run-time start", options={"feed": ("x1",), "static": ("x1",), "modes": (None,)})
    for mode in ("constant", "edge", "reflect", "wrap"):
        case("Pad", f(3, 4), i([1, 2, 1, 0]), out=[(5, 6)], mode=mode, options={"static": ("x0",)})
    case("Pad", f(3, 4), i([1, -1, 1, 2]), np.float64(0.7), out=[(5, 5)], name="Pad with a value, cropping")
    case("Gather", f(5, 3), i([[1, 0], [1, -1]]), out=[(2, 2, 3)])
    case("Gather", f(2, 5, 3), i([3, 3, 0, -2]), out=[(2, 4, 3)], axis=1)
    case("Gather", f(2, 3, 5), i(1), out=[(2, 3)], axis=-1)
    case("GatherElements", f(4, 3), i([[1, 1, 0], [1, -1, 2]]), out=[(2, 3)])
    case("GatherElements", f(3, 4), i([[1, 1], [0, 3], [2, 2]]), out=[(3, 2)], axis=1)
    case("GatherND", f(3, 4, 2), i([[0, 1], [2, 3], [0, 1]]), out=[(3, 2)])
    case("GatherND", f(2, 4, 3), i([[1], [-1]]), out=[(2, 3)], batch_dims=1)
    case("ScatterElements", f(3, 4), i([[1, 0], [3, 2]]), f(2, 2), out=[(3, 4)], axis=1)
    case("ScatterElements", f(3, 4), i([[1, 1], [3, 1]]), f(2, 2), out=[(3, 4)], axis=1, reduction="add")
    case("ScatterND", f(4, 3), i([[1], [3]]), f(2, 3), out=[(4, 3)])
    case("ScatterND", f(4, 3), i([[1], [1]]), f(2, 3), out=[(4, 3)], reduction="add")
    case("TopK", c.spread(3, 6), i([2]), out=[(3, 2), "no"], options={"static": ("x0",)})
    case("Trilu", f(4, 5), i(1), out=[(4, 5)])
    case("ReverseSequence", f(4, 3, 2), i([2, 4, 1]), out=[(4, 3, 2)])
    for mode in ("DCR", "CRD"):
        case("DepthToSpace", f(2, 8, 2, 3), out=[(2, 2, 4, 6)], blocksize=2, mode=mode)
    case("SpaceToDepth", f(2, 2, 4, 6), out=[(2, 8, 2, 3)], blocksize=2)
    case("CenterCropPad", f(5, 4), i([3, 7]), out=[(3, 7)])
    case("Compress", f(4, 3), i([True, False, True, True]), out=[(3, 3)], axis=0)


def cases(rng):
    c = Cases(rng)
    for family in (unary, binary, products, reductions, moves):
        family(c)
    return c.list
