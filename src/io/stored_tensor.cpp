#include "io/stored_tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/checked_math.h"
#include "base/cpu.h"
#include "base/error.h"
#include "io/ggml_blocks.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

void decode_f32(const std::byte* data, int64_t count, float* out) {
  std::memcpy(out, data, static_cast<size_t>(count) * sizeof(float));
}

/// Conversions of the chosen instruction set; all sets give the same numbers.
const Ops& conversions() {
  static const Ops& table = ops(select_isa());
  return table;
}

/// Widens 16-bit numbers that may lie on odd addresses, a piece at a time.
void widen(void (*convert)(const uint16_t*, float*, int64_t), const std::byte* data, int64_t count,
           float* out) {
  if (reinterpret_cast<uintptr_t>(data) % alignof(uint16_t) == 0) {
    convert(reinterpret_cast<const uint16_t*>(data), out, count);
    return;
  }
  std::array<uint16_t, 512> piece;
  for (int64_t done = 0; done < count; done += std::ssize(piece)) {
    const int64_t length = std::min(std::ssize(piece), count - done);
    std::memcpy(piece.data(), data + done * 2, static_cast<size_t>(length) * 2);
    convert(piece.data(), out + done, length);
  }
}

void decode_f16(const std::byte* data, int64_t count, float* out) {
  widen(conversions().f16_to_f32, data, count, out);
}

void decode_bf16(const std::byte* data, int64_t count, float* out) {
  widen(conversions().bf16_to_f32, data, count, out);
}

// Numbers and sizes as in ggml.h and ggml-common.h; types without a decoder are refused when used.
constexpr std::array kStoredTypes = {
    StoredType{"F32", 0, DType::kF32, 1, 4, decode_f32},
    StoredType{"F16", 1, DType::kF16, 1, 2, decode_f16},
    StoredType{"BF16", 30, DType::kBF16, 1, 2, decode_bf16},
    StoredType{"Q8_0", 8, std::nullopt, 32, 34, ggml::decode_q8_0},
    StoredType{"Q4_0", 2, std::nullopt, 32, 18, ggml::decode_q4_0},
    StoredType{"Q4_1", 3, std::nullopt, 32, 20, ggml::decode_q4_1},
    StoredType{"Q5_0", 6, std::nullopt, 32, 22, ggml::decode_q5_0},
    StoredType{"Q5_1", 7, std::nullopt, 32, 24, ggml::decode_q5_1},
    StoredType{"Q2_K", 10, std::nullopt, 256, 84, ggml::decode_q2_k},
    StoredType{"Q3_K", 11, std::nullopt, 256, 110, ggml::decode_q3_k},
    StoredType{"Q4_K", 12, std::nullopt, 256, 144, ggml::decode_q4_k},
    StoredType{"Q5_K", 13, std::nullopt, 256, 176, ggml::decode_q5_k},
    StoredType{"Q6_K", 14, std::nullopt, 256, 210, ggml::decode_q6_k},
    StoredType{"F64", 28, DType::kF64, 1, 8, nullptr},
    StoredType{"I64", 27, DType::kI64, 1, 8, nullptr},
    StoredType{"I32", 26, DType::kI32, 1, 4, nullptr},
    StoredType{"I16", 25, DType::kI16, 1, 2, nullptr},
    StoredType{"I8", 24, DType::kI8, 1, 1, nullptr},
    StoredType{"U8", -1, DType::kU8, 1, 1, nullptr},
    StoredType{"BOOL", -1, DType::kBool, 1, 1, nullptr},
    StoredType{"Q8_1", 9, std::nullopt, 32, 40, nullptr},
    StoredType{"Q8_K", 15, std::nullopt, 256, 292, nullptr},
    StoredType{"IQ2_XXS", 16, std::nullopt, 256, 66, nullptr},
    StoredType{"IQ2_XS", 17, std::nullopt, 256, 74, nullptr},
    StoredType{"IQ3_XXS", 18, std::nullopt, 256, 98, nullptr},
    StoredType{"IQ1_S", 19, std::nullopt, 256, 50, nullptr},
    StoredType{"IQ4_NL", 20, std::nullopt, 32, 18, nullptr},
    StoredType{"IQ3_S", 21, std::nullopt, 256, 110, nullptr},
    StoredType{"IQ2_S", 22, std::nullopt, 256, 82, nullptr},
    StoredType{"IQ4_XS", 23, std::nullopt, 256, 136, nullptr},
    StoredType{"IQ1_M", 29, std::nullopt, 256, 56, nullptr},
    StoredType{"Q4_0_4_4", 31, std::nullopt, 32, 18, nullptr},
    StoredType{"Q4_0_4_8", 32, std::nullopt, 32, 18, nullptr},
    StoredType{"Q4_0_8_8", 33, std::nullopt, 32, 18, nullptr},
    StoredType{"TQ1_0", 34, std::nullopt, 256, 54, nullptr},
    StoredType{"TQ2_0", 35, std::nullopt, 256, 66, nullptr},
    StoredType{"IQ4_NL_4_4", 36, std::nullopt, 32, 18, nullptr},
    StoredType{"IQ4_NL_4_8", 37, std::nullopt, 32, 18, nullptr},
    StoredType{"IQ4_NL_8_8", 38, std::nullopt, 32, 18, nullptr},
    StoredType{"MXFP4", 39, std::nullopt, 32, 17, nullptr},
    StoredType{"NVFP4", 40, std::nullopt, 64, 36, nullptr},
    StoredType{"Q1_0", 41, std::nullopt, 128, 18, nullptr},
};

