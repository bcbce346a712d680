// f32, f16, bf16: plain numbers, row-major.
#include <array>
#include <cmath>
#include <cstring>

#include "base/checked_math.h"
#include "base/float16.h"
#include "formats/members.h"

namespace twofold {
namespace {

struct Kind {
  std::string_view name;
  DType dtype;
};
constexpr std::array kKinds = {Kind{"f32", DType::kF32}, Kind{"f16", DType::kF16},
                               Kind{"bf16", DType::kBF16}};

bool parse(std::string_view name, Format& format) {
  for (const Kind& kind : kKinds) {
    if (kind.name != name) continue;
    format.dtype = kind.dtype;
    return true;
  }
  return false;
}

std::string name_for(const Scheme& /*scheme*/) { return {}; }

int64_t element_bytes(const Format& format) {
  return static_cast<int64_t>(dtype_info(format.dtype).bytes);
}

int64_t dense_bytes(const Format& format, int64_t rows, int64_t cols) {
  if (rows < 1 || cols < 1) {
    fail(ErrorCode::kCorruptFile, format.name, "expected a matrix, found shape [{}, {}]", rows,
         cols);
  }
  return checked_mul(checked_mul(rows, cols, format.name), element_bytes(format), format.name);
}

ByteKinds dense_kinds(const Format& format, int64_t rows, int64_t cols) {
  return {.numbers = dense_bytes(format, rows, cols)};
}

[[noreturn]] void no_codes(const Format& format) {
  fail(ErrorCode::kInvalidArgument, format.name, "a dense format holds no codes");
}
void refuse_pack(const Format& format, const QuantizedMatrix& /*q*/, std::span<std::byte> /*out*/,
                 ThreadPool& /*pool*/) {
  no_codes(format);
}
QuantizedMatrix refuse_unpack(const PackedMatrix& packed) { no_codes(packed.format); }

template <class Bits>
void widen(const std::byte* from, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    Bits bits;
    std::memcpy(&bits, from + static_cast<int64_t>(sizeof(Bits)) * i, sizeof(Bits));
    out[i] = to_float(bits);
  }
}

void decode_row(const PackedMatrix& packed, int64_t row, float* out) {
  const std::byte* from =
      packed.bytes.view.bytes.data() + row * packed.cols * element_bytes(packed.format);
  if (packed.format.dtype == DType::kF16) return widen<Float16>(from, packed.cols, out);
  if (packed.format.dtype == DType::kBF16) return widen<BFloat16>(from, packed.cols, out);
  std::memcpy(out, from, static_cast<size_t>(packed.cols) * sizeof(float));
}

void decode_rows(const PackedMatrix& packed, int64_t begin, int64_t count, float* out,
                 int64_t stride) {
  for (int64_t r = 0; r < count; ++r) decode_row(packed, begin + r, out + r * stride);
}

void check(const PackedMatrix& packed, std::string_view where) {
  const int64_t expected = dense_bytes(packed.format, packed.rows, packed.cols);
  const int64_t found = static_cast<int64_t>(packed.bytes.view.bytes.size());
  if (found != expected) {
    fail(ErrorCode::kCorruptFile, where, "{} [{}, {}] has {} bytes, found {}", packed.format.name,
         packed.rows, packed.cols, expected, found);
  }
}

std::vector<std::string> example_names() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

}  // namespace

const FormatFamily& dense_family() {
  static const FormatFamily kFamily = {.name = "dense",
                                       .help = "plain numbers: f32, f16, bf16",
                                       .dense = true,
                                       .parse = parse,
                                       .name_for = name_for,
                                       .packed_bytes = dense_bytes,
                                       .byte_kinds = dense_kinds,
                                       .pack = refuse_pack,
                                       .unpack = refuse_unpack,
                                       .decode_row = decode_row,
                                       .decode_rows = decode_rows,
                                       .check = check,
                                       .example_names = example_names};
  return kFamily;
}

}  // namespace twofold
