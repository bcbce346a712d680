#!/usr/bin/env python3
"""Makes tests/data/tiny-models: random models of every family and what they compute.

Needs PyTorch 2.x, transformers 5.x, safetensors and gguf (golden-making only; no test and no build runs it):
    python3 tools/make_tiny_models.py [--out tests/data/tiny-models] [NAME ...]

Every variant of tiny_models/variants.py becomes a folder NAME/ as Hugging Face has it (config.json, model.safetensors or shards) with
  expected.json   {"sequences": [{"ids": [..], "logits": [[..] per position]}      short sequences
                                 {"ids": [..], "last_logits": [..]}, ...],         longer ones, last position only
                   "greedy": {"prompt": [..], "continuation": [..]}}
computed by the transformers library in float32 (eager attention) from the folder as written; some variants also exist as NAME.gguf
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
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

from tiny_models.gguf_files import write_gguf
from tiny_models.variants import FAMILIES, VARIANTS, VOCAB

GREEDY_STEPS = 24
MIN_GAP = 0.02  # between the best two logits at every greedy step: other implementations round differently
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPE_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
DUMPED = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}  # families whose config.json spells out every default


def randomize(model, seed):
    """All parameters, norms and biases too, from one generator, in order of their names."""
    generator = torch.Generator().manual_seed(seed)
    norms = ("norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight")
    stored_less_one = model.config.model_type.startswith("gemma")
    for name, parameter in sorted(model.named_parameters()):
        draw = 0.2 * torch.randn(parameter.shape, generator=generator)
        parameter.data.copy_(1.0 + draw if name.endswith(norms) and not stored_less_one else draw)


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
    """The model with its drawn weights, and its configuration in the published form."""
    family, changes, storage = VARIANTS[name]
    published = {**FAMILIES[family], **changes}
    config = AutoConfig.for_model(**{"model_type": family, **json.loads(json.dumps(published))})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model.eval()
    randomize(model, 1000 + index)
    through_storage(model, storage)
    return model, published


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
            if gap <= MIN_GAP:
                break
            ids.append(best.indices[0].item())
        if gap > MIN_GAP and 2 not in ids[5:]:
            return {"prompt": prompt, "continuation": ids[5:]}
    sys.exit("no prompt without near ties found")


def expectations(model, context, digits, seed):
    generator = torch.Generator().manual_seed(seed)
    rounded = lambda values: [float(f"{value:.{digits}g}") for value in values.tolist()]
    sequences = []
    for length in (1, 12):
        ids = torch.randint(0, VOCAB, (length,), generator=generator).tolist()
        sequences.append({"ids": ids, "logits": [rounded(row) for row in logits_of(model, ids)]})
    for length in (7, 31, 33, context):
        ids = torch.randint(0, VOCAB, (length,), generator=generator).tolist()
        sequences.append({"ids": ids, "last_logits": rounded(logits_of(model, ids)[-1])})
    return {"sequences": sequences, "greedy": greedy(model, generator)}


def dumped_config(model, storage):
    """Every field that transformers knows, with RoPE named as published Llama configurations do (rope_theta, rope_scaling)."""
    config = json.loads(model.config.to_json_string(use_diff=False))
    drop = [key for key in config if key.startswith("_") or key in ("transformers_version", "dtype", "id2label", "label2id")]
    for key in drop:
        del config[key]
    config["architectures"] = [DUMPED[model.config.model_type]]
    if "rope_parameters" in config and storage.get("config") != "rope_parameters":
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        kind = rope.pop("rope_type")
        if kind == "default":
            config["rope_scaling"] = None
        elif kind == "linear":
            config["rope_scaling"] = {"type": "linear", "factor": rope["factor"]}
        else:
            config["rope_scaling"] = {"rope_type": kind, **rope}
    return config


def config_json(name, model, published):
    family, _, storage = VARIANTS[name]
    dtype = DTYPE_NAMES[storage.get("dtype", "F32")]
    if family in DUMPED:
        return {**dumped_config(model, storage), "torch_dtype": dtype}
    if storage.get("config") != "saved":
        return {**published, "torch_dtype": dtype}
    config = json.loads(model.config.to_json_string())
    config.update(architectures=published["architectures"], dtype=dtype)
    return config


def unfused(name, value):
    """Parts of a tensor that transformers 5 holds for all experts, as checkpoints have them; the tensor itself otherwise."""
    stem, _, part = name.rpartition(".experts.")
    if part not in ("gate_up_proj", "down_proj"):
        return {name: value}
    names = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}[part]
    tensors = {}
    for expert, matrix in enumerate(value):
        for piece, rows in zip(names, matrix.chunk(len(names))):
            tensors[f"{stem}.experts.{expert}.{piece}.weight"] = rows
    return tensors


def hub_extras(model):
    """Names without the prefix of the whole model, and the buffers that old checkpoints hold beside the weights."""
    config, layers = model.config, model.config.num_hidden_layers
    if config.model_type == "gpt2":
        mask = torch.tril(torch.ones(config.n_positions, config.n_positions)).view(1, 1, config.n_positions, config.n_positions)
        return "transformer.", {f"h.{layer}.attn.bias": mask.clone() for layer in range(layers)}
    if config.model_type == "gpt_neox":
        inverse = 10000.0 ** (-torch.arange(0, 4, 2) / 4)
        stem = "gpt_neox.layers.{}.attention."
        return "", {stem.format(layer) + name: value.clone() for layer in range(layers)
                    for name, value in (("masked_bias", torch.tensor(-1e9)), ("rotary_emb.inv_freq", inverse),
                                        ("bias", torch.tril(torch.ones(1, 1, 64, 64, dtype=torch.bool))))}
    return {"bloom": "transformer.", "opt": "model."}[config.model_type], {}


def tensors_of(model, storage):
    """name -> tensor, as published checkpoints of the family have them."""
    dtype = DTYPES[storage.get("dtype", "F32")]
    tied = model.config.tie_word_embeddings
    tensors = {}
    for fused, held in model.state_dict().items():
        if tied and fused == "lm_head.weight":
            continue
        for name, value in unfused(fused, held).items():
            if model.config.model_type == "mixtral":
                name = name.replace(".mlp.", ".block_sparse_moe.")
                for old, new in (("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2")):
                    name = name.replace(f".{old}.weight", f".{new}.weight") if ".experts." in name else name
            tensors[name] = value.to(dtype).contiguous().clone()
    if storage.get("names") == "hub":
        prefix, extras = hub_extras(model)
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()} | extras
    return tensors


def write_folder(name, model, published, folder):
    storage = VARIANTS[name][2]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config_json(name, model, published), indent=1) + "\n")
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


def load_back(folder, model):
    """The model as the transformers library reads the folder. Stops if it is not the one that was written."""
    loaded, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                        output_loading_info=True)
    loaded.eval()
    if info["missing_keys"] or info["mismatched_keys"]:
        sys.exit(f"{folder}: {info}")
    ids = list(range(40))
    if not torch.equal(logits_of(loaded, ids), logits_of(model, ids)):
        sys.exit(f"{folder}: gives other logits than the model that it was written from")
    return loaded


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "tests/data/tiny-models")
    parser.add_argument("names", nargs="*", help="variants to make (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for index, name in enumerate(VARIANTS):
        if args.names and name not in args.names:
            continue
        family, _, storage = VARIANTS[name]
        model, published = build(name, index)
        folder = args.out / name
        write_folder(name, model, published, folder)
        context = published.get("seq_length") or model.config.max_position_embeddings
        expected = expectations(load_back(folder, model), context, 8 if family in DUMPED else 6, 2000 + index)
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")
        if "gguf" in storage:
            for old in args.out.glob(f"{name}*.gguf"):
                if old.name.removeprefix(name)[0] == "." or "-of-" in old.name:
                    old.unlink()
            write_gguf(model.config, published, tensors_of(model, {}), storage, args.out / f"{name}.gguf")
        spread = float(np.std(expected["sequences"][1]["logits"]))
        print(f"{name}: {sum(file.stat().st_size for file in folder.iterdir())} bytes, logits spread {spread:.2f}", flush=True)


if __name__ == "__main__":
    main()
