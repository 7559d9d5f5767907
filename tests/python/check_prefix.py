#!/usr/bin/env python3
"""What a user gets:   check_prefix.py [--build DIR]

Installs into a fresh prefix and uses nothing but that, with an almost empty environment: compiles models there, looks
at what the artifacts need and export, links two of them into one C and one C++ program (embed.c) and compares with
ONNX Runtime, and compiles and runs the embedding example of the README.
"""

import argparse
import os
import re
import shutil
import sys

import numpy as np
import onnx
import onnxruntime

import harness
from harness import TOP, run

ENV = ["env", "-i", "PATH=/usr/bin:/bin"]


def install(tally, build, prefix):
    ran = run(["cmake", "--install", build, "--prefix", prefix])
    if not tally.check("cmake --install", ran.status == 0, ran.brief()):
        return False
    found = True
    for path in ("bin/bmc", "lib/libbmc.a", "lib/bmc", "include/bmc/bmc.h", "share/bmc"):
        found &= tally.check("the prefix has " + path, os.path.exists(os.path.join(prefix, path)))
    return found


def needed(path):
    return set(re.findall(r"\(NEEDED\).*\[(.*?)\]", run(["readelf", "-d", path]).out))


def exported(path):
    return {line.split()[-1] for line in run(["nm", "-D", "--defined-only", path]).out.splitlines() if line.strip()}


def check_artifacts(tally, bmc, work, models):
    """A .so with and without threads: what it needs, what it exports, what can be written."""
    base = {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}
    for label, option in (("threads", []), ("no threads", ["--threads=off"])):
        path, allowed = os.path.join(work, "digits-%d.so" % len(option)), base  # OpenMP: when the first team starts
        ran = run(ENV + [bmc, models["digits"], "-o", path, "--name=digits"] + option, cwd=work)
        if not tally.check("digits.so, " + label, ran.status == 0, ran.brief()):
            continue
        tally.check(
            "digits.so, %s: needs only %s" % (label, " ".join(sorted(allowed))), needed(path) <= allowed, needed(path)
        )
        wrong = {s for s in exported(path) if s != "bmc_model" and not s.startswith("digits_")}
        tally.check(
            "digits.so, %s: exports its prefix and bmc_model" % label,
            not wrong and "bmc_model" in exported(path),
            exported(path),
        )
        undefined = {
            line.split()[-1] for line in run(["nm", "-D", "--undefined-only", path]).out.splitlines() if line.strip()
        }
        wrong = {s for s in undefined if re.match(r"(printf|puts|fprintf|exit|abort|_exit|__assert_fail)\b", s)}
        tally.check("digits.so, %s: never prints, exits or aborts" % label, not wrong, wrong)
        wrong = {s for s in undefined if re.match(r"GOMP_|omp_", s)}
        tally.check("digits.so, %s: no OpenMP symbol" % label, not wrong, wrong)
        dynamic, parts = run(["readelf", "-dW", path]).out, run(["readelf", "-lW", path]).out
        wrong = re.findall(r"\((?:INIT|FINI|INIT_ARRAY|FINI_ARRAY|TEXTREL)\)", dynamic)
        tally.check("digits.so, %s: nothing runs when it is loaded" % label, not wrong, wrong)
        mapped = re.findall(r"^ +LOAD .*", parts, re.M)
        tally.check("digits.so, %s: two mappings" % label, len(mapped) == 2, parts)
        written = [int(x.split()[5], 16) for x in re.findall(r"^ +(?:LOAD .* RW |GNU_RELRO ).*", parts, re.M)]
        wrong = len(written) != 2 or written[0] > written[1]  # all of it is read-only after relocation
        tally.check("digits.so, %s: no data that are written" % label, not wrong, parts)
    for linker in ("gold", "lld"):
        if not shutil.which("ld." + linker):
            continue
        path, tools = os.path.join(work, "digits-%s.so" % linker), os.path.join(work, "tools-" + linker)
        os.makedirs(tools, exist_ok=True)
        with open(os.path.join(tools, "cc"), "w") as f:
            f.write('#!/bin/sh\nexec gcc -fuse-ld=%s "$@"\n' % linker)
        os.chmod(os.path.join(tools, "cc"), 0o755)
        found = ["PATH=%s:%s" % (tools, os.environ["PATH"])]
        ran = run(ENV + found + [bmc, models["digits"], "-o", path, "--name=digits"], cwd=work)
        if tally.check("digits.so, linked by " + linker, ran.status == 0 and not ran.err, ran.brief()):
            said = [run(ENV + [bmc, "run", x, "--input", "image=rand"], cwd=work) for x in (path, os.path.join(work, "digits-0.so"))]
            same = said[0].status == 0 and said[0].out and said[0].out == said[1].out
            tally.check("digits.so, linked by %s, gives the same answers" % linker, same, said[0].brief())


