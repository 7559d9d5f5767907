"""What the families' forms leave out: values of attributes, inputs and outputs that may be absent. Once for each version, with
its common types (drafts.also); coverage.py says what no form has."""

import numpy as np
from onnx import helper, numpy_helper

import families_control
import families_elementwise  # noqa: F401
import families_moves
import families_rows  # noqa: F401
import values
from drafts import also
from families_sums import ints, moderate, permuted, scalar

RECURRENT = {"RNN": 1, "GRU": 3, "LSTM": 4}


# ---- windows and sums of products ----


@also("Conv ConvTranspose ConvInteger QLinearConv")
def paddings_of_convolutions(c):
    turned, quantized = c.op == "ConvTranspose", c.op in ("ConvInteger", "QLinearConv")
    weight = 3 if c.op == "QLinearConv" else 1

    def inputs(x, w):
        x, w = (c.draw(k, s) if quantized else moderate(c, k, s) for k, s in ((0, x), (weight, w)))
        if c.op != "QLinearConv":
            return [x, w]
        return [
            x,
            scalar(c, 1, 0.5),
            scalar(c, 2, 3),
            w,
            scalar(c, 4, 0.25),
            scalar(c, 5, 1),
            scalar(c, 6, 4.0),
            scalar(c, 7, 2),
        ]

    image, kernel, grouped = (1, 2, 5, 6), (2, 2, 3, 3) if turned else (3, 2, 3, 3), (4, 2, 2, 3)
    for pad in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        yield c.case("auto-" + pad, inputs(image, kernel), auto_pad=pad, strides=[2, 2], kernel_shape=[3, 3])
    yield c.case("uneven", inputs(image, kernel), pads=[0, 1, 2, 0], dilations=[1, 2])
    yield c.case("grouped-dilated", inputs((2, 4, 6, 6), grouped), group=2, dilations=[2, 1], strides=[1, 2])
    if turned:
        yield c.case("auto-shape", inputs(image, kernel), auto_pad="SAME_LOWER", strides=[2, 2], output_shape=[9, 11])


@also("AveragePool MaxPool LpPool")
def paddings_of_pools(c):
    if c.op == "LpPool" and c.version == 1:
        x = moderate(c, 0, (1, 2, 7, 6))
        yield c.case("default", [x], kernel_shape=[2, 2])
        yield c.case("pads", [x], kernel_shape=[3, 3], p=2.0, pads=[1, 1, 1, 1], strides=[2, 2])
        for pad in ("VALID", "SAME_UPPER", "SAME_LOWER"):
            yield c.case("auto-" + pad, [x], kernel_shape=[2, 3], p=2.0, auto_pad=pad, strides=[2, 2])
        return
    x = moderate(c, 0, (1, 2, 7, 6))
    for pad in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        yield c.case("auto-" + pad, [x], kernel_shape=[2, 3], auto_pad=pad, strides=[2, 2])
    yield c.case("uneven", [x], kernel_shape=[3, 3], pads=[0, 1, 2, 0], strides=[1, 2])
    if c.has("count_include_pad"):
        yield c.case(
            "include-SAME", [x], kernel_shape=[3, 3], auto_pad="SAME_UPPER", count_include_pad=1, strides=[2, 2]
        )
        if c.has("ceil_mode"):
            yield c.case(
                "include-ceil",
                [x],
                kernel_shape=[3, 3],
                pads=[1, 1, 1, 1],
                count_include_pad=1,
                strides=[2, 2],
                ceil_mode=1,
            )
    if c.has("dilations"):
        yield c.case("dilated-ceil", [x], kernel_shape=[2, 2], dilations=[2, 3], strides=[2, 2], ceil_mode=1)
    if c.op == "MaxPool" and c.has("storage_order"):
        yield c.case(
            "columns-volume",
            [permuted(c, (1, 1, 4, 3, 5))],
            n_out=2,
            kernel_shape=[2, 2, 2],
            storage_order=1,
            strides=[2, 1, 2],
        )


