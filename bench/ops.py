#!/usr/bin/env python3
"""Single operators against ONNX Runtime and against the machine, on one thread:

    bench/ops.py [--only TEXT;TEXT] [--sizes L1,L2,memory] [--quick] [--publish]

The rows and their sizes are the tables in bench/ops_table*.py: a model of one node each. Both engines run it in one
process through their quickest call from Python (bench/engines.py: inputs and outputs bound and preallocated, large ones
in the same memory), in turns of 1.5 ms and three runs at least, three turns each at least. A time is the least of all
runs, in processor time, for what disturbs only adds; less what the engine takes for a model of one element with as many
inputs and outputs: so neither the call nor the session counts. A row that misses its bar is measured once more, in a
new process and for a second, and that counts. Answers are compared first. The machine's FMA peak and bandwidth are
measured in the same run; a row's share is the least time that flops at the peak, or bytes of inputs and outputs at the
bandwidth of reading as many over and over, would take, over its time.
Results: build/bench/ops.json; --publish copies them to bench/results/ and writes docs/OPS_BENCH.md.

  --only "A;B"      rows whose "family: name" holds one of the texts; with results already there, theirs are replaced
  --sizes LIST      default all;  --quick: a fifth of the time (some ten minutes on an idle machine)
  --seconds S       of one row at one size (default 0.5, of memory twice that);  --bmc PATH: default build/bin/bmc;  --out FILE
  --label TEXT      what kind of machine this is, for the page;  --list: the rows, nothing measured
  --flags TEXT      further flags of bmc (--flags=--cpu=x86-64-v3);  --threads N: both engines, wall clock if N > 1
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import time
import warnings

import run

PAGE = os.path.join(run.TOP, "docs", "OPS_BENCH.md")
TURN_NS = 1.5e6  # of an engine, at least
TURN_RUNS = 3  # in a turn: the first one finds in the last cache what the other engine left there
TURN_MOST_NS = 20e6  # who runs as long reads far more than that cache holds
AGAIN_SECONDS = 1.0  # of a row that misses its bar
FLOOR_NS = 300.0  # what is left of a time and is less than this counts as this: calls are not known better
OURS, PEER = "bmc", "onnxruntime"


def error(got, want):
    """The largest difference as a part of the output's range; None: another shape or kind."""
    import numpy as np

    if got.shape != want.shape or got.dtype != want.dtype:
        return None
    if np.array_equal(got, want):
        return 0.0
    a, b = (x.astype(np.float64) for x in (got, want))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    finite = np.abs(b[np.isfinite(b)])
    with np.errstate(invalid="ignore"):
        off = np.abs(a - b)[~same].max()
    return float(off / max(finite.max() if finite.size else 1.0, 1e-30)) if np.isfinite(off) else float("inf")


class Timed:
    """An engine with a loaded model: least nanoseconds of a run over all turns."""

    def __init__(self, engine, path, feeds):
        self.engine, self.threads = engine, engine.threads
        engine.load(path)
        self.run = engine.bind(feeds)
        self.run()
        self.answers = [a.copy() for a in engine.answers()]
        try:
            engine.own_outputs()
            self.run()
        except Exception:  # an output whose size only the run knows: the engine's own memory
            self.run = engine.bind(feeds)
        self.least, self.once = float("inf"), None

    def turn(self):
        """Runs for TURN_NS at least, and TURN_RUNS of them unless that takes longer than TURN_MOST_NS."""
        tick, call = time.process_time_ns if self.threads == 1 else time.perf_counter_ns, self.run
        if self.once is None:
            t = time.perf_counter_ns()
            call()
            self.once = max(time.perf_counter_ns() - t, 100)
        inner = range(max(1, int(TURN_NS / 4 / self.once)))
        begin, runs = time.perf_counter_ns(), 0
        while True:
            t = tick()
            for _ in inner:
                call()
            ns = (tick() - t) / len(inner)
            self.least = min(self.least, ns)
            self.once = max(min(self.once, ns), 100)
            runs += len(inner)
            spent = time.perf_counter_ns() - begin
            if spent >= TURN_NS and (runs >= TURN_RUNS or spent >= TURN_MOST_NS):
                return


def alternate(engines, seconds, least=3, most=60):
    end = time.perf_counter() + seconds
    for k in range(most):
        for e in engines if k % 2 else reversed(engines):
            e.turn()
        if k + 1 >= least and time.perf_counter() >= end:
            return


