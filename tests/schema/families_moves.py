"""Elements that change place, or their type: casts, reshapes, slices, gathers, scatters, constants, shapes."""

import numpy as np

import values
from drafts import family


def ints(*x):
    return np.array(x, np.int64)


def number(type_str):
    return values.NUMBER[values.element_of(type_str)[1]]


def castable(c, source, target, shape, wild):
    """Values of one type that another one can take: out of range is defined for floating-point targets alone."""
    if source == "string":
        words = ["1", "-3", "7"] if values.is_int(target) else ["3.5", "-1e3", "1e-5", "INF", "-INF", "NaN", "0"]
        if target.startswith("u"):
            words = ["1", "3", "2"]
        if target == "string":
            return values.draw(c.rng, "string", shape)
        if target in ("int2", "uint2", "bool"):
            words = ["0", "1"]
        return np.array(c.rng.choice(np.array(words, object), shape), object).reshape(shape)
    if values.is_float(source) and (values.is_int(target) or target == "string"):
        low, high = (-3, 3) if target == "string" else (float(x) for x in values.limits(target))
        low, high = max(low, -100.0), min(high, 100.0)
        x = np.asarray(c.rng.uniform(low, high, shape))
        if target == "string":
            x = np.rint(x * 2) / 2 + 0.25
        if source == "float8e8m0":
            x = np.clip(np.abs(x), 0.25, 2.0 if high > 1 else 1.0)
        if source == "float4e2m1":
            x = np.clip(x, -6, 6)
        x = x.astype(values.DTYPE[source])
        if values.is_int(target):
            low, high = (float(v) for v in values.limits(target))
            x = np.where((np.trunc(x.astype(np.float64)) >= low) & (np.trunc(x.astype(np.float64)) <= high), x,
                         np.ones_like(x)).astype(x.dtype)
        return x
    x = values.draw(c.rng, source, shape, "any" if wild else "finite")
    if target == "float8e8m0":  # "Casting negative values to FLOAT8E8M0 gives undefined behavior", -0 is "Unspecified"
        with np.errstate(all="ignore"):
            low = np.signbit(x.astype(np.float64)) | (x.astype(np.float64) == 0)
        x = np.where(low, np.ones_like(x), x).astype(x.dtype)
    return x


@family("Cast CastLike")
def casts(c):
    like = c.op == "CastLike"
    source, target = c.elem(0), c.out_elem(0)
    pairs = [(source, target)]
    if c.constraint == "T1" and c.version in (13, 25, 28) and not like:  # every pair of types, for some versions
        others = next(a for n, a in all_constraints(c) if n == "T2")
        pairs = [(source, values.element_of(t)[1]) for t in others]
    for a, b in pairs:
        types = dict(c.types, T1="tensor(%s)" % a, T2="tensor(%s)" % b)
        variants = [("", {})]
        if b in values.FLOAT8 and c.has("saturate"):
            variants.append(("-open", {"saturate": 0}))
        if b == "float8e8m0" and c.has("round_mode"):
            variants += [("-down", {"round_mode": "down"}), ("-nearest", {"round_mode": "nearest"})]
        for tail, attrs in variants:
            for form, shape in (("to-" + b, (37,)), ("scalar-" + b, ()), ("empty-" + b, (0, 2))):
                x = castable(c, a, b, shape, True)
                if c.version == 1 or (c.version < 6 and not like):
                    more = {"to": b.upper()}
                else:
                    more = {"to": values.NUMBER[b]}
                inputs = [x, values.draw(c.rng, b, (1,), "finite")] if like else [x]
                yield c.case(form + tail, inputs, types=types, **(attrs if like else dict(attrs, **more)))


def all_constraints(c):
    return [(x.type_param_str, sorted(x.allowed_type_strs)) for x in c.schema.type_constraints]


