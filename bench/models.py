"""The models that bench/run.py measures: where each comes from and what it is fed.

    catalogue(real)          {row: Entry}, best known first; files that have to be made or fetched are not yet there
    entry.file(work)         path of the .onnx, made (models/hydrate.py) or fetched (PyPI, pinned) on first use
    entry.feeds(work)        {input: array}, the same in every run

Own graphs and models of packages get inputs from a seed, with the sizes below; a folder given with --real holds
NAME/model.onnx and, as ONNX lays out test data, NAME/test_data_set_0/input_K.pb. A row is a model (NAME) or the same
file fed with other sizes (NAME@LABEL, VARIANTS): the artifact is dynamic where the model is.
"""

import os
import subprocess
import sys
import zipfile

import numpy as np
import onnx
from onnx import numpy_helper

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.join(TOP, "models"))

SEED = 4

# name: (kind, {symbol: size}); symbols that are not named are 1. Graphs of models/graphs, weights by models/hydrate.py.
GRAPHS = {
    "resnet50": ("image", {}),
    "mobilenet_v2": ("image", {}),
    "efficientnet_b0": ("image", {}),
    "vgg16": ("image", {}),
    "densenet121": ("image", {}),
    "inception_v3": ("image", {}),
    "convnext_tiny": ("image", {}),
    "vit_b_16": ("image", {}),
    "swin_t": ("image", {}),
    "dcgan": ("image", {}),
    "fasterrcnn_mobilenet_v3_large_320_fpn": ("detection", {}),
    "bert_base": ("text", {"seq": 128}),
    "gpt2_prefill": ("text", {"seq": 128}),
    "gpt2_decode": ("text", {"past": 128}),
    "transformer_text": ("text", {"seq": 100}),
    "bilstm_text": ("text", {"seq": 100}),
    "wavenet": ("audio", {"t": 256}),
    "deepspeech2": ("audio", {"t": 200}),
    "mnist_cnn": ("small", {}),
    "mnist_mlp": ("small", {}),
    "dqn": ("small", {}),
    "ddpg": ("small", {}),
}

# Models that need a word: inputs of another spread, results that are rows in whatever order.
SPECIAL = {"fasterrcnn_mobilenet_v3_large_320_fpn": {"scale": 10, "rows": True}}  # finds nothing in softer pictures

# The same files fed with other sizes: {model: {label: {symbol: size or input: shape}}}; "" are the sizes of the model's
# own row where those of its test data are not meant. Stored inputs are repeated or cut to the shape.
VARIANTS = {
    "resnet50": {"b8": {"batch": 8}},
    "bert_base": {"b8": {"batch": 8}, "s384": {"seq": 384}},
    "minilm_l6": {"": {"batch": 1, "seq": 128}, "s16": {"batch": 1, "seq": 16}},
    "gpt2_prefill": {"s512": {"seq": 512}},
    "gpt2_decode": {"past1000": {"past": 1000}},
    "ch_PP-OCRv4_det_infer": {"736x1280": {"x": (1, 3, 736, 1280)}},
    "magika": {"": {"bytes": (1, 2048)}, "b32": {"bytes": (32, 2048)}},
}

# A package of PyPI that ships models: (project, version, {name: (kind, path in the wheel, {input: shape})}).
PACKAGES = (
    ("rapidocr-onnxruntime", "1.4.4", {
        "ch_PP-OCRv4_det_infer": ("detection", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
                                  {"x": (1, 3, 640, 640)}),
        "ch_PP-OCRv4_rec_infer": ("text", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
                                  {"x": (1, 3, 48, 320)}),
        "ch_ppocr_mobile_v2.0_cls_infer": ("image", "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
                                           {"x": (1, 3, 48, 192)}),
    }),
    ("silero-vad", "6.2.3", {
        "silero_vad": ("audio", "silero_vad/data/silero_vad.onnx", {"input": (1, 576), "state": (2, 1, 128)}),
        "silero_vad_op18_ifless": ("audio", "silero_vad/data/silero_vad_op18_ifless.onnx",
                                   {"input": (1, 576), "state": (2, 1, 128)}),
    }),
    ("magika", "1.0.3", {"magika": ("small", "magika/models/standard_v3_3/model.onnx", {"bytes": (1, 2048)})}),
)

# Kinds of models that come with --real and are not named above.
REAL_KINDS = {
    "minilm_l6": "text", "ultraface_rfb_320": "detection", "super_resolution_10_zoo": "image",
    "cct_2_32_32_128_op20": "image", "gtcrn_simple": "audio", "dtln_1": "audio", "dtln_2": "audio",
    "mlperf_tiny_vww_mobilenet": "image",
}


def fed_inputs(model):
    stored = {t.name for t in model.graph.initializer}
    return [v for v in model.graph.input if v.name not in stored]


