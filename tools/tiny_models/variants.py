"""The tiny models: one row per variant, and what the variants of a family share.

Configurations are those of published checkpoints, field for field, with small numbers. Where transformers 5 writes another form
(rope_parameters, layer_types), a variant with config="saved" has what the library itself writes for the same settings.
"""

VOCAB = 96
CONTEXT = 64

GPT2 = dict(vocab_size=VOCAB, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
LLAMA = dict(vocab_size=VOCAB, max_position_embeddings=128, hidden_size=32, intermediate_size=88, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=None,
             tie_word_embeddings=False)
LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=32)

OPT = dict(model_type="opt", architectures=["OPTForCausalLM"], _remove_final_layer_norm=False, activation_function="relu",
           attention_dropout=0.0, bos_token_id=2, do_layer_norm_before=True, dropout=0.1, eos_token_id=2, ffn_dim=128,
           hidden_size=32, init_std=0.02, layerdrop=0.0, max_position_embeddings=CONTEXT, num_attention_heads=4,
           num_hidden_layers=2, pad_token_id=1, prefix="</s>", use_cache=True, vocab_size=VOCAB, word_embed_proj_dim=32)
OPT_350M = dict(do_layer_norm_before=False, word_embed_proj_dim=16)

BLOOM = dict(model_type="bloom", architectures=["BloomForCausalLM"], apply_residual_connection_post_layernorm=False,
             attention_dropout=0.0, attention_softmax_in_fp32=True, bias_dropout_fusion=True, bos_token_id=1, eos_token_id=2,
             hidden_dropout=0.0, initializer_range=0.02, layer_norm_epsilon=1e-5, masked_softmax_fusion=True, n_inner=None,
             n_layer=2, offset_alibi=100, pad_token_id=3, pretraining_tp=1, seq_length=CONTEXT, skip_bias_add=True,
             skip_bias_add_qkv=False, slow_but_exact=False, unk_token_id=0, use_cache=True, vocab_size=VOCAB)

NEOX = dict(model_type="gpt_neox", architectures=["GPTNeoXForCausalLM"], bos_token_id=0, eos_token_id=0, hidden_act="gelu",
            hidden_size=32, initializer_range=0.02, intermediate_size=128, layer_norm_eps=1e-5,
            max_position_embeddings=CONTEXT, num_attention_heads=2, num_hidden_layers=2, rotary_emb_base=10000,
            rotary_pct=0.25, tie_word_embeddings=False, use_cache=True, use_parallel_residual=True, vocab_size=VOCAB)

# What the published configurations of the families after Llama have in common.
DECODER = dict(attention_dropout=0.0, bos_token_id=1, eos_token_id=2, hidden_act="silu", hidden_size=32, initializer_range=0.02,
               intermediate_size=64, max_position_embeddings=CONTEXT, num_attention_heads=4, num_hidden_layers=2,
               num_key_value_heads=2, rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=False, use_cache=True,
               vocab_size=VOCAB)
LLAMA_YARN = dict(DECODER, model_type="llama", architectures=["LlamaForCausalLM"])
MISTRAL = dict(DECODER, model_type="mistral", architectures=["MistralForCausalLM"], rms_norm_eps=1e-5, sliding_window=8)
QWEN2 = dict(DECODER, model_type="qwen2", architectures=["Qwen2ForCausalLM"], max_window_layers=1, rope_theta=1000000.0,
             sliding_window=8, use_sliding_window=False)
QWEN3 = dict(DECODER, model_type="qwen3", architectures=["Qwen3ForCausalLM"], attention_bias=False, head_dim=16,
             max_window_layers=2, rope_scaling=None, rope_theta=1000000, sliding_window=None, use_sliding_window=False)
GEMMA2 = dict(DECODER, model_type="gemma2", architectures=["Gemma2ForCausalLM"], attention_bias=False,
              attn_logit_softcapping=2.5, bos_token_id=2, cache_implementation="hybrid", eos_token_id=1,
              final_logit_softcapping=3.0, head_dim=16, hidden_act="gelu_pytorch_tanh", hidden_activation="gelu_pytorch_tanh",
              num_hidden_layers=4, pad_token_id=0, query_pre_attn_scalar=24, sliding_window=8)
