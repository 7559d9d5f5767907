#!/usr/bin/env python3
"""Fill the weights of a graph that was stored without them:   hydrate.py graphs/NAME.onnx OUT.onnx

A large initializer in graphs/ has a shape and a type but no data; its doc_string is the recipe,
"fill normal MEAN STD SEED" or "fill uniform LOW HIGH SEED". One seed always gives the same weights,
so that another engine can be compared on the very same file. Needs: numpy, onnx.
"""

import sys

import numpy as np
import onnx


def walk(graph):
    """Every stored tensor of a graph and of the graphs inside its nodes."""
    yield from graph.initializer
    for attribute in (a for node in graph.node for a in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            yield from walk(inner)


def values(recipe, shape):
    kind, a, b, seed = recipe.split()[1:]
    rng = np.random.Generator(np.random.PCG64(int(seed)))
    a, b = float(a), float(b)
    if kind == "normal":
        return rng.standard_normal(shape, np.float32) * b + a
    if kind == "uniform":
        return rng.random(shape, np.float32) * (b - a) + a
    raise ValueError("unknown recipe: " + recipe)


def hydrate(model):
    """Fill in place; gives the model back."""
    for tensor in walk(model.graph):
        if tensor.doc_string.startswith("fill "):
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            tensor.raw_data = values(tensor.doc_string, tuple(tensor.dims)).astype(dtype).tobytes()
            tensor.doc_string = ""
    return model


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    onnx.save(hydrate(onnx.load(sys.argv[1])), sys.argv[2])