@family("BitCast")
def bitcast(c):
    source, target = c.elem(0), c.out_elem(0)
    given = c.constraint
    own = source if given == "T1" else target
    same = [n for n in values.DTYPE if size_of(n) == size_of(own) and n not in ("string",)]
    allowed = dict(all_constraints(c))["T2" if given == "T1" else "T1"]
    for other in [n for n in same if "tensor(%s)" % n in allowed]:
        a, b = (own, other) if given == "T1" else (other, own)
        x = values.draw(c.rng, a, (9,))
        if b == "bool" and a != "bool":
            x = (np.abs(values.draw(c.rng, "int8", (9,), "small")) & 1).astype(np.uint8).view(values.DTYPE[a])
        types = dict(c.types, T1="tensor(%s)" % a, T2="tensor(%s)" % b)
        yield c.case("as-%s-%s" % (a, b), [x], types=types, to=values.NUMBER[b])
        yield c.case("cube-%s-%s" % (a, b), [x[:8].reshape(2, 2, 2)], types=types, to=values.NUMBER[b])
        yield c.case("scalar-%s-%s" % (a, b), [x[0].reshape(())], types=types, to=values.NUMBER[b])


def size_of(name):
    if name in ("int4", "uint4", "float4e2m1"):
        return 4
    if name in ("int2", "uint2"):
        return 2
    if name in ("float6e2m3", "float6e3m2"):
        return 6
    return 0 if name == "string" else values.DTYPE[name].itemsize * 8


@family("Concat")
def concat(c):
    for name, axis, shapes in (("first", 0, ((2, 3), (1, 3))), ("last", -1, ((2, 3), (2, 2), (2, 1))), ("one", 1, ((2, 3),)),
                               ("empty", 1, ((2, 0), (2, 3))), ("all-empty", 0, ((0, 2), (0, 2))), ("vector", 0, ((3,), (2,), (5,)))):
        if axis < 0 and c.version < 11:
            axis = len(shapes[0]) - 1
        yield c.case(name, [c.draw(0, s) for s in shapes], axis=axis)
    if c.version == 1:
        yield c.case("default", [c.draw(0, (2, 3)), c.draw(0, (2, 1))])


@family("Transpose")
def transpose(c):
    yield c.case("default", [c.draw(0, (2, 3, 4))])
    yield c.case("swap", [c.draw(0, (2, 3, 5))], perm=[0, 2, 1])
    yield c.case("rank5", [c.draw(0, (2, 1, 3, 2, 2))], perm=[4, 2, 0, 3, 1])
    yield c.case("empty", [c.draw(0, (2, 0, 3))], perm=[2, 0, 1])
    yield c.case("scalar", [c.draw(0, ())])


@family("Reshape")
def reshape(c):
    for name, x, shape in (("flat", (2, 3, 4), (24,)), ("infer", (2, 3, 4), (4, -1)), ("copy", (2, 3, 4), (0, -1)),
                           ("scalar", (1, 1), ()), ("from-scalar", (), (1, 1)), ("empty", (0, 3), (3, 0) if c.version >= 14 else (0, 3))):
        attrs = {"allowzero": 1} if c.has("allowzero") and name == "empty" else {}
        if c.version < 5:
            if shape:
                yield c.case(name, [c.draw(0, x)], shape=list(shape))
        else:
            yield c.case(name, [c.draw(0, x), ints(*shape)], (1,), **attrs)
    if c.version >= 5:
        yield c.case("running", [c.draw(0, (2, 3, 4)), ints(4, 6)])


@family("Flatten")
def flatten(c):
    yield c.case("default", [c.draw(0, (2, 3, 4))])
    for axis in (0, 2, 3) + ((-1,) if c.version >= 11 else ()):
        yield c.case("axis%d" % axis, [c.draw(0, (2, 3, 4))], axis=axis)
    yield c.case("scalar", [c.draw(0, ())], axis=0)
    yield c.case("empty", [c.draw(0, (2, 0, 4))])


