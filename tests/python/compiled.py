"""A graph in the IR's text form as code for several CPUs: what tests of one family of kernels share."""

import ctypes
import mmap
import os

import numpy as np

import harness
from bmc_ctypes import Loaded, ModelError

TARGETS = (["-O2"], ["-O0"], ["--cpu=x86-64-v3"], ["--cpu=x86-64"])


def at_page_end(array):
    """A copy of the array that ends with a page, before one without access."""
    pages = -(-array.nbytes // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(start + pages * mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE), 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    copy = np.frombuffer(memory, array.dtype, array.size, pages * mmap.PAGESIZE - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy


def answers(tally, bmc, work, name, text, feeds, targets=TARGETS):
    """Compiles `text` (without its first line) for each target and runs it on one thread and on two, which must give the
    same bits, with inputs that end with a page. Yields (label, {output: array}) for each target that worked."""
    source = os.path.join(work, name.replace(" ", "_") + ".bir")
    with open(source, "w") as f:
        f.write("bir 1\n" + text)
    ends = {k: at_page_end(v) for k, v in feeds.items()}
    for number, flags in enumerate(targets):
        artifact, label = "%s-%d.so" % (source[:-4], number), "%s %s" % (name, " ".join(flags))
        ran = harness.run([bmc, source, "-o", artifact] + flags)
        if not tally.check(label + " compiles", ran.status == 0, ran.brief()):
            continue
        got = []
        try:
            for threads in (1, 2):
                loaded = Loaded(artifact, threads=threads)
                got.append(loaded.run(ends))
                loaded.close()
        except ModelError as e:
            tally.check(label + " runs", False, e)
            continue
        for k in got[0]:
            tally.check("%s: %s, the same bits" % (label, k), got[0][k].tobytes() == got[1][k].tobytes(), text[:160])
        yield label, got[0]
