// r16-tr2: tail-biting trellis over tiles of 16 x 16, windows of 12 bits; r16-tr2s: of 6
// (quant/trellis_code.h). Two tiles side by side are a step of 32 columns; the stream of 8 columns
// of a row is `bits` bytes, byte j of which lies on line j of the step, in the byte of the row's
// lane that these columns own. So a byte of a line and the next ones of the stream, each times a
// matrix over GF(2), give 64 indices at once.
#include <cmath>

#include "base/checked_math.h"
#include "formats/members.h"
#include "formats/r16.h"
#include "formats/r16_bytes.h"

namespace twofold {
namespace {

constexpr int64_t kRuns = kTrellisStep / kTrellisRun;      // bytes of a lane
constexpr int64_t kTileRuns = kTrellisTile / kTrellisRun;  // of a row of a tile

/// CRC-32 (reflected polynomial 0xedb88320), which notices any damage of up to 32 bits in a row.
uint32_t crc32(std::span<const std::byte> bytes) {
  uint32_t crc = ~0u;
  for (const std::byte byte : bytes) {
    crc ^= static_cast<uint32_t>(byte);
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ (0xedb88320u & (0 - (crc & 1u)));
  }
  return ~crc;
}

/// Where byte j of the stream of run `run` (0 to 3) of a row lies in the lines of a step.
int64_t byte_at(int64_t row, int64_t run, int64_t j) { return j * kLineBytes + row * 4 + run; }

/// The bits of the stream from a run on, those of the run itself and 16 more: the next run is that
/// of the same row in the same tile, or the first of the next row, circularly.
/// @param lines of the step.
uint64_t run_bits(const std::byte* lines, int bits, int64_t row, int64_t run) {
  uint64_t value = 0;
  int shift = 0;
  const int needed = 8 * bits + 16;
  while (shift < needed) {
    for (int64_t j = 0; j < bits && shift < needed; ++j, shift += 8) {
      value |= uint64_t{load<uint8_t>(lines + byte_at(row, run, j))} << shift;
    }
    if (++run % kTileRuns == 0) {
      run -= kTileRuns;
      row = (row + 1) % kBlockRows;
    }
  }
  return value;
}

void pack_trellis(const Format& format, const QuantizedMatrix& q, std::span<std::byte> out,
                  ThreadPool& pool) {
  const R16Layout layout = r16_layout(q.scheme, q.rows, q.cols, format.name);
  TWOFOLD_ASSERT(static_cast<int64_t>(out.size()) == layout.total_bytes);
  const int bits = q.scheme.bits;
  const uint32_t mask = (1u << bits) - 1;
  pool.run(layout.blocks, [&](int64_t b, int /*worker*/) {
    std::byte* block = out.data() + b * layout.block_bytes;
    std::memset(block, 0, static_cast<size_t>(layout.block_bytes));
    const int64_t end = std::min(q.rows, (b + 1) * kBlockRows);
    for (int64_t row = b * kBlockRows; row < end; ++row) {
      const int64_t r = row % kBlockRows;
      const uint16_t* codes = q.codes.data() + row * q.cols;
      for (int64_t c = 0; c < q.cols; c += kTrellisRun) {
        const int64_t n = std::min(kTrellisRun, q.cols - c);
        uint32_t stream = 0;
        for (int64_t i = 0; i < n; ++i) stream |= (codes[c + i] & mask) << (bits * i);
        std::byte* lines = block + c / kTrellisStep * bits * kLineBytes;
        for (int64_t j = 0; j < bits; ++j, stream >>= 8) {
          lines[byte_at(r, c / kTrellisRun % kRuns, j)] = static_cast<std::byte>(stream & 255);
        }
      }
      store(block + layout.scales_at + 2 * r, to_float16(q.scale[static_cast<size_t>(row)]).bits);
    }
  });
  const std::span<std::byte> tail = out.subspan(static_cast<size_t>(layout.tail_at));
  std::ranges::fill(tail, std::byte{0});
  store(tail.data() + 8, static_cast<int32_t>(q.scheme.level_exponent));
  for (size_t i = 0; i < q.levels.size(); ++i) {
    tail[static_cast<size_t>(kTailHeaderBytes) + i] =
        static_cast<std::byte>(static_cast<int>(q.levels[i]));
  }
  std::memcpy(tail.data() + kTrellisMixingAt, q.mixing.data(), q.mixing.size());
  store(tail.data() + kTrellisWindowAt, static_cast<uint8_t>(q.scheme.window));
  store(tail.data() + kTrellisSumAt, crc32(tail.first(kTrellisSumAt)));
}

/// The parts of a blob that decoding reads.
class Trellis {
 public:
  explicit Trellis(const PackedMatrix& packed)
      : bits_(packed.format.scheme.bits),
        window_mask_((1u << packed.format.scheme.window) - 1),
        layout_(r16_layout(packed.format.scheme, packed.rows, packed.cols, packed.format.name)),
        blob_(packed.bytes.view.bytes.data()),
        tail_(blob_ + layout_.tail_at),
        exponent_(load_tail(layout_, blob_).level_exponent),
        mixing_(load<TrellisMixing>(tail_ + kTrellisMixingAt)),
        reader_(trellis_reader(bits_, packed.format.scheme.window, mixing_)) {
    const float power = std::ldexp(1.0f, exponent_);
    for (int i = 0; i < kTrellisLevels; ++i) values_[i] = level(i) * power;
  }

