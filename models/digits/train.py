#!/usr/bin/env python3
"""Train the digits classifier and write digits.onnx with its data:   train.py [--epochs N] [--seed S]

Data: scikit-learn's handwritten digits (1,797 images of 8x8, values 0..16, ten classes), which install with
that package. A fixed quarter (stratified) is the test set and is never trained on. The network and its training
are written here in numpy, so that nothing else is needed:

    image [batch,1,8,8] -> Conv 3x3 (8) -> Relu -> Conv 3x3 (16) -> Relu -> MaxPool 2 -> Flatten
                        -> Gemm 64 -> Relu -> Gemm 10 -> Softmax -> probability [batch,10]

Writes beside this file: digits.onnx, digits.npy (real test images, f32 [n,1,8,8], scaled to 0..1), labels.npy
(their classes, i64 [n]) and test_data_set_0/{input_0,output_0}.pb, the output computed by ONNX Runtime.
Exits with 1 when the accuracy on the test set is below 97 %.
Needs: numpy, scikit-learn, onnx, onnxruntime (requirements.txt).
"""

import argparse
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
SHOWN = 20  # digits kept in digits.npy: two of each class
WANTED = 0.97


def split_data(seed):
    """Images scaled to 0..1 and labels, as (train x, train y, test x, test y)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    x = (data.images / 16.0).astype(np.float32)[:, None, :, :]
    y = data.target.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, stratify=y, random_state=seed)
    return x_train, y_train, x_test, y_test


def patches(x):
    """Every 3x3 window of x, zero-padded by one: [n,c,h,w] -> [n*h*w, c*9], columns ordered as OIHW weights are."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, c * 9)


def unpatches(columns, shape):
    """The adjoint of patches(): adds every window back to where it came from."""
    n, c, h, w = shape
    windows = columns.reshape(n, h, w, c, 3, 3)
    padded = np.zeros((n, c, h + 2, w + 2), np.float32)
    for i in range(3):
        for j in range(3):
            padded[:, :, i : i + h, j : j + w] += windows[:, :, :, :, i, j].transpose(0, 3, 1, 2)
    return padded[:, :, 1:-1, 1:-1]


