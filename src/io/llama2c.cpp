// Layout: karpathy/llama2.c, export.py (legacy_export) and run.c (memory_map_weights).
#include "io/llama2c.h"

#include <array>
#include <cstring>

#include "base/checked_math.h"
#include "io/file.h"

namespace twofold {
namespace {

constexpr size_t kHeaderBytes = 7 * sizeof(int32_t);
constexpr uint32_t kVersionedMagic = 0x616b3432;  // "ak42": versions 1 and 2
constexpr int64_t kMaxLayers = 1 << 16;           // bounds the list of tensors of a false header

Llama2cFile parse_header(std::span<const std::byte> bytes, const std::string& where) {
  if (bytes.size() < kHeaderBytes) {
    fail(ErrorCode::kCorruptFile, where, "expected a llama2.c header of {} bytes, found {} bytes",
         kHeaderBytes, bytes.size());
  }
  std::array<int32_t, 7> header;
  std::memcpy(header.data(), bytes.data(), kHeaderBytes);
  if (static_cast<uint32_t>(header[0]) == kVersionedMagic) {
    fail(ErrorCode::kUnsupported, where, "expected llama2.c version 0, found version {}",
         header[1]);
  }
  Llama2cFile file;
  file.dim = header[0];
  file.hidden_dim = header[1];
  file.n_layers = header[2];
  file.n_heads = header[3];
  file.n_kv_heads = header[4];
  file.shared_classifier = header[5] > 0;
  file.vocab_size = file.shared_classifier ? header[5] : -int64_t{header[5]};
  file.seq_len = header[6];
  const bool positive = file.dim > 0 && file.hidden_dim > 0 && file.n_layers > 0 &&
                        file.n_layers <= kMaxLayers && file.n_heads > 0 && file.n_kv_heads > 0 &&
                        file.vocab_size > 0 && file.seq_len > 0;
  if (!positive || file.dim % (2 * file.n_heads) != 0 || file.n_heads % file.n_kv_heads != 0) {
    fail(ErrorCode::kCorruptFile, where,
         "expected a llama2.c header, found dim {}, hidden_dim {}, n_layers {}, n_heads {}, "
         "n_kv_heads {}, vocab_size {}, seq_len {}",
         header[0], header[1], header[2], header[3], header[4], header[5], header[6]);
  }
  return file;
}

/// Hands out consecutive float32 tensors, and checks at the end that they are the whole file.
class TensorCursor {
 public:
  TensorCursor(const MappedFile& file, const std::string& where, std::vector<StoredTensor>& tensors)
      : file_(file), where_(where), position_(kHeaderBytes), tensors_(tensors) {}

  void take(std::string name, Shape shape) {
    StoredTensor tensor;
    tensor.name = std::move(name);
    tensor.type = &stored_type_of(DType::kF32);
    tensor.file = where_;
    tensor.owner = file_.owner();
    tensor.bytes = skip(shape);
    tensor.shape = std::move(shape);
    tensors_.push_back(std::move(tensor));
  }

  /// One tensor of `shape` for each layer, named <prefix><layer><suffix>.
  void take_layers(std::string_view prefix, std::string_view suffix, int64_t layers,
                   const Shape& shape) {
    for (int64_t layer = 0; layer < layers; ++layer) {
      take(fmt::format("{}{}{}", prefix, layer, suffix), shape);
    }
  }

  std::span<const std::byte> skip(const Shape& shape) {
    const auto size =
        static_cast<uint64_t>(stored_bytes(stored_type_of(DType::kF32), shape, where_));
    const uint64_t end = checked_add<uint64_t>(position_, size, where_);
    if (end > file_.bytes().size()) {
      fail(ErrorCode::kCorruptFile, where_,
           "expected at least {} bytes for the sizes in its header, found {}", end,
           file_.bytes().size());
    }
    return file_.bytes().subspan(std::exchange(position_, end), size);
  }

  void finish() const {
    if (position_ != file_.bytes().size()) {
      fail(ErrorCode::kCorruptFile, where_,
           "expected {} bytes for the sizes in its header, found {}", position_,
           file_.bytes().size());
    }
  }

 private:
  const MappedFile& file_;
  const std::string& where_;
  uint64_t position_;
  std::vector<StoredTensor>& tensors_;
};

}  // namespace

Llama2cFile read_llama2c(const std::filesystem::path& path) {
  const MappedFile mapped = MappedFile::open(path);
  const std::string where = path.string();
  Llama2cFile file = parse_header(mapped.bytes(), where);
  const int64_t head_dim = file.dim / file.n_heads;
  const int64_t kv_dim = head_dim * file.n_kv_heads;
  const int64_t layers = file.n_layers;
  constexpr std::string_view kLayer = "model.layers.";
  TensorCursor cursor(mapped, where, file.tensors);
  cursor.take("model.embed_tokens.weight", {file.vocab_size, file.dim});
  cursor.take_layers(kLayer, ".input_layernorm.weight", layers, {file.dim});
  cursor.take_layers(kLayer, ".self_attn.q_proj.weight", layers, {file.dim, file.dim});
  cursor.take_layers(kLayer, ".self_attn.k_proj.weight", layers, {kv_dim, file.dim});
  cursor.take_layers(kLayer, ".self_attn.v_proj.weight", layers, {kv_dim, file.dim});
  cursor.take_layers(kLayer, ".self_attn.o_proj.weight", layers, {file.dim, file.dim});
  cursor.take_layers(kLayer, ".post_attention_layernorm.weight", layers, {file.dim});
  cursor.take_layers(kLayer, ".mlp.gate_proj.weight", layers, {file.hidden_dim, file.dim});
  cursor.take_layers(kLayer, ".mlp.down_proj.weight", layers, {file.dim, file.hidden_dim});
  cursor.take_layers(kLayer, ".mlp.up_proj.weight", layers, {file.hidden_dim, file.dim});
  cursor.take("model.norm.weight", {file.dim});
  cursor.skip({2, file.seq_len, head_dim / 2});  // cosines and sines of rope, computed anew
  if (!file.shared_classifier) cursor.take("lm_head.weight", {file.vocab_size, file.dim});
  cursor.finish();
  return file;
}

}  // namespace twofold
