"""What the rows of bench/ops.py are made of (the rows: ops_table*.py): every one at three sizes.

    row(family, what, make, bar=1.5)

`make(n)` gives the Case for about n elements of f32: 8 Ki (the caches next to the core), 128 Ki (L2), and for "memory"
4 to 16 Mi, so that n read and n written are twice the last cache (of more than 64 MB: less); what costs more than a few
operations an element takes fewer. `bar` is how many times ONNX Runtime's time a row may take. Inputs are arrays (fed)
or const(array) (in the model). `flops`: multiply-adds count two; rows without move memory, and their bytes are those of
inputs and outputs, or what `touched` says where not all of them is looked at.
"""

import glob

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper

SIZES = ("L1", "L2", "memory")
EQUAL = 1.0  # cumulative ops, sort, TopK, NMS, gather, scatter, resize, trees
OPSET = 23
ROWS = []
BF16 = ml_dtypes.bfloat16


def last_cache(core):
    """Bytes of the largest cache that a core reads through; 0: the system does not tell."""
    sizes = [0]
    for path in glob.glob("/sys/devices/system/cpu/cpu%d/cache/index*/size" % core):
        with open(path) as f:
            text = f.read().strip()
        sizes.append(int(text.rstrip("KM")) << {"K": 10, "M": 20}.get(text[-1], 0))
    return max(sizes)


def elements(last):
    """{size: n}; `last`: bytes of the last cache."""
    memory = 1 << 22
    while 2 * 4 * memory < 2 * last and memory < 1 << 24:
        memory *= 2
    return {"L1": 1 << 13, "L2": 1 << 17, "memory": memory}


class Row:
    def __init__(self, family, what, make, bar):
        self.family, self.what, self.make, self.bar = family, what, make, bar


class Const:
    def __init__(self, array):
        self.array = array


class Case:
    """A model of one node and its inputs."""

    def __init__(
        self, op, inputs, outputs=1, flops=0, touched=None, opset=OPSET, domain="", loose=False, body=None, **attrs
    ):
        self.flops, self.touched, self.loose = flops, touched, loose
        self.feeds, names, constants = {}, [], []
        for k, x in enumerate(inputs):
            names.append("" if x is None else "x%d" % k)
            if isinstance(x, Const):
                constants.append(proto(x.array, names[-1]))
            elif x is not None:
                self.feeds[names[-1]] = np.asarray(x, order="C")
        ins = [helper.make_tensor_value_info(k, elem(a.dtype), a.shape) for k, a in self.feeds.items()]
        outs = [onnx.ValueInfoProto(name="y%d" % k) for k in range(outputs)]
        node = helper.make_node(op, names, [o.name for o in outs], domain=domain, **attrs)
        graph = helper.make_graph([node], "one", ins, outs, constants)
        domains = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
        if domain not in ("", "ai.onnx.ml"):
            domains.append(helper.make_opsetid(domain, 1))
        self.model = helper.make_model(graph, opset_imports=domains, ir_version=10)


def elem(dtype):
    return TensorProto.BFLOAT16 if dtype == BF16 else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def proto(array, name):
    array = np.asarray(array, order="C")
    return onnx.TensorProto(name=name, data_type=elem(array.dtype), dims=array.shape, raw_data=array.tobytes())


def row(family, what, make, bar=1.5):
    ROWS.append(Row(family, what, make, bar))


def const(values, dtype=np.int64):
    return Const(np.asarray(values, dtype))


# --- values

rng = np.random.default_rng(3)


def f(*shape, dtype=np.float32):
    return rng.standard_normal(shape, np.float32).astype(dtype)


def pos(*shape, dtype=np.float32):
    return (rng.random(shape, np.float32) + np.float32(0.1)).astype(dtype)


def ints(high, *shape, dtype=np.int64, low=0):
    return rng.integers(low, high, shape).astype(dtype)


def bools(*shape, share=0.5):
    return rng.random(shape) < share


def some(n, most):
    """Fewer elements where an element costs much: at most `most`."""
    return min(n, most)


def square(n):
    side = 1 << (n.bit_length() - 1) // 2
    return side, n // side


def image(n, channels=16, batch=1):
    """NCHW of about n elements."""
    side = max(4, int((n / channels / batch) ** 0.5) // 4 * 4)
    return batch, channels, side, side


def by_name():
    names = [(r.family, r.what) for r in ROWS]
    assert len(names) == len(set(names)), "two rows of one name"
    return {"%s: %s" % n: r for n, r in zip(names, ROWS)}
