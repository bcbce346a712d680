// llama2.c's legacy checkpoint (.bin, version 0): seven int32 and float32 tensors without names.
#pragma once

#include <filesystem>
#include <vector>

#include "io/stored_tensor.h"

namespace twofold {

struct Llama2cFile {
  int64_t dim = 0, hidden_dim = 0, n_layers = 0, n_heads = 0, n_kv_heads = 0, vocab_size = 0,
          seq_len = 0;
  bool shared_classifier = true;
  /// Named as Hugging Face names a Llama ("model.layers.0.self_attn.q_proj.weight"); q and k rows
  /// are in llama2.c's order (rope on neighbouring pairs): see WeightView::rope_permuted_heads.
  std::vector<StoredTensor> tensors;
};

/// @throws Error(kCorruptFile) if the header is implausible or the size does not fit it exactly.
Llama2cFile read_llama2c(const std::filesystem::path& path);

}  // namespace twofold
