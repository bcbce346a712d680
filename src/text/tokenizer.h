// Tokenizer: text to ids and back. Input text is bytes; invalid UTF-8 is never refused: byte-level
// vocabularies encode its bytes, for all others each invalid sequence reads as U+FFFD. Decoded text
// is always valid UTF-8. Thread-safe after construction.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace twofold {

struct EncodeOptions {
  bool add_special = false;   // what the tokenizer's post-processor adds (BOS, EOS)
  bool parse_special = true;  // special tokens that occur in the text become their own ids
};

/// Text of a growing sequence of ids, given out as soon as no further id can change it, in whole
/// characters.
class DecodeStream {
 public:
  virtual ~DecodeStream() = default;
  virtual std::string push(int32_t id) = 0;
  /// The rest. The next push starts a new sequence.
  virtual std::string flush() = 0;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::vector<int32_t> encode(std::string_view text, EncodeOptions options = {}) const = 0;
  /// Text of a sequence, as the reference decoder gives it. Special tokens are left out if asked.
  /// Ids outside the vocabulary give nothing.
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special = false) const = 0;
  /// The same, id by id; the tokenizer must outlive the stream.
  virtual std::unique_ptr<DecodeStream> decode_stream(bool skip_special = false) const = 0;
  /// Highest id + 1.
  virtual int64_t vocab_size() const = 0;
  /// The token as in the vocabulary file; empty if there is none.
  virtual std::string token_text(int32_t id) const = 0;
  /// -1 if the text is no token.
  virtual int32_t token_id(std::string_view token) const = 0;
  virtual bool is_special(int32_t id) const = 0;
  /// True for tokens that are found in the text before the model sees it: special ones, and others
  /// that were added to the vocabulary.
  virtual bool is_added(int32_t id) const = 0;
  /// A tokenizer.json with the same ids, that Python's `tokenizers` opens.
  /// @throws Error(kUnsupported) if there is no such form.
  virtual std::string to_json() const = 0;

  /// -1 if there is none. A model's configuration may override these.
  int32_t bos_id() const { return bos_id_; }
  int32_t eos_id() const { return eos_id_; }
  /// True if `add_special` puts BOS first.
  bool adds_bos() const { return adds_bos_; }

 protected:
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
  bool adds_bos_ = false;
};

/// Decodes a growing sequence: `push` returns the text that became certain (complete UTF-8
/// characters), `flush` the rest. The pieces joined equal Tokenizer::decode of the whole.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true)
      : stream_(tokenizer.decode_stream(skip_special)) {}
  std::string push(int32_t id) { return stream_->push(id); }
  std::string flush() { return stream_->flush(); }

 private:
  std::unique_ptr<DecodeStream> stream_;
};

/// Hugging Face `tokenizer.json` (text of the file), with `tokenizer_config.json` (may be empty)
/// for BOS, EOS and add_bos_token. @throws Error(kCorruptFile | kUnsupported) naming `where` and
/// the field.
std::unique_ptr<Tokenizer> make_tokenizer_from_json(std::string_view tokenizer_json,
                                                    std::string_view tokenizer_config,
                                                    std::string_view where);

/// GPT-2's pair of files, vocab.json and merges.txt, with the GPT-2 pre-tokenizer (also OPT's).
/// `tokenizer_config` as above, may be empty.
std::unique_ptr<Tokenizer> make_tokenizer_from_vocab_merges(std::string_view vocab_json,
                                                            std::string_view merges,
                                                            std::string_view tokenizer_config,
                                                            std::string_view where);

/// SentencePiece `.model` (protobuf bytes), BPE models; other kinds are refused by name.
std::unique_ptr<Tokenizer> make_tokenizer_from_sentencepiece(std::string_view model,
                                                             std::string_view where);

/// llama2.c's tokenizer file (tok512.bin), with the size of the model's vocabulary.
std::unique_ptr<Tokenizer> make_tokenizer_from_llama2c(std::string_view file, int64_t vocab_size,
                                                       std::string_view where);

/// The vocabulary inside a GGUF file: values of the tokenizer.ggml.* keys.
struct GgufVocabulary {
  std::string model = {};  // "gpt2", "llama"
  std::string pre = {};    // named pre-tokenizer; may be empty
  std::string name = {};   // general.name; some kinds of model are told by it
  std::vector<std::string> tokens = {};
  std::vector<double> scores = {};  // llama
  std::vector<int64_t> token_types =
      {};                                // 1 normal, 2 unknown, 3 control, 4 user, 5 unused, 6 byte
  std::vector<std::string> merges = {};  // gpt2
  int32_t bos_id = -1, eos_id = -1, unk_id = -1;
  std::optional<bool> add_bos = {}, add_eos = {};  // absent: as llama.cpp has it for this kind
  bool add_space_prefix = true;                    // llama
};
std::unique_ptr<Tokenizer> make_tokenizer_from_gguf(const GgufVocabulary& vocabulary,
                                                    std::string_view where);

/// Tokenizer::to_json, for import.
inline std::string tokenizer_to_json(const Tokenizer& tokenizer) { return tokenizer.to_json(); }

}  // namespace twofold
