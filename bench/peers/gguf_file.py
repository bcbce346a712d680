"""GGUF files for the comparison of speeds: writes a model of a given shape in float16, repeats layers, counts the bytes
that a file's model reads per token."""

import functools
import random
import re
import struct
from dataclasses import dataclass

ALIGNMENT = 32
UINT32, FLOAT32, STRING, ARRAY, INT32, BOOL = 4, 6, 8, 9, 5, 7
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # by type of a value
F32, F16 = 0, 1
POOL = 1 << 20  # different weights in a file
SPREAD = 0.02
# Trellis-like types of ik_llama.cpp: number, bytes of 256 weights after a float32 scale per row. Those matrices its recipe has in the type.
RANDOM_TYPES = {"IQ2_KT": (153, 68), "IQ3_KT": (154, 100)}
RANDOM_TENSORS = re.compile(r"blk\.\d+\.(?:attn_q|attn_k|ffn_gate|ffn_up|ffn_down)\.weight")


@dataclass(frozen=True)
class Shape:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    tied: bool = False  # the output head is the embedding table

    def tensors(self):
        """(name, columns, rows) in the order of the file; vectors have no rows."""
        kv = self.hidden // self.heads * self.kv_heads
        yield "token_embd.weight", self.hidden, self.vocab
        for layer in range(self.layers):
            for name, cols, rows in (("attn_norm", self.hidden, None), ("attn_q", self.hidden, self.hidden), ("attn_k", self.hidden, kv),
                                     ("attn_v", self.hidden, kv), ("attn_output", self.hidden, self.hidden),
                                     ("ffn_norm", self.hidden, None), ("ffn_gate", self.hidden, self.ffn),
                                     ("ffn_up", self.hidden, self.ffn), ("ffn_down", self.ffn, self.hidden)):
                yield f"blk.{layer}.{name}.weight", cols, rows
        yield "output_norm.weight", self.hidden, None
        if not self.tied:
            yield "output.weight", self.hidden, self.vocab


SHAPES = {
    "1.1b": Shape(hidden=2048, layers=22, heads=32, kv_heads=4, ffn=5632, vocab=32000),
    "7b": Shape(hidden=4096, layers=32, heads=32, kv_heads=32, ffn=11008, vocab=32000),
    "135m": Shape(hidden=576, layers=30, heads=9, kv_heads=3, ffn=1536, vocab=49152, tied=True),
}


def _string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(kind, value):
    """`value` of an array: its elements' kind, and these."""
    if kind == STRING:
        return _string(value)
    if kind == ARRAY:
        return struct.pack("<IQ", value[0], len(value[1])) + b"".join(_value(value[0], element) for element in value[1])
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<B"}[kind], value)


def _header_bytes(entries, infos, count):
    """Of entries (key, kind, value) and `count` tensors; padded."""
    data = b"GGUF" + struct.pack("<IQQ", 3, count, len(entries))
    data += b"".join(_string(key) + struct.pack("<I", kind) + _value(kind, value) for key, kind, value in entries) + infos
    return data + bytes(_padding(len(data)))


def _info(name, sides, kind, offset):
    """Of a tensor; the side in memory first."""
    return _string(name) + struct.pack(f"<I{len(sides)}QIQ", len(sides), *sides, kind, offset)


def write(path, entries, tensors):
    """A file of entries (key, kind, value) and tensors (name, sides, number of the type, bytes)."""
    infos, offset = b"", 0
    for name, sides, kind, data in tensors:
        infos += _info(name, sides, kind, offset)
        offset += len(data) + _padding(len(data))
    with path.open("wb") as file:
        file.write(_header_bytes(entries, infos, len(tensors)))
        for *_, data in tensors:
            file.write(data + bytes(_padding(len(data))))


