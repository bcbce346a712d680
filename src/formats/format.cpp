#include "formats/format.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "base/error.h"
#include "base/float16.h"
#include "base/large_pages.h"
#include "formats/members.h"
#include "formats/r16_layout.h"

namespace twofold {
namespace {

/// A blob of our own: 64-byte aligned heap memory kept alive by the tensor.
struct Blob {
  Tensor tensor;
  std::span<std::byte> bytes;
};
Blob new_blob(int64_t size) {
  const auto owner = std::make_shared<AlignedBuffer<std::byte>>(static_cast<size_t>(size));
  prefer_large_pages(owner->span());
  return {{{DType::kU8, {size}, owner->span()}, owner}, owner->span()};
}

/// Of a block of rows; what belongs to the whole matrix follows the last one.
int64_t block_bytes(const PackedMatrix& packed) {
  return packed_bytes(packed.format, 2 * kBlockRows, packed.cols) -
         packed_bytes(packed.format, kBlockRows, packed.cols);
}

class PackedRows final : public RowSource {
 public:
  explicit PackedRows(PackedMatrix packed) : packed_(std::move(packed)) {}
  int64_t rows() const override { return packed_.rows; }
  int64_t cols() const override { return packed_.cols; }
  void decode_rows(int64_t begin, int64_t count, float* out, int64_t stride) const override {
    packed_.format.family->decode_rows(packed_, begin, count, out, stride);
  }

