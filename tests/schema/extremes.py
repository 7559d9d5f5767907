"""Forms made of a family's own: NaN, both infinities, and nothing along the first axis, where the family has no such form.

Once for each version of an operator, with its common types: form+nan, form+inf, form+empty of its first form that allows it.
"""

import numpy as np

# What has no batch in front, or says so elsewhere (sizes, indices, another input).
NO_BATCH = set("""AffineGrid CausalConvWithState Compress Det Einsum GRU LSTM RNN MatMulInteger NonMaxSuppression RotaryEmbedding
    SplitToSequence ReverseSequence STFT TfIdfVectorizer TopK Hardmax QLinearMatMul SequenceErase SequenceInsert OneHot""".split())
# Inputs that share the batch; else the first alone has it.
SHARED = {"Attention": (0, 1, 2, 4, 5), "DeformConv": (0, 2, 4), "GridSample": (0, 1), "LinearAttention": (0, 1, 2, 3, 4, 5), "MaxUnpool": (0, 1),
          "NegativeLogLikelihoodLoss": (0, 1), "RoiAlign": (1, 2), "SoftmaxCrossEntropyLoss": (0, 1), "TensorScatter": (0, 1, 2)}
GRAPHS = {"If", "Loop", "Scan", "SequenceMap"}


def floats(x):
    return isinstance(x, np.ndarray) and x.dtype in (np.float16, np.float32, np.float64)


def without_batch(case):
    reduced = case.op.startswith(("Reduce", "Arg")) or "axis" in case.attrs or "axes" in case.attrs
    inputs = list(case.inputs)
    if case.op in NO_BATCH or reduced or case.domain or not inputs:
        return None
    for k in SHARED.get(case.op, (0,)):
        if k >= len(inputs) or inputs[k] is None:
            continue
        if not isinstance(inputs[k], np.ndarray) or not inputs[k].ndim or k in case.fixed:
            return None
        inputs[k] = inputs[k][:0]
    return inputs


def sprinkled(case, numbers):
    first = case.inputs[0] if case.inputs else None
    if not floats(first) or first.size < 2:
        return None
    x = first.copy()
    x.reshape(-1)[[x.size // 3, x.size - 1][:len(numbers)]] = numbers
    return [x] + list(case.inputs[1:])


KINDS = {
    "nan": (lambda x: floats(x) and bool(np.isnan(x).any()), lambda case: sprinkled(case, [np.nan])),
    "inf": (lambda x: floats(x) and bool(np.isinf(x).any()), lambda case: sprinkled(case, [np.inf, -np.inf])),
    "empty": (lambda x: isinstance(x, np.ndarray) and x.size == 0, without_batch),
}


def of(forms):
    """The forms to add to those of a version."""
    if not forms or forms[0].op in GRAPHS or any(f.kind == "random" for f in forms):
        return
    for kind, (has, make) in KINDS.items():
        if any(has(x) for f in forms for x in f.inputs):
            continue
        for f in forms:
            inputs = make(f)
            if inputs:
                yield f._replace(name="%s+%s" % (f.name, kind), inputs=inputs)
                break
