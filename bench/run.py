#!/usr/bin/env python3
"""bmc against ONNX Runtime and OpenVINO on every model, at every size that bars.json names:

    bench/run.py [--models A,B] [--threads N] [--rounds N] [--quick] [--real DIR] [--publish]

The first call installs the peers, pinned in bench/requirements.txt, into build/venv-bench. All engines get the same
file, inputs and cores. Each runs in a process of its own, bound to those cores; while one runs, the others are
stopped. Answers are compared with ONNX Runtime's without optimisations before anything is timed. Then the engines
take turns: a round is one batch of each, in changing order; a time is the median over the rounds, a ratio the median
of the rounds' ratios, with a bootstrap 95 % confidence interval. The machine's peak and bandwidth are measured in the
same run. With several threads bmc takes turns with itself on one, too. Starting is measured from C (bench/start.c):
load, first run, memory above a bare process. Results: build/bench/results-Nt.json; --publish copies them to
bench/results/ and writes docs/BENCHMARKS.md and its plots (bench/report.py).

  --models A,B      only those ('-A': all but A; A without '@' stands for its variants A@…, too); with
                    results already there, theirs are replaced and the others kept; 'bars': the rows of bars.json
  --threads N       of every engine (default 1); --cores 0,1: which (default: the last ones that may be used)
  --rounds N        default 11, at least 5; --seconds S: of a batch (default 0.25); --loads N: fresh processes (3;
                    from C up to 11 where these take no second)
  --quick           5 rounds of 0.05 s, one load instead of three
  --real DIR        more models: DIR/NAME/model.onnx, with test_data_set_0 if there is one
  --engines LIST    default bmc,onnxruntime,openvino;  --bmc PATH: default build/bin/bmc;  --no-packages: without PyPI's
  --clock cpu       processor time instead of elapsed time: one thread on a machine that others use, too
  --label TEXT      what kind of machine this is, for the report;  --out FILE: where the results go
"""

import argparse
import fcntl
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
VENV = os.path.join(TOP, "build", "venv-bench")
WORK = os.path.join(TOP, "build", "bench")
PEERS = ("onnxruntime", "openvino")
STARTS, STARTS_SECONDS = 11, 1.0  # fresh processes of an engine with a model, unless that takes longer
WRONG = 1e-3  # of the largest magnitude of an output
WRONG_QUANTISED = 2 / 255  # where a model rounds to 8 bits inside: two steps


def make_venv():
    """The bench environment, made on first use and again when the pins change; gives its Python."""
    pins = os.path.join(HERE, "requirements.txt")
    stamp = os.path.join(VENV, "pins.txt")
    python = os.path.join(VENV, "bin", "python")
    with open(pins) as f:
        want = f.read()
    have = open(stamp).read() if os.path.exists(stamp) else None
    if have != want:
        print("installing the peers into build/venv-bench", flush=True)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", pins], check=True)
        with open(stamp, "w") as f:
            f.write(want)
    return python


def enter_venv():
    """Go on under the bench environment's Python."""
    python = make_venv()
    if os.path.realpath(sys.prefix) != os.path.realpath(VENV):
        os.execv(python, [python, os.path.abspath(__file__)] + sys.argv[1:])


class Failed(Exception):
    pass


