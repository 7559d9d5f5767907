"""Answers written out from the specification's text, in double precision, for what neither the reference evaluator nor
ONNX Runtime computes (or computes in double precision: the reference's erf and constants are float32). Few, and each
with the sentence that it stands for; agreeing with one counts as "agrees formula", apart from agreeing with an oracle.
"""

import math

import numpy as np
from onnx import numpy_helper

import values

FORMULA = {}


def formula(op, text):
    """Decorator: the function gives the outputs of a case of that operator; text: what the specification says."""

    def register(function):
        FORMULA[op] = function
        return function

    assert text
    return register


def wide(case):
    return [x.astype(np.float64) if isinstance(x, np.ndarray) else x for x in case.inputs]


_erf = np.vectorize(math.erf, otypes=[np.float64])


@formula("AveragePool", "SAME_UPPER or SAME_LOWER mean pad the input so that `output_shape[i] = ceil(input_shape[i] / strides[i])` for each axis; "
         "pad_shape[i] = (output_spatial_shape[i] - 1) * strides_spatial_shape[i] + ((kernel_spatial_shape[i] - 1) * dilations[i] + 1) - "
         "input_spatial_shape[i]; VALID: ceil((input_spatial_shape[i] - ((kernel_spatial_shape[i] - 1) * dilations[i] + 1) + 1) / strides)")
def pool(case):
    """Window by window. Only with auto_pad: what explicit pads and ceil_mode mean, both oracles know."""
    x, attrs = wide(case)[0], case.attrs
    rank = x.ndim - 2
    if attrs.get("auto_pad", "NOTSET") == "NOTSET" or attrs.get("storage_order"):
        raise NotImplementedError("explicit pads")
    kernel, strides, dilations = attrs["kernel_shape"], attrs.get("strides", [1] * rank), attrs.get("dilations", [1] * rank)
    outs, begins = [], []
    for n, k, s, d in zip(x.shape[2:], kernel, strides, dilations):
        span = (k - 1) * d + 1
        out = -(-(n - span + 1) // s) if attrs["auto_pad"] == "VALID" else -(-n // s)
        pads = 0 if attrs["auto_pad"] == "VALID" else max(0, (out - 1) * s + span - n)
        outs.append(out)
        begins.append(pads // 2 if attrs["auto_pad"] == "SAME_UPPER" else (pads + 1) // 2)
    y, place = np.zeros(x.shape[:2] + tuple(outs)), np.zeros(x.shape[:2] + tuple(outs))
    every = np.arange(x.size).reshape(x.shape)
    for at in np.ndindex(*outs):
        places = [[o * s - b + i * d for i in range(k)] for o, s, b, k, d in zip(at, strides, begins, kernel, dilations)]
        inside = [[p for p in some if 0 <= p < n] for some, n in zip(places, x.shape[2:])]
        seen = x[np.ix_(range(x.shape[0]), range(x.shape[1]), *inside)].reshape(x.shape[:2] + (-1,))
        if case.op == "MaxPool":
            value = seen.max(-1)
            where = every[np.ix_(range(x.shape[0]), range(x.shape[1]), *inside)].reshape(x.shape[:2] + (-1,))
            place[(slice(None), slice(None)) + at] = np.take_along_axis(where, seen.argmax(-1)[..., None], -1)[..., 0]
        elif case.op == "AveragePool":
            value = seen.sum(-1) / (np.prod(kernel) if attrs.get("count_include_pad") else seen.shape[-1])
        else:
            p = attrs.get("p", 2)
            value = (np.abs(seen) ** p).sum(-1) ** (1 / p)
        y[(slice(None), slice(None)) + at] = value
    return [y, place]


FORMULA["MaxPool"] = FORMULA["LpPool"] = pool


@formula("LSTM", "layout: \"If 1, the following shapes are expected: X.shape = [batch_size, seq_length, input_size], Y.shape = [batch_size, "
         "seq_length, num_directions, hidden_size], initial_h.shape = Y_h.shape = initial_c.shape = Y_c.shape = [batch_size, num_directions, "
         "hidden_size]\"; ONNX Runtime knows 0 only, the reference neither directions nor lengths")
def batch_first(case):
    import oracle

    if not case.attrs.get("layout"):
        raise NotImplementedError("as it is")
    turned = [x if x is None or k not in (0, 5, 6) else np.ascontiguousarray(x.swapaxes(0, 1)) for k, x in enumerate(case.inputs)]
    y, *rest = oracle.by_runtime(case._replace(inputs=turned, attrs=dict(case.attrs, layout=0)))
    return [y.transpose(2, 0, 1, 3)] + [x.swapaxes(0, 1) for x in rest]


FORMULA["RNN"] = FORMULA["GRU"] = batch_first


@formula("Erf", "Computes the error function of the given input tensor element-wise.")
def erf(case):
    return [_erf(wide(case)[0]) if case.inputs[0].size else wide(case)[0]]


@formula("Softsign", "Calculates the softsign (x/(1+|x|)) of the given input tensor element-wise.")
def softsign(case):
    x = wide(case)[0]
    return [x / (1 + np.abs(x))]


@formula("HardSwish", "y = x * max(0, min(1, alpha * x + beta)) [...] where alpha = 1/6 and beta = 0.5")
def hard_swish(case):
    x = wide(case)[0]
    return [x * np.maximum(0, np.minimum(1, x / 6 + 0.5))]


@formula("Gelu", "y = 0.5 * x * (1 + erf(x/sqrt(2))) [...] If the attribute \"approximate\" is set to \"tanh\", the "
         "function estimation, y = 0.5 * x * (1 + Tanh(sqrt(2/pi) * (x + 0.044715 * x^3))) is used")
def gelu(case):
    x = wide(case)[0]
    if case.attrs.get("approximate") == "tanh":
        return [0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))]
    return [0.5 * x * (1 + (_erf(x / np.sqrt(2)) if x.size else x))]


