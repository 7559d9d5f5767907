"""A compiled model's C interface (runtime/bmc.h) for Python tests: the structs, one to one, and a thin Loaded class.

    model = Loaded("digits.so")
    outputs = model.run({"image": array})                 # {name: array}; raises ModelError(status, message)
    status = model.raw_run(in_values, out_values)         # anything at all, for tests of the checks

Python with -m: `bmc_ctypes.py model.so` prints what the model declares.
"""

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

import ml_dtypes
import numpy as np

ABI = 3
MAX_RANK = 32
STATUS = ("OK", "INPUT", "CAPACITY", "MEMORY", "CPU", "WEIGHTS", "INDEX", "SHAPE", "FAIL", "ARG")
OK, E_INPUT, E_CAPACITY, E_MEMORY, E_CPU, E_WEIGHTS, E_INDEX, E_SHAPE, E_FAIL, E_ARG = range(10)
TENSOR, SEQUENCE, OPTIONAL, MAP = 1, 2, 3, 4
STRING = 8
DTYPES = {
    1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_,
    10: np.float16, 11: np.float64, 12: np.uint32, 13: np.uint64, 14: np.complex64, 15: np.complex128,
    16: ml_dtypes.bfloat16,
}
NUMBERS = {np.dtype(v): k for k, v in DTYPES.items()}


class Value(ctypes.Structure):
    pass


Value._fields_ = [
    ("size", c_uint32), ("kind", c_uint8), ("dtype", c_uint8), ("rank", c_uint8), ("flags", c_uint8),
    ("data", c_void_p), ("bytes", c_size_t), ("dim", c_int64 * MAX_RANK), ("stride", POINTER(c_int64)),
    ("item", POINTER(Value)), ("n_item", c_size_t),
]


class Port(ctypes.Structure):
    _fields_ = [
        ("name", c_char_p), ("kind", c_uint8), ("dtype", c_uint8), ("rank", c_uint8), ("flags", c_uint8),
        ("of", c_uint8 * 3), ("key", c_uint8),
        ("dim", c_int64 * MAX_RANK), ("sym", c_int32 * MAX_RANK), ("alias", c_int32),
        ("alias_axis", c_int32), ("capacity", c_int64),
    ]


class Symbol(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("lo", c_int64), ("hi", c_int64), ("input", c_int32), ("axis", c_int32)]


class Info(ctypes.Structure):
    _fields_ = [
        ("name", c_char_p), ("producer", c_char_p), ("target", c_char_p), ("cpu", c_char_p), ("input", POINTER(Port)),
        ("output", POINTER(Port)), ("symbol", POINTER(Symbol)), ("n_input", c_uint32), ("n_output", c_uint32),
        ("n_symbol", c_uint32), ("threaded", c_uint32), ("weights_bytes", c_uint64), ("weights_hash", c_uint64),
    ]


class Sizes(ctypes.Structure):
    _fields_ = [("arena", c_size_t), ("scratch_per_thread", c_size_t), ("total", c_size_t)]


class Config(ctypes.Structure):
    _fields_ = [
        ("size", c_uint32), ("threads", c_int32), ("weights", c_void_p), ("weights_bytes", c_size_t),
        ("weights_path", c_char_p), ("team", c_void_p), ("pool", c_void_p), ("seed", c_uint64),
        ("keep_denormals", c_uint32), ("all_threads", c_uint32),
    ]


class ModelTable(ctypes.Structure):
    _fields_ = [
        ("abi", c_uint32),
        ("info", POINTER(Info)),
        ("sizes", ctypes.CFUNCTYPE(c_int, POINTER(c_int64), c_int, POINTER(Sizes))),
        ("create", ctypes.CFUNCTYPE(c_int, POINTER(Config), c_void_p, c_size_t, POINTER(c_void_p))),
        ("run", ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)),
        ("reset", ctypes.CFUNCTYPE(c_int, c_void_p)),
        ("destroy", ctypes.CFUNCTYPE(None, c_void_p)),
        ("message", ctypes.CFUNCTYPE(c_char_p, c_void_p)),
    ]


