#!/usr/bin/env python3
"""State along an axis (--alias IN=OUT@AXIS:cap=N): a decoder of two layers, fifty steps:   state.py [--bmc FILE]

The oracle is ONNX Runtime on the same file, which gets caches that are concatenated outside. Caches of the caller, of
the context, moved from one buffer to another; keys and values apart, and stacked in one tensor; one and two threads;
what happens at the end of the capacity; how many copies are left in the program.
"""

import argparse
import os
import re
import shutil

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import harness
from bmc_ctypes import E_CAPACITY, E_INPUT, Loaded, as_array, empty_output, tensor
from harness import WORK, run

onnxruntime.set_default_logger_severity(3)
HEADS, SIZE, LAYERS, CAP = 3, 8, 2, 64
WIDTH = HEADS * SIZE


class Graph:
    def __init__(self):
        self.nodes, self.stored, self.count = [], [], 0

    def const(self, value):
        self.count += 1
        self.stored.append(numpy_helper.from_array(np.asarray(value), "c%d" % self.count))
        return "c%d" % self.count

    def op(self, kind, *operands, out=None, n=1, **attrs):
        self.count += 1
        outs = [out] if out else ["t%d_%d" % (self.count, i) for i in range(n)]
        self.nodes.append(helper.make_node(kind, list(operands), outs, **attrs))
        return outs[0] if n == 1 else outs