  int level_exponent() const { return exponent_; }
  const TrellisMixing& mixing() const { return mixing_; }
  float level(int index) const { return load<int8_t>(tail_ + kTailHeaderBytes + index); }

  float scale(int64_t row) const {
    return load_f16(blob_ + row / kBlockRows * layout_.block_bytes, layout_.scales_at, 0,
                    row % kBlockRows);
  }

  uint32_t window(int64_t row, int64_t col) const {
    const uint64_t run = run_bits(lines(row / kBlockRows, col / kTrellisStep), bits_,
                                  row % kBlockRows, col / kTrellisRun % kRuns);
    return static_cast<uint32_t>(run >> (bits_ * (col % kTrellisRun))) & window_mask_;
  }

  /// `value` of a whole row, out [cols].
  void decode_row(int64_t row, float* out) const {
    constexpr int64_t kSegment = 256;
    float products[kTrellisLevels];
    const float s = scale(row);
    for (int i = 0; i < kTrellisLevels; ++i) products[i] = s * values_[i];
    const std::byte* block = blob_ + row / kBlockRows * layout_.block_bytes;
    for (int64_t c = 0; c < layout_.cols; c += kSegment) {
      const int64_t n = std::min(kSegment, layout_.cols - c);
      uint8_t index[kSegment];
      r16_expand_indices(reader_, block, row % kBlockRows, c, n, index);
      for (int64_t i = 0; i < n; ++i) out[c + i] = products[index[i]];
    }
  }

  float value(int64_t row, int64_t col) const {
    return scale(row) * values_[trellis_index(mixing_, window(row, col))];
  }

 private:
  const std::byte* lines(int64_t block, int64_t step) const {
    return blob_ + block * layout_.block_bytes + step * bits_ * kLineBytes;
  }