class Engine:
    """A worker process (bench/engines.py); it is stopped except while it works."""

    def __init__(self, name, args, threads=None):
        """With fewer threads than the others it may use the same cores: the system chooses for both alike."""
        self.name, threads = name, threads or args.threads
        cores = ",".join(str(c) for c in args.cores[-args.threads:])
        self.p = subprocess.Popen([sys.executable, os.path.join(HERE, "engines.py"), name, str(threads), cores],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def do(self, what, **more):
        self.p.send_signal(signal.SIGCONT)
        try:
            self.p.stdin.write(json.dumps(dict(more, do=what)) + "\n")
            self.p.stdin.flush()
            line = self.p.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Failed("the process ended with status %s" % self.p.wait())
        reply = json.loads(line)
        if "error" in reply:
            raise Failed(reply["error"])
        self.p.send_signal(signal.SIGSTOP)
        return reply

    def end(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.send_signal(signal.SIGCONT)
        self.p.wait()


def command(words, cores, limit=900):
    """Run a command on the given cores: (status, stdout, stderr, seconds, peak MB)."""
    t = time.monotonic()
    p = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         preexec_fn=lambda: os.sched_setaffinity(0, cores))
    try:
        out, err = p.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        p.kill()
        out, err = p.communicate()
        err = "time limit of %d s" % limit
    return p.returncode, out, err, time.monotonic() - t


def compile_model(args, source, artifact):
    """bmc's own time and memory on one core; the memory is that of bmc and of the linker that it starts."""
    probe = ("import resource,subprocess,sys;s=subprocess.run(sys.argv[1:]).returncode;"
             "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss);sys.exit(s)")
    status, out, err, seconds = command([sys.executable, "-c", probe, args.bmc, source, "-o", artifact, "-q"],
                                        args.cores[:1])
    if status:
        raise Failed("bmc: " + " ".join((err.strip().splitlines() or ["status %d" % status])[0].split())[:300])
    return {"seconds": round(seconds, 3), "peak_mb": round(int(out.split()[-1]) / 1024, 1)}


def error_of(got, want):
    """Largest difference over the largest magnitude; None: another shape or missing."""
    import numpy as np

    if got is None or got.shape != want.shape:
        return None
    if want.size == 0:
        return 0.0
    if not np.issubdtype(want.dtype, np.number):
        return 0.0 if (got == want).all() else None
    a, b = got.astype(np.float64), want.astype(np.float64)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return None
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) if a.size else 0.0


def onnx_of(path):
    import onnx

    return onnx.load(path, load_external_data=False)


def tolerance(onnx_file):
    ops = {n.op_type for n in onnx_of(onnx_file).graph.node}
    return WRONG_QUANTISED if any("Quantize" in op or "QLinear" in op for op in ops) else WRONG


def error_of_rows(got, want):
    """The same for outputs that are together a list of rows (boxes, labels, scores): every row has its partner,
    whatever the order; None: another number of rows, or none to compare."""
    import numpy as np

    if not want or any(k not in got or got[k].shape != want[k].shape or not want[k].size for k in want):
        return None
    scale = {k: max(np.abs(want[k].astype(np.float64)).max(), 1e-30) for k in want}
    a, b = (np.concatenate([x[k].astype(np.float64).reshape(len(x[k]), -1) / scale[k] for k in want], axis=1)
            for x in (got, want))
    worst, free = 0.0, list(range(len(a)))
    for row in b:
        distance = np.abs(a[free] - row).max(axis=1)
        worst = max(worst, float(distance.min()))
        free.pop(int(distance.argmin()))
    return worst


def compare(path, reference, most=WRONG, rows=False):
    """The worst output's error; Failed when it is above `most`."""
    import numpy as np

    worst = 0.0
    with np.load(path) as got, np.load(reference) as want:
        if rows:
            e = error_of_rows({k: got[k] for k in got.files}, {k: want[k] for k in want.files})
            if e is None or not e <= most:
                raise Failed("rows differ: %s" % ("number or kind" if e is None else "by %.1e of their range" % e))
            return e
        for k in want.files:
            e = error_of(got[k] if k in got.files else None, want[k])
            if e is None or not e <= most:
                how = "shape or kind" if e is None else "by %.1e of its range" % e
                raise Failed("output %s differs: %s" % (k, how))
            worst = max(worst, e)
    return worst


def interval(ratios, rng):
    """Median and its bootstrap 95 % interval."""
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(4000))
    return [round(x, 4) for x in (statistics.median(ratios), medians[100], medians[-101])]


def machine(args):
    """What the machine can do at most, on the cores and threads of this run."""
    status, out, err, _ = command([args.bmc, "bench", "--machine", "--json", "--threads", str(args.threads)],
                                  args.cores)
    if status:
        raise SystemExit("bmc bench --machine failed: " + err)
    m = json.loads(out)
    n = str(args.threads)
    return {"gflops": max(w[n] for w in m["fma_peak"].values()), "bytes": m["bandwidth_by_size"]["bytes"],
            "gbs": m["bandwidth_by_size"][n], "cpu": m["cpu"], "target": m["target"]}