def decoder(stacked):
    """x: [1,S,WIDTH] and the caches -> y and the longer caches, with a causal mask."""
    g, rng = Graph(), np.random.default_rng(5)
    weight = lambda *dims: g.const((rng.standard_normal(dims) / np.sqrt(dims[0])).astype(np.float32))
    ints = lambda *v: g.const(np.array(v, np.int64))
    zero, one, two, three = (g.const(np.int64(v)) for v in range(4))
    f32, x = TensorProto.FLOAT, "x"
    ports = {"in": [("x", [1, "S", WIDTH])], "out": [("y", [1, "S", WIDTH])]}
    length = g.op("Gather", g.op("Shape", "x"), one)
    for layer in range(LAYERS):
        if stacked:
            past = "past_%d" % layer
            ports["in"].append((past, [2, 1, HEADS, "P", SIZE]))
            ports["out"].append(("present_%d" % layer, [2, 1, HEADS, "T", SIZE]))
            old = [g.op("Gather", past, i, axis=0) for i in (zero, one)]
            filled = g.op("Gather", g.op("Shape", past), three)
        else:
            old = ["past_%s_%d" % (c, layer) for c in "kv"]
            ports["in"] += [(c, [1, HEADS, "P", SIZE]) for c in old]
            ports["out"] += [(c.replace("past", "present"), [1, HEADS, "T", SIZE]) for c in old]
            filled = g.op("Gather", g.op("Shape", old[0]), two)
        parts = g.op("Split", g.op("MatMul", x, weight(WIDTH, 3 * WIDTH)), axis=2, num_outputs=3, n=3)
        q, k, v = (g.op("Transpose", g.op("Reshape", p, ints(1, -1, HEADS, SIZE)), perm=[0, 2, 1, 3]) for p in parts)
        name = lambda c: None if stacked else "present_%s_%d" % (c, layer)
        k = g.op("Concat", old[0], k, axis=2, out=name("k"))
        v = g.op("Concat", old[1], v, axis=2, out=name("v"))
        if stacked:
            g.op("Concat", g.op("Unsqueeze", k, ints(0)), g.op("Unsqueeze", v, ints(0)), axis=0, out="present_%d" % layer)
        total = g.op("Add", filled, length)
        query = g.op("Unsqueeze", g.op("Add", g.op("Range", zero, length, one), filled), ints(1))
        seen = g.op("LessOrEqual", g.op("Range", zero, total, one), query)
        mask = g.op("Where", seen, g.const(np.float32(0)), g.const(np.float32(np.finfo(np.float32).min)))
        scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
        scores = g.op("Add", g.op("Mul", scores, g.const(np.float32(SIZE**-0.5))), mask)
        mixed = g.op("Transpose", g.op("MatMul", g.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        mixed = g.op("MatMul", g.op("Reshape", mixed, ints(1, -1, WIDTH)), weight(WIDTH, WIDTH))
        x = g.op("Add", x, mixed, out="y" if layer == LAYERS - 1 else None)
    values = {side: [helper.make_tensor_value_info(n, f32, d) for n, d in ports[side]] for side in ports}
    graph = helper.make_graph(g.nodes, "decoder", values["in"], values["out"], g.stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def loop(tally, what, source, artifact, threads, owner, axis, steps=50):
    """One decode after the other, ours in place, theirs with longer and longer caches."""
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    model = Loaded(artifact, threads)
    caches = [p.name.decode() for p in model.inputs if p.capacity]
    results = [p.name.decode() for p in model.outputs]
    dims = {p.name.decode(): list(p.dim[: p.rank]) for p in model.inputs}
    full = {n: [CAP if i == axis else d for i, d in enumerate(dims[n])] for n in caches}
    mine = {n: np.full(full[n], np.nan, np.float32) for n in caches}
    past = {n: np.zeros([0 if i == axis else d for i, d in enumerate(dims[n])], np.float32) for n in caches}
    rng, filled, worst = np.random.default_rng(7), 0, 0.0
    for step in range(steps):
        x = rng.standard_normal((1, 7 if step == 0 else 1, WIDTH)).astype(np.float32)
        want = dict(zip(results, session.run(results, dict(past, x=x))))
        ins, outs = [], [empty_output() for _ in results]
        target = {n: np.full(full[n], np.nan, np.float32) for n in caches} if owner == "moved" else mine
        for p in model.inputs:
            name = p.name.decode()
            ins.append(tensor(x if name == "x" else mine[name]))
            if name == "x":
                continue
            ins[-1].dim[axis] = filled
            if owner == "context":
                ins[-1].data, ins[-1].bytes = None, 0
            elif owner == "moved":
                o = p.alias
                outs[o].data, outs[o].bytes = target[name].ctypes.data, target[name].nbytes
        if model.raw_run(ins, outs):
            tally.check(what, False, "step %d: %s" % (step, model.message()))
            return
        filled += x.shape[1]
        mine = target
        for name, v in zip(results, outs):
            got = as_array(v)
            if got.shape != want[name].shape:
                tally.check(what, False, "%s is %s, not %s" % (name, got.shape, want[name].shape))
                return
            worst = max(worst, float(np.abs(got - want[name]).max() / np.abs(want[name]).max()))
        past = {n: want[n.replace("past", "present")] for n in caches}
    tally.check(what, worst < 1e-5, worst)
    ins[0] = tensor(np.zeros((1, CAP - filled + 1, WIDTH), np.float32))
    for v, p in zip(ins, model.inputs):
        if p.capacity:
            v.dim[axis] = filled
    tally.check(what + ": one too many", model.raw_run(ins, outs) == E_CAPACITY, model.message())
    for v, p in zip(ins, model.inputs):
        if p.capacity:
            v.dim[axis] = CAP + 1
    tally.check(what + ": the past too long", model.raw_run(ins, outs) in (E_CAPACITY, E_INPUT), model.message())
    model.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    args = parser.parse_args()
    bmc, tally, work = harness.needs_bmc(args.bmc), harness.Tally(), os.path.join(WORK, "state")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    for stacked in (False, True):
        what = "stacked" if stacked else "apart"
        source, axis = os.path.join(work, what + ".onnx"), 3 if stacked else 2
        onnx.save(decoder(stacked), source)
        names = [i.name for i in onnx.load(source).graph.input if i.name != "x"]
        words = [w for n in names for w in ("--alias", "%s=%s@-2:cap=%d" % (n, n.replace("past", "present"), CAP))]
        for level in ("-O2", "-O0"):
            artifact = os.path.join(work, what + level + ".so")
            ran = run([bmc, source, "-o", artifact, level] + words)
            if not tally.check("%s %s compiles" % (what, level), ran.status == 0, ran.brief()):
                continue
            for threads, owner in ((1, "caller"), (2, "context"), (1, "moved")):
                loop(tally, "%s %s, %d threads, %s" % (what, level, threads, owner), source, artifact, threads, owner, axis)
        listing = os.path.join(work, what + ".kir")
        if run([bmc, source, "-o", listing] + words).status == 0:
            with open(listing, encoding="utf-8") as f:
                reads = re.findall(r"launch @k\d+_(?:concat|copy|relayout)\(%past", f.read())
            tally.check(what + ": the past is not copied", not reads, reads)
    for text in ("past_k_0=present_k_0@9:cap=4", "past_k_0=present_k_0@2:cap=0", "past_k_0=present_k_0@-5:cap=4"):
        ran = run([bmc, os.path.join(work, "apart.onnx"), "-o", os.path.join(work, "x.so"), "--alias", text])
        tally.check("refused: " + text, ran.status == 1 and "--alias" in ran.err, ran.brief())
    return tally.finish()


if __name__ == "__main__":
    raise SystemExit(main())
