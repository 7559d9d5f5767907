"""What bench/run.py found, for people: a summary in text, docs/BENCHMARKS.md with its tables, and a plot for each
number of threads (docs/benchmarks-Nt.svg, drawn here: text stays text, 30 KB).

    report.py        writes the pages again from bench/results/*.json
"""

import json
import math
import os
import shutil
import statistics
import sys
from xml.sax.saxutils import escape

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bars

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(TOP, "bench", "results")
DOCS = os.path.join(TOP, "docs")
PEERS = (("onnxruntime", "ONNX Runtime", "#3b6fb6"), ("openvino", "OpenVINO", "#e08a2e"))


# --- numbers


def time_of(row, engine="bmc"):
    return row.get(engine, {}).get("ns")


def ratio_of(row, peer):
    return row.get(peer, {}).get("ratio")


def mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values)) if values else None


def roofline_ns(r, row):
    """The least time that the machine's peak and bandwidth allow: flops, and weights, inputs and outputs once, read as
    fast as so many bytes can be read over and over."""
    m = r["machine"]
    if "flops" not in row:
        return None
    read = ([g for size, g in zip(m["bytes"], m["gbs"]) if size <= row["working_set"]] or m["gbs"][:1])[-1]
    return max(row["flops"] / m["gflops"], row["bytes"] / read)


def measured(r):
    """Models with a time of ours, slowest against the first peer last."""
    rows = [(n, row) for n, row in r["models"].items() if time_of(row)]
    return sorted(rows, key=lambda x: -(ratio_of(x[1], PEERS[0][0]) or ratio_of(x[1], PEERS[1][0]) or [0])[0])


def missing(r):
    return [(n, row.get("bmc", {}).get("error") or row.get("error", "")) for n, row in sorted(r["models"].items())
            if not time_of(row)]


def standing(r, peer):
    """Geometric mean of the ratios, how many models, and in how many of them bmc is faster, equal, slower (95 %)."""
    ratios = [ratio_of(row, peer) for _, row in measured(r) if ratio_of(row, peer)]
    faster, slower = sum(c[1] > 1 for c in ratios), sum(c[2] < 1 for c in ratios)
    return mean([c[0] for c in ratios]), len(ratios), faster, len(ratios) - faster - slower, slower


def sentence(r, peer, label):
    g, n, faster, same, slower = standing(r, peer)
    if not n:
        return "%s: nothing to compare." % label
    return "%s: %.2f times as fast over %d models (geometric mean); faster in %d, no difference in %d, slower in %d." \
        % (label, g, n, faster, same, slower)


def summary(r):
    lines = [sentence(r, peer, label) for peer, label, _ in PEERS]
    lines += [bars_sentence(r)]
    lines += ["%s: %s" % (v.name, bar_text(v)) for v in bars.verdicts(r) if v.best and not v.met]
    lines += ["not measured: %s: %s" % (n, why) for n, why in missing(r)]
    return "\n".join(lines)


def shown(x, digits=3):
    """Three significant digits, without an exponent."""
    if x is None:
        return "–"
    if x == 0:
        return "0"
    return "%.*f" % (max(0, digits - 1 - math.floor(math.log10(abs(x)))), x)


def ms(ns):
    return shown(ns / 1e6) if ns is not None else "–"


# --- the plot

ROW, BAR, NAME, AXIS, PAD, TOP_ROOM = 20, 6, 168, 214, 18, 104


