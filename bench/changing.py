#!/usr/bin/env python3
"""bmc against ONNX Runtime and OpenVINO where shapes change from call to call:

    bench/changing.py [--models A,B] [--calls N] [--threads N] [--real DIR] [--clock cpu] [--publish]

One dynamic artifact, one session each. Every engine is given the same inputs in the same random order: sequences of
1–384 tokens, images with sides of 320–960 pixels in steps of 32. A call is timed from binding its inputs to its last
output; nothing is known about a shape before it comes, but two other calls went before the first. The engines take
turns after every few calls, each in a process of its own, the others stopped, as in bench/run.py. Answers at three
of the shapes are compared with those of ONNX Runtime without optimisations first. The figure of a row is the
median of the calls' ratios; each engine's median call, total and 99th percentile stand beside it.

  --models A,B      default bert_base,minilm_l6,resnet50,ch_PP-OCRv4_det_infer (those that are there)
  --calls N         default 120; --threads, --cores, --real, --engines, --bmc, --clock, --label: as bench/run.py has them
  --out FILE        default build/bench/changing-N.json; --publish: to bench/results/, and into docs/BENCHMARKS.md
"""

import json
import os
import random
import statistics
import sys
import time

import run

BAR, MEAN = 1.0, 1.25  # of each row, and of all
TURN = 5  # calls of an engine before the next one's turn
SIDES = range(320, 961, 32)
PEERS = run.PEERS


def lengths(rng):
    return {"seq": rng.randint(1, 384)}


def sides(rng):
    return {"h": rng.choice(SIDES), "w": rng.choice(SIDES)}


# model: (how sizes are drawn, symbols of the shape of every input in order; None: as the model has it)
CASES = {
    "bert_base": (lengths, None),
    "minilm_l6": (lengths, None),
    "resnet50": (sides, [1, 3, "h", "w"]),
    "ch_PP-OCRv4_det_infer": (sides, [1, 3, "h", "w"]),
}


def free_model(entry, shape, work):
    """The model's file; with free sides where the exporter fixed them."""
    import onnx

    path = entry.file(work)
    if not shape:
        return path
    model = onnx.load(path)
    port = model.graph.input[0]
    for dim, size in zip(port.type.tensor_type.shape.dim, shape):
        if isinstance(size, int):
            dim.dim_value = size
        else:
            dim.dim_param = size
    del model.graph.value_info[:]
    for output in model.graph.output:
        for k, dim in enumerate(output.type.tensor_type.shape.dim):
            dim.dim_param = "%s_%d" % (output.name.replace("/", "_"), k)
    made = os.path.join(work, "changing-%s.onnx" % entry.name)
    onnx.save(model, made)
    return made


def feeds_of(path, shape, sizes, rng):
    """{input: array} for one call."""
    import models

    made = {}
    for v in models.fed_inputs(run.onnx_of(path)):
        t = v.type.tensor_type
        dims = shape or [d.dim_param or d.dim_value for d in t.shape.dim]
        full = tuple(d if isinstance(d, int) else sizes.get(d, 1) for d in dims)
        made[v.name] = models.value_of(v.name, full, models.onnx.helper.tensor_dtype_to_np_dtype(t.elem_type), rng)
    return made


