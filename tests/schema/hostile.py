#!/usr/bin/env python3
"""Hostile inputs end in an error from run, never in an access outside a buffer:
    hostile.py [--full] [--seed N] [--filter TEXT] [--bmc PATH] [--text-test PATH]

Every operator of bmc's table, in a case or two of its family (drafts.py; those without a schema: OWN), all inputs fed
and all sizes symbolic. Then each input gets, wholly or in one element: indices beyond both ends, sizes that are
negative or whose products leave 64 bits, NaN and infinities, and other extents than the others go with. Twice:
  compiled: a process of its own runs the shared object, inputs ending with a page behind which nobody may read, 1 GB of
            memory; a signal or no end within the time limit is a failure, any status is fine;
  interpreted: the Kernel IR, at -O0 and -O2, whose every access is checked (`; run: ... -> safe`).
What the table has and neither schemas nor OWN have a case for stands in NO_CASE, with the reason.
--full: all cases, index types, and fixed sizes, too.
"""

import argparse
import mmap
import multiprocessing
import os
import resource
import shutil
import signal
import struct
import sys
import zlib

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), *p) for p in ((), ("..", "python"))]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

import batch  # noqa: E402
import drafts  # noqa: E402
import families_control  # noqa: E402, F401
import families_elementwise  # noqa: E402, F401
import families_ml  # noqa: E402, F401
import families_moves  # noqa: E402, F401
import families_rows  # noqa: E402, F401
import families_sums  # noqa: E402, F401
import harness  # noqa: E402
import oracle  # noqa: E402
import values  # noqa: E402
from compiled import at_page_end  # noqa: E402

SECONDS = 20
MEMORY = 1 << 30
LARGE = 1 << 18  # elements of a result that the interpreter is not asked for
INDICES = (-1, 1000, -1000, 2**31 - 1, -(2**31), 2**31, 2**32 + 1, 2**62, -(2**62), 2**63 - 1, -(2**63), 0)
NUMBERS = (-1.0, 0.0, 1e4, -1e9, 3e9, 1e19, -1e19, np.inf, -np.inf, np.nan)
SHORT = {"double": "f64", "float": "f32", "float16": "f16", "bfloat16": "bf16", "bool": "bool", "string": "str",
         **{"%sint%d" % (u, n): "%si%d" % (u, n) if not u else "u%d" % n for u in ("", "u") for n in (8, 16, 32, 64)}}

NO_CASE = {
    **{op: "no inputs" for op in ("Constant", "RandomNormal", "RandomUniform", "SequenceEmpty")},
    "ImageDecoder": "damaged images: fuzz-images",
    "ai.onnx.preview.FlexAttention": "scores go through graphs of the model's; no indices",
    "ai.onnx.preview.training.Gradient": "becomes other operators before anything else",
    **{"com.microsoft." + op: "becomes ONNX's before anything else, which has cases" for op in ("Range", "RotaryEmbedding")},
    **{"com.microsoft." + op: "elements, scales and shapes only, through the same code as the ONNX operators" for op in (
        "BiasGelu DequantizeLinear DynamicQuantizeMatMul FastGelu FusedConv FusedGemm FusedMatMul Gelu MatMulIntegerToFloat QGemm QLinearAdd "
        "QLinearAveragePool QLinearConcat QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearSigmoid "
        "QLinearSoftmax QuantizeLinear QuickGelu SkipLayerNormalization SkipSimplifiedLayerNormalization").split()},
}
# Iterations are as many as the model says, an adaptive RoiAlign's samples as many as the region has pixels: no end is no error.
ENDLESS = {"Loop"}


class Model:
    """One node with its inputs: onnx, and arrays by name."""

    def __init__(self, name, op, model, feeds, other=None):
        self.name, self.op, self.model, self.feeds = name, op, model, feeds
        self.other = other  # for when this is refused, as with the last dimension of GatherND's indices unknown


FORMS = ("", ", fixed sizes", ", fixed sizes and initializers")