 private:
  PackedMatrix packed_;
};

}  // namespace

std::span<const FormatFamily> all_format_families() {
  static const std::array kFamilies = {dense_family(),     affine_family(), table_family(),
                                       row_table_family(), plane_family(),  trellis_family()};
  return kFamilies;
}

bool Format::is_dense() const { return family->dense; }

Format parse_format(std::string_view name) {
  for (const FormatFamily& family : all_format_families()) {
    Format format;
    if (family.parse(name, format)) {
      format.name = name;
      format.family = &family;
      return format;
    }
  }
  fail(ErrorCode::kInvalidArgument, "format",
       "expected f32, f16, bf16, or r16- with one of u, s, c, zf, t, rt, 2 to 8 bits, for t also w "
       "or f, or b with 1 to 4, and nothing, -gN or -m (not for rt, b), e.g. r16-u4-g128, or "
       "r16-tr with 1 to 4, or 1 to 3 and s; found '{}'",
       name);
}

Format format_for(const Scheme& scheme) {
  for (const FormatFamily& family : all_format_families()) {
    const std::string name = family.name_for(scheme);
    if (!name.empty()) return parse_format(name);
  }
  fail(ErrorCode::kInvalidArgument, "format",
       "no format holds {} codes of {} bits with this sharing",
       scheme.kind == ValueKind::kAffine  ? "affine"
       : scheme.kind == ValueKind::kTable ? "table"
                                          : "trellis",
       scheme.bits);
}

int64_t packed_bytes(const Format& format, int64_t rows, int64_t cols) {
  return format.family->packed_bytes(format, rows, cols);
}

std::span<const ByteKind> all_byte_kinds() {
  static constexpr std::array kKinds = {
      ByteKind{"numbers", &ByteKinds::numbers},       ByteKind{"codes", &ByteKinds::codes},
      ByteKind{"scales", &ByteKinds::scales},         ByteKind{"zeros", &ByteKinds::zeros},
      ByteKind{"offsets", &ByteKinds::offsets},       ByteKind{"tables", &ByteKinds::tables},
      ByteKind{"transforms", &ByteKinds::transforms}, ByteKind{"padding", &ByteKinds::padding}};
  return kKinds;
}

int64_t ByteKinds::sum() const {
  int64_t sum = 0;
  for (const ByteKind& kind : all_byte_kinds()) sum += this->*kind.bytes;
  return sum;
}

void ByteKinds::add(const ByteKinds& other) {
  for (const ByteKind& kind : all_byte_kinds()) this->*kind.bytes += other.*kind.bytes;
}

ByteKinds byte_kinds(const Format& format, int64_t rows, int64_t cols) {
  return format.family->byte_kinds(format, rows, cols);
}

PackedMatrix pack(const QuantizedMatrix& q, ThreadPool& pool) {
  validate(q, pool);
  PackedMatrix packed{format_for(q.scheme), q.rows, q.cols, {}};
  Blob blob = new_blob(packed_bytes(packed.format, q.rows, q.cols));
  packed.format.family->pack(packed.format, q, blob.bytes, pool);
  packed.bytes = std::move(blob.tensor);
  return packed;
}

PackedMatrix pack(const QuantizedMatrix& q) {
  ThreadPool alone(1, false);
  return pack(q, alone);
}

PackedMatrix new_packed(const Format& format, int64_t rows, int64_t cols) {
  return {format, rows, cols, new_blob(packed_bytes(format, rows, cols)).tensor};
}

void put_rows(const PackedMatrix& part, int64_t begin, PackedMatrix& whole) {
  const Format& format = whole.format;
  const bool last = begin + part.rows == whole.rows;
  TWOFOLD_ASSERT(part.format.name == format.name && part.cols == whole.cols &&
                 begin % kBlockRows == 0 && (last || part.rows % kBlockRows == 0));
  const std::span<const std::byte> from = part.bytes.view.bytes;
  // The blob is one of new_packed, whose owner may write to it.
  auto* to = const_cast<std::byte*>(whole.bytes.view.bytes.data());
  const int64_t block = block_bytes(whole);
  const auto blocks = static_cast<size_t>(ceil_div(part.rows, kBlockRows) * block);
  std::memcpy(to + begin / kBlockRows * block, from.data(), blocks);
  if (begin != 0) return;
  const auto tail = static_cast<size_t>(ceil_div(whole.rows, kBlockRows) * block);
  std::memcpy(to + tail, from.data() + blocks, from.size() - blocks);
}

PackedMatrix first_rows(const PackedMatrix& whole, int64_t rows) {
  TWOFOLD_ASSERT(rows == whole.rows || (rows < whole.rows && rows % kBlockRows == 0));
  PackedMatrix part{whole.format, rows, whole.cols, {}};
  Blob blob = new_blob(packed_bytes(whole.format, rows, whole.cols));
  const std::span<const std::byte> from = whole.bytes.view.bytes;
  const auto blocks = static_cast<size_t>(ceil_div(rows, kBlockRows) * block_bytes(whole));
  const size_t tail = blob.bytes.size() - blocks;
  std::ranges::copy(from.first(blocks), blob.bytes.begin());
  std::ranges::copy(from.last(tail), blob.bytes.last(tail).begin());
  part.bytes = std::move(blob.tensor);
  return part;
}

PackedMatrix pack_dense(const Format& format, Matrix<const float> weight) {
  if (!format.is_dense()) {
    fail(ErrorCode::kInvalidArgument, format.name, "is no dense format");
  }
  PackedMatrix packed{format, weight.rows, weight.cols, {}};
  Blob blob = new_blob(packed_bytes(format, weight.rows, weight.cols));
  std::byte* to = blob.bytes.data();
  for (int64_t r = 0; r < weight.rows; ++r) {
    for (float value : weight.row(r)) {
      if (format.dtype == DType::kF32) {
        std::memcpy(to, &value, sizeof(value));
        to += sizeof(value);
        continue;
      }
      const uint16_t bits =
          format.dtype == DType::kF16 ? to_float16(value).bits : to_bfloat16(value).bits;
      std::memcpy(to, &bits, sizeof(bits));
      to += sizeof(bits);
    }
  }
  packed.bytes = std::move(blob.tensor);
  return packed;
}

QuantizedMatrix unpack(const PackedMatrix& packed) {
  packed.format.family->check(packed, packed.format.name);
  return packed.format.family->unpack(packed);
}

PackedMatrix open_packed(const Format& format, int64_t rows, int64_t cols, Tensor bytes,
                         std::string_view where) {
  PackedMatrix packed{format, rows, cols, std::move(bytes)};
  format.family->check(packed, where);
  return packed;
}

std::unique_ptr<RowSource> make_row_source(const PackedMatrix& packed) {
  return std::make_unique<PackedRows>(packed);
}

double bits_per_weight(const PackedMatrix& packed) {
  return 8.0 * static_cast<double>(packed.bytes.view.bytes.size()) /
         (static_cast<double>(packed.rows) * static_cast<double>(packed.cols));
}

}  // namespace twofold
