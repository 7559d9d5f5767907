#!/usr/bin/env python3
"""Cases generated from the operators' schemas:   run.py [--full] [--seed N] [--filter TEXT] [--report FILE] [--ways W]

For every version of every operator in onnx.defs and each type that each of its constraints allows (drafts.py), cases
made by the operator's family (families*.py) go through `bmc run`, many in one model (batch.py), and must agree with
ONNX's reference evaluator or ONNX Runtime (oracle.py); so must --random N forms of each version whose shapes, attributes and
inputs are drawn together (families_random*.py; --only-random --seed K: K-th ones, no others). What does not stands in explained.txt, with the reason; an entry
that is not needed any more fails too (with --full), and so does what no case has (coverage.py). Without --full: a twentieth of the types,
seed N modulo 20 the N-th (0), so that a run can be repeated; what no run has seen is for --full.
A way is a level, a CPU, a number of threads, and what the model says of its inputs: all are initializers, so that the
compiler works out the answer; none is, and only their ranks are known (WAYS; --ways NAME[,NAME]). Without --ways each
group of cases has one of those that run, chosen by hash; --full: all ways.
The report has one line per case and way: name, verdict, way and text, with tabs between. Verdicts: agrees, differs, refuse, fail, crash,
no-oracle (nobody else runs it); a version and type without a case is a line with the verdict none.
"""

import argparse
import fnmatch
import multiprocessing
import os
import sys
import zlib
from collections import Counter

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), *p) for p in ((), ("..", "python"))]

import numpy as np  # noqa: E402
from onnx import defs  # noqa: E402

import batch  # noqa: E402
import drafts  # noqa: E402
import compare  # noqa: E402
import coverage  # noqa: E402
import families_attributes  # noqa: E402, F401  (after the families that it adds to)
import families_control  # noqa: E402, F401
import families_elementwise  # noqa: E402, F401
import families_ml  # noqa: E402, F401
import families_moves  # noqa: E402, F401
import families_random  # noqa: E402
import families_random_moves  # noqa: E402, F401
import families_rows  # noqa: E402, F401
import families_sums  # noqa: E402, F401
import harness  # noqa: E402
import oracle  # noqa: E402
import values  # noqa: E402

EXPLAINED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "explained.txt")
SHARE = 20  # without --full one in so many types
BATCH = 48
TOGETHER = 12  # operators of one version in a model, where only some of their types are drawn

# Options for bmc, and what the model says of its inputs (batch.Runner).
WAYS = {
    "O2": (("-O", "2", "--threads", "1"), ""),
    "O0": (("-O", "0", "--threads", "2"), ""),
    "O2-v3": (("-O", "2", "--threads", "2", "--cpu=x86-64-v3"), ""),
    "O0-v3": (("-O", "0", "--threads", "1", "--cpu=x86-64-v3"), ""),
    "fold": (("-O", "2", "--threads", "1"), "fixed"),
    "free": (("-O", "2", "--threads", "1"), "free"),
    "free-O0-v3": (("-O", "0", "--threads", "2", "--cpu=x86-64-v3"), "free"),
}
RUNNING = [w for w, (_, form) in WAYS.items() if form != "fixed"]


def judge(case, got):
    """(verdict, text) of a case by what bmc gave."""
    if isinstance(got, batch.Failure):
        return got
    if case.kind == "random":  # their statistics: tests/python/random_ops.py
        return random_form(case, got)
    tried = []
    for who, want in oracle.answers(case):
        if isinstance(want, str):
            tried.append("%s: %s" % (who, want))
            continue
        want = [unwrapped(w, g) for w, g in zip(want, got)]
        rtol, atol = compare.narrowest(case, who)
        rtol, atol = max(rtol, case.rtol), max(atol, case.atol)
        why = next((d for d in (compare.differ(g, w, rtol, atol) for g, w in zip(got, want)) if d), None)
        if why is None:
            return "agrees", who
        tried.append("%s differs: %s" % (who, why))
    differs = [t for t in tried if " differs: " in t]
    return ("differs", " | ".join(differs)) if differs else ("no-oracle", " | ".join(tried))