def check(engines, files, calls, reference):
    """The largest error of each engine, as a part of the output's range, at three of the shapes."""
    worst = {}
    for k in sorted({0, calls // 2, calls - 1}):
        want = os.path.join(run.WORK, "answers-reference.npz")
        reference.do("sweep", feeds=files["feeds"], calls=[k])
        reference.do("answers", to=want)
        for name, engine in engines.items():
            got = os.path.join(run.WORK, "answers-%s.npz" % name)
            engine.do("sweep", feeds=files["feeds"], calls=[k])
            engine.do("answers", to=got)
            worst[name] = max(worst.get(name, 0), run.compare(got, want, files["most"]))
    return worst


def measure(args, entry, sizes_of, shape):
    import numpy as np

    rng, values = random.Random(11), np.random.default_rng(11)
    path = free_model(entry, shape, run.WORK)
    artifact, feeds = (os.path.join(run.WORK, "changing" + end) for end in (".so", ".npz"))
    sizes = [sizes_of(rng) for _ in range(args.calls + 2)]
    np.savez(feeds, **{"%d/%s" % (k, name): a for k, s in enumerate(sizes)
                       for name, a in feeds_of(path, shape, s, values).items()})
    row = {"compile": run.compile_model(args, path, artifact), "sizes": sizes[2:], "versions": {}}
    files = {"feeds": feeds, "most": run.tolerance(path)}
    engines, ns = {}, {}
    try:
        for name in args.engines + ["reference"]:
            engines[name] = run.Engine(name, args)
            got = engines[name].do("open", model=artifact if name == "bmc" else path)
            row["versions"][name] = got["version"]
        reference = engines.pop("reference")
        row["error_of_range"] = check(engines, files, args.calls, reference)
        reference.end()
        order = list(engines)
        ns = {name: [] for name in order}
        for k in range(2, args.calls + 2, TURN):
            order = order[1:] + order[:1]
            for name in order:
                calls = list(range(k, min(k + TURN, args.calls + 2)))
                ns[name] += engines[name].do("sweep", feeds=feeds, calls=calls, clock=args.clock)["ns"]
    finally:
        for engine in engines.values():
            engine.end()
        for file in (artifact, feeds):
            if os.path.exists(file):
                os.remove(file)
    del row["versions"]["reference"]
    for name, t in ns.items():
        row[name] = {"median_ns": statistics.median(t), "total_ns": sum(t),
                     "p99_ns": sorted(t)[min(len(t) - 1, int(0.99 * len(t)))]}
    draw = random.Random(5)
    for peer in ns:
        if peer != "bmc":
            row[peer]["ratio"] = run.interval([p / b for p, b in zip(ns[peer], ns["bmc"])], draw)
    return row


def best(row):
    """The ratio to the best peer."""
    return min(row[p]["ratio"][0] for p in PEERS if p in row)


def mean(values):
    return statistics.geometric_mean(values) if values else 0


def section(results):
    """Lines of docs/BENCHMARKS.md; none where nothing was measured."""
    from report import ms, shown, table

    out = []
    for r in results:
        rows = []
        for name, row in sorted(r["models"].items()):
            cells = [name]
            for key in ("median_ns", "p99_ns", "total_ns"):
                cells += [ms(row[e][key]) if e in row else "–" for e in ("bmc",) + PEERS]
            for p in PEERS:
                cells += ["%s (%s–%s)" % tuple(shown(x) for x in row[p]["ratio"]) if p in row else "–"]
            rows.append(cells)
        if not rows:
            continue
        ratios = [best(row) for row in r["models"].values()]
        head = ["model"] + ["%s, ms: %s" % (what, who) if who == "bmc" else who
                            for what in ("median", "p99", "total") for who in ("bmc", "ORT", "OV")]
        head += ["times as fast as ORT", "as OV"]
        out += ["## Shapes that change from call to call", "",
                "    bench/changing.py --threads %d --calls %d%s%s --publish" % (
                    r["threads"], r["calls"], " --clock cpu" if r["clock"] == "cpu" else "", " --real DIR" if r["real"] else ""),
                "", "The same random order for each engine: sequences of 1–384 tokens, images with sides of 320–960 in steps of 32; a call's"
                " time includes binding its inputs. In brackets: bootstrap 95 %% interval of the median of the calls' own ratios."
                " Figure of a row: the median against the best peer's, ≥ %g on each, geometric mean ≥ %g." % (BAR, MEAN),
                "Reached: %d of %d; geometric mean %s." % (sum(x >= BAR for x in ratios), len(ratios), shown(mean(ratios))), "",
                table(head, ["---"] + ["---:"] * (len(head) - 1), rows), ""]
    return out


def published(folder):
    """What --publish left in bench/results."""
    found = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if name.startswith("changing-") and name.endswith(".json"):
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                found.append(json.load(f))
    return found


def main():
    calls = 120
    if "--calls" in sys.argv:
        k = sys.argv.index("--calls")
        calls = int(sys.argv[k + 1])
        del sys.argv[k : k + 2]
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return
    sys.argv[1:] += ["--calls", str(calls)]  # for the environment's own Python
    run.enter_venv.__globals__["__file__"] = os.path.abspath(__file__)
    run.enter_venv()
    del sys.argv[-2:]
    run.__doc__ = __doc__
    args = run.parse()
    args.calls = calls
    if args.out.endswith("results-%dt.json" % args.threads):
        args.out = os.path.join(run.WORK, "changing-%d.json" % args.threads)
    import models

    os.makedirs(run.WORK, exist_ok=True)
    entries = models.catalogue(args.real, False)
    names = [n for n in (args.models.split(",") if args.models else CASES) if n in entries]
    results = {"models": {}}
    if args.models and os.path.exists(args.out):
        with open(args.out, encoding="utf-8") as f:
            results = json.load(f)
    results.update(threads=args.threads, calls=calls, clock=args.clock, real=bool(args.real), cpu=run.cpu_name(),
                   label=args.label, when=time.strftime("%Y-%m-%d", time.gmtime()))
    for name in names:
        row = results["models"][name] = measure(args, entries[name], *CASES[name])
        print("%-24s median ms: %s   %s" % (name, "  ".join("%s %.2f" % (e, row[e]["median_ns"] / 1e6) for e in args.engines),
              "  ".join("%s %.2f (total %.2f, p99 %.2f)" % (p, row[p]["ratio"][0], row[p]["total_ns"] / row["bmc"]["total_ns"], row[p]["p99_ns"] / row["bmc"]["p99_ns"])
                        for p in PEERS if p in row)), flush=True)
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump(results, f, indent=1, sort_keys=True)
    print("geometric mean against the best peer: %.3f" % mean([best(r) for r in results["models"].values()]))
    if args.publish:
        import report

        report.write(os.path.join(report.RESULTS, os.path.basename(args.out)), json.dumps(results, indent=1, sort_keys=True) + "\n")
        report.publish()


if __name__ == "__main__":
    main()
