#!/usr/bin/env python3
"""What bmc makes of the models, counted instead of timed:   gate.py [--full] [--bless] [--only NAME,...] [--bmc PATH]

Compiles own graphs to Kernel IR at -O2 for x86-64-v3 and counts what costs time at run: kernels that are launched,
copies among them (relayouts, copies, transposes: moves that no view could express), barriers, runtime calls, bytes of
the arena and its ratio to what lives at once; the same ratio, at the worst of several sizes of the inputs, where
dimensions are left free (free_percent). gate.json holds a ceiling for each: more fails, less is reported and
--bless writes it down. Where a ceiling had to rise, the commit says why.

resnet50, mobilenet_v2 and bert_base hold no copy at all, but what graph inputs and outputs need. An encoder layer of
bert_base, dumped after fusion, is at most 40 lines of at most 140 columns, each with the ONNX name and the shape.
"""

import argparse
import json
import os
import re
import sys

import e2e_models
import harness

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gate.json")
DEFAULT = ("mnist_cnn", "bilstm_text", "transformer_text", "dcgan", "wavenet", "mobilenet_v2", "resnet50", "bert_base")
BAR = {"free_percent": 110}  # where gate.json says nothing
DIMS = {"batch": 1, "seq": 128, "t": 256, "past": 128}
COPIES = re.compile(r"launch @k\d+_(relayout|copy|transpose|concat|slice|split|expand|pad|reshape)\b")


def counts(args, name):
    """{what: how many}, or None and why."""
    path = e2e_models.hydrated(name, os.path.join(harness.WORK, "models"))
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
        program = f.read().split("\nprogram {", 1)[1]
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
    return {
        "kernels": program.count(" launch @"),
        "copies": len(COPIES.findall(program)),
        "barriers": len(re.findall(r"^\s*barrier\b", program, re.M)),
        "calls": program.count(" call "),
        "arena_bytes": int(arena.group(1)) if arena else 0,
        "arena_percent": int(percent.group(1)) if percent else 100,
        "free_percent": int(free_percent.group(1)) if free_percent else 100,
    }, None


def check_dump(args, tally):
    """bert_base after the last graph pass, as a person reads it."""
    path = e2e_models.hydrated("bert_base", os.path.join(harness.WORK, "models"))
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
        tally.check("bert_base.bir: at most 140 columns", len(x) <= 140, x)
    for x in lines[start:end]:
        good = " = const " in x or re.search(r' : \w+\[[^]]*\](@\{[\d,]+\})? !\d+ "/', x)
        tally.check("bert_base.bir: name and shape", good, x)


def main():
    parser = argparse.ArgumentParser(description="counts of compiled models against committed ceilings")
    parser.add_argument("--full", action="store_true", help="every own graph")
    parser.add_argument("--bless", action="store_true", help="write what was counted")
    parser.add_argument("--only", help="names of models, with commas")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    args = parser.parse_args()
    args.bmc = harness.needs_bmc(args.bmc)
    tally = harness.Tally()
    with open(FILE, encoding="utf-8") as f:
        ceiling = json.load(f)
    names = args.only.split(",") if args.only else e2e_models.GRAPHS if args.full or args.bless else DEFAULT
    for name in names:
        made, why = counts(args, name)
        if not tally.check(name + " compiles", made, why):
            continue
        for what, n in made.items():
            most = ceiling.get(name, {}).get(what, BAR.get(what))
            if args.bless or most is None:
                tally.check("%s %s has a ceiling" % (name, what), args.bless)
            else:
                tally.check("%s %s" % (name, what), n <= most, "%d, ceiling %d" % (n, most))
                if n < most:
                    tally.note("%s %s: %d, ceiling %d: --bless lowers it" % (name, what, n, most))
        if args.bless:
            ceiling[name] = made
    if "bert_base" in names:
        check_dump(args, tally)
    if args.bless:
        with open(FILE, "w", encoding="utf-8") as f:
            f.write("{\n" + ",\n".join(' "%s": %s' % (k, json.dumps(v)) for k, v in sorted(ceiling.items())) + "\n}\n")
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
