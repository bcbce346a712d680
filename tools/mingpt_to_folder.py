#!/usr/bin/env python3
"""Converts the minGPT sort model of models/mingpt-nano-sort (JSON, base64 tensors) into a model folder.

    python3 tools/mingpt_to_folder.py [--out tests/data/mingpt-nano-sort]

The folder holds config.json, model.safetensors (float32, linear weights stored [out, in]) and expected.json in the form of
tests/data/tiny-models: the three sequences of the published inner results and their logits at every position.
"""

import argparse
import base64
import json
import struct
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "models/mingpt-nano-sort"


def decode(tensor):
    """Shape and little-endian float32 bytes of one tensor of the JSON files."""
    assert tensor["dtype"] == "torch.float32", tensor["dtype"]
    data = base64.b64decode(tensor["data"])
    count = 1
    for side in tensor["shape"]:
        count *= side
    assert len(data) == 4 * count, (tensor["shape"], len(data))
    return tensor["shape"], data


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, data in tensors.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "tests/data/mingpt-nano-sort")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    model = json.loads((SOURCE / "gpt-nano-sort-model.json").read_text())
    shape = model.pop("config")
    # attn.bias is the causal mask that minGPT keeps among its tensors.
    tensors = {name: decode(value) for name, value in model.items() if not name.endswith(".attn.bias")}
    write_safetensors(args.out / "model.safetensors", tensors)
    config = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": shape["vocab_size"],
        "n_positions": shape["block_size"],
        "n_ctx": shape["block_size"],
        "n_embd": shape["n_embd"],
        "n_layer": shape["n_layer"],
        "n_head": shape["n_head"],
        "n_inner": 4 * shape["n_embd"],
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-05,
        "tie_word_embeddings": False,
        "transposed_linear": False,
        "torch_dtype": "float32",
    }
    (args.out / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    partials = json.loads((SOURCE / "gpt-nano-sort-t0-partials.json").read_text())
    (batch, length), ids = decode(partials["idx"])
    _, logits = decode(partials["lm_head"])
    ids = [int(value) for value in struct.unpack(f"<{batch * length}f", ids)]
    vocab = shape["vocab_size"]
    logits = [float(f"{value:.9g}") for value in struct.unpack(f"<{batch * length * vocab}f", logits)]
    rows = [logits[vocab * i : vocab * (i + 1)] for i in range(batch * length)]
    sequences = [
        {"ids": ids[length * b : length * (b + 1)], "logits": rows[length * b : length * (b + 1)]} for b in range(batch)
    ]
    (args.out / "expected.json").write_text(json.dumps({"sequences": sequences}) + "\n")


if __name__ == "__main__":
    main()