@family("Squeeze Unsqueeze")
def squeeze(c):
    gone = c.op == "Squeeze"
    for name, shape, axes in (("one", (2, 1, 3) if gone else (2, 3), [1]), ("two", (1, 2, 1) if gone else (2,), [0, 2]),
                              ("negative", (2, 3, 1) if gone else (2, 3), [-1]), ("empty", (0, 1) if gone else (0,), [1])):
        if min(axes) < 0 and c.version < 11:
            continue
        if c.version < 13:
            yield c.case(name, [c.draw(0, shape)], axes=axes)
        else:
            yield c.case(name, [c.draw(0, shape), ints(*axes)], (1,))
    if gone:
        yield c.case("all", [c.draw(0, (1, 2, 1))])
    elif c.version >= 13:
        yield c.case("scalar", [c.draw(0, ()), ints(0, 1)], (1,))


@family("Slice")
def slices(c):
    table = (("plain", (5, 6), [1, 2], [4, 5], [0, 1], None), ("far", (5,), [1], [2**31 - 1], [0], None),
             ("negative", (5, 6), [-3], [-1], [1], None), ("none", (5,), [3], [3], [0], None), ("default", (4, 5), [1, 0], [3, 2], None, None),
             ("steps", (7, 8), [0, 1], [7, 8], [0, 1], [2, 3]), ("back", (7,), [5], [-8], [0], [-2]), ("empty", (0, 3), [0], [2], [1], None))
    for name, shape, starts, ends, axes, steps in table:
        if c.version < 10:
            if steps is None:
                yield c.case(name, [c.draw(0, shape)], starts=starts, ends=ends, axes=axes)
            continue
        dtype = values.DTYPE[c.elem(1)]
        some = [None if x is None else np.array(x, dtype) for x in (starts, ends, axes, steps)]
        yield c.case(name, [c.draw(0, shape)] + some, (1, 2, 3, 4))
        if name in ("plain", "steps", "back"):
            yield c.case(name + "-running", [c.draw(0, shape)] + some, (3,))


@family("Split")
def split(c):
    for name, shape, axis, parts in (("even", (6,), 0, None), ("given", (2, 7), 1, [3, 4]), ("zero", (4, 2), 0, [0, 4]),
                                     ("empty", (0, 3), 0, [0, 0]), ("uneven", (7,), 0, None)):
        attrs, inputs, fixed = {"axis": axis}, [c.draw(0, shape)], ()
        if name == "uneven" and c.version < 18:
            continue
        if parts is None and c.version >= 18:
            attrs["num_outputs"] = 2
        if parts is not None and c.version == 1:
            inputs, fixed = inputs + [np.array(parts).astype(inputs[0].dtype)], (1,)
        elif parts is not None and c.version < 13:
            attrs["split"] = parts
        elif parts is not None:
            inputs, fixed = inputs + [ints(*parts)], (1,)
        yield c.case(name, inputs, fixed, n_out=2, **attrs)


@family("Expand Tile")
def expand(c):
    if c.op == "Tile" and c.version == 1:
        one = c.draw(0, (2, 3), "small")
        yield c.case("one", [one, np.asarray(2).astype(one.dtype), np.asarray(1).astype(one.dtype)], (1, 2))
        return
    table = {
        "Expand": (("plain", (3, 1), (2, 3, 4)), ("scalar", (), (2, 2)), ("smaller", (3, 4), (4,)), ("empty", (1, 3), (0, 3)),
                   ("ones", (2, 3), (1, 1)), ("none", (2,), ())),
        "Tile": (("plain", (2, 3), (2, 2)), ("vector", (3,), (4,)), ("zero", (2, 3), (0, 2)), ("empty", (0, 3), (2, 2)),
                 ("rank4", (1, 2, 1, 2), (3, 1, 2, 2)), ("scalar", (), ())),
    }[c.op]
    for name, shape, by in table:
        yield c.case(name, [c.draw(0, shape), ints(*by)], (1,))
    yield c.case("running", [c.draw(0, table[0][1]), ints(*table[0][2])])


