#!/usr/bin/env python3
"""Writes tests/data/gguf-blocks: for each block type of ggml some random blocks (NAME.blocks) and the
float32 numbers that the `gguf` Python package decodes from them (NAME.f32), both little-endian.

Needs: pip install gguf numpy. The files are committed; run this only to add a type.
"""

import pathlib

import gguf
import numpy as np

BLOCKS = {32: 24, 256: 4}  # weights in a block -> blocks to write
# Byte offsets of the float16 scales, which must be finite.
SCALES = {
    "Q8_0": [0],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}


def main() -> None:
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests/data/gguf-blocks"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    for name, offsets in SCALES.items():
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (BLOCKS[elements], size), dtype=np.uint8)
        for offset in offsets:
            scales = rng.standard_normal(len(blocks)).astype(np.float16) / np.float16(16)
            scales[0] = np.float16(6e-7)  # a subnormal
            scales[1] = 0
            blocks[:, offset : offset + 2] = scales.view(np.uint8).reshape(-1, 2)
        blocks.tofile(folder / f"{name}.blocks")
        gguf.dequantize(blocks, kind).astype("<f4").tofile(folder / f"{name}.f32")


if __name__ == "__main__":
    main()