def start_all(args, files, row):
    """Fresh processes without Python, in turn: row[engine]["start"]."""
    import start

    try:
        program = start.starter(WORK)
    except start.Failed as e:
        print("    nothing is started from C: %s" % e)
        return
    outputs = [o.name for o in onnx_of(files["onnx"]).graph.output]
    words, got = {}, {}
    engines = [e for e in args.engines if "ns" in row[e]]
    for name in engines + ["none"]:
        words[name], got[name] = start.words(name, files, outputs, args.threads), []
    brief = min((row[e]["ns"] for e in engines), default=0) < 3e6
    least, spent = max(args.loads, 5 if brief else 1), dict.fromkeys(words, 0.0)
    for k in range(max(least, STARTS)):  # one start says little, and most take no time
        for name in list(words):
            if k >= least and spent[name] > STARTS_SECONDS:
                continue
            try:
                begin = time.monotonic()
                got[name].append(start.once(program, args.clock, words[name], args.cores))
                spent[name] += time.monotonic() - begin
            except start.Failed as e:
                print("    %s from C: %s" % (name, e))
                del words[name]
    for name in engines:
        if name in words and "none" in words:
            made = {key: statistics.median(x[key] for x in got[name]) for key in start.KEYS}
            made["peak_kb"] -= statistics.median(x["peak_kb"] for x in got["none"])
            row[name]["start"] = made


def load_all(args, entry, files, row, reference):
    """Fresh processes, in turn: load time, first run, memory. The last set stays; answers are compared."""
    engines = {}
    for repeat in range(args.loads):
        for name in args.engines:
            if name not in files or "error" in row[name]:
                continue
            engine = Engine(name, args)
            try:
                got = engine.do("load", model=files[name], feeds=files["feeds"])
                row[name].setdefault("loads", []).append(got)
                if repeat == args.loads - 1:
                    answers = os.path.join(WORK, "answers-%s.npz" % name)
                    engine.do("answers", to=answers)
                    if reference:
                        row[name]["error_of_range"] = compare(answers, reference, files["most"], entry.rows)
                    engines[name] = engine
                    continue
            except Failed as e:
                row[name]["error"] = str(e)
            engine.end()
    for name in args.engines:
        loads = row[name].pop("loads", [])
        for key in ("load_ns", "first_ns", "second_ns", "engine_kb", "resident_kb", "private_kb", "peak_kb"):
            if loads:
                row[name][key] = statistics.median(x[key] for x in loads)
        if loads:
            row["versions"][name] = loads[0]["version"]
    return engines


def reference_answers(args, files):
    engine = Engine("reference", args)
    path = os.path.join(WORK, "answers-reference.npz")
    try:
        engine.do("load", model=files["onnx"], feeds=files["feeds"])
        engine.do("answers", to=path)
        return path
    except Failed as e:
        print("    no reference: %s" % e)
        return None
    finally:
        engine.end()


def rounds(args, engines, row):
    """Engines in alternation; {name: [ns of each round]}. "alone" is bmc with one thread."""
    rng = random.Random(7)
    order = list(engines)
    times = {name: [] for name in order}
    for name in order:  # warm up, and bind outputs
        engines[name].do("time", seconds=args.seconds / 4)
    for r in range(args.rounds):
        order = order[1:] + order[:1]
        for name in order:
            batch = engines[name].do("time", seconds=args.seconds, clock=args.clock)["ns"]
            times[name].append(statistics.median(batch))
    alone = times.pop("alone", None)
    if alone:
        row["bmc"]["one_thread_ns"] = round(statistics.median(alone), 1)
        row["bmc"]["scaling"] = interval([a / b for a, b in zip(alone, times["bmc"])], rng)
    for name, t in times.items():
        row[name]["ns"] = round(statistics.median(t), 1)
        row[name]["rounds_ns"] = [round(x, 1) for x in t]
    for peer in PEERS:
        if peer in times and "bmc" in times:
            row[peer]["ratio"] = interval([p / b for p, b in zip(times[peer], times["bmc"])], rng)
            row[peer]["same_answers"] = True


def in_c(args, files, row):
    """The same runs timed by `bmc bench`, without Python around them."""
    words = [args.bmc, "bench", files["bmc"], "--json", "--threads", str(args.threads), "--seconds", str(args.seconds)]
    for name, path in files["npy"].items():
        words += ["--input", "%s=@%s" % (name, path)]
    got = []
    for _ in range(3):
        status, out, err, _ = command(words, args.cores)
        if status:
            raise Failed("bmc bench: " + err.strip()[:200])
        got.append(json.loads(out))
    row["bmc"]["c_ns"] = statistics.median(g["median_ns"] for g in got)
    for key in ("arena_bytes", "weights_bytes"):
        row["bmc"][key] = got[0][key]


