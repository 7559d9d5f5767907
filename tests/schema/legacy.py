"""Old versions in newer words, for oracles that know only those: the test's own table, written from the changes that the
specification's versions make. modern(case) gives the same case for a newer version, or None when nothing has to change.
"""

import numpy as np

# Versions from which on the same inputs and attributes mean something else: {operator: versions}.
CHANGES = {
    "Softmax": (13,), "LogSoftmax": (13,), "Hardmax": (13,), "Mod": (28,), "Upsample": (), "BatchNormalization": (9,),
}
MODERN = {}


def changed(domain, op, a, b):
    """Does the meaning change between two versions?"""
    return any(min(a, b) < v <= max(a, b) for v in CHANGES.get(op, ()))


def legacy(names, below):
    """Decorator: the function rewrites versions below `below`."""

    def register(function):
        for name in names.split():
            MODERN[name] = (below, function)
        return function

    return register


def modern(case):
    below, function = MODERN.get(case.op, (0, None))
    return function(case) if case.version < below else None


def only_modern(case):
    """May the old form not be asked of an oracle that ignores the difference?"""
    return True


def without(attrs, *names):
    return {k: v for k, v in attrs.items() if k not in names}


@legacy("Add Sub Mul Div And Or Xor Equal Greater Less Pow", 7)
def one_way_broadcast(case):
    """`broadcast` with `axis`: the second operand's dims stand for dims of the first from `axis` on."""
    a, b = case.inputs
    if case.attrs.get("broadcast") and "axis" in case.attrs and b.ndim:
        b = b.reshape(b.shape + (1,) * (a.ndim - case.attrs["axis"] - b.ndim))
    return case._replace(inputs=[a, b], attrs=without(case.attrs, "broadcast", "axis", "consumed_inputs"), version=7)


@legacy("PRelu", 7)
def slope_of_channels(case):
    x, slope = case.inputs
    return case._replace(inputs=[x, slope.reshape(slope.shape + (1,) * (x.ndim - 2))], version=7)


@legacy("Clip", 11)
def clip(case):
    dtype = case.inputs[0].dtype
    bounds = [np.array(case.attrs[n], dtype) if n in case.attrs else None for n in ("min", "max")]
    return case._replace(inputs=case.inputs + bounds, attrs={}, version=11)


@legacy("Max Min Sum Mean", 6)
def variadic(case):
    return case._replace(attrs={}, version=6)


@legacy("Reshape", 5)
def reshape(case):
    return case._replace(inputs=case.inputs + [np.array(case.attrs["shape"], np.int64)], attrs={}, version=5)


@legacy("Squeeze Unsqueeze", 13)
def squeeze(case):
    axes = case.attrs.get("axes")
    more = [] if axes is None else [np.array(axes, np.int64)]
    return case._replace(inputs=case.inputs + more, attrs={}, version=13)


@legacy("Slice", 10)
def slices(case):
    attrs = case.attrs
    more = [None if attrs[n] is None else np.array(attrs[n], np.int64) for n in ("starts", "ends", "axes")]
    types = dict(case.types, Tind="tensor(int64)")
    return case._replace(inputs=case.inputs + more, attrs={}, version=10, types=types)


@legacy("Split", 13)
def split(case):
    parts = case.attrs.get("split")
    inputs = list(case.inputs)
    if len(inputs) > 1:
        inputs[1] = inputs[1].astype(np.int64)
    elif parts is not None:
        inputs.append(np.array(parts, np.int64))
    return case._replace(inputs=inputs, attrs=without(case.attrs, "split"), version=13)


@legacy("Pad", 11)
def pad(case):
    pads = case.attrs.get("pads", case.attrs.get("paddings"))
    inputs = case.inputs + [np.array(pads, np.int64)]
    if "value" in case.attrs:
        inputs.append(np.array(case.attrs["value"], case.inputs[0].dtype))
    return case._replace(inputs=inputs, attrs=without(case.attrs, "pads", "paddings", "value"), version=11)


@legacy("Tile", 6)
def tile(case):
    x, tiles, axis = case.inputs
    repeats = np.ones(x.ndim, np.int64)
    repeats[int(axis)] = int(tiles)
    return case._replace(inputs=[x, repeats], version=6, types=dict(case.types, T1="tensor(int64)"))