def svg(r):
    rows = [x for x in measured(r) if any(ratio_of(x[1], p) for p, _, _ in PEERS)]
    values = [v for _, row in rows for p, _, _ in PEERS for v in (ratio_of(row, p) or [])] or [1]
    low, high = min(0.5, *values), max(2, *values)
    low, high = 2 ** math.floor(math.log2(max(low, 1 / 16))), 2 ** math.ceil(math.log2(min(high, 16)))
    per_column = (len(rows) + 1) // 2
    column = NAME + AXIS + 78
    width, height = 2 * column + 3 * PAD, TOP_ROOM + per_column * ROW + 46
    out = []

    def x_of(v):
        return AXIS * math.log(min(max(v, low), high) / low) / math.log(high / low)

    def text(x, y, s, size=12, fill="#1f2933", anchor="start", weight="normal"):
        out.append('<text x="%.1f" y="%.1f" font-size="%g" fill="%s" text-anchor="%s" font-weight="%s">%s</text>'
                   % (x, y, size, fill, anchor, weight, escape(s)))

    def rect(x, y, w, h, fill, extra=""):
        out.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"%s/>' % (x, y, w, h, fill, extra))

    def stroke(x1, y1, x2, y2, colour, w=1.0):
        out.append('<path d="M%.1f %.1fL%.1f %.1f" stroke="%s" stroke-width="%g"/>' % (x1, y1, x2, y2, colour, w))

    text(PAD, 34, "bmc: how many times as fast as …", 19, weight="600")
    text(PAD, 54, "%s, %s" % (machine_text(r), threads_text(r["threads"])), 12.5, "#52606d")
    for k, (peer, label, colour) in enumerate(PEERS):
        x, y = 2 * PAD + column + NAME, 34 + 20 * k
        rect(x, y - 10, 11, 11, colour, ' rx="2"')
        g, n, _, _, _ = standing(r, peer)
        text(x + 18, y, label + (", on average %s×" % shown(g) if n else ""), 13.5, weight="600")
    for c in range(2):
        part = rows[c * per_column:(c + 1) * per_column]
        if not part:
            continue
        left, bottom = PAD + c * (column + PAD) + NAME, TOP_ROOM + len(part) * ROW
        rect(left, TOP_ROOM - 4, x_of(1), bottom - TOP_ROOM + 6, "#f6efe9")
        text(left, TOP_ROOM - 24, "slower", 11, "#9a8577")
        text(left + AXIS, TOP_ROOM - 24, "faster", 11, "#7b8794", "end")
        tick = low
        while tick <= high * 1.01:
            x = left + x_of(tick)
            stroke(x, TOP_ROOM - 4, x, bottom + 2, "#1f2933" if tick == 1 else "#e4e7eb", 1.2 if tick == 1 else 1)
            text(x, TOP_ROOM - 10, ("%g×" % tick) if tick >= 1 else "1/%g" % (1 / tick), 11, "#52606d", "middle")
            tick *= 2
        text(left + AXIS + 70, TOP_ROOM - 10, "bmc, ms", 11, "#52606d", "end")
        for k, (name, row) in enumerate(part):
            y = TOP_ROOM + k * ROW
            short = name if len(name) <= 27 else name[:26] + "…"
            text(left - 8, y + 13, short, 11.5, anchor="end")
            text(left + AXIS + 70, y + 13, ms(time_of(row)), 11, "#52606d", "end")
            for b, (peer, _, colour) in enumerate(PEERS):
                c3 = ratio_of(row, peer)
                top = y + 3 + b * (BAR + 1)
                if not c3:
                    continue
                a, z = sorted((x_of(1), x_of(c3[0])))
                rect(left + a, top, max(z - a, 0.8), BAR, colour, ' rx="1"')
                middle = top + BAR / 2
                stroke(left + x_of(c3[1]), middle, left + x_of(c3[2]), middle, "#1f2933", 1.1)
                for end in c3[1:]:
                    stroke(left + x_of(end), middle - 2, left + x_of(end), middle + 2, "#1f2933", 1.1)
                if c3[0] > high or c3[0] < low:
                    text(left + (AXIS + 2 if c3[0] > high else -2), top + BAR, shown(c3[0], 2), 8.5, "#52606d",
                         "start" if c3[0] > high else "end")
    foot = "Median of %d rounds, engines in alternation; the thin line is its 95 %% interval." % r["rounds"]
    if missing(r):
        foot += " Not measured: %d." % len(missing(r))
    text(PAD, height - 14, foot, 11.5, "#7b8794")
    body = "\n".join(out)
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" '
            'font-family="system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif">\n'
            '<rect width="%d" height="%d" rx="8" fill="#ffffff"/>\n%s\n</svg>\n'
            % (width, height, width, height, width, height, body))


# --- the page


def threads_text(n):
    return "one thread" if n == 1 else "%d threads" % n


def machine_text(r):
    return r["machine"].get("label") or r["machine"]["name"]


def table(head, align, rows):
    out = ["| " + " | ".join(head) + " |", "|" + "|".join(align) + "|"]
    return "\n".join(out + ["| " + " | ".join(row) + " |" for row in rows])


def ratio_text(row, peer):
    c = ratio_of(row, peer)
    if c:
        return "%s (%s–%s)" % tuple(shown(x) for x in c)
    return "*%s*" % ("wrong" if "differ" in row.get(peer, {}).get("error", "") else "cannot") \
        if row.get(peer, {}).get("error") else "–"