  int bits_;
  uint32_t window_mask_;
  R16Layout layout_;
  const std::byte *blob_, *tail_;
  int exponent_;
  TrellisMixing mixing_;
  TrellisReader reader_;
  float values_[kTrellisLevels];  // level 2^exponent
};

QuantizedMatrix unpack_trellis(const PackedMatrix& packed) {
  const Trellis trellis(packed);
  QuantizedMatrix q;
  q.scheme = packed.format.scheme;
  q.scheme.level_exponent = trellis.level_exponent();
  q.rows = packed.rows;
  q.cols = packed.cols;
  q.mixing = trellis.mixing();
  for (int i = 0; i < kTrellisLevels; ++i) q.levels.push_back(trellis.level(i));
  q.codes.reserve(static_cast<size_t>(q.rows * q.cols));
  for (int64_t row = 0; row < q.rows; ++row) {
    q.scale.push_back(trellis.scale(row));
    for (int64_t c = 0; c < q.cols; ++c) {
      q.codes.push_back(static_cast<uint16_t>(trellis.window(row, c)));
    }
  }
  return q;
}

void decode_row(const PackedMatrix& packed, int64_t row, float* out) {
  const Trellis trellis(packed);
  for (int64_t c = 0; c < packed.cols; ++c) out[c] = trellis.value(row, c);
}

void decode_rows(const PackedMatrix& packed, int64_t begin, int64_t count, float* out,
                 int64_t stride) {
  const Trellis trellis(packed);
  for (int64_t i = 0; i < count; ++i) trellis.decode_row(begin + i, out + i * stride);
}

void check(const PackedMatrix& packed, std::string_view where) {
  r16_check(packed, where);
  const R16Layout layout =
      r16_layout(packed.format.scheme, packed.rows, packed.cols, packed.format.name);
  const std::span<const std::byte> tail =
      packed.bytes.view.bytes.subspan(static_cast<size_t>(layout.tail_at));
  const int window = load<uint8_t>(tail.data() + kTrellisWindowAt);
  if (window != packed.format.scheme.window) {
    fail(ErrorCode::kCorruptFile, where, "{} has windows of {} bits, found {}", packed.format.name,
         packed.format.scheme.window, window);
  }
  const auto mixing = load<TrellisMixing>(tail.data() + kTrellisMixingAt);
  if (!is_invertible(mixing)) {
    fail(ErrorCode::kCorruptFile, where,
         "the mixing of the trellis is no invertible matrix [6, 6]");
  }
  const uint32_t expected = crc32(tail.first(kTrellisSumAt));
  const auto found = load<uint32_t>(tail.data() + kTrellisSumAt);
  if (found != expected) {
    fail(ErrorCode::kCorruptFile, where,
         "levels and mixing of the trellis are damaged: checksum {:08x}, found {:08x}", expected,
         found);
  }
}

constexpr std::string_view kLightSuffix = "s";
constexpr int kLongWindow = 12, kLightWindow = 6;

bool parse(std::string_view name, Format& format) {
  const auto parts = parse_r16_name(name);
  if (!parts || parts->kind != "tr" || parts->sharing != Sharing::kRow) return false;
  const bool light = parts->level_suffix == kLightSuffix;
  const int window = light ? kLightWindow : kLongWindow;
  if ((!light && !parts->level_suffix.empty()) || !is_trellis(parts->bits, window)) return false;
  format.scheme = {.kind = ValueKind::kTrellis,
                   .bits = parts->bits,
                   .scale_sharing = Sharing::kRow,
                   .table_sharing = Sharing::kMatrix,
                   .level_type = LevelType::kInt8,
                   .window = window};
  return true;
}

std::string name_for(const Scheme& scheme) {
  if (scheme.kind != ValueKind::kTrellis || !is_trellis(scheme.bits, scheme.window) ||
      scheme.scale_sharing != Sharing::kRow) {
    return {};
  }
  return r16_name("tr", scheme.bits, scheme.window == kLightWindow ? kLightSuffix : "",
                  Sharing::kRow, 0);
}

std::vector<std::string> example_names() {
  std::vector<std::string> names;
  for (int bits = 1; bits <= 4; ++bits) {
    if (is_trellis(bits, kLongWindow)) names.push_back(r16_name("tr", bits, "", Sharing::kRow, 0));
  }
  for (int bits = 1; bits <= 4; ++bits) {
    if (!is_trellis(bits, kLightWindow)) continue;
    names.push_back(r16_name("tr", bits, kLightSuffix, Sharing::kRow, 0));
  }
  return names;
}

}  // namespace

TrellisReader trellis_reader(int bits, int window, const TrellisMixing& mixing) {
  TrellisReader reader = {.bits = bits, .window = window};
  fill_trellis_indices(mixing, kTrellisIndexBits, reader.mixed);
  return reader;
}

void r16_expand_indices(const TrellisReader& reader, const std::byte* block, int64_t row,
                        int64_t begin, int64_t n, uint8_t* out) {
  const uint32_t hi_mask = (1u << (reader.window - kTrellisIndexBits)) - 1;
  for (int64_t c = begin; c < begin + n; c += kTrellisRun) {
    const std::byte* lines = block + c / kTrellisStep * reader.bits * kLineBytes;
    uint64_t run = run_bits(lines, reader.bits, row, c / kTrellisRun % kRuns);
    for (int64_t i = 0; i < kTrellisRun; ++i, run >>= reader.bits) {
      const auto w = static_cast<uint32_t>(run);
      *out++ = static_cast<uint8_t>(reader.mixed[w % kTrellisLevels] ^
                                    (w >> kTrellisIndexBits & hi_mask));
    }
  }
}

const FormatFamily& trellis_family() {
  static const FormatFamily kFamily = {
      .name = "trellis",
      .help = "scale x level of a window of a bit stream over tiles of 16 x 16, 1 to 4 bits",
      .dense = false,
      .parse = parse,
      .name_for = name_for,
      .packed_bytes = r16_packed_bytes,
      .byte_kinds = r16_byte_kinds,
      .pack = pack_trellis,
      .unpack = unpack_trellis,
      .decode_row = decode_row,
      .decode_rows = decode_rows,
      .check = check,
      .example_names = example_names};
  return kFamily;
}

}  // namespace twofold
