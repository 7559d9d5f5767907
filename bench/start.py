"""From the start of a process to its first output, loading, the first run and memory, without Python around the engine:
bench/start.c, compiled on first use, is started anew for each measurement.

    starter(work)                                the program; Failed where there is no C compiler, or it cannot
    words(engine, files, outputs, threads)       what it is started with; files: of bench/run.py's measure()
    once(program, clock, words, cores)           {key: figure} for KEYS
"""

import glob
import os
import shutil
import subprocess

import numpy as np
import onnx

HERE = os.path.dirname(os.path.abspath(__file__))
KEYS = ("output_ns", "engine_ns", "load_ns", "first_ns", "second_ns", "peak_kb")


class Failed(Exception):
    pass


def starter(work):
    source, program = os.path.join(HERE, "start.c"), os.path.join(work, "start")
    interface = os.path.join(os.path.dirname(HERE), "runtime", "bmc.h")
    cc = os.environ.get("CC") or shutil.which("cc") or shutil.which("clang") or shutil.which("gcc")
    if not cc:
        raise Failed("there is no C compiler")
    if not os.path.exists(program) or os.path.getmtime(program) < max(map(os.path.getmtime, (source, interface))):
        made = subprocess.run([cc, "-std=c11", "-O2", "-o", program + ".part", source, "-ldl"], capture_output=True)
        if made.returncode:
            raise Failed("start.c does not compile: %s" % made.stderr.decode(errors="replace")[:300])
        os.replace(program + ".part", program)
    return program


def library_of(engine):
    """The engine's shared object in its Python package."""
    if engine not in ("onnxruntime", "openvino"):
        return "-"
    import importlib.util

    folder = os.path.dirname(importlib.util.find_spec(engine).origin)
    found = glob.glob(os.path.join(folder, *{"onnxruntime": ("capi", "libonnxruntime.so*"),
                                             "openvino": ("libs", "libopenvino_c.so*")}[engine]))
    if not found:
        raise Failed("no library in " + folder)
    return sorted(found)[0]


def words(engine, files, outputs, threads):
    made = [engine, library_of(engine), files.get(engine, "-"), str(threads)]
    with np.load(files["feeds"]) as feeds:
        for k, name in enumerate(feeds.files):
            array = feeds[name]
            path = os.path.join(os.path.dirname(files["feeds"]), "feed-%d.bin" % k)
            array.tofile(path)
            dtype = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            made += ["in", name, str(dtype), str(array.ndim)] + [str(d) for d in array.shape] + [path]
    return made + [w for name in outputs for w in ("out", name)]


def once(program, clock, engine_words, cores):
    ran = subprocess.run([program, clock] + engine_words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                         preexec_fn=lambda: os.sched_setaffinity(0, cores))
    if ran.returncode:
        raise Failed(" ".join(ran.stderr.split())[-300:] or "status %d" % ran.returncode)
    return dict(zip(KEYS, (int(x) for x in ran.stdout.split())))
