"""Mutations of an ONNX file on the wire: the protobuf fields are known, so that damage lands at every depth and the
lengths around it still add up (or lie on purpose).

    tree = parse(data)                  # a list of Field; known sub-messages are lists again
    mutated = mutate(data, rng)         # (what was done, bytes)
"""

VARINT, FIXED64, BYTES, GROUP, ENDGROUP, FIXED32 = range(6)

# message -> {field number: message of that field}
SCHEMA = {
    "Model": {7: "Graph", 8: "Opset", 14: "Entry", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 11: "Value", 12: "Value", 13: "Value", 15: "Sparse"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 14: "Type", 22: "Sparse"},
    "Tensor": {13: "Entry", 3: "Segment"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Value": {2: "Type"},
    "Type": {1: "TensorType", 4: "Sequence", 5: "Map", 8: "TensorType", 9: "Sequence"},
    "TensorType": {2: "Shape"},
    "Sequence": {1: "Type"},
    "Map": {2: "Type"},
    "Shape": {1: "Dim"},
    "Function": {7: "Node", 9: "Opset", 12: "Value", 11: "Attribute"},
    "Opset": {},
    "Entry": {},
    "Segment": {},
    "Dim": {},
}
NUMBERS = (0, 1, 2, 7, 16, 63, 64, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 5)
TEXTS = (b"", b"\xff\xfe\xfd", b"a\0b", b"A" * 70000, b"%s%n%s", b"../../x", b"\xc3", b"'\"\n\x1b[31m")


class Field:
    """One field on the wire. value: int, bytes, or a list of Field when the schema knows the message."""

    def __init__(self, number, wire, value, message=None):
        self.number, self.wire, self.value, self.message = number, wire, value, message
        self.length = None  # a lie about the length of `value`


def read_varint(data, at):
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7


def varint(n):
    n &= 2**64 - 1
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def parse(data, message="Model"):
    fields, at = [], 0
    while at < len(data):
        key, at = read_varint(data, at)
        number, wire = key >> 3, key & 7
        inner = None
        if wire == VARINT:
            value, at = read_varint(data, at)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
            value, at = data[at : at + size], at + size
        elif wire == BYTES:
            length, at = read_varint(data, at)
            value, at = data[at : at + length], at + length
            inner = SCHEMA[message].get(number)
            if inner:
                value = parse(value, inner)
        else:
            raise ValueError("wire type %d" % wire)
        fields.append(Field(number, wire, value, inner))
    return fields


def encode(fields):
    out = bytearray()
    for f in fields:
        out += varint(f.number << 3 | f.wire)
        value = encode(f.value) if isinstance(f.value, list) else f.value
        if isinstance(value, int):
            out += varint(value)
            continue
        if f.wire == BYTES:
            out += f.length if isinstance(f.length, bytes) else varint(len(value) if f.length is None else f.length)
        out += value
    return bytes(out)


def places(fields, depth=0):
    """(list, index, depth) of every field in the tree."""
    for i, f in enumerate(fields):
        yield fields, i, depth
        if isinstance(f.value, list):
            yield from places(f.value, depth + 1)


def pick(fields, rng):
    """A place, with every depth about equally likely: else nearly all damage would go into node names."""
    by_depth = {}
    for place in places(fields):
        by_depth.setdefault(place[2], []).append(place)
    return rng.choice(by_depth[rng.choice(sorted(by_depth))])


def change_value(rng, owner, i, tree):
    f = owner[i]
    if isinstance(f.value, int):
        f.value = rng.choice(NUMBERS + (rng.getrandbits(64), (f.value + 1), (f.value - 1)))
        return "number := %d" % f.value
    value = encode(f.value) if isinstance(f.value, list) else f.value
    kind = rng.randrange(4)
    if kind == 0 and value:
        f.value = value[: rng.randrange(len(value))]
    elif kind == 1:
        f.value = value + rng.randbytes(rng.randrange(1, 40))
    elif kind == 2:
        f.value = rng.choice(TEXTS)
    else:
        f.value = rng.randbytes(len(value) if len(value) < 4096 else 64)
    return "bytes changed"


def delete(rng, owner, i, tree):
    del owner[i]
    return "deleted"


def double(rng, owner, i, tree):
    owner.insert(rng.randrange(len(owner) + 1), owner[i])
    return "doubled"


def many(rng, owner, i, tree):
    count = rng.choice((10, 100, 1000))
    owner[i:i] = [owner[i]] * count
    return "repeated %d times" % count


def swap(rng, owner, i, tree):
    j = rng.randrange(len(owner))
    owner[i], owner[j] = owner[j], owner[i]
    return "swapped"


def graft(rng, owner, i, tree):
    """Put the field from some other place here."""
    other, j, _ = pick(tree, rng)
    source = other[j]
    value = encode(source.value) if isinstance(source.value, list) else source.value
    owner[i] = Field(owner[i].number if rng.random() < 0.5 else source.number, source.wire, value)
    return "grafted"


def renumber(rng, owner, i, tree):
    f = owner[i]
    f.number = rng.choice((0, f.number + 1, max(f.number - 1, 1), rng.randrange(1, 30), 2**29 - 1, 2**60))
    return "renumbered"


def rewire(rng, owner, i, tree):
    f = owner[i]
    if isinstance(f.value, list):
        f.value = encode(f.value)
    elif isinstance(f.value, int):
        f.value = varint(f.value)
    f.wire = rng.randrange(8)
    return "wire type := %d" % f.wire


def lie(rng, owner, i, tree):
    f = owner[i]
    if f.wire != BYTES:
        return change_value(rng, owner, i, tree)
    size = len(encode(f.value)) if isinstance(f.value, list) else len(f.value)
    f.length = rng.choice(
        (
            size + 1,
            max(size - 1, 0),
            0,
            size + 1000,
            2**31 - 1,
            2**31,
            2**32 + size,
            2**63,
            2**64 - 1,
            b"\xff" * 10 + b"\x01",
            b"\x80" * 9 + b"\x00",
            b"\x80" * 12,
        )
    )
    return "length lies"


def pack(rng, owner, i, tree):
    """A number as a packed list of many."""
    f = owner[i]
    f.value = b"".join(varint(rng.choice(NUMBERS)) for _ in range(rng.choice((0, 1, 7, 1000))))
    f.wire = BYTES
    f.message = None
    return "packed"


def deepen(rng, owner, i, tree):
    """Some graph levels inside an attribute, or types inside a type."""
    levels, numbers = rng.choice((3, 30, 63, 64, 65, 66, 300, 5000)), rng.choice(((6, 5, 1), (1, 4), (1, 9)))
    inner = b""
    for k in range(levels * len(numbers)):
        inner = varint(numbers[k % len(numbers)] << 3 | BYTES) + varint(len(inner)) + inner
    owner[i] = Field(owner[i].number, BYTES, inner)
    return "%d levels deep" % levels


KINDS = (
    change_value, change_value, change_value, delete, double, many, swap, graft, renumber, rewire, lie, lie, pack,
    deepen,
)


def mutate(data, rng):
    """One mutated file, made by one to three changes of fields or, now and then, of plain bytes."""
    if rng.random() < 0.1:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 3, 30))):
            changed[rng.randrange(min(len(changed), 1 << rng.randrange(4, 24)))] = rng.randrange(256)
        return "bytes flipped", bytes(changed)
    if rng.random() < 0.05:
        return "cut", data[: rng.randrange(len(data))]
    tree = parse(data)
    done = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not tree:
            break
        owner, i, depth = pick(tree, rng)
        done.append("field %d at depth %d %s" % (owner[i].number, depth, rng.choice(KINDS)(rng, owner, i, tree)))
    return ", ".join(done), encode(tree)
