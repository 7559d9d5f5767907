#!/usr/bin/env python3
"""The operators of ai.onnx.ml, every version, against ONNX Runtime:   ml_ops.py [--bmc FILE] [--seed N] [--rounds N] [--only OP] [--full]

Nodes are made at random over what the attributes allow (ml_gen.py), some twenty in a model, which is compiled, run on one and two threads
and compared with ONNX Runtime. --full: more rounds, at -O0 and for x86-64-v3, too. A node that ONNX Runtime refuses is made anew.
"""

import argparse
import os
import shutil

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import harness
import ml_gen
from bmc_ctypes import Loaded, ModelError
from harness import WORK, run

NODES = 24
TOLERANCE = 2e-5


def peer(model, feeds):
    """ONNX Runtime's answers, or None where it refuses."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))
    except Exception:  # its exceptions have no common class
        return None


def expected(op, version, nodes):
    """By ONNX Runtime in one session; for some nodes the standard's reference as well, whose answers are called y…?."""
    model, feeds = ml_gen.model_of(op, version, nodes)
    want = peer(ml_gen.model_of(op, version, [n.for_peer() for n in nodes])[0], feeds)
    for k, node in enumerate(nodes):
        if node.either and len(node.inputs[0]):
            alone, x = ml_gen.model_of(op, version, [node])
            answers = ReferenceEvaluator(alone).run(None, x)
            want.update({"y%d_%d?" % (k, i): a for i, a in enumerate(answers)})
    return model, feeds, want


def made(op, version, rng):
    """Nodes that ONNX Runtime takes, as one model; how many it refused."""
    nodes, refused = [ml_gen.OPS[op, version](rng, version) for _ in range(NODES)], 0
    if peer(*ml_gen.model_of(op, version, [n.for_peer() for n in nodes])) is not None:
        return nodes, 0
    nodes = []
    while len(nodes) < NODES and refused < 4 * NODES:
        node = ml_gen.OPS[op, version](rng, version)
        if peer(*ml_gen.model_of(op, version, [node.for_peer()])) is None:
            refused += 1
        else:
            nodes.append(node)
    return nodes, refused


def close(got, want, tolerance=TOLERANCE):
    """Equal strings and integers, floats within the tolerance of the row's largest; NaN where NaN is."""
    if got.shape != want.shape:
        return False
    if want.dtype == object or not np.issubdtype(want.dtype, np.floating):
        return np.array_equal(got.astype(str) if want.dtype == object else got, want.astype(str) if want.dtype == object else want)
    if not np.array_equal(np.isnan(got), np.isnan(want)):
        return False
    g, w = np.nan_to_num(got.astype(np.float64)), np.nan_to_num(want.astype(np.float64))
    row = np.max(np.abs(w), axis=-1, keepdims=True) if w.ndim and w.size else np.abs(w)
    return bool(np.all(np.abs(g - w) <= tolerance * (1 + row)))


def compare(t, label, nodes, got, want):
    for k, node in enumerate(nodes):
        tolerance = 100 * TOLERANCE if node.attributes.get("post_transform") in ("PROBIT", 4) else TOLERANCE   # steep at 0 and 1
        for i in range(len(node.outputs)):
            name = "y%d_%d" % (k, i)
            g, w = np.asarray(got[name]), np.asarray(want[name])
            if not t.check("%s %s" % (label, name), close(g, w, tolerance) or (name + "?" in want and close(g, np.asarray(want[name + "?"])))):
                shown = {a: v for a, v in node.attributes.items() if isinstance(v, (str, int, float)) or (isinstance(v, list) and len(v) < 9)}
                bad = np.argwhere(g != w)[:1] if g.shape == w.shape else []
                print("     %s\n     shapes %s %s, first at %s: %s, expected %s" % (
                    shown, g.shape, w.shape, bad, [g[tuple(b)] for b in bad], [w[tuple(b)] for b in bad]))


def one(t, bmc, work, op, version, seed, configurations):
    label = "%s %d seed %d" % (op, version, seed)
    rng = np.random.default_rng([seed, version, sum(op.encode())])
    nodes, refused = made(op, version, rng)
    if not t.check(label + ": ONNX Runtime takes them", len(nodes) == NODES, "%d of them, %d refused" % (len(nodes), refused)):
        return
    model, feeds, want = expected(op, version, nodes)
    path, so = os.path.join(work, "ml.onnx"), os.path.join(work, "%s-%d-%d.so" % (op, version, seed))
    with open(path, "wb") as f:
        f.write(model.SerializeToString())
    for flags in configurations:
        ran = run([bmc, path, "-o", so] + flags)
        if not t.check(label + ": compiles", ran.status == 0, ran.brief()):
            continue
        try:
            got = [Loaded(so, threads=n).run(feeds) for n in (1, 2)]
        except ModelError as e:
            t.check(label + ": runs", False, e)
            continue
        os.remove(so)
        compare(t, " ".join([label] + flags), nodes, got[0], want)
        same = all(np.asarray(got[0][k]).tobytes() == np.asarray(got[1][k]).tobytes() for k in got[0] if got[0][k].dtype != object)
        t.check(label + ": two threads, the same bits", same)


def deep_tree(t, bmc, work, depth=5000):
    """A tree that is one long path: x <= 0, else x <= 1, else ..."""
    inner, leaves = [2 * k for k in range(depth)], [2 * k + 1 for k in range(depth)] + [2 * depth]
    nodes = list(range(2 * depth + 1))
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, nodes_treeids=[0] * len(nodes), nodes_nodeids=nodes,
        nodes_featureids=[0] * len(nodes), nodes_values=[k / 2 for k in nodes], nodes_modes=["LEAF" if k in set(leaves) else "BRANCH_LEQ" for k in nodes],
        nodes_truenodeids=[k + 1 if k in set(inner) else 0 for k in nodes], nodes_falsenodeids=[k + 2 if k in set(inner) else 0 for k in nodes],
        target_treeids=[0] * len(leaves), target_nodeids=leaves, target_ids=[0] * len(leaves), target_weights=[float(k) for k in range(len(leaves))])
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 1]) for n in "xy"]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    path, so = os.path.join(work, "deep.onnx"), os.path.join(work, "deep.so")
    onnx.save(helper.make_model(helper.make_graph([node], "g", ports[:1], ports[1:]), opset_imports=opsets, ir_version=8), path)
    ran = run([bmc, path, "-o", so])
    if t.check("a path of %d nodes compiles" % depth, ran.status == 0, ran.brief()):
        x = np.array([-1, 0, 17.5, depth - 2, depth - 1, depth + 7], np.float32)
        got = Loaded(so).run({"x": x.reshape(-1, 1)})["y"].ravel()
        t.check("a path of %d nodes" % depth, np.array_equal(got, np.clip(np.ceil(x), 0, depth)), got)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    bmc = harness.needs_bmc(args.bmc)
    t = harness.Tally()
    work = os.path.join(WORK, "ml")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    configurations = harness.configurations(True) if args.full else [["-O2"]]
    for op, version in ml_gen.OPS:
        for r in range(args.rounds * (5 if args.full else 1)):
            if args.only in op:
                one(t, bmc, work, op, version, args.seed + r, configurations)
    if args.only in "TreeEnsembleRegressor":
        deep_tree(t, bmc, work)
    return t.finish()


if __name__ == "__main__":
    raise SystemExit(main())
