#!/usr/bin/env python3
"""Writes the tables of Unicode properties of the tree from the ICU library of this machine (libicuuc):

    runtime/rt_case.def    case mappings of strings; in models with a StringNormalizer
    ir/ops/regex_category.def, regex_script.def
                           general categories, scripts, simple case folding; for patterns, in the compiler only

    scripts/unicode_tables.py [--check]     --check: writes nothing, fails when a file would change
"""

import ctypes
import os
import re
import sys
from ctypes.util import find_library

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAST = 0x10FFFF
CASED, CASE_IGNORABLE, SCRIPT = 49, 50, 0x100A
CATEGORIES = "Cn Lu Ll Lt Lm Lo Mn Me Mc Nd Nl No Zs Zl Zp Cc Cf Co Cs Pd Ps Pe Pc Po Sm Sc Sk So Pi Pf".split()
NOTE = "Written by scripts/unicode_tables.py from ICU, Unicode %s; do not edit."


class Icu:
    """The few functions of ICU that are needed; their names end in the library's version."""

    def __init__(self):
        self.lib = ctypes.CDLL(find_library("icuuc") or "libicuuc.so")
        version = re.search(r"\.(\d+)$", find_library("icuuc") or "")[1]
        call = lambda name: getattr(self.lib, "%s_%s" % (name, version))
        self.lower, self.upper, self.category = call("u_tolower"), call("u_toupper"), call("u_charType")
        self.fold, self.has, self.value = call("u_foldCase"), call("u_hasBinaryProperty"), call("u_getIntPropertyValue")
        self.to_upper, self.to_lower = call("u_strToUpper"), call("u_strToLower")
        name = call("u_getPropertyValueName")
        name.restype = ctypes.c_char_p
        self.script = lambda c: (name(SCRIPT, self.value(c, SCRIPT), 1) or b"Unknown").decode()
        four = (ctypes.c_uint8 * 4)()
        call("u_getUnicodeVersion")(four)
        self.version = "%d.%d" % (four[0], four[1])

    def full(self, function, c):
        """The code points that one becomes."""
        source = chr(c).encode("utf-16-le")
        to, error = ctypes.create_string_buffer(64), ctypes.c_int(0)
        n = function(to, 32, source, len(source) // 2, b"", ctypes.byref(error))
        assert error.value <= 0
        return [ord(x) for x in to.raw[: 2 * n].decode("utf-16-le")]


def scalars():
    return (c for c in range(LAST + 1) if not 0xD800 <= c <= 0xDFFF)


def runs(pairs):
    """(first, last, step, value) of code points that have one value, next to each other or every second."""
    out = []
    for c, v in pairs:
        if out and out[-1][3] == v:
            first, last, step, _ = out[-1]
            if first == last and c - last in (1, 2) or c - last == step and first != last:
                out[-1] = (first, c, c - last, v)
                continue
        out.append((c, c, 1, v))
    return out


def ranges(points):
    out = []
    for c in points:
        if out and out[-1][1] == c - 1:
            out[-1] = (out[-1][0], c)
        else:
            out.append((c, c))
    return out


def rows(name, items):
    """NAME(a, b, ...) as many to a line as fit."""
    lines, line = [], ""
    for item in items:
        text = "%s(%s)" % (name, ", ".join("0x%x" % x if isinstance(x, int) and x > 9 else str(x) for x in item))
        if len(line) + len(text) > 118:
            lines.append(line)
            line = ""
        line += (" " if line else "") + text
    return "\n".join(lines + [line]) + "\n"


def members(name, points):
    return "CLASS(%s)\n" % name + rows("R", [r[:3] for r in runs((c, 0) for c in points)])


def case_table(icu):
    text = (
        "/* rt_case.def: Unicode's case mappings. " + NOTE % icu.version + "\n"
        " * UPPER, LOWER(first, last, step, delta): these code points become code point + delta.\n"
        " * WIDE(c, x, y, z): uppercase of c is several, ended by 0. CASED, IGNORABLE(first, last): properties that the\n"
        " * small final sigma depends on. */\n"
    )
    for name, f in (("UPPER", icu.upper), ("LOWER", icu.lower)):
        text += rows(name, runs((c, f(c) - c) for c in scalars() if f(c) != c))
    wide = [(c, icu.full(icu.to_upper, c)) for c in scalars()]
    text += rows("WIDE", [(c, *(w + [0, 0])[:3]) for c, w in wide if len(w) > 1])
    text += rows("CASED", ranges(c for c in scalars() if icu.has(c, CASED)))
    text += rows("IGNORABLE", ranges(c for c in scalars() if icu.has(c, CASE_IGNORABLE)))
    return text


def regex_head(icu, name, what, more=""):
    return (
        "/* regex_%s.def: %s of code points, for patterns. " % (name, what) + NOTE % icu.version + "\n"
        " * CLASS(name): the ranges R(first, last, step) that follow have it.%s */\n" % more
    )


def category_table(icu):
    fold = "\n * FOLD(first, last, step, delta): simple case folding."
    text = regex_head(icu, "category", "general categories and case folding", fold)
    kind = [icu.category(c) for c in range(LAST + 1)]
    for k, name in enumerate(CATEGORIES):
        if name != "Cn":
            text += members(name, (c for c in range(LAST + 1) if kind[c] == k))
    return text + rows("FOLD", runs((c, icu.fold(c, 0) - c) for c in scalars() if icu.fold(c, 0) != c))


def script_table(icu):
    text = regex_head(icu, "script", "scripts")
    script = [icu.script(c) for c in range(LAST + 1)]
    for name in sorted(set(script) - {"Unknown"}):
        text += members(name, (c for c in range(LAST + 1) if script[c] == name))
    return text


TABLES = (
    ("runtime/rt_case.def", case_table),
    ("ir/ops/regex_category.def", category_table),
    ("ir/ops/regex_script.def", script_table),
)


def main():
    icu, same = Icu(), True
    for path, make in TABLES:
        path, text = os.path.join(TOP, path), make(icu)
        old = open(path, encoding="utf-8").read() if os.path.exists(path) else ""
        same = same and old == text
        if "--check" not in sys.argv:
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
    return 0 if same or "--check" not in sys.argv else 1


if __name__ == "__main__":
    sys.exit(main())
