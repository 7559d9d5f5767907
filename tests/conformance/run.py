#!/usr/bin/env python3
"""The ONNX backend cases through bmc:   run.py [--full] [--bless] [--bin build/bin] [--filter TEXT] [--jobs N]

Exports the cases when that has not been done (export.py), runs build/bin/bmc-conformance over all of them, and adds
what the runner alone cannot know: every case whose operators are all in the table of `bmc check --list-ops` and whose
types are all supported must pass, whatever the list says; at least 2,023 must pass; refusals are counted by reason.
--bless writes expected.txt, and the counts in README.md, anew from what happened: passes and refusals only, a wrong
answer or a crash is never expected.

Four configurations: -O0 and -O2, AVX-512 (this CPU) and x86-64-v3, 1 and 2 threads. Each case runs in one, chosen by the
hash of its name; with --full in all four.

The runner:  bmc-conformance --cases DIR --expected FILE --report FILE --jobs N [--filter TEXT] [--config 0..3]
The report:  one line per case, three fields with a tab between: name, verdict (pass refuse differs wrong crash timeout),
message.
"""

import argparse
import os
import re
import subprocess
import sys
from collections import Counter

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python")]

import cases  # noqa: E402
import export  # noqa: E402
import harness  # noqa: E402

AT_LEAST = 2023
CONFIGS = {0: "-O2, native, 2 threads", 1: "-O0, native, 1 thread", 2: "-O2, x86-64-v3, 1 thread", 3: "-O0, x86-64-v3, 2 threads"}
HEAD = """# What every ONNX backend case does: `name pass`, `name refuse REASON` for what bmc says it cannot do yet, or
# `name differs`: elements are random, expected ones are numpy's; tests/python/random_ops.py looks at their statistics.
# Written by tests/conformance/run.py --bless; read by build/bin/bmc-conformance. An unexpected pass fails the run, too.
"""


def reason_of(message):
    """A message without file, node, names and numbers, so that equal reasons count together."""
    match = re.search(r"\(([^()]*)\): error (\w+): (.*)$", message) or re.search(r"()error (\w+): (.*)$", message)
    if not match:
        return re.sub(r"\d+", "#", message) or "no message"
    op, code, text = match.groups()
    if code == "E032":
        return "%s %s" % (code, re.sub(r" \(domain.*?\)", "", text))
    text = re.sub(r"'[^']*'", "'...'", re.sub(r"(?<![A-Za-z0-9_])-?\d+", "#", text))
    return " ".join(x for x in (code, op, text) if x)


def read_report(path):
    found = {}
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            name, verdict, *message = line.rstrip("\n").split("\t")
            found[name] = (verdict, message[0] if message else "")
    return found


def allowed(name, verdict, manifest):
    """May a case have that verdict in the list?"""
    return verdict in ("pass", "refuse") or (verdict == "differs" and cases.is_random(manifest[name]))


def bless(report, manifest):
    """expected.txt from a report. False when something is wrong that no list may bless."""
    with open(cases.EXPECTED, "w", encoding="utf-8") as f:
        f.write(HEAD)
        for name, (verdict, message) in sorted(report.items()):
            reason = " " + reason_of(message) if verdict == "refuse" else ""
            f.write("%s %s%s\n" % (name, verdict if allowed(name, verdict, manifest) else "pass", reason))
    refused = sum(1 for verdict, _ in report.values() if verdict == "refuse")
    random = sum(1 for name, (verdict, _) in report.items() if verdict == "differs" and cases.is_random(manifest[name]))
    with open(cases.README, encoding="utf-8") as f:
        text = f.read()
    with open(cases.README, "w", encoding="utf-8") as f:
        f.write(re.sub(cases.COUNTS, "{:,} pass and {:,} are refused".format(len(report) - refused - random, refused), text))
    bad = [name for name, (verdict, _) in report.items() if not allowed(name, verdict, manifest)]
    if bad:
        print("expected to pass, although they do not now: " + " ".join(bad))
    return not bad


