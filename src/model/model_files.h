// ModelFiles: a model as found on disk, whatever the container: Hugging Face folder (plain or
// written by twofold), GGUF, or a llama2.c checkpoint. Maps files; never copies weights.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "io/stored_tensor.h"
#include "model/config.h"
#include "model/family.h"

namespace twofold {

/// One tensor of the model, bound to where it is stored.
struct Slot {
  std::string slot;   // "layers.0.attn.q", "embed", "head", "final_norm"
  std::string name;   // Hugging Face name of the tensor; of a part of a fused one "<fused>.<part>"
  std::string fused;  // name of that fused tensor; empty: none
  Role role = Role::kNorm;
  int layer = -1;           // block number; -1 outside blocks
  int64_t expert = -1;      // of the mixture in the block; -1: the tensor is no expert's
  std::string input;        // name of the layer input a linear reads; empty otherwise
  std::string wider_input;  // TensorRule::wider_input
  Shape shape;              // logical: [out, in], or [n] for vectors
  const StoredTensor* tensor = nullptr;
  WeightView view;
  WeightView hf_view;        // where a plain Hugging Face folder holds it in `fused` or `name`
  int64_t fused_rows = 0;    // rows (not columns, if transposed) of `fused`
  float stored_less = 0;     // added to the stored numbers (of a vector)
  float hf_stored_less = 0;  // what a plain Hugging Face folder stores less
  std::string format;        // packed format if twofold wrote it, else empty (view applies)
  nlohmann::json transform;  // of a packed matrix; null if none
  const StoredTensor* input_scale = nullptr;  // vector of that transform, F16 [in]; null if none
  int64_t activation_block = 0;               // columns per scale of int8 activations; 0: default
  int64_t activation_digits = 1;              // of int8 that an activation is rounded to
};

enum class Container { kHuggingFace, kGguf, kLlama2c };

/// Version of the folders that quantize writes. Every version from 1 on stays readable.
inline constexpr int64_t kFolderFormatVersion = 1;

struct ModelFiles {
  std::filesystem::path path;
  Container container = Container::kHuggingFace;
  nlohmann::json config_json;  // Hugging Face form, also when made from GGUF or llama2.c
  ModelConfig config;
  const Family* family = nullptr;
  std::shared_ptr<const Checkpoint> checkpoint;
  std::shared_ptr<const GgufFile> gguf;  // kGguf only: metadata and tokenizer
  std::vector<Slot> slots;               // embeddings, blocks in order, final norm, head
  std::map<std::string, size_t, std::less<>> slot_numbers;  // by Slot::slot
  nlohmann::json quantization;  // config_json["quantization_config"] if twofold wrote it, else null

  const Slot* find(std::string_view slot) const;
  bool is_quantized() const { return !quantization.is_null(); }
  int64_t parameters() const;  // of the source model, tied tensors once
};

/// Opens a folder, a .gguf file or a .bin file, and binds and checks every tensor of the family.
/// @throws Error(kIo | kCorruptFile | kUnsupported): one line with file, expected, found.
ModelFiles open_model(const std::filesystem::path& path);

/// Bytes that the file holds for the slot alone: of a fused or stacked tensor its part.
int64_t slot_bytes(const Slot& slot);

/// A one-dimensional slot (norm, bias) as floats, [n], in logical order.
std::vector<float> read_vector(const Slot& slot);

/// Files of a Hugging Face folder that are copied unchanged beside new weights: tokenizer, chat
/// template, generation settings. Only those that exist.
std::vector<std::filesystem::path> companion_files(const std::filesystem::path& folder);

}  // namespace twofold
