"""More forms at random (families_random.py): what changes place, casts, quantisation, strings, elementwise broadcasting."""

import numpy as np

import values
from families_random import at_random, ints, moderate


def broadcast(c, count, rank=4):
    """That many shapes that broadcast to one."""
    full = c.dims(c.upto(0, rank), 1, 4)
    return [tuple(1 if c.flip(0.25) else d for d in full)[c.upto(0, len(full)) if c.flip(0.3) else 0:] for _ in range(count)]


# ---- element by element ----


@at_random("Add Sub Mul Div Mod Pow PRelu BitShift BitwiseAnd BitwiseOr BitwiseXor Where Equal Greater Less GreaterOrEqual LessOrEqual "
           "Max Min Mean Sum And Or Xor")
def binary(c):
    if c.version < 7 or c.op in ("Max", "Min", "Mean", "Sum") and c.version < 8:
        return None
    c.any_types("T")
    kind = {"Div": "nonzero", "Mod": "nonzero", "Pow": "small"}.get(c.op, "any" if values.is_int(c.elem()) else "finite")
    if c.elem(0) in values.COMPLEX + values.SMALL_FLOAT + ("bfloat16", "float16"):
        return None
    if c.op == "Where":
        inputs = [c.draw(k, s) for k, s in enumerate(broadcast(c, 3))]
    elif c.op in ("Max", "Min", "Mean", "Sum"):
        inputs = [c.draw(k, s, kind) for k, s in enumerate(broadcast(c, c.upto(1, 5)))]
    else:
        shapes = broadcast(c, 2)
        if c.op == "PRelu":
            full = np.broadcast_shapes(*shapes)
            shapes = [full, shapes[1]]
        inputs = [c.draw(0, shapes[0], "positive" if c.op == "Pow" else kind if c.op != "BitShift" else "any"), c.draw(1, shapes[1], "positive" if c.op in
                  ("Pow", "BitShift") else kind)]
    attrs = {}
    if c.op == "BitShift":
        attrs["direction"] = c.one("LEFT", "RIGHT")
    if c.op == "Mod":
        attrs["fmod"] = 1 if values.is_float(c.elem()) or c.flip() else 0
    return c.form(inputs, c.maybe(inputs, 0, 1, 2), **attrs)


@at_random("Clip")
def clipped(c):
    """A lower end above the upper one too: the upper wins."""
    if c.version < 12:
        return None
    c.any_types("T")
    if c.elem() in ("bfloat16", "float16"):
        return None
    inputs = [c.draw(0, c.dims(2), "finite"), c.draw(1, (), "finite") if c.flip() else None] + ([c.draw(2, (), "finite")] if c.flip() else [])
    inputs = inputs[:1] if inputs[1:] == [None] else inputs
    return c.form(inputs, c.maybe(inputs, 1, 2))


# ---- place ----


@at_random("Transpose")
def transposed(c):
    rank = c.upto(1, 6)
    return c.form([c.draw(0, c.dims(rank, 1, 4))], perm=c.rng.permutation(rank).tolist())


@at_random("Slice")
def sliced(c):
    rank = c.upto(1, 4)
    shape = c.dims(rank, 0 if c.flip(0.1) else 1, 7)
    axes = c.rng.permutation(rank)[: c.upto(1, rank)].tolist()
    if c.version < 10:
        return c.form([c.draw(0, shape)], starts=[c.upto(-9, 9) for _ in axes], ends=[c.upto(-9, 9) for _ in axes], axes=axes)
    dtype = values.DTYPE[c.elem(1)]
    steps = [c.one(1, 1, 2, 3, -1, -2, -3, 9) for _ in axes]
    far = 2**31 - 1

    def end():
        return c.one(c.upto(-9, 9), c.upto(-9, 9), far, -far)

    some = [[end() for _ in axes], [end() for _ in axes], [a - rank if c.version >= 11 and c.flip() else a for a in axes], steps]
    some = [np.array(x, dtype) for x in some]
    inputs = [c.draw(0, shape)] + some
    if c.flip(0.3):
        order = np.argsort(np.array(axes))
        inputs = [inputs[0]] + [x[order] for x in some] if len(axes) == rank else inputs
        if len(axes) == rank:
            inputs[3] = None
    if c.flip(0.3):
        inputs = inputs[:4]
    while inputs[-1] is None:
        inputs.pop()
    return c.form(inputs, c.maybe(inputs, 1, 2, 3, 4))


