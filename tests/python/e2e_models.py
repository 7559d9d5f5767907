"""The models that models_e2e.py visits: where they come from, which sizes and values their inputs take.

Own graphs are in models/graphs (weights are filled in by models/hydrate.py); real ones stay outside of the repository
(--real DIR). A symbol is a dim that the file leaves open: a name, or 'INPUT:AXIS' where it has none.
"""

import os

import numpy as np
import onnx

import harness
from harness import TOP, fed_inputs, read_tensor

INPUTS = 3


def dims_with_names(value):
    """Dims of a model input: numbers, or the symbol of an open one. 0, -1 and '?' are open and have no name."""
    dims = []
    for axis, d in enumerate(value.type.tensor_type.shape.dim):
        named = d.dim_param and d.dim_param.replace(".", "_").replace("-", "_").isidentifier()
        dims.append(d.dim_value if d.dim_value > 0 else d.dim_param if named else "%s:%d" % (value.name, axis))
    return dims


class Model:
    """One model file. `sizes`: (least, most, step) of a symbol; `ints`: range of an integer input; `uniform`: floats
    are in 0..uniform; `scale`: spread of other floats (0: one for each input); `extra`: more sizes for the dynamic
    artifact under --full; `step`: the float outputs come in steps of that size; `floor`: the oracle's own error."""

    def __init__(
        self, name, path, sizes=None, ints=None, extra=(), large=False, uniform=0, step=0, scale=0, floor=0
    ):
        self.name, self.path, self.large, self.uniform = name, path, large, uniform
        self.proto = onnx.load(path, load_external_data=False)
        self.inputs = fed_inputs(self.proto)
        self.dims = {v.name: dims_with_names(v) for v in self.inputs}
        self.symbols = sorted({d for dims in self.dims.values() for d in dims if isinstance(d, str)})
        self.range, self.ints, self.extra, self.step = sizes or {}, ints or {}, extra, step
        self.scale, self.floor = scale, floor
        folder = os.path.join(os.path.dirname(path), "test_data_set_0")
        self.stored = folder if os.path.isdir(folder) else None
        del self.proto.graph.initializer[:]

    def sizes(self, rng, k):
        """A value for every symbol: the least comes first, then anything in its range."""
        made = {}
        for s in self.symbols:
            low, high = self.range.get(s, (1, 2 if self.large else 6))[:2]
            step = self.range[s][2] if len(self.range.get(s, ())) > 2 else 1
            steps = (high - low) // step
            made[s] = low + step * int(rng.integers(1, steps + 1)) if k and steps else low
        return made

    def shape(self, value, sizes):
        return [sizes[d] if isinstance(d, str) else d for d in self.dims[value.name]]

    def value(self, rng, value, sizes, k):
        shape = self.shape(value, sizes)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if np.issubdtype(dtype, np.floating):
            if self.uniform:
                return (rng.random(shape) * self.uniform).astype(dtype)
            # noise of one spread averages out in nets of random weights
            spread, middle = (self.scale, 0) if self.scale else ((1, 0), (8, 4), (3, -2))[k % 3]
            return (rng.standard_normal(shape) * spread + middle).astype(dtype)
        low, high = self.ints[value.name]
        return rng.integers(low, high, shape).astype(dtype)

    def values(self, rng, sizes, k):
        """{input name: array} for the given sizes."""
        return {v.name: self.value(rng, v, sizes, k) for v in self.inputs}

    def flags(self, sizes):
        """What fixes these sizes on the command line: --dim for names, --shape for inputs with nameless dims."""
        flags = ["--dim=%s=%d" % (s, n) for s, n in sizes.items() if ":" not in s]
        for v in self.inputs:
            if any(isinstance(d, str) and ":" in d for d in self.dims[v.name]):
                flags.append("--shape=%s=%s" % (v.name, "x".join(str(n) for n in self.shape(v, sizes))))
        return flags

    def compare(self, got, want, others):
        """What is wrong; this class leaves it to the bounds. `others`: the oracle's answers with `perturbed` models."""
        return NotImplemented

    def perturbed(self, rng):
        """Models whose answers differ by what rounding may do, for those that are compared by their own measure."""
        return ()

    def stored_case(self):
        """(inputs, outputs) that came with the model, or None."""
        if not self.stored:
            return None
        feeds = {v.name: read_tensor(os.path.join(self.stored, "input_%d.pb" % i)) for i, v in enumerate(self.inputs)}
        wanted = [
            read_tensor(os.path.join(self.stored, "output_%d.pb" % i))
            for i in range(len(self.proto.graph.output))
            if os.path.exists(os.path.join(self.stored, "output_%d.pb" % i))
        ]
        return feeds, wanted


