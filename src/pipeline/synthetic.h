// Synthetic models: the shape of a known model with random codes, so that speed can be measured
// without a checkpoint. Written as an ordinary folder, read by the ordinary loader; the text such a
// model writes means nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/context.h"

namespace twofold {

/// The shape of a Llama model. All sides are multiples of 16.
struct SyntheticShape {
  std::string_view name, help;
  int64_t hidden, layers, heads, kv_heads, intermediate, vocab_size;
  bool tied_head;
};

std::span<const SyntheticShape> all_synthetic_shapes();
/// @throws Error(kInvalidArgument) listing the names.
const SyntheticShape& find_synthetic_shape(std::string_view name);

/// Positions of every synthetic model: more than the models themselves have, so that long caches
/// can be measured.
inline constexpr int64_t kSyntheticContext = 32768;

struct SyntheticOptions {
  std::string format = "r16-u4-g128";       // of the linears in blocks
  std::string head_format = "r16-u8-g128";  // of token table and head
  std::filesystem::path output = {};
  bool force = false;  // replace an existing model folder
  uint64_t seed = 0;
};

/// Writes the folder: random codes, scales for which activations stay near 1, norms of ones. Packed
/// or dense formats.
/// @throws Error(kInvalidArgument) on an unknown format; Error as OutputFolder; Error(kCancelled).
void write_synthetic_model(const SyntheticShape& shape, const SyntheticOptions& options,
                           const Context& ctx);

}  // namespace twofold
