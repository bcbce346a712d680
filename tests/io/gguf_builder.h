// Builds GGUF files byte by byte, also ones that no writer would write.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace twofold::testing {

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

inline std::string gguf_string(std::string_view text) {
  return raw<uint64_t>(text.size()) + std::string(text);
}

struct GgufKey {
  std::string name;   // encoded, with its length
  uint32_t type = 0;  // number of the value type
  std::string value;  // encoded
};

/// A key with a value of the C++ type that the GGUF type has.
template <class T>
GgufKey gguf_key(std::string_view name, uint32_t type, T value) {
  return {gguf_string(name), type, raw(value)};
}
inline GgufKey gguf_text(std::string_view name, std::string_view value) {
  return {gguf_string(name), 8, gguf_string(value)};
}
/// An array; `elements` are encoded.
inline GgufKey gguf_array(std::string_view name, uint32_t type, uint64_t count,
                          const std::string& elements) {
  return {gguf_string(name), 9, raw(type) + raw(count) + elements};
}

struct GgufTensor {
  std::string name;             // encoded, with its length
  std::vector<uint64_t> sides;  // fastest first
  uint32_t type = 0;
  uint64_t offset = 0;
  std::optional<uint32_t> side_count = {};  // instead of sides.size()
};

struct GgufBuilder {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<uint64_t> tensor_count = {};  // instead of tensors.size()
  std::optional<uint64_t> key_count = {};
  std::vector<GgufKey> keys;
  std::vector<GgufTensor> tensors;
  uint64_t alignment = 32;
  std::string data;

  std::string bytes() const {
    std::string out = magic + raw(version) + raw(tensor_count.value_or(tensors.size())) +
                      raw(key_count.value_or(keys.size()));
    for (const GgufKey& key : keys) out += key.name + raw(key.type) + key.value;
    for (const GgufTensor& tensor : tensors) {
      out +=
          tensor.name + raw(tensor.side_count.value_or(static_cast<uint32_t>(tensor.sides.size())));
      for (const uint64_t side : tensor.sides) out += raw(side);
      out += raw(tensor.type) + raw(tensor.offset);
    }
    out.resize((out.size() + alignment - 1) / alignment * alignment, '\0');
    return out + data;
  }
};

/// The pieces of a valid file of version 3, to be changed one by one.
inline GgufBuilder parse_gguf(std::string_view bytes) {
  size_t at = 8;
  const auto take = [&](size_t count) {
    at += count;
    return std::string(bytes.substr(at - count, count));
  };
  const auto number = [&]<class T>(T value) {
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    at += sizeof(T);
    return value;
  };
  const auto text = [&] {
    const auto size = number(uint64_t{});
    at -= 8;
    return take(8 + size);
  };
  constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  const auto tensors = number(uint64_t{}), keys = number(uint64_t{});
  GgufBuilder file;
  for (uint64_t i = 0; i < keys; ++i) {
    GgufKey& key = file.keys.emplace_back();
    key.name = text();
    key.type = number(uint32_t{});
    const size_t begin = at;
    if (key.type == 9) {
      const auto type = number(uint32_t{});
      const auto count = number(uint64_t{});
      for (uint64_t e = 0; e < count; ++e) type == 8 ? text() : take(kSizes[type]);
    } else {
      key.type == 8 ? text() : take(kSizes[key.type]);
    }
    key.value = bytes.substr(begin, at - begin);
  }
  for (uint64_t i = 0; i < tensors; ++i) {
    GgufTensor& tensor = file.tensors.emplace_back();
    tensor.name = text();
    tensor.sides.resize(number(uint32_t{}));
    for (uint64_t& side : tensor.sides) side = number(uint64_t{});
    tensor.type = number(uint32_t{});
    tensor.offset = number(uint64_t{});
  }
  file.data = bytes.substr((at + file.alignment - 1) / file.alignment * file.alignment);
  return file;
}

/// A small valid file: two tensors (F32 [2, 4] and Q4_0 [3, 32]) and some keys.
inline GgufBuilder small_gguf() {
  GgufBuilder file;
  file.keys = {gguf_text("general.architecture", "llama"),
               gguf_key<uint32_t>("llama.block_count", 4, 2),
               gguf_array("tokenizer.ggml.tokens", 8, 3,
                          gguf_string("a") + gguf_string("") + gguf_string("\xc3\xa9")),
               gguf_array("tokenizer.ggml.scores", 6, 2, raw(1.5f) + raw(-2.0f)),
               gguf_key<uint8_t>("tokenizer.ggml.add_bos_token", 7, 1)};
  file.tensors = {{gguf_string("f32"), {4, 2}, 0, 0}, {gguf_string("q4"), {32, 3}, 2, 32}};
  for (int i = 0; i < 8; ++i) file.data += raw(static_cast<float>(i));
  for (int i = 0; i < 3 * 18; ++i) file.data += static_cast<char>(i % 2 == 0 ? 0x35 : 0x2c);
  return file;
}

}  // namespace twofold::testing