@legacy("Cast", 6)
def cast(case):
    from onnx import TensorProto

    return case._replace(attrs={"to": TensorProto.DataType.Value(case.attrs["to"])}, version=6)


@legacy("Concat", 4)
def concat(case):
    return case._replace(attrs={"axis": case.attrs.get("axis", 1)}, version=4)


@legacy("ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare", 13)
def reduce(case):
    """The axes became an input in version 13 (ReduceSum) and 18."""
    if case.op != "ReduceSum":
        axes = case.attrs.get("axes")
        more = [] if axes is None else [np.array(axes, np.int64)]
        return case._replace(inputs=case.inputs + more, attrs=without(case.attrs, "axes"), version=18)
    axes = case.attrs.get("axes")
    more = [] if axes is None else [np.array(axes, np.int64)]
    return case._replace(inputs=case.inputs + more, attrs=without(case.attrs, "axes"), version=13)


@legacy("Softmax LogSoftmax Hardmax", 13)
def coerced(case):
    """Before version 13 all axes from `axis` (default 1) on are one: only where that is one axis the newer form says it."""
    axis = case.attrs.get("axis", 1)
    rank = case.inputs[0].ndim
    if axis % rank != rank - 1:
        return None
    return case._replace(attrs={"axis": axis}, version=13)


@legacy("TopK", 10)
def top_k(case):
    return case._replace(inputs=case.inputs + [np.array([case.attrs["k"]], np.int64)], attrs=without(case.attrs, "k"), version=10)


@legacy("BatchNormalization", 7)
def batch_normalization(case):
    return case._replace(attrs=without(case.attrs, "is_test", "consumed_inputs"), version=7)


@legacy("Dropout", 7)
def dropout(case):
    return case._replace(attrs=without(case.attrs, "is_test"), version=7)


@legacy("Gemm", 7)
def gemm(case):
    return case._replace(attrs=without(case.attrs, "broadcast"), version=7)


@legacy("RNN GRU LSTM", 7)
def recurrent(case):
    return case._replace(attrs=without(case.attrs, "output_sequence"), version=7)


@legacy("Upsample", 9)
def upsample(case):
    attrs = case.attrs
    scales = attrs["scales"] if "scales" in attrs else [1.0, 1.0, attrs["height_scale"], attrs["width_scale"]]
    mode = {"bilinear": "linear"}.get(attrs.get("mode"), attrs.get("mode", "nearest"))
    return case._replace(inputs=case.inputs + [np.array(scales, np.float32)], attrs={"mode": mode}, version=9)


@legacy("GridSample", 20)
def grid_sample(case):
    """Version 20 names the modes as Resize does."""
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(case.attrs.get("mode", "bilinear"), case.attrs.get("mode"))
    return case._replace(attrs=dict(case.attrs, mode=mode), version=20)


@legacy("GlobalLpPool LpPool", 2)
def lp_pool(case):
    return case._replace(attrs=dict(case.attrs, p=int(case.attrs.get("p", 2))), version=2)


@legacy("AveragePool", 7)
def average_pool(case):
    """Version 7 adds count_include_pad with the default 0, as ONNX's version converter takes it."""
    return case._replace(version=7)


@legacy("Resize", 99)
def forward_axes(case):
    """The reference knows axes from the front only."""
    axes = case.attrs.get("axes")
    if axes is None or min(axes) >= 0:
        return None
    return case._replace(attrs=dict(case.attrs, axes=[a % case.inputs[0].ndim for a in axes]))


@legacy("Attention", 99)
def mask_of_all_rows(case):
    """The reference takes the causal frontier from as many rows as the mask has."""
    mask = case.inputs[3] if len(case.inputs) > 3 else None
    if mask is None or mask.ndim < 2 or mask.shape[-2] > 1:
        return None
    rows = case.inputs[0].shape[-2]
    every = np.ascontiguousarray(np.broadcast_to(mask, mask.shape[:-2] + (rows,) + mask.shape[-1:]))
    return case._replace(inputs=case.inputs[:3] + [every] + case.inputs[4:])
