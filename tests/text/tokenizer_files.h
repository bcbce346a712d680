// Tokenizers of the test data, made once for each test program.
#pragma once

#include <cstring>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "io/gguf.h"
#include "support/paths.h"
#include "text/tokenizer.h"

namespace twofold::testing {

inline const Tokenizer& gpt2() {
  static const std::unique_ptr<Tokenizer> tokenizer = [] {
    const auto path = test_data("tokenizers/gpt2/tokenizer.json");
    return make_tokenizer_from_json(read_file(path), "", path.string());
  }();
  return *tokenizer;
}

inline std::unique_ptr<Tokenizer> stories() {
  return make_tokenizer_from_llama2c(read_file(source_dir() / "models/stories260k/tok512.bin"), 512,
                                     "tok512.bin");
}

inline std::unique_ptr<Tokenizer> babyllama() {
  return make_tokenizer_from_sentencepiece(
      read_file(source_dir() / "models/babyllama-tok105/tok105.model"), "tok105.model");
}

/// The tokenizer.ggml.* keys as they stand.
inline GgufVocabulary gguf_vocabulary(const std::filesystem::path& path) {
  const GgufFile file = read_gguf(path);
  GgufVocabulary v;
  v.model = file.get_string("tokenizer.ggml.model");
  v.pre = file.get_string("tokenizer.ggml.pre", "");
  if (const auto* tokens = file.get_strings("tokenizer.ggml.tokens")) v.tokens = *tokens;
  if (const auto* merges = file.get_strings("tokenizer.ggml.merges")) v.merges = *merges;
  v.scores = file.get_floats("tokenizer.ggml.scores");
  v.token_types = file.get_ints("tokenizer.ggml.token_type");
  v.bos_id = static_cast<int32_t>(file.get_int("tokenizer.ggml.bos_token_id", -1));
  v.eos_id = static_cast<int32_t>(file.get_int("tokenizer.ggml.eos_token_id", -1));
  return v;
}

inline std::vector<int32_t> read_numbers(const std::string& text) {
  std::vector<int32_t> numbers;
  std::istringstream stream(text);
  for (int32_t number; stream >> number;) numbers.push_back(number);
  return numbers;
}

inline std::vector<int32_t> read_uint16(const std::filesystem::path& path) {
  const std::string bytes = read_file(path);
  std::vector<int32_t> ids(bytes.size() / 2);
  for (size_t i = 0; i < ids.size(); ++i) {
    uint16_t id;
    std::memcpy(&id, bytes.data() + 2 * i, 2);
    ids[i] = id;
  }
  return ids;
}

}  // namespace twofold::testing
