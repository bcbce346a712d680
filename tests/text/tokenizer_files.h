// Tokenizers of the test data, made once for each test program.
#pragma once

#include <cstring>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

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
