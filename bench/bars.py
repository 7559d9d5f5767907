"""What bmc sets itself to reach (bars.json), held against what bench/run.py measured.

A row is a model at the sizes that it usually has, or NAME@LABEL at others (models.py). Its ratio is the best peer's
median divided by bmc's, the best peer being the one with the lower median; its interval is that of the 95 % middle
bootstrap samples of the rounds, drawn together for all engines, the best peer found anew in each. A row is met when
the upper end of the interval reaches its figure and the ratio is at least 1.

    against_best(row)       (ratio, low, high, peer) or None
    verdicts(results)       [Verdict] for every row of the table, also those that were not measured
    standing(results)       geometric mean over the rows of the table, rows met, rows of the table
"""

import json
import math
import os
import random
import statistics
from collections import namedtuple

PEERS = ("onnxruntime", "openvino")
SAMPLES = 2000

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "bars.json")) as f:
    BARS = json.load(f)

Verdict = namedtuple("Verdict", "name bar best met why")  # best: of against_best; why: of a row without a ratio


def against_best(row):
    ours = row.get("bmc", {}).get("rounds_ns")
    peers = {p: row.get(p, {}).get("rounds_ns") for p in PEERS}
    peers = {p: t for p, t in peers.items() if ours and t and len(t) == len(ours)}
    if not peers:
        return None
    rng = random.Random(7)

    def ratio(rounds):
        best = min(statistics.median([t[k] for k in rounds]) for t in peers.values())
        return best / statistics.median([ours[k] for k in rounds])

    n = len(ours)
    drawn = sorted(ratio(rng.choices(range(n), k=n)) for _ in range(SAMPLES))
    best = min(peers, key=lambda p: statistics.median(peers[p]))
    cut = SAMPLES * 25 // 1000
    return ratio(range(n)), drawn[cut], drawn[-1 - cut], best


def met(best, bar):
    return bool(best) and best[2] >= bar and best[0] >= 1


def verdicts(results):
    made = []
    for name, bar in BARS["times_as_fast"].items():
        row = results["models"].get(name)
        best = against_best(row) if row else None
        why = None
        if not best:
            why = "not measured" if row is None \
                else row.get("error") or row.get("bmc", {}).get("error") or "no peer runs it"
        made.append(Verdict(name, bar, best, met(best, bar), why))
    return made


def standing(results):
    """(geometric mean over the measured rows of the table, rows met, rows of the table, rows below 1)."""
    every = verdicts(results)
    ratios = [v.best[0] for v in every if v.best]
    mean = math.exp(sum(math.log(r) for r in ratios) / len(ratios)) if ratios else None
    return mean, sum(v.met for v in every), len(every), [v.name for v in every if v.best and v.best[0] < 1]


def least(row, key):
    """(ours, the least of the peers') of what a fresh process measured: run.py's 'start'."""
    ours = row.get("bmc", {}).get("start", {}).get(key)
    peers = [row[p]["start"][key] for p in PEERS if row.get(p, {}).get("start")]
    return (ours, min(peers)) if ours and peers else (None, None)


def starting(row):
    """{what: (ratio or share, bar, met)} of loading, starting, the first run and memory; only what was measured."""
    made = {}
    ours, peer = least(row, "load_ns")
    if ours:
        made["load"] = (peer / ours, BARS["load"], peer / ours >= BARS["load"])
    ours, peer = least(row, "output_ns")
    if ours and "ns" in row["bmc"]:
        bar = BARS["start"] if row["bmc"]["ns"] < BARS["start_below_ms"] * 1e6 else 1
        made["start"] = (peer / ours, bar, peer / ours >= bar)
    ours, peer = least(row, "peak_kb")
    if ours:
        made["memory"] = (ours / peer, 1, ours < peer)
    first = row.get("bmc", {}).get("start", {}).get("first_ns")
    if first and "ns" in row["bmc"]:
        most = BARS["first_run"] * row["bmc"]["ns"] + BARS["first_run_ms_per_100_mb"] * 1e6 \
            * row["bmc"].get("weights_bytes", 0) / 1e8
        made["first run"] = (first / most, 1, first <= most)
    return made


def second_core(name, row):
    """(times as fast with the threads of the run as with one, low, high, bar or None, met), or None."""
    got = row.get("bmc", {}).get("scaling")
    if not got:
        return None
    long = row["bmc"]["one_thread_ns"] > BARS["second_core_above_ms"] * 1e6
    bar = BARS["second_core_of"].get(name, BARS["second_core"]) if long else None
    return (*got, bar, got[2] >= (bar or 1))