class Mnist8(Model):
    def values(self, rng, sizes, k):
        """Grey values, as this model was trained on."""
        return {"Input3": rng.integers(0, 256, (1, 1, 28, 28)).astype(np.float32)}


class Magika(Model):
    def values(self, rng, sizes, k):
        """The start of a file: text, anything, nothing."""
        low, high = ((32, 127), (0, 257), (0, 1))[k % 3]
        return {"bytes": rng.integers(low, high, (next(iter(sizes.values())), 2048)).astype(np.int32)}


class Silero(Model):
    """Voice activity: the sample rate picks the branch of the If, so that both branches must be drawn."""

    lengths = (512, 1200)

    def sizes(self, rng, k):
        sizes = super().sizes(rng, k)
        batch = 1 if k == 0 else int(rng.integers(2, 5))
        length = 576 if k == 0 else int(rng.integers(*self.lengths))
        return {s: length if s in ("sequence", "input:1") else batch for s in sizes}

    def values(self, rng, sizes, k):
        made = {v.name: self.value(rng, v, sizes, 0) for v in self.inputs if v.name != "sr"}
        made["input"] *= np.float32(0.1)   # sound, not full-scale noise
        made["sr"] = np.array((16000, 8000)[k % 2], np.int64)
        return made


class SileroNested(Silero):
    """Its branches take one frame: lengths that both rates accept."""

    lengths = (256, 289)


class Masked(Model):
    """Text encoders: the mask hides the end of some rows, never all of one."""

    def values(self, rng, sizes, k):
        made = super().values(rng, sizes, k)
        mask = made["attention_mask"]
        for row in mask:
            row[:] = 1
            if k:
                row[int(rng.integers(1, len(row) + 1)) :] = 0
        return made


class Decode(Model):
    """One step with a cache: every input that has a past has the same."""

    def sizes(self, rng, k):
        return {"batch": 1 if k == 0 else 2, "seq": 1 if k < 2 else 3, "past": (5, 0, 17)[k % 3]}


class Detector(Model):
    """Boxes, labels and scores in the order of the scores. Weights are random, so scores lie close together, and what
    rounding does is amplified by an amount that depends on the input: `others`, the same oracle's answers with weights
    off by two units in the last place (as backward analysis sees rounding), measure it. Every box has its partner of the same label within BOX pixels, their scores differ by at most
    SCORE, or both within 4 times (the accuracy contract's factor) of what the oracle differs from itself."""

    BOX, SCORE = 0.1, 1e-3

    def partners(self, got, want, box_limit, score_limit):
        """([(box distance, score distance)] of the pairs, message about the first box without a partner)."""
        free, pairs = set(range(len(want[0]))), []
        for box, label, score in zip(*got):
            away = {i: float(np.abs(box - want[0][i]).max()) for i in free if label == want[1][i]}
            near = [i for i in away if away[i] <= box_limit and abs(score - want[2][i]) <= score_limit]
            if not near:
                limits = "(%.3g pixels, %.2g)" % (box_limit, score_limit)
                return pairs, "no partner of box %s, label %d, score %g %s" % (box, label, score, limits)
            best = min(near, key=away.get)
            pairs.append((away[best], abs(float(score - want[2][best]))))
            free.remove(best)
        return pairs, None

    def compare(self, got, want, others):
        if [a.shape for a in got] != [a.shape for a in want]:
            return "%d boxes, expected %d" % (len(got[0]), len(want[0]))
        box, score = 0.0, 0.0
        for other in others:
            # a box of the other run that has no partner at all says nothing about rounding
            pairs, _ = self.partners(other, want, 1.0, 0.01)
            box, score = (max([had] + [p[k] for p in pairs]) for k, had in enumerate((box, score)))
        return self.partners(got, want, max(self.BOX, 4 * box), max(self.SCORE, 4 * score))[1]

    def perturbed(self, rng):
        for _ in range(3):
            proto = onnx.load(self.path)
            for t in proto.graph.initializer:
                if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1:
                    value = onnx.numpy_helper.to_array(t)
                    off = value * (1 + rng.uniform(-1, 1, value.shape) * 2.0**-22)
                    t.CopyFrom(onnx.numpy_helper.from_array(off.astype(np.float32), t.name))
            yield proto.SerializeToString()


BERT = {"input_ids": (0, 30000), "attention_mask": (0, 2), "token_type_ids": (0, 2)}
TEXT = {"batch": (1, 3), "seq": (1, 40)}
IMAGE = {"batch": (1, 2)}
LARGE = dict(sizes=IMAGE, large=True)

