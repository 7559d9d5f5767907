#!/usr/bin/env python3
"""A model of 2.5 GB, one of its tensors above 2 GB:   large_model.py --full [--bmc PATH] [--keep]

Written by this script into build/test-work (external data in two files, one of them in a folder below), compiled with
the weights where they go by default and with --weights=file, and with 400 MB of memory that is not a mapped file at
most (RLIMIT_DATA; the largest resident size, which counts pages of mapped files, is printed). Run, the results
compared with ONNX Runtime's and with columns computed in float64. Without --full, or where the disk has no room, it
does nothing but say so.

    x[4,4096] -> MatMul W[4096,8192] -> Relu -> MatMul B[8192,69632] + c -> y        B: 2.28 GB
    rows[3] -> Gather W -> z
"""

import argparse
import os
import resource
import shutil
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper

import harness

IN, MID, OUT, ROWS = 4096, 8192, 69632, 4
ROOM = 9 << 30  # the model, one artifact with its weights while another one is written
DATA_LIMIT = 400 << 20


def numbers(first, count):
    """Elements first.. of an endless row of floats in [-1,1) without a period that any size here has."""
    x = (np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    return (x.astype(np.float32) * np.float32(2.0**-23) - 1).astype(np.float32)


def matrix(rows, columns, seed, scale):
    """The matrix in blocks of rows."""
    for r in range(0, rows, 256):
        yield (numbers(seed + r * columns, 256 * columns) * np.float32(scale)).reshape(256, columns)


def write(path, before, blocks):
    with open(path, "wb") as f:
        f.write(b"\0" * before)
        for block in blocks:
            f.write(block.tobytes())


def external(name, dims, location, offset):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    length = 4 * int(np.prod(dims, dtype=np.int64))
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def write_model(folder):
    os.makedirs(os.path.join(folder, "data"))
    write(os.path.join(folder, "small.bin"), 4096, matrix(IN, MID, 1 << 40, 2.0 / 64))
    write(os.path.join(folder, "data", "large.bin"), 0, matrix(MID, OUT, 0, 2.0 / 90))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "W"], ["h"], "first"),
            helper.make_node("Relu", ["h"], ["r"], "relu"),
            helper.make_node("Gemm", ["r", "B", "c"], ["y"], "second"),
            helper.make_node("Gather", ["W", "rows"], ["z"], "rows"),
        ],
        "large",
        [value("x", TensorProto.FLOAT, [ROWS, IN]), value("rows", TensorProto.INT64, [3])],
        [value("y", TensorProto.FLOAT, [ROWS, OUT]), value("z", TensorProto.FLOAT, [3, MID])],
        [
            external("W", [IN, MID], "small.bin", 4096),
            external("B", [MID, OUT], "data/large.bin", 0),
            onnx.numpy_helper.from_array(numbers(7, OUT), "c"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    path = os.path.join(folder, "large.onnx")
    onnx.save(model, path)
    return path


def limited(command):
    """(status, text, resident bytes at most, seconds), with DATA_LIMIT for what is not a mapped file."""
    import time

    start = time.monotonic()
    read, written = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(written, 2)
        resource.setrlimit(resource.RLIMIT_DATA, (DATA_LIMIT, DATA_LIMIT))
        os.execv(command[0], command)
    os.close(written)
    with os.fdopen(read, "rb") as f:
        text = f.read().decode("utf-8", "replace")
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), text, usage.ru_maxrss * 1024, time.monotonic() - start


def onnxruntime_says(model, feeds, folder):
    """Its outputs, by a process of its own: it holds the weights several times."""
    run = (
        "import sys, numpy as np, onnxruntime as ort\n"
        "s = ort.SessionOptions(); s.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL\n"
        "f = dict(np.load(sys.argv[2]))\n"
        "y = ort.InferenceSession(sys.argv[1], s, providers=['CPUExecutionProvider']).run(None, f)\n"
        "np.savez(sys.argv[3], *y)\n"
    )
    given, got = os.path.join(folder, "in.npz"), os.path.join(folder, "ort.npz")
    np.savez(given, **feeds)
    ran = harness.run([sys.executable, "-c", run, model, given, got], limit=900)
    if ran.status:
        return None, ran.brief()
    with np.load(got) as z:
        return [z["arr_0"], z["arr_1"]], ""


def child(artifact, given, got):
    from bmc_ctypes import Loaded

    with np.load(given) as z:
        feeds = dict(z)
    np.savez(got, **Loaded(artifact, threads=1).run(feeds))
    return 0


def main():
    parser = argparse.ArgumentParser(description="a model above 2 GB")
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--child", nargs=3)
    args = parser.parse_args()
    if args.child:
        return child(*args.child)
    tally = harness.Tally()
    os.makedirs(harness.WORK, exist_ok=True)
    if not args.full or shutil.disk_usage(harness.WORK).free < ROOM:
        tally.note("skipped: %s" % ("only with --full" if not args.full else "no %d GB of disk" % (ROOM >> 30)))
        tally.check("skipped", True)
        return tally.finish()
    bmc = harness.needs_bmc(args.bmc)
    folder = os.path.join(harness.WORK, "large-%d" % os.getpid())
    try:
        model = write_model(folder)
        size = sum(os.path.getsize(os.path.join(base, f)) for base, _, files in os.walk(folder) for f in files)
        tally.check("the model has 2.4 GB", size > 2.4e9, size)
        feeds = {"x": numbers(99, ROWS * IN).reshape(ROWS, IN), "rows": np.array([0, IN - 1, -7])}
        want, why = onnxruntime_says(model, feeds, folder)
        tally.check("ONNX Runtime runs it", want is not None, why)
        exact = reference(feeds)
        for name, flags in (("default", []), ("file", ["--weights=file"])):
            artifact = os.path.join(folder, name, "large.so")
            os.makedirs(os.path.dirname(artifact))
            status, text, peak, seconds = limited([bmc, model, "-o", artifact] + flags)
            tally.note("%s: %.1f s, %.0f MB resident at most" % (name, seconds, peak / 1e6))
            if tally.check(name + " compiles in %d MB" % (DATA_LIMIT >> 20), status == 0, text[-300:]):
                got = os.path.join(folder, "got.npz")
                ran = harness.run([sys.executable, __file__, "--child", artifact, os.path.join(folder, "in.npz"), got], limit=300)
                if tally.check(name + " runs", ran.status == 0, ran.brief()):
                    with np.load(got) as z:
                        compare(tally, name, dict(z), want, exact)
            shutil.rmtree(os.path.dirname(artifact))
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return tally.finish()


COLUMNS = np.array([0, 1, 15, 16, 32767, 32768, OUT // 2, OUT - 17, OUT - 1])


def reference(feeds):
    """Some columns of y, all rows of z, in float64."""
    w = np.concatenate([b.astype(np.float64) for b in matrix(IN, MID, 1 << 40, 2.0 / 64)])
    b = np.concatenate([block[:, COLUMNS].astype(np.float64) for block in matrix(MID, OUT, 0, 2.0 / 90)])
    h = np.maximum(feeds["x"].astype(np.float64) @ w, 0)
    return h @ b + numbers(7, OUT)[COLUMNS], w[feeds["rows"]].astype(np.float32)


def compare(tally, name, got, want, exact):
    y, z = got["y"], got["z"]
    err = np.abs(y[:, COLUMNS] - exact[0]).max()
    most = np.abs(exact[0]).max()
    tally.check(name + ": columns in float64", err <= 1e-5 * most, "%g of %g" % (err, most))
    tally.check(name + ": rows", np.array_equal(z, exact[1]))
    if want is not None:
        err = np.abs(y.astype(np.float64) - want[0]).max()
        tally.check(name + ": ONNX Runtime", err <= 2e-5 * np.abs(want[0]).max(), err)
        tally.check(name + ": ONNX Runtime's rows", np.array_equal(z, want[1]))


if __name__ == "__main__":
    sys.exit(main())
