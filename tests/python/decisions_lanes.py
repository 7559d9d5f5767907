"""Parts of decisions.py: which instructions elements that do not lie side by side take, counted in assembly."""

import re

POOL = """bir 1
graph @main(%x: f32[1,4,20,20]) -> (%y) {
  %y = MaxPool(%x) {kernel_shape=[2,2], strides=[2,2]}
}
"""


TURNED = """bir 1
graph @main(%x: f32[96,80], %z: i64[64,32]) -> (%y, %u) {
  %y = Transpose(%x) {perm=[1,0]}
  %u = Transpose(%z) {perm=[1,0]}
}
"""


def turned(t):
    """Blocks that transpose are whole vectors and shuffles whatever the size of a register, not elements one by one."""
    t.write("turned.bir", TURNED)
    for cpu, shuffles in (("x86-64-v4", 64), ("x86-64-v3", 96)):
        if t.compile("turned.bir", "turned.s", "--cpu=" + cpu):
            code = open(t.path("turned.s")).read()
            found = len(re.findall(r"^\tv(?:unpck|punpck|perm|shuf|insert[fi]|p?blend)", code, re.M))
            single = re.findall(r"\t(?:v?p?insr\w+|v?insertps|v?p?gather\w+)", code)
            t.tally.check("blocks turned for %s: %d shuffles" % (cpu, found), found >= shuffles and not single, single[:3])


THIRDS = """bir 1
graph @main(%x: f32[1,4,20,20]) -> (%y) {
  %by = const f32[4] [1,1,3,3]
  %y = Resize(%x, _, %by) {mode="nearest"}
}
"""
PLACES = """bir 1
graph @main(%x: f32[30,40], %i: i64[20]) -> (%y) {
  %y = Gather(%x, %i) {axis=1}
}
"""
SAME = """bir 1
graph @main(%x: f32[200,128], %i: i64[48]) -> (%y) {
  %y = Gather(%x, %i) {axis=1}
}
"""
TABLE = """bir 1
graph @main(%%x: f32[%d], %%i: i64[2000]) -> (%%y) {
  %%y = Gather(%%x, %%i)
}
"""


def apart(t):
    """Lanes two elements apart are whole vectors and shuffles, also of the ten that are a row: no gather. Neither are
    groups of three lanes of an element each, nor places in a row that registers hold: 128 elements, and no more."""
    two = ("vpermi2d", "vpermt2d", "vpermi2ps", "vpermt2ps")
    for stem, text, permuted in ("thirds", THIRDS, ("vpermd", "vpermps")), ("places", PLACES, two), ("row", TABLE % 128, two), ("same", SAME, two):
        t.write(stem + ".bir", text)
        if t.compile(stem + ".bir", stem + ".s", "--cpu=x86-64-v4"):
            code = open(t.path(stem + ".s")).read()
            t.tally.check("%s: permuted" % stem, not any(w in code for w in ("vgather", "vpgather")) and any(w in code for w in permuted))
    t.write("far.bir", TABLE % 129)
    if t.compile("far.bir", "far.s", "--cpu=x86-64-v4"):
        t.tally.check("a row that registers do not hold", "vpermi2" not in open(t.path("far.s")).read())
    t.write("pool.bir", POOL)
    if t.compile("pool.bir", "pool.s", "--cpu=x86-64-v4"):
        code = open(t.path("pool.s")).read()
        t.tally.check("lanes apart under a mask", "gather" not in code and "vpermt2ps" in code)


SHORT = """bir 1
graph @main(%%x: f32[%d,%d]) -> (%%y) {
  %%axes = const i64[1] [1]
  %%y = ReduceSum(%%x, %%axes) {keepdims=0}
}
"""
PADDED = """bir 1
graph @main(%%x: f32[%d,%d]) -> (%%y) {
  %%pads = const i64[4] [1,1,1,1]
  %%zero = const f32[] [0]
  %%y = Pad(%%x, %%pads, %%zero) {mode="constant"}
}
"""
PICKS = """bir 1
graph @main(%%x: f32[%d,%d], %%i: i64[100,256]) -> (%%y) {
  %%y = %s(%%x, %%i) {axis=%d}
}
"""
SOFT = """bir 1
graph @main(%%x: f32[%d,%d]) -> (%%y) {
  %%y = Softmax(%%x) {axis=-1}
}
"""
BEST = """bir 1
graph @main(%%x: f32[%d,%d]) -> (%%y, %%at) {
  %%k = const i64[1] [2]
  %%y, %%at = TopK(%%x, %%k) {axis=-1}
}
"""


TILES = """bir 1
graph @main(%%x: f32[1,64,%d,%d]) -> (%%y) {
  %%w = const f32[64,64,3,3] splat(0.3)
  %%v = Conv(%%x, %%w) {pads=[1,1,1,1]}
  %%y = Conv(%%v, %%w) {pads=[1,1,1,1]}
}
"""


def fetched(t):
    """Streams that hardware does not see coming, all of whose vectors are masked or gathered, are fetched ahead where L2
    does not hold them, and rows behind those that are computed with for long, and tiles of an image that minimal filtering
    brings to scratch; no stream: elements anywhere in a table."""
    cases = (("short", SHORT % (1 << 20, 8), True), ("short0", SHORT % (1 << 10, 8), False), ("long", SHORT % (1 << 17, 72), False),
             ("pad", PADDED % (4000, 4000), True), ("pad0", PADDED % (40, 40), False),
             ("picks", PICKS % (1 << 15, 256, "GatherElements", 1), True), ("picks0", PICKS % (100, 256, "GatherElements", 1), False),
             ("soft", SOFT % (1 << 15, 256), True), ("soft0", SOFT % (100, 256), False),
             ("best", BEST % (1 << 16, 128), True), ("best0", BEST % (100, 256), False),
             ("tiles", TILES % (200, 200), True), ("tiles0", TILES % (20, 20), False),
             ("table", PICKS % (1 << 24, 1, "Gather", 0), False))
    for stem, text, some in cases:
        t.write(stem + ".bir", text)
        for cpu in ("x86-64-v4", "x86-64-v3"):
            if t.compile(stem + ".bir", stem + ".s", "--cpu=" + cpu, "--threads=off"):
                found = re.search("prefetch(t0|w)", open(t.path(stem + ".s")).read()) is not None  # weights come to L2: t1
                t.tally.check("%s, %s: fetched ahead: %s" % (stem, cpu, found), found == some)
