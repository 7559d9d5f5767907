#!/usr/bin/env python3
"""The example of docs/ADDING.md is true:   check_adding.py [--doc FILE]

Takes the first ```diff block of docs/ADDING.md, a new operator, and fails when it touches more than one file of
ir/ops/, one added row of ir/ops/ops.def, and tests; applies it to a copy of the tree, builds the copy, and runs the
tests that it adds. The judgement itself is tried on patches that must be turned down.
"""

import argparse
import os
import re
import shutil
import sys

import check_layers
import harness
from harness import TOP, run

TABLE = "ir/ops/ops.def"


def first_diff(text):
    """The first ```diff block, or None."""
    match = re.search(r"^```diff\n(.*?)^```", text, re.M | re.S)
    return match.group(1) if match else None


def touched(diff):
    """{file: (lines added, lines removed)} of a unified diff."""
    files, name = {}, None
    for line in diff.split("\n"):
        if line.startswith("--- "):
            old = line[4:].split("\t")[0].strip()
        elif line.startswith("+++ "):
            name = line[4:].split("\t")[0].strip()
            name = old if name == "/dev/null" else name
            name = re.sub(r"^[ab]/", "", name)
            files.setdefault(name, ([], []))
        elif name and line.startswith("+"):
            files[name][0].append(line[1:])
        elif name and line.startswith("-"):
            files[name][1].append(line[1:])
    return files


def judge(diff):
    """(what is wrong with the patch or None, names of the added operators, test files)."""
    files = touched(diff)
    ops = [f for f in files if f.startswith("ir/ops/") and f.endswith(".c")]
    tests = [f for f in files if f.startswith("tests/")]
    other = [f for f in files if f not in ops + tests + [TABLE]]
    added, removed = files.get(TABLE, ([], []))
    names = re.findall(r"^\s*OP\(\s*(\w+)", "\n".join(added), re.M)
    if other:
        return "touches " + " ".join(other), names, tests
    if len(ops) != 1:
        return "%d files of ir/ops/" % len(ops), names, tests
    if len(added) != 1 or removed or len(names) != 1:
        return (
            "%d lines added to and %d removed from %s, one row is allowed" % (len(added), len(removed), TABLE),
            names,
            tests,
        )
    if not [t for t in tests if t.endswith((".bir", ".kir"))]:
        return "no text test", names, tests
    return None, names, tests


def judge_judge(tally):
    """The judgement turns down what it should."""

    def part(name, lines):
        return "--- a/%s\n+++ b/%s\n@@ -1,0 +1,%d @@\n%s\n" % (
            name,
            name,
            len(lines),
            "\n".join("+" + line for line in lines),
        )

    file, row, test = part("ir/ops/x.c", ["x"]), part(TABLE, ["OP(X, x)"]), part("tests/text-tree/x.bir", ["x"])
    tally.check(
        "a patch of one file, one row and a test is fine",
        judge(file + row + test)[0] is None,
        judge(file + row + test)[0],
    )
    for what, diff in (
        ("a second file", file + part("ir/ops/y.c", ["y"]) + row + test),
        ("two rows", file + part(TABLE, ["OP(X, x)", "OP(Y, x)"]) + test),
        ("no row", file + test),
        ("no test", file + row),
        ("a change elsewhere", file + row + test + part("frontend/a.c", ["a"])),
        ("the build", file + row + test + part("CMakeLists.txt", ["a"])),
    ):
        tally.check("a patch with %s is turned down" % what, judge(diff)[0])


def main():
    parser = argparse.ArgumentParser(description="apply, build and run the example of docs/ADDING.md")
    parser.add_argument("--doc", default=os.path.join(TOP, "docs", "ADDING.md"))
    parser.add_argument("-v", action="store_true", help="name what passed, too")
    args = parser.parse_args()
    tally = harness.Tally(args.v)
    judge_judge(tally)
    try:
        with open(args.doc, encoding="utf-8") as f:
            diff = first_diff(f.read())
    except OSError as error:
        diff = None
        tally.note(error)
    if not tally.check("docs/ADDING.md has a ```diff block", diff):
        return tally.finish()
    wrong, names, tests = judge(diff)
    if not tally.check("the patch touches one file, one row and tests", not wrong, wrong):
        return tally.finish()
    copy = os.path.join(harness.WORK, "adding")
    shutil.rmtree(copy, ignore_errors=True)
    for path in check_layers.tracked():
        os.makedirs(os.path.dirname(os.path.join(copy, path)), exist_ok=True)
        shutil.copy2(os.path.join(TOP, path), os.path.join(copy, path))
    patch = os.path.join(copy, "example.diff")
    with open(patch, "w", encoding="utf-8") as f:
        f.write(diff)
    run(["git", "init", "-q"], cwd=copy)
    ran = run(["git", "apply", "--whitespace=nowarn", patch], cwd=copy)
    if not tally.check("the patch applies", ran.status == 0, ran.brief()):
        return tally.finish()
    build = os.path.join(copy, "build")
    ran = run(
        ["cmake", "-S", copy, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_C_FLAGS_DEBUG=-O0"]
    )
    ran = run(["ninja", "-C", build, "bmc", "bmc-text-test"], limit=600) if ran.status == 0 else ran
    if tally.check("the patched tree builds", ran.status == 0, ran.out[-600:] + ran.err[-600:]):
        ran = run([os.path.join(build, "bin", "bmc"), "check", "--list-ops"])
        tally.check("the operator %s is there" % names[0], names[0] in [w.split(".")[-1] for w in ran.out.split()], ran.brief())
        for test in (t for t in tests if t.endswith((".bir", ".kir"))):
            ran = run([os.path.join(build, "bin", "bmc-text-test"), test], cwd=copy)
            counts = re.search(r"^(\d+) passed, 0 failed$", ran.out, re.M)
            tally.check("its test %s" % test, ran.status == 0 and counts and int(counts.group(1)) > 0, ran.brief())
    shutil.rmtree(copy, ignore_errors=True)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