def summary(report):
    verdicts = Counter(verdict for verdict, _ in report.values())
    print("verdicts: " + ", ".join("%d %s" % (n, v) for v, n in verdicts.most_common()))
    reasons = Counter(reason_of(message) for verdict, message in report.values() if verdict == "refuse")
    for reason, count in reasons.most_common():
        print("%5d  %s" % (count, reason))


def operators(bmc):
    ran = harness.run([bmc, "check", "--list-ops"])
    if ran.status != 0:
        sys.exit("bmc check --list-ops: %s\n0 passed, 1 failed" % ran.brief())
    return set(ran.out.split())


def main():
    parser = argparse.ArgumentParser(description="the ONNX backend cases")
    parser.add_argument("--full", action="store_true", help="every case in every configuration")
    parser.add_argument("--bless", action="store_true", help="write expected.txt from what happens")
    parser.add_argument("--bin", default=os.path.join(cases.TOP, "build", "bin"))
    parser.add_argument("--cases", default=cases.FOLDER)
    parser.add_argument("--filter", help="only cases whose name contains this")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    if args.bless and (args.filter or args.full):
        parser.error("--bless needs all cases, once")
    tally = harness.Tally()
    tally.check("there are %d cases" % export.CASES, export.export(os.path.abspath(args.cases)) == export.CASES)
    if args.bless and not os.path.exists(cases.EXPECTED):
        open(cases.EXPECTED, "w").close()
    for config in CONFIGS if args.full else (None,):
        if config is not None:
            print("configuration %d: %s" % (config, CONFIGS[config]), flush=True)
        one_run(args, config, tally)
    return tally.finish()


def one_run(args, config, tally):
    """All cases in one configuration, or each in its own."""
    report_path = os.path.join(args.cases, "report.txt")
    if os.path.exists(report_path):
        os.unlink(report_path)
    command = [
        os.path.join(args.bin, "bmc-conformance"),
        "--cases",
        args.cases,
        "--expected",
        cases.EXPECTED,
        "--report",
        report_path,
        "--jobs",
        str(args.jobs),
    ]
    command += ["--filter", args.filter] if args.filter else []
    command += ["--config", str(config)] if config is not None else []
    try:
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, errors="replace").stdout
    except OSError as error:
        sys.exit("FAIL %s\n0 passed, 1 failed" % error)
    counts = re.fullmatch(r"(\d+) passed, (\d+) failed", out.strip().split("\n")[-1])
    if not tally.check("the runner counts", counts is not None, out[-500:]):
        return
    if not tally.check("some case has '%s' in its name" % args.filter, os.path.exists(report_path)):
        return
    report = read_report(report_path)
    manifest = cases.manifest(args.cases)
    if args.bless:
        bless(report, manifest)
    else:
        print("\n".join(out.strip().split("\n")[:-1]))
        tally.passed += int(counts.group(1))
        tally.failed += int(counts.group(2))
    summary(report)
    if not args.filter:
        tally.check("every case is in the report", set(report) == set(manifest), len(set(manifest) - set(report)))
        passed = sum(1 for verdict, _ in report.values() if verdict == "pass")
        tally.check("at least %d cases pass" % AT_LEAST, passed >= AT_LEAST, passed)
    ops = operators(os.path.join(args.bin, "bmc"))
    covered = [c for c in manifest.values() if cases.must_pass(c, ops) and c.name in report]
    wrong = [c.name for c in covered if report[c.name][0] != "pass" and not (cases.is_random(c) and report[c.name][0] == "differs")]
    for name in wrong:
        print("FAIL %s has only supported operators and types: %s %s" % ((name,) + report[name]))
    print(
        "%d operators in the table; %d cases need no others and only supported types, %d of them do not pass"
        % (len(ops), len(covered), len(wrong))
    )
    tally.check("every covered case passes", covered and not wrong, "%d of %d do not" % (len(wrong), len(covered)))


if __name__ == "__main__":
    sys.exit(main())
