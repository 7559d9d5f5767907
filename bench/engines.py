#!/usr/bin/env python3
"""One engine with one model in a process of its own:   engines.py NAME THREADS CORES

NAME is bmc, onnxruntime, openvino, or reference (ONNX Runtime without its optimisations); CORES a list like 0,1.
Reads a command per line from stdin (JSON), answers with a line:

    {"do": "load", "model": FILE, "feeds": NPZ}   engine imported, model loaded, one run: times, memory
    {"do": "answers", "to": NPZ}                  one run, its outputs written in the model's order
    {"do": "time", "seconds": S, "clock": C}      runs for that long; nanoseconds a run, one number a batch
    {"do": "open", "model": FILE}                 loaded without a run
    {"do": "sweep", "feeds": NPZ, "calls": [K]}   a run for each K, inputs "K/NAME" of the file: nanoseconds of each,
                                                  binding its inputs included
    {"do": "quit"}

Inputs and outputs are bound and preallocated before anything is timed. A failure answers {"error": text}.
"""

import json
import os
import sys
import time

import numpy as np

BATCH_NS = 200_000  # models faster than this run several times between two looks at the clock


LARGE_BYTES = 1 << 22  # from here on numpy asks for large pages


def large(array):
    """Numbers that numpy has in large pages and ONNX Runtime's own memory would not: these it is given as they are."""
    return array.dtype.kind in "fiub" and array.nbytes >= LARGE_BYTES


def status_kb(field):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


class Bmc:
    """A compiled model through its C interface."""

    def __init__(self, threads):
        sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "python"))
        import bmc_ctypes

        self.c, self.threads = bmc_ctypes, threads

    def load(self, path):
        self.model = self.c.Loaded(path, self.threads, all_threads=False)

    def bind(self, feeds):
        c, m = self.c, self.model
        self.arrays = [feeds[p.name.decode()] for p in m.inputs]
        self.values = [c.tensor(a) for a in self.arrays]  # which hold the memory of strings
        self.ins = (c.Value * max(len(m.inputs), 1))(*self.values)
        self.outs = (c.Value * max(len(m.outputs), 1))(*[c.empty_output() for _ in m.outputs])
        args = m.ctx.value, c.ctypes.addressof(self.ins), c.ctypes.addressof(self.outs)
        call = m.table.run

        def run():
            if call(*args):
                raise RuntimeError(m.message())

        return run

    def own_outputs(self):
        """The caller's memory for every output that is a tensor; the others stay the model's."""
        self.memory = []
        for v in self.outs[: len(self.model.outputs)]:
            if v.kind != self.c.TENSOR or v.dtype == self.c.STRING or v.dtype not in self.c.DTYPES:
                continue
            self.memory.append(np.empty(max(v.bytes, 64), np.uint8))
            v.data, v.bytes, v.flags = self.memory[-1].ctypes.data, self.memory[-1].nbytes, 0

    def answers(self):
        return [self.c.as_array(v) for v in self.outs[: len(self.model.outputs)]]

    def version(self):
        return self.model.info.producer.decode()


class OnnxRuntime:
    def __init__(self, threads, optimise=True):
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        self.ort, self.threads, self.optimise = onnxruntime, threads, optimise

    def load(self, path):
        o = self.ort.SessionOptions()
        o.intra_op_num_threads, o.inter_op_num_threads = self.threads, 1
        o.execution_mode = self.ort.ExecutionMode.ORT_SEQUENTIAL
        level = self.ort.GraphOptimizationLevel
        o.graph_optimization_level = level.ORT_ENABLE_ALL if self.optimise else level.ORT_DISABLE_ALL
        o.log_severity_level = 3
        self.session = self.ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])

    def bind(self, feeds):
        self.io = self.session.io_binding()
        for i in self.session.get_inputs():
            a = feeds[i.name]
            if large(a):
                self.io.bind_input(i.name, "cpu", 0, a.dtype, a.shape, a.ctypes.data)
            else:
                self.io.bind_ortvalue_input(i.name, self.ort.OrtValue.ortvalue_from_numpy(a))
        for o in self.session.get_outputs():
            self.io.bind_output(o.name)
        self.feeds, session, io = feeds, self.session, self.io
        return lambda: session.run_with_iobinding(io)

    def own_outputs(self):
        self.memory = []
        for o, value in zip(self.session.get_outputs(), self.io.get_outputs()):
            if not value.is_tensor() or "string" in o.type:
                continue
            a = value.numpy()
            if large(a):
                self.memory.append(np.empty_like(a))
                self.io.bind_output(o.name, "cpu", 0, a.dtype, a.shape, self.memory[-1].ctypes.data)
            else:
                self.io.bind_ortvalue_output(o.name, self.ort.OrtValue.ortvalue_from_numpy(a))

    def answers(self):
        return [v.numpy() if v.is_tensor() else None for v in self.io.get_outputs()]

    def version(self):
        return "onnxruntime " + self.ort.__version__


