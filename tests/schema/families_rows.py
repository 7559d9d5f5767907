"""Along axes: reductions, sums so far, sorting, normalisation, losses."""

import numpy as np

import values
from drafts import family


def ints(*x):
    return np.array(x, np.int64)


def moderate(c, k, shape):
    """Values whose sums and products stay inside the type: floats around one, integers that may wrap."""
    return c.draw(k, shape, "small" if values.is_int(c.elem(k)) else "finite")


@family("ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare")
def reduce(c):
    kind = {"ReduceLogSum": "positive", "ReduceMax": "any", "ReduceMin": "any"}.get(c.op, "small" if values.is_int(c.elem()) else "finite")
    some = len(c.schema.inputs) > 1
    forms = [("all", (3, 4), None, {}), ("last", (2, 3, 5), [2], {}), ("first", (5, 3), [0], {"keepdims": 0}),
             ("two", (2, 3, 4), [0, 2], {}), ("scalar", (), None, {})]
    if c.version >= 11:
        forms.append(("negative", (2, 3, 4), [-2], {"keepdims": 0}))
    logs = "Log" in c.op and values.is_int(c.elem())  # minus infinity is no integer
    if c.version >= 18 and not logs:
        forms.append(("empty", (0, 3), [0], {}))
        forms.append(("empty-out", (2, 0, 3), [0], {}))
    if c.op in ("ReduceSum",) and c.version >= 13:
        forms.append(("empty", (0, 3), [0], {}))
    if c.has("noop_with_empty_axes"):
        forms.append(("noop", (2, 3), None, {"noop_with_empty_axes": 1}))
    for name, shape, axes, attrs in forms:
        x = c.draw(0, shape, kind)
        if axes is None or not some:
            yield c.case(name, [x], **(attrs if axes is None else dict(attrs, axes=axes)))
        else:
            yield c.case(name, [x, ints(*axes)], (1,), **attrs)
            if name in ("last", "two"):
                yield c.case(name + "-running", [x, ints(*axes)], **attrs)
    if kind != "any" and values.is_float(c.elem()):
        yield c.case("special", [c.draw(0, (6, 3))], **({} if some else {"axes": [1]}))
    if values.is_int(c.elem()) and c.op in ("ReduceSum", "ReduceProd", "ReduceSumSquare"):  # a mean or norm has its own road
        yield c.case("wrap", [c.draw(0, (3, 5))])


@family("ArgMax ArgMin")
def arg(c):
    for name, shape, axis in (("first", (5, 4), 0), ("last", (3, 7), 1), ("middle", (2, 5, 3), 1)):
        for keep in (1, 0):
            yield c.case("%s%d" % (name, keep), [c.draw(0, shape, "finite")], axis=axis, keepdims=keep)
    if c.version >= 11:
        yield c.case("negative", [c.draw(0, (3, 7), "small")], axis=-1)
    if c.has("select_last_index"):
        yield c.case("last-index", [c.draw(0, (3, 9), "small")], axis=1, select_last_index=1)
    if not values.is_float(c.elem()):
        yield c.case("extremes", [c.draw(0, (3, 9))], axis=1)


@family("CumSum CumProd")
def cumulative(c):
    axis = lambda x: np.asarray(x).astype(values.DTYPE[c.elem(1)])  # noqa: E731
    for name, shape, at, attrs in (("vector", (9,), 0, {}), ("rows", (3, 4), 0, {}), ("last", (2, 3, 5), -1, {}),
                                   ("reverse", (6,), 0, {"reverse": 1}), ("exclusive", (6,), 0, {"exclusive": 1}),
                                   ("both", (2, 5), 1, {"reverse": 1, "exclusive": 1}), ("empty", (0, 3), 0, {})):
        yield c.case(name, [moderate(c, 0, shape), axis(at)], (1,), **attrs)
    yield c.case("running", [moderate(c, 0, (3, 4)), axis(1)])


@family("Softmax LogSoftmax Hardmax")
def softmax(c):
    yield c.case("default", [c.draw(0, (3, 5), "finite")])
    yield c.case("rank3", [c.draw(0, (2, 3, 4), "finite")], axis=1)
    yield c.case("first", [c.draw(0, (3, 4), "finite")], axis=0)
    if c.version >= 11:
        yield c.case("negative", [c.draw(0, (2, 3, 4), "finite")], axis=-1)
    yield c.case("large", [c.draw(0, (2, 6), "finite") * np.asarray(8).astype(values.DTYPE[c.elem()])])
    yield c.case("empty", [c.draw(0, (0, 3))], axis=1)


@family("TopK")
def top_k(c):
    def some(name, shape, k, fixed=True, **attrs):
        # no ties: which of equal elements comes first is for the implementation below version 11, the lower index after
        count = int(np.prod(shape))
        x = (c.rng.permutation(count) % 100).reshape(shape).astype(values.DTYPE[c.elem()])
        if c.version < 10:
            return c.case(name, [x], n_out=2, k=k, **attrs)
        return c.case(name, [x, ints(k)], (1,) if fixed else (), n_out=2, **attrs)
    yield some("last", (3, 7), 3)
    yield some("first", (6, 2), 2, axis=0)
    yield some("all", (5,), 5, axis=0)
    if c.version >= 10:
        yield some("running", (3, 7), 3, False)
    if c.version >= 11:
        yield some("smallest", (3, 7), 4, largest=0)
        yield some("zero", (3, 4), 0)


