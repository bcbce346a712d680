"""GGUF files with the layout that llama.cpp's converter gives each family: which metadata it writes, how it names, orders and stacks
tensors. What the converter leaves out because llama.cpp knows it by the architecture (Gemma's pattern of windows, SmolLM3's layers
without rope, Qwen3-MoE's norm_topk_prob) is left out here as well."""

import math
import re

import gguf
import numpy as np

ARCH = gguf.MODEL_ARCH


def permute_rope(weight, heads):
    """Rows of q or k from halves (i, i + d/2) to neighbours (2i, 2i + 1), as GGUF files of Llama have them."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def by_part(fused, heads):
    """Rows [head][q, k, v][i] (BLOOM, GPT-NeoX) as [q, k, v][head][i]."""
    rows = fused.shape[0]
    return fused.reshape(heads, 3, rows // heads // 3, *fused.shape[1:]).swapaxes(0, 1).reshape(fused.shape)


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


def describe_gpt2(writer, config, _):
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_vocab_size(config.vocab_size)


def describe_llama(writer, config, _):
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


def describe_sizes(writer, published):
    writer.add_block_count(published["num_hidden_layers"])
    writer.add_context_length(published["max_position_embeddings"])
    writer.add_embedding_length(published["hidden_size"])
    writer.add_feed_forward_length(published["intermediate_size"])
    writer.add_head_count(published["num_attention_heads"])


def describe_head(writer, published):
    if "head_dim" in published:
        writer.add_key_length(published["head_dim"])
        writer.add_value_length(published["head_dim"])


def describe_decoder(writer, _, published):
    """What the converter writes of any model whose configuration has the usual names."""
    describe_sizes(writer, published)
    writer.add_head_count_kv(published["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(published["rms_norm_eps"])
    describe_head(writer, published)
    writer.add_rope_freq_base(published["rope_theta"])
    if "rope_local_base_freq" in published:
        writer.add_rope_freq_base_swa(published["rope_local_base_freq"])
    scaling = published.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    experts = published.get("num_local_experts", published.get("num_experts"))
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(published["num_experts_per_tok"])


def describe_like_llama(writer, config, published):
    describe_decoder(writer, config, published)
    writer.add_vocab_size(published["vocab_size"])
    writer.add_rope_dimension_count(published.get("head_dim", published["hidden_size"] // published["num_attention_heads"]))


def describe_granite(writer, config, published):
    describe_like_llama(writer, config, published)
    writer.add_attention_scale(published["attention_multiplier"])
    writer.add_embedding_scale(published["embedding_multiplier"])
    writer.add_residual_scale(published["residual_multiplier"])
    writer.add_logit_scale(published["logits_scaling"])


def describe_bloom(writer, _, published):
    width = published.get("hidden_size", published.get("n_embed"))
    heads = published.get("n_head", published.get("num_attention_heads"))
    writer.add_context_length(published["seq_length"])
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(4 * width)
    writer.add_block_count(published["n_layer"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_eps(published["layer_norm_epsilon"])


def describe_gpt_neox(writer, _, published):
    describe_sizes(writer, published)
    head = published["hidden_size"] // published["num_attention_heads"]
    writer.add_rope_dimension_count(int(published["rotary_pct"] * head))
    writer.add_parallel_residual(published["use_parallel_residual"])
    writer.add_layer_norm_eps(published["layer_norm_eps"])


def describe_gemma2(writer, _, published):
    describe_sizes(writer, published)
    writer.add_head_count_kv(published["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(published["rms_norm_eps"])
    describe_head(writer, published)
    writer.add_attn_logit_softcapping(published["attn_logit_softcapping"])
    writer.add_final_logit_softcapping(published["final_logit_softcapping"])
    writer.add_sliding_window(published["sliding_window"])


def describe_gemma3(writer, config, published):
    describe_decoder(writer, config, published)
    writer.add_sliding_window(published["sliding_window"])


def describe_phi3(writer, _, published):
    describe_sizes(writer, published)
    writer.add_head_count_kv(published["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(published["rms_norm_eps"])
    original, context = published["original_max_position_embeddings"], published["max_position_embeddings"]
    writer.add_rope_scaling_orig_ctx_len(original)
    turned = int(published.get("partial_rotary_factor", 1.0) * published["hidden_size"]) // published["num_attention_heads"]
    writer.add_rope_dimension_count(turned)
    writer.add_rope_freq_base(published["rope_theta"])
    writer.add_sliding_window(published["sliding_window"] or 0)
    if scaling := published["rope_scaling"]:
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(context / original) / math.log(original)))
        for length in ("long", "short"):
            writer.add_tensor(f"rope_factors_{length}.weight", np.array(scaling[f"{length}_factor"], dtype=np.float32))


def describe_qwen3_moe(writer, config, published):
    describe_decoder(writer, config, published)
    writer.add_expert_feed_forward_length(published["moe_intermediate_size"])


# model_type -> (architecture, its metadata, whether rows of q and k are permuted)
LAYOUTS = {
    "gpt2": (ARCH.GPT2, describe_gpt2, False),
    "llama": (ARCH.LLAMA, describe_like_llama, True),
    "mistral": (ARCH.LLAMA, describe_like_llama, True),
    "mixtral": (ARCH.LLAMA, describe_like_llama, True),
    "bloom": (ARCH.BLOOM, describe_bloom, False),
    "gpt_neox": (ARCH.GPTNEOX, describe_gpt_neox, False),
    "qwen2": (ARCH.QWEN2, describe_decoder, False),
    "qwen3": (ARCH.QWEN3, describe_decoder, False),
    "gemma2": (ARCH.GEMMA2, describe_gemma2, False),
    "gemma3_text": (ARCH.GEMMA3, describe_gemma3, False),
    "phi3": (ARCH.PHI3, describe_phi3, False),
    "smollm3": (ARCH.SMOLLM3, describe_like_llama, True),
    "olmo2": (ARCH.OLMO2, describe_decoder, False),
    "granite": (ARCH.GRANITE, describe_granite, True),
    "qwen3_moe": (ARCH.QWEN3MOE, describe_qwen3_moe, False),
}
EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(\w+)\.weight")


def stacked_experts(tensors):
    """name -> array; the matrices of all experts of a layer as one, [expert, out, in]."""
    arrays, experts = {}, {}
    for name, value in tensors.items():
        if match := EXPERT.fullmatch(name):
            experts.setdefault(f"{match[1]}.{match[3]}.weight", []).append(value.numpy())
        else:
            arrays[name] = value.numpy()
    for name, matrices in experts.items():
        arrays[name.replace("model.layers", "layers").replace("block_sparse_moe", "feed_forward")
               if ".block_sparse_moe." in name else name] = np.stack(matrices)
    return arrays


def as_converted(name, values, config, permuted):
    """Numbers in the order of GGUF files."""
    family = config.model_type
    if family == "gpt2" and values.ndim == 2 and ".h." in name:
        values = values.T  # Conv1D holds [in, out]
    if ".query_key_value." in name:
        values = by_part(values, config.num_attention_heads)
    if permuted and name.endswith(("q_proj.weight", "q_proj.bias")):
        values = permute_rope(values, config.num_attention_heads)
    if permuted and name.endswith(("k_proj.weight", "k_proj.bias")):
        values = permute_rope(values, config.num_key_value_heads)
    if family.startswith("gemma") and name.endswith("norm.weight"):
        values = values + np.float32(1)
    return np.ascontiguousarray(values)


def write_gguf(config, published, tensors, storage, path):
    """`tensors`: float32, with the names of the Hugging Face folder. `published`: the configuration without its defaults."""
    arch, describe, permuted = LAYOUTS[config.model_type]
    if config.model_type == "llama" and "rope_theta" not in published:
        describe = describe_llama
    split = storage.get("split", 1)
    arrays = stacked_experts(tensors)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch],
                             split_max_tensors=(len(arrays) + split - 1) // split if split > 1 else 0)
    writer.add_name(path.stem)
    describe(writer, config, published)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    kind = gguf.GGMLQuantizationType[storage["gguf"]]
    for name, array in arrays.items():
        values = as_converted(name, array, config, permuted)
        prefix = "transformer." if config.model_type == "bloom" else ""
        new_name = names.get_name(name.removeprefix(prefix), try_suffixes=(".weight", ".bias"))
        if values.ndim == 1 or kind == gguf.GGMLQuantizationType.F32 or "ffn_gate_inp" in new_name:
            writer.add_tensor(new_name, values)
        else:
            writer.add_tensor(new_name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