@family("Pad")
def pad(c):
    modes = ("constant", "reflect", "edge") + (("wrap",) if c.version >= 19 else ())
    for mode in modes:
        shape, pads = (3, 4), [1, 2, 0, 1]
        if c.version == 1:
            yield c.case(mode, [c.draw(0, shape)], mode=mode, paddings=pads)
        elif c.version < 11:
            yield c.case(mode, [c.draw(0, shape)], mode=mode, pads=pads)
            if mode == "constant":
                yield c.case("value", [c.draw(0, shape)], mode=mode, pads=pads, value=2.5)
                yield c.case("less", [c.draw(0, shape)], mode=mode, pads=[-1, 1, 0, -1])
        else:
            yield c.case(mode, [c.draw(0, shape), ints(*pads)], (1,), mode=mode)
            if mode == "constant":
                some = c.draw(2, (), "finite")
                yield c.case("value", [c.draw(0, shape), ints(*pads), some], (1,), kind="move")
                yield c.case("running", [c.draw(0, shape), ints(*pads), some])
                yield c.case("less", [c.draw(0, shape), ints(-1, 1, 0, -1), some], (1,), kind="move")
                yield c.case("empty", [c.draw(0, (0, 2)), ints(1, 0, 1, 0), some], (1,))
            if c.version >= 18:
                axes = np.array([-1], values.DTYPE[c.elem(3)])
                yield c.case(mode + "-axes", [c.draw(0, shape), ints(1, 2), None, axes], (1, 3), mode=mode)


@family("Gather GatherElements")
def gather(c):
    back = c.version >= 11
    def index(shape, n):
        return c.rng.integers(-n if back else 0, n, shape).astype(values.DTYPE[c.elem(1)])
    for name, shape, at, axis in (("rows", (5, 3), (4, 3), 0), ("columns", (3, 5), (3, 2), 1), ("vector", (7,), (9,), 0),
                                  ("empty", (4, 2), (0, 2), 0), ("rank4", (2, 3, 2, 4), (2, 3, 2, 4), -1)):
        if axis < 0 and not back:
            axis = len(shape) - 1
        yield c.case(name, [c.draw(0, shape), index(at, shape[axis])], axis=axis)
    if c.op == "Gather":
        yield c.case("scalar", [c.draw(0, (5, 3)), index((), 5)])
        yield c.case("nothing", [c.draw(0, (0, 3)), index((0,), 1)])


@family("GatherND")
def gather_nd(c):
    def index(shape, dims):
        return np.stack([c.rng.integers(-d, d, shape) for d in dims], -1).astype(np.int64)
    yield c.case("points", [c.draw(0, (3, 4)), index((5,), (3, 4))])
    yield c.case("rows", [c.draw(0, (3, 4)), index((2, 2), (3,))])
    yield c.case("empty", [c.draw(0, (3, 4)), np.zeros((0, 2), np.int64)])
    if c.has("batch_dims"):
        yield c.case("batch", [c.draw(0, (2, 3, 4)), index((2, 2), (3,))], batch_dims=1)


@family("Scatter ScatterElements")
def scatter(c):
    def index(shape, n, axis=0):
        # no element twice: which one wins is nowhere defined
        order = np.argsort(c.rng.random(shape[:axis] + (n,) + shape[axis + 1:]), axis=axis)
        return np.take(order, range(shape[axis]), axis=axis).astype(values.DTYPE[c.elem(1)])
    for name, shape, at, axis in (("rows", (5, 3), (2, 3), 0), ("columns", (3, 5), (3, 2), 1), ("vector", (7,), (3,), 0),
                                  ("empty", (4, 2), (0, 2), 0)):
        yield c.case(name, [c.draw(0, shape), index(at, shape[axis], axis), c.draw(2, at)], axis=axis)
    yield c.case("negative", [c.draw(0, (5,)), (index((3,), 5) - 5) if c.version >= 11 else index((3,), 5), c.draw(2, (3,))])
    numeric = c.elem() not in ("string", "bool")
    ordered = c.version >= 18 and c.elem() not in values.COMPLEX
    for how in () if not c.has("reduction") or not numeric else ("add", "mul", "max", "min")[:4 if ordered else 2]:
        twice = np.array([[0, 1], [2, 1], [0, 0]], values.DTYPE[c.elem(1)])
        yield c.case(how, [c.draw(0, (3, 2), "small"), twice, c.draw(2, (3, 2), "small")], reduction=how)