def unwrapped(want, got):
    """The reference gives an optional as a list of one."""
    inner = want[0] if isinstance(want, list) and len(want) == 1 else want
    return inner if inner is not want and isinstance(got, (list, type(None), np.ndarray)) and (
        got is None or isinstance(inner, (list, np.ndarray)) and type(inner) is type(got)) else want


def random_form(case, got):
    """Of random elements the shape and type are known; a Bernoulli's are 0 and 1."""
    shape = tuple(case.attrs.get("shape", ())) or case.inputs[0].shape
    if case.op == "Multinomial":
        shape = (shape[0], case.attrs.get("sample_size", 1))
    port = defs.get_schema(case.op, case.version, case.domain).outputs[0]
    elem = values.DTYPE[values.element_of(case.types[port.type_str])[1]]
    good = got[0].shape == shape and got[0].dtype == elem
    if case.op == "Bernoulli":
        good = good and set(got[0].astype(float).ravel()) <= {0.0, 1.0}
    return ("agrees", "shape and type") if good else ("differs", "%s %s" % (got[0].shape, got[0].dtype))


def wanted(name, args, upto=None):
    """Does a name begin with one of the filter's texts?  Add-7, Add-7/T=float, Reduce, ai.onnx.ml:"""
    return not args.filter or any(name.startswith(x.split(upto)[0] if upto else x) for x in args.filter.split(","))


def drawn(prefix, args):
    return args.full or (zlib.crc32(prefix.encode()) + args.seed) % SHARE == 0


def some_versions(job):
    """All cases of some operators that have one domain and version: lines (name, verdict, way and text)."""
    numbers, args = job
    lines, todo = [], []
    for number in numbers:
        schema = drafts.schemas()[number]
        try:
            todo += families_random.forms(schema, args.random if drawn(name_of(schema) + "/random", args) else 0, args.seed)
        except Exception as error:
            lines.append((name_of(schema), "crash", "the test itself: %r" % error))
        for draft in drafts.drafts(schema, args.seed if args.reseed else 0) if not args.only_random else ():
            if not drawn(draft.prefix, args) or not wanted(draft.prefix + "/", args):
                continue
            try:
                forms = drafts.with_extremes(draft)
            except Exception as error:
                forms = []
                lines.append((draft.prefix, "crash", "the test itself: %r" % error))
            todo += forms
            if not forms:
                lines.append((draft.prefix, "none", "no family makes cases of it"))
    apart = [[c for c in todo if ("complex" in str(c.types)) == odd] for odd in (False, True)]
    for some in (part[first:first + BATCH] for part in apart for first in range(0, len(part), BATCH)):
        ways = args.ways or [RUNNING[zlib.crc32(some[0].name.encode()) % len(RUNNING)]]
        known = {}  # name: [(outputs, verdict)], so that the oracles are asked once for equal outputs
        for way in ways:
            lines += [(n, v, "%s: %s" % (way, t)) for n, v, t in in_one_way(some, way, args, known)]
    return lines


def in_one_way(some, way, args, known):
    """(name, verdict, text) of cases of one model."""
    options, form = WAYS[way]
    try:
        results = batch.Runner(args.bmc, list(options) + args.option, form).results(some)
    except Exception as error:
        return [(c.name, "crash", "the test itself: %r" % error) for c in some]
    lines = []
    for case in some:
        got, seen = results[case.name], known.setdefault(case.name, [])
        verdict = next((v for before, v in seen if same_bits(got, before)), None)
        if verdict is None:
            try:
                verdict = tuple(judge(case, got))
            except Exception as error:
                verdict = ("crash", "the test itself: %r" % error)
            seen.append((got, verdict))
        lines.append((case.name,) + verdict)
    return lines


