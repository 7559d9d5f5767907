#!/usr/bin/env python3
"""The shape of the source tree:   check_layers.py [--build DIR]

    base <- ir <- {frontend, passes, codegen} <- driver        runtime stands alone: everyone may use it, it uses nobody

Checked: every #include goes along an arrow, inside ir/ too (shared <- kernel <- graph <- ops), and codegen/ sees the
Kernel IR only; protobuf-c, LLVM and OpenMP each have one place; headers form no circle and compile alone; calls go
the same way as includes (symbols of the layers' archives); no archive holds a writable global; no source file is
longer than 800 lines.
"""

import argparse
import os
import re
import subprocess
import sys
from glob import glob

import harness
from harness import TOP, run

LAYERS = ("base", "ir", "frontend", "passes", "codegen", "driver", "runtime")
# Who may use whom, by folder; the longest matching folder counts. `runtime` and the folder itself are always allowed,
# except that runtime uses nobody.
USES = {
    "base": (),
    "ir": ("base",),
    "ir/kernel": ("base", "ir"),
    "ir/graph": ("base", "ir", "ir/kernel", "ir/ops/ops.def"),
    "ir/ops": ("base", "ir", "ir/kernel", "ir/graph"),
    "frontend": ("base", "ir", "ir/kernel", "ir/graph", "ir/ops"),
    "passes": ("base", "ir", "ir/kernel", "ir/graph", "ir/ops"),
    "codegen": ("base", "ir", "ir/kernel"),
    "driver": ("base", "ir", "ir/kernel", "ir/graph", "ir/ops", "frontend", "passes", "codegen"),
    "runtime": (),
}
# Foreign headers and the only places where they may be included.
FOREIGN = {
    r"^protobuf-c/|\.pb-c\.h$": ("frontend/",),
    r"^llvm-c/|^llvm/": ("codegen/",),
    r"^omp\.h$": ("runtime/rt_parallel.c",),
    r"^(jpeglib|jerror|png|tiffio|openjpeg)\.h$|^webp/": ("runtime/image/",),
}
LINES = 800
SOURCES = (".c", ".h", ".def", ".py", ".sh", ".cmake")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+(["<])([^">]+)[">]', re.M)


def tracked():
    """Every file of the tree that git does not ignore, relative to the top."""
    out = subprocess.run(["git", "-C", TOP, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True)
    if out.returncode == 0:
        return sorted(p for p in set(out.stdout.split("\n")) if p and os.path.isfile(os.path.join(TOP, p)))
    return sorted(
        os.path.relpath(os.path.join(base, f), TOP)
        for base, dirs, files in os.walk(TOP)
        for f in files
        if not os.path.relpath(base, TOP).startswith(("build", ".git"))
    )


def folder_of(path):
    """The row of USES that speaks about a file."""
    parts = os.path.dirname(path).split("/")
    for n in range(len(parts), 0, -1):
        if "/".join(parts[:n]) in USES:
            return "/".join(parts[:n])
    return None


def includes_of(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return INCLUDE.findall(f.read())


def resolve(path, name):
    """The file of this tree that #include "name" in `path` means, or None."""
    for candidate in (os.path.join(os.path.dirname(path), name), name):
        candidate = os.path.normpath(candidate)
        if os.path.isfile(os.path.join(TOP, candidate)):
            return candidate
    return None


def allowed(source, target):
    mine, theirs = folder_of(source), folder_of(target)
    if mine == theirs:
        return True
    if theirs == "runtime":
        return mine != "base"
    return theirs in USES[mine] or target in USES[mine]


def check_includes(tally, files):
    for path in files:
        if not path.startswith(LAYERS) or not path.endswith((".c", ".h", ".def")) or not folder_of(path):
            continue
        wrong = []
        for quote, name in includes_of(path):
            for pattern, places in FOREIGN.items():
                if re.search(pattern, name) and not path.startswith(places):
                    wrong.append("%s belongs to %s" % (name, " ".join(places)))
            target = resolve(path, name)
            if target is None:
                if quote == '"' and not name.endswith(".pb-c.h"):
                    wrong.append("there is no %s" % name)
            elif folder_of(target) and not allowed(path, target):
                wrong.append("%s may not include %s" % (folder_of(path), target))
        tally.check("includes of " + path, not wrong, "; ".join(wrong))


def check_circles(tally, files):
    """A header that reaches itself through includes."""
    graph = {}
    for path in files:
        if path.endswith(".h") and path.startswith(LAYERS):
            graph[path] = [t for _, n in includes_of(path) for t in [resolve(path, n)] if t and t.endswith(".h")]
    state, circles = {}, []

    def visit(path, trail):
        state[path] = "open"
        for target in graph.get(path, ()):
            if state.get(target) == "open":
                circles.append(" -> ".join(trail[trail.index(target) :] + [target]))
            elif target not in state:
                visit(target, trail + [target])
        state[path] = "done"

    for path in graph:
        if path not in state:
            visit(path, [path])
    tally.check("no circle among %d headers" % len(graph), not circles, "; ".join(circles))


def check_alone(tally, files, build):
    """Each header on its own, and the public one as C99 and C++17, too."""
    flags = ["-I" + d for d in (TOP, build, os.path.join(build, "gen"))]
    llvm = run(["llvm-config-19", "--includedir"])
    if llvm.status == 0:
        flags.append("-isystem" + llvm.out.strip())
    warn = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only"]

    def compile_alone(path, compiler, *extra):
        language = "c++" if compiler == "g++" else "c"
        ran = run([compiler, *extra, *warn, *flags, "-x", language, "-include", path, os.devnull], cwd=TOP)
        tally.check("%s alone (%s %s)" % (path, compiler, " ".join(extra)), ran.status == 0, ran.err.strip()[:300])

    jobs = [
        lambda p=p: compile_alone(p, "gcc", "-std=gnu11") for p in files if p.endswith(".h") and p.startswith(LAYERS)
    ]
    jobs.append(lambda: compile_alone("runtime/bmc.h", "gcc", "-std=c99", "-pedantic"))
    jobs.append(lambda: compile_alone("runtime/bmc.h", "g++", "-std=c++17", "-pedantic"))
    harness.parallel(jobs)


def objects_of(build):
    """{layer: [object files]}: CMake keeps an object's source path in the object's own path."""
    found = {}
    for path in glob(os.path.join(build, "**", "*.o"), recursive=True):
        match = re.search(r"\.dir/((%s)/.*\.c)\.o$" % "|".join(LAYERS), path)
        if match and folder_of(match.group(1)):
            found.setdefault(folder_of(match.group(1)), []).append(path)
    return found


def check_calls(tally, build):
    """An undefined symbol of one layer must not be defined in a layer that it may not use."""
    objects = objects_of(build)
    if not tally.check(
        "objects of every layer are in %s" % build, {"base", "ir", "driver"} <= set(objects), sorted(objects)
    ):
        return
    defined, undefined = {}, {}
    for folder, paths in objects.items():
        for line in run(["nm", "-A", "-P", "--"] + paths).out.splitlines():
            fields = line.split(": ", 1)[-1].split()
            if len(fields) < 2:
                continue
            if fields[1] == "U":
                undefined.setdefault(folder, set()).add(fields[0])
            elif fields[1] in "TDRBVWC":
                defined.setdefault(fields[0], set()).add(folder)
    # the table of ops is extern, so that ir/graph need not know ir/ops: the only name that goes against
    # the arrows
    exempt = {("ir/graph", "ir/ops"): re.compile(r"^op_"), ("ir", "ir/ops"): re.compile(r"^op_")}
    for folder, names in sorted(undefined.items()):
        wrong = []
        for name in sorted(names & set(defined)):
            homes = defined[name]
            if folder in homes or any(h == "runtime" and folder != "base" or h in USES[folder] for h in homes):
                continue
            if all((folder, h) in exempt and exempt[folder, h].match(name) for h in homes):
                continue
            wrong.append("%s (in %s)" % (name, ", ".join(sorted(homes))))
        tally.check("calls of %s" % folder, not wrong, "; ".join(wrong[:10]))


def check_globals(tally, build):
    """Nothing in .data or .bss: what is constant is in .rodata or .data.rel.ro, what is per thread in .tbss."""
    for folder, paths in sorted(objects_of(build).items()):
        wrong = []
        paths = [p for p in paths if not p.endswith("/driver/main.c.o")]  # the command: a signal finds its session there
        for line in run(["objdump", "-t", "--"] + paths).out.splitlines():
            match = re.match(r"^[0-9a-f]+ (.{7}) (\S+)\s+([0-9a-f]+)\s+(\S+)$", line)
            if (
                match
                and "O" in match.group(1)
                and int(match.group(3), 16)
                and re.match(r"^\.(bss|data)(?!\.rel\.ro)", match.group(2))
                or match
                and match.group(2) == "*COM*"
            ):
                wrong.append(match.group(4))
        tally.check("no writable globals in %s" % folder, not wrong, " ".join(wrong[:10]))


def check_length(tally, files):
    for path in files:
        if path.endswith(SOURCES) or path.startswith("scripts/"):
            with open(os.path.join(TOP, path), encoding="utf-8") as f:
                lines = sum(1 for _ in f)
            tally.check("length of " + path, lines <= LINES, "%d lines" % lines)


def main():
    parser = argparse.ArgumentParser(description="includes, calls, headers and lengths")
    parser.add_argument("--build", default=os.path.join(TOP, "build"))
    parser.add_argument("-v", action="store_true", help="name what passed, too")
    args = parser.parse_args()
    tally = harness.Tally(args.v)
    files = tracked()
    check_includes(tally, files)
    check_circles(tally, files)
    check_alone(tally, files, args.build)
    check_calls(tally, args.build)
    check_globals(tally, args.build)
    check_length(tally, files)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