TEAM = """
import os, sys
sys.path.insert(0, sys.argv[2])
from bmc_ctypes import Loaded, ModelError
import numpy as np
for threads in (1, 2):
    before = len(os.listdir("/proc/self/task"))
    model = Loaded(sys.argv[1], threads=threads)
    x = np.zeros([2 if d < 0 else d for d in model.inputs[0].dim[: model.inputs[0].rank]], np.float32)
    try:
        model.run({model.inputs[0].name.decode(): x})
        print(threads, len(os.listdir("/proc/self/task")) - before)
    except ModelError as e:
        print(threads, e)
"""
NO_GOMP = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
void *dlopen(const char *name, int flags)
{
    void *(*real)(const char *, int);
    *(void **)&real = dlsym(RTLD_NEXT, "dlopen");
    return name && strstr(name, "libgomp") ? 0 : real(name, flags);
}
"""


def check_team(tally, work):
    """The OpenMP library is opened by the first run of several threads; a run without it says what is missing."""
    path, shim = os.path.join(work, "digits-0.so"), os.path.join(work, "shim.so")
    with open(shim + ".c", "w", encoding="utf-8") as f:
        f.write(NO_GOMP)
    ran = run(["gcc", "-shared", "-fPIC", "-o", shim, shim + ".c", "-ldl"])
    if not tally.check("a dlopen without OpenMP", ran.status == 0, ran.brief()):
        return
    words = [sys.executable, "-c", TEAM, path, os.path.join(TOP, "tests", "python")]
    env = {"OPENBLAS_NUM_THREADS": "1"}
    ran = run(words, env=env)
    tally.check("a team of two", ran.out.split() == ["1", "0", "2", "1"], ran.out + ran.err)
    ran = run(words, env=dict(env, LD_PRELOAD=shim))
    lines = ran.out.splitlines()
    tally.check("one thread needs no library", lines[:1] == ["1 0"], ran.out + ran.err)
    tally.check("two do", len(lines) == 2 and "libgomp.so.1 cannot be opened" in lines[1], ran.out + ran.err)


def writable(path):
    """Sizes of what a relocatable object can write to."""
    found = {}
    for name, size in re.findall(r"^\s*\d+ (\.(?:data|bss)\S*)\s+([0-9a-f]+)", run(["objdump", "-h", path]).out, re.M):
        if int(size, 16) and not name.startswith(".data.rel.ro"):
            found[name] = int(size, 16)
    return found


def oracle(path):
    """What embed.c prints for a model: elements, sum and position of the largest of the first output, all inputs
    0.5."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {}
    for v in harness.fed_inputs(onnx.load(path)):
        feeds[v.name] = np.full([2 if isinstance(d, str) else d for d in harness.dims_of(v)], 0.5, np.float32)
    y = session.run(None, feeds)[0]
    return y.size, float(y.sum(dtype=np.float64)), int(y.argmax())


