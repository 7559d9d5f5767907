"""Do two answers agree? None, or in a few words how they differ."""

import numpy as np

import values

# relative and absolute; narrow floats: a few steps, since oracles round inside an operator and bmc does not
TOLERANCE = {
    "double": (1e-10, 1e-12), "float": (2e-5, 1e-6), "float16": (2.0**-7, 2.0**-9), "bfloat16": (2.0**-5, 2.0**-6),
    "complex64": (2e-5, 1e-6), "complex128": (1e-10, 1e-12),
}


def narrowest(case, who):
    """(relative, absolute) tolerance that the types a case feeds ask for: a result is no more exact than what went in."""
    names = [values.NAME[x.dtype] for x in case.inputs if isinstance(x, np.ndarray)] + ["float"] * ("single" in who)
    found = [TOLERANCE[n] for n in names if n in TOLERANCE and n != "double"]
    return max((f[0] for f in found), default=0.0), max((f[1] for f in found), default=0.0)


def differ(got, want, rtol=0.0, atol=0.0):
    if isinstance(got, (list, tuple)) or isinstance(want, (list, tuple)):
        if not isinstance(got, (list, tuple)) or not isinstance(want, (list, tuple)):
            return "one is a sequence"
        if len(got) != len(want):
            return "%d elements, expected %d" % (len(got), len(want))
        return next((d for d in (differ(g, w, rtol, atol) for g, w in zip(got, want)) if d), None)
    if isinstance(got, dict) and isinstance(want, dict) and list(got) == list(want):
        got, want = (np.array(list(x.values())) for x in (got, want))  # a map with NaN is not equal to itself
        return None if got.dtype == want.dtype and np.array_equal(got, want, equal_nan=got.dtype.kind == "f") else "%r, expected %r" % (got, want)
    if isinstance(got, dict) or isinstance(want, dict) or got is None or want is None:
        return None if got == want else "%r, expected %r" % (got, want)
    got, want = np.asarray(got), np.asarray(want)
    if want.dtype.kind in "US":
        want = want.astype(object)
    if got.dtype.kind in "US":
        got = got.astype(object)
    if got.dtype != want.dtype:
        return "%s, expected %s" % (got.dtype, want.dtype)
    if got.shape != want.shape:
        return "shape %s, expected %s" % (list(got.shape), list(want.shape))
    if not got.size:
        return None
    name = values.NAME.get(got.dtype, "")
    if atol >= 1 and values.is_int(name):  # where the specification does not say how a fraction becomes an integer
        bad = (np.abs(got.astype(np.float64) - want.astype(np.float64)) > atol).ravel()
    elif not values.is_float(name):
        bad = np.array([text(g) != text(w) for g, w in zip(got.flat, want.flat)]) if got.dtype == object else (got != want).ravel()
    else:
        r, a = TOLERANCE.get(name, (0.0, 0.0))
        if name in ("float16", "bfloat16") and np.isfinite(want.astype(np.float64)).any():  # sums: of the largest term
            with np.errstate(all="ignore"):
                a = max(a, r / 4 * float(np.abs(want.astype(np.float64)[np.isfinite(want.astype(np.float64))]).max()))
        bad = ~close(got, want, max(r, rtol), max(a, atol)).ravel()
    if not bad.any():
        return None
    k = int(np.argmax(bad))
    return "%d of %d differ, at %s: %s, expected %s" % (
        bad.sum(), got.size, list(int(i) for i in np.unravel_index(k, got.shape)), got.flat[k], want.flat[k])


def text(x):
    return x.decode("utf-8") if isinstance(x, bytes) else str(x)


def close(got, want, rtol, atol):
    if got.dtype.kind == "c":
        part = [close(getattr(got, p).astype(np.float64), getattr(want, p).astype(np.float64), rtol, atol + rtol * np.abs(
            np.where(np.isfinite(want), want, 0))) for p in ("real", "imag")]
        return part[0] & part[1]
    g, w = got.astype(np.float64), want.astype(np.float64)
    with np.errstate(all="ignore"):
        same = (g == w) | (np.isnan(g) & np.isnan(w))
        return same | (np.isfinite(g) & np.isfinite(w) & (np.abs(g - w) <= atol + rtol * np.abs(w)))
