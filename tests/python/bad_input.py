#!/usr/bin/env python3
"""Bad input of every kind:   bad_input.py [--bmc PATH] [-v]

Compile time (bad_models.py, and command lines): exit status 1; exactly one error message, which names the file, and
node, operator or tensor where there is one; no file left behind, neither beside the target nor among temporary files;
no crash; nothing left behind either when a signal ends the process. Run time, through `bmc run` and through the C
interface: wrong rank, element type, dim, null pointer, too small output, overlapping buffers: a status and a message
that names the input, never a crash, and the context works afterwards.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np

import bad_models
import harness
from bad_models import DIGITS
from harness import TOP, run

LIMIT = 30  # seconds for one refusal


def listing(*folders):
    return sorted(
        os.path.join(base, f) for folder in folders for base, dirs, files in os.walk(folder) for f in dirs + files
    )


def complaint(ran, words):
    """None when `ran` is a proper refusal whose message has all words, else what is wrong with it."""
    if ran.status != 1:
        return "expected exit 1, got " + ran.brief()
    lines = [line for line in ran.err.splitlines() if re.search(r"\berror\b", line)]
    if len(lines) != 1:
        return "%d error messages: %s" % (len(lines), ran.brief())
    for word in words:
        if word not in lines[0]:
            return "the message does not name %s: %s" % (word, lines[0])
    if re.search(r"Assertion|BUG|LLVM ERROR|Sanitizer|runtime error", ran.err):
        return ran.brief()
    return None


class Refusals:
    """Runs commands that must be refused, each in a folder of its own."""

    def __init__(self, bmc, tally, work):
        self.bmc, self.tally, self.work = bmc, tally, work
        self.count = 0

    def folder(self):
        self.count += 1
        path = os.path.join(self.work, "case%d" % self.count)
        os.makedirs(os.path.join(path, "tmp"))
        return path

    def refuse(self, name, words, arguments, folder):
        before = listing(folder)
        ran = run([self.bmc] + arguments, limit=LIMIT, env={"TMPDIR": os.path.join(folder, "tmp")}, cwd=folder)
        wrong = complaint(ran, words)
        left = [f for f in listing(folder) if f not in before]
        if not wrong and left:
            wrong = "left behind: " + " ".join(left)
        self.tally.check(name, not wrong, wrong)

    def model(self, name, build):
        folder = self.folder()
        path, words = build(folder)
        self.refuse(name, [os.path.basename(path)] + words, [path, "-o", os.path.join(folder, "out.so")], folder)

    def command(self, name, words, *arguments):
        folder = self.folder()
        self.refuse(name, words, [a.replace("{dir}", folder) for a in arguments], folder)


def command_lines(r):
    """Options, targets and outputs that are wrong while the model is right."""
    digits, out = DIGITS, "{dir}/out.so"
    r.command("output folder does not exist", ["none/out.so"], digits, "-o", "{dir}/none/out.so")
    r.command("output is a folder", ["tmp"], digits, "-o", "{dir}/tmp/")
    r.command("output in a file system that takes no files", ["/proc/out.so"], digits, "-o", "/proc/out.so")
    r.command("output of unknown kind", ["out.exe"], digits, "-o", "{dir}/out.exe")
    r.command("unknown flag", ["--frobnicate"], digits, "-o", out, "--frobnicate")
    r.command("unknown short flag", ["-Z"], digits, "-o", out, "-Z")
    r.command("unknown level", ["7"], digits, "-o", out, "-O7")
    r.command("unknown pass", ["no-such-pass"], digits, "-o", out, "--passes=no-such-pass")
    r.command("unknown target", ["pdp11-dec-none"], digits, "-o", out, "--target=pdp11-dec-none")
    r.command("unknown cpu", ["z80"], digits, "-o", out, "--cpu=z80")
    r.command("unknown number of threads", ["banana"], digits, "-o", out, "--threads=banana")
    r.command("dim of no symbol", ["nosuch"], digits, "-o", out, "--dim", "nosuch=3")
    r.command("dim that is no number", ["batch"], digits, "-o", out, "--dim", "batch=many")
    r.command("dim below zero", ["batch"], digits, "-o", out, "--dim", "batch=-4")
    r.command("unknown mode of arithmetic", ["--math", "sloppy"], digits, "-o", out, "--math=sloppy")
    r.command("unknown mode of a node", ["--math", "x=exact"], digits, "-o", out, "--math", "x=exact")
    r.command("mode without a node", ["--math", "=strict"], digits, "-o", out, "--math", "=strict")
    r.command("gradient of nothing", ["--grad", "no/such"], digits, "-o", out, "--grad=no/such:image")
    r.command("gradient by nothing", ["--grad", "no/such"], digits, "-o", out, "--grad=probability:no/such")
    r.command("gradient by one thing twice", ["--grad", "twice"], digits, "-o", out, "--grad=probability:image,image")
    r.command("mode of no node", ["--math", "no/such"], digits, "-o", out, "--math", "no/such=strict")
    for budget in ("lots", "-1", "5T", "5%%", "99999999999G"):
        r.command("weights budget " + budget, ["--weights-budget", budget], digits, "-o", out, "--weights-budget", budget)
    r.command("output missing after -o", ["-o"], digits, "-o")
    r.command("no model", [], "-o", out)
    folder = r.folder()
    text = os.path.join(folder, "digits.bir")
    ran = run([r.bmc, digits, "-o", text])
    r.tally.check("the digits model as .bir", ran.status == 0, ran.brief())
    r.command("opt: unknown pass", ["no-such-pass"], "opt", text, "--passes=no-such-pass", "-o", "{dir}/y.bir")


def accepted(r):
    """What looks odd but is right must go through, so that refusing everything does not pass this test."""
    folder = r.folder()
    proto = bad_models.onnx.load(DIGITS)
    proto.opset_import[0].version = 9999
    newer = bad_models.save(folder, proto, "newer.onnx")
    ran = run([r.bmc, newer, "-o", os.path.join(folder, "newer.so")])
    r.tally.check(
        "a newer opset is a warning",
        ran.status == 0 and ran.err.count("warning") == 1 and "9999" in ran.err,
        ran.brief(),
    )
    helper = bad_models.onnx.helper
    ports = [helper.make_tensor_value_info(name, 1, [4]) for name in "xy"]
    for test, warnings in (None, 1), (0, 0), (1, 0):
        node = helper.make_node("Dropout", ["x"], ["y"], **({} if test is None else {"is_test": test}))
        graph = helper.make_graph([node], "old", ports[:1], ports[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 6)], ir_version=3)
        ran = run([r.bmc, bad_models.save(folder, model, "old.onnx"), "-o", os.path.join(folder, "old.so")])
        right = ran.status == 0 and ran.err.count("W046") == warnings and ran.err.count("warning") == warnings
        r.tally.check("Dropout of opset 6, is_test %s" % test, right, ran.brief())
    odd = os.path.join(folder, "a b'c $(touch x) \"d.onnx")
    shutil.copy(DIGITS, odd)
    ran = run([r.bmc, odd, "-o", odd + ".so"], cwd=folder)
    r.tally.check(
        "a file name that a shell would stumble over",
        ran.status == 0
        and not ran.err.strip()
        and os.path.exists(odd + ".so")
        and not os.path.exists(os.path.join(folder, "x")),
        ran.brief(),
    )
    ran = run([r.bmc, odd, "-o", odd + ".so"], cwd=folder)
    r.tally.check("an output that is there is replaced", ran.status == 0, ran.brief())
    with open(odd + ".so", "rb") as f:
        before = f.read()
    broken, _ = bad_models.unknown_op(folder)
    ran = run([r.bmc, broken, "-o", odd + ".so"], cwd=folder)
    with open(odd + ".so", "rb") as f:
        r.tally.check("a failure leaves the old output alone", ran.status == 1 and f.read() == before, ran.brief())
    proto.opset_import[0].version = 13
    older = bad_models.save(folder, proto, "older.onnx")
    ran = run([r.bmc, "check", older, "--json"])
    found = {o["op"]: (o["version"], o["computed"]) for o in json.loads(ran.out)["operators"]}
    want = {n.op_type: bad_models.onnx.defs.get_schema(n.op_type, 13).since_version for n in proto.graph.node}
    r.tally.check("check: versions of operators", {op: v for op, (v, _) in found.items()} == want, found)
    r.tally.check("check: how they are computed", found["Conv"][1] == "nest tile" and found["Relu"][1] == "nest", found)
    for option in ("--help", "--help-all", "--version"):
        ran = run([r.bmc, option])
        r.tally.check(option, ran.status == 0 and ran.out.strip() and not ran.err, ran.brief())


def ended(r):
    """Ended by a signal as soon as a file of a kind is there, and by a limit on the size of files: nothing stays."""
    folder = r.folder()
    onnx = bad_models.onnx
    weights = np.random.default_rng(1).standard_normal((64, 200000)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "large",
        [onnx.helper.make_tensor_value_info("x", 1, [1, 64])],
        [onnx.helper.make_tensor_value_info("y", 1, [1, 200000])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = os.path.join(folder, "large.onnx")
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)]), model)
    env = dict(os.environ, TMPDIR=os.path.join(folder, "tmp"))
    before = listing(folder)
    seen = 0
    for out, kind, sig in (
        ("a.so", "code-.o", signal.SIGTERM),
        ("a.so", "weights-.o", signal.SIGINT),
        ("a.so", "linked-", signal.SIGHUP),
        ("a.so", "linked-.new", signal.SIGTERM),
        ("a.a", "a.o", signal.SIGTERM),
        ("a.a", "linked-", signal.SIGXCPU),
    ):
        products = [os.path.join(folder, f) for f in (out, "a.h")]
        for _ in range(20):  # a file may come and go while this process waits for a processor: it goes first
            child = subprocess.Popen(["nice", "-n", "19", r.bmc, model, "-o", products[0]], env=env, stderr=subprocess.DEVNULL)
            while child.poll() is None and not any(os.path.basename(f) == kind for f in listing(folder)):
                pass
            child.send_signal(sig)
            status = child.wait()
            time.sleep(0.1)  # whoever still writes would show
            left = [f for f in listing(folder) if f not in before and (status or f not in products)]
            name = "ended by %s with %s there" % (sig.name, kind)
            r.tally.check(name, status in (0, -sig) and not left, "status %d, left behind: %s" % (status, left))
            for f in products:
                if os.path.exists(f):
                    os.remove(f)
            if status == -sig:
                seen += 1
                break
    r.tally.check("most of them were ended in time", seen >= 4, seen)
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    start = [sys.executable, "-c", "import os, resource, sys; %s; os.execv(sys.argv[1], sys.argv[1:])" % limit]
    ran = run(start + [r.bmc, model, "-o", os.path.join(folder, "a.so")], env={"TMPDIR": env["TMPDIR"]})
    wrong, left = complaint(ran, ["a.so"]), [f for f in listing(folder) if f not in before]
    r.tally.check("files may have 1 MB", not wrong and not left, "%s %s" % (wrong, left))


def run_lines(r, artifact):
    """`bmc run` with wrong arguments."""
    folder = r.folder()

    def npy(name, array):
        path = os.path.join(folder, name)
        np.save(path, array)
        return path

    good = npy("good.npy", np.zeros((1, 1, 8, 8), np.float32))
    broken = os.path.join(folder, "broken.npy")
    with open(good, "rb") as f, open(broken, "wb") as g:
        g.write(f.read()[:100])
    for name, words, path in (
        ("wrong rank", ["image"], npy("rank.npy", np.zeros((1, 8, 8), np.float32))),
        ("wrong element type", ["image"], npy("dtype.npy", np.zeros((1, 1, 8, 8), np.float64))),
        ("wrong dim", ["image", "8", "9"], npy("dim.npy", np.zeros((1, 1, 8, 9), np.float32))),
        ("broken file", ["broken.npy"], broken),
        ("missing file", ["none.npy"], os.path.join(folder, "none.npy")),
    ):
        r.command("run: " + name, words, "run", artifact, "--input", "image=@" + path)
    r.command("run: unknown input", ["picture"], "run", artifact, "--input", "picture=@" + good)
    r.command("run: input not given", ["image"], "run", artifact)
    r.command("run: no such artifact", ["none.so"], "run", "{dir}/none.so", "--input", "image=zeros")
    r.command("run: artifact is a text file", ["README"], "run", os.path.join(TOP, "models", "digits", "README.md"))
    r.command("run: library that is no model", ["libm.so.6"], "run", libm(), "--input", "image=zeros")
    r.command("run: unknown flag", ["--frobnicate"], "run", artifact, "--input", "image=@" + good, "--frobnicate")
    r.command("run: no such data folder", ["nodata"], "run", artifact, "--data", "{dir}/nodata")
    r.command("bench: unknown flag", ["--frobnicate"], "bench", artifact, "--frobnicate")


def libm():
    return next(
        p for p in ("/lib/x86_64-linux-gnu/libm.so.6", "/usr/lib/libm.so.6", "/lib64/libm.so.6") if os.path.exists(p)
    )


# --- the C interface
# ----------------------------------------------------------------------------------------------------------------


def probe(artifact, name):
    """In a child process: one bad call on the digits model, then a good one. Prints what happened as JSON."""
    import bmc_ctypes as abi

    model = abi.Loaded(artifact)
    image = np.load(os.path.join(TOP, "models", "digits", "digits.npy"))[:2].copy()
    value, outputs = abi.tensor(image), [abi.empty_output()]
    room = np.full(20, -1, np.float32)
    inputs = [value]
    if name == "wrong rank":
        value.rank = 3
    elif name == "rank 200":
        value.rank = 200
    elif name == "wrong element type":
        value.dtype = abi.NUMBERS[np.dtype(np.float64)]
    elif name == "wrong dim":
        value.dim[3] = 9
    elif name == "negative dim":
        value.dim[0] = -2
    elif name == "huge dim":
        value.dim[0] = 2**62
    elif name == "too few bytes":
        value.bytes = 100
    elif name == "not a tensor":
        value.kind = 2
    elif name == "null data":
        value.data = None
    elif name == "null inputs":
        inputs = None
    elif name == "null outputs":
        outputs = None
    elif name == "struct of another size":
        value.size = 8
    elif name == "output too small":
        outputs = [abi.Value(size=value.size, kind=abi.TENSOR, data=room.ctypes.data, bytes=40)]
    elif name == "output over input":
        outputs = [abi.Value(size=value.size, kind=abi.TENSOR, data=image.ctypes.data + 64, bytes=80)]
    status = model.raw_run(inputs, outputs)
    result = {
        "status": abi.STATUS[status] if status < len(abi.STATUS) else status,
        "message": model.message() if status else "",
    }
    if name == "output too small":
        result.update(
            dims=outputs[0].dim[: outputs[0].rank], bytes=outputs[0].bytes, untouched=bool((room[10:] == -1).all())
        )
    after = model.run({"image": image})["probability"]
    result["works_after"] = bool(np.allclose(after.sum(axis=1), 1, atol=1e-4) and after.shape == (2, 10))
    print(json.dumps(result))


INTERFACE = {  # case -> (status, words of the message)
    "wrong rank": ("INPUT", ["image", "3", "4"]),
    "rank 200": ("INPUT", ["image"]),
    "wrong element type": ("INPUT", ["image"]),
    "wrong dim": ("INPUT", ["image", "8", "9"]),
    "negative dim": ("INPUT", ["image"]),
    "huge dim": (("INPUT", "MEMORY", "CAPACITY"), []),
    "too few bytes": ("INPUT", ["image"]),
    "not a tensor": ("INPUT", ["image"]),
    "null data": ("INPUT", ["image"]),
    "null inputs": ("ARG", []),
    "null outputs": ("ARG", []),
    "struct of another size": (("ARG", "INPUT"), []),
    "output too small": ("CAPACITY", ["probability"]),
    "output over input": (("ARG", "INPUT"), []),
}


def interface(tally, artifact, name):
    ran = run([sys.executable, os.path.abspath(__file__), "--probe", name, artifact], limit=LIMIT)
    wrong = None
    if ran.status != 0:
        wrong = ran.brief()
    else:
        got = json.loads(ran.out.splitlines()[-1])
        statuses, words = INTERFACE[name]
        if got["status"] not in ((statuses,) if isinstance(statuses, str) else statuses):
            wrong = "status %s: %s" % (got["status"], got["message"])
        elif not got["message"]:
            wrong = "no message"
        elif [w for w in words if w not in got["message"]]:
            wrong = "the message does not name %s: %s" % (words, got["message"])
        elif not got["works_after"]:
            wrong = "the context does not work any more"
        elif name == "output too small" and (got["dims"] != [2, 10] or got["bytes"] < 80 or not got["untouched"]):
            wrong = "dims %s, bytes %s, memory behind it untouched: %s" % (got["dims"], got["bytes"], got["untouched"])
        elif ran.err.strip() or len(ran.out.splitlines()) != 1:
            wrong = "the model printed something: " + ran.brief()
    tally.check("interface: " + name, not wrong, wrong)


def main():
    parser = argparse.ArgumentParser(description="bad input of every kind")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    parser.add_argument("artifact", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("-v", action="store_true", help="name what passed, too")
    args = parser.parse_args()
    if args.probe:
        probe(args.artifact, args.probe)
        return 0
    tally = harness.Tally(args.v)
    work = os.path.join(harness.WORK, "bad-%d" % os.getpid())
    shutil.rmtree(work, ignore_errors=True)
    refusals = Refusals(harness.needs_bmc(args.bmc), tally, work)
    harness.parallel([lambda n=n, b=b: refusals.model(n, b) for n, b in bad_models.CASES.items()])
    command_lines(refusals)
    accepted(refusals)
    ended(refusals)
    artifact = os.path.join(work, "digits.so")
    ran = run([refusals.bmc, DIGITS, "-o", artifact])
    if tally.check("the digits model compiles", ran.status == 0, ran.brief()):
        run_lines(refusals, artifact)
        harness.parallel([lambda n=n: interface(tally, artifact, n) for n in INTERFACE])
    shutil.rmtree(work, ignore_errors=True)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
