"""What every Python test here shares: where bmc is, running it, counting, and ONNX's data files.

A test program ends with tally.finish(): the line 'N passed, N failed' and the exit status.
"""

import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import onnx
from onnx import numpy_helper

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
DEFAULT_BMC = os.environ.get("BMC", os.path.join(TOP, "build", "bin", "bmc"))
WORK = os.path.join(TOP, "build", "test-work")

sys.path.insert(0, os.path.join(TOP, "models"))
sys.path.insert(0, os.path.join(TOP, "tests", "conformance"))


class Tally:
    """Counts; safe to use from several threads. A failure is printed when it happens."""

    def __init__(self, verbose=False):
        self.passed = self.failed = 0
        self.verbose = verbose
        self.lock = threading.Lock()

    def check(self, name, good, detail=""):
        with self.lock:
            if good:
                self.passed += 1
                if self.verbose:
                    print("ok   %s" % name, flush=True)
            else:
                self.failed += 1
                print("FAIL %s%s" % (name, ": " + str(detail) if detail else ""), flush=True)
        return good

    def note(self, text):
        with self.lock:
            print(text, flush=True)

    def finish(self):
        """The exit status: 1 when something failed, or when nothing was checked at all."""
        if self.passed + self.failed == 0:
            self.check("something was checked", False)
        print("%d passed, %d failed" % (self.passed, self.failed), flush=True)
        return 1 if self.failed else 0


class Ran:
    """What a command did. status < 0: killed by that signal; None: stopped after the time limit."""

    def __init__(self, status, out, err, seconds, peak_kb=0):
        self.status, self.out, self.err, self.seconds, self.peak_kb = status, out, err, seconds, peak_kb

    def brief(self):
        """One line for a failure message."""
        how = (
            "time limit"
            if self.status is None
            else "signal %d" % -self.status if self.status < 0 else "exit %d" % self.status
        )
        text = (self.err.strip() or self.out.strip()).splitlines()
        return "%s after %.1f s: %s" % (how, self.seconds, " | ".join(text[-4:])[:600] if text else "(no output)")


def run(command, limit=120, env=None, cwd=None, preexec=None):
    """Run a command to its end or for `limit` seconds."""
    start = time.monotonic()
    process = subprocess.Popen(
        [str(c) for c in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ, **(env or {})),
        cwd=cwd,
        start_new_session=True,
        preexec_fn=preexec,
    )
    try:
        out, err = process.communicate(timeout=limit)
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # the compiler and the linker that it may have started
        out, err = process.communicate()
        status = None
    return Ran(status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"), time.monotonic() - start)


def parallel(jobs, workers=2):
    """Call every job (a function without arguments) on `workers` threads; gives the results in order. bmc itself is a
    child process."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        return [f.result() for f in [pool.submit(job) for job in jobs]]


def configurations(full):
    """Options of the compiler: a level and a CPU, two that share neither; `full`: all four."""
    return [["-O2"], ["-O0", "--cpu=x86-64-v3"]] + ([["-O0"], ["-O2", "--cpu=x86-64-v3"]] if full else [])


def fresh_seed(given=None):
    """The seed of this run, printed so that a failure can be had again."""
    seed = int(given) if given is not None else int.from_bytes(os.urandom(4), "little")
    print("seed %d (again with --seed %d)" % (seed, seed), flush=True)
    return seed


def file_name(value_name):
    """How `bmc run --output-dir` spells an output's name."""
    return re.sub(r"[/\0]", "_", value_name)


def needs_bmc(path):
    if not os.access(path, os.X_OK):
        print("FAIL there is no %s: build first (scripts/build)" % path)
        print("0 passed, 1 failed")
        sys.exit(1)
    return os.path.abspath(path)


def read_tensor(path):
    tensor = onnx.TensorProto()
    with open(path, "rb") as f:
        tensor.ParseFromString(f.read())
    return numpy_helper.to_array(tensor)


def write_tensor(path, array, name=""):
    with open(path, "wb") as f:
        f.write(numpy_helper.from_array(np.asarray(array), name).SerializeToString())


def fed_inputs(model):
    """The graph inputs that a caller feeds: those that are not initializers too."""
    stored = {t.name for t in model.graph.initializer}
    return [v for v in model.graph.input if v.name not in stored]


def dims_of(value_info):
    """Per axis an int, or the name of a symbol ('' when it has none)."""
    return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in value_info.type.tensor_type.shape.dim]


def hydrated(name, folder=None):
    """Path of one of the repository's graphs with its weights filled in, in folder (default: build/test-work/models)."""
    from hydrate import hydrate

    folder = folder or os.path.join(WORK, "models")
    os.makedirs(folder, exist_ok=True)
    source, path = os.path.join(TOP, "models", "graphs", name + ".onnx"), os.path.join(folder, name + ".onnx")
    if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(source):
        onnx.save(hydrate(onnx.load(source)), path + ".part")
        os.replace(path + ".part", path)
    return path


def own_models(folder=None):
    """The repository's small models, weights filled in as hydrated() does: {name: path}."""
    paths = {name: hydrated(name, folder) for name in ("mnist_mlp", "mnist_cnn", "ddpg", "dqn")}
    return {"digits": os.path.join(TOP, "models", "digits", "digits.onnx"), **paths}
