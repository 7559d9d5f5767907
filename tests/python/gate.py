#!/usr/bin/env python3
"""What bmc makes of the models, counted instead of timed:   gate.py [--full] [--only NAME,...] [--bless] [--raise WHY]

Compiles own graphs at -O2 and counts what costs time at run. In Kernel IR for x86-64-v3: kernels that are launched,
copies among them (relayouts, copies, transposes: moves that no view could express), parallel regions (stretches between
barriers that all threads work in), barriers, runtime calls, bytes of the arena and its ratio to what lives at once; the
same ratio, at the worst of several sizes of the inputs, where dimensions are left free (free_percent). In objects for
x86-64-v3 and -v4 (bmc-spill-scan): contraction loops with a stack operand, and the instructions that these loops take
for 100 multiply-adds. Of the object for x86-64-v4 the size in percent of what it may have (file_percent): distinct
constants + 2 % + 1 MB + transformed weights.

gate.json holds a ceiling for each: more fails, less is reported and --bless writes it down. Ceilings only go down:
one goes up with --raise and the reason alone, which is written beside it. --bmc PATH, --jobs N (at once; default 2).

resnet50, mobilenet_v2 and bert_base hold no copy at all, but what graph inputs and outputs need. An encoder layer of
bert_base, dumped after fusion, is at most 40 lines of at most 160 columns, each with the ONNX name and the shape.
"""

import argparse
import json
import os
import re
import sys

import compile_cost
import e2e_models
import harness

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gate.json")
DEFAULT = ("mnist_cnn", "bilstm_text", "transformer_text", "dcgan", "wavenet", "mobilenet_v2", "resnet50", "bert_base")
BAR = {"free_percent": 110}  # where gate.json says nothing
MOST = {"arena_percent": 110, "free_percent": 110, "file_percent": 100}  # of any model, whatever the reason
ONLY_MOST = {"file_percent"}  # no ceiling of its own below that
DIMS = {"batch": 1, "seq": 128, "t": 256, "past": 128}
COPIES = re.compile(r"launch @k\d+_(relayout|copy|transpose|concat|slice|split|expand|pad|reshape)\b")
CPUS = {"v3": "x86-64-v3", "v4": "x86-64-v4"}
SCAN = re.compile(
    r"(\d+) contraction loops, (\d+) with stack operands \(\d+\), (\d+) instructions, (\d+) multiply-adds")


def program_counts(text):
    """{what: how many} of a program in Kernel IR."""
    kernels, program = text.split("\nprogram {", 1)
    shared = set(re.findall(r"^kernel (@\S+?)\(", "".join(
        k for k in re.split(r"(?m)^(?=kernel @)", kernels) if re.search(r" par\b.*\{$", k, re.M)), re.M))
    regions = 0
    for stretch in re.split(r"(?m)^\s*barrier\b", program):
        launched = re.findall(r" launch (@\S+?)\((.*)", stretch)
        regions += any(name in shared and " single" not in rest.split(")", 1)[1].split(";")[0]
                       for name, rest in launched)
    return {
        "kernels": program.count(" launch @"),
        "copies": len(COPIES.findall(program)),
        "regions": regions,
        "barriers": len(re.findall(r"^\s*barrier\b", program, re.M)),
        "calls": program.count(" call "),
    }