def times_table(r):
    rows = []
    for name, row in measured(r):
        roof = roofline_ns(r, row)
        cells = [name, row["kind"], ms(time_of(row))]
        for peer, _, _ in PEERS:
            cells += [ms(time_of(row, peer)), ratio_text(row, peer)]
        cells.append("%.0f %%" % (100 * roof / time_of(row)) if roof else "–")
        cells.append(shown(row["flops"] / time_of(row)) if "flops" in row else "–")
        cells.append("%.0e" % row["bmc"].get("error_of_range", 0))
        rows.append(cells)
    head = ["model", "kind", "bmc, ms"]
    for _, label, _ in PEERS:
        head += [label + ", ms", "times as fast"]
    return table(head + ["of roofline", "GF/s", "error"], ["---", "---"] + ["---:"] * (len(head) + 1), rows)


LABELS = {peer: label for peer, label, _ in PEERS}


def bars_sentence(r):
    mean, met, rows, below = bars.standing(r)
    if mean is None:
        return "None of the %d rows with a figure was measured." % rows
    return "Against the best peer, over the rows with a figure: %s times as fast (geometric mean; to reach: %s); met " \
        "in %d of %d; below 1 in %d%s." % (shown(mean), shown(bars.BARS["mean"]), met, rows, len(below),
                                       ": " + ", ".join(below) if below else "")


def bar_text(v):
    if not v.best:
        return "*%s*" % v.why
    return "%s (%s–%s) against %s, to reach %s: %s" % (
        *(shown(x) for x in v.best[:3]), LABELS[v.best[3]], shown(v.bar), "met" if v.met else "not met")


def bars_table(r):
    """Every row of bars.json, also those without a result."""
    rows = []
    for v in bars.verdicts(r):
        cells = [v.name, shown(v.bar)]
        if v.best:
            row = r["models"][v.name]
            roof = roofline_ns(r, row)
            cells += ["%s (%s–%s)" % tuple(shown(x) for x in v.best[:3]), LABELS[v.best[3]],
                      "yes" if v.met else "**no**", "%.0f %%" % (100 * roof / time_of(row)) if roof else "–"]
        else:
            cells += ["*%s*" % tidy(v.why), "–", "**no**", "–"]
        second = bars.second_core(v.name, r["models"].get(v.name, {}))
        if r["threads"] > 1:
            cells.append("%s (%s–%s)%s" % (*(shown(x) for x in second[:3]), "" if not second[3] else
                                          " of %s: %s" % (shown(second[3]), "yes" if second[4] else "**no**"))
                         if second else "–")
        rows.append(cells)
    head = ["row", "figure", "times as fast as the best peer", "which", "met", "of roofline"]
    head += ["as one thread"] if r["threads"] > 1 else []
    return table(head, ["---", "---:", "---:", "---", "---"] + ["---:"] * (len(head) - 5), rows)


def starting_table(r):
    """What bars.starting says: load, start, first run, memory of fresh processes without Python."""
    rows, counts = [], {}
    for name, row in sorted(measured(r)):
        got = bars.starting(row)
        if not got:
            continue
        cells = [name]
        for what, key, unit in (("load", "load_ns", 1e6), ("start", "output_ns", 1e6), ("memory", "peak_kb", 1024)):
            ours, peer = bars.least(row, key)
            cells += [shown(ours / unit) if ours else "–", shown(peer / unit) if peer else "–"]
            cells.append("–" if what not in got else "%s%s" % (shown(got[what][0]), "" if got[what][2] else " **no**"))
        first = got.get("first run")
        cells.append("–" if not first else "%s%s" % (shown(first[0]), "" if first[2] else " **no**"))
        rows.append(cells)
        for what, (_, _, good) in got.items():
            counts.setdefault(what, []).append(good)
    if not rows:
        return ""
    head = ["model", "load, ms: bmc", "best peer", "times", "start, ms: bmc", "best peer", "times",
            "memory, MB: bmc", "best peer", "share", "first run, share"]
    said = "; ".join("%s: %d of %d" % (what, sum(good), len(good)) for what, good in counts.items())
    return STARTING % (bars.BARS["load"], bars.BARS["start"], bars.BARS["start_below_ms"], bars.BARS["first_run"],
                       bars.BARS["first_run_ms_per_100_mb"]) + "\nReached: %s.\n\n" % said \
        + table(head, ["---"] + ["---:"] * (len(head) - 1), rows)


