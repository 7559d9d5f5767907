"""Gradients of whole models by all of their weights, in float64, against central differences along random directions.

    gradient_models.py [--bmc BMC] [--seed N] [--models DIR] [NAME...]

A model's float32 becomes float64, its weights become inputs, and loss = sum(sin(outputs)). Models are this repository's own
(models/) and, with --models (or BMC_REAL_MODELS), NAME.onnx or NAME/model.onnx of a folder; the large ones of these are cut down:
one encoder layer of a transformer with a small vocabulary, the first stages of a deep convolutional network.
"""

import argparse
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bmc_ctypes
import harness

STEPS = (1e-6, 1e-7)  # corners of Relu and MaxPool lie close together in large models: one of two steps avoids them
DIRECTIONS = 2
VOCABULARY = 50

# name: (sizes of symbols, the operator and its number behind which the graph is cut or None)
OUTSIDE = {
    "bilstm_text": ({"batch": 2, "seq": 5}, None),
    "transformer_text": ({"batch": 2, "seq": 100}, None),
    "bert_base": ({"batch": 1, "seq": 5}, ("LayerNormalization", 3)),
    "resnet50": ({"batch": 1, "size": 32}, ("Add", 4)),
}


def as_double(graph):
    """float32 becomes float64 everywhere in the graph."""
    for k, t in enumerate(graph.initializer):
        if t.data_type == TensorProto.FLOAT:
            graph.initializer[k].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float64), t.name))
    for v in list(graph.input) + list(graph.output):
        if v.type.tensor_type.elem_type == TensorProto.FLOAT:
            v.type.tensor_type.elem_type = TensorProto.DOUBLE
    del graph.value_info[:]
    for n in graph.node:
        for a in n.attribute:
            if a.HasField("g"):
                as_double(a.g)
            if n.op_type == "Cast" and a.name == "to" and a.i == TensorProto.FLOAT:
                a.i = TensorProto.DOUBLE
            if n.op_type in ("Constant", "ConstantOfShape") and a.name == "value" and a.t.data_type == TensorProto.FLOAT:
                a.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(a.t).astype(np.float64)))
            if n.op_type == "Constant" and a.name == "value_float":
                a.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(np.float64(a.f))))
        if n.op_type == "ConstantOfShape" and not n.attribute:
            n.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1))))


def cut(model, op, count):
    """The part that leads to the result of the count-th node of that operator."""
    node = [n for n in model.graph.node if n.op_type == op][count - 1]
    want, nodes = {node.output[0]}, []
    for n in reversed(model.graph.node):
        if want & set(n.output):
            nodes.append(n)
            want |= set(n.input)
    kept = [t for t in model.graph.initializer if t.name in want]
    inputs = [i for i in model.graph.input if i.name in want]
    out = helper.make_empty_tensor_value_info(node.output[0])
    out.type.tensor_type.elem_type = TensorProto.FLOAT
    graph = helper.make_graph(nodes[::-1], model.graph.name, inputs, [out], kept)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def small_vocabulary(graph):
    """Tables of thousands of rows, looked up by Gather, keep the first ones."""
    looked_up = {n.input[0] for n in graph.node if n.op_type == "Gather"}
    for k, t in enumerate(graph.initializer):
        if t.name in looked_up and len(t.dims) == 2 and t.dims[0] > 10 * VOCABULARY:
            graph.initializer[k].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t)[:VOCABULARY], t.name))


def with_loss(model):
    graph = model.graph
    terms = []
    for k, o in enumerate(list(graph.output)):
        if o.type.tensor_type.elem_type == TensorProto.DOUBLE:
            graph.node.append(helper.make_node("Sin", [o.name], ["sin_of_%d" % k]))
            graph.node.append(helper.make_node("ReduceSum", ["sin_of_%d" % k], ["term_%d" % k], keepdims=0))
            terms.append("term_%d" % k)
    graph.node.append(helper.make_node("Sum", terms, ["the_loss"]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("the_loss", TensorProto.DOUBLE, []))


def weights_to_inputs(graph):
    """All float initializers: {name: array}."""
    weights = {t.name: numpy_helper.to_array(t).copy() for t in graph.initializer if t.data_type == TensorProto.DOUBLE}
    used = {i for n in graph.node for i in n.input}
    fed = {i.name for i in graph.input}
    weights = {k: v for k, v in weights.items() if k in used}
    rest = [t for t in graph.initializer if t.name not in weights]
    del graph.initializer[:]
    graph.initializer.extend(rest)
    for name, array in weights.items():
        if name not in fed:
            graph.input.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, array.shape))
    return weights