@also("DeformConv")
def groups_of_deform_conv(c):
    x, w = c.draw(0, (2, 4, 5, 5), "finite"), c.draw(1, (4, 2, 2, 2), "finite")
    yield c.case("groups", [x, w, c.draw(2, (2, 8, 4, 4), "unit")], group=2)
    yield c.case(
        "offset-groups",
        [x, w, c.draw(2, (2, 16, 4, 4), "unit"), None, c.draw(4, (2, 8, 4, 4), "unit")],
        group=2,
        offset_group=2,
        atol=1e-5,
        kernel_shape=[2, 2],
    )
    yield c.case("dilated", [x, w, c.draw(2, (2, 8, 3, 3), "unit")], group=2, dilations=[2, 2])


@also("Col2Im")
def dilated_columns(c):
    yield c.case("dilated", [moderate(c, 0, (2, 8, 9)), ints(5, 5), ints(2, 2)], (1, 2), dilations=[2, 2])
    yield c.case("line", [moderate(c, 0, (1, 6, 3)), ints(6), ints(3)], (1, 2), pads=[1, 1], strides=[2], dilations=[1])


@also("MaxUnpool")
def unpool_pads(c):
    x = c.draw(0, (1, 1, 2, 2), "finite")
    yield c.case("no-strides", [x, ints(0, 2, 6, 8).reshape(1, 1, 2, 2)], kernel_shape=[2, 2])
    yield c.case(
        "pads", [x, ints(0, 3, 5, 8).reshape(1, 1, 2, 2)], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
    )


@also("RoiAlign")
def roi_defaults(c):
    rois = np.array([[0, 0, 4, 4], [1, 1, 3, 5]]).astype(values.DTYPE[c.elem(1)])
    yield c.case("default", [c.draw(0, (2, 2, 6, 6), "finite"), rois, np.array([0, 1], np.int64)])


@also("Resize")
def resize_rest(c):
    if c.version < 11:  # each axis rounds in its own direction
        for name, by in (("both", (1, 0.5, 3, 0.6)), ("down", (1, 1, 0.5, 0.4)), ("up", (1, 1, 3, 1.6))):
            inputs = [c.draw(0, (1, 2, 5, 7), "finite"), np.array(by, np.float32)]
            yield c.case("ways-" + name, inputs, (1,))
            yield c.case("ways-running-" + name, inputs)
        return
    x, real = c.draw(0, (1, 2, 5, 4), "finite"), values.DTYPE[c.elem(1)]
    roi = np.zeros(0, real) if c.version < 13 else None
    none = np.zeros(0, np.float32) if c.version < 13 else None
    up, down = np.array([1, 1, 1.6, 2], np.float32), np.array([1, 1, 0.6, 0.5], np.float32)
    for name, by in (("up", up), ("down", down)):
        yield c.case("a-" + name, [x, roi, by], (2,), mode="cubic", cubic_coeff_a=-0.5, atol=1e-5)
        yield c.case("exclude-" + name, [x, roi, by], (2,), mode="cubic", exclude_outside=1, atol=1e-5)
    crop = np.array([0, 0, -0.3, 0.2, 1, 1, 0.8, 1.4]).astype(real)
    for mode in ("nearest", "linear", "cubic"):
        yield c.case(
            "outside-" + mode,
            [x, crop, none, ints(1, 2, 6, 7)],
            (1, 2, 3),
            mode=mode,
            extrapolation_value=-7.5,
            coordinate_transformation_mode="tf_crop_and_resize",
            atol=1e-5,
        )
    for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        yield c.case(
            "asymmetric-" + rounding,
            [x, roi, up],
            (2,),
            coordinate_transformation_mode="asymmetric",
            nearest_mode=rounding,
        )
    if c.version < 18:
        return
    for policy in ("stretch", "not_larger", "not_smaller"):
        yield c.case(
            "keep-" + policy,
            [x, None, None, ints(7, 9)],
            (3,),
            mode="linear",
            keep_aspect_ratio_policy=policy,
            axes=[2, 3],
            atol=1e-5,
        )
    yield c.case("axes", [x, None, np.array([2, 0.8], np.float32)], (2,), mode="linear", axes=[3, 2], atol=1e-5)
    yield c.case("axes-negative", [x, None, np.array([1.5], np.float32)], (2,), mode="nearest", axes=[-1])
    yield c.case(
        "axes-crop",
        [x, np.array([0.1, 0.2, 0.9, 0.7]).astype(real), None, ints(4, 6)],
        (1, 3),
        mode="linear",
        axes=[2, 3],
        atol=1e-5,
        coordinate_transformation_mode="tf_crop_and_resize",
    )
    yield c.case("antialias-exclude", [x, None, down], (2,), mode="cubic", antialias=1, exclude_outside=1, atol=1e-5)


