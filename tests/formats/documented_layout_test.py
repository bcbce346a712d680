"""Reads the golden file of format version 1 by docs/formats.md alone, without the library, and compares the values' hashes.

    python3 tests/formats/documented_layout_test.py
"""

import hashlib
import json
import re
import struct
import unittest
import zlib
from pathlib import Path

FORMATS = Path(__file__).resolve().parent.parent / "data" / "formats"
ROWS, COLS = 17, 37
NAME = re.compile(r"r16-(u|s|c|zf|t|rt|b)([1-8])([wf]?)(?:-g([0-9]+)|-(m))?$")


def f32(value):
    """Rounded to float32; exact for one operation on float32 numbers."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def round_up(value, step):
    return -(-value // step) * step


class Fields:
    """The fields of a code: (width, bit of the code, columns of a line, first line of the step)."""

    def __init__(self, bits, planes):
        if planes:
            widths = [2] * (bits // 2) + [1] * (bits % 2)
        else:
            widths = [w for w in (8, 4, 2, 1) if bits & w]
        self.planes, self.step = planes, 32 // widths[-1]
        self.fields, self.lines, bit = [], 0, 0
        for width in widths:
            self.fields.append((width, bit, 32 // width, self.lines))
            self.lines += self.step * width // 32
            bit += width

    def bytes(self, cols):
        return -(-cols // self.step) * self.lines * 64

    def code(self, blob, at, row, col):
        """Of a column counted from the start of its group, whose lines begin at `at`."""
        code = 0
        for width, bit, span, first in self.fields:
            line = col // self.step * self.lines + first + col % self.step // span
            in_line = col % self.step % span
            lane = at + 64 * line + 4 * row
            if not self.planes:
                code |= (blob[lane + in_line % 4] >> in_line // 4 * width & (1 << width) - 1) << bit
            elif width == 2:
                for plane in (0, 1):
                    code |= (blob[lane + in_line // 4] >> 4 * plane + in_line % 4 & 1) << bit + plane
            else:
                code |= (blob[lane + in_line % 16 // 4] >> in_line // 16 * 4 + in_line % 4 & 1) << bit
        return code


class Blob:
    """An R16 blob taken apart."""

    def __init__(self, name, blob):
        kind, bits, suffix, group, whole = NAME.match(name).groups()
        self.blob, self.kind, self.bits, self.suffix, self.whole = blob, kind, int(bits), suffix, whole is not None
        self.table = kind in ("t", "rt", "b")
        self.group = min(int(group or COLS), COLS)
        self.groups = -(-COLS // self.group)
        self.fields = Fields(self.bits, kind == "b")
        self.sets = 0 if self.whole else self.groups if group else 1
        self.group_bytes = self.fields.bytes(self.group)
        at = self.group_bytes * (self.groups - 1) + self.fields.bytes(COLS - self.group * (self.groups - 1))
        parts = {"scales": 2, "zeros": {"u": 1, "zf": 2}.get(kind, 0), "offsets": 2 if kind in ("rt", "b") else 0,
                 "tables": {"rt": 2**self.bits, "b": self.bits}.get(kind, 0)}
        self.at = {}
        for part, size in parts.items():
            self.at[part] = at
            at += self.sets * 16 * size
        self.block_bytes = round_up(at, 64)
        self.tail = -(-ROWS // 16) * self.block_bytes
        level_bytes = {"": 1, "w": 2, "f": 4}[suffix]
        tail_bytes = round_up(16 + (level_bytes << self.bits if kind == "t" else 0), 64) if self.table or self.whole else 0
        assert len(blob) == self.tail + tail_bytes, (name, len(blob))

    def get(self, layout, at):
        return struct.unpack_from("<" + layout, self.blob, at)[0]

    def level(self, code, block, place):
        if self.kind == "t":
            layout = {"": "b", "w": "h", "f": "f"}[self.suffix]
            return self.get(layout, self.tail + 16 + code * struct.calcsize(layout))
        if self.kind == "rt":
            return self.get("b", block + self.at["tables"] + (place << self.bits) + code)
        integers = self.blob[block + self.at["tables"] + place * self.bits :][: self.bits]
        return sum(n if code >> i & 1 else -n for i, n in enumerate(integers))

    def zero(self, block, place):
        if self.kind in ("s", "c"):
            return {"s": 2 ** (self.bits - 1), "c": (2**self.bits - 1) / 2}[self.kind]
        if self.whole:
            return self.get("f", self.tail + 4)
        return self.get("B", block + self.at["zeros"] + place) if self.kind == "u" else self.get("e", block + self.at["zeros"] + 2 * place)

    def value(self, row, col):
        block, group = row // 16 * self.block_bytes, col // self.group
        place = (group if self.sets > 1 else 0) * 16 + row % 16
        code = self.fields.code(self.blob, block + group * self.group_bytes, row % 16, col - group * self.group)
        scale = self.get("f", self.tail) if self.whole else self.get("e", block + self.at["scales"] + 2 * place)
        if not self.table:
            return f32(scale * f32(code - self.zero(block, place)))
        value = f32(scale * f32(self.level(code, block, place) * 2.0 ** self.get("i", self.tail + 8)))
        return f32(value + self.get("e", block + self.at["offsets"] + 2 * place)) if self.kind in ("rt", "b") else value


class Trellis:
    """A blob of a trellis: values by the stream of each tile, put together bit by bit."""

    NAME = re.compile(r"r16-tr([1-4])(s?)$")

    def __init__(self, name, blob):
        self.blob, self.bits = blob, int(self.NAME.match(name)[1])
        self.scales = -(-COLS // 32) * self.bits * 64
        self.block_bytes = self.scales + 64
        tail = blob[-(-ROWS // 16) * self.block_bytes :]
        self.exponent = struct.unpack_from("<i", tail, 8)[0]
        self.levels, self.mixing, self.window = struct.unpack_from("<64b", tail, 16), tail[80:86], tail[86]
        assert len(tail) == 128 and self.window == (6 if name.endswith("s") else 12), name
        assert struct.unpack_from("<I", tail, 88)[0] == zlib.crc32(tail[:88]), name
        self.streams = {}

    def stream(self, block, tile):
        """Bytes of a tile, row after row."""
        if (block, tile) not in self.streams:
            begin = block * self.block_bytes + tile // 2 * self.bits * 64
            places = [(row, run, j) for row in range(16) for run in (0, 1) for j in range(self.bits)]
            self.streams[block, tile] = bytes(self.blob[begin + 64 * j + 4 * row + 2 * (tile % 2) + run] for row, run, j in places)
        return self.streams[block, tile]

    def value(self, row, col):
        stream, first = self.stream(row // 16, col // 16), self.bits * (16 * (row % 16) + col % 16)
        bits = [(first + i) % (256 * self.bits) for i in range(self.window)]
        code = sum((stream[bit // 8] >> bit % 8 & 1) << i for i, bit in enumerate(bits))
        index = code >> 6
        for i, mask in enumerate(self.mixing):
            index ^= bin(mask & code & 63).count("1") % 2 << i
        scale = struct.unpack_from("<e", self.blob, row // 16 * self.block_bytes + self.scales + 2 * (row % 16))[0]
        return f32(scale * f32(self.levels[index] * 2.0**self.exponent))


def dense_values(name, blob):
    if name == "bf16":
        return [struct.unpack("<f", b"\0\0" + blob[i : i + 2])[0] for i in range(0, len(blob), 2)]
    return [v for (v,) in struct.iter_unpack({"f32": "<f", "f16": "<e"}[name], blob)]


def values(name, blob):
    if not name.startswith("r16-"):
        return dense_values(name, blob)
    reader = (Trellis if Trellis.NAME.match(name) else Blob)(name, blob)
    return [reader.value(row, col) for row in range(ROWS) for col in range(COLS)]


class DocumentedLayout(unittest.TestCase):
    def test_golden_blobs_hold_the_values_they_were_made_of(self):
        data = (FORMATS / "v1.safetensors").read_bytes()
        (header_bytes,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + header_bytes])
        rows = [line.split() for line in (FORMATS / "v1.txt").read_text().splitlines()]
        self.assertEqual([name for name, _, _ in rows], [name for name in header if name != "__metadata__"])
        for name, blob_hash, values_hash in rows:
            begin, end = header[name]["data_offsets"]
            blob = data[8 + header_bytes + begin : 8 + header_bytes + end]
            self.assertEqual(hashlib.sha256(blob).hexdigest(), blob_hash, name)
            numbers = values(name, blob)
            self.assertEqual(hashlib.sha256(struct.pack(f"<{len(numbers)}f", *numbers)).hexdigest(), values_hash, name)


if __name__ == "__main__":
    unittest.main()