def work_of(args, files, row):
    """Flops, and the bytes that any engine must move: the weights that are used, inputs, outputs."""
    words = [args.bmc, "profile", files["onnx"], "--json", "--threads", "1", "--seconds", "0.01", "-q"]
    for name, path in files["npy"].items():
        words += ["--input", "%s=@%s" % (name, path)]
    status, out, err, _ = command(words, args.cores)
    if status:
        raise Failed("bmc profile: " + err.strip()[:200])
    p = json.loads(out)
    row["flops"], row["working_set"] = p["flops"], p["working_set_bytes"]
    import numpy as np

    io = sum(os.path.getsize(p) - 128 for p in files["npy"].values())
    with np.load(os.path.join(WORK, "answers-bmc.npz")) as z:
        io += sum(z[k].nbytes for k in z.files)
    row["bytes"] = min(p["weights_read_bytes"], row["bmc"]["weights_bytes"]) + io


def measure(args, entry):
    import numpy as np

    row = {"kind": entry.kind, "versions": {}, **{e: {} for e in args.engines}}
    files = {"onnx": entry.file(WORK), "feeds": os.path.join(WORK, "feeds.npz"), "npy": {}}
    files["most"] = tolerance(files["onnx"])
    feeds = entry.feeds(WORK)
    np.savez(files["feeds"], **feeds)
    for k, (name, array) in enumerate(feeds.items()):
        files["npy"][name] = os.path.join(WORK, "feed-%d.npy" % k)
        np.save(files["npy"][name], array)
    row["inputs"] = {name: list(a.shape) for name, a in feeds.items()}
    row["model_bytes"] = os.path.getsize(files["onnx"])
    artifact = os.path.join(WORK, "artifacts", entry.name + ".so")
    os.makedirs(os.path.dirname(artifact), exist_ok=True)
    for name in args.engines:
        files[name] = files["onnx"]
    if "bmc" in args.engines:
        try:
            if args.compiled.get("path") != artifact:  # rows of one model share its artifact
                drop_artifact(args)
                cost = compile_model(args, files["onnx"], artifact)
                args.compiled.update(path=artifact, cost=cost)
            row["bmc"]["compile"] = args.compiled["cost"]
            files["bmc"] = artifact
            row["bmc"]["file_bytes"] = os.path.getsize(artifact)
        except Failed as e:
            row["bmc"]["error"] = str(e)
    engines = load_all(args, entry, files, row, reference_answers(args, files))
    if args.threads > 1 and "bmc" in engines:
        engines["alone"] = Engine("bmc", args, 1)
        engines["alone"].do("load", model=files["bmc"], feeds=files["feeds"])
    try:
        rounds(args, engines, row)
    finally:
        for e in engines.values():
            e.end()
    if "bmc" in engines:
        in_c(args, files, row)
        work_of(args, files, row)
    start_all(args, files, row)
    row["load_average"] = round(os.getloadavg()[0], 2)
    return row


def drop_artifact(args):
    path = args.compiled.pop("path", None)
    if path and os.path.exists(path):
        os.remove(path)


def line(name, row):
    ours = row.get("bmc", {})
    if "ns" not in ours:
        return "%-38s %s" % (name, ours.get("error", "not measured"))
    text = "%-38s %10.3f ms" % (name, ours["ns"] / 1e6)
    for peer in PEERS:
        p = row.get(peer, {})
        text += "   %s %s" % (peer, "%.2f (%.2f-%.2f)" % tuple(p["ratio"]) if "ratio" in p else
                              p.get("error", "-")[:60])
    return text