@family("ScatterND")
def scatter_nd(c):
    yield c.case("points", [c.draw(0, (3, 4)), np.array([[0, 1], [2, 3], [1, 0]]), c.draw(2, (3,))])
    yield c.case("rows", [c.draw(0, (4, 3)), np.array([[1], [3]]), c.draw(2, (2, 3))])
    yield c.case("empty", [c.draw(0, (4, 3)), np.zeros((0, 1), np.int64), c.draw(2, (0, 3))])
    numeric = c.elem() not in ("string", "bool")
    ordered = c.version >= 18 and c.elem() not in values.COMPLEX
    for how in () if not c.has("reduction") or not numeric else ("add", "mul", "max", "min")[:4 if ordered else 2]:
        yield c.case(how, [c.draw(0, (4, 3), "small"), np.array([[1], [3], [1]]), c.draw(2, (3, 3), "small")], reduction=how)


@family("TensorScatter")
def tensor_scatter(c):
    for mode in ("linear", "circular"):
        at = ints(1, 0) if mode == "linear" else ints(3, 2)
        yield c.case(mode, [c.draw(0, (2, 2, 4, 3)), c.draw(1, (2, 2, 2, 3)), at], mode=mode)
    yield c.case("default", [c.draw(0, (2, 4, 3)), c.draw(1, (2, 2, 3))])
    yield c.case("axis", [c.draw(0, (2, 4, 3)), c.draw(1, (2, 2, 3)), ints(2, 1)], axis=1)


@family("Compress")
def compress(c):
    yield c.case("axis", [c.draw(0, (3, 4)), np.array([True, False, True])], axis=0)
    yield c.case("short", [c.draw(0, (3, 4)), np.array([False, True])], axis=1)
    yield c.case("flat", [c.draw(0, (2, 3)), np.array([True, False, True, True, False])])
    yield c.case("none", [c.draw(0, (3,)), np.array([False, False])], axis=0)


@family("CenterCropPad")
def center_crop_pad(c):
    def shape(*x):
        return np.array(x, values.DTYPE[c.elem(1)])
    yield c.case("crop", [c.draw(0, (6, 5)), shape(3, 4)], (1,))
    yield c.case("pad", [c.draw(0, (2, 3)), shape(5, 4)], (1,))
    yield c.case("both", [c.draw(0, (2, 7)), shape(5, 4)], (1,))
    yield c.case("axes", [c.draw(0, (4, 5, 3)), shape(2, 6)], (1,), axes=[1, 2])
    yield c.case("running", [c.draw(0, (6, 5)), shape(3, 7)])


@family("DepthToSpace SpaceToDepth")
def depth(c):
    shape = (2, 8, 3, 2) if c.op == "DepthToSpace" else (2, 2, 4, 6)
    yield c.case("default", [c.draw(0, shape)], blocksize=2)
    for mode in ("DCR", "CRD") if c.has("mode") else ():
        yield c.case(mode, [c.draw(0, shape)], blocksize=2, mode=mode)
    yield c.case("one", [c.draw(0, shape)], blocksize=1)


@family("ReverseSequence")
def reverse(c):
    yield c.case("default", [c.draw(0, (4, 3)), ints(1, 4, 3)])
    yield c.case("batch0", [c.draw(0, (3, 5, 2)), ints(5, 0, 2) if c.version > 10 else ints(5, 1, 2)], batch_axis=0, time_axis=1)


@family("Trilu")
def trilu(c):
    for upper in (1, 0):
        yield c.case("upper%d" % upper, [c.draw(0, (4, 5))], upper=upper)
        for k in (-2, 1, 6):
            yield c.case("upper%d-k%d" % (upper, k), [c.draw(0, (2, 4, 3)), np.array(k, np.int64)], upper=upper)
    yield c.case("empty", [c.draw(0, (0, 3))])


@family("OneHot")
def one_hot(c):
    def some(k, *x):
        return np.array(x, values.DTYPE[c.elem(k)])
    depth, pair = np.asarray(values.DTYPE[c.elem(1)].type(5)), c.draw(2, (2,), "small")
    plain = some(0, 0, 3, 1, 4)
    yield c.case("plain", [plain, depth, pair], (1,))
    yield c.case("axis0", [plain.reshape(2, 2), depth, pair], (1,), axis=0)
    if c.version >= 11 and c.elem(0).startswith(("int", "float", "double")):
        yield c.case("outside", [some(0, -1, -5, 2, 9), depth, pair], (1,))
    yield c.case("running", [plain, depth, pair])


