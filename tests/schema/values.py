"""Element types of the schemas, and values drawn for them.

draw(rng, "int8", (2, 3), "any") gives an array; the kinds of values:
    any     random, mixed with what is special: NaN, infinities, both zeros, ties, extremes of the type
    finite  moderate numbers, either sign
    small   small integers (exact in every type): sums and products of a few of them are exact
    unit    between -1 and 1
    positive, nonzero
Denormals are not drawn: by default they are flushed (docs/NUMERICS.md).
"""

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper

NUMBER = {TensorProto.DataType.Name(n).lower(): n for n in range(1, 29)}
DTYPE = {name: np.dtype(object if name == "string" else helper.tensor_dtype_to_np_dtype(n)) for name, n in NUMBER.items()}
NAME = {dtype: name for name, dtype in DTYPE.items()}
SINT = ("int8", "int16", "int32", "int64", "int4", "int2")
UINT = ("uint8", "uint16", "uint32", "uint64", "uint4", "uint2")
FLOAT = ("float", "double", "float16", "bfloat16")
FLOAT8 = ("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz")
SMALL_FLOAT = FLOAT8 + ("float8e8m0", "float4e2m1", "float6e2m3", "float6e3m2")
COMPLEX = ("complex64", "complex128")
WORDS = ("", "a", "B", "ab", "zürich", "\N{GREEK SMALL LETTER ALPHA}x", "tensor", "0", "-1", "Ab")
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 100.0, -100.0)

# Steps between neighbours, relative: a result may be off by a few of them.
EPSILON = {
    "double": 2.0**-52, "float": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7, "float8e4m3fn": 2.0**-3,
    "float8e4m3fnuz": 2.0**-3, "float8e5m2": 2.0**-2, "float8e5m2fnuz": 2.0**-2, "float8e8m0": 1.0, "float4e2m1": 0.5,
    "float6e2m3": 2.0**-3, "float6e3m2": 2.0**-2, "complex64": 2.0**-23, "complex128": 2.0**-52,
}


def is_float(name):
    return name in EPSILON


def is_int(name):
    return name in SINT or name in UINT


def limits(name):
    """Smallest and largest value of a numeric type that is not complex."""
    if is_int(name):
        info = ml_dtypes.iinfo(DTYPE[name])
    else:
        info = ml_dtypes.finfo(DTYPE[name])
    return info.min, info.max


def element_of(type_str):
    """tensor(int8) -> ("tensor", "int8"), seq(tensor(x)) -> ("seq", "x"), anything else -> (its head, the rest)."""
    head, rest = type_str[:-1].split("(", 1)
    if head == "tensor":
        return head, rest
    inner, elem = element_of(rest) if "(" in rest and head != "map" else ("", rest)
    return (head if inner == "tensor" else head + "-" + inner if inner else head), elem


def _integers(rng, name, shape, kind):
    lo, hi = (int(x) for x in limits(name))
    if kind == "any":
        values = rng.integers(lo, hi, shape, dtype=np.int64 if lo < 0 else np.uint64, endpoint=True)
        special = np.array([x for x in (lo, hi, 0, 1, -1, 2, 3, lo + 1, hi - 1, 7, -7) if lo <= x <= hi], dtype=values.dtype)
        pick = rng.random(shape) < 0.4
        values = np.where(pick, rng.choice(special, shape), values)
    else:
        low = {"positive": 1, "nonzero": -4}.get(kind, -4)
        values = rng.integers(max(lo, low), min(hi, 6), shape, endpoint=True)
        if kind == "nonzero":
            values = np.where(values == 0, 1, values)
    return np.asarray(values).astype(DTYPE[name])


def _floats(rng, name, shape, kind):
    if kind == "small":
        values = rng.integers(-4, 5, shape).astype(np.float64)
    elif kind == "unit":
        values = rng.uniform(-1, 1, shape)
    elif kind == "positive":
        values = np.exp(rng.uniform(-2, 2, shape))
    else:
        values = rng.normal(0, 3, shape)
        if kind == "nonzero":
            values = np.where(np.abs(values) < 0.25, 0.75, values)
        if kind == "any":
            special = list(SPECIAL)
            if name not in ("float8e8m0",):
                special += [float(x) for x in limits(name)]
            values = np.where(rng.random(shape) < 0.4, rng.choice(np.array(special), shape), values)
    if name == "float8e8m0":
        values = np.abs(values) + 0.125
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(DTYPE[name])


def draw(rng, name, shape, kind="any"):
    """An array of that element type, values of that kind; from the generator only."""
    shape = tuple(shape)
    if name == "string":
        return np.array(rng.choice(np.array(WORDS, dtype=object), shape), dtype=object).reshape(shape)
    if name == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if name in COMPLEX:
        part = "float" if name == "complex64" else "double"
        return np.asarray(_floats(rng, part, shape, kind) + 1j * _floats(rng, part, shape, "finite")).astype(DTYPE[name])
    return _integers(rng, name, shape, kind) if is_int(name) else _floats(rng, name, shape, kind)
