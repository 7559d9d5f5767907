"""Gradients: what bmc differentiates against central differences, in float64, through compiled code.

    gradients.py [--bmc BMC] [--seed N] [--filter TEXT] [--jobs N] [--full] [-v]

Each case is a small graph whose results are weighted by random constants and summed: loss. It is compiled with
--grad=loss:x,..., with fixed sizes and with symbolic ones, and for each input x and some random directions d

    (loss(x + h d) - loss(x - h d)) / 2h   is to be   sum(x.grad * d)

and, with fixed sizes, the same for the sum of the first gradient, differentiated once more.

The cases of one operator stand in gradient_cases.py. Gradients come out with the same bits for 1 and 2 threads.
"""

import argparse
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bmc_ctypes
import gradient_cases
import harness

STEP = 1e-5
DIRECTIONS = 4


def model_of(case, symbolic, rng, dtype=np.float64):
    """The case's graph with a loss behind it, all floats of that type; names of what is differentiated by."""
    number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes, inits, inputs, wrt = [], [], [], []
    for name, array in case.inputs.items():
        given = case.fed(name)
        if not given:
            inits.append(numpy_helper.from_array(array.astype(dtype) if array.dtype == np.float64 else array, name))
            continue
        if array.dtype == np.float64:
            wrt.append(name)
        dims = ["d%d" % d if symbolic and d > 1 and name not in case.static else d for d in array.shape]
        if symbolic == "distinct":
            dims = ["%s_%d" % (name, i) if name not in case.static else d for i, d in enumerate(array.shape)]
        element = number if array.dtype == np.float64 else helper.np_dtype_to_tensor_dtype(array.dtype)
        inputs.append(helper.make_tensor_value_info(name, element, dims))
    nodes += case.nodes
    terms = []
    for k, (name, shape) in enumerate(case.outputs.items()):
        inits.append(numpy_helper.from_array(rng.uniform(-1, 1, shape).astype(dtype), "r%d" % k))
        nodes.append(helper.make_node("Mul", [name, "r%d" % k], ["m%d" % k]))
        nodes.append(helper.make_node("ReduceSum", ["m%d" % k], ["s%d" % k], keepdims=0))
        terms.append("s%d" % k)
    nodes.append(helper.make_node("Sum", terms, ["loss"]))
    out = [helper.make_tensor_value_info("loss", number, [])]
    graph = helper.make_graph(nodes, "g", inputs, out, inits)
    opsets = [helper.make_opsetid("", case.opset), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("ai.onnx.ml", 5)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    return model, wrt


def differences(loaded, feeds, wrt, rng, tally, name, step, tol, y="loss", suffix=".grad"):
    """Compares each gradient of sum(y) along random directions."""
    first = loaded.run(feeds)
    good, worst = True, ""
    for x in wrt:
        got = first[x + suffix]
        if got.shape != feeds[x].shape:
            return tally.check(name, False, "%s.grad has shape %s, not %s" % (x, got.shape, feeds[x].shape))
        for _ in range(DIRECTIONS if feeds[x].size > 1 else 1):
            d = rng.standard_normal(feeds[x].shape)
            d /= max(np.sqrt(np.sum(d * d)), 1e-300)
            plus = np.sum(loaded.run({**feeds, x: feeds[x] + step * d})[y])
            minus = np.sum(loaded.run({**feeds, x: feeds[x] - step * d})[y])
            want, is_ = float(plus - minus) / (2 * step), float(np.sum(got * d))
            scale = max(1.0, float(np.sum(np.abs(first[y]))), float(np.sqrt(np.sum(got * got))))
            if not abs(want - is_) <= tol * scale:
                good, worst = False, "%s: %.10g, by differences %.10g" % (x, is_, want)
    return tally.check(name, good, worst)


CONFIGURATIONS = {"": [], "-O0": ["-O0", "--verify-each"], "AVX2": ["--cpu=x86-64-v3"]}


def check(case, symbolic, configuration, args, tally):
    rng = np.random.default_rng([args.seed, case.number])
    label = ", ".join(x for x in (symbolic, configuration) if x)
    name = case.name + (" (%s)" % label if label else "")
    base = os.path.join(harness.WORK, "gradients", "%d%s%s" % (case.number, symbolic or "", configuration))
    model, wrt = model_of(case, symbolic, rng)
    onnx.save(model, base + ".onnx")
    wanted = [x for x in wrt if x not in case.constant]
    command = [args.bmc, base + ".onnx", "-o", base + ".so", "--grad=loss:" + ",".join(wanted)]
    second = case.second and not symbolic
    if second:  # of the sum of the first gradient, by everything
        command.append("--grad=%s.grad:%s" % (wanted[0], ",".join(wanted)))
    ran = harness.run(command + case.options + CONFIGURATIONS[configuration])
    if ran.status != 0:
        tally.check(name, False, ran.brief())
        return
    loaded = bmc_ctypes.Loaded(base + ".so")
    feeds = {k: v for k, v in case.inputs.items() if case.fed(k)}
    try:
        if differences(loaded, feeds, wanted, rng, tally, name, case.step or STEP, case.tol):
            if second:
                differences(loaded, feeds, wanted, rng, tally, name + ", second order", case.step or STEP, 10 * case.tol, wanted[0] + ".grad", ".grad.2")
            two = bmc_ctypes.Loaded(base + ".so", threads=2)
            one, other = loaded.run(feeds), two.run(feeds)
            same = all(np.array_equal(one[k], other[k], equal_nan=True) for k in one)
            if not same:
                tally.check(name + ", two threads", False, "other bits")
    except bmc_ctypes.ModelError as e:
        tally.check(name, False, e)


def narrow(case, args, tally):
    """Gradients in float32 and float16 against those in float64."""
    wide = None
    for dtype, tol in ((np.float64, 0), (np.float32, 1e-5), (np.float16, 2e-2)):
        if case.narrow == "float32" and dtype == np.float16:
            break
        base = os.path.join(harness.WORK, "gradients", "%d%s" % (case.number, np.dtype(dtype).name))
        model, wrt = model_of(case, None, np.random.default_rng([args.seed, case.number]), dtype)
        onnx.save(model, base + ".onnx")
        ran = harness.run([args.bmc, base + ".onnx", "-o", base + ".so", "--grad=loss:" + ",".join(wrt)])
        if ran.status != 0:
            tally.check("%s in %s" % (case.name, np.dtype(dtype).name), False, ran.brief())
            return
        feeds = {k: v.astype(dtype) if v.dtype == np.float64 else v for k, v in case.inputs.items() if case.fed(k)}
        got = bmc_ctypes.Loaded(base + ".so").run(feeds)
        wide = wide or got
        off = max(float(np.max(np.abs(got[x + ".grad"] - wide[x + ".grad"])) / np.max(np.abs(wide[x + ".grad"]))) for x in wrt)
        if tol:
            tally.check("%s in %s" % (case.name, np.dtype(dtype).name), off <= tol, "off by %.3g" % off)


def training(args, tally):
    """A compiled training step: loss, Gradient and Momentum in one graph, weights and their velocities as state, against numpy."""
    rng = np.random.default_rng(args.seed)
    make, info, t = helper.make_node, helper.make_tensor_value_info, TensorProto.DOUBLE
    training_domain = "ai.onnx.preview.training"
    shapes = {"w": (6, 8), "u": (8, 3)}
    nodes = [
        make("MatMul", ["x", "w"], ["h"]),
        make("Tanh", ["h"], ["a"]),
        make("MatMul", ["a", "u"], ["z"]),
        make("SoftmaxCrossEntropyLoss", ["z", "target"], ["loss"], reduction="mean"),
        make("Gradient", ["w", "u", "x"], ["dw", "du"], xs=["w", "u"], zs=["x"], y="loss", domain=training_domain),
        make("Momentum", ["rate", "step", "w", "u", "dw", "du", "vw", "vu"], ["w2", "u2", "vw2", "vu2"], alpha=0.9, beta=1.0, mode="standard",
             norm_coefficient=0.0, domain=training_domain),
    ]
    states = [(k, shapes[k[-1]]) for k in ("w", "u", "vw", "vu")]
    inputs = [info("x", t, ["batch", 6]), info("target", TensorProto.INT64, ["batch"]), info("step", TensorProto.INT64, [])]
    inputs += [info(k, t, s) for k, s in states]
    outputs = [info("loss", t, [])] + [info(k + "2", t, s) for k, s in states]
    rate = 0.3
    graph = helper.make_graph(nodes, "step", inputs, outputs, [numpy_helper.from_array(np.float64(rate), "rate")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24), helper.make_opsetid(training_domain, 1)], ir_version=10)
    base = os.path.join(harness.WORK, "gradients", "training")
    onnx.save(model, base + ".onnx")
    in_place = ["--alias=%s=%s2" % (k, k) for k, _ in states]
    ran = harness.run([args.bmc, base + ".onnx", "-o", base + ".so"] + in_place)
    if not tally.check("a training step compiles", ran.status == 0, ran.brief()):
        return
    loaded = bmc_ctypes.Loaded(base + ".so", threads=2)
    x, target = rng.standard_normal((12, 6)), rng.integers(0, 3, 12)
    have = {"w": rng.standard_normal(shapes["w"]) / 3, "u": rng.standard_normal(shapes["u"]) / 3, "vw": np.zeros(shapes["w"]), "vu": np.zeros(shapes["u"])}
    want, losses, off = {k: v.copy() for k, v in have.items()}, [], 0.0
    for step in range(30):
        result = loaded.run({"x": x, "target": target, "step": np.array(step), **have})  # updates `have` in place
        losses.append(float(result["loss"]))
        a = np.tanh(x @ want["w"])
        z = a @ want["u"]
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        dz = (p - np.eye(3)[target]) / len(x)
        grads = {"u": a.T @ dz, "w": x.T @ (dz @ want["u"].T * (1 - a * a))}
        for k, g in grads.items():
            want["v" + k] = float(np.float32(0.9)) * want["v" + k] + g
            want[k] = want[k] - rate * want["v" + k]
        off = max([off] + [float(np.max(np.abs(want[k] - have[k]))) for k in want])
    tally.check("thirty training steps as numpy makes them", off < 1e-9, "off by %.3g" % off)
    tally.check("training lowers the loss", losses[-1] < 0.3 * losses[0], "%.3g to %.3g" % (losses[0], losses[-1]))


def main():
    parser = argparse.ArgumentParser(description="gradients against central differences")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--filter", default="")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--start", type=int, default=0, help="leave out the cases before that number")
    parser.add_argument("--full", action="store_true", help="also at -O0 and for a CPU with AVX2 only")
    parser.add_argument("-v", action="store_true")
    args = parser.parse_args()
    harness.needs_bmc(args.bmc)
    args.seed = harness.fresh_seed(args.seed)
    tally = harness.Tally(args.v)
    os.makedirs(os.path.join(harness.WORK, "gradients"), exist_ok=True)
    jobs = [lambda: training(args, tally)] if args.filter in "training" else []
    for case in gradient_cases.cases(np.random.default_rng(args.seed)):
        if args.filter in case.name and case.number >= args.start:
            jobs += [lambda c=case, s=s: check(c, s, "", args, tally) for s in case.modes]
            if case.narrow:
                jobs.append(lambda c=case: narrow(c, args, tally))
            others = [k for k in CONFIGURATIONS if k] if args.full else []
            jobs += [lambda c=case, k=k: check(c, c.modes[-1], k, args, tally) for k in others]
    harness.parallel(jobs, args.jobs)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