std::string decodable_names() {
  std::vector<std::string_view> names;
  for (const StoredType& type : kStoredTypes) {
    if (type.decode != nullptr) names.push_back(type.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

std::span<const StoredType> all_stored_types() { return kStoredTypes; }

const StoredType* find_ggml_type(int32_t ggml_id) {
  for (const StoredType& type : kStoredTypes) {
    if (type.ggml_id == ggml_id && ggml_id >= 0) return &type;
  }
  return nullptr;
}

const StoredType& stored_type_of(DType dtype) {
  for (const StoredType& type : kStoredTypes) {
    if (type.dtype == dtype) return type;
  }
  fail(ErrorCode::kUnsupported, "stored type", "none for {}", dtype_info(dtype).name);
}

int64_t StoredTensor::elements() const { return element_count(shape, where()); }

std::string StoredTensor::where() const { return fmt::format("{}: tensor {}", file, name); }

void StoredTensor::require_decodable() const {
  if (type->decode == nullptr) {
    fail(ErrorCode::kUnsupported, where(), "expected one of the types {}, found {}",
         decodable_names(), type->name);
  }
}

void StoredTensor::decode(int64_t begin, int64_t count, float* out) const {
  require_decodable();
  TWOFOLD_ASSERT(begin >= 0 && count >= 0 && begin % type->block_elements == 0 &&
                 count % type->block_elements == 0);
  const int64_t first = begin / type->block_elements;
  const int64_t blocks = count / type->block_elements;
  TWOFOLD_ASSERT((first + blocks) * type->block_bytes <= static_cast<int64_t>(bytes.size()));
  if (count == 0) return;  // no pointer needs to be valid
  type->decode(bytes.data() + first * type->block_bytes, blocks, out);
}

int64_t stored_bytes(const StoredType& type, const Shape& shape, std::string_view where) {
  const int64_t count = element_count(shape, where);
  const int64_t row = shape.empty() ? 1 : shape.back();
  if (row % type.block_elements != 0) {
    fail(ErrorCode::kCorruptFile, where, "rows of {} expected in blocks of {}, found shape {}",
         type.name, type.block_elements, shape_text(shape));
  }
  return checked_mul(count / type.block_elements, type.block_bytes, where);
}

}  // namespace twofold
