#!/usr/bin/env python3
"""Makes tests/data/tiny-models: random GPT-2 and Llama models and what they compute.

Needs PyTorch 2.x, transformers 5.x, safetensors and gguf (golden-making only; no test and no build runs it):
    python3 tools/make_tiny_models.py [--out tests/data/tiny-models] [NAME ...]

Every variant becomes a folder NAME/ as Hugging Face has it (config.json, model.safetensors or shards) with
  expected.json   {"sequences": [{"ids": [..], "logits": [[..] per position]}      short sequences
                                 {"ids": [..], "last_logits": [..]}, ...],         longer ones, last position only
                   "greedy": {"prompt": [..], "continuation": [..]}}
computed by the transformers library in float32 (eager attention) from the weights as stored; some variants also exist as NAME.gguf
(or split in two), with the same expected values. Weights are drawn with a standard deviation of 0.2, so that logits differ clearly.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

VOCAB = 96
GREEDY_STEPS = 24
MIN_GAP = 0.02  # between the best two logits at every greedy step: other implementations round differently

GPT2 = dict(vocab_size=VOCAB, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
LLAMA = dict(vocab_size=VOCAB, max_position_embeddings=128, hidden_size=32, intermediate_size=88, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=None,
             tie_word_embeddings=False)
LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=32)

# name -> (family, changes to the configuration, storage). Storage: dtype, shards (files), names (how tensors are called),
# gguf (type of the matrices in NAME.gguf), split (GGUF files).
VARIANTS = {
    "gpt2": ("gpt2", dict(n_layer=3), dict(gguf="F32")),
    "gpt2-gelu": ("gpt2", dict(activation_function="gelu"), {}),
    "gpt2-gelu-pytorch-tanh": ("gpt2", dict(activation_function="gelu_pytorch_tanh", n_inner=80), {}),
    "gpt2-relu": ("gpt2", dict(activation_function="relu"), {}),
    "gpt2-untied": ("gpt2", dict(tie_word_embeddings=False), {}),
    "gpt2-unscaled": ("gpt2", dict(scale_attn_weights=False), {}),
    "gpt2-inverse-layer": ("gpt2", dict(n_layer=3, scale_attn_by_inverse_layer_idx=True), {}),
    "gpt2-hub-names": ("gpt2", {}, dict(names="hub")),
    "llama-mha": ("llama", dict(num_key_value_heads=4), {}),
    "llama-gqa": ("llama", dict(num_hidden_layers=3), dict(shards=3, gguf="F32", split=2)),
    "llama-tied": ("llama", dict(tie_word_embeddings=True), {}),
    "llama-bias": ("llama", dict(attention_bias=True, mlp_bias=True), {}),
    "llama-head-dim": ("llama", dict(hidden_size=40, head_dim=16), {}),
    "llama-rope-linear": ("llama", dict(rope_parameters=dict(rope_type="linear", factor=2.5, rope_theta=5000.0)),
                          dict(dtype="F16", gguf="F16")),
    "llama-rope-llama3": ("llama", dict(head_dim=16, num_key_value_heads=1, rope_parameters=LLAMA3_ROPE),
                          dict(dtype="BF16", gguf="BF16")),
    "llama-rope-parameters": ("llama", dict(rope_parameters=LLAMA3_ROPE), dict(config="rope_parameters")),
    "llama-q8": ("llama", dict(intermediate_size=96), dict(quantized="Q8_0", gguf="Q8_0")),
    "llama-q4": ("llama", dict(intermediate_size=96), dict(quantized="Q4_0", gguf="Q4_0")),
}
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def randomize(model, seed):
    """All parameters, norms and biases too, from one generator, in order of their names."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        draw = 0.2 * torch.randn(parameter.shape, generator=generator)
        is_norm_weight = name.endswith(("norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight"))
        parameter.data.copy_(1.0 + draw if is_norm_weight else draw)


def through_storage(model, storage):
    """Rounds the parameters as the stored files will hold them."""
    dtype = DTYPES[storage.get("dtype", "F32")]
    for name, parameter in model.named_parameters():
        values = parameter.data.to(dtype).to(torch.float32)
        if "quantized" in storage and values.dim() == 2:
            kind = gguf.GGMLQuantizationType[storage["quantized"]]
            values = torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(values.numpy(), kind), kind).copy())
        parameter.data.copy_(values)


def build(name, index):
    family, changes, storage = VARIANTS[name]
    if family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(**{**GPT2, **changes}))
    else:
        model = LlamaForCausalLM(LlamaConfig(**{**LLAMA, **changes}))
    model.set_attn_implementation("eager")
    model.eval()
    randomize(model, 1000 + index)
    through_storage(model, storage)
    return model


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0]


def greedy(model, generator):
    """A prompt whose continuation does not hang on a near tie, and that continuation."""
    for _ in range(200):
        prompt = torch.randint(3, VOCAB, (5,), generator=generator).tolist()
        ids, gap = list(prompt), float("inf")
        for _ in range(GREEDY_STEPS):
            best = torch.topk(logits_of(model, ids)[-1], 2)
            gap = min(gap, (best.values[0] - best.values[1]).item())
            ids.append(best.indices[0].item())
        if gap > MIN_GAP and 2 not in ids[5:]:
            return {"prompt": prompt, "continuation": ids[5:]}
    sys.exit("no prompt without near ties found")