@also("DFT")
def dft_rest(c):
    both = c.draw(0, (2, 5, 2), "unit")
    where = {"axis": -2} if c.version < 20 else {}
    yield c.case(
        "negative-axis", [both] + ([] if where else [None, np.array(-2, np.int64)]), () if where else (2,), **where
    )
    yield c.case("whole", [both], onesided=0, inverse=0)


# ---- recurrences ----

# With what each takes: alpha, beta, or nothing.
ACTIVATIONS = (
    ("Relu", None, None),
    ("Tanh", None, None),
    ("Sigmoid", None, None),
    ("Affine", 0.75, 0.25),
    ("LeakyRelu", 0.1, None),
    ("ThresholdedRelu", 0.25, None),
    ("ScaledTanh", 0.8, 0.6),
    ("HardSigmoid", 0.3, 0.4),
    ("Elu", 0.7, None),
    ("Softsign", None, None),
    ("Softplus", None, None),
)


def chosen(some):
    """The attributes that say these activations: the lists of alpha and beta have an entry for each that takes one, in order."""
    given = {
        "activations": [n for n, _, _ in some],
        "activation_alpha": [a for _, a, _ in some if a is not None],
        "activation_beta": [b for _, _, b in some if b is not None],
    }
    return {n: x for n, x in given.items() if x}


@also("RNN GRU LSTM")
def activations(c):
    gates, functions = RECURRENT[c.op], {"RNN": 1, "GRU": 2, "LSTM": 3}[c.op]
    length, batch, size, hidden = 3, 2, 3, 4
    outs = 3 if c.op == "LSTM" else 2

    def weights(n):
        return [
            c.draw(0, (length, batch, size), "unit"),
            c.draw(1, (n, gates * hidden, size), "unit"),
            c.draw(2, (n, gates * hidden, hidden), "unit"),
            c.draw(3, (n, 2 * gates * hidden), "unit"),
        ]

    whole = {"hidden_size": hidden, **({"output_sequence": 1} if c.has("output_sequence") else {})}
    for k, (name, _, _) in enumerate(ACTIVATIONS):
        some = [ACTIVATIONS[(k + i) % len(ACTIVATIONS)] for i in range(functions)]
        yield c.case("act-" + name, weights(1), (1, 2, 3), n_out=outs, **chosen(some), **whole)
    some = [ACTIVATIONS[(3 * i + 2) % len(ACTIVATIONS)] for i in range(2 * functions)]
    yield c.case("act-both", weights(2), (1, 2, 3), n_out=outs, direction="bidirectional", **chosen(some), **whole)
    yield c.case("sequence-only", weights(1), (1, 2, 3), n_out=1, **whole)
    if c.has("output_sequence"):
        yield c.case("last-only", weights(1), (1, 2, 3), n_out=outs, hidden_size=hidden)
    yield c.case("no-size", weights(1), n_out=outs, **{n: v for n, v in whole.items() if n != "hidden_size"})
    if c.has("input_forget"):
        yield c.case("coupled", weights(1), (1, 2, 3), n_out=outs, input_forget=1, **whole)
    if c.has("layout"):
        x, *rest = weights(2)
        start = [c.draw(5, (batch, 2, hidden), "unit") for _ in range(2 if c.op == "LSTM" else 1)]
        yield c.case(
            "layout-both",
            [x.transpose(1, 0, 2)] + rest + [None] + start,
            (1, 2, 3),
            n_out=outs,
            layout=1,
            direction="bidirectional",
            **whole
        )


# ---- attention ----