@formula("PRelu", "`f(x) = slope * x for x < 0`, `f(x) = x for x >= 0`.")
def prelu(case):
    x, slope = wide(case)
    return [np.where(x < 0, slope * x, x)]


@formula("OneHot", "the output tensor has the rank of indices plus one [...] on_value at the locations of the indices, off_value "
         "everywhere else; \"Any entries in the 'indices' input tensor with values outside the range [-depth, depth-1] will "
         "result in one-hot representation with all 'off_value' values\"")
def one_hot(case):
    indices, depth, (off, on) = case.inputs
    n = int(depth.ravel()[0])
    axis = case.attrs.get("axis", -1)
    rank = indices.ndim + 1
    at = np.trunc(indices.astype(np.float64))
    at = np.expand_dims(np.where((at < 0) & (at >= -n), at + n, at), axis)
    slots = np.arange(n).reshape([-1 if k == axis % rank else 1 for k in range(rank)])
    return [np.where(at == slots, on, off).astype(case.inputs[2].dtype)]


@formula("Identity", "Identity operator")
def identity(case):
    return [case.inputs[0]]


def along(case):
    """(x wide, axes, keepdims) of a reduction, its axes an input or an attribute."""
    x = case.inputs[0]
    axes = case.inputs[1] if len(case.inputs) > 1 else case.attrs.get("axes")
    axes = tuple(int(a) for a in axes) if axes is not None and len(axes) else tuple(range(x.ndim))
    if (axes == tuple(range(x.ndim)) and case.attrs.get("noop_with_empty_axes") and len(case.inputs) < 2):
        axes = ()
    return x, axes, bool(case.attrs.get("keepdims", 1))


@formula("ReduceLogSum", "Computes the log sum of the input tensor's elements along the provided axes.")
def reduce_log_sum(case):
    x, axes, keep = along(case)
    return [np.log(np.sum(x.astype(np.float64), axis=axes, keepdims=keep))]


@formula("ReduceLogSumExp", "Computes the log sum exponent of the input tensor's elements along the provided axes.")
def reduce_log_sum_exp(case):
    x, axes, keep = along(case)
    x = x.astype(np.float64)
    top = np.max(x, initial=-np.inf)
    top = top if np.isfinite(top) else 0.0
    return [np.log(np.sum(np.exp(x - top), axis=axes, keepdims=keep)) + top]


@formula("ReduceSumSquare", "Computes the sum square of the input tensor's elements along the provided axes. (Integers wrap.)")
def reduce_sum_square(case):
    x, axes, keep = along(case)
    return [np.sum(x * x, axis=axes, keepdims=keep, dtype=x.dtype)]


@formula("LpNormalization", "Given a matrix, apply Lp-normalization along the provided axis: Lp(x) = x / lp_norm(x)")
def lp_normalization(case):
    x = wide(case)[0]
    p, axis = case.attrs.get("p", 2), case.attrs.get("axis", -1)
    norm = np.sum(np.abs(x) ** p, axis=axis, keepdims=True) ** (1 / p)
    return [np.where(norm == 0, 0, x / norm)]