class OpenVino:
    def __init__(self, threads):
        import openvino

        self.ov, self.threads = openvino, threads

    def load(self, path):
        core = self.ov.Core()
        self.compiled = core.compile_model(core.read_model(path), "CPU", {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(self.threads),
        })
        self.request = self.compiled.create_infer_request()

    def bind(self, feeds):
        self.feeds = feeds
        for port in self.compiled.inputs:
            name = next(n for n in port.get_names() if n in feeds)
            self.request.set_tensor(port, self.ov.Tensor(feeds[name], shared_memory=True))
        return lambda: self.request.infer({}, share_outputs=True)

    def own_outputs(self):
        self.memory = []
        for port in self.compiled.outputs:
            value = np.array(self.request.get_tensor(port).data)
            self.memory.append(value)
            self.request.set_tensor(port, self.ov.Tensor(value, shared_memory=True))

    def quicker(self, run):
        """The quicker of its two ways to be called from Python."""
        def asynchronous():
            self.request.start_async()
            self.request.wait()

        def best(call):
            return min(timed(call, 0.05))

        return asynchronous if best(asynchronous) < best(run) else run

    def answers(self):
        return [np.array(self.request.get_tensor(p).data) for p in self.compiled.outputs]

    def version(self):
        return "openvino " + self.ov.__version__.split("-")[0]


def timed(run, seconds, clock="wall"):
    """Nanoseconds a run, one number for each batch of runs. The cpu clock counts what the process computed, on all of
    its threads: for one thread on a machine that others use, too."""
    wall, tick = time.perf_counter_ns, time.process_time_ns if clock == "cpu" else time.perf_counter_ns
    start = wall()
    run()
    once = max(wall() - start, 1)
    inner = range(max(1, BATCH_NS // once))
    out, end = [], wall() + int(seconds * 1e9)
    while True:
        t = tick()
        for _ in inner:
            run()
        out.append((tick() - t) / len(inner))
        if wall() >= end:
            return out


class Worker:
    def __init__(self, name, threads):
        self.name, self.threads = name, threads

    def make(self):
        return {"bmc": Bmc, "onnxruntime": OnnxRuntime, "openvino": OpenVino,
                "reference": lambda n: OnnxRuntime(n, False)}[self.name](self.threads)

    def open(self, model):
        self.engine = self.make()
        self.engine.load(model)
        return {"version": self.engine.version()}

    def sweep(self, feeds, calls, clock="wall"):
        with np.load(feeds) as z:
            given = [{name.split("/", 1)[1]: z[name] for name in z.files if name.startswith("%d/" % k)} for k in calls]
        tick, ns = time.process_time_ns if clock == "cpu" else time.perf_counter_ns, []
        for one in given:
            t = tick()
            self.run = self.engine.bind(one)
            self.run()
            ns.append(tick() - t)
        return {"ns": ns}

    def load(self, model, feeds):
        with np.load(feeds) as z:
            self.feeds = {k: z[k] for k in z.files}
        before, before_anon = status_kb("VmRSS"), status_kb("RssAnon")
        self.engine = self.make()
        imported = status_kb("VmRSS")
        t = time.perf_counter_ns()
        self.engine.load(model)
        load = time.perf_counter_ns() - t
        self.run = self.engine.bind(self.feeds)
        t = time.perf_counter_ns()
        self.run()
        first = time.perf_counter_ns() - t
        t = time.perf_counter_ns()
        self.run()
        second = time.perf_counter_ns() - t
        self.bound = False
        return {
            "version": self.engine.version(), "load_ns": load, "first_ns": first, "second_ns": second,
            "engine_kb": imported - before, "resident_kb": status_kb("VmRSS") - before,
            "private_kb": status_kb("RssAnon") - before_anon, "peak_kb": status_kb("VmHWM") - before,
        }

    def answers(self, to):
        self.run()
        np.savez(to, **{"%d" % k: a for k, a in enumerate(self.engine.answers()) if a is not None})
        return {}

    def time(self, seconds, clock="wall"):
        if not self.bound:
            try:
                self.engine.own_outputs()
                self.run()
            except Exception:  # an output whose size only the run knows: the engine's own memory
                self.run = self.engine.bind(self.feeds)
            if hasattr(self.engine, "quicker"):
                self.run = self.engine.quicker(self.run)
            self.bound = True
        return {"ns": [round(x, 1) for x in timed(self.run, seconds, clock)]}


def main():
    name, threads, cores = sys.argv[1], int(sys.argv[2]), [int(c) for c in sys.argv[3].split(",")]
    os.sched_setaffinity(0, cores)
    answer = os.fdopen(os.dup(1), "w")  # libraries may print to stdout
    os.dup2(2, 1)
    worker = Worker(name, threads)
    for line in sys.stdin:
        command = json.loads(line)
        what = command.pop("do")
        if what == "quit":
            break
        try:
            reply = {"load": worker.load, "answers": worker.answers, "time": worker.time, "open": worker.open,
                     "sweep": worker.sweep}[what](**command)
        except Exception as e:
            reply = {"error": "%s: %s" % (type(e).__name__, " ".join(str(e).split())[:400])}
        print(json.dumps(reply), file=answer, flush=True)
    os._exit(0)  # thread pools end with the process


if __name__ == "__main__":
    main()
