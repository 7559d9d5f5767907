#!/usr/bin/env python3
"""Writes the images of this folder and what they decode to (expected.npz), by Pillow:   make.py FOLDER

Run by hand when a case is added; the tests need its results only. Forms that Pillow reads and does not write are put together here.
"""

import os
import struct
import sys
import zlib

import numpy as np
from PIL import Image

H, W = 11, 19


def picture():
    """Smooth colours with an edge, and some noise."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:H, 0:W]
    rgb = np.stack([x * 13, y * 22, 255 - x * 6 - y * 9], -1).astype(np.int64)
    rgb[3:7, 5:12] = [240, 20, 60]
    return np.clip(rgb + rng.integers(-9, 10, rgb.shape), 0, 255).astype(np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(kind, bits, rows, extra=b"", interlaced=0):
    head = struct.pack(">IIBBBBB", W, H, bits, kind, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def adam7(rgb):
    """The seven passes of an interlaced PNG."""
    out = b""
    for y0, x0, dy, dx in ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)):
        part = rgb[y0::dy, x0::dx]
        out += b"".join(b"\0" + row.tobytes() for row in part) if part.size else b""
    return out


def bmp(bits, compression, data, palette=b"", height=H, masks=b"", header=40, size=None):
    info = struct.pack("<IiiHHIIiiII", header, W, height, 1, bits, compression, size or len(data), 2835, 2835, len(palette) // 4, 0)
    place = 14 + len(info) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", place + len(data), 0, 0, place) + info + masks + palette + data


def rows_of(values, bits):
    """Rows from the bottom, packed and padded to four bytes."""
    out = b""
    for row in values[::-1]:
        if bits >= 8:
            line = row.astype({8: "<u1", 16: "<u2", 32: "<u4"}[bits]).tobytes()
        else:
            text = "".join(format(int(v), "0%db" % bits) for v in row)
            text += "0" * (-len(text) % 8)
            line = bytes(int(text[k : k + 8], 2) for k in range(0, len(text), 8))
        out += line + b"\0" * (-len(line) % 4)
    return out


def rle8(index):
    """Runs, literal parts, and a jump over the end of a line."""
    out = b""
    for k, row in enumerate(index[::-1]):
        row = row.tolist()
        if k == 4:
            out += b"\0\2\7\0"
            row = row[7:]
        while row:
            n = 1
            while n < len(row) and row[n] == row[0]:
                n += 1
            if n == 1 and len(row) >= 3:
                out += bytes([0, 3] + row[:3] + [0])
                row = row[3:]
            else:
                out += bytes([n, row[0]])
                row = row[n:]
        out += b"\0\0"
    return out + b"\0\1"


def rle4(index):
    out = b""
    for row in index[::-1]:
        row = row.tolist()
        while row:
            n = min(len(row), 6)
            if n == 6:
                out += bytes([0, 6, row[0] << 4 | row[1], row[2] << 4 | row[3], row[4] << 4 | row[5], 0])
            else:
                out += b"".join(bytes([1, v << 4]) for v in row)
            row = row[n:]
        out += b"\0\0"
    return out + b"\0\1"


def own(rgb):
    """name -> bytes"""
    index = (np.arange(H * W).reshape(H, W) * 7 // 5 % 16).astype(np.uint8)
    index[2:5, 3:15] = 9
    colours = np.random.default_rng(5).integers(0, 256, (16, 4)).astype(np.uint8)
    colours[:, 3] = 0
    palette = colours.tobytes()
    p555 = (rgb[..., 0].astype(int) >> 3 << 10) | (rgb[..., 1].astype(int) >> 3 << 5) | rgb[..., 2] >> 3
    p565 = (rgb[..., 0].astype(int) >> 3 << 11) | (rgb[..., 1].astype(int) >> 2 << 5) | rgb[..., 2] >> 3
    p888 = (rgb[..., 0].astype(int) << 16) | (rgb[..., 1].astype(int) << 8) | rgb[..., 2]
    lines = b"".join(b"\0" + row.tobytes() for row in rgb)
    grey16 = (rgb[..., 0].astype(">u2") * 257 // 3 + 5).astype(">u2")
    core = b"BM" + struct.pack("<IHHI", 0, 0, 0, 26 + 48) + struct.pack("<IHHHH", 12, W, H, 1, 4) + colours[:, :3].tobytes()
    header = b"# a comment\n%d %d\n" % (W, H)
    return {
        "interlaced.png": png(2, 8, adam7(rgb), interlaced=1),
        "rgb16.png": png(2, 16, b"".join(b"\0" + (row.astype(">u2") * 257).astype(">u2").tobytes() for row in rgb)),
        "palette4.png": png(3, 4, b"".join(b"\0" + bytes((int(r[k]) << 4) | (int(r[k + 1]) if k + 1 < W else 0) for k in range(0, W, 2)) for r in index),
                            chunk(b"PLTE", colours[:, :3].tobytes())),
        "grey2.png": png(0, 2, b"".join(b"\0" + bytes(sum(int(v) << (6 - 2 * j) for j, v in enumerate(r[k : k + 4] & 3)) for k in range(0, W, 4)) for r in index)),
        "keyed.png": png(2, 8, lines, chunk(b"tRNS", struct.pack(">HHH", *rgb[0, 0]))),
        "top-down.bmp": bmp(32, 0, rows_of(p888[::-1], 32), height=-H),
        "b4.bmp": bmp(4, 0, rows_of(index, 4), palette),
        "b16.bmp": bmp(16, 0, rows_of(p555, 16)),
        "b565.bmp": bmp(16, 3, rows_of(p565, 16), masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F)),
        "rle8.bmp": bmp(8, 1, rle8(index), palette),
        "rle4.bmp": bmp(4, 2, rle4(index), palette),
        "os2.bmp": core + rows_of(index, 4),
        "text.pbm": b"P1 " + header + b"\n".join(b" ".join(b"%d" % (v & 1) for v in r) for r in index) + b"\n",
        "text.pgm": b"P2\n" + header + b"15\n" + b"\n".join(b" ".join(b"%d" % v for v in r) for r in index) + b"\n",
        "text.ppm": b"P3\n" + header + b"255\n" + b"\n".join(b" ".join(b"%d" % v for v in r.ravel()) for r in rgb) + b"\n",
        "raw100.ppm": b"P6\n" + header + b"100\n" + (rgb * (100 / 255)).astype(np.uint8).tobytes(),
        "wide.ppm": b"P6\n" + header + b"4095\n" + (rgb.astype(">u2") * 16).astype(">u2").tobytes(),
        "grey16.pgm": b"P5\n" + header + b"65535\n" + grey16.tobytes(),
    }


def by_pillow(rgb):
    """name -> (image, options)"""
    im = Image.fromarray(rgb)
    grey, index = im.convert("L"), im.quantize(13)
    alpha = Image.fromarray(np.dstack([rgb, np.arange(H * W).reshape(H, W) % 256]).astype(np.uint8))
    bits = grey.convert("1")
    second = Image.fromarray(255 - rgb)
    return {
        "444.jpg": (im, {"quality": 90, "subsampling": 0}), "422.jpg": (im, {"subsampling": 1}), "420.jpg": (im, {"subsampling": 2}),
        "progressive.jpg": (im, {"progressive": True}), "grey.jpg": (grey, {}), "cmyk.jpg": (im.convert("CMYK"), {}),
        "restart.jpg": (im, {"restart_marker_blocks": 1}),
        "rgb.png": (im, {}), "rgba.png": (alpha, {}), "grey.png": (grey, {}), "bits.png": (bits, {}), "palette.png": (index, {}),
        "grey-alpha.png": (alpha.convert("LA"), {}),
        "rgb.bmp": (im, {}), "rgba.bmp": (alpha, {}), "grey.bmp": (grey, {}), "bits.bmp": (bits, {}), "palette.bmp": (index, {}),
        "rgb.tif": (im, {}), "lzw.tif": (im, {"compression": "tiff_lzw"}), "deflate.tif": (im, {"compression": "tiff_adobe_deflate"}),
        "packbits.tif": (im, {"compression": "packbits"}), "fax.tif": (bits, {"compression": "group4"}), "grey.tif": (grey, {}),
        "palette.tif": (index, {}), "rgba.tif": (alpha, {}), "big.tif": (im, {"big_tiff": True}),
        "lossy.webp": (im, {"quality": 80}), "lossless.webp": (im, {"lossless": True}), "alpha.webp": (alpha, {"quality": 70}),
        "two.webp": (im, {"save_all": True, "append_images": [second], "lossless": True}),
        "rgb.jp2": (im, {}), "grey.jp2": (grey, {}), "rgba.jp2": (alpha, {}), "lossy.jp2": (im, {"irreversible": True, "quality_layers": [8]}),
        "stream.j2k": (im, {"no_jp2": True}),
        "raw.ppm": (im, {}), "raw.pgm": (grey, {}), "raw.pbm": (bits, {}),
    }


def main():
    folder, rgb, expected = sys.argv[1], picture(), {}
    for name, (image, options) in by_pillow(rgb).items():
        image.save(os.path.join(folder, name), **options)
    for name, data in own(rgb).items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
    for name in sorted(list(own(rgb)) + list(by_pillow(rgb))):
        with Image.open(os.path.join(folder, name)) as image:
            image.load()
            expected[name + ":RGB"] = np.array(image.convert("RGB"))
            expected[name + ":Grayscale"] = np.array(image.convert("L"))[:, :, None]
    np.savez_compressed(os.path.join(folder, "expected.npz"), **expected)


if __name__ == "__main__":
    main()