def of_case(case, form=0):
    """All inputs fed: sizes unknown; sizes fixed; sizes and those inputs fixed that the family fixes."""
    parts = oracle.Parts(case if form == 2 else case._replace(fixed=()), "")
    model = oracle.model_of([parts], case.domain, case.version)
    if form == 0:
        for v in model.graph.input:
            batch.forget(v.type)
    other = of_case(case, form + 1) if form < (2 if case.fixed else 1) else None
    return Model(case.name + FORMS[form], table_name(case.domain, case.op), model, parts.feeds, other)


def table_name(domain, op):
    return "%s.%s" % (domain, op) if domain else op


def own(op, inputs, domain="", version=22, n_out=1, fixed=(), **attrs):
    """A model of one node that no schema describes; inputs by name, floats and integers, of which some are initializers."""
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), [None] * x.ndim) for n, x in inputs.items()
             if n not in fixed]
    outs = [helper.make_value_info("y%d" % k, onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor(elem_type=TensorProto.FLOAT)))
            for k in range(n_out)]
    node = helper.make_node(op, list(inputs), [v.name for v in outs], name="node", domain=domain, **attrs)
    graph = helper.make_graph([node], "g", infos, outs, [onnx.numpy_helper.from_array(inputs[n], n) for n in fixed])
    imports = [helper.make_opsetid("", version)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return Model("%s/own" % table_name(domain, op), table_name(domain, op),
                 helper.make_model(graph, opset_imports=imports, ir_version=10), {n: x for n, x in inputs.items() if n not in fixed})


def own_cases():
    f = lambda *shape: np.random.default_rng(shape).standard_normal(shape).astype(np.float32)  # noqa: E731
    ids = np.array([[0, 3, 2], [1, 1, 4]], np.int32)
    yield own("EmbedLayerNormalization", {"ids": ids, "kinds": ids % 2, "words": f(5, 4), "places": f(6, 4), "types": f(2, 4), "g": f(4), "b": f(4)},
              "com.microsoft", n_out=1)
    yield own("Attention", {"x": f(2, 3, 4), "w": f(4, 12), "b": f(12), "lengths": np.array([3, 2], np.int32)}, "com.microsoft",
              fixed=("w",), num_heads=2)
    yield own("MaxRoiPool", {"x": f(1, 2, 6, 6), "rois": np.array([[0, 0, 0, 3, 3], [0, 1, 2, 5, 5]], np.float32)}, pooled_shape=[2, 2])
    # sizes that other operators compute
    yield own("Upsample", {"x": f(1, 1, 2, 3), "scales": np.array([1, 1, 2, 2], np.float32)}, version=9)
    yield own("Resize", {"x": f(1, 1, 2, 3), "roi": f(8), "scales": np.array([1, 1, 2, 2], np.float32)}, version=19, mode="cubic",
              coordinate_transformation_mode="tf_crop_and_resize")


def models(args):
    """Every model that is tried, and the table's operators that have none."""
    table = harness.run([args.bmc, "check", "--list-ops"]).out.split()
    newest = {table_name(s.domain, s.name): s for s in drafts.schemas()}  # by version: the last one stays
    for name, schema in newest.items():
        if name not in table:
            continue
        base, constraints = drafts.default_types(schema), drafts.used_constraints(schema)
        todo = [drafts.Draft(schema, base, constraints[0][0] if constraints else "", args.seed)]
        if args.full:
            todo += [drafts.Draft(schema, dict(base, **{n: t}), n, args.seed) for n, kinds in constraints for t in kinds
                     if t in ("tensor(int32)", "tensor(int64)") and t != base[n]]
        for draft in todo:
            forms = [c for c in drafts.cases_of(draft) if any(isinstance(x, dict) or size_of(x) for x in c.inputs)]
            if not args.full:
                forms = some_of(forms, args.seed)
            for c in forms:
                for form in (0, 1) if args.full else (0,):
                    yield of_case(c, form)
    yield from own_cases()


def size_of(x):
    return sum(size_of(y) for y in x) if isinstance(x, list) else x.size if isinstance(x, np.ndarray) else 0


def some_of(forms, seed):
    """The form with the most inputs and, where there are indices or sizes among them, another one."""
    forms = sorted(forms, key=lambda c: -sum(x is not None for x in c.inputs))
    whole = [x for c in forms[:1] for x in c.inputs if isinstance(x, np.ndarray) and x.dtype.kind in "iu"]
    if not whole:
        return forms[:1]
    return forms[:1] + ([forms[1:][(zlib.crc32(forms[0].name.encode()) + seed) % (len(forms) - 1)]] if len(forms) > 1 else [])


def spoiled(model, rng):
    """[(what, feeds)]: one input is not what it should be."""
    found = [("as it was", model.feeds)]
    for name, x in model.feeds.items():
        if not isinstance(x, np.ndarray) or not x.size:
            continue
        kind = values.NAME.get(x.dtype, "")
        if kind in values.SINT[:4] + values.UINT[:4]:
            bad = [v for v in INDICES if np.iinfo(x.dtype).min <= v <= np.iinfo(x.dtype).max]
            bad += [x.dtype.type(d + s) for d in set(sizes_in(model)) for s in (0, -1) if s + d > 0]
        else:
            bad = NUMBERS if kind in ("float", "double") else ()
        if any(model.name.startswith(op) for op in ENDLESS) or "/adaptive" in model.name:
            bad = [v for v in bad if abs(v) < 10000]
        for v in bad:
            whole = np.full_like(x, v)
            found.append(("%s all %s" % (name, v), dict(model.feeds, **{name: whole})))
            if x.size > 1:
                one = x.copy()
                one.flat[rng.integers(x.size)] = v
                found.append(("%s with %s" % (name, v), dict(model.feeds, **{name: one})))
        for axis in range(x.ndim):
            for extent in sorted({0, 1, x.shape[axis] + 1, 2 * x.shape[axis]} - {x.shape[axis]}):
                shape = x.shape[:axis] + (extent,) + x.shape[axis + 1:]
                found.append(("%s of %s" % (name, list(shape)), dict(model.feeds, **{name: np.resize(x, shape).astype(x.dtype)})))
    return found


def sizes_in(model):
    return [d for x in model.feeds.values() if isinstance(x, np.ndarray) for d in x.shape if 0 < d < 100]


# ---- compiled ----

def child(artifact, todo, at):
    """In a process of its own: every run. `at`: shared memory that says which one."""
    from bmc_ctypes import E_MEMORY, OK, TENSOR, Loaded, empty_output, given

    with open("/proc/self/statm", encoding="ascii") as f:
        used = int(f.read().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(SECONDS)
    loaded = Loaded(artifact)
    for k, (_, feeds) in enumerate(todo):
        at[:4] = struct.pack("i", k)
        fed = {n: at_page_end(x) if isinstance(x, np.ndarray) and x.dtype != object and x.size else x for n, x in feeds.items()}
        outputs = [empty_output() for _ in loaded.outputs]
        try:
            status = loaded.raw_run([given(p, fed[p.name.decode()]) for p in loaded.inputs], outputs)
        except MemoryError:
            status = E_MEMORY
        many = sum(np.prod(y.dim[:y.rank], dtype=np.float64) for y in outputs if y.kind == TENSOR)
        at[4 + k] = MUCH if status == E_MEMORY or many > LARGE else GOOD if status == OK else ERROR


GOOD, ERROR, MUCH = 1, 2, 3


def run_compiled(artifact, todo):
    """What went wrong or None, and what each run gave."""
    at = mmap.mmap(-1, 4 + len(todo))
    pid = os.fork()
    if not pid:
        code = 2
        try:
            child(artifact, todo, at)
            code = 0
        except BaseException as error:  # a mistake of the test itself
            print("the test itself: %r" % error, flush=True)
        os._exit(code)
    status = os.waitpid(pid, 0)[1]
    gave = list(at[4:4 + len(todo)])
    if status:
        how = "signal %d" % os.WTERMSIG(status) if os.WIFSIGNALED(status) else "exit %d" % os.WEXITSTATUS(status)
        return "%s at '%s'" % (how, todo[struct.unpack("i", at[:4])[0]][0]), gave
    return None, gave


# ---- interpreted ----

def text_of(x):
    if isinstance(x, list):
        return "seq{%s}" % ", ".join(text_of(y) for y in x)
    kind = SHORT[values.NAME[x.dtype]]
    if kind == "str":
        items = ['"%s"' % str(v).replace("\\", "\\\\").replace('"', '\\"') for v in x.flat]
    elif kind == "bool":
        items = ["%d" % v for v in x.flat]
    else:
        whole = x.view(np.int64) if x.dtype == np.uint64 else x  # the text form's integers have a sign
        items = [repr(float(v)) if kind[0] in "bf" else "%d" % v for v in whole.flat]
    return "%s[%s]{%s}" % (kind, ",".join(str(d) for d in x.shape), ",".join(items))


def text_test(bir, todo):
    """A text test of the graph and its runs; None when it cannot be said in text."""
    try:
        lines = ["; run: %s -> safe\n" % ", ".join(text_of(x) for x in feeds.values()) for _, feeds in todo]
    except (KeyError, AttributeError):
        return None
    with open(bir, encoding="utf-8") as f:
        return "; test: run --no-eval\n; hostile inputs\n" + "".join(lines) + f.read()


def one_model(job):
    """A model, both ways: (its operator, or None where it was not run; runs; those that gave a result; was it interpreted; what is wrong)."""
    args, folder, number, model = job
    stem = os.path.join(folder, "m%d" % number)
    onnx.save(model.model, stem + ".onnx")
    todo = spoiled(model, np.random.default_rng([args.seed, zlib.crc32(model.name.encode())]))
    ran = harness.run([args.bmc, stem + ".onnx", "-o", stem + ".so", "--threads=off"])
    if ran.status == 1 and model.other:
        return one_model((args, folder, number, model.other))
    if ran.status != 0:
        return None, 0, 0, False, [(model.name + " compiles", ran.brief())]
    wrong, gave = run_compiled(stem + ".so", todo)
    found = [(model.name + ", compiled", wrong)] if wrong else []
    lines = [t for t, g in zip(todo, gave) if g != MUCH]
    ran = harness.run([args.bmc, stem + ".onnx", "--stop-after=infer", "-o", stem + ".bir"])
    text = text_test(stem + ".bir", lines) if ran.status == 0 else None
    if text is not None:
        with open(stem + ".bir", "w", encoding="utf-8") as f:
            f.write(text)
        ran = harness.run([args.text_test, stem + ".bir"], limit=120, preexec=limits)
        if ran.status != 0:
            found.append((model.name + ", interpreted", ran.out[:400] + ran.brief()))
    for end in (".onnx", ".so", ".bir"):
        if os.path.exists(stem + end):
            os.remove(stem + end)
    return model.op, len(todo), gave.count(GOOD), text is not None, found


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def main():
    parser = argparse.ArgumentParser(description="hostile inputs")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--filter", default="")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--text-test", default=os.path.join(harness.TOP, "build", "bin", "bmc-text-test"))
    args = parser.parse_args()
    args.bmc = harness.needs_bmc(args.bmc)
    args.text_test = harness.needs_bmc(args.text_test)
    tally = harness.Tally()
    folder = os.path.join(harness.WORK, "hostile-%d" % os.getpid())
    os.makedirs(folder)
    todo = [m for m in models(args) if m.name.startswith(args.filter)]
    seen, runs, good, interpreted = set(), 0, 0, 0
    with multiprocessing.Pool(args.jobs) as pool:
        for op, n, n_good, both, wrong in pool.imap_unordered(one_model, [(args, folder, k, m) for k, m in enumerate(todo)]):
            seen.add(op)
            runs, good, interpreted = runs + n, good + n_good, interpreted + both
            tally.passed += 1 + both - len(wrong)
            for name, text in wrong:
                tally.check(name, False, text)
    if not args.filter:
        for op in harness.run([args.bmc, "check", "--list-ops"]).out.split():
            tally.check("%s has a case" % op, (op in seen) != (op in NO_CASE))
    print("%d models of %d operators, %d of them interpreted, too; %d runs, %d gave a result" % (
        len(todo), len(seen), interpreted, runs, good))
    shutil.rmtree(folder)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