def initial_weights(rng):
    """He-normal weights and zero biases, named as in the exported model."""

    def normal(*shape):
        fan_in = np.prod(shape[1:])
        return (rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(np.float32)

    shapes = {"conv1": (8, 1, 3, 3), "conv2": (16, 8, 3, 3), "fc1": (64, 256), "fc2": (10, 64)}
    weights = {}
    for name, shape in shapes.items():
        weights[name + ".weight"] = normal(*shape)
        weights[name + ".bias"] = np.zeros(shape[0], np.float32)
    return weights


def forward(weights, x):
    """Probabilities, and what backward() needs to know."""
    n = x.shape[0]
    kept = {"x": x}

    def conv(name, value):
        w = weights[name + ".weight"]
        columns = patches(value)
        out = columns @ w.reshape(w.shape[0], -1).T + weights[name + ".bias"]
        kept[name] = columns
        return np.maximum(out.reshape(n, 8, 8, w.shape[0]).transpose(0, 3, 1, 2), 0)

    a1 = kept["a1"] = conv("conv1", x)
    a2 = kept["a2"] = conv("conv2", a1)
    pairs = a2.reshape(n, 16, 4, 2, 4, 2)
    pooled = pairs.max(axis=(3, 5))
    kept["won"] = pairs == pooled[:, :, :, None, :, None]
    flat = kept["flat"] = pooled.reshape(n, 256)
    hidden = kept["hidden"] = np.maximum(flat @ weights["fc1.weight"].T + weights["fc1.bias"], 0)
    scores = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
    scores -= scores.max(axis=1, keepdims=True)
    e = np.exp(scores)
    return e / e.sum(axis=1, keepdims=True), kept


def backward(weights, kept, probability, label):
    """Gradients of the mean cross-entropy, by the names of the weights."""
    n = probability.shape[0]
    grads = {}

    def dense(name, value, d):
        grads[name + ".weight"] = d.T @ value
        grads[name + ".bias"] = d.sum(axis=0)
        return d @ weights[name + ".weight"]

    def conv(name, d, shape):
        w = weights[name + ".weight"]
        d = d.transpose(0, 2, 3, 1).reshape(-1, w.shape[0])
        grads[name + ".weight"] = (d.T @ kept[name]).reshape(w.shape)
        grads[name + ".bias"] = d.sum(axis=0)
        return unpatches(d @ w.reshape(w.shape[0], -1), shape)

    d = probability.copy()
    d[np.arange(n), label] -= 1
    d = dense("fc2", kept["hidden"], d / n) * (kept["hidden"] > 0)
    d = dense("fc1", kept["flat"], d).reshape(n, 16, 4, 1, 4, 1)
    d = (d * kept["won"]).reshape(n, 16, 8, 8) * (kept["a2"] > 0)
    d = conv("conv2", d, kept["a1"].shape) * (kept["a1"] > 0)
    conv("conv1", d, kept["x"].shape)
    return grads


def shifted(x, rng):
    """Each image moved by at most one pixel: the only augmentation."""
    out = np.zeros_like(x)
    for image, target in zip(x, out):
        dy, dx = rng.integers(-1, 2, 2)
        target[:, max(dy, 0) : 8 + min(dy, 0), max(dx, 0) : 8 + min(dx, 0)] = image[
            :, max(-dy, 0) : 8 + min(-dy, 0), max(-dx, 0) : 8 + min(-dx, 0)
        ]
    return out


def train(x, y, epochs, rng):
    """Adam with a cosine learning rate and a little weight decay."""
    weights = initial_weights(rng)
    first = {k: np.zeros_like(v) for k, v in weights.items()}
    second = {k: np.zeros_like(v) for k, v in weights.items()}
    batch, step = 32, 0
    steps = epochs * (len(x) // batch)
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        loss = 0.0
        for start in range(0, len(x) - batch + 1, batch):
            index = order[start : start + batch]
            probability, kept = forward(weights, shifted(x[index], rng))
            loss -= np.log(probability[np.arange(batch), y[index]] + 1e-12).mean()
            grads = backward(weights, kept, probability, y[index])
            step += 1
            rate = 2e-3 * 0.5 * (1 + np.cos(np.pi * step / steps))
            for k, g in grads.items():
                first[k] += 0.1 * (g - first[k])
                second[k] += 0.001 * (g * g - second[k])
                m, v = first[k] / (1 - 0.9**step), second[k] / (1 - 0.999**step)
                weights[k] -= (rate * (m / (np.sqrt(v) + 1e-8) + 1e-3 * weights[k])).astype(np.float32)
        print("epoch %2d  loss %.4f" % (epoch + 1, loss / (len(x) // batch)))
    return weights


def export(weights, path):
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "conv1.weight", "conv1.bias"], ["c1"], "conv1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["a1"], "relu1"),
        node("Conv", ["a1", "conv2.weight", "conv2.bias"], ["c2"], "conv2", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["c2"], ["a2"], "relu2"),
        node("MaxPool", ["a2"], ["pooled"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["pooled"], ["flat"], "flatten", axis=1),
        node("Gemm", ["flat", "fc1.weight", "fc1.bias"], ["h1"], "fc1", transB=1),
        node("Relu", ["h1"], ["hidden"], "relu3"),
        node("Gemm", ["hidden", "fc2.weight", "fc2.bias"], ["scores"], "fc2", transB=1),
        node("Softmax", ["scores"], ["probability"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], producer_name="bmc models/digits")
    model.ir_version = 10
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def pick(x, y):
    """SHOWN test digits, the same number of every class, in mixed order."""
    chosen = [i for label in range(10) for i in np.flatnonzero(y == label)[: SHOWN // 10]]
    chosen = np.random.default_rng(1).permutation(chosen)
    return x[chosen], y[chosen]


def write_data(path, x, y):
    import onnxruntime

    np.save(os.path.join(HERE, "digits.npy"), x)
    np.save(os.path.join(HERE, "labels.npy"), y)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = session.run(["probability"], {"image": x})[0]
    folder = os.path.join(HERE, "test_data_set_0")
    os.makedirs(folder, exist_ok=True)
    for name, value, file in (("image", x, "input_0.pb"), ("probability", expected, "output_0.pb")):
        with open(os.path.join(folder, file), "wb") as f:
            f.write(numpy_helper.from_array(value, name).SerializeToString())
    return expected


def main():
    parser = argparse.ArgumentParser(description="train the digits classifier and export it")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    x_train, y_train, x_test, y_test = split_data(args.seed)
    weights = train(x_train, y_train, args.epochs, np.random.default_rng(args.seed))
    probability, _ = forward(weights, x_test)
    accuracy = float((probability.argmax(axis=1) == y_test).mean())
    print("test accuracy %.2f %% on %d images" % (100 * accuracy, len(y_test)))
    if accuracy < WANTED:
        sys.exit("below %.0f %%: nothing written" % (100 * WANTED))
    path = os.path.join(HERE, "digits.onnx")
    export(weights, path)
    shown, labels = pick(x_test, y_test)
    expected = write_data(path, shown, labels)
    own, _ = forward(weights, shown)
    print("largest difference between ONNX Runtime and this script: %.1e" % np.abs(own - expected).max())


if __name__ == "__main__":
    main()