def check_embedding(tally, bmc, prefix, work, models):
    """Two models in one program, as C99 and as C++17, from .o and from .a; the headers alone."""
    for end in ("o", "a"):
        for name in models:
            path = os.path.join(work, name + "." + end)
            ran = run(ENV + [bmc, models[name], "-o", path, "--name=" + name], cwd=work)
            if not tally.check("%s.%s" % (name, end), ran.status == 0, ran.brief()):
                return
            header = os.path.join(work, name + ".h")
            if not tally.check("%s.h comes with %s.%s" % (name, name, end), os.path.exists(header)):
                continue
            for compiler in (["gcc", "-x", "c", "-std=c99"], ["g++", "-x", "c++", "-std=c++17"]):
                ran = run(
                    compiler
                    + ["-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I" + os.path.join(prefix, "include"), header]
                )
                tally.check("%s.h as %s" % (name, compiler[-1]), ran.status == 0, ran.err[:400])
        if end == "o":
            tally.check(
                "digits.o has nothing that can be written",
                not writable(os.path.join(work, "digits.o")),
                writable(os.path.join(work, "digits.o")),
            )
        for language, compiler in (
            ("C99", ["gcc", "-std=c99", "-pedantic"]),
            ("C++17", ["g++", "-x", "c++", "-std=c++17"]),
        ):
            program = os.path.join(work, "embed")
            ran = run(
                compiler
                + [
                    "-Wall",
                    "-Wextra",
                    "-Werror",
                    "-I" + os.path.join(prefix, "include"),
                    os.path.join(TOP, "tests", "python", "embed.c"),
                    "-x",
                    "none",
                    os.path.join(work, "digits." + end),
                    os.path.join(work, "mlp." + end),
                    "-o",
                    program,
                    "-lm",
                    "-lgomp",
                ]
            )
            if not tally.check("two models in one %s program (.%s)" % (language, end), ran.status == 0, ran.err[:600]):
                continue
            ran = run([program])
            for name in models:
                match = re.search(r"^%s \S+ (\d+) (\S+) (\d+)$" % name, ran.out, re.M)
                count, total, best = oracle(models[name])
                tally.check(
                    "%s in one %s program (.%s)" % (name, language, end),
                    ran.status == 0
                    and match
                    and int(match.group(1)) == count
                    and abs(float(match.group(2)) - total) <= 1e-4 * max(1, abs(total))
                    and int(match.group(3)) == best,
                    ran.brief() + " expected %s" % ((count, total, best),),
                )


def check_readme(tally, bmc, prefix, work, models):
    """The README's C program of ten lines: it includes the header of a model that its text compiles to digits.o or
    digits.a."""
    with open(os.path.join(TOP, "README.md"), encoding="utf-8") as f:
        blocks = [b for b in re.findall(r"^```c\n(.*?)^```", f.read(), re.M | re.S) if "int main" in b]
    if not tally.check("the README has a C program", blocks):
        return
    source, model, program = (os.path.join(work, n) for n in ("readme.c", "digits.o", "readme"))
    with open(source, "w", encoding="utf-8") as f:
        f.write(blocks[0])
    ran = run(ENV + [bmc, models["digits"], "-o", model], cwd=work)
    tally.check("digits.o without --name", ran.status == 0, ran.brief())
    ran = run(
        [
            "gcc",
            "-Wall",
            "-Wextra",
            "-I" + work,
            "-I" + os.path.join(prefix, "include"),
            source,
            model,
            "-o",
            program,
            "-lm",
            "-lgomp",
        ]
    )
    if tally.check("the README's C program compiles", ran.status == 0, ran.err[:600]):
        ran = run([program], cwd=TOP)
        tally.check("the README's C program runs", ran.status == 0 and ran.out.strip(), ran.brief())


def main():
    parser = argparse.ArgumentParser(description="the installed prefix, and programs that use models")
    parser.add_argument("--build", default=os.path.join(TOP, "build"))
    parser.add_argument("-v", action="store_true", help="name what passed, too")
    args = parser.parse_args()
    tally = harness.Tally(args.v)
    work = os.path.join(harness.WORK, "prefix-%d" % os.getpid())
    prefix = os.path.join(work, "a prefix")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    if install(tally, args.build, prefix):
        bmc = os.path.join(prefix, "bin", "bmc")
        own = harness.own_models()
        models = {"digits": own["digits"], "mlp": own["mnist_mlp"]}
        check_artifacts(tally, bmc, work, models)
        check_team(tally, work)
        check_embedding(tally, bmc, prefix, work, models)
        check_readme(tally, bmc, prefix, work, models)
    shutil.rmtree(work, ignore_errors=True)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