def small_table(r):
    rows = []
    for name, row in measured(r):
        if time_of(row) < 1e6 and "c_ns" in row["bmc"]:
            rows.append([name, shown(row["bmc"]["c_ns"] / 1e3), shown(time_of(row) / 1e3)]
                        + [shown(time_of(row, p) / 1e3) if time_of(row, p) else "–" for p, _, _ in PEERS])
    head = ["model", "bmc from C, µs", "bmc from Python, µs"] + [label + " from Python, µs" for _, label, _ in PEERS]
    return table(head, ["---"] + ["---:"] * (len(head) - 1), rows) if rows else ""


def start_table(r):
    rows = []
    engines = ["bmc"] + [p for p, _, _ in PEERS]
    for name, row in sorted(measured(r)):
        cells = [name]
        for key, unit in (("load_ns", 1e6), ("first_ns", 1e6), ("peak_kb", 1024)):
            cells += [shown(row.get(e, {}).get(key) / unit) if row.get(e, {}).get(key) is not None else "–"
                      for e in engines]
        c = row["bmc"].get("compile", {})
        cells += [shown(row["model_bytes"] / 1e6), shown(row["bmc"]["file_bytes"] / 1e6),
                  shown(c.get("seconds")), shown(c.get("peak_mb"))]
        rows.append(cells)
    short = ["bmc", "ORT", "OV"]
    head = ["model"] + ["load, ms: bmc", "ORT", "OV"] + ["first run, ms: bmc", "ORT", "OV"] \
        + ["memory, MB: bmc", "ORT", "OV"] + ["file, MB: .onnx", ".so", "compile, s", "MB"]
    assert len(short) == len(engines)
    return table(head, ["---"] + ["---:"] * (len(head) - 1), rows)


def page(results):
    first = results[0]
    m = first["machine"]
    out = ["# Benchmarks", "",
           "bmc against %s on the same files, inputs and cores." % " and ".join(p[1] for p in PEERS), ""]
    for r in results:
        out += ["![%s](benchmarks-%dt.svg)" % (threads_text(r["threads"]), r["threads"]), ""]
    versions = {}
    for r in results:
        for row in r["models"].values():
            versions.update(row.get("versions", {}))
    out += ["Machine: %s (%s), %d cores. %s. %s." % (machine_text(first), m["cpu"], m["cores"], ", ".join(
        "At most, on %s: %.0f GF/s (f32); reads %s" % (
            threads_text(r["threads"]), r["machine"]["gflops"],
            ", ".join("%.0f GB/s over %g MB" % (g, round(b / (1 << 20), 1))
                      for b, g in zip(r["machine"]["bytes"], r["machine"]["gbs"])))
        for r in results), ", ".join(versions[k] for k in sorted(versions))), ""]
    out += ["    " + command_of(r) for r in results]
    if any(r.get("real") for r in results):
        out += ["", "DIR holds models of other people that stay outside of the repository (DIR/NAME/model.onnx);"
                " without it, its own graphs and the models of pinned packages are measured."]
    out += ["", METHOD]
    for r in results:
        out += ["## %s" % threads_text(r["threads"]).capitalize(), ""]
        if r.get("clock") == "cpu":
            out += ["Times are processor time: other work kept the machine busy."]
        loads = [row["load_average"] for row in r["models"].values() if "load_average" in row]
        if loads:
            out += ["Load average of the machine meanwhile: %s (median of the rows, %s–%s); this run alone makes %d."
                    % (shown(statistics.median(loads), 2), shown(min(loads), 2), shown(max(loads), 2), r["threads"])]
        out += [sentence(r, p, label) for p, label, _ in PEERS]
        out += [bars_sentence(r), "", bars_table(r), "", "### Every row against each peer", "", times_table(r), ""]
        small = small_table(r)
        if small:
            out += ["Models below one millisecond, called from C (`bmc bench`) and from Python:", "", small, ""]
        failed = [(n, p, row[p]["error"]) for n, row in sorted(r["models"].items()) for p, _, _ in PEERS
                  if row.get(p, {}).get("error")]
        if missing(r) or failed:
            out += ["Not measured:", ""]
            out += ["- %s: %s" % (n, tidy(why)) for n, why in missing(r)]
            out += ["- %s with %s: %s" % (n, p, tidy(why)) for n, p, why in failed]
            out += [""]
    import changing

    out += changing.section(changing.published(RESULTS))
    out += ["## Starting, memory, size", "", START, "", start_table(first), ""]
    fresh = starting_table(first)
    if fresh:
        out += ["### Without Python", "", fresh, ""]
    return "\n".join(out).rstrip() + "\n"