@at_random("Pad")
def padded(c):
    if c.version < 11:
        return None
    rank = c.upto(1, 4)
    shape = c.dims(rank, 2, 5)
    axes = c.rng.permutation(rank)[: c.upto(1, rank)].tolist() if c.version >= 18 and c.flip() else None
    who = axes if axes is not None else range(rank)
    mode = c.one("constant", "reflect", "edge", *(["wrap"] if c.version >= 19 else []))
    low = -1 if mode == "constant" and c.flip() else 0
    pads = [c.upto(low, min(4, shape[a] - 1) if mode == "reflect" else 2 * shape[a] if mode == "wrap" else 4) for _ in range(2) for a in who]
    inputs = [c.draw(0, shape), ints(*pads), c.draw(2, (), "finite") if mode == "constant" and c.flip() else None]
    if axes is not None:
        inputs.append(np.array([a - rank if c.flip() else a for a in axes], values.DTYPE[c.elem(3)]))
    while inputs[-1] is None:
        inputs.pop()
    return c.form(inputs, c.maybe(inputs, 1, 2, 3), mode=mode, kind="move")


@at_random("Gather GatherElements")
def gathered(c):
    rank = c.upto(1, 4)
    shape, axis = c.dims(rank, 1, 5), c.axis(rank, 11)
    n = shape[axis]
    at = c.dims(c.upto(0, 3), 1, 4) if c.op == "Gather" else tuple(c.upto(1, 6) if k == axis % rank else c.upto(1, s) for k, s in enumerate(shape))
    index = c.rng.integers(-n if c.version >= 11 else 0, n, at).astype(values.DTYPE[c.elem(1)])
    inputs = [c.draw(0, shape), np.asarray(index)]
    return c.form(inputs, c.maybe(inputs, 0, 1), axis=axis)


@at_random("GatherND")
def gathered_points(c):
    rank = c.upto(1, 4)
    shape = c.dims(rank, 1, 4)
    batch = c.upto(0, rank - 1) if c.has("batch_dims") else 0
    depth = c.upto(1, rank - batch)
    lead = shape[:batch] + c.dims(c.upto(0 if batch else 1, 2), 1, 3)
    index = np.stack([c.rng.integers(-d, d, lead) for d in shape[batch: batch + depth]], -1).astype(np.int64)
    inputs = [c.draw(0, shape), index.reshape(lead + (depth,))]
    return c.form(inputs, c.maybe(inputs, 0, 1), **({"batch_dims": batch} if batch else {}))


@at_random("ScatterElements")
def scattered(c):
    rank = c.upto(1, 4)
    shape, axis = c.dims(rank, 1, 5), c.axis(rank, 11)
    at = tuple(c.upto(1, s) for s in shape)
    how = c.one("none", *((("add", "mul") if c.version < 18 else ("add", "mul", "max", "min")) if c.has("reduction") else ()))
    n = shape[axis]
    if how == "none":
        order = np.argsort(c.rng.random(at[: axis % rank] + (n,) + at[axis % rank + 1:]), axis=axis)
        index = np.take(order, range(at[axis]), axis=axis)
        index = np.where(c.rng.random(at) < 0.3, index - n, index) if c.version >= 11 else index
    else:
        index = c.rng.integers(-n, n, at)
    inputs = [c.draw(0, shape, "small"), index.astype(values.DTYPE[c.elem(1)]), c.draw(2, at, "small")]
    return c.form(inputs, c.maybe(inputs, 0, 1), axis=axis, **({"reduction": how} if how != "none" else {}))


