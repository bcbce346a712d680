#include <charconv>

#include "base/error.h"
#include "formats/r16.h"

namespace twofold {
namespace {

constexpr int64_t kLargestGroup = int64_t{1} << 24;

/// Takes a positive decimal number without leading zeros off the front of `text`; 0 if none.
int64_t take_number(std::string_view& text) {
  if (text.empty() || text[0] < '1' || text[0] > '9') return 0;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return 0;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

std::string take_letters(std::string_view& text) {
  size_t n = 0;
  while (n < text.size() && text[n] >= 'a' && text[n] <= 'z') ++n;
  std::string letters(text.substr(0, n));
  text.remove_prefix(n);
  return letters;
}

/// A single plane is a code of its own, and so is a trellis; others of one bit have no format.
int least_bits(std::string_view kind) { return kind == "b" || kind == "tr" ? 1 : 2; }

}  // namespace

std::optional<R16Name> parse_r16_name(std::string_view name) {
  constexpr std::string_view kPrefix = "r16-";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  R16Name out;
  out.kind = take_letters(name);
  const int64_t bits = take_number(name);
  if (bits < least_bits(out.kind) || bits > 8) return std::nullopt;
  out.bits = static_cast<int>(bits);
  out.level_suffix = take_letters(name);
  if (name.empty()) return out;
  if (name == "-m") {
    out.sharing = Sharing::kMatrix;
    return out;
  }
  if (!name.starts_with("-g")) return std::nullopt;
  name.remove_prefix(2);
  out.sharing = Sharing::kGroup;
  out.group = take_number(name);
  if (out.group < 1 || out.group > kLargestGroup || !name.empty()) return std::nullopt;
  return out;
}

std::string r16_name(std::string_view kind, int bits, std::string_view level_suffix,
                     Sharing sharing, int64_t group) {
  if (bits < least_bits(kind) || bits > 8 || group > kLargestGroup) return {};
  std::string name = fmt::format("r16-{}{}{}", kind, bits, level_suffix);
  switch (sharing) {
    case Sharing::kMatrix:
      return name + "-m";
    case Sharing::kRow:
      return name;
    case Sharing::kGroup:
      return name + fmt::format("-g{}", group);
  }
  return {};
}

}  // namespace twofold