@also("Attention")
def attention_rest(c):
    def some(k, *shape):
        return c.draw(k, shape, "unit")

    q, k, v = some(0, 2, 2, 3, 4), some(1, 2, 2, 5, 4), some(2, 2, 2, 5, 4)
    past = [some(4, 2, 2, 2, 4), some(5, 2, 2, 2, 4)]
    for to in ("float", "float16", "double", "bfloat16"):
        step = values.EPSILON[to] if to.endswith("16") else 0.0
        yield c.case("softmax-" + to, [q, k, v], softmax_precision=values.NUMBER[to], rtol=2 * step, atol=step)
    yield c.case("past-causal", [q, k, v, None] + past, n_out=3, is_causal=1)
    yield c.case("past-mask", [q, k, v, c.draw(3, (2, 1, 3, 7), "small")] + past, n_out=3, scale=0.5)
    if c.version < 24:
        return
    for name, count, more in (
        ("", (5, 3), {}),
        ("-causal", (5, 3), {"is_causal": 1}),
        ("-all", (5, 5), {"is_causal": 1, "softcap": 1.5}),
    ):
        yield c.case("nonpad" + name, [q, k, v, None, None, None, ints(*count)], **more)
    yield c.case("nonpad-mask", [q, k, v, c.draw(3, (3, 5), "small"), None, None, ints(2, 4)])
    yield c.case(
        "nonpad-rank3",
        [some(0, 2, 3, 8), some(1, 2, 5, 8), some(2, 2, 5, 8), None, None, None, ints(4, 3)],
        q_num_heads=2,
        kv_num_heads=2,
    )
    if not c.has("left_window_size"):
        return
    long = [some(0, 1, 2, 6, 4), some(1, 1, 2, 6, 4), some(2, 1, 2, 6, 4)]
    for name, more in (
        ("left", {"left_window_size": 2}),
        ("right", {"right_window_size": 1}),
        ("both", {"left_window_size": 1, "right_window_size": 2}),
        ("zero", {"left_window_size": 0, "right_window_size": 0}),
        ("causal", {"left_window_size": 2, "is_causal": 1}),
        ("open", {"left_window_size": -1, "right_window_size": -1}),
    ):
        yield c.case("window-" + name, long, **more)
    yield c.case("window-past", [q, k, v, None] + past, n_out=3, left_window_size=2, is_causal=1)
    yield c.case("window-nonpad", [q, k, v, None, None, None, ints(5, 3)], left_window_size=1, is_causal=1)


@also("LinearAttention")
def linear_attention_rest(c):
    def some(k, *shape):
        return c.draw(k, shape, "unit")

    q, k, v, decay, beta = some(0, 2, 3, 8), some(1, 2, 3, 8), some(2, 2, 3, 6), some(4, 2, 3, 8), some(5, 2, 3, 2)
    heads = {"q_num_heads": 2, "kv_num_heads": 2}
    for rule, rest in (
        ("linear", []),
        ("gated", [None, decay]),
        ("delta", [None, None, beta]),
        ("gated_delta", [None, decay, beta]),
    ):
        yield c.case("fresh-" + rule, [q, k, v] + rest, n_out=2, update_rule=rule, **heads)
        yield c.case("scaled-" + rule, [q, k, v] + rest, n_out=2, update_rule=rule, scale=0.3, chunk_size=2, **heads)
    yield c.case("decay-of-heads", [q, k, v, None, some(4, 2, 3, 2), some(5, 2, 3, 1)], n_out=2, **heads)
    yield c.case("groups", [some(0, 2, 3, 16), k, v, None, decay, beta], n_out=2, q_num_heads=4, kv_num_heads=2)


@also("CausalConvWithState")
def causal_activations(c):
    x, w = c.draw(0, (2, 3, 6), "unit"), c.draw(1, (3, 1, 4), "unit")
    for name in ("none", "silu", "swish"):
        yield c.case("act-" + name, [x, w, c.draw(2, (3,), "unit")], n_out=2, activation=name)


# ---- normalisation, losses, numbers ----


