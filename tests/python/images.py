#!/usr/bin/env python3
"""ImageDecoder on the files of tests/images, which Pillow, the standard's reference, has decoded (make.py):   images.py [--bmc FILE]

Every format in its forms, to the bit: RGB, BGR, grey, at -O0 and -O2.
Every file cut short at many places, and with bytes changed: an answer or an empty image, never anything else (tests/tools/image-fuzz.c
does that under a sanitizer).
"""

import argparse
import os
import shutil

import numpy as np

import harness
from bmc_ctypes import E_FAIL, Loaded, ModelError
from harness import TOP, WORK, run

MODEL = """bir 1
graph @main(%data: u8[N]) -> (%rgb, %bgr, %grey) {
  %rgb = ImageDecoder(%data)
  %bgr = ImageDecoder(%data) {pixel_format="BGR"}
  %grey = ImageDecoder(%data) {pixel_format="Grayscale"}
}
"""
FOLDER = os.path.join(TOP, "tests", "images")
CUT_OFF = ("grey16.pgm",)    # grey values above 255 are not scaled by Pillow but cut off


def decode(model, data):
    return model.run({"data": np.frombuffer(data, np.uint8)})


def exact(t, label, model, files, expected):
    for name, data in files.items():
        try:
            got = decode(model, data)
        except ModelError as e:
            t.check("%s %s" % (label, name), False, e)
            continue
        want = {k: expected["%s:%s" % (name, k)].astype(int) for k in ("RGB", "Grayscale")}
        if name in CUT_OFF:
            t.check("%s %s: equal channels" % (label, name), np.array_equal(got["rgb"], np.repeat(got["grey"], 3, 2)))
            continue
        for key, w in (("rgb", want["RGB"]), ("bgr", want["RGB"][:, :, ::-1]), ("grey", want["Grayscale"])):
            g = got[key].astype(int)
            t.check("%s %s %s" % (label, name, key), g.shape == w.shape and np.array_equal(g, w),
                    "%s, expected %s, differ by %s" % (g.shape, w.shape, np.abs(g - w).max() if g.shape == w.shape else ""))


def damaged(t, model, files):
    """Each prefix gives an empty image, unless what is missing was not needed; too many pixels are an error with a name."""
    rng = np.random.default_rng(1)
    for name, data in files.items():
        answers = {"ok": 0, "empty": 0, "error": 0}
        wrong = []
        for k in range(60):
            bad = bytearray(data[: int(rng.integers(0, len(data)))] if k % 2 else data)
            for at in rng.integers(0, max(len(bad), 1), 0 if k % 2 else 3):
                if at >= 16 or k % 4 == 0:
                    bad[at] = int(rng.integers(256))
            try:
                got = decode(model, bytes(bad))
                empty = got["rgb"].shape == got["bgr"].shape == (0, 0, 3) and got["grey"].shape == (0, 0, 1)
                answers["empty" if empty else "ok"] += 1
                if not empty and 0 in got["rgb"].shape:
                    wrong.append(got["rgb"].shape)
            except ModelError as e:
                answers["error"] += 1
                if e.status != E_FAIL or "ImageDecoder" not in str(e) or "pixels" not in str(e):
                    wrong.append(str(e))
        t.check("damaged " + name, not wrong and answers["empty"] > 0, (answers, wrong[:2]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bmc", default=harness.DEFAULT_BMC)
    bmc = harness.needs_bmc(parser.parse_args().bmc)
    t = harness.Tally()
    work = os.path.join(WORK, "images")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    path, so = os.path.join(work, "image.bir"), os.path.join(work, "image.so")
    with open(path, "w") as f:
        f.write(MODEL)
    expected = np.load(os.path.join(FOLDER, "expected.npz"))
    files = {}
    for name in sorted({k.split(":")[0] for k in expected.files}):
        with open(os.path.join(FOLDER, name), "rb") as f:
            files[name] = f.read()
    for k, flags in enumerate(([], ["-O0", "--cpu=x86-64-v3", "--threads=off"])):
        so = os.path.join(work, "image%d.so" % k)
        ran = run([bmc, path, "-o", so] + flags)
        if t.check("compiles %s" % flags, ran.status == 0, ran.brief()):
            model = Loaded(so)
            exact(t, "O%d" % (2 - 2 * k), model, files, expected)
            if k == 0:
                damaged(t, model, files)
    checked = run([bmc, "check", os.path.join(TOP, "tests", "images", "image.onnx")])
    t.check("bmc check names the libraries", checked.status == 0 and "-ljpeg" in checked.out, checked.brief())
    for kind in (".o", ".a"):
        ran = run([bmc, path, "-o", os.path.join(work, "image" + kind)])
        header = os.path.join(work, "image.h")
        t.check("header beside %s names the libraries" % kind, ran.status == 0 and os.path.exists(header) and "-ljpeg" in open(header).read(), ran.brief())
        os.path.exists(header) and os.remove(header)
    return t.finish()


if __name__ == "__main__":
    raise SystemExit(main())