class ModelError(Exception):
    def __init__(self, status, message):
        super().__init__("%s: %s" % (STATUS[status] if status < len(STATUS) else status, message))
        self.status, self.message = status, message


class Text(ctypes.Structure):
    """bmc_string."""

    _fields_ = [("ptr", c_char_p), ("len", c_size_t)]


def strings(array):
    """A bmc_value of the strings (str or bytes) of an array."""
    items = [x if isinstance(x, bytes) else x.encode("utf-8") for x in array.flatten().tolist()]
    keep = (Text * max(len(items), 1))(*[Text(x, len(x)) for x in items])
    value = Value(size=ctypes.sizeof(Value), kind=TENSOR, dtype=STRING, rank=array.ndim)
    value.data, value.bytes, value.keep = ctypes.addressof(keep), len(items) * ctypes.sizeof(Text), (items, keep)
    for i, d in enumerate(array.shape):
        value.dim[i] = d
    return value


def tensor(array):
    """A bmc_value over a numpy array's own memory; keep the array alive."""
    if array.dtype.kind in "OUS":
        return strings(array)
    value = Value(
        size=ctypes.sizeof(Value),
        kind=TENSOR,
        dtype=NUMBERS[array.dtype],
        rank=array.ndim,
        data=array.ctypes.data,
        bytes=array.nbytes,
    )
    for i, d in enumerate(array.shape):
        value.dim[i] = d
    if not array.flags.c_contiguous:
        value.keep = (c_int64 * MAX_RANK)(*[s // array.itemsize for s in array.strides])
        value.stride = value.keep
    return value


class RawText(ctypes.Structure):
    _fields_ = [("ptr", c_void_p), ("len", c_size_t)]


def text_of(raw):
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


def value_of(x):
    """A bmc_value of an array, a list (sequence), a dict (map), or None (an empty optional)."""
    if x is None or isinstance(x, (list, dict)):
        if isinstance(x, dict):
            keys, values = list(x), list(x.values())
            parts = [np.array(keys, object if keys and isinstance(keys[0], str) else None), np.asarray(values)]
            kind = MAP
        else:
            parts, kind = x or [], OPTIONAL if x is None else SEQUENCE
        items = [value_of(p) for p in parts]
        value = Value(size=ctypes.sizeof(Value), kind=kind, n_item=len(items))
        value.keep = (items, parts, (Value * max(len(items), 1))(*items))
        value.item = value.keep[2]
        return value
    array = np.asarray(x)
    value = tensor(array)
    value.array = array
    return value


def given(port, x):
    """What value_of makes of it; in place of an optional, one that holds it."""
    value = value_of(x)
    if port.kind != OPTIONAL or x is None:
        return value
    held = Value(size=ctypes.sizeof(Value), kind=OPTIONAL, n_item=1)
    held.keep = (Value * 1)(value)
    held.value = value
    held.item = held.keep
    return held


def result_of(value):
    """What value_of takes, from a result: arrays, lists, dicts."""
    if value.kind == SEQUENCE:
        return [result_of(value.item[i]) for i in range(value.n_item)]
    if value.kind == OPTIONAL:
        return result_of(value.item[0]) if value.n_item else None
    if value.kind == MAP:
        return dict(zip(*(as_array(value.item[i]).tolist() for i in range(2))))
    return as_array(value)


def empty_output():
    """An output whose memory the model provides."""
    return Value(size=ctypes.sizeof(Value))


def as_array(value):
    """A copy of a tensor; of strings, an array of objects (bytes where they are no UTF-8)."""
    if value.dtype == STRING:
        items = ctypes.cast(value.data, POINTER(RawText))
        out = np.empty(tuple(value.dim[: value.rank]), object)
        for i in range(out.size):
            raw = ctypes.string_at(items[i].ptr, items[i].len) if items[i].len else b""
            out.flat[i] = text_of(raw)
        return out
    dtype = np.dtype(DTYPES[value.dtype])
    shape = tuple(value.dim[: value.rank])
    count = int(np.prod(shape, dtype=np.int64))
    if value.stride and count:  # lies along a capacity
        strides = [value.stride[i] * dtype.itemsize for i in range(value.rank)]
        reach = sum((d - 1) * s for d, s in zip(shape, strides)) + dtype.itemsize
        memory = np.frombuffer(ctypes.string_at(value.data, reach), np.uint8)
        return np.lib.stride_tricks.as_strided(memory.view(dtype), shape, strides).copy()
    return (
        np.frombuffer(ctypes.string_at(value.data, count * dtype.itemsize), dtype).reshape(shape).copy()
        if count
        else np.empty(shape, dtype)
    )


class Loaded:
    """A model in this process with one context. Crashes are real: probe bad arguments from a child process."""

    def __init__(self, path, threads=1, symbol="bmc_model", all_threads=True, seed=0):
        self.ctx = c_void_p()
        self.library = ctypes.CDLL(path)
        self.table = ModelTable.in_dll(self.library, symbol)
        if self.table.abi != ABI:
            raise ModelError(E_ARG, "ABI %d, expected %d" % (self.table.abi, ABI))
        info = self.table.info.contents
        self.inputs = [info.input[i] for i in range(info.n_input)]
        self.outputs = [info.output[i] for i in range(info.n_output)]
        self.symbols = [info.symbol[i] for i in range(info.n_symbol)]
        self.info = info
        config = Config(size=ctypes.sizeof(Config), threads=threads, all_threads=all_threads, seed=seed)
        status = self.table.create(byref(config), None, 0, byref(self.ctx))
        if status != OK:
            raise ModelError(status, self.message(None))

    def message(self, ctx=True):
        text = self.table.message(self.ctx if ctx else None)
        return text.decode("utf-8", "replace") if text else ""

    def raw_run(self, inputs, outputs):
        """Status of run() over lists of Value (None: a null array)."""
        as_c = [None if values is None else (Value * max(len(values), 1))(*values) for values in (inputs, outputs)]
        status = self.table.run(self.ctx, *as_c)
        if outputs is not None:
            outputs[:] = list(as_c[1])[: len(outputs)]
        return status

    def run(self, feeds):
        values = [given(p, feeds[p.name.decode()]) for p in self.inputs]
        outputs = [empty_output() for _ in self.outputs]
        status = self.raw_run(values, outputs)
        if status != OK:
            raise ModelError(status, self.message())
        return {p.name.decode(): result_of(v) for p, v in zip(self.outputs, outputs)}

    def reset(self):
        if self.table.reset(self.ctx) != OK:
            raise ModelError(E_ARG, self.message())

    def close(self):
        if self.ctx:
            self.table.destroy(self.ctx)
            self.ctx = c_void_p()

    def __del__(self):
        if getattr(self, "ctx", None):
            self.close()


def describe(path):
    model = Loaded(path)
    print(
        "%s by %s for %s (%s), %s, %d bytes of weights"
        % (
            model.info.name.decode(),
            model.info.producer.decode(),
            model.info.target.decode(),
            model.info.cpu.decode(),
            "threaded" if model.info.threaded else "one thread",
            model.info.weights_bytes,
        )
    )
    for what, ports in (("input", model.inputs), ("output", model.outputs)):
        for p in ports:
            dims = [
                model.symbols[p.sym[i]].name.decode() if p.dim[i] == -1 else "?" if p.dim[i] < 0 else str(p.dim[i])
                for i in range(p.rank if p.rank <= MAX_RANK else 0)
            ]
            print(
                "  %s %s: %s [%s]"
                % (
                    what,
                    p.name.decode(),
                    np.dtype(DTYPES[p.dtype]).name if p.dtype in DTYPES else p.dtype,
                    ",".join(dims),
                )
            )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    describe(sys.argv[1])