@also("LayerNormalization RMSNormalization GroupNormalization InstanceNormalization BatchNormalization")
def normalisations(c):
    shape, channels = (2, 4, 3, 2), (4,)
    x = c.draw(0, shape, "finite")
    if c.op in ("InstanceNormalization", "GroupNormalization"):
        per = (2,) if c.op[0] == "G" and c.version < 21 else channels
        more = {"num_groups": 2} if c.op[0] == "G" else {}
        pair = [c.draw(1, per, "finite"), c.draw(2, per, "finite")]
        yield c.case("default", [x] + pair, **more)
        yield c.case("epsilon", [x] + pair, epsilon=0.5, **more)
        if c.has("stash_type"):
            yield c.case("stash", [x] + pair, stash_type=1, **more)
    elif c.op == "BatchNormalization":
        rest = [c.draw(k, channels, "finite") for k in (1, 2, 3)] + [c.draw(4, channels, "positive")]
        old = dict(
            {"is_test": 1} if c.version < 7 else {}, **({"consumed_inputs": [0, 0, 0, 1, 1]} if c.version == 1 else {})
        )
        yield c.case("default", [x] + rest, **old)
        yield c.case("momentum", [x] + rest, momentum=0.5, **old)
        if c.version >= 9:  # "single dimension input of size N in which case C is assumed to be 1"
            one = [c.draw(k, (1,), "finite") for k in (1, 2, 3)] + [c.draw(4, (1,), "positive")]
            yield c.case("one-axis", [c.draw(0, (5,), "finite")] + one)
        train = {k: v for k, v in old.items() if k != "is_test"}
        for n_out in (2, 3, 4, 5) if c.version < 14 else ():
            yield c.case("training%d" % n_out, [x] + rest, n_out=n_out, momentum=0.5, **train)
        if c.has("spatial"):
            each = [c.draw(k, shape[1:], "finite") for k in (1, 2, 3)] + [c.draw(4, shape[1:], "positive")]
            yield c.case("activations", [x] + each, spatial=0, **old)
            yield c.case("activations-training", [x] + each, spatial=0, n_out=5, **train)
    else:
        scale = [c.draw(1, shape[-1:], "finite")]
        yield c.case("default", [x] + scale)
        yield c.case("stash", [x] + scale, stash_type=1)
        if c.op[0] == "L":
            yield c.case("mean", [x] + scale, n_out=2)


@also("NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss")
def loss_defaults(c):
    target = c.rng.integers(0, 5, (4,)).astype(values.DTYPE[c.elem(1)])
    yield c.case("default", [c.draw(0, (4, 5), "finite"), target])
    yield c.case(
        "weight-ignore", [c.draw(0, (4, 5), "finite"), target, c.draw(2, (5,), "positive")], ignore_index=int(target[1])
    )


@also("LpNormalization")
def lp_default(c):
    yield c.case("default", [c.draw(0, (3, 5), "finite")])


@also("IsInf")
def one_infinity(c):
    x = c.draw(0, (23,))
    yield c.case("negative", [x], detect_positive=0)
    yield c.case("neither", [x], detect_positive=0, detect_negative=0)


@also("Gelu")
def gelu_none(c):
    yield c.case("none", [c.draw(0, (23,))], approximate="none")


@also("TopK")
def unsorted(c):
    """With one element there is one order."""
    if c.has("sorted"):
        x = (c.rng.permutation(21) % 100).reshape(3, 7).astype(values.DTYPE[c.elem()])
        yield c.case("unsorted", [x, ints(1)], (1,), n_out=2, sorted=0)
        yield c.case("unsorted-low", [x, ints(1)], (1,), n_out=2, sorted=0, largest=0, axis=0)


@also("Range")
def range_stash(c):
    if c.has("stash_type"):
        for to in ("float", "double", "float16"):
            yield c.case(
                "stash-" + to, [scalar(c, k, x) for k, x in enumerate((1, 9, 2))], stash_type=values.NUMBER[to]
            )


@also("Dropout")
def dropout_seeds(c):
    x = c.draw(0, (3, 5), "finite")
    if c.version < 7:
        yield c.case("training", [x], kind="random")
        yield c.case("both", [x], n_out=2, kind="random", ratio=0.75)
    elif c.version >= 12:
        yield c.case("seed", [x, scalar(c, 1, 0.5), np.array(True)], kind="random", seed=3)
        yield c.case("seed-off", [x, scalar(c, 1, 0.5)], seed=3)


@also("RandomNormal RandomUniform RandomNormalLike RandomUniformLike Bernoulli Multinomial")
def random_defaults(c):
    like = "Like" in c.op
    inputs = (
        [c.draw(0, (3, 4), "finite")]
        if like or c.op == "Multinomial"
        else [np.abs(c.draw(0, (3, 4), "unit"))] if c.op == "Bernoulli" else []
    )
    more = {"shape": [3, 4]} if not inputs else {"sample_size": 5} if c.op == "Multinomial" else {}
    range_of = (
        {"mean": 10.0, "scale": 0.5} if "Normal" in c.op else {"low": -3.0, "high": -2.0} if "Uniform" in c.op else {}
    )
    types = dict(
        c.types,
        **(
            {"T2": "tensor(int32)" if c.op == "Multinomial" else c.types.get("T1", "tensor(float)")}
            if "T2" in c.types
            else {}
        )
    )
    yield c.case("default", inputs, kind="random", types=types, **more)
    if range_of:
        yield c.case("range", inputs, kind="random", types=types, **range_of, **more)