@formula("MeanVarianceNormalization", "(X-EX)/sqrt(E(X-EX)^2)")
def mean_variance(case):
    x = wide(case)[0]
    axes = tuple(case.attrs.get("axes", (0, 2, 3)))
    centred = x - x.mean(axis=axes, keepdims=True)
    return [centred / (np.sqrt(np.mean(centred**2, axis=axes, keepdims=True)) + 1e-9)]


@formula("Hardmax", "(before version 13) \"Input does not need to explicitly be a 2D vector; rather, it will be coerced into one\"; "
         "\"1 for the first maximum value, and 0 for all others\"")
def hardmax(case):
    x = wide(case)[0]
    axis = case.attrs.get("axis", 1 if case.version < 13 else -1) % max(x.ndim, 1)
    flat = x.reshape(int(np.prod(x.shape[:axis])), -1) if case.version < 13 else np.moveaxis(x, axis, -1)
    if not flat.size:
        return [x]
    ones = (np.arange(flat.shape[-1]) == np.argmax(flat, -1)[..., None]).astype(np.float64)
    return [ones.reshape(x.shape) if case.version < 13 else np.moveaxis(ones, -1, axis)]


@formula("MatMulInteger", "Matrix product that behaves like numpy.matmul [...] zero points: \"a 1-D tensor with M elements\" per row of A, "
         "\"with N elements\" per column of B")
def matmul_integer(case):
    a, b = (x.astype(np.int32) for x in case.inputs[:2])
    zeros = [x.astype(np.int32) if isinstance(x, np.ndarray) else np.int32(0) for x in (list(case.inputs[2:]) + [None, None])[:2]]
    if isinstance(zeros[0], np.ndarray) and zeros[0].ndim == 1:
        zeros[0] = zeros[0][:, None]
    return [np.matmul(a - zeros[0], b - zeros[1])]


@formula("BatchNormalization", "training_mode=True: Y = (X - current_mean) / sqrt(current_var + epsilon) * scale + B, running_mean = input_mean * "
         "momentum + current_mean * (1 - momentum), \"where current_var = ReduceVar(X, axis=all_except_channel_index), population variance\"; "
         "before version 14 \"Output case #1: Y, mean, var, saved_mean, saved_var (training mode)\"")
def batch_normalization(case):
    x, scale, bias, mean, var = wide(case)
    if not case.attrs.get("training_mode") and case.n_out < 2:
        return []
    each = case.attrs.get("spatial", 1) == 0  # "compute the mean and variance across per feature over each mini-batch"
    axes, m = (0,) if each else tuple(k for k in range(x.ndim) if k != 1), case.attrs.get("momentum", 0.9)
    shape = [1, *scale.shape] if each else [1, -1] + [1] * (x.ndim - 2)
    now, spread = x.mean(axis=axes), x.var(axis=axes)
    y = (x - now.reshape(shape)) / np.sqrt(spread.reshape(shape) + case.attrs.get("epsilon", 1e-5)) * scale.reshape(shape) + bias.reshape(shape)
    return [y, mean * m + now * (1 - m), var * m + spread * (1 - m), now, spread][:case.n_out]


@formula("LRN", "Y = X / (bias + alpha / size * square_sum) ^ beta, where max(0, c - floor((size - 1) / 2)) <= i <= min(C - 1, c + "
         "ceil((size - 1) / 2))")
def lrn(case):
    x, a = wide(case)[0], case.attrs
    low, high = (a["size"] - 1) // 2, a["size"] // 2
    square = np.stack([np.sum(x[:, max(0, k - low):k + high + 1] ** 2, axis=1) for k in range(x.shape[1])], axis=1)
    return [x / (a.get("bias", 1.0) + a.get("alpha", 1e-4) / a["size"] * square) ** a.get("beta", 0.75)]


@formula("Cast", "fixed point to fixed point: \"when OOR, discard higher bits and reinterpret\"; to FLOAT8E8M0: the table of "
         "special values, rounding to powers of two by round_mode")