METHOD = """\
How: each engine runs in a process of its own, bound to the cores; while one works, the others are stopped. Before
anything is timed, every output is compared with that of ONNX Runtime without optimisations: *wrong* is a difference
above 1e-3 of its largest magnitude (two steps of 8 bits in quantised models), *error* is bmc's. Then the engines take
turns in batches, in changing order; a time is the median over the rounds, "times as fast" the median of the rounds'
ratios with its bootstrap 95 % interval.
The figure of a row (`bench/bars.json`) is met when the upper end of the interval of the best peer's median over bmc's
reaches it and the ratio is at least 1. NAME@LABEL is the same file, and the same artifact, fed with other sizes.
All are called from Python with inputs and outputs bound and allocated before (IOBinding, `set_tensor`, pointers).
ONNX Runtime: all optimisations, sequential, `intra_op_num_threads`. OpenVINO: f32, latency hint, one stream,
`INFERENCE_NUM_THREADS`. Models are used as they are, with dynamic dimensions. *Of roofline* is the share of bmc's time
that the machine would need at least: the larger of flops at its peak and of weights, inputs and outputs at the
bandwidth of reading as much as weights and arena have over and over. `bmc profile MODEL` shows the same by node.
"""

STARTING = """\
`bench/start.c`, a C program, starts one engine with one model: *load* is `dlopen` and `create`, or making a session
(loading a peer's library is not counted); *start* is from the start of the process to the first output, a peer's
library with it; *memory* is the most resident above a process that only reads the inputs. The best peer is the one
with the lower figure. To reach: load %d times as fast; start %d times as fast where a run takes less than %d ms, else
faster; less memory; a first run of at most %s times a steady one and %d ms for each 100 MB of weights (*share* of that).
"""

START = """\
From fresh processes (`--loads`: the median of so many), files in the page cache: load is `dlopen` and `create`, or
making a session; memory is the most that the process held resident above what it held before the engine was loaded. A
peer needs the `.onnx` and the engine itself; compile time and memory are those of `bmc` on one core."""


def tidy(why):
    """Short, and without the folder that the model lay in."""
    words = [os.path.basename(w) if w.startswith("/") and w.count("/") > 2 and ".onnx" in w else w for w in why.split()]
    text = " ".join(words)
    return text if len(text) <= 200 else text[:197] + "…"


def command_of(r):
    return "bench/run.py --threads %d --rounds %d --seconds %g --loads %d%s%s --publish" % (
        r["threads"], r["rounds"], r["seconds"], r.get("loads", 3), " --clock cpu" if r.get("clock") == "cpu" else "",
        " --real DIR" if r.get("real") else "")


def dump(r):
    """JSON with a model on each line."""
    rest = {k: v for k, v in r.items() if k != "models"}
    models = ",\n".join("  %s: %s" % (json.dumps(n), json.dumps(row, sort_keys=True))
                        for n, row in sorted(r["models"].items()))
    return json.dumps(rest, indent=1, sort_keys=True)[:-2] + ',\n "models": {\n' + models + "\n }\n}\n"


def clean(r):
    """Nothing of this machine's folders goes into the repository."""
    for row in r["models"].values():
        for part in [row] + [row.get(e) or {} for e in ["bmc"] + [p for p, _, _ in PEERS]]:
            if "error" in part:
                part["error"] = tidy(part["error"])
    return r


def write(path, text):
    with open(path + ".part", "w") as f:
        f.write(text)
    shutil.move(path + ".part", path)


def publish(r=None, results=RESULTS, docs=DOCS):
    os.makedirs(results, exist_ok=True)
    if r:
        write(os.path.join(results, "%dt.json" % r["threads"]), dump(clean(r)))
    every = []
    for name in sorted(os.listdir(results)):
        if name.endswith("t.json"):
            with open(os.path.join(results, name)) as f:
                every.append(json.load(f))
    every.sort(key=lambda x: x["threads"])
    for x in every:
        write(os.path.join(docs, "benchmarks-%dt.svg" % x["threads"]), svg(x))
    if every:
        write(os.path.join(docs, "BENCHMARKS.md"), page(every))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    publish()