@also("Adagrad Adam Momentum", "ai.onnx.preview.training")
def rates(c):
    tensors = [c.draw(2, (4,), "finite"), c.draw(2, (4,), "finite")] + [
        c.draw(2, (4,), "positive") for _ in range(2 if c.op == "Adam" else 1)
    ]
    some = {
        "Adagrad": {"decay_factor": 0.1, "epsilon": 0.01},
        "Adam": {"alpha": 0.8, "beta": 0.95, "epsilon": 0.01, "norm_coefficient_post": 0.02},
        "Momentum": {"alpha": 0.9, "beta": 0.5, "norm_coefficient": 0.0, "mode": "standard"},
    }[c.op]
    n_out = len(tensors) - 1
    yield c.case("given", [c.draw(0, (), "positive"), np.array(3, np.int64)] + tensors, n_out=n_out, **some)
    if c.op != "Momentum":
        yield c.case("default", [c.draw(0, (), "positive"), np.array(3, np.int64)] + tensors, n_out=n_out)


# ---- quantisation ----


@also("QuantizeLinear")
def precision(c):
    if c.has("precision"):
        x = c.draw(0, (4, 6), "finite")
        for to in ("float", "double", "float16", "bfloat16"):
            yield c.case(
                "in-" + to,
                [x, c.draw(1, (), "positive"), np.array(3, np.uint8)],
                types=dict(c.types, T3="tensor(uint8)"),
                precision=values.NUMBER[to],
            )


# ---- what changes place ----


@also("Constant")
def constant_sparse(c):
    if c.has("sparse_value"):
        places = numpy_helper.from_array(ints(1, 4), "places")
        some = numpy_helper.from_array(values.draw(c.rng, c.out_elem(), (2,), "finite"), "some")
        yield c.case("sparse", [], sparse_value=helper.make_sparse_tensor(some, places, [2, 3]))


@also("Pad")
def pad_value(c):
    if c.version == 1:
        yield c.case("value", [c.draw(0, (3, 4))], paddings=[1, 0, 2, 1], value=2.5)
    if c.version == 2:
        yield c.case("default", [c.draw(0, (3, 4))], pads=[1, 0, 2, 1])
    for mode in ("reflect", "edge") + (("wrap",) if c.version >= 19 else ()) if c.version >= 11 else ():
        for k, pads in enumerate(((-1, 2, 2, -1), (2, -2, -2, 3))):  # what is removed is not repeated
            inputs = [c.draw(0, (5, 6)), ints(*pads)]
            yield c.case("crop-%s%d" % (mode, k), inputs, (1,), mode=mode)
            yield c.case("crop-running-%s%d" % (mode, k), inputs, mode=mode)


@also("Split SplitToSequence")
def split_axes(c):
    x = c.draw(0, (2, 4), "finite")
    if c.op == "SplitToSequence":
        types = dict(c.types, S="seq(%s)" % c.types["T"])
        for axis in (1, -1):
            yield c.case("axis%d" % axis, [x], types=types, axis=axis)
        yield c.case("axis-dropped", [x], types=types, axis=1, keepdims=0)
        yield c.case("axis-size", [x, np.array(3, np.int64)], (1,), types=types, axis=1)
        return
    yield c.case("default", [x], n_out=2, **({"num_outputs": 2} if c.version >= 18 else {}))
    if c.version == 1:
        yield c.case("attribute", [x], n_out=2, axis=1, split=[3, 1])
    if c.version >= 11:
        yield c.case("negative", [x], n_out=2, axis=-1, **({"num_outputs": 2} if c.version >= 18 else {}))


