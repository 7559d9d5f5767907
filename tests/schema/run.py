#!/usr/bin/env python3
"""Cases generated from the operators' schemas:   run.py [--full] [--seed N] [--filter TEXT] [--report FILE] [--mode M]

For every version of every operator in onnx.defs and each type that each of its constraints allows (drafts.py), cases
made by the operator's family (families*.py) go through `bmc run`, many in one model (batch.py), and must agree with
ONNX's reference evaluator or ONNX Runtime (oracle.py). What does not stands in explained.txt, with the reason; an entry
that is not needed any more fails too (with --full). Without --full: a twentieth of the types,
seed N modulo 20 the N-th (0), so that a run can be repeated; what no run has seen is for --full.
--mode run: inputs are fed (default); fold: all are initializers, so that the compiler works out the answer.
The report has one line per case: name, verdict, text, with tabs between. Verdicts: agrees, differs, refuse, fail, crash,
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

import batch  # noqa: E402
import drafts  # noqa: E402
import compare  # noqa: E402
import families_control  # noqa: E402, F401
import families_elementwise  # noqa: E402, F401
import families_ml  # noqa: E402, F401
import families_moves  # noqa: E402, F401
import families_rows  # noqa: E402, F401
import families_sums  # noqa: E402, F401
import harness  # noqa: E402
import oracle  # noqa: E402
import values  # noqa: E402

EXPLAINED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "explained.txt")
SHARE = 20  # without --full one in so many types
BATCH = 48


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
        shape = (shape[0], case.attrs["sample_size"])
    elem = values.DTYPE[values.element_of(case.types.get("T2", case.types.get("T", "")))[1]]
    good = got[0].shape == shape and got[0].dtype == elem
    if case.op == "Bernoulli":
        good = good and set(got[0].astype(float).ravel()) <= {0.0, 1.0}
    return ("agrees", "shape and type") if good else ("differs", "%s %s" % (got[0].shape, got[0].dtype))


def wanted(name, args, upto=None):
    """Does a name begin with one of the filter's texts?  Add-7, Add-7/T=float, Reduce, ai.onnx.ml:"""
    return not args.filter or any(name.startswith(x.split(upto)[0] if upto else x) for x in args.filter.split(","))


def drawn(prefix, args):
    return args.full or (zlib.crc32(prefix.encode()) + args.seed) % SHARE == 0


def one_version(job):
    """All cases of one version of an operator: lines (name, verdict, text)."""
    number, args = job
    schema = drafts.schemas()[number]
    lines, todo = [], []
    for draft in drafts.drafts(schema, args.seed if args.reseed else 0):
        if not drawn(draft.prefix, args) or not wanted(draft.prefix + "/", args):
            continue
        try:
            forms = drafts.cases_of(draft)
        except Exception as error:
            forms = []
            lines.append((draft.prefix, "crash", "the test itself: %r" % error))
        todo += forms
        if not forms:
            lines.append((draft.prefix, "none", "no family makes cases of it"))
    apart = [[c for c in todo if ("complex" in str(c.types)) == odd] for odd in (False, True)]
    for some in (part[first:first + BATCH] for part in apart for first in range(0, len(part), BATCH)):
        runner = batch.Runner(args.bmc, ["-O", args.level] + args.option, args.mode == "fold")
        try:
            got = runner.results(some)
        except Exception as error:
            lines += [(c.name, "crash", "the test itself: %r" % error) for c in some]
            continue
        for case in some:
            try:
                lines.append((case.name,) + tuple(judge(case, got[case.name])))
            except Exception as error:
                lines.append((case.name, "crash", "the test itself: %r" % error))
    return lines


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
    parser.add_argument("--filter", default="")
    parser.add_argument("--mode", choices=("run", "fold"), default="run")
    parser.add_argument("--level", default="2")
    parser.add_argument("--option", action="append", default=[], help="more for bmc, as --option=--cpu=x86-64-v3")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", default=os.path.join(harness.WORK, "schema.txt"))
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    args = parser.parse_args()
    args.bmc = harness.needs_bmc(args.bmc)
    args.seed = args.seed or 0
    if args.filter:
        args.full = True
    jobs = [(k, args) for k, s in enumerate(drafts.schemas()) if wanted(name_of(s) + "/", args, "/")]
    with multiprocessing.Pool(args.jobs) as pool:
        lines = sorted(x for some in pool.imap_unordered(one_version, jobs, chunksize=1) for x in some)
    os.makedirs(os.path.dirname(args.report), exist_ok=True)
    with open(args.report, "w", encoding="utf-8") as f:
        f.writelines("%s\t%s\t%s\n" % (n, v, " ".join(t.split())[:600]) for n, v, t in lines)
    return conclude(args, lines)


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
    print("verdicts: " + ", ".join("%d %s" % (n, v) for v, n in verdicts.most_common()))
    print("explained: " + (", ".join("%d %s" % (sum(used[k] for k, r in enumerate(rules) if r[1] == v), v)
                                     for v in sorted({r[1] for r in rules})) or "0"))
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