del GEMMA2["tie_word_embeddings"]  # as published: the family ties by default
GEMMA3 = dict(DECODER, model_type="gemma3_text", architectures=["Gemma3ForCausalLM"], attention_bias=False,
              attn_logit_softcapping=None, bos_token_id=2, cache_implementation="hybrid", eos_token_id=[1, 5],
              final_logit_softcapping=None, head_dim=16, hidden_activation="gelu_pytorch_tanh", num_hidden_layers=4,
              num_key_value_heads=1, pad_token_id=0, query_pre_attn_scalar=24, rope_local_base_freq=100, rope_scaling=None,
              rope_theta=10000, sliding_window=8, sliding_window_pattern=3)
del GEMMA3["tie_word_embeddings"], GEMMA3["hidden_act"]
PHI3 = dict(DECODER, model_type="phi3", architectures=["Phi3ForCausalLM"], attention_bias=False, embd_pdrop=0.0,
            num_key_value_heads=4, original_max_position_embeddings=CONTEXT, pad_token_id=3, resid_pdrop=0.0, rms_norm_eps=1e-5,
            rope_scaling=None, sliding_window=8)
LONGROPE = dict(long_factor=[1.25, 3.5, 6.0, 9.5], short_factor=[1.0, 1.125, 1.5, 2.0])
PHI3_LONG = dict(max_position_embeddings=96, num_attention_heads=2, num_key_value_heads=1, original_max_position_embeddings=48,
                 partial_rotary_factor=0.5, sliding_window=262144)
SMOLLM3 = dict(DECODER, model_type="smollm3", architectures=["SmolLM3ForCausalLM"], attention_bias=False, max_window_layers=28,
               mlp_bias=False, no_rope_layer_interval=4, num_hidden_layers=4, pad_token_id=3, rope_scaling=None,
               rope_theta=5000000.0, sliding_window=None, tie_word_embeddings=True, use_sliding_window=False)
OLMO2 = dict(DECODER, model_type="olmo2", architectures=["Olmo2ForCausalLM"], attention_bias=False, pad_token_id=3,
             rope_scaling=None, rope_theta=500000)
GRANITE = dict(DECODER, model_type="granite", architectures=["GraniteForCausalLM"], attention_bias=False, attention_multiplier=0.25,
               embedding_multiplier=12.0, logits_scaling=3.0, mlp_bias=False, residual_multiplier=0.22, rope_scaling=None,
               tie_word_embeddings=True)
MIXTRAL = dict(DECODER, model_type="mixtral", architectures=["MixtralForCausalLM"], intermediate_size=32, num_experts_per_tok=2,
               num_local_experts=4, output_router_logits=False, rms_norm_eps=1e-5, rope_theta=1000000.0,
               router_aux_loss_coef=0.02, sliding_window=None)
QWEN3_MOE = dict(DECODER, model_type="qwen3_moe", architectures=["Qwen3MoeForCausalLM"], attention_bias=False,
                 decoder_sparse_step=1, head_dim=16, max_window_layers=2, mlp_only_layers=[], moe_intermediate_size=32,
                 norm_topk_prob=True, num_experts=6, num_experts_per_tok=2, output_router_logits=False, rope_scaling=None,
                 rope_theta=1000000.0, router_aux_loss_coef=0.001, sliding_window=None, use_sliding_window=False)

FAMILIES = {
    "gpt2": GPT2, "llama": LLAMA, "llama-yarn": LLAMA_YARN, "opt": OPT, "bloom": BLOOM, "gpt_neox": NEOX, "mistral": MISTRAL,
    "qwen2": QWEN2, "qwen3": QWEN3, "gemma2": GEMMA2, "gemma3": GEMMA3, "phi3": PHI3, "smollm3": SMOLLM3, "olmo2": OLMO2,
    "granite": GRANITE, "mixtral": MIXTRAL, "qwen3_moe": QWEN3_MOE,
}

HALF = dict(dtype="F16")
BOTH = dict(dtype="F16", gguf="F16")
SAVED = dict(dtype="F16", config="saved")