@family("LpNormalization")
def lp_normalization(c):
    for p in (1, 2):
        yield c.case("p%d" % p, [c.draw(0, (3, 5), "finite")], p=p)
        yield c.case("p%d-first" % p, [c.draw(0, (3, 5, 2), "finite")], p=p, axis=1)
    if c.version >= 22:
        yield c.case("zeros", [np.zeros((2, 3), values.DTYPE[c.elem()])])


@family("MeanVarianceNormalization")
def mean_variance(c):
    yield c.case("default", [c.draw(0, (2, 3, 4, 5), "finite")])
    yield c.case("axes", [c.draw(0, (4, 6), "finite")], axes=[1])


@family("LayerNormalization RMSNormalization")
def layer_normalization(c):
    for name, shape, axis in (("last", (3, 8), -1), ("two", (2, 3, 4), 1), ("rank4", (2, 2, 3, 4), -1)):
        scale = shape[axis:]
        full = [c.draw(0, shape, "finite"), c.draw(1, scale, "finite")]
        yield c.case(name, full, axis=axis)
        if c.op == "LayerNormalization":
            stash = {"stash_type": values.NUMBER[c.out_elem(1)]}
            yield c.case(name + "-bias", full + [c.draw(2, scale, "finite")], n_out=3, axis=axis, epsilon=0.01, **stash)
        else:
            yield c.case(name + "-epsilon", full, axis=axis, epsilon=0.01)


@family("InstanceNormalization")
def instance_normalization(c):
    for name, shape in (("image", (2, 3, 4, 5)), ("line", (1, 2, 7))):
        yield c.case(name, [c.draw(0, shape, "finite"), c.draw(1, shape[1:2], "finite"), c.draw(2, shape[1:2], "finite")],
                     epsilon=0.01)


@family("GroupNormalization")
def group_normalization(c):
    per = 2 if c.version < 21 else 4
    for name, shape in (("image", (2, 4, 3, 3)), ("line", (1, 4, 5))):
        yield c.case(name, [c.draw(0, shape, "finite"), c.draw(1, (per,), "finite"), c.draw(2, (per,), "finite")], num_groups=2,
                     rtol=1e-6, atol=1e-6)  # stage one in float32 unless stash_type says otherwise


@family("BatchNormalization")
def batch_normalization(c):
    for name, shape in (("image", (2, 3, 4, 2)), ("rows", (4, 3)), ("volume", (1, 2, 2, 2, 3))):
        n = shape[1:2]
        inputs = [c.draw(0, shape, "finite")] + [c.draw(k, n, "finite") for k in (1, 2, 3)] + [c.draw(4, n, "positive")]
        attrs = {"epsilon": 0.01}
        if c.version < 7:
            attrs["is_test"] = 1
        if c.version == 1:
            attrs["consumed_inputs"] = [0, 0, 0, 1, 1]
        yield c.case(name, inputs, **attrs)
        if c.version >= 14:
            yield c.case(name + "-training", inputs, n_out=3, training_mode=1, momentum=0.75)


@family("LRN")
def lrn(c):
    yield c.case("default", [c.draw(0, (2, 5, 3, 2), "finite")], size=3)
    yield c.case("attributes", [c.draw(0, (1, 4, 2, 2), "finite")], size=2, alpha=0.5, beta=0.5, bias=2.0)


@family("NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss")
def losses(c):
    for reduction in ("mean", "sum", "none"):
        for name, shape in (("rows", (4, 5)), ("image", (2, 3, 2, 2))):
            target = c.rng.integers(0, shape[1], shape[:1] + shape[2:]).astype(values.DTYPE[c.elem(1)])
            base = [c.draw(0, shape, "finite"), target]
            n_out = 2 if c.op[0] == "S" else 1
            yield c.case("%s-%s" % (name, reduction), base, n_out=n_out, reduction=reduction)
            yield c.case("%s-%s-weight" % (name, reduction), base + [c.draw(2, shape[1:2], "positive")], reduction=reduction)
            yield c.case("%s-%s-ignore" % (name, reduction), base, reduction=reduction, ignore_index=int(target.flat[0]))


@family("Dropout")
def dropout(c):
    x = c.draw(0, (3, 5), "finite")
    if c.version < 7:
        yield c.case("test", [x], n_out=2 if c.version == 6 else 1, is_test=1, ratio=0.25)
    elif c.version < 12:
        yield c.case("ratio", [x], n_out=1, ratio=0.25)
        yield c.case("mask", [x], n_out=2)
    else:
        yield c.case("default", [x], n_out=2)
        yield c.case("ratio", [x, np.asarray(0.25).astype(values.DTYPE[c.elem(1)])], (1,))
        yield c.case("off", [x, np.asarray(0.25).astype(values.DTYPE[c.elem(1)]), np.array(False)], (1, 2), n_out=2)
        yield c.case("zero", [x, np.asarray(0.0).astype(values.DTYPE[c.elem(1)]), np.array(True)], (1, 2), n_out=2)