@also("StringNormalizer")
def locales(c):
    x = np.array(["Monday", "tuesday", "MONDAY", "Zürich", ""], object)
    for action in ("NONE", "LOWER", "UPPER"):
        for exact in (0, 1):
            yield c.case(
                "%s-%d" % (action, exact), [x], case_change_action=action, is_case_sensitive=exact, stopwords=["monday"]
            )
    yield c.case("locale", [x], case_change_action="LOWER", locale="en_US")


@also("TfIdfVectorizer")
def grams(c):
    words = c.elem() == "string"
    pool = {"pool_strings": ["a", "b", "ab", "a", "b"]} if words else {"pool_int64s": [2, 3, 4, 2, 3]}
    x = c.draw(0, (12,), "small")
    for mode in ("TF", "IDF", "TFIDF"):
        yield c.case(
            "plain-" + mode,
            [x],
            mode=mode,
            min_gram_length=2,
            max_gram_length=2,
            max_skip_count=0,
            ngram_counts=[0, 3],
            ngram_indexes=[1, 0, 2, 3],
            **pool
        )
    yield c.case(
        "single",
        [x],
        mode="TF",
        min_gram_length=1,
        max_gram_length=1,
        max_skip_count=3,
        ngram_counts=[0, 3],
        ngram_indexes=[1, 0, 2, 3],
        **pool
    )


@also("OneHot")
def one_hot_axes(c):
    for axis in (1, -2):
        yield c.case(
            "axis%d" % axis,
            [scalar(c, 0, [[0, 3, 1], [4, 2, 2]]), scalar(c, 1, 5), c.draw(2, (2,), "small")],
            (1,),
            axis=axis,
        )


@also("Cast CastLike")
def cast_defaults(c):
    if not c.has("saturate"):
        return
    like = c.op == "CastLike"
    for target, more in (
        ("float8e4m3fn", {"saturate": 1}),
        ("float8e5m2", {"saturate": 1}),
        ("float8e8m0", {"round_mode": "up"}),
    ):
        if "tensor(%s)" % target not in dict(families_moves.all_constraints(c))["T2"] or not all(
            c.has(n) for n in more
        ):
            continue
        x = families_moves.castable(c, "float", target, (37,), True)
        inputs = [x, values.draw(c.rng, target, (1,), "finite")] if like else [x]
        yield c.case(
            "given-" + target,
            inputs,
            types=dict(c.types, T1="tensor(float)", T2="tensor(%s)" % target),
            **(more if like else dict(more, to=values.NUMBER[target]))
        )


@also("SequenceEmpty")
def sequence_default(c):
    yield c.case("default", [], types=dict(c.types, S="seq(tensor(float))"))


# ---- defaults ----


@also("AffineGrid ArgMax ArgMin GatherElements GridSample Upsample Resize Multinomial MelWeightMatrix")
def defaults(c):
    if c.op == "AffineGrid":
        yield c.case("default", [c.draw(0, (2, 2, 3), "unit"), ints(2, 1, 3, 4)], (1,))
    elif c.op in ("ArgMax", "ArgMin"):
        yield c.case("default", [c.draw(0, (5, 4), "finite")])
    elif c.op == "GatherElements":
        yield c.case("default", [c.draw(0, (3, 2)), scalar(c, 1, [[0, 2], [1, 1]])])
    elif c.op == "GridSample":
        yield c.case("default", [c.draw(0, (1, 2, 4, 5), "finite"), c.draw(1, (1, 3, 3, 2), "unit")], atol=1e-5)
    elif c.op == "Multinomial":
        yield c.case("one", [c.draw(0, (3, 4), "finite")], kind="random", types=dict(c.types, T2="tensor(int32)"))
    elif c.op == "MelWeightMatrix":
        yield c.case(
            "default",
            [scalar(c, k, x) for k, x in enumerate((8, 64, 8192, 0.0, 4096.0))],
            types=dict(c.types, T3="tensor(float)"),
        )
    elif c.op == "Resize" and c.version == 10:
        yield c.case("default", [c.draw(0, (1, 2, 3, 4)), np.array([1, 1, 2, 1.5], np.float32)], (1,), kind="move")
    elif c.op == "Upsample":
        by = {1: {"height_scale": 2.0, "width_scale": 3.0}, 7: {"scales": [1.0, 1.0, 2.0, 3.0]}}.get(c.version, {})
        yield c.case(
            "default",
            [c.draw(0, (1, 2, 3, 3))] + ([] if by else [np.array([1, 1, 2, 3], np.float32)]),
            (1,),
            kind="move",
            **by
        )