def object_counts(scan_out, cpu):
    """{what: how many} of an object, from bmc-spill-scan's line; without a contraction loop nothing can be said."""
    loops, spilled, instructions, multiply_adds = (int(x) for x in SCAN.search(scan_out).groups())
    if not loops:
        return {}
    return {cpu + "_spills": spilled, cpu + "_instructions": -(-100 * instructions // multiply_adds)}


def file_percent(model, size, stats):
    """An artifact's size in percent, rounded up, of what distinct constants and transformed weights allow."""
    winograd = re.search(r"(\d+)\s+winograd: bytes of transformed weights", stats)
    most = compile_cost.most_bytes(compile_cost.distinct_bytes(model), int(winograd.group(1)) if winograd else 0)
    return -(-100 * size // most)


def counts(args, name):
    """({what: how many}, None), or None and why."""
    path = harness.hydrated(name)
    folder = os.path.join(harness.WORK, "gate")
    os.makedirs(folder, exist_ok=True)
    out = os.path.join(folder, name + ".kir")
    symbols = e2e_models.Model(name, path).symbols
    seq = 100 if name == "transformer_text" else 1 if name == "gpt2_decode" else DIMS["seq"]
    fixed = ["--dim=%s=%d" % (s, dict(DIMS, seq=seq)[s]) for s in symbols if s in DIMS]
    ran = harness.run([args.bmc, path, "-o", out, "--cpu=x86-64-v3", "--stats"] + fixed, limit=300)
    if ran.status != 0:
        return None, ran.brief()
    with open(out, encoding="utf-8") as f:
        made = program_counts(f.read())
    os.remove(out)
    free = ran
    if fixed:
        free = harness.run([args.bmc, path, "-o", out, "--cpu=x86-64-v3", "--stats"], limit=300)
        if free.status != 0:
            return None, free.brief()
        os.remove(out)
    arena = re.search(r"(\d+)\s+plan-memory: bytes of the arena", ran.out + ran.err)
    percent, free_percent = (
        re.search(r"(\d+)\s+plan-memory: arena in percent", x.out + x.err) for x in (ran, free)
    )
    made["arena_bytes"] = int(arena.group(1)) if arena else 0
    made["arena_percent"] = int(percent.group(1)) if percent else 100
    made["free_percent"] = int(free_percent.group(1)) if free_percent else 100
    for cpu, full_name in CPUS.items():
        out = os.path.join(folder, "%s-%s.o" % (name, cpu))
        ran = harness.run([args.bmc, path, "-o", out, "--cpu=" + full_name, "-q", "--stats"] + fixed, limit=300)
        if ran.status != 0:
            return None, ran.brief()
        if cpu == "v4":
            made["file_percent"] = file_percent(path, os.path.getsize(out), ran.out + ran.err)
        scan = harness.run([os.path.join(os.path.dirname(args.bmc), "bmc-spill-scan"), out])
        for made_file in (out, out[:-2] + ".h"):
            os.remove(made_file)
        if not SCAN.search(scan.out):
            return None, "bmc-spill-scan: " + scan.brief()
        made.update(object_counts(scan.out, cpu))
    return made, None


def judge(ceiling, made, bless, why, tally, name):
    """The model's entry of gate.json after this count; what is above a ceiling fails unless there is a reason."""
    entry = dict(ceiling)
    for what in sorted(set(made) | set(ceiling) - {"why"}):
        n, most = made.get(what), ceiling.get(what, BAR.get(what))
        if what in MOST and n is not None:
            good = tally.check("%s %s" % (name, what), n <= MOST[what], "%d, at most %d of any model" % (n, MOST[what]))
            if not good or what in ONLY_MOST:
                continue
        if n is None:  # a loop that is not found any more is not looked at any more
            if not tally.check("%s %s is counted" % (name, what), bless and why, "it was: %d" % most):
                continue
            del entry[what]
        elif most is None:
            if not tally.check("%s %s has a ceiling" % (name, what), bless, "--bless writes it: %d" % n):
                continue
            entry[what] = n
        elif n > most:
            if not tally.check("%s %s" % (name, what), bless and why, "%d, ceiling %d%s" % (
                    n, most, ": --raise WHY" if bless else "")):
                continue
            entry[what] = n
            entry["why"] = dict(entry.get("why", {}), **{what: "from %d: %s" % (most, why)})
        else:
            tally.check("%s %s" % (name, what), True)
            if n < most and bless:
                entry[what] = n
                entry["why"] = {k: v for k, v in entry.get("why", {}).items() if k != what}
                if not entry["why"]:
                    del entry["why"]
            elif n < most:
                tally.note("%s %s: %d, ceiling %d: --bless lowers it" % (name, what, n, most))
    return entry


def check_dump(args, tally):
    """bert_base after the last graph pass, as a person reads it."""
    path = harness.hydrated("bert_base")
    out = os.path.join(harness.WORK, "gate", "bert_base.bir")
    ran = harness.run([args.bmc, path, "-o", out, "--stop-after=layout"], limit=300)
    if not tally.check("bert_base.bir is written", ran.status == 0, ran.brief()):
        return
    with open(out, encoding="utf-8") as f:
        lines = f.read().splitlines()
    os.remove(out)
    start = [i for i, x in enumerate(lines) if "/encoder/layer.3/" in x][0]
    end = [i for i, x in enumerate(lines) if "/encoder/layer.4/" in x][0]
    tally.check("bert_base.bir: lines of a layer", end - start <= 40, end - start)
    for x in lines[[i for i, x in enumerate(lines) if x.startswith("graph @")][0] :]:   # before: paths of files
        tally.check("bert_base.bir: at most 160 columns", len(x) <= 160, x)
    for x in lines[start:end]:
        good = " = const " in x or re.search(r' : \w+\[[^]]*\](@\{[\d,]+\})? !\d+ "/', x)
        tally.check("bert_base.bir: name and shape", good, x)


class Silent(harness.Tally):
    """A tally whose failures are wanted."""

    def check(self, name, good, detail=""):
        self.failed += not good
        return good

    def note(self, text):
        pass


def check_rules(tally):
    """Ceilings go down by themselves and up with a reason only; counts are those of a small program."""
    def after(ceiling, made, bless=False, why=None):
        quiet = Silent()
        return judge(ceiling, made, bless, why, quiet, "m"), quiet.failed

    tally.check("less: reported", after({"a": 3}, {"a": 2}) == ({"a": 3}, 0))
    tally.check("less: --bless lowers", after({"a": 3}, {"a": 2}, True) == ({"a": 2}, 0))
    tally.check("more: fails", after({"a": 3}, {"a": 4}) == ({"a": 3}, 1))
    tally.check("more: --bless alone refuses", after({"a": 3}, {"a": 4}, True) == ({"a": 3}, 1))
    raised = {"a": 4, "why": {"a": "from 3: because"}}
    tally.check("more: with a reason", after({"a": 3}, {"a": 4}, True, "because") == (raised, 0))
    tally.check("lower again: the reason goes", after(raised, {"a": 3}, True) == ({"a": 3}, 0))
    tally.check("new: needs --bless", after({}, {"a": 4}) == ({}, 1) and after({}, {"a": 4}, True) == ({"a": 4}, 0))
    tally.check("gone: needs a reason", after({"a": 3}, {}, True) == ({"a": 3}, 1))
    tally.check("no reason goes beyond what holds for all",
                after({"free_percent": 110}, {"free_percent": 111}, True, "because") == ({"free_percent": 110}, 1))
    tally.check("a share alone has no ceiling", after({}, {"file_percent": 100}) == ({}, 0) and
                after({}, {"file_percent": 101}, True, "because") == ({}, 1))
    text = """kernel @k0_conv(%x: f32) {
  for %i = 0..4 par {
  }
}
kernel @k1_copy(%x: f32) {
  for %i = 0..4 {
  }
}

program {
  launch @k0_conv(%a) loc 1
  launch @k0_conv(%b) loc 1
  barrier
  launch @k1_copy(%b) loc 2
  barrier
  launch @k0_conv(%a) single loc 3    ; x
  barrier
  launch @k0_conv(%a) loc 4    ; single
}
"""
    made = program_counts(text)
    tally.check("a program", made == {"kernels": 5, "copies": 1, "regions": 2, "barriers": 3, "calls": 0}, made)
    line = "x.o: 4 contraction loops, 1 with stack operands (3), 101 instructions, 50 multiply-adds\n"
    tally.check("an object", object_counts(line, "v3") == {"v3_spills": 1, "v3_instructions": 202})


def main():
    parser = argparse.ArgumentParser(description="counts of compiled models against committed ceilings")
    parser.add_argument("--full", action="store_true", help="every own graph")
    parser.add_argument("--bless", action="store_true", help="lower ceilings to what was counted")
    parser.add_argument("--raise", dest="why", help="raise ceilings, too; the reason is written beside them")
    parser.add_argument("--only", help="names of models, with commas")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    args.bmc = harness.needs_bmc(args.bmc)
    tally = harness.Tally()
    check_rules(tally)
    bless = args.bless or bool(args.why)
    with open(FILE, encoding="utf-8") as f:
        ceiling = json.load(f)
    names = args.only.split(",") if args.only else e2e_models.GRAPHS if args.full or bless else DEFAULT
    for name, (made, why) in zip(names, harness.parallel([lambda n=n: counts(args, n) for n in names], args.jobs)):
        if tally.check(name + " compiles", made, why):
            entry = judge(ceiling.get(name, {}), made, bless, args.why, tally, name)
            if bless:
                ceiling[name] = entry
    if "bert_base" in names:
        check_dump(args, tally)
    if bless:
        with open(FILE, "w", encoding="utf-8") as f:
            f.write("{\n" + ",\n".join(' "%s": %s' % (k, json.dumps(v)) for k, v in sorted(ceiling.items())) + "\n}\n")
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