def cast(case):
    x = case.inputs[0]
    target, source = values.element_of(case.types["T2"])[1], values.NAME[x.dtype]
    if "string" in (source, target) and source != target:  # "plain floating-point representation"; "3.14", "1000", "1e-5", "INF", "NaN"
        if target == "string":
            texts = [str(int(v)) if values.is_int(source) else str(np.float32(v)) for v in x.flat]
            return [np.array(texts, object).reshape(x.shape)]
        numbers = [float(v) for v in x.flat]
        if target in values.FLOAT8 and case.attrs.get("saturate", 1):
            low, high = (float(v) for v in values.limits(target))
            numbers = [v if v != v else min(max(v, low), high) for v in numbers]
        return [np.array([int(v) for v in numbers] if values.is_int(target) else numbers).reshape(x.shape)]
    if values.is_int(target) and values.is_int(values.NAME[x.dtype]):
        bits = int(target.lstrip("uint"))
        low = x.astype(np.int64) & ((1 << bits) - 1) if bits < 64 else x.astype(np.int64)
        wraps = target[0] == "i" and bits < 64
        return [np.where(low >= 1 << (bits - 1), low - (1 << bits), low) if wraps else low]
    if target != "float8e8m0":
        raise ValueError("no formula")
    x = x.astype(np.float64)
    exponent = np.log2(np.where((x > 0) & np.isfinite(x), x, 1.0))
    whole = {"up": np.ceil, "down": np.floor, "nearest": nearest_power}[case.attrs.get("round_mode", "up")](exponent)
    top, low = (2.0**127, 2.0**-127) if case.attrs.get("saturate", 1) else (np.nan, np.nan)
    y = np.where(whole > 127, top, np.where(whole < -127, low, np.exp2(np.clip(whole, -127, 127))))
    return [np.where(np.isnan(x), np.nan, np.where(np.isinf(x), top, np.where(x == 0, low, y)))]


def nearest_power(exponent):
    """Of the two powers of two around 2^exponent the nearer one; between them the even one."""
    low = np.floor(exponent)
    part = np.round(np.exp2(exponent - low), 12)
    return np.where((part > 1.5) | ((part == 1.5) & (low % 2 == 0)), low + 1, low)


FORMULA["CastLike"] = cast


BODY = {"Identity": lambda x: x, "Add": np.add, "Sub": np.subtract, "Less": np.less}


