// Shared by the pipeline's tests: temporary folders, models of the repository, weights as numbers.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/json.h"
#include "formats/format.h"
#include "model/model_files.h"
#include "pipeline/recipe.h"
#include "support/paths.h"

namespace twofold::testing {

/// A folder that is removed with everything in it.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "twofold-pipeline-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  /// Names of everything directly inside.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

 private:
  std::filesystem::path path_;
};

inline std::filesystem::path tiny_model(const std::string& name) {
  return test_data("tiny-models") / name;
}
inline std::filesystem::path shakespeare() { return source_dir() / "models" / "shakespeare-char"; }
inline std::filesystem::path stories() {
  return source_dir() / "models" / "stories260k" / "stories260K.bin";
}

inline void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// Changes one float32 number of the weight file in a folder; a negative index counts from behind.
inline void set_number(const std::filesystem::path& model, const std::string& tensor,
                       int64_t element, float value) {
  std::string bytes = read_file(model / "model.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  const Json offsets = Json::parse(bytes.substr(8, header))[tensor]["data_offsets"];
  const int64_t at = 4 * element + offsets[element < 0 ? 1 : 0].get<int64_t>();
  std::memcpy(bytes.data() + 8 + header + at, &value, 4);
  write_file(model / "model.safetensors", bytes);
}

/// The message of the Error that `body` throws; "" if it throws none.
template <class Body>
std::string error_of(const Body& body, ErrorCode expected) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(expected)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

inline PackedMatrix packed_of(const Slot& slot) {
  return {parse_format(slot.format), slot.shape[0], slot.shape[1],
          Tensor{{DType::kU8, slot.tensor->shape, slot.tensor->bytes}, slot.tensor->owner}};
}

/// Numbers of a slot in the orientation of slot.shape: [rows * cols], or [n] of a vector.
inline std::vector<float> numbers_of(const Slot& slot) {
  if (slot.shape.size() == 1) return read_vector(slot);
  std::vector<float> numbers(static_cast<size_t>(element_count(slot.shape, slot.name)));
  const auto rows = slot.format.empty() ? make_row_source(*slot.tensor, slot.view)
                                        : make_row_source(packed_of(slot));
  rows->decode_rows(0, slot.shape[0], numbers.data(), slot.shape[1]);
  return numbers;
}

inline Recipe recipe_of(const std::string& method, int bits, const std::string& tables = "rtn:8") {
  RecipeFlags flags;
  flags.block.method = method;
  flags.block.bits = bits;
  flags.head = flags.embeddings = tables;
  return recipe_from_flags(flags);
}

}  // namespace twofold::testing
