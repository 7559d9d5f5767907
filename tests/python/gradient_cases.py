"""The cases of gradients.py: operators with the inputs at which they are differentiated.

    case("Mul", f(2, 3), f(3))           arrays of floats are inputs and differentiated by; integers and bools are initializers

Inputs keep away from corners (Relu's 0, equal maxima) by more than the step of the differences.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


class Case:
    def __init__(self, number, name, nodes, inputs, outputs, **options):
        self.number, self.name, self.nodes, self.inputs, self.outputs = number, name, nodes, inputs, outputs
        self.opset = options.get("opset", 24)
        self.constant = options.get("constant", ())  # fed, but not differentiated by
        self.static = options.get("static", ())      # of fixed size also where others are symbolic
        self.modes = options.get("modes", (None, "symbolic"))
        self.feed = options.get("feed", ())          # integers that are inputs all the same
        self.initializers = options.get("initializers", ())
        self.narrow = options.get("narrow", False)   # in float32 and float16, too
        self.second = options.get("second", True)    # its gradient is differentiated, too
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
    case("Gemm", f(3, 4), f(4, 5), f(3, 1), out=[(3, 5)], options={"narrow": True})


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
    case("ReduceProd", zeros, out=[()], keepdims=0, name="ReduceProd of zeros, all axes")
    case("ReduceProd", zeros, axes, out=[(3, 1)], name="ReduceProd of zeros, run-time axes", options={"feed": ("x1",), "static": ("x1",), "second": False})
    case("ReduceSum", f(2, 3, 4), axes, out=[(2, 1, 4)], name="ReduceSum, run-time axes", options={"feed": ("x1",), "static": ("x1",)})
    case("ReduceMax", c.spread(2, 3), axes, out=[(2,)], keepdims=0, name="ReduceMax, run-time axes", options={"feed": ("x1",), "static": ("x1",)})
    for attrs in ({}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}):
        case("CumSum", f(3, 4), np.array(1), out=[(3, 4)], **attrs)
        case("CumProd", f(3, 4), np.array(1), out=[(3, 4)], options={"opset": 26}, **attrs)
    case("CumProd", zeros, np.array(-2), out=[(3, 4)], name="CumProd of zeros", options={"opset": 26})
    case("CumProd", f(5), np.array([0]), out=[(5,)], name="CumProd of a vector", options={"opset": 26})


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


def windows(c):
    f, case = c.f, c.case
    for x, w, y, attrs in (
        ((2, 3, 5), (4, 3, 3), (2, 4, 3), {}),
        ((2, 3, 6, 5), (4, 3, 3, 2), (2, 4, 3, 5), {"strides": [2, 1], "pads": [1, 0, 1, 1]}),
        ((1, 4, 7, 6), (6, 2, 2, 3), (1, 6, 3, 2), {"group": 2, "strides": [2, 3], "dilations": [2, 1]}),
        ((2, 3, 5, 5), (3, 1, 3, 3), (2, 3, 5, 5), {"group": 3, "pads": [1, 1, 1, 1]}),
        ((1, 2, 6, 7), (2, 2, 3, 3), (1, 2, 3, 4), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((2, 3, 4, 4), (5, 3, 1, 1), (2, 5, 4, 4), {}),
        ((2, 17, 4, 3), (3, 17, 2, 2), (2, 3, 4, 2), {"pads": [1, 0, 0, 0]}),
        ((1, 34, 4), (4, 17, 2), (1, 4, 3), {"group": 2}),
    ):
        case("Conv", f(*x), f(*w), f(w[0]), out=[y], options={"static": ("x1", "x2"), "narrow": True}, **attrs)
    for x, w, y, attrs in (
        ((2, 3, 4), (3, 2, 3), (2, 2, 6), {}),
        ((1, 4, 3, 4), (4, 2, 3, 2), (1, 2, 6, 7), {"strides": [2, 2], "pads": [1, 1, 0, 0], "output_padding": [0, 0]}),
        ((2, 4, 3, 3), (4, 1, 3, 3), (2, 2, 7, 7), {"group": 2, "strides": [2, 2], "pads": [1, 1, 0, 0], "output_padding": [1, 1]}),
        ((1, 2, 3, 3), (2, 3, 2, 2), (1, 3, 5, 5), {"dilations": [2, 2]}),
    ):
        case("ConvTranspose", f(*x), f(*w), f(y[1]), out=[y], options={"static": ("x1", "x2")}, **attrs)
    pool = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    case("MaxPool", c.spread(2, 2, 5, 4), out=[(2, 2, 3, 4)], **pool)
    case("MaxPool", c.spread(1, 2, 5, 5), out=[(1, 2, 3, 3)], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    for include in (0, 1):
        case("AveragePool", f(2, 2, 5, 4), out=[(2, 2, 3, 4)], count_include_pad=include, **pool)
        case("AveragePool", f(1, 2, 6, 5), out=[(1, 2, 3, 3)], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1,
             pads=[0, 1, 0, 1], count_include_pad=include, options={"modes": (None,)})
    case("AveragePool", f(2, 3, 7), out=[(2, 3, 3)], kernel_shape=[2], strides=[2], dilations=[2])
    case("LpPool", f(2, 2, 5, 4), out=[(2, 2, 3, 4)], p=2, **pool)
    case("LpPool", f(2, 2, 5, 4, away=(0,)), out=[(2, 2, 3, 4)], p=3, **pool)
    for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        case(op, c.spread(2, 3, 4, 2), out=[(2, 3, 1, 1)])


    scales = np.array([1, 1, 2, 1.5], np.float32)
    for mode, attrs in (("nearest", {}), ("linear", {}), ("cubic", {"coordinate_transformation_mode": "align_corners"}), ("linear", {"antialias": 1})):
        case("Resize", f(1, 2, 4, 6), None, scales, out=[(1, 2, 8, 9)], mode=mode, **attrs)
    roi = np.array([0, 0, 0.2, -0.3, 1, 1, 0.9, 1.2])
    for mode, by in (("linear", [1, 1, 1.5, 1]), ("nearest", [1, 1, 1, 2]), ("cubic", [1, 1, 0.8, 1.4])):
        y = [1, 2, *(int(np.floor(n * (b - a) * s)) for n, a, b, s in zip((4, 6), roi[2:4], roi[6:], by[2:]))]
        case("Resize", f(1, 2, 4, 6), roi, np.float32(by), out=[y], mode=mode, coordinate_transformation_mode="tf_crop_and_resize",
             extrapolation_value=3.0, options={"initializers": ("x1", "x2"), "modes": (None,)})
    for policy, y, more in (("not_larger", (1, 2, 7, 3), {}), ("not_smaller", (1, 2, 16, 7), {"coordinate_transformation_mode": "align_corners"}),
                            ("not_larger", (1, 2, 7, 3), {"mode": "cubic", "exclude_outside": 1})):
        case("Resize", f(1, 2, 9, 4), None, None, np.array([7, 3]) if policy == "not_larger" else np.array([7, 7]), out=[y],
             **{"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": policy, "options": {"static": ("x0",), "modes": (None,)}, **more})
    case("Resize", f(1, 2, 5, 4), None, None, np.array([3, 7]), out=[(1, 2, 3, 7)], mode="linear", axes=[2, 3], antialias=1, options={"static": ("x0",)})
    case("Upsample", f(1, 2, 3, 3), scales, out=[(1, 2, 6, 4)], mode="linear", options={"opset": 9, "modes": (None,)})


def places(c):
    """Operators that say where elements are, and determinants."""
    f, case, i = c.f, c.case, np.array
    case("MaxUnpool", f(1, 2, 2, 2), i([[[[5, 7], [13, 15]], [[16, 19], [26, 31]]]]), out=[(1, 2, 4, 4)], kernel_shape=[2, 2], strides=[2, 2],
         options={"static": ("x0",)})
    case("MaxUnpool", f(1, 1, 2, 2), i([[[[5, 7], [13, 15]]]]), i([1, 1, 5, 6]), out=[(1, 1, 5, 6)], kernel_shape=[2, 2], strides=[2, 2],
         options={"static": ("x0",)})
    case("Col2Im", f(2, 8, 12), i([4, 5]), i([2, 2]), out=[(2, 2, 4, 5)], options={"static": ("x0",)})
    case("Col2Im", f(2, 8, 12), i([4, 5]), i([2, 2]), out=[(2, 2, 4, 5)], name="Col2Im of blocks of the run", options={"feed": ("x2",), "modes": (None,)})
    case("Col2Im", f(1, 6, 6), i([5, 4]), i([2, 3]), out=[(1, 1, 5, 4)], strides=[2, 1], pads=[1, 0, 0, 1], dilations=[2, 1], options={"static": ("x0",)})
    for align in (0, 1):
        case("AffineGrid", f(2, 2, 3), i([2, 1, 3, 4]), out=[(2, 3, 4, 2)], align_corners=align, options={"static": ("x0",)})
    case("AffineGrid", f(1, 3, 4), i([1, 1, 2, 3, 2]), out=[(1, 2, 3, 2, 3)], options={"static": ("x0",)})
    singular = f(3, 3)
    singular[2] = singular[0] - 2 * singular[1]
    for name, x, options in (("Det", f(3, 3), {}), ("Det of several", f(2, 4, 4), {}), ("Det without an inverse", singular, {}), ("Det of zeros", np.zeros((2, 2)), {}),
                             ("Det of one", f(2, 1, 1), {})):
        case("Det", x, out=[x.shape[:-2]], name=name, options=options)
    for mode in ("linear", "cubic", "nearest"):
        for padding in ("zeros", "border", "reflection"):
            align = int(mode == "cubic" or padding == "border")
            case("GridSample", f(2, 2, 4, 5), f(2, 3, 2, 2, lo=-1.3, hi=1.3), out=[(2, 2, 3, 2)], mode=mode, padding_mode=padding, align_corners=align,
                 options={"modes": (None, "symbolic") if padding == "zeros" else (None,), "tol": 1e-6})
    case("GridSample", f(1, 2, 3, 2, 4), f(1, 2, 2, 1, 3, lo=-1.1, hi=1.1), out=[(1, 2, 2, 2, 1)], options={"modes": (None,), "tol": 1e-6})


def regions(c):
    """Pools of regions. Of fixed numbers, so that no sample lies on a pixel and no quotient near a whole number of samples."""
    rng, case, i = np.random.default_rng(5), c.case, np.array
    x = rng.permutation(2 * 3 * 6 * 7).reshape(2, 3, 6, 7) * 0.03 - 3.1
    rois = i([[0.37, 0.61, 5.13, 3.87], [-1.23, 1.41, 3.29, 8.17], [2.11, 2.3, 2.47, 2.71], [1.53, 4.07, 0.19, 5.9]])
    image = i([1, 0, 1, -2])
    for mode in ("avg", "max"):
        for transform in ("half_pixel", "output_half_pixel"):
            attrs = {"mode": mode, "coordinate_transformation_mode": transform, "output_height": 2, "output_width": 3}
            case("RoiAlign", x, rois, image, out=[(4, 3, 2, 3)], options={"static": ("x1",)}, **attrs)
            case("RoiAlign", x, rois, image, out=[(4, 3, 2, 3)], sampling_ratio=2, spatial_scale=0.75, options={"modes": (None,)}, **attrs)
    case("RoiAlign", x, rois[:0], image[:0], out=[(0, 3, 1, 1)], name="RoiAlign, no region", options={"modes": (None,)})
    case("RoiAlign", x, rois, image, out=[(4, 3, 2, 1)], output_height=2, name="RoiAlign, narrow", options={"modes": (None,), "narrow": "float32"})
    rois = i([[0, 0.3, 1.2, 5.1, 4.7], [1, -2.3, 1.4, 3.2, 8.1], [1, 9.2, 9.3, 11, 12], [0, 2.2, 2.8, 1.3, 2.7]])
    for scale in (1.0, 0.6):
        case("MaxRoiPool", x, rois, out=[(4, 3, 2, 3)], pooled_shape=[2, 3], spatial_scale=scale, options={"static": ("x1",), "constant": ("x1",)})


def written_out(c):
    """What is differentiated in terms of other operators."""
    f, case, i = c.f, c.case, np.array
    case("OneHot", i([[1, -1], [5, 0]]), i(4), f(2), out=[(2, 2, 4)], options={"static": ("x2",)})
    case("OneHot", i([1, 2, 0]), i(3), f(2), out=[(3, 3)], axis=0, options={"modes": (None,)})
    case("Range", np.float64(0.3), np.float64(4.1), np.float64(0.5), out=[(8,)], options={"modes": (None,)})
    case("TensorScatter", f(2, 5, 3), f(2, 2, 3), i([1, 3]), out=[(2, 5, 3)])
    case("TensorScatter", f(2, 3, 4), f(2, 3, 3), i([3, 1]), out=[(2, 3, 4)], mode="circular", axis=-1, options={"modes": (None,)})
    case("TensorScatter", f(2, 2, 3, 4), f(2, 2, 2, 4), None, out=[(2, 2, 3, 4)], options={"modes": (None,)})
    case("Unique", c.spread(3, 4), out=[(12,)])
    case("Unique", c.spread(3, 4), out=[(3, 4), "no", "no", "no"], axis=0, sorted=0)
    case("EyeLike", f(3, 4), out=[(3, 4)], options={"modes": (None,), "opset": 22})
    tree = {"nodes_splits": numpy_helper.from_array(i([0.0])), "leaf_weights": numpy_helper.from_array(i([0.5, 2.0])),
            "nodes_modes": numpy_helper.from_array(np.zeros(1, np.uint8)), "nodes_featureids": [1], "nodes_truenodeids": [0], "nodes_trueleafs": [1],
            "nodes_falsenodeids": [1], "nodes_falseleafs": [1], "leaf_targetids": [0, 0], "tree_roots": [0], "n_targets": 1}
    case("TreeEnsemble", f(4, 2, away=(0,)), out=[(4, 1)], domain="ai.onnx.ml", name="TreeEnsemble", options={"modes": (None,)}, **tree)
    q = c.rng.integers(-9, 9, (4, 6)).astype(np.int8)
    make = helper.make_node
    for scale, zero, attrs in ((f(), np.int8(3), {}), (f(6), i(range(6), np.int8), {}), (f(4, 3), None, {"block_size": 2})):  # float32 and linear: long steps
        given = {"q": q, "s": scale} if zero is None else {"q": q, "s": scale, "z": zero}
        nodes = [make("Cast", ["s"], ["t"], to=TensorProto.FLOAT), make("DequantizeLinear", ["q", "t"] + list(given)[2:], ["r"], **attrs),
                 make("Cast", ["r"], ["y"], to=TensorProto.DOUBLE)]
        c.list.append(Case(len(c.list), "DequantizeLinear %s%s" % (list(scale.shape), attrs or ""), nodes, given, {"y": (4, 6)}, modes=(None,), second=False,
                           step=0.5, tol=1e-5))
    for reduction in ("mul", "max", "min"):
        x, n = c.spread(3, 4) + (2 if reduction == "mul" else 0), i([[1, 0], [3, 2]])
        u = x[::-1, :2][:2] + 0.05
        case("ScatterElements", x, n, u, out=[(3, 4)], axis=1, reduction=reduction)
        case("ScatterElements", x, i([[1, 1], [3, 1]]), u, out=[(3, 4)], axis=1, reduction=reduction, options={"modes": (None,)})
        case("ScatterND", x, i([[1], [1], [0]]), x[::-1] + 0.05, out=[(3, 4)], reduction=reduction)
    zero = f(2, 2)
    zero[0, 1] = 0
    case("ScatterElements", f(3, 4), i([[1, 1], [3, 1]]), zero, out=[(3, 4)], axis=1, reduction="mul", name="ScatterElements mul by 0",
         options={"modes": (None,), "second": False})
    x, rest = (2, 4, 5, 4), {"modes": (None,), "tol": 1e-6}
    case("DeformConv", f(*x), f(3, 4, 2, 2), f(2, 8, 4, 3), f(3), f(2, 4, 4, 3), out=[(2, 3, 4, 3)], options={"static": ("x1", "x2", "x3", "x4"), "tol": 1e-6})
    case("DeformConv", f(*x), f(4, 2, 3, 2), f(2, 24, 3, 3), None, f(2, 12, 3, 3), out=[(2, 4, 3, 3)], group=2, offset_group=2,
         strides=[2, 1], dilations=[1, 2], pads=[1, 0, 1, 1], options=rest)
    case("DeformConv", f(1, 2, 6), f(2, 2, 3), f(1, 3, 4), out=[(1, 2, 4)], options=rest)
    case("DeformConv", f(*x), f(4, 2, 3, 2), f(2, 24, 3, 3), None, f(2, 12, 3, 3), out=[(2, 4, 3, 3)], group=2, offset_group=2,
         strides=[2, 1], dilations=[1, 2], pads=[1, 0, 1, 1], name="DeformConv, a kernel of any extents", options={**rest, "modes": ("distinct",)})
    rules = {"gated": (f(2, 3, 2), None), "delta": (None, f(2, 3, 1)), "linear": (None, None), "gated_delta": (f(2, 3, 6), f(2, 3, 2))}
    for name, extra in rules.items():
        past = None if name == "linear" else f(2, 2, 3, 2)
        case("LinearAttention", f(2, 3, 12), f(2, 3, 6), f(2, 3, 4), past, *extra, out=[(2, 3, 8), (2, 2, 3, 2)], q_num_heads=4,
             kv_num_heads=2, update_rule=name, options={"modes": (None,), "opset": 27, "narrow": "float32"},
             **({"scale": 0.7} if name == "delta" else {}))
    case("LinearAttention", f(2, 3, 6), f(2, 3, 6), f(2, 3, 4), None, f(2, 3, 2), f(2, 3, 2), out=[(2, 3, 4)], q_num_heads=2, kv_num_heads=2,
         name="LinearAttention, symbolic", options={"modes": ("symbolic",), "static": ("x0", "x1", "x2", "x4", "x5"), "opset": 27, "second": False})


def norms(c):
    f, case = c.f, c.case
    ms = {"domain": "com.microsoft"}
    case("BiasGelu", f(3, 4), f(4), out=[(3, 4)], **ms)
    case("FastGelu", f(3, 4), f(4), out=[(3, 4)], **ms)
    case("SkipLayerNormalization", f(2, 3, 4), f(2, 3, 4), f(4), f(4), f(4), out=[(2, 3, 4)], options={"static": ("x2", "x3", "x4")}, **ms)
    case("FusedMatMul", f(4, 3), f(5, 4), out=[(3, 5)], transA=1, transB=1, alpha=0.7, options={"modes": (None,)}, **ms)
    for op in ("Softmax", "LogSoftmax"):
        case(op, f(3, 5), out=[(3, 5)], options={"narrow": True})
        case(op, f(2, 3, 4), out=[(2, 3, 4)], axis=1)
    case("LayerNormalization", f(2, 3, 6), f(6), f(6), out=[(2, 3, 6)], options={"narrow": True})
    case("LayerNormalization", f(2, 3, 4), f(3, 4), None, out=[(2, 3, 4)], axis=1)
    case("RMSNormalization", f(3, 6), f(6), out=[(3, 6)])
    for x in ((3, 2, 4, 2), (5, 3)):
        k = x[1]
        case("BatchNormalization", f(*x), f(k), f(k), f(k), f(k, lo=0.5), out=[x])
        part = x[1:]
        case("BatchNormalization", f(*x), f(*part), f(*part), f(*part), f(*part, lo=0.5), out=[x], spatial=0, name="BatchNormalization of pictures %d" % len(x),
             options={"opset": 7, "modes": (None,)})
        case("BatchNormalization", f(*x), f(k), f(k), f(k), f(k, lo=0.5), out=[x, (k,), (k,)], training_mode=1, momentum=0.7)
    case("InstanceNormalization", f(2, 3, 4, 2), f(3), f(3), out=[(2, 3, 4, 2)])
    case("GroupNormalization", f(2, 4, 3, 2), f(4), f(4), out=[(2, 4, 3, 2)], num_groups=2)
    case("LpNormalization", f(3, 4, away=(0,)), out=[(3, 4)], p=2)
    case("LpNormalization", f(3, 4, away=(0,)), out=[(3, 4)], p=1, axis=0)
    case("MeanVarianceNormalization", f(2, 3, 4, 2), out=[(2, 3, 4, 2)])
    case("LRN", f(2, 5, 3, 2), out=[(2, 5, 3, 2)], size=3, alpha=0.3, beta=0.75, bias=1.2)
    case("LRN", f(1, 5, 4), out=[(1, 5, 4)], size=4, alpha=0.5)


def losses(c):
    f, case = c.f, c.case
    target = np.array([1, 0, 3, 1])
    for reduction in ("mean", "sum", "none"):
        out = [(4,) if reduction == "none" else ()]
        case("SoftmaxCrossEntropyLoss", f(4, 5), target, f(5, lo=0.5), out=out, reduction=reduction, options={"static": ("x0", "x2")})
        case("NegativeLogLikelihoodLoss", f(4, 5), target, out=out, reduction=reduction, options={"static": ("x0",)})
    case("SoftmaxCrossEntropyLoss", f(4, 5), target, out=[(), (4, 5)], ignore_index=3, options={"static": ("x0",)})
    case("SoftmaxCrossEntropyLoss", f(2, 5, 3), c.rng.integers(0, 5, (2, 3)), out=[()], options={"static": ("x0",)})


def blocks(c):
    """What is differentiated by its expansion, and operators with graphs."""
    f, case = c.f, c.case
    case("Einsum", f(2, 3, 4), f(2, 4, 5), out=[(2, 3, 5)], equation="bij,bjk->bik")
    case("Einsum", f(3, 4), f(4), out=[(3,)], equation="ij,j->i")
    case("Attention", f(2, 2, 3, 4), f(2, 2, 5, 4), f(2, 2, 5, 3), out=[(2, 2, 3, 3)], options={"narrow": True})
    case("Attention", f(1, 4, 6), f(1, 4, 6), f(1, 4, 6), out=[(1, 4, 6)], q_num_heads=2, kv_num_heads=2, is_causal=1, options={"modes": (None,)})
    case("RotaryEmbedding", f(2, 2, 3, 4), f(3, 2), f(3, 2), c.rng.integers(0, 3, (2, 3)), out=[(2, 2, 3, 4)], options={"static": ("x0", "x1", "x2")})
    case("Dropout", f(3, 4), np.float64(0.5), np.bool_(False), out=[(3, 4)], options={"initializers": ("x1",)})
    one = np.array(1)
    for n in (5, 6):
        case("DFT", f(2, n, 1), None, one, out=[(2, n, 2)])
        case("DFT", f(2, n, 2), None, one, out=[(2, n, 2)], inverse=1, options={"modes": (None,)})
        case("DFT", f(2, n, 1), None, one, out=[(2, n // 2 + 1, 2)], onesided=1)
        case("DFT", f(2, n // 2 + 1, 2), np.array(n), one, out=[(2, n, 1)], onesided=1, inverse=1, options={"static": ("x0",)})
    case("DFT", f(2, 6, 2), np.array(8), one, out=[(2, 8, 2)], options={"static": ("x0",)})
    case("DFT", f(2, 6, 2), np.array(4), one, out=[(2, 4, 2)], options={"static": ("x0",)})
    case("DFT", f(2, 34, 1), None, one, out=[(2, 34, 2)])
    case("DFT", f(1, 67, 2), None, one, out=[(1, 67, 2)], inverse=1, options={"modes": (None,)})
    for axis, x, attrs, out in ((0, f(3, 5, 1), {"onesided": 1}, (2, 5, 2)), (-2, f(3, 5, 1), {}, (3, 5, 2)),
                                (1, f(2, 4, 2), {"onesided": 1, "inverse": 1}, (2, 6, 1)), (0, f(2, 4, 2), {"inverse": 1}, (2, 4, 2))):
        case("DFT", x, None, np.array(axis), out=[out], name="DFT of axis %d of the run %s" % (axis, attrs), options={"feed": ("x2",)}, **attrs)
    case("DFT", f(2, 3, 1), np.array(5), np.array(1), out=[(2, 5, 2)], name="DFT of 5 points along an axis of the run",
         options={"feed": ("x1", "x2"), "modes": (None,)})
    case("STFT", f(1, 10, 1), np.array(2), f(4), np.array(4), out=[(1, 4, 3, 2)], options={"static": ("x2",)})
    T, B, I, H = 4, 2, 3, 3
    lens = np.array([4, 2], np.int32)
    for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        for direction, D in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
            state = [f(D, B, H), f(D, B, H), f(D, 3 * H)] if op == "LSTM" else [f(D, B, H)]
            out = [(T, D, B, H), (D, B, H)] + ([(D, B, H)] if op == "LSTM" else [])
            # float16 loses digits step by step: compared in float32 only
            fixed = {"static": ("x1", "x2", "x3", "x5", "x6", "x7"), "narrow": direction == "reverse" and "float32", "modes": (None, "symbolic") if D == 2 else (None,)}
            case(op, f(T, B, I), f(D, gates * H, I), f(D, gates * H, H), f(D, 2 * gates * H), lens if D == 2 else None, *state,
                 out=out, hidden_size=H, direction=direction, options=fixed)
    case("GRU", f(T, B, I), f(1, 3 * H, I), f(1, 3 * H, H), f(1, 6 * H), out=[(T, 1, B, H)], hidden_size=H, linear_before_reset=1, name="GRU linear",
         options={"modes": (None,)})
    case("LSTM", f(B, T, I), f(1, 4 * H, I), f(1, 4 * H, H), out=[(B, T, 1, H), (B, 1, H)], hidden_size=H, layout=1, name="LSTM, batch first",
         options={"modes": (None,)}, activations=["HardSigmoid", "Softsign", "Affine"], activation_alpha=[0.2, 1.0, 0.7], activation_beta=[0.5, 0.3])


def graphs(c):
    f = c.f
    t, i64, b = TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL
    make, info = helper.make_node, helper.make_tensor_value_info

    def add(name, nodes, inputs, outputs, **options):
        c.list.append(Case(len(c.list), name, nodes, inputs, outputs, **options))

    body = helper.make_graph(
        [make("Identity", ["c"], ["c2"]), make("MatMul", ["v", "w"], ["m"]), make("Tanh", ["m"], ["v2"]), make("Mul", ["v2", "v"], ["s"])],
        "body", [info("i", i64, []), info("c", b, []), info("v", t, [2, 3])], [info("c2", b, []), info("v2", t, [2, 3]), info("s", t, [2, 3])])
    add("Loop", [make("Loop", ["n", "", "v0"], ["y", "all"], body=body)], {"n": np.array(4), "v0": f(2, 3), "w": f(3, 3)}, {"y": (2, 3), "all": (4, 2, 3)},
        modes=(None,))
    add("Loop, not run", [make("Loop", ["n", "", "v0"], ["y", "all"], body=body)], {"n": np.array(0), "v0": f(2, 3), "w": f(3, 3)}, {"y": (2, 3)},
        modes=(None,), feed=("n",))
    early = helper.make_graph(
        [make("Mul", ["v", "w"], ["v2"]), make("ReduceSum", ["v2"], ["sum"], keepdims=0), make("Less", ["sum", "limit"], ["c2"])],
        "body", [info("i", i64, []), info("c", b, []), info("v", t, [3])], [info("c2", b, []), info("v2", t, [3])])
    add("Loop, left early", [make("Loop", ["n", "", "v0"], ["y"], body=early)],
        {"n": np.array(50), "v0": f(3, lo=1), "w": f(3, lo=1.2, hi=1.5), "limit": np.float64(20)}, {"y": (3,)}, modes=(None,), initializers=("limit",))
    step = helper.make_graph(
        [make("Add", ["s", "a"], ["p"]), make("Sin", ["p"], ["s2"]), make("Mul", ["s2", "bb"], ["o"]), make("Mul", ["o", "k"], ["o2"])],
        "step", [info("s", t, [3]), info("a", t, [3]), info("bb", t, [3])], [info("s2", t, [3]), info("o2", t, [3])])
    for name, dirs in (("Scan", {}), ("Scan, both ways", {"scan_input_directions": [0, 1], "scan_input_axes": [0, 1], "scan_output_directions": [1], "scan_output_axes": [1]})):
        second, out = ((3, 5), (3, 5)) if dirs else ((5, 3), (5, 3))
        add(name, [make("Scan", ["start", "as", "bs"], ["y", "all"], body=step, num_scan_inputs=2, **dirs)],
            {"start": f(3), "as": f(5, 3), "bs": f(*second), "k": f()}, {"y": (3,), "all": out}, static=("start",), modes=(None, "symbolic"))
    yes = helper.make_graph([make("Mul", ["x", "w"], ["a"])], "yes", [], [info("a", t, [2, 3])])
    no = helper.make_graph([make("Exp", ["x"], ["b"])], "no", [], [info("b", t, [2, 3])])
    for flag in (True, False):
        add("If %s" % flag, [make("If", ["c"], ["y"], then_branch=yes, else_branch=no)], {"c": np.bool_(flag), "x": f(2, 3), "w": f(3)}, {"y": (2, 3)},
            feed=("c",), modes=(None,))


def sequences(c):
    f, make, info, i64 = c.f, helper.make_node, helper.make_tensor_value_info, TensorProto.INT64
    t, b = TensorProto.DOUBLE, TensorProto.BOOL

    def add(name, nodes, inputs, outputs, **options):
        used = {"at": np.int64(1), "end": np.int64(-1), "first": np.int64(0)}
        names = {n for x in nodes for n in x.input} | {n for x in nodes for a in x.attribute for y in a.g.node for n in y.input}
        constants = {n: a for n, a in used.items() if n in names}
        c.list.append(Case(len(c.list), name, nodes, {**inputs, **constants}, outputs, initializers=tuple(constants), **options))

    made = make("SequenceConstruct", ["x", "y", "z"], ["q"])
    three = {"x": f(2, 3), "y": f(2, 3), "z": f(2, 3)}
    add("SequenceAt", [made, make("SequenceAt", ["q", "at"], ["a"]), make("SequenceAt", ["q", "end"], ["e"]), make("Mul", ["a", "e"], ["o"])], three, {"o": (2, 3)})
    add("SequenceInsert", [made, make("Mul", ["x", "z"], ["m"]), make("SequenceInsert", ["q", "m", "end"], ["r"]), make("SequenceInsert", ["r", "y"], ["s"]),
                           make("ConcatFromSequence", ["s"], ["o"], axis=-1)], three, {"o": (2, 15)})
    add("SequenceErase", [made, make("SequenceErase", ["q", "first"], ["r"]), make("SequenceErase", ["r"], ["s"]), make("SequenceAt", ["s", "first"], ["o"]),
                          make("SequenceAt", ["q", "end"], ["p"])], three, {"o": (2, 3), "p": (2, 3)})
    add("ConcatFromSequence", [make("SequenceConstruct", ["x", "y"], ["q"]), make("ConcatFromSequence", ["q"], ["o"], axis=1)], {"x": f(2, 3), "y": f(2, 4)}, {"o": (2, 7)})
    add("ConcatFromSequence, stacked", [made, make("ConcatFromSequence", ["q"], ["o"], axis=-1, new_axis=1)], three, {"o": (2, 3, 3)})
    add("SplitToSequence", [make("SplitToSequence", ["x"], ["q"], axis=1, keepdims=0), make("SequenceAt", ["q", "at"], ["a"]), make("Exp", ["a"], ["o"])], {"x": f(2, 3)}, {"o": (2,)})
    lengths = make("Constant", [], ["n"], value_ints=[1, 3])
    add("SplitToSequence, lengths", [lengths, make("SplitToSequence", ["x", "n"], ["q"], axis=-1), make("SequenceAt", ["q", "at"], ["a"]), make("Sin", ["a"], ["o"])],
        {"x": f(2, 4)}, {"o": (2, 3)})
    body = helper.make_graph([make("Mul", ["e", "w"], ["m"]), make("Tanh", ["m"], ["v"]), make("Mul", ["v", "g"], ["r"])], "body",
                             [info("e", t, [2, 3]), info("g", t, [3])], [info("r", t, [2, 3])])
    add("SequenceMap", [made, make("SequenceMap", ["q", "k"], ["r"], body=body), make("ConcatFromSequence", ["r"], ["o"], axis=0)],
        {**three, "w": f(3), "k": f(3)}, {"o": (6, 3)})
    pair = helper.make_graph([make("Mul", ["e", "g"], ["r"]), make("Sub", ["e", "g"], ["s"])], "pair", [info("e", t, [2, 3]), info("g", t, [2, 3])],
                             [info("r", t, [2, 3]), info("s", t, [2, 3])])
    add("SequenceMap, two", [made, make("SequenceConstruct", ["z", "x", "y"], ["p"]), make("SequenceMap", ["q", "p"], ["r", "s"], body=pair),
                             make("ConcatFromSequence", ["r"], ["o"], axis=0), make("SequenceAt", ["s", "at"], ["d"])], three, {"o": (6, 3), "d": (2, 3)})
    over = helper.make_graph([make("Identity", ["go"], ["on"]), make("SequenceAt", ["q", "i"], ["e"]), make("Mul", ["e", "v"], ["m"]), make("Add", ["m", "v"], ["u"])], "over",
                             [info("i", i64, []), info("go", b, []), info("v", t, [2, 3])], [info("on", b, []), info("u", t, [2, 3])])
    count = make("SequenceLength", ["q"], ["n"])
    add("Loop over a sequence", [made, count, make("Loop", ["n", "", "v0"], ["o"], body=over)], {**three, "v0": f(2, 3)}, {"o": (2, 3)})
    gather = helper.make_graph([make("Identity", ["go"], ["on"]), make("SequenceAt", ["s", "end"], ["e"]), make("Mul", ["e", "w"], ["m"]), make("Sin", ["m"], ["u"]),
                                make("SequenceInsert", ["s", "u"], ["r"])], "gather", [info("i", i64, []), info("go", b, []), helper.make_tensor_sequence_value_info("s", t, [2, 3])],
                               [info("on", b, []), helper.make_tensor_sequence_value_info("r", t, [2, 3])])
    start, times = make("SequenceConstruct", ["x"], ["q"]), make("Constant", [], ["n"], value_int=3)
    add("Loop that carries a sequence", [start, times, make("Loop", ["n", "", "q"], ["s"], body=gather), make("ConcatFromSequence", ["s"], ["o"], axis=0)],
        {"x": f(2, 3), "w": f(3)}, {"o": (8, 3)})
    grow = helper.make_graph([make("Identity", ["go"], ["on"]), make("Mul", ["v", "w"], ["m"]), make("Concat", ["v", "m"], ["u"], axis=0)], "grow",
                             [info("i", i64, []), info("go", b, []), info("v", t, ["r", 3])], [info("on", b, []), info("u", t, ["r2", 3])])
    add("Loop that carries what grows", [times, make("Loop", ["n", "", "x"], ["o"], body=grow)], {"x": f(1, 3), "w": f(3)}, {"o": (8, 3)})
    for flag in (True, False):
        yes = helper.make_graph([make("SequenceAt", ["q", "at"], ["a"]), make("SequenceInsert", ["q", "a"], ["r"])], "yes", [], [helper.make_tensor_sequence_value_info("r", t, [2, 3])])
        no = helper.make_graph([make("SequenceErase", ["q", "first"], ["s"])], "no", [], [helper.make_tensor_sequence_value_info("s", t, [2, 3])])
        add("If of sequences, %s" % flag, [made, make("If", ["c"], ["r"], then_branch=yes, else_branch=no), make("SequenceAt", ["r", "end"], ["e"]),
                                           make("SequenceAt", ["r", "first"], ["h"]), make("Mul", ["e", "h"], ["o"])],
            {**three, "c": np.bool_(flag)}, {"o": (2, 3)}, feed=("c",))
    add("Optional", [make("Exp", ["x"], ["y"]), make("Optional", ["y"], ["p"]), make("OptionalGetElement", ["p"], ["a"]), make("OptionalGetElement", ["p"], ["b"]),
                     make("Mul", ["a", "b"], ["o"])], {"x": f(2, 3)}, {"o": (2, 3)})


def cases(rng):
    c = Cases(rng)
    for family in (unary, binary, products, reductions, moves, windows, places, regions, written_out, norms, losses, blocks, graphs, sequences):
        family(c)
    return c.list
