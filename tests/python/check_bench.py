#!/usr/bin/env python3
"""The benchmarks work and count right:   check_bench.py [--bmc PATH]

`bmc profile` against flops and bytes worked out by hand, its steps against the time of the run; made-up inputs; the comparison of
answers and the interval of bench/run.py on made-up values; turns of bench/ops.py by a made-up clock; the rows and what
they are to reach; the page and the plot on made-up results; and quick runs with the peers: of bench/ops.py on two
operators, of bench/run.py on two small models. That last part is skipped, with the reason, where PyPI cannot be had.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import onnx
from onnx import TensorProto, helper

import harness
from harness import TOP, run

BENCH = os.path.join(TOP, "bench")
WORK = os.path.join(harness.WORK, "bench")
sys.path.insert(0, BENCH)


def profile(bmc, tally):
    """mnist_mlp is 784-128-10: two products with bias, a ReLU, and a softmax that is small beside them."""
    models = harness.own_models()
    ran = run([bmc, "profile", models["mnist_mlp"], "--threads", "1", "--dim", "batch=7", "--seconds", "0.2", "--json"])
    if not tally.check("bmc profile mnist_mlp", ran.status == 0, ran.brief()):
        return
    p = json.loads(ran.out)
    products = 7 * 2 * (784 * 128 + 128 * 10)
    tally.check("flops are those of the products and a little", products <= p["flops"] <= 1.02 * products, p["flops"])
    weights = 4 * (784 * 128 + 128 + 128 * 10 + 10)
    tally.check("bytes hold the weights", weights <= sum(s["bytes"] for s in p["steps"]) <= 1.5 * weights)
    within = sum(s["ns"] + s["wait_ns"] for s in p["steps"])
    tally.check("steps fill the run and no more", 0.3 * p["run_ns"] < within < 1.1 * p["run_ns"], (within, p["run_ns"]))
    used = [(s["cpu_ns"], s["ns"], s["flops"]) for s in p["steps"] if s["flops"] > 0.5 * products]
    busy = used and all(0.5 * w < c < 1.1 * w for c, w, _ in used)
    tally.check("on one thread a step uses a processor while it runs", busy, used)
    lost = [s["lost_ns"] for s in p["steps"]]
    tally.check("worst first", lost == sorted(lost, reverse=True) and len(lost) > 1, lost)
    names = {s["node"] for s in p["steps"]}
    tally.check("steps carry names of the model", any("Softmax" in n for n in names), names)
    tally.check("each ran once", all(s["times"] == 1 for s in p["steps"]))
    ran = run([bmc, "profile", models["mnist_mlp"], "--threads", "2", "--seconds", "0.1"])
    good = ran.status == 0 and "Softmax" in ran.out and "2 threads" in ran.out
    tally.check("as a table, two threads", good, ran.brief())
    command = [bmc, "profile", models["mnist_mlp"], "--threads", "2", "--dim", "batch=700", "--seconds", "0.3", "--json"]
    ran = run(command)
    p = json.loads(ran.out) if ran.status == 0 else {"steps": []}
    slowest = all(abs(s["slowest_ns"] - max(s["thread_ns"])) < 1 for s in p["steps"])
    tally.check("every thread counts for itself", p["steps"] and slowest, ran.brief())
    both = all(abs(s["cpu_ns"] - sum(s["thread_ns"])) < 1 for s in p["steps"])
    tally.check("processor time is that of both", p["steps"] and both and p["cpu_ns"] > 0, ran.brief())
    for _ in range(8):  # who gets no processor leaves its pieces to the other: a busy machine has several tries
        most = max(p["steps"], key=lambda s: s["alone_ns"], default={"thread_ns": [0, 1]})["thread_ns"]
        if len(most) != 2 or (min(most) > 0.5 * max(most) and p["team_ns"] < p["alone_ns"]):
            break
        ran = run(command)
        p = json.loads(ran.out) if ran.status == 0 else {"steps": []}
    tally.check("two threads share a large product", len(most) == 2 and min(most) > 0.5 * max(most), most)
    tally.check("and take less time than one", p.get("team_ns", 1) < p.get("alone_ns", 0), ran.out[:200])
    artifact = os.path.join(WORK, "plain.so")
    tally.check("compiles", run([bmc, models["mnist_mlp"], "-o", artifact]).status == 0)
    ran = run([bmc, "profile", artifact])
    refused = ran.status == 1 and "compiles the model itself" in ran.err
    tally.check("an artifact without counters is refused", refused, ran.brief())
    symbols = subprocess.run(["nm", "-D", artifact], capture_output=True, text=True).stdout
    tally.check("other models hold no counters", "bmc_model" in symbols and "bmc_profile" not in symbols, symbols)
    ran = run([bmc, "bench", artifact, "--gain", "--threads", "2", "--seconds", "0.1", "--json"])
    g = json.loads(ran.out) if ran.status == 0 else {}
    ratio = g and g["one_thread_min_ns"] / g["threads_min_ns"]
    tally.check("threads and one thread in turn", ratio and abs(g["gain"] - ratio) < 1e-9, ran.brief())
    ran = run([bmc, "bench", "--machine", "--json", "--threads", "1"])
    m = json.loads(ran.out) if ran.status == 0 else {}
    faster = m and m["cache_bandwidth"]["1"] > m["read_bandwidth"]["1"] > 0
    share = m.get("processor_share", {}).get("1", 0)
    tally.check("a thread has a processor for a share of the time", 0.05 < share <= 1.01, ran.out)
    tally.check("the cache reads faster than memory", faster, ran.out)


def made_up_inputs(bmc, tally):
    """Integers of made-up inputs shrink, with a warning, where the model refuses those of 0 to 9; given ones do not."""

    def table(rows, path):
        ids, y = (helper.make_tensor_value_info(n, *t) for n, *t in (("ids", TensorProto.INT64, [50]), ("y", 1, [50])))
        w = helper.make_tensor("w", TensorProto.FLOAT, [rows], np.arange(rows, dtype=np.float32))
        graph = helper.make_graph([helper.make_node("Gather", ["w", "ids"], ["y"])], "g", [ids], [y], [w])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        return path

    for rows, said in ((10, None), (2, "0 and 1"), (1, "zeros")):
        path = table(rows, os.path.join(WORK, "table%d.onnx" % rows))
        ran = run([bmc, "bench", path, "--seconds", "0.01"])
        right = ran.status == 0 and (said in ran.err and "W204" in ran.err if said else not ran.err)
        tally.check("made-up indices into %d rows" % rows, right, ran.brief())
    np.save(os.path.join(WORK, "ids.npy"), np.full(50, 3))
    ran = run([bmc, "bench", path, "--input", "ids=@" + os.path.join(WORK, "ids.npy")])
    tally.check("a given index is refused", ran.status == 1 and "out of range" in ran.err, ran.brief())
    empty = table(0, os.path.join(WORK, "table0.onnx"))
    ran = run([bmc, "bench", empty])
    tally.check("where none will do the first reason", ran.status == 1 and "out of range" in ran.err, ran.brief())


def arithmetic(tally):
    import run as bench

    got, want = os.path.join(WORK, "got.npz"), os.path.join(WORK, "want.npz")
    x = np.linspace(-2, 2, 50, dtype=np.float32)

    def verdict(a, b):
        np.savez(got, **a)
        np.savez(want, **b)
        try:
            return bench.compare(got, want)
        except bench.Failed as e:
            return str(e)

    near = x + np.float32(2e-6)
    tally.check("equal answers", verdict({"0": x}, {"0": x}) == 0)
    tally.check("a difference is a share of the range", 0 < verdict({"0": near}, {"0": x}) < 2e-6)
    far = x.copy()
    far[3] += 0.01
    tally.check("one wrong element", "differs" in str(verdict({"0": x, "1": far}, {"0": x, "1": x})))
    tally.check("another shape", "shape" in str(verdict({"0": x[:-1]}, {"0": x})))
    tally.check("a missing output", "shape" in str(verdict({"0": x}, {"0": x, "1": x})))
    tally.check("a NaN", "shape" in str(verdict({"0": np.where(x > 1, np.nan, x)}, {"0": x})))
    rows = {"0": np.arange(12.0).reshape(3, 4), "1": np.arange(3.0)}
    turned = {k: a[[2, 0, 1]] for k, a in rows.items()}
    mixed = {"0": rows["0"], "1": turned["1"]}
    tally.check("rows in another order", bench.error_of_rows(turned, rows) == 0)
    tally.check("rows of other rows' parts", bench.error_of_rows(mixed, rows) > 0.1)
    tally.check("fewer rows", bench.error_of_rows({k: a[:2] for k, a in rows.items()}, rows) is None)
    rng = random.Random(1)
    drawn = [random.Random(k).gauss(1.5, 0.1) for k in range(11)]
    middle, low, high = bench.interval(drawn, rng)
    tally.check("an interval holds its median", low < middle < high and min(drawn) <= low and high <= max(drawn))
    tally.check("no spread, no interval", bench.interval([2.0] * 5, rng) == [2.0, 2.0, 2.0])


def row_of(ours, ort=None, ov=None, **more):
    """A row of results with these rounds."""
    made = {"bmc": {"rounds_ns": ours, "ns": sorted(ours)[len(ours) // 2], **more}}
    made.update({n: {"rounds_ns": t} for n, t in (("onnxruntime", ort), ("openvino", ov)) if t})
    return made


def figures(tally):
    """What a row is to reach: bench/bars.py against values worked out by hand."""
    import bars

    best = bars.against_best(row_of([2.0] * 5, [3.0] * 5, [5.0] * 5))
    tally.check("the best peer is the quicker one", best == (1.5, 1.5, 1.5, "onnxruntime"), best)
    best = bars.against_best(row_of([2.0, 4, 2, 4, 3], [6.0, 12, 6, 12, 9], [5.0] * 5))
    tally.check("medians, not rounds, are divided", best[0] == 5 / 3 and best[3] == "openvino", best)
    tally.check("rounds are drawn together", best[1] <= best[0] <= best[2] and best[2] <= 3, best)
    tally.check("without a peer there is no ratio", bars.against_best(row_of([1.0] * 5)) is None)
    failed = {"bmc": {"error": "x"}, "openvino": {"rounds_ns": [1.0]}}
    tally.check("nor without ours", bars.against_best(failed) is None)
    for best, bar, want in (((1.1, 1.0, 1.2, "p"), 1.2, True), ((1.1, 1.0, 1.19, "p"), 1.2, False),
                            ((0.99, 0.9, 1.5, "p"), 1.0, False), ((1.0, 1.0, 1.0, "p"), 1.0, True), (None, 1.0, False)):
        tally.check("met: %s of %s" % (best, bar), bars.met(best, bar) == want)
    names = list(bars.BARS["times_as_fast"])
    got = bars.verdicts({"models": {names[0]: row_of([1.0] * 5, [2.0] * 5), names[1]: {"error": "why not"}}})
    tally.check("every row has a verdict", [v.name for v in got] == names and [v.met for v in got[:3]] == [1, 0, 0])
    tally.check("with its reason", got[1].why == "why not" and got[2].why == "not measured", got[1:3])
    row = row_of([1e6] * 5, [2e6] * 5, weights_bytes=5e7)
    row["bmc"]["start"] = {"load_ns": 1e5, "output_ns": 2e6, "peak_kb": 10, "first_ns": 6.31e6}
    row["onnxruntime"]["start"] = {"load_ns": 5e6, "output_ns": 4e7, "peak_kb": 10}
    got = bars.starting(row)
    tally.check("loading and starting", got["load"] == (50, 50, True) and got["start"] == (20, 20, True), got)
    tally.check("as much memory is not less", got["memory"] == (1, 1, False), got)
    tally.check("the first run has 1.3 ms and 5 for the weights", got["first run"][2] is False
                and abs(got["first run"][0] - 6.31 / 6.3) < 1e-9, got)
    row["bmc"]["ns"] = 3e6
    tally.check("a long run has only to start sooner", bars.starting(row)["start"] == (20, 1, True))
    row["bmc"].update(scaling=[1.5, 1.4, 1.7], one_thread_ns=6e6)
    tally.check("the second core", bars.second_core("x", row) == (1.5, 1.4, 1.7, 1.6, True))
    tally.check("of resnet50", bars.second_core("resnet50", row)[3:] == (1.85, False))
    row["bmc"]["one_thread_ns"] = 4e6
    tally.check("of a short run", bars.second_core("x", row)[3:] == (None, True))


def rows(tally):
    """NAME@LABEL: the same file, other sizes."""
    import bars
    import models
    import run as bench

    real = os.path.join(WORK, "real")  # a model with stored inputs
    stored = os.path.join(real, "minilm_l6", "test_data_set_0")
    os.makedirs(stored, exist_ok=True)
    made = harness.own_models()
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "seq"])
    out = helper.make_tensor_value_info("y", TensorProto.INT64, ["batch", "seq"])
    graph = helper.make_graph([helper.make_node("Neg", ["input_ids"], ["y"])], "g", [ids], [out])
    onnx.save(helper.make_model(graph), os.path.join(real, "minilm_l6", "model.onnx"))
    harness.write_tensor(os.path.join(stored, "input_0.pb"), np.arange(6).reshape(2, 3))
    entries = models.catalogue(real, True)
    feeds = entries["minilm_l6@s16"].feeds(WORK)["input_ids"]
    tally.check("stored inputs are repeated and cut", feeds.tolist() == [[0, 1, 2] * 5 + [0]], feeds)
    tally.check("a label leaves the file", entries["minilm_l6@s16"].file(WORK) == entries["minilm_l6"].file(WORK))
    mlp = models.Entry("m", "small", made["mnist_mlp"], {"batch": 2}).variant("b3", {"batch": 3})
    tally.check("a symbol's size", mlp.feeds(WORK)["x"].shape == (3, 1, 28, 28) and mlp.row == "m@b3")
    known = set(entries) | set(models.REAL_KINDS)
    known |= {n + "@" + k for n, labels in models.VARIANTS.items() for k in labels}
    stray = [n for n in bars.BARS["times_as_fast"] if n not in known and not n.startswith("mlperf_tiny")]
    tally.check("every row of bars.json is one", not stray, stray)
    chosen, asked = bench.choose(entries, "minilm_l6")
    tally.check("a model stands for its rows", chosen == ["minilm_l6", "minilm_l6@s16"] and asked, chosen)
    chosen, _ = bench.choose(entries, "bars,-resnet50")
    tally.check("rows with a figure", "resnet50@b8" not in chosen and "vgg16" in chosen, chosen)
    tally.check("and no others", "digits" not in chosen, chosen)


def made_up():
    rows = {"one & only": 2.5, "two": 0.4, "three": 1.0}
    models = {}
    for name, ratio in rows.items():
        models[name] = {
            "kind": "small", "flops": 1e6, "bytes": 4e3, "working_set": 4e3, "model_bytes": 5e3, "inputs": {},
            "versions": {"bmc": "bmc 1"},
            "bmc": {"ns": 2e4, "rounds_ns": [2e4] * 5, "c_ns": 1.9e4, "file_bytes": 6e3, "load_ns": 1e5,
                    "first_ns": 3e4, "peak_kb": 900,
                    "weights_bytes": 4e3, "arena_bytes": 64, "compile": {"seconds": 0.5, "peak_mb": 70}},
            "onnxruntime": {"ns": 2e4 * ratio, "rounds_ns": [2e4 * ratio] * 5,
                            "ratio": [ratio, ratio * 0.9, ratio * 1.1]},
            "openvino": {"error": "cannot do that"},
        }
    models["resnet50"] = dict(models["two"], load_average=3.0)
    models["resnet50"]["bmc"] = dict(models["two"]["bmc"], start={"load_ns": 2e5, "output_ns": 2e6, "peak_kb": 1024,
                                                                  "first_ns": 1e6})
    models["resnet50"]["onnxruntime"] = dict(models["two"]["onnxruntime"], start={"load_ns": 4e6, "output_ns": 7e7,
                                                                                  "peak_kb": 4096})
    models["four"] = {"kind": "text", "bmc": {"error": "/tmp/some/where/four.onnx: node 1 (Odd): not supported"}}
    return {"threads": 1, "rounds": 5, "seconds": 0.05, "clock": "wall", "when": "2000-01-01", "models": models,
            "machine": {"gflops": 100.0, "bytes": [1 << 20, 1 << 23], "gbs": [100.0, 10.0], "cpu": "c",
                        "name": "Machine", "cores": 2, "label": "", "target": "t"}}


def pages(tally):
    import report

    r = made_up()
    stand = report.standing(r, "onnxruntime")
    tally.check("how the models stand", stand[1:] == (4, 1, 1, 2), stand)
    tally.check("geometric mean", abs(report.mean([2.5, 0.4, 1.0]) - 1) < 1e-9)
    tally.check("least time is the larger of both", report.roofline_ns(r, r["models"]["two"]) == 1e4)
    results, docs = os.path.join(WORK, "results"), os.path.join(WORK, "docs")
    os.makedirs(docs, exist_ok=True)
    report.publish(r, results, docs)
    with open(os.path.join(docs, "BENCHMARKS.md")) as f:
        page = f.read()
    for text in ("| two |", "0.400 (0.360–0.440)", "50 %", "four.onnx: node 1 (Odd)", "*cannot*", "19.0", "met in 0 of",
                 "| resnet50 | 1.17 | 0.400 (0.400–0.400) | ONNX Runtime | **no** | 50 % |", "median of the rows, 3.0",
                 "| vgg16 | 1.80 | *not measured* |", "| 0.200 | 4.00 | 20.0 **no** | 2.00 | 70.0 | 35.0 |",
                 "load: 0 of 1; start: 1 of 1; memory: 1 of 1; first run: 0 of 1"):
        tally.check("the page says " + text, text in page, page)
    tally.check("no folder of this machine", "/tmp/" not in page)
    picture = ElementTree.parse(os.path.join(docs, "benchmarks-1t.svg")).getroot()
    tally.check("the plot is SVG", picture.tag.endswith("svg"))
    texts = ["".join(t.itertext()) for t in picture.iter("{http://www.w3.org/2000/svg}text")]
    tally.check("with every measured model", all(n in texts for n in ("one & only", "two", "three")), texts)
    bars = [b for b in picture.iter("{http://www.w3.org/2000/svg}rect") if b.get("fill") == report.PEERS[0][2]]
    tally.check("and a bar for each", len(bars) == 1 + 4, len(bars))  # one in the legend


def changing_shapes(tally):
    """The section about changing shapes, on made-up results, and the inputs that it is measured with."""
    import random

    import changing

    ours = {"median_ns": 1e6, "p99_ns": 2e6, "total_ns": 9e6}
    peer = dict(ours, median_ns=2.5e6, ratio=[2.5, 2.2, 2.6])
    row = {"bmc": ours, "onnxruntime": dict(peer, ratio=[3.0, 2.9, 3.1]), "openvino": peer}
    made = {"threads": 1, "calls": 5, "clock": "cpu", "real": False, "models": {"one": row, "two": dict(row)}}
    text = "\n".join(changing.section([made]))
    for part in ("Reached: 2 of 2; geometric mean 2.50", "| one |", "2.50 (2.20–2.60)", "--calls 5 --clock cpu --publish"):
        tally.check("changing shapes: the page says " + part, part in text, text)
    tally.check("changing shapes: nothing measured, nothing said", changing.section([]) == [])
    drawn = [changing.sides(random.Random(k)) for k in range(200)]
    good = all(320 <= s[a] <= 960 and s[a] % 32 == 0 for s in drawn for a in "hw")
    tally.check("changing shapes: sides are multiples of 32", good and len({(s["h"], s["w"]) for s in drawn}) > 100)


def peers(what):
    """Are the peers there, or can they be installed? Else says what is left out."""
    import run as bench

    try:
        bench.make_venv()
    except (subprocess.CalledProcessError, OSError) as e:
        print("skipped %s: packages cannot be installed from PyPI (%s)" % (what, e))
        return False
    return True


class Clock:
    """Instead of the module time, and an engine whose runs take that many nanoseconds of it, the first of a turn more."""
    threads = 1

    def __init__(self, ns):
        self.ns, self.now, self.runs = ns, 0, 0

    def perf_counter_ns(self):
        return self.now

    process_time_ns = perf_counter_ns

    def load(self, path):
        pass

    def own_outputs(self):
        pass

    def answers(self):
        return []

    def bind(self, feeds):
        def run():
            self.runs += 1
            self.now += self.ns + (self.ns // 2 if self.runs == 1 else 0)
        return run


def turns(tally):
    """How often a turn of bench/ops.py runs, and how large what it runs in memory is."""
    import ops
    import ops_case
    real = ops.time
    for ns, runs in ((1000, 1500), (400_000, 4), (2_000_000, 3), (9_000_000, 2), (30_000_000, 1)):
        ops.time = clock = Clock(ns)
        timed = ops.Timed(clock, "", {})
        timed.turn()
        before, clock.runs = timed.least, 0
        timed.turn()
        tally.check("a turn of runs of %d ns" % ns, clock.runs == runs, clock.runs)
        tally.check("the least of them", before == timed.least == ns, (before, timed.least))
    ops.time = real
    for last, n in ((0, 4), (16, 4), (32, 8), (64, 16), (384, 16)):
        tally.check("elements behind a cache of %d MB" % last, ops_case.elements(last << 20)["memory"] == n << 20)
    tally.check("this machine's last cache", 0 <= ops_case.last_cache(0) < 1 << 32, ops_case.last_cache(0))


def single_ops(bmc, tally):
    """bench/ops.py on two rows, and its page."""
    import ops
    if not peers("single operators"):
        return
    out = os.path.join(WORK, "ops.json")
    ran = run([sys.executable, os.path.join(BENCH, "ops.py"), "--quick", "--only", "unary: Relu;sorting: TopK, 10 of",
               "--sizes", "L1,L2", "--out", out, "--bmc", bmc, "--seconds", "0.02"], limit=300)
    if not tally.check("bench/ops.py --quick", ran.status == 0, ran.brief()):
        return
    with open(out) as f:
        r = json.load(f)
    for name, bytes_of in (("unary: Relu", lambda n: 8 * n), ("sorting: TopK, 10 of 1000", lambda n: n // 1000 * (4000 + 120))):
        for size, n in (("L1", 1 << 13), ("L2", 1 << 17)):
            cell = r["rows"].get(name, {}).get("sizes", {}).get(size, {})
            tally.check("%s, %s: times, same answers" % (name, size), cell.get("bmc", 0) > 0 and cell.get("onnxruntime", 0) > 0
                        and cell.get("error") == 0, cell)
            tally.check("%s, %s: bytes" % (name, size), cell.get("bytes") == bytes_of(n), cell)
    slow = {"bmc": 3000.0, "onnxruntime": 1000.0, "flops": 0, "bytes": 3000, "working_set": 3000}
    r["rows"]["unary: Relu"]["sizes"]["L1"] = slow
    r["rows"]["unary: Relu"]["sizes"]["L2"] = {k: v for k, v in slow.items() if k != "onnxruntime"}
    tally.check("what misses its bar is counted", ("unary: Relu", "L1", 3.0, 1.5) in ops.below(r), ops.below(r))
    text = ops.page(r)
    for part in ("# Single operators", "## Unary", "**3.0**", "*cannot*", "| TopK, 10 of 1000 |", "the last cache holds"):
        tally.check("the page of single operators says " + part, part in text, text)


def whole(bmc, tally):
    """bench/run.py itself, as a user starts it."""
    if not peers("the run with the peers"):
        return
    out = os.path.join(WORK, "results.json")
    if os.path.exists(out):
        os.remove(out)
    ran = run([sys.executable, os.path.join(BENCH, "run.py"), "--quick", "--no-packages", "--models",
               "digits,mnist_mlp", "--out", out, "--bmc", bmc, "--seconds", "0.02"], limit=600)
    if not tally.check("bench/run.py --quick", ran.status == 0, ran.brief()):
        return
    with open(out) as f:
        r = json.load(f)
    for name in ("digits", "mnist_mlp"):
        row = r["models"].get(name, {})
        for peer in ("onnxruntime", "openvino"):
            c = row.get(peer, {}).get("ratio", [0, 0, 0])
            tally.check("%s against %s" % (name, peer), 0 < c[1] <= c[0] <= c[2], row.get(peer))
            tally.check("%s: the answers of %s" % (name, peer), row.get(peer, {}).get("error_of_range", 1) < 1e-4)
        ours = row.get("bmc", {})
        tally.check(name + ": our answers", ours.get("error_of_range", 1) < 1e-4, ours)
        tally.check(name + ": all the figures", all(ours.get(k, 0) > 0 for k in (
            "ns", "c_ns", "load_ns", "first_ns", "peak_kb", "file_bytes")) and len(ours["rounds_ns"]) == 5, ours)
        for engine in ("bmc", "onnxruntime", "openvino"):
            begun = row.get(engine, {}).get("start", {})
            tally.check("%s: %s started from C" % (name, engine), begun.get("load_ns", 0) > 0 and begun["peak_kb"] > 0
                        and begun["output_ns"] > begun["load_ns"] + begun["first_ns"], begun)
        tally.check(name + ": flops and bytes", row.get("flops", 0) > 1e4 and row.get("bytes", 0) > 1e4)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bmc", default=harness.DEFAULT_BMC)
    args = p.parse_args()
    bmc = harness.needs_bmc(args.bmc)
    os.makedirs(WORK, exist_ok=True)
    tally = harness.Tally()
    arithmetic(tally)
    figures(tally)
    rows(tally)
    pages(tally)
    changing_shapes(tally)
    profile(bmc, tally)
    made_up_inputs(bmc, tally)
    turns(tally)
    single_ops(bmc, tally)
    whole(bmc, tally)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