def _metadata(shape):
    """Keys of a model of the llama family; its vocabulary has the 256 bytes and then words that mean nothing."""
    words = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    kinds = [2, 3, 3] + [6] * 256  # unknown, control, byte
    words += [f"word{number}" for number in range(len(words), shape.vocab)]
    words, kinds = words[:shape.vocab], (kinds + [1] * shape.vocab)[:shape.vocab]
    numbers = {"context_length": 2048, "embedding_length": shape.hidden, "block_count": shape.layers, "feed_forward_length": shape.ffn,
               "attention.head_count": shape.heads, "attention.head_count_kv": shape.kv_heads,
               "rope.dimension_count": shape.hidden // shape.heads, "vocab_size": shape.vocab}
    return [("general.architecture", STRING, "llama"), ("general.name", STRING, "synthetic"), ("general.file_type", UINT32, F16),
            *((f"llama.{key}", UINT32, number) for key, number in numbers.items()),
            ("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5), ("llama.rope.freq_base", FLOAT32, 10000.0),
            ("tokenizer.ggml.model", STRING, "llama"), ("tokenizer.ggml.tokens", ARRAY, (STRING, words)),
            ("tokenizer.ggml.scores", ARRAY, (FLOAT32, [-float(place) for place in range(shape.vocab)])),
            ("tokenizer.ggml.token_type", ARRAY, (INT32, kinds)),
            *((f"tokenizer.ggml.{name}_token_id", UINT32, place) for place, name in enumerate(("unknown", "bos", "eos")))]


def _padding(size):
    return -size % ALIGNMENT


@functools.lru_cache(maxsize=1)
def _pool(seed):
    draw = random.Random(seed)
    return struct.pack(f"<{POOL}e", *(draw.gauss(0, SPREAD) for _ in range(POOL)))


def write_model(path, shape, seed=0):
    """Gaussian weights: POOL of them, drawn from the seed; tensors are pieces of this pool from random places."""
    draw, pool = random.Random(seed), _pool(seed)
    entries, tensors, infos, offset = _metadata(shape), list(shape.tensors()), b"", 0
    for name, cols, rows in tensors:
        dims = (cols,) if rows is None else (cols, rows)
        infos += _info(name, dims, F32 if rows is None else F16, offset)
        size = 4 * cols if rows is None else 2 * cols * rows
        offset += size + _padding(size)
    with path.open("wb") as file:
        file.write(_header_bytes(entries, infos, len(tensors)))
        for _, cols, rows in tensors:
            if rows is None:
                data = struct.pack("<f", 1.0) * cols
                file.write(data + bytes(_padding(len(data))))
                continue
            left = size = 2 * cols * rows
            while left > 0:
                start = 2 * draw.randrange(POOL // 2)
                left -= file.write(pool[start:start + min(left, POOL)])
            file.write(bytes(_padding(size)))


class _Reader:
    def __init__(self, file):
        self.file = file

    def number(self, code):
        return struct.unpack(f"<{code}", self.file.read(struct.calcsize(f"<{code}")))[0]

    def text(self):
        return self.file.read(self.number("Q")).decode()

    def skip(self, kind):
        """Skips a value; returns it if it is an unsigned 32-bit number."""
        if kind == UINT32:
            return self.number("I")
        if kind == STRING:
            self.file.seek(self.number("Q"), 1)
        elif kind == ARRAY:
            element, count = self.number("I"), self.number("Q")
            if element in SCALAR_BYTES:
                self.file.seek(count * SCALAR_BYTES[element], 1)
            else:
                for _ in range(count):
                    self.skip(element)
        else:
            self.file.seek(SCALAR_BYTES[kind], 1)
        return None


@dataclass
class _Header:
    """What stands before the weights: for each entry and tensor the bytes in the file, and what is used of them."""

    entries: list  # (key, bytes)
    tensors: list  # (name, bytes between the name and the place, place of the weights from `start` on, bytes of weights and padding)
    start: int
    alignment: int


def _header(path):
    with path.open("rb") as file:
        read = _Reader(file)
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path}: expected a GGUF file")
        read.number("I")
        tensor_count, entry_count = read.number("Q"), read.number("Q")
        alignment, entries, found = ALIGNMENT, [], []

        def since(begin):
            end = file.tell()
            file.seek(begin)
            return file.read(end - begin)
        for _ in range(entry_count):
            begin = file.tell()
            key, value = read.text(), read.skip(read.number("I"))
            alignment = value if key == "general.alignment" else alignment
            entries.append((key, since(begin)))
        for _ in range(tensor_count):
            name, begin = read.text(), file.tell()
            file.seek(8 * read.number("I") + 4, 1)
            found.append((name, since(begin), read.number("Q")))
        start = file.tell() + -file.tell() % alignment
    places = sorted(place for _, _, place in found)
    ends = dict(zip(places, places[1:] + [path.stat().st_size - start]))
    return _Header(entries, [(name, info, place, ends[place] - place) for name, info, place in found], start, alignment)


def bytes_per_token(path):
    """Bytes of all matrices and vectors of a model, without an embedding table that is not the output head as well. Sizes follow from
    the places of the tensors, so that types only the peer knows count as well."""
    sizes = {name: size for name, _, _, size in _header(path).tensors}
    if "output.weight" in sizes:
        del sizes["token_embd.weight"]
    return sum(sizes.values())


def bytes_of(path, wanted):
    """Of the tensors whose names are `wanted`."""
    return sum(size for name, _, _, size in _header(path).tensors if wanted(name))


def block_bytes(path):
    """Bytes of the matrices in the blocks, of whatever type."""
    return sum(size for name, info, _, size in _header(path).tensors if name.startswith("blk.") and struct.unpack_from("<I", info)[0] > 1)


def type_numbers(path):
    """Of all tensors: the number is what stands last before the place."""
    return {struct.unpack_from("<I", info, len(info) - 4)[0] for _, info, _, _ in _header(path).tensors}


def random_codes(source, target, kind, seed=0):
    """Writes the model with its large matrices in a type whose codes take hours to find, at random: every code is valid and takes as long."""
    number, super_bytes = RANDOM_TYPES[kind]
    header, draw = _header(source), random.Random(seed)
    tensors, infos, offset = [], b"", 0
    for name, info, place, size in header.tensors:
        data = None
        if RANDOM_TENSORS.fullmatch(name):
            cols, rows = struct.unpack("<QQ", info[4:20])
            row_bytes, scale = cols // 256 * super_bytes, struct.pack("<f", 1e-3)
            data = b"".join(scale + draw.randbytes(row_bytes) for _ in range(rows))
            info, size = info[:20] + struct.pack("<I", number), len(data) + _padding(len(data))
        infos += _string(name) + info + struct.pack("<Q", offset)
        offset += size
        tensors.append((place, size, data))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(header.entries)) + b"".join(data for _, data in header.entries) + infos
    with source.open("rb") as original, target.open("wb") as file:
        file.write(head + bytes(-len(head) % header.alignment))
        for place, size, data in tensors:
            original.seek(header.start + place)
            file.write(original.read(size) if data is None else data.ljust(size, b"\0"))


def repeat_layers(source, target, layers):
    """Writes a model of so many layers: those of `source`, again and again."""
    header = _header(source)
    blocks = re.compile(r"blk\.(\d+)\.(.*)")
    count = 1 + max(int(match[1]) for match in (blocks.fullmatch(name) for name, *_ in header.tensors) if match)
    tensors = []
    for name, info, place, size in header.tensors:
        match = blocks.fullmatch(name)
        copies = [f"blk.{layer}.{match[2]}" for layer in range(int(match[1]), layers, count)] if match else [name]
        tensors += [(copy, info, place, size) for copy in copies]
    entries = [_string(key) + struct.pack("<II", UINT32, layers) if key.endswith(".block_count") else data for key, data in header.entries]
    infos, offset = b"", 0
    for name, info, _, size in tensors:
        infos += _string(name) + info + struct.pack("<Q", offset)
        offset += size
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries) + infos
    with source.open("rb") as original, target.open("wb") as file:
        file.write(head + bytes(-len(head) % header.alignment))
        for _, _, place, size in tensors:
            original.seek(header.start + place)
            file.write(original.read(size))