# ---- control flow ----


@also("Loop")
def loop_without(c):
    """`M` or `cond` absent: the body ends the loop, by a constant where no operator of the version compares integers."""
    kind = families_control.type_proto(c.types["V"])
    flag, count = helper.make_tensor_type_proto(9, []), helper.make_tensor_type_proto(7, [])

    def turn(until):
        if until is None:
            stop = [helper.make_node("Identity", ["go_in"], ["go"])]
        elif c.version < 9:
            stop = [helper.make_node("Constant", [], ["go"], value=numpy_helper.from_array(np.array(False)))]
        else:
            stop = [
                helper.make_node("Constant", [], ["last"], value=numpy_helper.from_array(np.array(until, np.int64))),
                helper.make_node("Less", ["i", "last"], ["go"]),
            ]
        return families_control.body(
            [("i", count), ("go_in", flag), ("v_in", kind)],
            stop
            + [
                helper.make_node("Add", ["v_in", "v_in"], ["v"], **({"broadcast": 0} if c.version < 7 else {})),
                helper.make_node("Identity", ["v"], ["each"]),
            ],
            [("go", flag), ("v", kind), ("each", kind)],
        )

    v, yes, no = c.draw(2, (2, 3), "small"), np.array(True), np.array(False)
    for fixed in ((), (0, 1)):
        tail = "-fixed" if fixed else ""
        yield c.case("no-count" + tail, [None, yes, v], fixed, n_out=2, body=turn(2))
        yield c.case("no-condition" + tail, [np.array(3, np.int64), None, v], fixed, n_out=2, body=turn(None))
        yield c.case("condition-ends" + tail, [np.array(9, np.int64), yes, v], fixed, n_out=2, body=turn(1))
        yield c.case(
            "never" + tail,
            [None, no, v],
            fixed,
            n_out=1,
            body=families_control.body(
                [("i", count), ("go_in", flag), ("v_in", kind)],
                [helper.make_node("Identity", ["go_in"], ["go"]), helper.make_node("Identity", ["v_in"], ["v"])],
                [("go", flag), ("v", kind)],
            ),
        )
    yield c.case("neither", [None, None, v], n_out=2, body=turn(3))


@also("Scan")
def scan_rest(c):
    kind = families_control.type_proto(c.types["V"])

    def step(k):
        ports = [("s_in", kind)] + [("x%d_in" % i, kind) for i in range(k)]
        nodes = [helper.make_node("Add", ["s_in", "x0_in"], ["s"]), helper.make_node("Identity", ["s"], ["x0"])]
        nodes += [helper.make_node("Sub", ["s_in", "x1_in"], ["x1"])] if k > 1 else []
        return families_control.body(ports, nodes, [("s", kind)] + [("x%d" % i, kind) for i in range(k)])

    def some(*shape):
        return c.draw(1, shape, "small")

    if c.version == 8:
        yield c.case(
            "back", [None, some(2, 3), some(2, 4, 3)], n_out=2, body=step(1), num_scan_inputs=1, directions=[1]
        )
        yield c.case("lengths", [ints(4, 2), some(2, 3), some(2, 4, 3)], n_out=2, body=step(1), num_scan_inputs=1)
        yield c.case(
            "lengths-two",
            [ints(3, 4), some(2, 3), some(2, 4, 3), some(2, 4, 3)],
            n_out=3,
            body=step(2),
            num_scan_inputs=2,
            directions=[0, 1],
        )
        return
    two = [some(3), some(4, 3), some(3, 4)]
    yield c.case(
        "two",
        two,
        n_out=3,
        body=step(2),
        num_scan_inputs=2,
        scan_input_axes=[0, 1],
        scan_input_directions=[0, 1],
        scan_output_axes=[1, 0],
        scan_output_directions=[1, 0],
    )
    yield c.case(
        "output-back", [some(3), some(4, 3)], n_out=2, body=step(1), num_scan_inputs=1, scan_output_directions=[1]
    )
    if c.version >= 11:
        yield c.case(
            "negative-axes",
            [some(3), some(3, 4)],
            n_out=2,
            body=step(1),
            num_scan_inputs=1,
            scan_input_axes=[-1],
            scan_output_axes=[-1],
        )
