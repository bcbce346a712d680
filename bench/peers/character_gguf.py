"""The character model as a GGUF file, so that the peers' programs can quantize it. Standard library only."""

import json
import re
import struct

import gguf_file
from gguf_file import ARRAY, BOOL, FLOAT32, INT32, STRING, UINT32

NAMES = {"transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm"}
OF_BLOCK = {"attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_1": "attn_norm", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
BLOCK = re.compile(r"transformer\.h\.(\d+)\.(.*)")
WRITTEN = {" ": "\u0120", "\n": "\u010a"}  # GPT-2's letters for bytes that are not printed


def gguf_name(name):
    """Of a tensor of the folder, `.weight` left out."""
    match = BLOCK.fullmatch(name)
    return f"blk.{match[1]}.{OF_BLOCK[match[2]]}" if match else NAMES[name]


def _metadata(folder):
    config = json.loads((folder / "config.json").read_text())
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    words = [WRITTEN.get(word, word) for word in sorted(vocabulary, key=vocabulary.get)]
    numbers = {"context_length": "n_positions", "embedding_length": "n_embd", "block_count": "n_layer", "feed_forward_length": "n_inner",
               "attention.head_count": "n_head"}
    return [("general.architecture", STRING, "gpt2"), ("general.name", STRING, folder.name),
            *((f"gpt2.{key}", UINT32, config[name]) for key, name in numbers.items()),
            ("gpt2.attention.layer_norm_epsilon", FLOAT32, config["layer_norm_epsilon"]),
            ("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "gpt-2"), ("tokenizer.ggml.tokens", ARRAY, (STRING, words)),
            ("tokenizer.ggml.token_type", ARRAY, (INT32, [1] * len(words))), ("tokenizer.ggml.merges", ARRAY, (STRING, [])),
            ("tokenizer.ggml.add_bos_token", BOOL, 0)]


def _tensors(folder):
    """(name, sides, numbers as little-endian float32)"""
    data = (folder / "model.safetensors").read_bytes()
    begin = 8 + struct.unpack_from("<Q", data)[0]
    for name, tensor in json.loads(data[8:begin]).items():
        if name != "__metadata__":
            first, last = (begin + place for place in tensor["data_offsets"])
            yield gguf_name(name.removesuffix(".weight")), tensor["shape"], data[first:last]


def write(folder, path):
    """In float32, with biases, which the peers' programs ask for: the model has none, so they are zero."""
    tensors = []
    for name, sides, data in _tensors(folder):
        tensors.append((f"{name}.weight", sides[::-1], gguf_file.F32, data))
        if not name.endswith("_embd"):
            tensors.append((f"{name}.bias", sides[:1], gguf_file.F32, bytes(4 * sides[0])))
    gguf_file.write(path, _metadata(folder), tensors)


def bias_bytes(path):
    """Of a file that was made from one of these: what the biases take."""
    return gguf_file.bytes_of(path, lambda name: name.endswith(".bias"))
