"""The exported conformance cases as Python sees them: manifest, expected list, and what makes a case one that must
pass."""

import os
from collections import namedtuple

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.normpath(os.path.join(HERE, "..", ".."))
FOLDER = os.path.join(TOP, "build", "conformance")
EXPECTED = os.path.join(HERE, "expected.txt")
README = os.path.join(TOP, "README.md")
COUNTS = r"([\d,]+) pass and ([\d,]+) are refused"  # in README.md: what expected.txt says

# A case whose operators are all in bmc's table and whose types are all among these has to pass.
TYPES = {
    "float16", "float", "double", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
    "uint64", "bool", "string", "sequence", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz",
    "float8e8m0", "float4e2m1", "int4", "uint4", "int2", "uint2",
}

# Cases whose expected elements are what numpy's generator gave: any other generator differs.
RANDOM_OPS = {"Bernoulli", "RandomUniformLike"}
RANDOM_CASES = {"test_training_dropout" + tail for tail in ("", "_default", "_default_mask", "_mask")}

Case = namedtuple("Case", "name rtol atol ops types")


def manifest(folder=FOLDER):
    """{name: Case}, in the manifest's order."""
    found = {}
    with open(os.path.join(folder, "manifest.txt"), encoding="utf-8") as f:
        for line in f:
            name, rtol, atol, ops, types = line.rstrip("\n").split("\t")
            found[name] = Case(name, float(rtol), float(atol), ops.split(","), types.split(",") if types else [])
    return found


def expected(path=EXPECTED):
    """{name: ("pass" | "refuse" | "differs", reason)}."""
    found = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                name, verdict, *reason = line.rstrip("\n").split(" ", 2)
                found[name] = (verdict, reason[0] if reason else "")
    return found


def must_pass(case, ops):
    known = {op.replace(":", ".") for op in case.ops} <= ops and set(case.types) <= TYPES
    return known


def is_random(case):
    return bool(set(case.ops) & RANDOM_OPS) or case.name in RANDOM_CASES
