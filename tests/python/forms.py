#!/usr/bin/env python3
"""Forms of models around the operators: functions, control flow, sparse tensors, sequences and optionals, how elements
are stored (forms_tensors.py).

    forms.py [--full] [--bmc BMC] [--filter TEXT] [-v]

Each model is written in ONNX's text form, compiled at -O0 and -O2, for two CPUs (--full: both levels for both), and run on each of its feeds. What it has to give is
asked of ONNX Runtime; where that does not take the model, of the reference evaluator; where both are known to be wrong
(`want`), it is written out here. Shapes and element types must be equal, numbers to 1e-5. A run that must fail names its
message.
"""

import argparse
import os
import sys

import numpy as np
import onnx
import onnx.parser

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
import bmc_ctypes  # noqa: E402
import forms_contrib  # noqa: E402,F401
import forms_flow  # noqa: E402,F401
import forms_functions  # noqa: E402,F401
import forms_tensors  # noqa: E402
import forms_values  # noqa: E402,F401
from forms_case import CASES, Fails  # noqa: E402

WORK = os.path.join(harness.WORK, "forms")


def by_onnxruntime(model, feeds):
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run(None, f) for f in feeds]


def by_reference(model, feeds):
    from onnx.reference import ReferenceEvaluator

    r = ReferenceEvaluator(model)
    return [r.run(None, f) for f in feeds]


def same(got, want):
    """'' or what differs."""
    if isinstance(want, list) or want is None or got is None or isinstance(got, list):
        if not (isinstance(want, list) and isinstance(got, list)):
            return "" if want is None and got is None else "%r, expected %r" % (got, want)
        if len(want) != len(got):
            return "%d elements, expected %d" % (len(got), len(want))
        return next((d for d in map(same, got, want) if d), "")
    want = np.asarray(want)
    if got.shape != want.shape or (got.dtype != want.dtype and got.dtype.kind != "O"):
        return "%s%s, expected %s%s" % (got.dtype, list(got.shape), want.dtype, list(want.shape))
    if want.dtype.kind in "OUS":
        return "" if got.tolist() == want.tolist() else "%s, expected %s" % (got.tolist(), want.tolist())
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    good = np.allclose(got.astype(wide), want.astype(wide), rtol=1e-5, atol=1e-5, equal_nan=True)
    return "" if good else "%s, expected %s" % (got.ravel()[:8], want.ravel()[:8])


def model_of(case):
    model = onnx.parser.parse_model(case["model"])
    if "patch" in case:
        case["patch"](model)
    return model


def check(tally, bmc, case, full):
    name = case["name"]
    model = model_of(case)
    names = [i.name for i in model.graph.input]
    feeds = [dict(zip(names, f)) for f in case["feeds"]]
    ok = [k for k, w in enumerate(case.get("want", [None] * len(feeds))) if not isinstance(w, Fails)]
    want, why = {}, []
    if "want" in case:
        want = {k: case["want"][k] for k in range(len(feeds))}
    for oracle in [] if "want" in case else [by_onnxruntime, by_reference]:
        try:
            want = dict(zip(ok, oracle(model, [feeds[k] for k in ok])))
            break
        except Exception as e:  # whatever an oracle cannot do
            why.append("%s: %s" % (oracle.__name__, str(e).splitlines()[0] if str(e) else type(e).__name__))
    if not tally.check("%s: an oracle takes it" % name, len(want) == len(feeds), "; ".join(why)):
        return
    path = os.path.join(WORK, name)
    onnx.save(model, path + ".onnx")
    for flags in harness.configurations(full):
        level = "".join(flags)
        ran = harness.run([bmc, path + ".onnx", "-o", "%s%s.so" % (path, level), *flags, *case.get("options", [])])
        if not tally.check("%s %s compiles" % (name, level), ran.status == 0, ran.brief()):
            continue
        loaded = bmc_ctypes.Loaded("%s%s.so" % (path, level), threads=2)
        for k, feed in enumerate(feeds):
            label = "%s %s feed %d" % (name, level, k)
            try:
                got = loaded.run(feed)
            except bmc_ctypes.ModelError as e:
                wanted = want[k].text if isinstance(want[k], Fails) else None
                tally.check(label, wanted is not None and wanted in str(e), str(e))
                continue
            if isinstance(want[k], Fails):
                tally.check(label, False, "runs, expected: %s" % want[k].text)
                continue
            wrong = [d for g, w in zip(got.values(), want[k]) for d in [same(g, w)] if d]
            tally.check(label, not wrong and len(got) == len(want[k]), "; ".join(wrong))
        loaded.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--filter", default="")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    harness.needs_bmc(options.bmc)
    os.makedirs(WORK, exist_ok=True)
    tally = harness.Tally(options.v)
    for case in CASES:
        if options.filter in case["name"]:
            check(tally, options.bmc, case, options.full)
    if options.filter in "tensors":
        forms_tensors.check(tally, options.bmc, WORK)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