# name -> (family, changes to the configuration, storage). Storage: dtype, shards (files), names (how tensors are called),
# gguf (type of the matrices in NAME.gguf), split (GGUF files), config ("rope_parameters" or "saved": as transformers 5 writes it),
# quantized (GGUF type whose numbers the weights are). Appended rows leave the draws of those before them as they are.
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

    "llama-rope-yarn": ("llama-yarn", dict(rope_theta=100.0, rope_scaling=dict(type="yarn", factor=4.0,
                                                                             original_max_position_embeddings=32)), BOTH),
    "opt": ("opt", {}, dict(dtype="F16", names="hub")),
    "opt-350m": ("opt", OPT_350M, HALF),
    "opt-no-bias": ("opt", dict(enable_bias=False, layer_norm_elementwise_affine=False), HALF),
    "opt-no-final-norm": ("opt", dict(_remove_final_layer_norm=True, activation_function="gelu"), HALF),
    "bloom": ("bloom", dict(n_embed=32, num_attention_heads=4), dict(dtype="F16", names="hub", gguf="F16")),
    "bloom-6-heads": ("bloom", dict(hidden_size=24, n_head=6), BOTH),
    "bloom-normed-residual": ("bloom", dict(hidden_size=32, n_head=4, apply_residual_connection_post_layernorm=True), HALF),
    "gpt-neox": ("gpt_neox", {}, dict(dtype="F16", names="hub", gguf="F16")),
    "gpt-neox-sequential": ("gpt_neox", dict(use_parallel_residual=False, rotary_pct=0.5), BOTH),
    "gpt-neox-no-bias": ("gpt_neox", dict(attention_bias=False, hidden_act="gelu_new"), SAVED),
    "mistral": ("mistral", {}, HALF),
    "mistral-no-window": ("mistral", dict(sliding_window=None, head_dim=16), BOTH),
    "mistral-saved": ("mistral", dict(sliding_window=5, head_dim=16), SAVED),
    "qwen2": ("qwen2", {}, BOTH),
    "qwen2-tied": ("qwen2", dict(tie_word_embeddings=True), BOTH),
    "qwen2-window": ("qwen2", dict(num_hidden_layers=3, use_sliding_window=True), HALF),
    "qwen2-saved": ("qwen2", dict(num_hidden_layers=3, use_sliding_window=True,
                                  layer_types=["sliding_attention", "full_attention", "sliding_attention"]), SAVED),
    "qwen3": ("qwen3", {}, BOTH),
    "qwen3-yarn": ("qwen3", dict(attention_bias=True, tie_word_embeddings=True, rope_theta=100,
                                 rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32,
                                                   attention_factor=1.25, beta_fast=2, beta_slow=0.5, truncate=False)), HALF),
    "gemma2": ("gemma2", dict(query_pre_attn_scalar=16), BOTH),
    "gemma2-saved": ("gemma2", dict(num_hidden_layers=3, attn_logit_softcapping=None,
                                    layer_types=["full_attention", "sliding_attention", "full_attention"]), SAVED),
    "gemma3": ("gemma3", dict(query_pre_attn_scalar=16, intermediate_size=32, num_attention_heads=2, num_hidden_layers=7,
                              rope_scaling=dict(rope_type="linear", factor=8.0), sliding_window_pattern=6), BOTH),
    "gemma3-pattern": ("gemma3", dict(sliding_window_pattern=2), HALF),
    "gemma3-saved": ("gemma3", dict(rope_scaling=dict(rope_type="linear", factor=4.0), final_logit_softcapping=3.0), SAVED),
    "phi3": ("phi3", {}, BOTH),
    "phi3-longrope": ("phi3", dict(PHI3_LONG, rope_scaling=dict(type="longrope", **LONGROPE)), BOTH),
    "phi3-tied": ("phi3", dict(PHI3_LONG, num_attention_heads=4, partial_rotary_factor=1.0, tie_word_embeddings=True,
                               rope_scaling=dict(type="longrope", **LONGROPE)), HALF),
    "phi3-saved": ("phi3", dict(PHI3_LONG, rope_scaling=dict(rope_type="longrope", **LONGROPE)), SAVED),
    "smollm3": ("smollm3", dict(no_rope_layers=[1, 1, 1, 0], layer_types=["full_attention"] * 4), BOTH),
    "smollm3-interval": ("smollm3", dict(no_rope_layer_interval=2, sliding_window=8, use_sliding_window=True), HALF),
    "smollm3-list": ("smollm3", dict(no_rope_layers=[0, 1, 1, 0], tie_word_embeddings=False), SAVED),
    "olmo2": ("olmo2", {}, BOTH),
    "granite": ("granite", {}, BOTH),
    "granite-saved": ("granite", dict(tie_word_embeddings=False, attention_bias=True, mlp_bias=True), SAVED),
    "mixtral": ("mixtral", {}, BOTH),
    "mixtral-window": ("mixtral", dict(sliding_window=8, head_dim=16, num_experts_per_tok=3), SAVED),
    "qwen3-moe": ("qwen3_moe", {}, BOTH),
    "qwen3-moe-dense-layers": ("qwen3_moe", dict(num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[3],
                                                 norm_topk_prob=False, num_experts=4, num_experts_per_tok=3), HALF),
    "qwen3-moe-saved": ("qwen3_moe", dict(norm_topk_prob=False, num_experts=4), SAVED),
}
