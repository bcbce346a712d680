#!/usr/bin/env python3
"""Turns a GGUF file of any of llama.cpp's types into f16, so that `twofold compare --peer` can score it.

    python to_f16.py FILE.gguf OUTPUT.gguf          # a Python with the package gguf, which is llama.cpp's own

Every quantized matrix is decoded by that package and stored as f16; everything else is copied. OUTPUT.gguf.peer.json says what the row is
called and what the original weighs: `bytes` of the file, `block_bytes` of the linear layers in the blocks. `twofold compare` reads it and
counts those.
"""

import argparse
import json
import sys
from pathlib import Path

import gguf
import numpy as np

PLAIN = (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)


def copy_metadata(reader, writer):
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in (gguf.Keys.General.ARCHITECTURE, gguf.Keys.General.FILE_TYPE):
            continue
        kind = field.types[0]
        element = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=element)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def as_f16(tensor):
    """[rows, cols] of a tensor as float16, or the array as it is."""
    if tensor.tensor_type in PLAIN:
        return tensor.data
    try:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        sys.exit(f"{tensor.name}: this version of the package gguf cannot decode {tensor.tensor_type.name}")
    if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
        sys.exit(f"{tensor.name}: expected numbers that fit f16, found {np.abs(values).max()}")
    return values.astype(np.float16)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--name", help="what the row is called; default: the file's name")
    args = parser.parse_args()
    reader = gguf.GGUFReader(args.file)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(args.output, architecture)
    copy_metadata(reader, writer)
    block_bytes = 0
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, as_f16(tensor))
        if tensor.name.startswith("blk.") and len([side for side in tensor.shape if side > 1]) == 2:
            block_bytes += int(tensor.n_bytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    note = {"name": args.name or args.file.stem, "bytes": args.file.stat().st_size, "block_bytes": block_bytes}
    Path(f"{args.output}.peer.json").write_text(json.dumps(note, indent=2) + "\n")
    print(json.dumps(note))


if __name__ == "__main__":
    main()
