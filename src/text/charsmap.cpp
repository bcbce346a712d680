#include "text/charsmap.h"

#include <utf8proc.h>

#include <bit>
#include <cstring>

#include "base/error.h"
#include "text/unicode.h"

namespace twofold {
namespace {

// A unit of Darts-clone: label in bits 0 to 7, bit 8: a key ends here, bit 9 and 10 to 30: offset
// of the children; the unit of a value has bit 31 and the value below.
constexpr uint32_t kIsValue = uint32_t{1} << 31;
uint32_t label(uint32_t unit) { return unit & (kIsValue | 0xFF); }
bool ends_key(uint32_t unit) { return (unit >> 8 & 1) != 0; }
size_t offset(uint32_t unit) { return size_t{unit >> 10} << ((unit & 1U << 9) >> 6); }
size_t value(uint32_t unit) { return unit & ~kIsValue; }

/// Bytes of the user-perceived character (UAX 29) at `at`.
size_t grapheme_bytes(std::string_view text, size_t at) {
  const size_t begin = at;
  utf8proc_int32_t state = 0;
  auto code = static_cast<utf8proc_int32_t>(code_point(text, at));
  for (;;) {
    at += character_bytes(text, at);
    if (at == text.size()) break;
    const auto next = static_cast<utf8proc_int32_t>(code_point(text, at));
    if (utf8proc_grapheme_break_stateful(code, next, &state)) break;
    code = next;
  }
  return at - begin;
}

}  // namespace

Charsmap::Charsmap(std::string_view bytes, std::string_view where) {
  static_assert(std::endian::native == std::endian::little);
  uint32_t trie_bytes = 0;
  if (bytes.size() < sizeof(trie_bytes)) {
    fail(ErrorCode::kCorruptFile, where, "precompiled_charsmap: {} bytes", bytes.size());
  }
  std::memcpy(&trie_bytes, bytes.data(), sizeof(trie_bytes));
  bytes.remove_prefix(sizeof(trie_bytes));
  if (trie_bytes == 0 || trie_bytes % sizeof(uint32_t) != 0 || trie_bytes > bytes.size()) {
    fail(ErrorCode::kCorruptFile, where, "precompiled_charsmap: a trie of {} bytes, {} are left",
         trie_bytes, bytes.size());
  }
  units_.resize(trie_bytes / sizeof(uint32_t));
  std::memcpy(units_.data(), bytes.data(), trie_bytes);
  replacements_ = bytes.substr(trie_bytes);
  if (!is_utf8(replacements_)) {
    fail(ErrorCode::kCorruptFile, where, "precompiled_charsmap: replacements are not UTF-8");
  }
  for (size_t at = 0; at < units_.size(); ++at) {
    const uint32_t unit = units_[at];
    if ((unit & kIsValue) != 0 || !ends_key(unit)) continue;
    const size_t leaf = at ^ offset(unit);
    const size_t place = leaf < units_.size() ? value(units_[leaf]) : SIZE_MAX;
    const bool inside = place < replacements_.size();
    if (!inside || (static_cast<unsigned char>(replacements_[place]) & 0xC0) == 0x80) {
      fail(ErrorCode::kCorruptFile, where, "precompiled_charsmap: unit {} names no replacement",
           at);
    }
  }
}

std::optional<std::string_view> Charsmap::find(std::string_view text) const {
  size_t at = offset(units_[0]);
  for (const char c : text) {
    const uint32_t byte = static_cast<unsigned char>(c);
    at ^= byte;
    if (byte == 0 || at >= units_.size() || label(units_[at]) != byte) return std::nullopt;
    const uint32_t unit = units_[at];
    at ^= offset(unit);
    if (!ends_key(unit)) continue;
    const std::string_view rest = std::string_view(replacements_).substr(value(units_[at]));
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

std::string Charsmap::apply(std::string_view text) const {
  constexpr size_t kTooLong = 6;
  // A file must not be able to take all memory by long replacements.
  const size_t most = (size_t{1} << 20) + 64 * text.size();
  std::string result;
  result.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    if (result.size() > most) {
      fail(ErrorCode::kUnsupported, "tokenizer", "the normalizer makes the text too long");
    }
    const size_t end = at + grapheme_bytes(text, at);
    if (end - at < kTooLong) {
      const std::string_view whole = text.substr(at, end - at);
      if (const auto replacement = find(whole)) {
        result += *replacement;
        at = end;
        continue;
      }
    }
    while (at < end) {
      const std::string_view character = text.substr(at, character_bytes(text, at));
      result += find(character).value_or(character);
      at += character.size();
    }
  }
  return result;
}

}  // namespace twofold