@at_random("ScatterND")
def scattered_points(c):
    rank = c.upto(1, 4)
    shape = c.dims(rank, 1, 4)
    depth, how = c.upto(1, rank), c.one("none", *((("add", "mul") if c.version < 18 else ("add", "mul", "max", "min")) if c.has("reduction") else ()))
    all_of = np.stack(np.unravel_index(np.arange(int(np.prod(shape[:depth]))), shape[:depth]), -1)
    count = c.upto(1, len(all_of))
    index = all_of[c.rng.permutation(len(all_of))[:count]] if how == "none" else all_of[c.rng.integers(0, len(all_of), count)]
    index = np.where(c.rng.random(index.shape) < 0.3, index - np.array(shape[:depth]), index) if c.version >= 13 else index
    lead = (count,)
    if count % 2 == 0 and c.flip():
        lead = (2, count // 2)
    inputs = [c.draw(0, shape, "small"), index.reshape(lead + (depth,)).astype(np.int64), c.draw(2, lead + shape[depth:], "small")]
    return c.form(inputs, c.maybe(inputs, 0, 1), **({"reduction": how} if how != "none" else {}))


@at_random("TensorScatter")
def cached(c):
    rank = c.upto(2, 4)
    shape = c.dims(rank, 1, 5)
    axis = c.upto(1, rank - 1)
    n = c.upto(1, shape[axis])
    mode = c.one("linear", "circular")
    update = shape[:axis] + (n,) + shape[axis + 1:]
    at = c.rng.integers(0, (shape[axis] - n if mode == "linear" else 2 * shape[axis]) + 1, shape[0])
    inputs = [c.draw(0, shape), c.draw(1, update)] + ([at] if c.flip(0.8) else [])
    return c.form(inputs, c.maybe(inputs, 0, 2), mode=mode, axis=axis - rank if c.flip() else axis)


@at_random("Compress OneHot Unique ReverseSequence Trilu CenterCropPad EyeLike NonZero")
def picked(c):
    rank = c.upto(1, 4)
    shape = c.dims(rank, 1, 5)
    if c.op == "Compress":
        axis = c.axis(rank, 11) if c.flip(0.7) else None
        n = shape[axis] if axis is not None else int(np.prod(shape))
        inputs = [c.draw(0, shape), c.rng.random(c.upto(1, n)) < 0.5]
        return c.form(inputs, c.maybe(inputs, 0, 1), **({"axis": axis} if axis is not None else {}))
    if c.op == "OneHot":
        c.any_types("T1", "T3")
        if c.elem(0) in values.SMALL_FLOAT + ("float16", "bfloat16"):
            return None
        depth = c.upto(1, 6)
        low = -depth if c.version >= 11 and not c.elem(0).startswith("u") else 0
        index = c.rng.integers(low, depth, shape[:3]).astype(values.DTYPE[c.elem(0)])
        inputs = [index, np.asarray(depth).astype(values.DTYPE[c.elem(1)]), c.draw(2, (2,), "finite")]
        return c.form(inputs, c.maybe(inputs, 1, 2), axis=c.upto(-rank if rank < 4 else -4, min(rank, 3)))
    if c.op == "Unique":
        c.any_types("T")
        if c.elem() in values.COMPLEX:
            return None
        x = c.draw(0, shape, "small")
        if c.flip():
            x = np.take(x, c.rng.integers(0, shape[-1], shape[-1]), axis=-1)
        axis = {"axis": c.axis(rank)} if c.flip(0.6) else {}
        attrs = c.attributes(sorted=c.upto(0, 1))
        if rank > 1 and axis.get("axis") not in (0, -rank) and c.elem() not in ("float", "double", "int64", "int8", "string"):
            attrs = {"sorted": 1}  # the reference takes what it found along axis 0 as it came, and ONNX Runtime has no other types
        return c.form([x], n_out=c.upto(1, 4), **axis, **attrs)
    if c.op == "ReverseSequence":
        shape = c.dims(c.upto(2, 4), 1, 5)
        time = c.upto(0, 1)
        lens = c.rng.integers(1, shape[time], shape[1 - time], endpoint=True)
        return c.form([c.draw(0, shape), lens], c.maybe([0, lens], 1), batch_axis=1 - time, time_axis=time)
    if c.op == "Trilu":
        shape = c.dims(c.upto(2, 4), 1, 5)
        inputs = [c.draw(0, shape)] + ([np.array(c.upto(-6, 6), np.int64)] if c.flip(0.8) else [])
        return c.form(inputs, c.maybe(inputs, 1), **c.attributes(upper=c.upto(0, 1)))
    if c.op == "CenterCropPad":
        axes = c.rng.permutation(rank)[: c.upto(1, rank)].tolist() if c.flip() else None
        size = np.array(c.dims(rank if axes is None else len(axes), 1, 8), values.DTYPE[c.elem(1)])
        return c.form([c.draw(0, shape), size], c.maybe([0, size], 1), **({"axes": [a - rank if c.flip() else a for a in axes]} if axes else {}))
    if c.op == "EyeLike":
        return c.form([c.draw(0, c.dims(2, 1, 6))], types=dict(c.types, T2=c.types["T1"]), **c.attributes(k=c.upto(-6, 6)))
    return c.form([c.draw(0, shape, "small")])


@at_random("DepthToSpace SpaceToDepth")
def blocks(c):
    block, (n, ch, h, w) = c.upto(1, 4), c.dims(4, 1, 4)
    shape = (n, ch * block * block, h, w) if c.op[0] == "D" else (n, ch, h * block, w * block)
    return c.form([c.draw(0, shape)], blocksize=block, **c.attributes(mode=c.one("DCR", "CRD")))


@at_random("Expand Tile Concat Split Reshape Flatten Squeeze Unsqueeze")
def reshaped(c):
    rank = c.upto(1, 5)
    shape = c.dims(rank, 1, 4)
    x = c.draw(0, shape)
    if c.version < 6 and c.op not in ("Concat", "Flatten", "Reshape") or c.op == "Reshape" and c.version < 5 or c.op == "Concat" and c.version < 4:
        return None
    if c.op == "Expand":
        pair = broadcast(c, 2, 5)
        inputs = [c.draw(0, pair[0]), ints(*pair[1])]
    elif c.op == "Tile":
        inputs = [x, ints(*c.dims(rank, 0 if c.flip(0.2) else 1, 3))]
    elif c.op == "Concat":
        axis = c.axis(rank, 11)
        parts = [tuple(c.upto(0, 4) if k == axis % rank else s for k, s in enumerate(shape)) for _ in range(c.upto(1, 5))]
        inputs = [c.draw(0, s) for s in parts]
        return c.form(inputs, c.maybe(inputs, 0, 1, 2), axis=axis)
    elif c.op == "Split":
        axis = c.axis(rank, 11)
        count = c.upto(1, 4)
        sizes = [c.upto(0, 3) for _ in range(count)]
        shape = tuple(sum(sizes) if k == axis % rank else s for k, s in enumerate(shape))
        if c.version >= 18 and c.flip():
            n = c.upto(count, 9)
            if -(-n // count) * (count - 1) > n:
                return None
            shape = tuple(n if k == axis % rank else s for k, s in enumerate(shape))
            return c.form([c.draw(0, shape)], n_out=count, axis=axis, num_outputs=count)
        if c.version < 13:
            return c.form([c.draw(0, shape)], n_out=count, axis=axis, split=sizes)
        inputs = [c.draw(0, shape), ints(*sizes)]
        return c.form(inputs, c.maybe(inputs, 1), n_out=count, axis=axis)
    elif c.op == "Reshape":
        order = c.rng.permutation(rank).tolist()
        to = [int(np.prod([shape[k] for k in part])) for part in np.array_split(np.array(order), c.upto(1, rank))]
        to = [0 if k < rank and to[k] == shape[k] and c.flip() else d for k, d in enumerate(to)]
        if c.flip():
            to[c.upto(0, len(to) - 1)] = -1
        inputs = [x, ints(*to)]
    elif c.op == "Flatten":
        return c.form([x], axis=c.upto(-rank if c.version >= 11 else 0, rank))
    else:
        gone = c.op == "Squeeze"
        axes = sorted(c.rng.permutation(rank)[: c.upto(1, rank)].tolist())
        x = c.draw(0, tuple(1 if k in axes and gone else s for k, s in enumerate(shape)) if gone else shape[: rank - len(axes)])
        axes = [a - rank if c.version >= 11 and c.flip() else a for a in axes]
        if c.version < 13:
            return c.form([x], axes=axes)
        inputs = [x, ints(*axes)]
    return c.form(inputs, c.maybe(inputs, 1))


@at_random("Range")
def counted(c):
    c.any_types("T")
    if c.elem() in ("float16", "bfloat16"):
        return None
    step = c.one(1, 2, 3) if c.elem() in values.UINT else c.one(-3, -2, -1, 1, 2, 5)
    inputs = [np.asarray(x).astype(values.DTYPE[c.elem()]) for x in (c.upto(0, 9), c.upto(0, 30), step)]
    return c.form(inputs, c.maybe(inputs, 0, 1, 2))


@at_random("NonMaxSuppression")
def suppressed(c):
    """Corners in any order; scores that differ. Many boxes are sorted in rounds."""
    batch, classes, count = c.upto(1, 2), c.upto(1, 3), c.upto(1, 12) if c.flip(0.7) else c.upto(64, 160)
    center = c.flip(0.3)
    boxes = c.rng.random((batch, count, 4)).astype(np.float32)
    scores = (c.rng.permutation(batch * classes * count).reshape(batch, classes, count) / 10 - 1).astype(np.float32)
    inputs = [boxes, scores, ints(c.upto(0, c.one(4, count + 2))) if c.flip(0.8) else None, np.array([c.one(0.0, 0.2, 0.5, 1.0)], np.float32) if c.flip(0.7) else None,
              np.array([c.one(-0.5, 0.0, 0.7)], np.float32) if c.flip() else None]
    while inputs[-1] is None:
        inputs.pop()
    return c.form(inputs, c.maybe(inputs, 2, 3, 4), **({"center_point_box": 1} if center else {}))


# ---- types ----


@at_random("Cast")
def cast(c):
    if c.version < 13:
        return None
    c.any_types("T1", "T2")
    a, b = c.elem(0), c.out_elem(0)
    x = values.draw(c.rng, a, c.dims(c.upto(1, 3), 1, 40), "finite")
    if "string" in (a, b) or "complex" in a + b or values.is_float(a) and values.is_int(b) or "e8m0" in a + b:
        return None
    return c.form([x], to=values.NUMBER[b], **(c.attributes(saturate=c.upto(0, 1)) if b in values.FLOAT8 else {}))


@at_random("QuantizeLinear")
def quantized(c):
    c.any_types("T1", "T2", "T3")
    return quantized_form(c, c.out_elem(), c.elem(0))


@at_random("DequantizeLinear")
def dequantized(c):
    c.any_types("T1", "T2", "T3")
    if not any(x.type_param_str == "T3" for x in c.schema.type_constraints):
        c.types = dict(c.types)
    return quantized_form(c, c.elem(0), None)


def quantized_form(c, narrow, wide):
    """Per tensor, along an axis, or in blocks; the last one may be short."""
    down = c.op[0] == "Q"
    names = {x.type_param_str: x.allowed_type_strs for x in c.schema.type_constraints}
    if not down and "T3" in names and not c.has("output_dtype"):
        c.types = dict(c.types, T3=c.types["T2"])
    if not down and c.version < 19 or c.version < 13:
        return None
    if "e8m0" in c.elem(1) + narrow or c.elem(1) == "int32" or wide == "int32" or wide and c.version >= 19 and wide != c.elem(1) and c.version < 23:
        return None
    rank = c.upto(1, 4)
    shape, axis = c.dims(rank, 1, 7), c.axis(rank)
    attrs, size = {}, ()
    how = c.one("tensor", "axis", "blocks")
    if how == "axis":
        size, attrs["axis"] = (shape[axis],), axis
    elif how == "blocks":
        if not c.has("block_size"):
            return None
        block = c.upto(1, shape[axis])
        size = tuple(-(-d // block) if k == axis % rank else d for k, d in enumerate(shape))
        attrs.update(axis=axis, block_size=block)
    scale = values.draw(c.rng, c.elem(1), size, "positive")
    x = c.draw(0, shape, "any" if values.is_int(c.elem(0)) else "finite")
    plain = narrow == "int32" or values.is_float(narrow)
    zero = np.zeros(size, values.DTYPE[narrow]) if plain else values.draw(c.rng, narrow, size, "small")
    inputs = [x, scale] + ([zero] if c.flip() else [])
    if down and len(inputs) == 2:
        if not c.has("output_dtype"):
            if narrow != "uint8":
                return None
        else:
            attrs["output_dtype"] = values.NUMBER[narrow]
    if not down and c.has("output_dtype"):
        attrs["output_dtype"] = values.NUMBER[c.out_elem()]
    return c.form(inputs, c.maybe(inputs, 1, 2), **attrs)


# ---- strings ----


@at_random("StringSplit")
def string_split(c):
    shape = c.dims(c.upto(0, 3), 1, 4)
    letters = np.array(["a", "b", ",", " ", "ab", "", "é", "::"] + ["\t"] * bool(shape), object)  # of scalars, ONNX Runtime only answers; no white space to it
    x = np.array(["".join(c.rng.choice(letters, c.upto(0, 8))) for _ in range(int(np.prod(shape)))], object).reshape(shape)
    return c.form([x], n_out=2, **c.attributes(delimiter=c.one("", ",", "::", "a", "ab", " "), maxsplit=c.upto(0, 3)))


@at_random("StringConcat")
def string_concat(c):
    inputs = [c.draw(k, s) for k, s in enumerate(broadcast(c, 2))]
    return c.form(inputs, c.maybe(inputs, 0, 1))


@at_random("RegexFullMatch")
def regex(c):
    pattern = c.one("a*b?", "[a-z]+", "(ab|ba)*", "\\d{2,3}", ".", "", "\\w+@\\w+\\.com", "(?i)AB+", "[^a]b", "é.?", "a{0}", "\\p{L}+", "^ab$", "\\bab\\b")
    words = np.array(["", "a", "ab", "abba", "12", "1234", "x@y.com", "AB", "Abb", "é", "éa", "ß", "\n", "ab "], object)
    return c.form([c.rng.choice(words, c.dims(c.upto(0, 2), 1, 9))], pattern=pattern)


@at_random("TfIdfVectorizer")
def grams(c):
    """Pool of n-grams of one to three words, in any order."""
    words = [str(x) for x in range(6)]
    longest = c.upto(1, 3)
    pool, counts, at = [], [], 0
    total = 0
    for n in range(1, longest + 1):
        counts.append(at)
        every = [tuple(c.rng.integers(0, 6, n)) for _ in range(c.upto(1, 3))]
        every = list(dict.fromkeys(every))
        total += len(every)
        pool += [words[k] for g in every for k in g]
        at = len(pool)
    low = c.upto(1, longest)
    shape = c.dims(c.upto(1, 2), 1, 9)
    x = c.rng.integers(0, 6, shape)
    text = c.elem() == "string"
    x = np.array([words[k] for k in x.flat], object).reshape(shape) if text else x.astype(values.DTYPE[c.elem()])
    more = {"pool_strings": pool} if text else {"pool_int64s": [int(p) for p in pool]}
    if c.flip():
        more["weights"] = [float(v) for v in c.rng.integers(1, 5, total)]
    return c.form([x], mode=c.one("TF", "IDF", "TFIDF"), min_gram_length=low, max_gram_length=c.upto(low, longest), max_skip_count=c.upto(0, 3),
                  ngram_counts=counts, ngram_indexes=c.rng.permutation(total).tolist(), **more)


@at_random("QLinearMatMul")
def quantized_product(c):
    c.any_types("T1", "T2", "T3")
    if any(c.elem(k) in values.FLOAT8 for k in (0, 3, 7)):
        return None
    m, k, n = c.dims(3, 1, 9)
    batch = c.dims(c.upto(0, 2), 1, 3)
    real = lambda i, s: np.asarray(c.rng.uniform(0.1, 0.9, s)).astype(values.DTYPE[c.elem(i)])  # noqa: E731
    zero = lambda i, s: np.asarray(c.rng.integers(0, 4, s)).astype(values.DTYPE[c.elem(i)])  # noqa: E731
    by_column = (n,) if c.flip(0.4) else ()
    inputs = [moderate(c, 0, batch + (m, k)), real(1, ()), zero(2, ()), moderate(c, 3, (batch if c.flip() else ()) + (k, n)), real(4, by_column),
              zero(5, by_column), real(6, ()), zero(7, ())]
    if inputs[3].ndim > 2 and by_column:
        return None
    return c.form(inputs, c.maybe(inputs, 1, 2, 3, 4, 5, 6, 7))