def parse():
    p = argparse.ArgumentParser(usage=__doc__.replace("%", "%%"))
    p.add_argument("--models", default="")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--cores", default="")
    p.add_argument("--rounds", type=int)
    p.add_argument("--seconds", type=float)
    p.add_argument("--loads", type=int)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--real")
    p.add_argument("--engines", default="bmc,onnxruntime,openvino")
    p.add_argument("--bmc", default=os.environ.get("BMC", os.path.join(TOP, "build", "bin", "bmc")))
    p.add_argument("--no-packages", action="store_true")
    p.add_argument("--label", default="")
    p.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    p.add_argument("--out")
    p.add_argument("--publish", action="store_true")
    args = p.parse_args()
    args.rounds = max(5, args.rounds or (5 if args.quick else 11))
    args.seconds = args.seconds or (0.05 if args.quick else 0.25)
    args.loads = args.loads or (1 if args.quick else 3)
    args.engines = args.engines.split(",")
    args.compiled = {}  # the artifact that is there: path, cost
    usable = sorted(os.sched_getaffinity(0))
    args.cores = [int(c) for c in args.cores.split(",")] if args.cores else usable[-args.threads:]
    if args.clock == "cpu" and args.threads > 1:
        raise SystemExit("--clock cpu says nothing about several threads")
    if len(args.cores) < args.threads:
        raise SystemExit("%d threads need as many cores; there are %d" % (args.threads, len(args.cores)))
    args.out = args.out or os.path.join(WORK, "results-%dt.json" % args.threads)
    if not os.access(args.bmc, os.X_OK):
        raise SystemExit("there is no %s: build first (scripts/build), or give --bmc" % args.bmc)
    args.bmc = os.path.abspath(args.bmc)
    return args


def cpu_name():
    with open("/proc/cpuinfo") as f:
        for text in f:
            if text.startswith("model name"):
                return text.split(":", 1)[1].strip()
    return "unknown"


def finish(args, results, peaks):
    """Write the results as far as they go."""
    results.update({
        "machine": {**peaks[0], "gflops": max(p["gflops"] for p in peaks),
                    "gbs": [max(g) for g in zip(*(p["gbs"] for p in peaks))],
                    "name": cpu_name(), "cores": os.cpu_count(), "label": args.label},
        "threads": args.threads, "clock": args.clock, "rounds": args.rounds, "seconds": args.seconds,
        "real": bool(args.real) or results.get("real", False), "loads": args.loads,
        "when": time.strftime("%Y-%m-%d", time.gmtime()),
    })
    with open(args.out + ".part", "w") as f:
        json.dump(results, f, indent=1, sort_keys=True)
    os.replace(args.out + ".part", args.out)


def choose(entries, text):
    """(rows to measure, in the order of the catalogue; whether they were asked for by name)."""
    import bars

    def rows_of(word):
        if word == "bars":
            return [r for r in entries if r in bars.BARS["times_as_fast"]]
        return [r for r in entries if r == word or r.startswith(word + "@")]

    asked = [w for w in text.split(",") if w]
    unknown = [w for w in asked if not rows_of(w.lstrip("-"))]
    if unknown:
        raise SystemExit("no such model: %s; there are %s" % (", ".join(unknown), " ".join(entries)))
    wanted = {r for w in asked if not w.startswith("-") for r in rows_of(w)} or set(entries)
    wanted -= {r for w in asked if w.startswith("-") for r in rows_of(w[1:])}
    return [r for r in entries if r in wanted], bool(asked)


def main():
    enter_venv()
    args = parse()
    import models

    os.makedirs(WORK, exist_ok=True)
    alone = open(os.path.join(WORK, "lock"), "w")  # held to the end: runs share the files there
    try:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another run works in build/bench: waiting", flush=True)
        fcntl.flock(alone, fcntl.LOCK_EX)
    entries = models.catalogue(args.real, not args.no_packages)
    chosen, asked = choose(entries, args.models)
    results = {"models": {}}
    if asked and os.path.exists(args.out):
        with open(args.out) as f:
            results = json.load(f)
    peaks = [machine(args)]
    if results.get("machine", {}).get("bytes") == peaks[0]["bytes"]:
        peaks.append(results["machine"])
    args.label = args.label or results.get("machine", {}).get("label", "")
    finish(args, results, peaks)
    for k, name in enumerate(chosen):
        try:
            results["models"][name] = measure(args, entries[name])
        except Exception as e:  # a model that cannot be had, or a bug here: named, and the others go on
            results["models"][name] = {"kind": entries[name].kind, "error": "%s: %s" % (type(e).__name__, e)}
        finish(args, results, peaks)
        print(line(name, results["models"][name]), flush=True)
        if len(chosen) > 8 and k == len(chosen) // 2:
            peaks.append(machine(args))
    drop_artifact(args)
    peaks.append(machine(args))
    finish(args, results, peaks)
    import report

    print(report.summary(results))
    if args.publish:
        report.publish(results)


if __name__ == "__main__":
    main()
