// The byte work of all R16 formats, driven by the format's scheme. The families (affine, table, row
// table) differ in their names only.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/format.h"
#include "formats/r16_layout.h"

namespace twofold {

int64_t r16_packed_bytes(const Format& format, int64_t rows, int64_t cols);
ByteKinds r16_byte_kinds(const Format& format, int64_t rows, int64_t cols);
void r16_pack(const Format& format, const QuantizedMatrix& q, std::span<std::byte> out,
              ThreadPool& pool);
QuantizedMatrix r16_unpack(const PackedMatrix& packed);
void r16_decode_row(const PackedMatrix& packed, int64_t row, float* out);
void r16_decode_rows(const PackedMatrix& packed, int64_t begin, int64_t count, float* out,
                     int64_t stride);
void r16_check(const PackedMatrix& packed, std::string_view where);

/// What an R16 family says of itself; the byte work is the same for all.
struct R16Family {
  std::string_view name, help;
  bool (*parse)(std::string_view name, Format& format);
  std::string (*name_for)(const Scheme& scheme);
  std::vector<std::string> (*example_names)();
};
FormatFamily r16_family(const R16Family& own);

/// The codes of one row, a byte each, of `steps` steps of columns: words out [steps x step / 4].
/// @param lines the first line of the first step, moved to the row's lane.
void r16_expand_codes(const R16Code& code, const std::byte* lines, int64_t steps, uint32_t* words);

/// How windows of a trellis become indices of its levels.
struct TrellisReader {
  int bits = 0, window = 0;
  std::array<uint8_t, kTrellisLevels> mixed{};  // A lo
};
TrellisReader trellis_reader(int bits, int window, const TrellisMixing& mixing);
/// The indices of columns [begin, begin + n) of row `row` of a block, out [n rounded up to 8].
/// @param block its first line.   @param begin a multiple of 8.
void r16_expand_indices(const TrellisReader& reader, const std::byte* block, int64_t row,
                        int64_t begin, int64_t n, uint8_t* out);

/// "r16-" kind bits level-suffix sharing-suffix, taken apart; nothing if `name` is not built so.
struct R16Name {
  std::string kind;          // "u", "s", "c", "zf", "t", "rt", "b", "tr"
  int bits = 0;              // 2 to 8; from 1 for "b", "tr"
  std::string level_suffix;  // "", "w", "f"; "s" for "tr"
  Sharing sharing = Sharing::kRow;
  int64_t group = 0;
};
std::optional<R16Name> parse_r16_name(std::string_view name);
std::string r16_name(std::string_view kind, int bits, std::string_view level_suffix,
                     Sharing sharing, int64_t group);

}  // namespace twofold
