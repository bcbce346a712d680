// Reads llama2.c's tokenizer file: int32 longest token, then for each token float32 score, int32
// length and the bytes; little-endian. Encodes as run.c does (karpathy/llama2.c): a space before
// the text, unknown characters as bytes (token = byte + 3), merges by best score; id 1 is BOS, 2
// EOS. Differs from run.c for text that is not UTF-8: see tokenizer.h.
#include <bit>
#include <cstring>

#include "text/score_bpe.h"
#include "text/sentencepiece_parts.h"

namespace twofold {
namespace {

constexpr int32_t kUnkId = 0, kBosId = 1, kEosId = 2, kFirstByteId = 3;
constexpr int64_t kReservedIds = kFirstByteId + 256;

class Reader {
 public:
  Reader(std::string_view bytes, std::string_view where) : bytes_(bytes), where_(where) {}
  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }
  std::string_view take(size_t size, std::string_view what) {
    if (size > bytes_.size()) {
      fail(ErrorCode::kCorruptFile, where_, "{}: expected {} more bytes, found {}", what, size,
           bytes_.size());
    }
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  size_t left() const { return bytes_.size(); }

 private:
  std::string_view bytes_;
  std::string_view where_;
};

std::vector<ScoredPiece> read_pieces(std::string_view file, int64_t vocab_size,
                                     std::string_view where) {
  static_assert(std::endian::native == std::endian::little);
  Reader reader(file, where);
  const auto longest = reader.number<int32_t>("longest token");
  constexpr size_t kSmallestToken = 8;
  if (vocab_size < kReservedIds || static_cast<size_t>(vocab_size) > file.size() / kSmallestToken) {
    fail(ErrorCode::kCorruptFile, where, "expected {} tokens (259 or more), found {} bytes",
         vocab_size, file.size());
  }
  std::vector<ScoredPiece> pieces;
  pieces.reserve(static_cast<size_t>(vocab_size));
  for (int64_t id = 0; id < vocab_size; ++id) {
    const std::string what = fmt::format("token {}", id);
    const float score = reader.number<float>(what);
    const auto size = reader.number<int32_t>(what);
    if (size < 0 || size > longest) {
      fail(ErrorCode::kCorruptFile, where, "{}: length {}, expected 0 to {}", what, size, longest);
    }
    const std::string_view text = reader.take(static_cast<size_t>(size), what);
    pieces.push_back({std::string(text), score, id >= kReservedIds});
  }
  if (reader.left() != 0) {
    fail(ErrorCode::kCorruptFile, where, "{} bytes after the {} tokens of the model", reader.left(),
         vocab_size);
  }
  for (int64_t id = kFirstByteId; id < kReservedIds; ++id) {
    const std::string name = fmt::format("<0x{:02X}>", id - kFirstByteId);
    const std::string& text = pieces[static_cast<size_t>(id)].text;
    if (text != name) {
      fail(ErrorCode::kCorruptFile, where, "token {}: expected {}, found '{}'", id, name, text);
    }
  }
  return pieces;
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer_from_llama2c(std::string_view file, int64_t vocab_size,
                                                       std::string_view where) {
  const std::vector<ScoredPiece> pieces = read_pieces(file, vocab_size, where);
  TokenizerParts parts;
  for (const int32_t id : {kUnkId, kBosId, kEosId}) {
    const std::string& text = pieces[static_cast<size_t>(id)].text;
    if (text.empty()) fail(ErrorCode::kCorruptFile, where, "token {}: no text", id);
    parts.added.push_back({.id = id, .content = text, .special = true});
  }
  const std::string space = " ";
  parts.model = make_score_bpe(
      pieces, {.unk_token = pieces[kUnkId].text, .fuse_unk = true, .byte_fallback = true}, where);
  parts.normalizer = sentencepiece_normalizer(space, true);
  parts.decoder = sentencepiece_decoder_json(space, true, true);
  parts.own_decoder = make_sentencepiece_decoder(
      {.space = space, .byte_tokens = true, .restart = pieces[kBosId].text});
  parts.bos_id = kBosId;
  parts.eos_id = kEosId;
  parts.add_bos = true;
  return build_tokenizer(std::move(parts), where);
}

}  // namespace twofold
