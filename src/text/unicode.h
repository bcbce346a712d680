// UTF-8 and the byte alphabet of byte-level vocabularies. Bytes in, bytes out; never throws on any
// input. Thread-safe: functions only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace twofold {

/// U+FFFD, which stands for bytes that are not UTF-8.
inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";
/// U+2581, which stands for a space in SentencePiece vocabularies.
inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

/// What stands at one place of a text: a character, or the longest start of one that breaks off
/// there (Unicode 15, Section 3.9, "maximal subpart"), or a single byte that starts none.
struct Utf8Unit {
  uint8_t bytes = 0;       // length, 1 to 4
  bool valid = false;      // a whole character
  bool truncated = false;  // not valid, but only because the text ends here
};
Utf8Unit utf8_unit(std::string_view text, size_t at);

/// Bytes of the character at `at`; the text must be valid UTF-8 there.
inline size_t character_bytes(std::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}
/// Code point of the character at `at`; the text must be valid UTF-8 there.
char32_t code_point(std::string_view text, size_t at);

void append_utf8(std::string& text, char32_t code_point);

/// Bytes of the longest valid prefix.
size_t valid_utf8_prefix(std::string_view text);
inline bool is_utf8(std::string_view text) { return valid_utf8_prefix(text) == text.size(); }
/// The text with each invalid unit replaced by U+FFFD.
std::string to_valid_utf8(std::string_view text);

/// White space as Unicode's property White_Space has it.
bool is_white_space(char32_t code_point);
/// Bytes of white space at the start and at the end of a valid text.
size_t leading_white_space(std::string_view text);
size_t trailing_white_space(std::string_view text);

/// GPT-2's bijection between bytes and printable characters (all below U+0144).
struct ByteAlphabet {
  std::array<std::string, 256> character;  // UTF-8 of each byte's character
  std::array<int16_t, 0x144> byte_of;      // of a code point; -1 if it stands for no byte
};
const ByteAlphabet& byte_alphabet();
/// Each byte of `bytes` as its character.
void append_byte_characters(std::string& text, std::string_view bytes);
/// The bytes that the characters of `token` stand for; false if one stands for none.
bool append_bytes_of_characters(std::string& bytes, std::string_view token);

}  // namespace twofold