def same_bits(x, y):
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray) and x.dtype != object:
        return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
    if type(x) is list and type(y) is list:
        return len(x) == len(y) and all(same_bits(a, b) for a, b in zip(x, y))
    return False


def explained():
    """[(pattern, verdict, reason)] of explained.txt."""
    found = []
    with open(EXPLAINED, encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                pattern, verdict, reason = (x.strip() for x in line.split("|", 2))
                found.append((pattern, verdict, reason))
    return found


def main():
    parser = argparse.ArgumentParser(description="cases generated from the operators' schemas")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=None, help="which twentieth of the types is drawn")
    parser.add_argument("--reseed", action="store_true", help="other values, too, by the seed")
    parser.add_argument("--random", type=int, default=8, help="forms at random of each version (families_random.py)")
    parser.add_argument("--only-random", action="store_true", help="no others")
    parser.add_argument("--filter", default="")
    parser.add_argument("--ways", default="", help="some of " + ",".join(WAYS))
    parser.add_argument("--option", action="append", default=[], help="more for bmc, as --option=--unchecked")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", default=os.path.join(harness.WORK, "schema.txt"))
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    args = parser.parse_args()
    args.bmc = harness.needs_bmc(args.bmc)
    args.seed = args.seed or 0
    args.ways = [w for w in args.ways.split(",") if w] or (list(WAYS) if args.full else ["O2"] if args.filter else [])
    if set(args.ways) - set(WAYS):
        parser.error("--ways: some of " + ",".join(WAYS))
    if args.filter:
        args.full = True
    jobs = [(part, args) for part in parts_of(args)]
    with multiprocessing.Pool(args.jobs) as pool:
        lines = sorted(x for some in pool.imap_unordered(some_versions, jobs, chunksize=1) for x in some)
    os.makedirs(os.path.dirname(args.report), exist_ok=True)
    with open(args.report, "w", encoding="utf-8") as f:
        f.writelines("%s\t%s\t%s\n" % (n, v, " ".join(t.split())[:600]) for n, v, t in lines)
    return conclude(args, lines)


def parts_of(args):
    """Numbers of the wanted schemas, in lists of what goes into one model."""
    together = {}
    for k, s in enumerate(drafts.schemas()):
        if wanted(name_of(s) + "/", args, "/"):
            together.setdefault((s.domain, s.since_version), []).append(k)
    size = 1 if args.full else TOGETHER
    return [part[first:first + size] for part in together.values() for first in range(0, len(part), size)]


def name_of(schema):
    return "%s%s-%d" % (schema.domain + ":" if schema.domain else "", schema.name, schema.since_version)


def conclude(args, lines):
    tally = harness.Tally()
    rules = explained()
    used, verdicts, open_verdicts = Counter(), Counter(), Counter()
    for name, verdict, text in lines:
        verdicts[verdict] += 1
        if verdict == "agrees":
            tally.passed += 1
            continue
        rule = next((k for k, (pattern, v, _) in enumerate(rules) if v == verdict and fnmatch.fnmatchcase(name, pattern)), None)
        if rule is None:
            open_verdicts[verdict] += 1
            tally.check("%s: %s" % (name, verdict), False, text[:300])
        else:
            used[rule] += 1
            tally.passed += 1
    if args.full and not args.filter:
        for k, (pattern, verdict, _) in enumerate(rules):
            tally.check("%s | %s is still needed" % (pattern, verdict), used[k] > 0)
    if not args.filter:
        gaps = coverage.all_gaps()
        tally.check("attributes, their values, absent inputs: all are drawn", not gaps, "; ".join("%s: %s" % g for g in gaps[:9]))
        for pattern, quote in coverage.unquoted(rules):
            tally.check("the specification says what %s quotes" % pattern, False, quote)
    print("verdicts: " + ", ".join("%d %s" % (n, v) for v, n in verdicts.most_common()))
    print("explained: " + (", ".join("%d %s" % (sum(used[k] for k, r in enumerate(rules) if r[1] == v), v)
                                     for v in sorted({r[1] for r in rules})) or "0"))
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
