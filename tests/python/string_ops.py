#!/usr/bin/env python3
"""Operators on strings and maps against Python's own str, ONNX Runtime and RE2:   string_ops.py [--bmc FILE]

Case mappings are Unicode's full ones, as str.upper and str.lower have them; every code point is looked at. Python may
know another version of Unicode: letters that either side does not know stay out.
"""

import argparse
import os
import random
import re
import resource
import shutil
import sys
import threading
import unicodedata

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

import harness
import string_forms
from bmc_ctypes import Loaded, ModelError
from harness import WORK, run

SETTINGS = [[], ["-O0", "--cpu=x86-64-v3", "--threads=2"]]  # --full: two more


def texts(*items):
    out = np.empty(len(items), object)
    out[:] = items
    return out


def model(work, name, nodes, inputs, outputs, opset=22):
    """An ONNX file of those nodes; inputs and outputs: (name, type, rank)."""
    info = lambda ports: [helper.make_tensor_value_info(n, t, [None] * r) for n, t, r in ports]
    graph = helper.make_graph(nodes, name, info(inputs), info(outputs))
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 5)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=10)
    path = os.path.join(work, name + ".onnx")
    with open(path, "wb") as f:
        f.write(proto.SerializeToString())
    return path


def compiled(t, bmc, path):
    """The model under each setting."""
    for k, flags in enumerate(SETTINGS):
        so = path[:-5] + "-%d.so" % k
        made = run([bmc, path, "-o", so] + flags)
        if t.check("%s compiles %s" % (os.path.basename(path), flags), made.status == 0, made.brief()):
            yield Loaded(so, threads=1 + k)


def letters():
    """What both sides know: case mappings of later versions of Unicode than Python's are unassigned there."""
    every = (chr(c) for c in range(1, 0x110000) if not 0xD800 <= c <= 0xDFFF)
    return [c for c in every if unicodedata.category(c) != "Cn"]


def case(t, bmc, work):
    one = lambda name, **a: helper.make_node("StringNormalizer", ["x"], [name], **a)
    nodes = [one("up", case_change_action="UPPER"), one("low", case_change_action="LOWER")]
    nodes += [one("tr", case_change_action="UPPER", locale="tr_TR"), one("az", case_change_action="LOWER", locale="az")]
    outputs = [(n.output[0], TensorProto.STRING, 1) for n in nodes]
    path = model(work, "case", nodes, [("x", TensorProto.STRING, 1)], outputs)
    known = letters()
    words = ["ΑΣ ΟΣΑ ΑΣ\u0301 Σ ΑΣ.", "Σ", "ΑΣΣ", "straße ŉ ﬃ İstanbul", "", "a\0b"]
    x = texts(*known, *words)
    for m in compiled(t, bmc, path):
        got = m.run({"x": x})
        for name, want in (("up", str.upper), ("low", str.lower)):
            bad = [(a, b, want(a)) for a, b in zip(x, got[name]) if b != want(a)]
            t.check("every letter: %s" % name, len(bad) == 0 and len(got[name]) == len(x), bad[:5])
        t.check("dotted i", got["tr"].tolist()[ord("i") - 1] == "İ" and got["az"].tolist()[ord("I") - 1] == "ı")
        try:
            m.run({"x": texts("fine", b"\xff")})
            t.check("no UTF-8 is an error", False)
        except ModelError as e:
            t.check("no UTF-8 is an error", "element 1 is not valid UTF-8" in e.message, e.message)


def stops(t, bmc, work):
    words = ["Monday", "STRASSE", "ΣΑΣ", "\u212a"]
    node = helper.make_node("StringNormalizer", ["x"], ["y"], stopwords=words)
    exact = helper.make_node("StringNormalizer", ["x"], ["z"], stopwords=words, is_case_sensitive=1)
    outputs = [("y", TensorProto.STRING, 1), ("z", TensorProto.STRING, 1)]
    path = model(work, "stops", [node, exact], [("x", TensorProto.STRING, 1)], outputs)
    known = letters()
    x = texts("monday", "MONDAYS", "straße", "STRASSE", "σας", "σασ", "k", "K", *(c for c in known if c not in "kK\u212a"))
    folded = {w.casefold() for w in words}
    for m in compiled(t, bmc, path):
        got = m.run({"x": x})
        t.check("stop words whatever the case", got["y"].tolist() == [w for w in x if w.casefold() not in folded])
        t.check("stop words as they are", got["z"].tolist() == [w for w in x if w not in words])