def turn(graph, given):
    """What a body of a few operators gives; numpy is its meaning."""
    known = dict(zip((x.name for x in graph.input), given))
    for node in graph.node:
        if node.op_type == "Constant":
            known[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        else:
            known[node.output[0]] = BODY[node.op_type](*(known[x] for x in node.input))
    return [known[y.name] for y in graph.output]


@formula("Loop", "\"M: A maximum trip-count [...] Optional\", \"cond: A boolean termination condition. Optional\"; \"Final N loop carried "
         "dependency values then K scan_outputs\", each iteration's value one more element of a new first axis")
def loop(case):
    most, go, *state = case.inputs
    body, n, scans, i = case.attrs["body"], len(state), None, 0
    while (most is None or i < int(most)) and (go is None or bool(go)):
        go_on, *made = turn(body, [np.array(i), np.array(True) if go is None else go] + state)
        go = go_on if go is not None or most is None else None
        state, scans, i = made[:n], [old + [x] for old, x in zip(scans or [[] for _ in made[n:]], made[n:])], i + 1
    return state + [np.stack(x) for x in scans or []]


def of_list(case, name, k, missing):
    return (case.attrs.get(name) or [])[k] if k < len(case.attrs.get(name) or []) else missing


def scanned(case, body, state, inputs, length):
    """(states, scan outputs as lists) after `length` turns; each input is a list of its elements in order."""
    outs = None
    for i in range(length):
        made = turn(body, state + [x[i] for x in inputs])
        state = made[:len(state)]
        outs = [old + [x] for old, x in zip(outs or [[] for _ in made[len(state):]], made[len(state):])]
    return state, outs


@formula("Scan", "\"scan_input_directions [...] 1 if reverse\", \"scan_output_axes: the scan for the k-th scan output is appended along "
         "that axis\", \"scan_output_directions: [...] 0 indicates append and 1 indicates prepend\"; version 8: each sequence of a batch "
         "apart, of its length, \"directions\" of scan inputs; \"The remaining values have an undefined value\": 0 here")
def scan(case):
    body, m = case.attrs["body"], case.attrs["num_scan_inputs"]
    if case.version == 8:
        return old_scan(case, body, m)
    given = list(case.inputs)
    state, inputs = given[:-m], given[-m:]
    lists = []
    for k, x in enumerate(inputs):
        x = np.moveaxis(x, of_list(case, "scan_input_axes", k, 0), 0)
        lists.append(list(x[::-1] if of_list(case, "scan_input_directions", k, 0) else x))
    state, outs = scanned(case, body, state, lists, len(lists[0]))
    found = [np.stack(x[::-1] if of_list(case, "scan_output_directions", k, 0) else x, of_list(case, "scan_output_axes", k, 0))
             for k, x in enumerate(outs)]
    return state + found


def old_scan(case, body, m):
    lengths, *given = case.inputs
    states, inputs, batch = given[:-m], given[-m:], []
    most = inputs[0].shape[1]
    for b in range(inputs[0].shape[0]):
        n = most if lengths is None else int(lengths[b])
        lists = [list(x[b, :n][::-1] if of_list(case, "directions", k, 0) else x[b, :n]) for k, x in enumerate(inputs)]
        state, outs = scanned(case, body, [s[b] for s in states], lists, n)
        batch.append(state + [np.stack(x + [np.zeros_like(x[0])] * (most - n)) for x in outs])
    return [np.stack(x) for x in zip(*batch)]


@formula("Constant", "\"sparse_value: The value for the elements of the output tensor in sparse format\"; the output is a dense tensor")
def constant(case):
    sparse = case.attrs["sparse_value"]
    y = np.zeros(list(sparse.dims), numpy_helper.to_array(sparse.values).dtype)
    y.reshape(-1)[numpy_helper.to_array(sparse.indices)] = numpy_helper.to_array(sparse.values)
    return [y]


@formula("StringNormalizer", "\"Removal of stop words\" first, \"case_change_action [...] NONE, LOWER, UPPER\" then; \"is_case_sensitive: Whether "
         "the identification of stop words in X is case-sensitive\"; \"If all elements in X are dropped, the output will be the empty "
         "value of string tensor with shape [1]\" (the reference drops empty words and accents, too, and looks at the case after changing it)")
def string_normalizer(case):
    a = case.attrs
    exact, change = a.get("is_case_sensitive", 0), a.get("case_change_action", "NONE")
    stops = [w if exact else w.lower() for w in a.get("stopwords") or []]
    left = [w for w in case.inputs[0].tolist() if (w if exact else w.lower()) not in stops]
    return [np.array([{"NONE": str, "LOWER": str.lower, "UPPER": str.upper}[change](w) for w in left] or [""], object)]


@formula("QLinearMatMul", "y = saturate((a_scale * (a - a_zero_point)) x (b_scale * (b - b_zero_point)) / y_scale + y_zero_point), rounded "
         "to nearest even (the reference truncates 8-bit floats to integers)")
def qlinear_matmul(case):
    a, sa, za, b, sb, zb, sy, zy = wide(case)
    y = np.matmul((a - za) * sa, (b - zb) * sb) / sy
    target = values.element_of(case.types["T3"])[1]
    low, high = (float(x) for x in values.limits(target))
    return [np.clip((np.rint(y) if values.is_int(target) else y) + zy, low, high)]


@formula("QuantizeLinear", "y = saturate((x / y_scale) + y_zero_point) [...] it rounds to the nearest even [...] The type of `y_scale` determines the "
         "precision of the division operation between `x` and `y_scale`, unless the `precision` attribute is specified. (The reference divides "
         "bfloat16 and float16 in float32.)")
def quantize_linear(case):
    x, scale = case.inputs[:2]
    zero = case.inputs[2] if len(case.inputs) > 2 else None
    number = case.attrs.get("precision")
    to = values.DTYPE[next(n for n, k in values.NUMBER.items() if k == number)] if number else scale.dtype
    axis, block = case.attrs.get("axis", 1), case.attrs.get("block_size", 0)

    def spread(v):
        if block:
            return np.take(np.repeat(v, block, axis), range(x.shape[axis]), axis)
        return v.reshape([-1 if k == axis % x.ndim else 1 for k in range(x.ndim)]) if v.size > 1 or v.ndim else v

    out = values.element_of(case.types["T3"])[1] if zero is None else values.NAME[zero.dtype]
    divided = (x.astype(to).astype(np.float64) / spread(scale.astype(to).astype(np.float64))).astype(to).astype(np.float64)
    low, high = (float(v) for v in values.limits(out))
    shift = 0 if zero is None else spread(zero.astype(np.float64))
    if values.is_int(out):
        return [np.clip(np.rint(divided) + shift, low, high)]
    if not case.attrs.get("saturate", 1):
        raise NotImplementedError("what overflows: the reference has its tables")
    return [np.clip(divided + shift, low, high)]


@formula("DictVectorizer", "the output array will be equal in length to the index mapping vector [...] Any keys not present in the input "
         "dictionary, will be zero in the output array; Y: \"A 1-D tensor\" (ONNX Runtime gives it two axes, the reference doubles)")
def dict_vectorizer(case):
    given, words = case.inputs[0], case.attrs.get("string_vocabulary") or case.attrs["int64_vocabulary"]
    texts = "tensor(string)" in case.types.values()
    return [np.array([given.get(w, "" if texts else 0) for w in words], object if texts else np.float64)]