def expectations(model, context, seed):
    generator = torch.Generator().manual_seed(seed)
    rounded = lambda values: [float(f"{value:.8g}") for value in values.tolist()]
    sequences = []
    for length in (1, 12):
        ids = torch.randint(0, VOCAB, (length,), generator=generator).tolist()
        sequences.append({"ids": ids, "logits": [rounded(row) for row in logits_of(model, ids)]})
    for length in (7, 31, 33, context):
        ids = torch.randint(0, VOCAB, (length,), generator=generator).tolist()
        sequences.append({"ids": ids, "last_logits": rounded(logits_of(model, ids)[-1])})
    return {"sequences": sequences, "greedy": greedy(model, generator)}


def config_json(model, storage):
    """What transformers writes, with RoPE named as published Llama configurations do (rope_theta, rope_scaling)."""
    config = json.loads(model.config.to_json_string(use_diff=False))
    drop = [key for key in config if key.startswith("_") or key in ("transformers_version", "dtype", "id2label", "label2id")]
    for key in drop:
        del config[key]
    if model.config.model_type == "llama":
        config["architectures"] = ["LlamaForCausalLM"]
        rope = config["rope_parameters"]
        if storage.get("config") != "rope_parameters":
            del config["rope_parameters"]
            config["rope_theta"] = rope.pop("rope_theta")
            kind = rope.pop("rope_type")
            if kind == "default":
                config["rope_scaling"] = None
            elif kind == "linear":
                config["rope_scaling"] = {"type": "linear", "factor": rope["factor"]}
            else:
                config["rope_scaling"] = {"rope_type": kind, **rope}
    else:
        config["architectures"] = ["GPT2LMHeadModel"]
    config["torch_dtype"] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[storage.get("dtype", "F32")]
    return config


def tensors_of(model, storage):
    dtype = DTYPES[storage.get("dtype", "F32")]
    tied = model.config.tie_word_embeddings
    tensors = {}
    for name, value in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        tensors[name] = value.to(dtype).contiguous().clone()
    if storage.get("names") == "hub":  # as GPT-2 on the Hugging Face hub: no prefix, causal masks among the tensors
        context = model.config.n_positions
        mask = torch.tril(torch.ones(context, context)).view(1, 1, context, context)
        tensors = {name.removeprefix("transformer."): value for name, value in tensors.items()}
        for layer in range(model.config.n_layer):
            tensors[f"h.{layer}.attn.bias"] = mask.clone()
    return tensors


def write_folder(model, storage, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config_json(model, storage), indent=1) + "\n")
    tensors = tensors_of(model, storage)
    shards = storage.get("shards", 1)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map.update({name: file for name in part})
    total = sum(value.numel() * value.element_size() for value in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def permute_rope(weight, heads):
    """Rows of q or k from halves (i, i + d/2) to neighbours (2i, 2i + 1), as GGUF files of Llama have them."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def llama3_factors(config):
    """rope_freqs.weight: what every frequency is divided by, from the llama3 fields of the configuration."""
    rope = config.rope_parameters
    dims = config.head_dim
    inverse = 1.0 / rope["rope_theta"] ** (np.arange(0, dims, 2, dtype=np.float64) / dims)
    wavelength = 2 * np.pi / inverse
    original = rope["original_max_position_embeddings"]
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    smooth = (original / wavelength - low) / (high - low)
    between = 1.0 / ((1 - smooth) / factor + smooth)
    result = np.where(wavelength < original / high, 1.0, np.where(wavelength > original / low, factor, between))
    return result.astype(np.float32)


def gguf_llama(writer, config):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    if config.rope_parameters["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_parameters["factor"])
    if config.rope_parameters["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(config))


def gguf_gpt2(writer, config):
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_vocab_size(config.vocab_size)


def write_gguf(model, storage, path):
    config = model.config
    family = config.model_type
    layers = config.num_hidden_layers
    split = storage.get("split", 1)
    count = len(tensors_of(model, storage))
    writer = gguf.GGUFWriter(path, family, split_max_tensors=(count + split - 1) // split if split > 1 else 0)
    writer.add_name(path.stem)
    (gguf_llama if family == "llama" else gguf_gpt2)(writer, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA if family == "llama" else gguf.MODEL_ARCH.GPT2, layers)
    kind = gguf.GGMLQuantizationType[storage["gguf"]]
    for name, value in tensors_of(model, {}).items():
        values = value.numpy()
        if family == "gpt2" and value.dim() == 2 and ".h." in name:
            values = values.T  # Conv1D holds [in, out]
        if name.endswith(("q_proj.weight", "q_proj.bias")):
            values = permute_rope(values, config.num_attention_heads)
        if name.endswith(("k_proj.weight", "k_proj.bias")):
            values = permute_rope(values, config.num_key_value_heads)
        values = np.ascontiguousarray(values)
        new_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if value.dim() == 1 or kind == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(new_name, values)
        else:
            writer.add_tensor(new_name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "tests/data/tiny-models")
    parser.add_argument("names", nargs="*", help="variants to make (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for index, name in enumerate(VARIANTS):
        if args.names and name not in args.names:
            continue
        storage = VARIANTS[name][2]
        model = build(name, index)
        folder = args.out / name
        write_folder(model, storage, folder)
        context = model.config.max_position_embeddings
        expected = expectations(model, context, 2000 + index)
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")
        if "gguf" in storage:
            for old in args.out.glob(f"{name}*.gguf"):
                old.unlink()
            write_gguf(model, storage, args.out / f"{name}.gguf")
        spread = float(np.std(expected["sequences"][1]["logits"]))
        print(f"{name}: {sum(file.stat().st_size for file in folder.iterdir())} bytes, logits spread {spread:.2f}")


if __name__ == "__main__":
    main()