def split(t, bmc, work):
    forms = [{}, {"delimiter": ""}, {"maxsplit": 2}, {"delimiter": ","}, {"delimiter": "aa"}, {"delimiter": ", ", "maxsplit": 1}]
    nodes = [helper.make_node("StringSplit", ["x"], ["y%d" % k, "n%d" % k], **a) for k, a in enumerate(forms)]
    outputs = [("y%d" % k, TensorProto.STRING, 3) for k in range(len(forms))]
    outputs += [("n%d" % k, TensorProto.INT64, 2) for k in range(len(forms))]
    path = model(work, "split", nodes, [("x", TensorProto.STRING, 2)], outputs)
    random = np.random.default_rng(3)
    pool = ["a", "aa", ",", ", ", " ", "\t", "\u3000", "\u00a0", "b\u0301", "\U0001f600", "\x85", "\x1f"]
    pick = lambda: "".join(random.choice(pool, random.integers(0, 12)))
    for m in compiled(t, bmc, path):
        for shape in ((7, 9), (1, 1), (0, 3)):
            x = texts(*(pick() for _ in range(shape[0] * shape[1]))).reshape(shape)
            got = m.run({"x": x})
            for k, a in enumerate(forms):
                d, most = a.get("delimiter") or None, a.get("maxsplit", -1)
                # what is left behind the last split has no white space at its end either: the specification's words
                want = [(s if d else s.strip()).split(d, most) for s in x.flatten()]
                count, pieces = got["n%d" % k], got["y%d" % k]
                width = max([len(w) for w in want], default=0)
                full = [w + [""] * (width - len(w)) for w in want]
                right = count.flatten().tolist() == [len(w) for w in want] and pieces.shape == shape + (width,)
                t.check("split %s %s" % (a, shape), right and pieces.reshape(len(want), width).tolist() == full)


# Parts of patterns: whatever they are put together to, ONNX Runtime (with RE2) says whether that is valid and what matches.
PARTS = """a b A k K ſ é É . \\d \\w \\W \\s \\S [ab] [^a] [a-k] [^\\W] [[:alpha:]] [[:^alpha:]_] \\pL \\p{Lu} \\P{Lu} \\p{Greek} \\p{^Greek}
[\\p{Lu}é] ^ $ \\A \\z \\b \\B (a) (?:ab|b) (a|) (?i) (?i:k) (?s) (?m) (?m:^a$) \\x41 \\x{e9} \\n \\Qa.b\\E \\. \\_ [-a] [a-] []a] [^]]
(?P<n>a) \\C σ [Σ] ß (?-i) () \\101 \\0 μ [k-ſ] 😀 [😀-🙏] [^\\p{L}] \\- { }""".split()
COUNTS = "* + ? {2} {0,2} {1,} {3 *? +? ?? {2,3}? {,2} {0}".split()
ODD = """\\8 \\1 \\12 \\18 \\777 \\x4 \\x{110000} \\x{} \\q \\Z \\E \\ [ [] [^] [z-a] [a-\\d] [[:foo:]] [[:alpha:] [\\b] \\pN \\p \\p{ \\p{Foo} \\p{Any} \\p{Cn} \\p{Z}
( ) a) (a (? (?a) (?i (?-) (?i-) (?) (?P=n) (?P<>a) (?P<a-b>a) (?P<a>a)(?P<a>b) (?<a>a) (?<=a) (?=a) (?!a) (?>a) *a a|* (*) a{1001} a{1000} a{2,1}
(a{100}){11} (a{100}){10} ((a{10}){10}){10} a{01} a{,5} a{ { } ] a{1 a{99999999999} a{100000000} (?i)*a a(?i)* ^* \\b+a a*\\Q\\E* a** a{2}{3} a*+
\\Qab\\E* (?im-s:a.B) (?i)[^k] (?i)\\W (?i)[\\W] (?i)\\P{Lu} (?i)[^\\p{Lu}] (?i)ſ+ (?i)σ+ (?i)ẞ (?i)İ (?i)ı [^\\x00-\\x{10FFFF}] .*.{20} (?s).*k.{15}
\\p{L}{0,90} \\pL{1000} (?:a?){30}a{30} (a*)* (a*)+b (|a)+ [--a] [+--] [[] [[:] [[:^:]] (?P<é>a) (?P<a.>a)""".split()


