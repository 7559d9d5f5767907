#!/usr/bin/env python3
"""What the pages say exists does exist:   check_docs.py [-v]

In every .md file: paths and file names in code spans are files of the tree (`{a,b}` and `*` are expanded, words in
CAPITALS are placeholders), options are options of bmc or of a script that is there, links lead somewhere.
ARCHITECTURE.md stays within 200 lines and has a row for each decision D1 to D16; docs/PASSES.md and the table of ops
are compared by test_doc, the versions of operators in it with the onnx package here. README.md counts the conformance
cases as expected.txt does.
"""

import argparse
import fnmatch
import os
import re
import sys

import onnx

import check_layers
import harness  # also makes tests/conformance importable
import cases
from harness import TOP

ENDS = r"\.(?:c|h|def|md|py|bir|kir|txt|proto|npy|cmake)"
MADE = ("build/", "build-asan/", "out/", "DIR/")  # what commands make
EXAMPLES = ["x.npy", "x.bir", "x.kir", "demo.c", "model.h", "digits.h", "bmc/bmc.h"]  # files of the reader, installed files
LINES = 200


def spans(text):
    """(line number, code span) of the text outside of fenced blocks."""
    fenced = False
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            for span in re.findall(r"`([^`]+)`", line):
                yield number, span


def expand(word):
    """`a/{b,c}.d` -> a/b.d a/c.d"""
    match = re.search(r"\{([^{}]*)\}", word)
    if not match:
        return [word]
    return [w for part in match.group(1).split(",") for w in expand(word[: match.start()] + part + word[match.end() :])]


def looks_like_file(word):
    """A file's name or path, or a folder with a slash at its end; placeholders (CAPITALS) and bare endings are not."""
    if not re.fullmatch(r"[\w./{},*+-]+", word) or word.startswith(MADE):
        return False
    stem = re.sub(r"\.(md|txt)$", "", word)
    if stem == word and re.search(r"(?<![a-z])[A-Z]{2,}", word):
        return False
    return bool(re.search(r"\w[\w*}]*" + ENDS + "$", word)) or bool(re.fullmatch(r"[\w.-]+(/[\w.*{},-]+)*/", word))


def exists(word, page, files, folders):
    if word.startswith("."):
        word = os.path.normpath(os.path.join(os.path.dirname(page), word))
    if word.endswith("/"):
        return word.rstrip("/") in folders
    return any(fnmatch.fnmatch(f, word) or fnmatch.fnmatch(f, "*/" + word) for f in files)


def known_options(files):
    """Every --word that options.def, a script or a test program defines, or a tool that the pages call takes."""
    found = {"--install", "--prefix"}  # cmake
    with open(os.path.join(TOP, "driver", "options.def"), encoding="utf-8") as f:
        found |= {"--" + name for name in re.findall(r'^OPT\(\w+, "([\w-]+)"', f.read(), re.M)}
    for path in files:
        if path.startswith(("scripts/", "tests/", "bench/")) and not path.endswith((".md", ".bir", ".kir")):
            try:
                with open(os.path.join(TOP, path), encoding="utf-8") as f:
                    found |= set(re.findall(r"--[a-z][\w-]+", f.read()))
            except UnicodeDecodeError:
                pass
    return found


def check_versions(tally):
    """The versions in docs/OPS.md are those of the onnx package, and no operator of its is missing."""
    want, got = {}, {}
    for schema in onnx.defs.get_all_schemas_with_history():
        want.setdefault((schema.domain + "." if schema.domain else "") + schema.name, set()).add(schema.since_version)
    with open(os.path.join(TOP, "docs", "OPS.md")) as f:
        for name, versions in re.findall(r"^\| ([\w.]+) \| ([\d ]+) \|", f.read(), re.M):
            got[name] = {int(v) for v in versions.split()}
    wrong = sorted(name for name in want if got.get(name) != want[name])
    tally.check("docs/OPS.md has every operator of ONNX and its versions", not wrong, " ".join(wrong))
    own = sorted(name for name in got if name not in want and not name.startswith("com.microsoft."))
    tally.check("the others are ONNX Runtime's", not own, " ".join(own))


def main():
    parser = argparse.ArgumentParser(description="files, options and links in the documentation")
    parser.add_argument("-v", action="store_true", help="name what passed, too")
    tally = harness.Tally(parser.parse_args().v)
    files = check_layers.tracked()
    folders = {os.path.dirname(f) for f in files}
    folders |= {d[: m.start()] for d in set(folders) for m in re.finditer("/", d)}
    options = known_options(files)
    for page in (f for f in files if f.endswith(".md")):
        with open(os.path.join(TOP, page), encoding="utf-8") as f:
            text = f.read()
        wrong = []
        for number, span in spans(text):
            for word in span.split():
                word = word.rstrip(",;:")
                for path in expand(word) if looks_like_file(word) else ():
                    if not exists(path, page, files + EXAMPLES, folders):
                        wrong.append("line %d: there is no %s" % (number, path))
        for option in set(re.findall(r"(?<![\w-])--[a-z][\w-]+", text)) - options:
            wrong.append("no such option: " + option)
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            if not os.path.exists(os.path.join(TOP, os.path.dirname(page), target)):
                wrong.append("a link to nowhere: " + target)
        tally.check(page, not wrong, "; ".join(wrong))
    with open(cases.README, encoding="utf-8") as f:
        said = re.search(cases.COUNTS, f.read())
    verdicts = [verdict for verdict, _ in cases.expected().values()]
    counts = "{:,} {:,}".format(verdicts.count("pass"), verdicts.count("refuse"))
    tally.check("README.md counts the cases as expected.txt does", said and " ".join(said.groups()) == counts, counts)
    with open(os.path.join(TOP, "ARCHITECTURE.md"), encoding="utf-8") as f:
        text = f.read()
    tally.check("ARCHITECTURE.md has at most %d lines" % LINES, text.count("\n") <= LINES, text.count("\n"))
    for k in range(1, 17):
        tally.check("ARCHITECTURE.md states D%d" % k, "\n| D%d | " % k in text)
    check_versions(tally)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