@family("Unique")
def unique(c):
    yield c.case("flat", [c.draw(0, (3, 4), "small")], n_out=4)
    yield c.case("axis", [c.draw(0, (4, 2), "small")], n_out=4, axis=0)
    yield c.case("unsorted", [c.draw(0, (9,), "small")], n_out=4, sorted=0)
    yield c.case("values", [c.draw(0, (7,), "small")])
    yield c.case("empty", [c.draw(0, (0,), "small")])


@family("NonZero")
def non_zero(c):
    yield c.case("matrix", [c.draw(0, (3, 4), "small")])
    yield c.case("vector", [c.draw(0, (9,))])
    yield c.case("empty", [c.draw(0, (0, 3))])
    if c.elem() != "string":
        yield c.case("none", [np.zeros((2, 2), values.DTYPE[c.elem()])])


@family("Constant")
def constant(c):
    kind = c.out_elem()
    yield c.case("value", [], value=values.draw(c.rng, kind, (2, 3)))
    yield c.case("scalar", [], value=values.draw(c.rng, kind, ()))
    yield c.case("empty", [], value=values.draw(c.rng, kind, (0, 2)))
    if c.has("value_float") and kind == "float":
        yield c.case("float", [], value_float=2.5)
        yield c.case("floats", [], value_floats=[1.5, -2.0])
    if c.has("value_int") and kind == "int64":
        yield c.case("int", [], value_int=-7)
        yield c.case("ints", [], value_ints=[1, 2, 3])
    if c.has("value_string") and kind == "string":
        yield c.case("string", [], value_string="text")
        yield c.case("strings", [], value_strings=["a", ""])


@family("ConstantOfShape")
def constant_of_shape(c):
    kind = c.out_elem()
    if kind == "float":
        yield c.case("default", [ints(2, 3)], (0,))
    value = values.draw(c.rng, kind, (1,))
    yield c.case("value", [ints(2, 3)], (0,), value=value)
    yield c.case("running", [ints(4)], value=value)
    yield c.case("empty", [ints(0, 3)], (0,), value=value)
    yield c.case("scalar", [ints()], (0,), value=value)


@family("EyeLike")
def eye_like(c):
    to = {"dtype": values.NUMBER[c.out_elem()]}
    if c.constraint == "T1":
        types = dict(c.types, T2=c.types["T1"])
        yield c.case("like", [c.draw(0, (3, 4))], types=types)
    yield c.case("plain", [c.draw(0, (3, 4))], **to)
    yield c.case("k", [c.draw(0, (4, 3))], k=-1, **to)
    yield c.case("far", [c.draw(0, (2, 2))], k=5, **to)


@family("Shape Size")
def shape(c):
    for name, dims in (("matrix", (3, 4)), ("scalar", ()), ("empty", (2, 0)), ("rank6", (1, 2, 1, 3, 1, 2))):
        yield c.case(name, [c.draw(0, dims)])
    if c.has("start"):
        for start, end in ((1, 3), (-2, None), (5, 7), (2, 1)):
            yield c.case("part%d" % start, [c.draw(0, (2, 3, 4))], start=start, **({} if end is None else {"end": end}))


@family("Range")
def ranges(c):
    def some(x):
        return np.asarray(x).astype(values.DTYPE[c.elem()])
    for name, (a, b, d) in {"up": (1, 10, 2), "down": (10, 3, -3), "none": (5, 1, 1), "one": (0, 1, 1)}.items():
        if d < 0 and c.elem() in values.UINT:
            continue
        yield c.case(name, [some(a), some(b), some(d)], (0, 1, 2))
        yield c.case(name + "-running", [some(a), some(b), some(d)])
    if values.is_float(c.elem()):
        yield c.case("fraction", [some(0.5), some(2.6), some(0.5)])