def call_model(inputs, outputs):
    """One element each, and hardly anything to do: what calling takes."""
    import numpy as np
    import onnx
    from onnx import helper

    one = [helper.make_tensor_value_info("x%d" % k, onnx.TensorProto.FLOAT, [1]) for k in range(max(1, inputs))]
    outs = [helper.make_tensor_value_info("y%d" % k, onnx.TensorProto.FLOAT, [1]) for k in range(outputs)]
    nodes = [helper.make_node("Neg", ["x0"], [o.name]) for o in outs]
    graph = helper.make_graph(nodes, "call", one, outs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return made, {v.name: np.ones(1, np.float32) for v in one}


def compiled(args, model, stem):
    import onnx

    path, artifact = os.path.join(args.work, stem + ".onnx"), os.path.join(args.work, stem + ".so")
    onnx.save(model, path)
    status, out, err, _ = run.command([args.bmc, path, "-o", artifact, "-q"] + args.flags.split(), args.cores)
    if status:
        raise run.Failed("bmc: " + (err.strip() or out.strip()).splitlines()[0][:200])
    return path, artifact


def engines_of(files, feeds, threads):
    """({name: Timed}, {name: why not})"""
    import engines

    made, failed = {}, {}
    for name, make, file in ((OURS, engines.Bmc, files[1]), (PEER, engines.OnnxRuntime, files[0])):
        try:
            made[name] = Timed(make(threads), file, feeds)
        except Exception as e:
            if name == OURS:
                raise
            failed[name] = " ".join(w for w in str(e).split() if "/" not in w)[:160]
    return made, failed


def calls_of(args, inputs, outputs):
    """The engines with a model that only has to be called."""
    model, feeds = call_model(inputs, outputs)
    stem = "call-%d-%d" % (inputs, outputs)
    files = [os.path.join(args.work, stem + end) for end in (".onnx", ".so")]
    if not os.path.exists(files[1]):
        compiled(args, model, stem)
    return engines_of(files, feeds, args.threads)[0]


def measure(args, entry, n, seconds):
    """One row at one size; in a process of its own."""
    case = entry.make(n)
    made, failed = engines_of(compiled(args, case.model, "one"), case.feeds, args.threads)
    ours = made[OURS]
    case.out_bytes = sum(a.nbytes for a in ours.answers)
    in_bytes = sum(a.nbytes for a in case.feeds.values())
    result = {
        "flops": case.flops,
        "bytes": case.touched(case) if case.touched else in_bytes + case.out_bytes,
        "working_set": in_bytes + case.out_bytes,
        "failed": failed.get(PEER),
    }
    if PEER in made and case.loose is not None:
        errors = [error(a, b) for a, b in zip(ours.answers, made[PEER].answers)]
        result["error"] = None if None in errors else max(errors)
    calls = calls_of(args, len(case.feeds), len(ours.answers))
    alternate(list(calls.values()), args.seconds / 5)
    alternate(list(made.values()), seconds)
    for name, e in made.items():
        result[name] = max(e.least - calls[name].least, FLOOR_NS)
        result[name + "_call"] = calls[name].least
    return result


def child(pipe, args, entry, n, seconds):
    try:
        os.sched_setaffinity(0, args.cores)
        pipe.send(measure(args, entry, n, seconds))
    except Exception as e:
        pipe.send({"failed_bmc": "%s: %s" % (type(e).__name__, " ".join(str(e).split())[:300])})
    pipe.close()
    os._exit(0)  # thread pools end with the process


def apart(args, entry, n, seconds):
    """A row in a process of its own: a crash is the row's."""
    here, there = multiprocessing.Pipe(False)
    p = multiprocessing.get_context("fork").Process(target=child, args=(there, args, entry, n, seconds))
    p.start()
    there.close()
    try:
        result = here.recv()
    except EOFError:
        result = {"failed_bmc": "the process ended"}
    p.join()
    return result


def judged(args, entry, size, n):
    """A row at one size; above its bar once more, and longer: what stands there should be so the next time, too."""
    result = apart(args, entry, n, args.seconds * (2 if size == "memory" else 1))
    if result.get(PEER) and ratio(result) > entry.bar:
        again = apart(args, entry, n, max(args.seconds, AGAIN_SECONDS))
        result = again if again.get(PEER) else result
    return result


# --- what the figures say


def share(r, m):
    """Of FMA peak or bandwidth, whichever bounds."""
    read = ([g for size, g in zip(m["bytes"], m["gbs"]) if size <= r["working_set"]] or m["gbs"][:1])[-1]
    return max(r["flops"] / m["gflops"], r["bytes"] / read) / r[OURS]


def ratio(r):
    """Our time over ONNX Runtime's; None: it has none."""
    return r[OURS] / r[PEER] if PEER in r else None


def below(results):
    """Cells that miss their bar: (row, size, ratio, bar)."""
    return [
        (name, size, ratio(r), row["bar"])
        for name, row in results["rows"].items()
        for size, r in row["sizes"].items()
        if r.get(PEER) and ratio(r) > row["bar"]
    ]


def shown(x):
    from report import shown as text

    return text(x, 2)


def time_text(ns):
    return "%s µs" % shown(ns / 1e3)


def cells(r, m, bar):
    if "failed_bmc" in r:
        return ["*%s*" % r["failed_bmc"][:40], "–", "–"]
    q = ratio(r)
    text = "*cannot*" if q is None else shown(q)
    if q is not None and q > bar:
        text = "**%s**" % text
    return [time_text(r[OURS]), "%.0f %%" % (100 * share(r, m)), text]


INTRODUCTION = """Written by `bench/ops.py --publish`; do not edit. Every family of operators at three sizes on one thread,
against ONNX Runtime %s in the same process: about 8 Ki elements of f32 (caches next to the core), 128 Ki (L2) and
%d Mi (memory; the last cache holds %s). The rows: `bench/ops_table*.py`; how: the head of `bench/ops.py`.
"""
EXPLANATION = """*share*: of the FMA peak or of the bandwidth of reading the same bytes over and over, whichever bounds. *ratio*: our
time over ONNX Runtime's, the least of many short turns, processor time, without what calling either takes; **bold**
where it misses its bar (1.5; cumulative ops, sorting, gather and scatter, resize and trees 1; Fourier transforms 0.1),
*cannot* where ONNX Runtime has no such kernel. Why those are not better: `docs/PERFORMANCE.md`.
"""


def page(results):
    from report import table

    m, rows = results["machine"], results["rows"]
    last = results["last_cache"]
    cache = "%d MB" % (last >> 20) if last else "what the system does not tell"
    out = ["# Single operators", "", INTRODUCTION % (results["peer"], results["elements"]["memory"] >> 20, cache)]
    read = ["%.0f GB/s over %g MB" % (g, round(b / (1 << 20))) for b, g in zip(m["bytes"], m["gbs"])]
    name = results["label"] or m["name"]
    out += [
        "Machine: %s (%s). At most, on one thread: %.0f GF/s (f32); reads %s."
        % (name, m["cpu"], m["gflops"], ", ".join(read))
    ]
    out += ["", EXPLANATION]
    counted = [ratio(r) for row in rows.values() for r in row["sizes"].values() if r.get(PEER)]
    missed = below(results)
    if counted:
        out += [
            "%d of %d figures reach their bar; geometric mean of the ratios %s."
            % (len(counted) - len(missed), len(counted), shown(statistics.geometric_mean(counted))),
            "",
        ]
    head = ["operator", "bar"] + [
        "%s: %s" % (size, what) for size in results["sizes"] for what in ("time", "share", "ratio")
    ]
    for family in dict.fromkeys(row["family"] for row in rows.values()):
        lines = []
        for row in rows.values():
            if row["family"] != family:
                continue
            line = [row["what"], "%g" % row["bar"]]
            for size in results["sizes"]:
                line += cells(row["sizes"][size], m, row["bar"]) if size in row["sizes"] else ["–"] * 3
            lines.append(line)
        out += ["## " + family.capitalize(), "", table(head, ["---"] + ["---:"] * (len(head) - 1), lines), ""]
    return "\n".join(out)


def brief(results):
    """For the tree: four digits, nothing that is not there."""

    def shorter(x):
        if isinstance(x, dict):
            return {k: shorter(v) for k, v in x.items() if v is not None}
        return float("%.4g" % x) if isinstance(x, float) else x

    return shorter(results)


def line(name, size, r, m, bar):
    if "failed_bmc" in r:
        return "%-44s %-6s %s" % (name, size, r["failed_bmc"])
    q = ratio(r)
    wrong = " DIFFERS by %s" % r["error"] if PEER in r and not good(r) else ""
    return "%-44s %-6s %10.2f us  share %4.0f %%  ratio %s%s%s" % (
        name,
        size,
        r[OURS] / 1e3,
        100 * share(r, m),
        "cannot (%s)" % r["failed"][:60] if q is None else "%.2f" % q,
        " <-- bar %g" % bar if q and q > bar else "",
        wrong,
    )


def good(r, most=1e-3):
    return "error" not in r or (r["error"] is not None and r["error"] <= most)


def parse():
    p = argparse.ArgumentParser(usage=__doc__.replace("%", "%%"))
    p.add_argument("--only", default="")
    p.add_argument("--sizes", default="")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--seconds", type=float)
    p.add_argument("--bmc", default=os.environ.get("BMC", os.path.join(run.TOP, "build", "bin", "bmc")))
    p.add_argument("--out", default=os.path.join(run.WORK, "ops.json"))
    p.add_argument("--label", default="")
    p.add_argument("--publish", action="store_true")
    p.add_argument("--list", action="store_true")
    p.add_argument("--flags", default="")
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    if args.publish and (args.flags or args.threads > 1):
        p.error("the page holds figures of one thread and of code for this machine")
    args.seconds = args.seconds or (0.1 if args.quick else 0.5)
    args.clock = "cpu"
    args.cores = sorted(os.sched_getaffinity(0))[-args.threads :]
    args.bmc = os.path.abspath(args.bmc)
    args.work = os.path.join(run.WORK, "ops-%d" % os.getpid())
    return args


def main():
    run.enter_venv.__globals__["__file__"] = os.path.abspath(__file__)
    run.enter_venv()
    args = parse()
    import ops_case as table
    import ops_table
    import ops_table_forms
    import ops_table_kinds
    import ops_table_more

    last = table.last_cache(args.cores[0])
    elements = table.elements(last)
    sizes = [s for s in table.SIZES if not args.sizes or s in args.sizes.split(",")]
    asked = [w for w in args.only.split(";") if w]
    chosen = [r for r in table.ROWS if not asked or any(w in "%s: %s" % (r.family, r.what) for w in asked)]
    if args.list or not chosen:
        print("\n".join("%s: %s" % (r.family, r.what) for r in table.ROWS))
        return 0 if args.list else 1
    import engines  # before the forks
    import onnxruntime

    warnings.simplefilter("ignore")
    os.makedirs(args.work, exist_ok=True)
    results = {"rows": {}}
    if (asked or args.sizes) and os.path.exists(args.out):
        with open(args.out) as f:
            results = json.load(f)
    peak = run.machine(args)
    peak["name"] = run.cpu_name()
    results.update(
        machine=peak,
        sizes=list(table.SIZES),
        elements=elements,
        last_cache=last,
        peer=onnxruntime.__version__,
        label=args.label or results.get("label", ""),
        when=time.strftime("%Y-%m-%d", time.gmtime()),
    )
    wrong = 0
    for r in chosen:
        name = "%s: %s" % (r.family, r.what)
        row = results["rows"].setdefault(name, {"sizes": {}})
        row.update(family=r.family, what=r.what, bar=r.bar)
        for size in sizes:
            got = row["sizes"][size] = judged(args, r, size, elements[size])
            wrong += "failed_bmc" in got or not good(got)
            print(line(name, size, got, peak, r.bar), flush=True)
        with open(args.out + ".part", "w") as f:
            json.dump(results, f, indent=1)
        os.replace(args.out + ".part", args.out)
    order = {"%s: %s" % (r.family, r.what): k for k, r in enumerate(table.ROWS)}
    results["rows"] = dict(
        sorted(((k, v) for k, v in results["rows"].items() if k in order), key=lambda x: order[x[0]])
    )
    shutil.rmtree(args.work)
    print("%d figures below their bar" % len(below(results)))
    if args.publish:
        import report

        report.write(os.path.join(report.RESULTS, "ops.json"), json.dumps(brief(results), indent=1) + "\n")
        report.write(PAGE, page(results))
    assert engines and ops_table and ops_table_more and ops_table_forms and ops_table_kinds
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