def regex_model(patterns):
    nodes = [helper.make_node("RegexFullMatch", ["x"], ["y%d" % k], pattern=p) for k, p in enumerate(patterns)]
    info = lambda name, t: helper.make_tensor_value_info(name, t, [None])
    outputs = [info("y%d" % k, TensorProto.BOOL) for k in range(len(patterns))]
    graph = helper.make_graph(nodes, "regex", [info("x", TensorProto.STRING)], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def session(patterns):
    """ONNX Runtime with these patterns; None: one is not valid."""
    try:
        return onnxruntime.InferenceSession(regex_model(patterns), providers=["CPUExecutionProvider"])
    except Exception:  # whatever class it is: the version decides
        return None


def some_pattern(pick, depth=0):
    text = ""
    for _ in range(pick.randint(1, 4)):
        group = depth < 2 and pick.random() < 0.15
        text += "(" + some_pattern(pick, depth + 1) + ")" if group else pick.choice(PARTS)
        text += pick.choice(COUNTS) if pick.random() < 0.3 else ""
    return text + ("|" + some_pattern(pick, depth + 1) if pick.random() < 0.2 else "")


def regex(t, bmc, work):
    onnxruntime.set_default_logger_severity(4)
    pick = random.Random(11)
    good = []
    path = os.path.join(work, "regex.onnx")

    def write(patterns):
        with open(path, "wb") as f:
            f.write(regex_model(patterns))

    for p in ODD + [some_pattern(pick) for _ in range(60)]:
        if session([p]):
            good.append(p)
            continue
        write([p])
        made = run([bmc, path, "--stop-after=infer", "-o", path[:-5] + ".bir"])
        t.check("%r is turned down" % p, made.status == 1 and ("not valid" in made.err or "too large" in made.err), made.brief())
    t.check("some patterns are valid, some are not", 60 < len(good) < len(ODD) + 50, len(good))
    letters_ = list("aabbkKAéÉſ_ \n-.1σςΣßμ😀\t]")
    x = texts("", "K", "\u212a", *("".join(pick.choices(letters_, k=pick.randint(0, 5))) for _ in range(100)), "a" * 30, "b" * 20 + "k" + "a" * 15)
    write(good)
    want = session(good).run(None, {"x": x})
    for m in compiled(t, bmc, path):
        got = m.run({"x": x})
        for k, p in enumerate(good):
            bad = [(s, bool(w)) for s, w, g in zip(x, want[k], got["y%d" % k]) if w != g]
            t.check("%r" % p, not bad, bad[:3])


def cast(t, bmc, work):
    """Numbers to strings as repr has them (in their own precision), and back."""
    types = {"f": (TensorProto.FLOAT, np.float32), "d": (TensorProto.DOUBLE, np.float64), "i": (TensorProto.INT64, np.int64),
             "u": (TensorProto.UINT64, np.uint64), "b": (TensorProto.INT8, np.int8), "h": (TensorProto.FLOAT16, np.float16)}
    nodes, ins, outs = [], [], []
    for k, (onnx_type, _) in types.items():
        nodes += [helper.make_node("Cast", [k], [k + "s"], to=TensorProto.STRING), helper.make_node("Cast", [k + "s"], [k + "n"], to=onnx_type)]
        ins.append((k, onnx_type, 1))
        outs += [(k + "s", TensorProto.STRING, 1), (k + "n", onnx_type, 1)]
    path = model(work, "cast", nodes, ins, outs)
    random = np.random.default_rng(5)
    bits = lambda n, dtype: random.integers(0, 2**n, 3000, np.uint64).astype("u%d" % (n // 8)).view(dtype)
    feeds = {"f": bits(32, np.float32), "d": bits(64, np.float64), "i": bits(64, np.int64), "u": bits(64, np.uint64),
             "b": bits(8, np.int8), "h": bits(16, np.float16)}
    feeds["d"][:8] = [0, -0.0, 1, 0.1, 1e16, 123456789012345.0, 1e-4, 5e-5]
    for k in "fd":  # short ones, whole ones, powers of two and what lies beside them
        kind, few = types[k][1], random.integers(-(10**6), 10**6, 500)
        feeds[k][8:1008] = np.concatenate([few / 1000, few * 1000])
        powers = np.ldexp(kind(1), np.arange(-120, 120)).astype(kind)
        feeds[k][1008:1728] = np.concatenate([powers, np.nextafter(powers, kind(0)), np.nextafter(powers, kind(np.inf))])
    for k in "fdh":  # denormals count as zero inside a run
        feeds[k] = feeds[k][(np.abs(feeds[k]) >= np.finfo(feeds[k].dtype).tiny) | ~np.isfinite(feeds[k]) | (feeds[k] == 0)]

    def text(v):
        if np.isnan(v) or np.isinf(v):
            return "NaN" if np.isnan(v) else "INF" if v > 0 else "-INF"
        digits = np.format_float_scientific(v, trim="-", unique=True)
        mantissa, exponent = digits.split("e")
        if not -4 <= int(exponent) < 16:
            return mantissa + "e" + exponent[0] + exponent[1:].zfill(2)
        return np.format_float_positional(v, trim="0", unique=True)

    for m in compiled(t, bmc, path):
        got = m.run(feeds)
        for k, x in feeds.items():
            want = [text(np.float32(v) if k == "h" else v) if k in "fdh" else str(v) for v in x]
            bad = [(a, b) for a, b in zip(got[k + "s"].tolist(), want) if a != b]
            t.check("%s to text" % x.dtype, not bad, bad[:4])
            t.check("%s and back" % x.dtype, np.array_equal(got[k + "n"], x, equal_nan=k in "fdh"))


def forms(t, bmc, work):
    """What moves strings, each node by itself."""
    for label in string_forms.FORMS:
        proto, feeds = string_forms.proto(label)
        want = string_forms.wanted(label, *string_forms.proto(label))
        path = os.path.join(work, "form.onnx")
        with open(path, "wb") as f:
            f.write(proto.SerializeToString())
        for flags in SETTINGS:
            so = os.path.join(work, "form-%s-%d.so" % (re.sub(r"\W", "", label), len(flags)))
            made = run([bmc, path, "-o", so] + flags)
            if not t.check("%s compiles %s" % (label, flags), made.status == 0, made.brief()):
                continue
            got = list(Loaded(so).run(feeds).values())
            right = len(got) == len(want) and all(a.shape == np.shape(b) and a.tolist() == np.asarray(b).tolist() for a, b in zip(got, want))
            t.check("%s %s" % (label, flags), right, (got, want))


def contexts(t, bmc, work):
    """Two contexts at once, again and again: their strings do not meet, and memory does not grow from run to run."""
    nodes = [
        helper.make_node("StringNormalizer", ["x"], ["n"], case_change_action="UPPER", stopwords=["stop"]),
        helper.make_node("StringSplit", ["n"], ["p", "c"], delimiter="|"),
        helper.make_node("StringConcat", ["n", "n"], ["nn"]),
        helper.make_node("RegexFullMatch", ["x"], ["m"], pattern="(a|b)*a(a|b){14}"),
        helper.make_node("Cast", ["c"], ["t"], to=TensorProto.STRING),
    ]
    outputs = [("p", TensorProto.STRING, 2), ("nn", TensorProto.STRING, 1), ("m", TensorProto.BOOL, 1), ("t", TensorProto.STRING, 1)]
    path = model(work, "contexts", nodes, [("x", TensorProto.STRING, 1)], outputs)
    feeds = [{"x": texts(*("%s|%d" % (w * (i % 9), i) for i in range(200)))} for w in ("ä", "long text ")]
    for m in compiled(t, bmc, path):
        both = (m, Loaded(m.library._name))
        want = [c.run(f) for c, f in zip(both, feeds)]
        wrong = []

        def work_on(c, f, w):
            for _ in range(100):
                got = c.run(f)
                wrong.extend(k for k in w if got[k].tolist() != w[k].tolist())

        threads = [threading.Thread(target=work_on, args=a) for a in zip(both, feeds, want)]
        for part in threads:
            part.start()
        for part in threads:
            part.join()
        t.check("two contexts at once", not wrong, wrong[:3])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work_on(m, feeds[0], want[0])
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        t.check("memory does not grow", grown < 1024, "%d kB" % grown)


def map_model(nodes, inputs, outputs):
    info = lambda ports: [helper.make_value_info(n, p) for n, p in ports]
    graph = helper.make_graph(nodes, "maps", info(inputs), info(outputs))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=9)


def maps(t, bmc, work):
    """A classifier with its scores as maps, as exporters of scikit-learn write it; dictionaries in."""
    tensor_of = lambda e, shape: helper.make_tensor_type_proto(e, shape)
    map_of = lambda k, e: helper.make_map_type_proto(k, tensor_of(e, []))
    random = np.random.default_rng(9)
    weights = random.standard_normal((3, 4)).astype(np.float32)
    for kind, labels, key in (("int64s", [3, -1, 7], TensorProto.INT64), ("strings", ["rose", "", "träum"], TensorProto.STRING)):
        short = {"int64s": "classlabels_ints", "strings": "classlabels_strings"}[kind]
        nodes = [
            helper.make_node("LinearClassifier", ["x"], ["label", "raw"], domain="ai.onnx.ml", coefficients=weights.flatten().tolist(), intercepts=[0.1, 0.2, 0.3], multi_class=1, post_transform="SOFTMAX", **{short: labels}),
            helper.make_node("ZipMap", ["raw"], ["scores"], domain="ai.onnx.ml", **{"classlabels_" + kind: labels}),
        ]
        proto = map_model(nodes, [("x", tensor_of(TensorProto.FLOAT, [None, 4]))], [("label", tensor_of(key, [None])), ("scores", helper.make_sequence_type_proto(map_of(key, TensorProto.FLOAT)))])
        path = os.path.join(work, "zip-%s.onnx" % kind)
        with open(path, "wb") as f:
            f.write(proto.SerializeToString())
        reference = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        for m in compiled(t, bmc, path):
            two = Loaded(m.library._name)
            for rows in (1, 5, 0, 1000):
                x = random.standard_normal((rows, 4)).astype(np.float32)
                label, scores = reference.run(None, {"x": x}) if rows else (np.empty(0), [])
                got, other = m.run({"x": x}), two.run({"x": -x})
                same = len(scores) == len(got["scores"]) and all(
                    list(a) == labels and set(a) == set(b) and all(abs(a[k] - b[k]) < 1e-5 for k in a) for a, b in zip(got["scores"], scores)
                )
                t.check("ZipMap with %s, %d rows" % (kind, rows), same and got["label"].tolist() == label.tolist())
                t.check("another context in between", len(other["scores"]) == rows)
    forms = [("DictVectorizer", {"string_vocabulary": ["a", "c", "ö", "z"]}, TensorProto.STRING, TensorProto.FLOAT, {"c": 8.0, "ö": 0.5, "q": 1.0}),
             ("DictVectorizer", {"int64_vocabulary": [9, -4, 0]}, TensorProto.INT64, TensorProto.FLOAT, {0: 1.0, 9: -2.0}),
             ("CastMap", {}, TensorProto.INT64, TensorProto.FLOAT, {30: 1.5, -20: 2.0, 0: 4.0}),
             ("CastMap", {"map_form": "SPARSE", "max_map": 6}, TensorProto.INT64, TensorProto.FLOAT, {5: 1.5, 0: 2.0}),
             ("CastMap", {"map_form": "SPARSE", "max_map": 6, "cast_to": "TO_INT64"}, TensorProto.INT64, TensorProto.FLOAT, {5: 1.5, 0: -2.75})]
    for number, (op, attributes, key, value, x) in enumerate(forms):
        out = TensorProto.INT64 if attributes.get("cast_to") == "TO_INT64" else value
        proto = map_model([helper.make_node(op, ["x"], ["y"], domain="ai.onnx.ml", **attributes)], [("x", map_of(key, value))], [("y", tensor_of(out, None))])
        path = os.path.join(work, "map%d.onnx" % number)
        with open(path, "wb") as f:
            f.write(proto.SerializeToString())
        want = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        feed = {k: np.float32(v) for k, v in x.items()}
        for m in compiled(t, bmc, path):
            got = m.run({"x": feed})["y"]
            # a DictVectorizer's result has one axis: the specification's words; ONNX Runtime puts one of length 1 in front
            right = got.dtype == want.dtype and got.ndim == (1 if op == "DictVectorizer" else 2) and got.flatten().tolist() == want.flatten().tolist()
            t.check("%s %s" % (op, attributes), right, (got, want))
            empty = m.run({"x": {}})["y"]
            t.check("%s of an empty map" % op, empty.size == (0 if op == "CastMap" and not attributes else got.size) and not empty.any())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    bmc = harness.needs_bmc(args.bmc)
    SETTINGS.extend([["-O0"], ["--cpu=x86-64-v3", "--threads=2"]] if args.full else [])
    t = harness.Tally()
    work = os.path.join(WORK, "strings")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    for part in (case, stops, split, regex, cast, forms, contexts, maps):
        part(t, bmc, work)
    return t.finish()


if __name__ == "__main__":
    sys.exit(main())