# name: (class, keywords)
GRAPHS = {
    "mnist_mlp": (Model, {}),
    "mnist_cnn": (Model, {}),
    "ddpg": (Model, {}),
    "dqn": (Model, {}),
    "dcgan": (Model, dict(sizes={"batch": (1, 3)})),
    "bilstm_text": (Model, dict(sizes=TEXT, ints={"tokens": (0, 5000)})),
    "transformer_text": (Model, dict(sizes={"batch": (1, 3), "seq": (100, 100)}, ints={"tokens": (0, 5000)})),
    "wavenet": (Model, dict(sizes={"batch": (1, 2), "t": (1, 300)})),
    "resnet50": (Model, LARGE),
    "mobilenet_v2": (Model, LARGE),
    "efficientnet_b0": (Model, LARGE),
    "vgg16": (Model, LARGE),
    "densenet121": (Model, LARGE),
    "inception_v3": (Model, LARGE),
    "convnext_tiny": (Model, LARGE),
    "vit_b_16": (Model, LARGE),
    "swin_t": (Model, LARGE),
    "deepspeech2": (Model, dict(sizes={"batch": (1, 2), "t": (40, 90)}, large=True)),
    "bert_base": (Masked, dict(sizes=TEXT, ints=BERT, large=True)),
    "gpt2_prefill": (Model, dict(sizes={"batch": (1, 2), "seq": (1, 24)}, ints={"input_ids": (0, 50000)}, large=True)),
    "gpt2_decode": (
        Decode,
        dict(
            ints={"input_ids": (0, 50000)},
            large=True,
            extra=[{"batch": 1, "seq": 1, "past": p} for p in (0, 1, 128, 1000)],
        ),
    ),
    # finds nothing in softer pictures
    "fasterrcnn_mobilenet_v3_large_320_fpn": (Detector, dict(scale=10, large=True)),
}

OCR = {"p2o.DynamicDimension.1": (64, 256, 32), "p2o.DynamicDimension.2": (64, 256, 32)}
REAL = {
    "mnist_8_zoo": (Mnist8, {}),
    "mlperf_tiny_ad": (Model, {}),
    "mlperf_tiny_ic_resnet8": (Model, {}),
    "mlperf_tiny_kws_dscnn": (Model, {}),
    "mlperf_tiny_vww_mobilenet": (Model, {}),
    "micro_kws_fp32": (Model, dict(uniform=26)),
    "micro_kws_qdq": (Model, dict(uniform=26, step=1 / 256)),
    "micro_kws_qoperator": (Model, dict(uniform=26)),
    "silero_vad": (SileroNested, {}),
    "silero_vad_op18_ifless": (Silero, {}),
    "gtcrn_simple": (Model, {}),
    "dtln_1": (Model, {}),
    "dtln_2": (Model, {}),
    "cct_2_32_32_128_op20": (Model, {}),
    "magika": (Magika, {}),
    "tract_xgboost_tree": (Model, {}),
    "ultraface_rfb_320": (Model, {}),
    "super_resolution_10_zoo": (Model, dict(sizes={"batch_size": (1, 2)}, uniform=1)),
    "ch_ppocr_mobile_v2.0_cls_infer": (Model, dict(sizes={"x:0": (1, 4), "x:2": (48, 48), "x:3": (192, 192)})),
    "ch_PP-OCRv4_det_infer": (
        Model,
        dict(
            sizes=OCR,
            floor=2e-7,   # ONNX Runtime's sigmoid is a fraction around 1/2, off by so much near 0

            extra=[
                {"p2o.DynamicDimension.0": 1, "p2o.DynamicDimension.1": h, "p2o.DynamicDimension.2": w}
                for h, w in ((320, 480), (640, 640), (736, 1280))
            ],
        ),
    ),
    "minilm_l6": (
        Masked,
        dict(
            sizes=TEXT,
            ints=BERT,
            large=True,
            extra=[{"batch": b, "seq": s} for b in (1, 5) for s in (1, 17, 128, 500)],
        ),
    ),
}


def collect(real, only=None, large=True):
    """{name: function that opens it}; a message for real models that are not here."""
    found = {}

    def wanted(name, keywords):
        return (not only or name in only) and (large or not keywords.get("large"))

    if wanted("digits", {}):
        found["digits"] = lambda: Model("digits", os.path.join(TOP, "models", "digits", "digits.onnx"))
    for name, (kind, keywords) in GRAPHS.items():
        if wanted(name, keywords):
            found[name] = lambda n=name, k=kind, w=keywords: k(n, harness.hydrated(n), **w)
    missing = []
    for name, (kind, keywords) in REAL.items():
        path = os.path.join(real, name, "model.onnx")
        if not wanted(name, keywords):
            continue
        if os.path.exists(path):
            found[name] = lambda n=name, p=path, k=kind, w=keywords: k(n, p, **w)
        else:
            missing.append(name)
    if missing and large:
        print(
            "skipped, not in %s (other people's data stays out of the repository; --real DIR): %s"
            % (real, ", ".join(missing))
        )
    return found