def value_of(name, shape, dtype, rng, scale=1):
    """Integers that are meaningful for what the input is called; floats normal."""
    if name == "sr":
        return np.full(shape, 16000, dtype)
    if "mask" in name:
        return np.ones(shape, dtype)
    if "type" in name:
        return np.zeros(shape, dtype)
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(dtype)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, 200, shape).astype(dtype)
    return (rng.standard_normal(shape) * scale).astype(dtype)


def fitted(array, shape):
    """The array repeated or cut along each axis."""
    for axis, n in enumerate(shape):
        array = np.take(array, np.arange(n) % array.shape[axis], axis)
    return array


class Entry:
    """A row. sizes and shapes are of inputs without stored data; `asked`, by symbol or input, goes before those."""

    def __init__(self, name, kind, source, sizes=None, shapes=None, package=None, asked=None):
        self.name, self.kind, self.source = name, kind, source
        self.sizes, self.shapes, self.package, self.asked = sizes or {}, shapes or {}, package, asked or {}
        self.row = name
        self.scale, self.rows = (SPECIAL.get(name, {}).get(k, other) for k, other in (("scale", 1), ("rows", False)))

    def variant(self, label, asked):
        """The row NAME@LABEL, or this one with other sizes when the label is empty."""
        made = Entry(self.name, self.kind, self.source, self.sizes, self.shapes, self.package, asked)
        made.row = self.name + "@" + label if label else self.name
        return made

    def file(self, work):
        if self.package:
            return package_file(self.package[0], self.package[1], self.source, work)
        if not self.source.startswith(os.path.join(TOP, "models", "graphs")):
            return self.source
        from hydrate import hydrate

        path = os.path.join(work, "models", self.name + ".onnx")
        if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(self.source):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            onnx.save(hydrate(onnx.load(self.source)), path + ".part")
            os.replace(path + ".part", path)
        return path

    def feeds(self, work):
        path = self.file(work)
        model = onnx.load(path, load_external_data=False)
        stored = os.path.join(os.path.dirname(path), "test_data_set_0")
        rng = np.random.default_rng(SEED)
        made = {}
        for k, v in enumerate(fed_inputs(model)):
            t = v.type.tensor_type
            dims = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param for d in t.shape.dim]
            pb = os.path.join(stored, "input_%d.pb" % k)
            if os.path.exists(pb):
                made[v.name] = numpy_helper.to_array(onnx.load_tensor(pb))
                shape = self.asked.get(v.name) or [self.asked.get(d, n) for d, n in zip(dims, made[v.name].shape)]
                made[v.name] = fitted(made[v.name], shape)
                continue
            sizes = {**self.sizes, **self.asked}
            shape = self.asked.get(v.name) or self.shapes.get(v.name) \
                or [d if isinstance(d, int) else sizes.get(d, 1) for d in dims]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(t.elem_type)
            made[v.name] = value_of(v.name, tuple(shape), dtype, rng, self.scale)
        return {name: np.array(a, order="C") for name, a in made.items()}


def package_file(project, version, member, work):
    """One file of a pinned wheel; the wheel is fetched once, without what it depends on."""
    folder = os.path.join(work, "packages", "%s-%s" % (project, version))
    path = os.path.join(folder, os.path.basename(member))
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
                        "-d", folder, "%s==%s" % (project, version)], check=True)
        for wheel in [f for f in os.listdir(folder) if f.endswith(".whl")]:
            with zipfile.ZipFile(os.path.join(folder, wheel)) as z:
                for inner in z.namelist():
                    if inner.endswith(".onnx"):
                        with open(os.path.join(folder, os.path.basename(inner)), "wb") as f:
                            f.write(z.read(inner))
            os.remove(os.path.join(folder, wheel))
    return path


def catalogue(real=None, packages=True):
    entries = {"digits": Entry("digits", "small", os.path.join(TOP, "models", "digits", "digits.onnx"))}
    for name, (kind, sizes) in GRAPHS.items():
        entries[name] = Entry(name, kind, os.path.join(TOP, "models", "graphs", name + ".onnx"), sizes)
    for project, version, members in PACKAGES if packages else ():
        for name, (kind, member, shapes) in members.items():
            entries[name] = Entry(name, kind, member, shapes=shapes, package=(project, version))
    for name in sorted(os.listdir(real)) if real else ():
        path = os.path.join(os.path.abspath(real), name, "model.onnx")
        if os.path.exists(path):
            kind = entries[name].kind if name in entries else REAL_KINDS.get(name, "small")
            entries[name] = Entry(name, kind, path)
    rows = {}
    for name, entry in entries.items():
        labels = VARIANTS.get(name, {})
        rows[name] = entry.variant("", labels[""]) if "" in labels else entry
        rows.update({"%s@%s" % (name, label): entry.variant(label, asked) for label, asked in labels.items() if label})
    return rows
