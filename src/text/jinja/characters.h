// Texts by characters, as Python's str counts, cuts and changes them. Texts are valid UTF-8. Case
// is changed character by character by the simple mappings of Unicode, and "ß" to "SS".
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace twofold::jinja {

int64_t count_characters(std::string_view text);
/// Byte at which character `index` (0 to count) begins.
size_t byte_of_character(std::string_view text, int64_t index);
/// Each character by itself.
std::vector<std::string_view> characters(std::string_view text);

/// str.isspace of one character: white space of Unicode and U+001C to U+001F.
bool is_python_space(char32_t c);
enum class Side { kBoth, kLeft, kRight };
/// str.strip, lstrip, rstrip by white space.
std::string_view stripped(std::string_view text, Side side);
/// The same by any character of `set`.
std::string_view stripped(std::string_view text, std::string_view set, Side side);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalized(std::string_view text);
std::string swapped_case(std::string_view text);
/// str.title.
std::string titled(std::string_view text);
/// str.isupper or islower.
bool has_case(std::string_view text, bool upper_case);
bool is_letter(char32_t c);
bool is_decimal(char32_t c);

/// str.split; limit < 0 is none.
std::vector<std::string_view> split_space(std::string_view text, int64_t limit);
std::vector<std::string_view> split_space_right(std::string_view text, int64_t limit);
std::vector<std::string_view> split_at(std::string_view text, std::string_view separator,
                                       int64_t limit);
std::vector<std::string_view> split_at_right(std::string_view text, std::string_view separator,
                                             int64_t limit);
/// str.splitlines.
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
/// str.replace; limit < 0 is none.
std::string replaced(std::string_view text, std::string_view from, std::string_view to,
                     int64_t limit);

}  // namespace twofold::jinja