def feeds_of(graph, weights, sizes, rng):
    feeds = dict(weights)
    for i in graph.input:
        if i.name in feeds:
            continue
        dims = [d.dim_value if d.HasField("dim_value") else sizes.get(d.dim_param, 2) for d in i.type.tensor_type.shape.dim]
        if "size" in sizes and len(dims) == 4:
            dims[2:] = [sizes["size"]] * 2
        if i.type.tensor_type.elem_type == TensorProto.DOUBLE:
            feeds[i.name] = rng.uniform(-1, 1, dims)
        elif "mask" in i.name:
            feeds[i.name] = np.ones(dims, np.int64)
        else:
            feeds[i.name] = rng.integers(0, 2 if "type" in i.name else VOCABULARY, dims)
    return feeds


def shapes_fixed(graph, feeds):
    for i in graph.input:
        for d, n in zip(i.type.tensor_type.shape.dim, feeds[i.name].shape):
            if d.HasField("dim_value") and d.dim_value != n:
                d.dim_value = n


def check(name, path, sizes, where, args, tally):
    rng = np.random.default_rng([args.seed, len(name)])
    model = onnx.load(path)
    if where:
        model = cut(model, *where)
    small_vocabulary(model.graph)
    as_double(model.graph)
    with_loss(model)
    weights = weights_to_inputs(model.graph)
    feeds = feeds_of(model.graph, weights, sizes, rng)
    shapes_fixed(model.graph, feeds)
    wrt = [k for k, v in feeds.items() if v.dtype == np.float64]
    base = os.path.join(harness.WORK, "gradients", name)
    onnx.save(model, base + ".onnx")
    ran = harness.run([args.bmc, base + ".onnx", "-o", base + ".so", "--grad=the_loss:" + ",".join(wrt)], limit=600)
    if ran.status != 0:
        tally.check(name, False, ran.brief())
        return
    loaded = bmc_ctypes.Loaded(base + ".so", threads=2)
    first, worst, flat, least = loaded.run(feeds), 0.0, 0, np.inf
    for x in wrt:
        got = first[x + ".grad"]
        norm = np.sqrt(np.sum(got * got))
        flat += norm == 0
        least = min(least, norm or least)
        for _ in range(DIRECTIONS):
            # half of the direction is the gradient's own: a random one alone hardly sees a few large elements
            d = rng.standard_normal(got.shape)
            d = d / np.sqrt(np.sum(d * d)) + (got / norm if norm else 0)
            have, errors = float(np.sum(got * d)), []
            for step in STEPS:
                ends = [float(loaded.run({**feeds, x: feeds[x] + s * step * d})["the_loss"]) for s in (1, -1)]
                noise = 1e-16 / step * max(1.0, abs(ends[0]))  # of the difference itself
                errors.append((abs((ends[0] - ends[1]) / (2 * step) - have) - noise) / max(norm, 1e-3 * args.tol))
            worst = max(worst, min(errors))
    one = bmc_ctypes.Loaded(base + ".so", threads=1).run(feeds)
    tally.check("%s: same bits for 1 and 2 threads" % name, all(np.array_equal(one[k], first[k]) for k in one))
    tally.check("%s: %d weights and inputs" % (name, len(wrt)), worst <= args.tol, "off by %.3g of a gradient's norm" % worst)
    tally.check("%s: gradients are not 0" % name, flat <= len(wrt) // 4, "%d of %d" % (flat, len(wrt)))
    tally.note("%s: %d gradients, norms from %.1g, off by %.1g at most" % (name, len(wrt), least, max(worst, 0)))


def main():
    parser = argparse.ArgumentParser(description="gradients of models against central differences")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--tol", type=float, default=1e-5)
    parser.add_argument("--models", default=os.environ.get("BMC_REAL_MODELS"))
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    harness.needs_bmc(args.bmc)
    args.seed = harness.fresh_seed(args.seed)
    tally = harness.Tally()
    os.makedirs(os.path.join(harness.WORK, "gradients"), exist_ok=True)
    for name, path in harness.own_models(os.path.join(harness.WORK, "gradients", "own")).items():
        if not args.names or name in args.names:
            check(name, path, {}, None, args, tally)
    for name, (sizes, where) in OUTSIDE.items():
        paths = [os.path.join(args.models or "", *p) for p in ((name + ".onnx",), (name, "model.onnx"))]
        path = next((p for p in paths if args.models and os.path.exists(p)), None)
        if args.names and name not in args.names:
            continue
        if not path:
            tally.note("%s: not there, skipped" % name)
            continue
        check(name, path, sizes, where, args, tally)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
