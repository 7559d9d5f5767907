#!/usr/bin/env python3
"""Draw digits beside what the model said about them:   show_digits.py IMAGES.npy LABELS.npy PROBABILITY.npy

Standard library only. Exit 1 when fewer than nine of ten answers are right.
"""

import array
import ast
import math
import struct
import sys

SHADES = " .:-=+*#%@"
TYPES = {"<f4": "f", "<f8": "d", "<i4": "i", "<i8": "q"}


def load(path):
    """(shape, flat values) of a row-major little-endian .npy file."""
    with open(path, "rb") as f:
        data = f.read()
    if data[:6] != b"\x93NUMPY":
        sys.exit("%s: not a .npy file" % path)
    start, size = (10, struct.unpack("<H", data[8:10])[0]) if data[6] == 1 else (12, struct.unpack("<I", data[8:12])[0])
    header = ast.literal_eval(data[start : start + size].decode("latin1"))
    if header["fortran_order"] or header["descr"] not in TYPES:
        sys.exit("%s: %s is not read here" % (path, header))
    values = array.array(TYPES[header["descr"]], data[start + size :])
    if len(values) != math.prod(header["shape"]):
        sys.exit("%s: %d values for shape %s" % (path, len(values), header["shape"]))
    return header["shape"], values


def picture(pixels):
    """Eight lines of sixteen characters: two characters are about square in a terminal."""
    ink = [SHADES[min(max(int(p * len(SHADES)), 0), len(SHADES) - 1)] * 2 for p in pixels]
    return ["".join(ink[row : row + 8]) for row in range(0, 64, 8)]


def answer(probability, label):
    """Eight lines of text about one digit."""
    best = max(range(10), key=lambda k: probability[k])
    second = max((k for k in range(10) if k != best), key=lambda k: probability[k])
    return best == label, [
        "",
        "",
        "prediction  %d" % best,
        "probability %5.1f %%" % (100 * probability[best]),
        "then        %d %5.1f %%" % (second, 100 * probability[second]),
        "",
        "right" if best == label else "wrong: it is a %d" % label,
        "",
    ]


def main(images, labels, probabilities):
    (count, *_), pixels = load(images)
    _, label = load(labels)
    shape, probability = load(probabilities)
    if tuple(shape) != (count, 10):
        sys.exit("%s: shape %s, expected %s" % (probabilities, shape, (count, 10)))
    blocks, right = [], 0
    for i in range(count):
        good, text = answer(probability[10 * i : 10 * i + 10], label[i])
        right += good
        blocks.append(["|%s|  %-22s" % pair for pair in zip(picture(pixels[64 * i : 64 * i + 64]), text)])
    for left in range(0, count, 2):
        print()
        for line in zip(*blocks[left : left + 2]):
            print("  ".join(line).rstrip())
    print("\n%d of %d digits right; none of them was in the training data." % (right, count))
    return 0 if right >= 0.9 * count else 1


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
