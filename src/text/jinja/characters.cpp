#include "text/jinja/characters.h"

#include <utf8proc.h>

#include <algorithm>

#include "text/unicode.h"

namespace twofold::jinja {
namespace {

/// Calls f(character, bytes of it).
template <class F>
void each(std::string_view text, const F& f) {
  for (size_t at = 0; at < text.size();) {
    const size_t size = character_bytes(text, at);
    f(code_point(text, at), text.substr(at, size));
    at += size;
  }
}

bool is_title_or_cased(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT;
}

constexpr char32_t kSharpS = 0xDF;

void append_upper(std::string& to, char32_t c) {
  if (c == kSharpS) {
    to += "SS";
  } else {
    append_utf8(to, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
  }
}
void append_title(std::string& to, char32_t c) {
  if (c == kSharpS) {
    to += "Ss";
  } else {
    append_utf8(to, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
  }
}
void append_lower(std::string& to, char32_t c) {
  append_utf8(to, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

template <class Strips>
std::string_view strip_by(std::string_view text, Side side, const Strips& strips) {
  if (side != Side::kRight) {
    while (!text.empty() && strips(text.substr(0, character_bytes(text, 0)))) {
      text.remove_prefix(character_bytes(text, 0));
    }
  }
  if (side != Side::kLeft) {
    while (!text.empty()) {
      size_t at = text.size() - 1;
      while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
      if (!strips(text.substr(at))) break;
      text = text.substr(0, at);
    }
  }
  return text;
}

/// Bytes of the line end at `at`, or 0: what str.splitlines takes for one.
size_t line_end_bytes(std::string_view text, size_t at) {
  switch (code_point(text, at)) {
    case U'\r':
      return at + 1 < text.size() && text[at + 1] == '\n' ? 2 : 1;
    case U'\n':
    case U'\v':
    case U'\f':
    case 0x1C:
    case 0x1D:
    case 0x1E:
    case 0x85:
    case 0x2028:
    case 0x2029:
      return character_bytes(text, at);
    default:
      return 0;
  }
}

}  // namespace

int64_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

size_t byte_of_character(std::string_view text, int64_t index) {
  size_t at = 0;
  for (int64_t i = 0; i < index && at < text.size(); ++i) at += character_bytes(text, at);
  return at;
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> parts;
  each(text, [&](char32_t, std::string_view bytes) { parts.push_back(bytes); });
  return parts;
}

bool is_python_space(char32_t c) { return (c >= 0x1C && c <= 0x1F) || is_white_space(c); }

std::string_view stripped(std::string_view text, Side side) {
  return strip_by(text, side, [](std::string_view c) { return is_python_space(code_point(c, 0)); });
}

std::string_view stripped(std::string_view text, std::string_view set, Side side) {
  return strip_by(text, side,
                  [&](std::string_view c) { return set.find(c) != std::string_view::npos; });
}

std::string upper(std::string_view text) {
  std::string made;
  each(text, [&](char32_t c, std::string_view) { append_upper(made, c); });
  return made;
}

std::string lower(std::string_view text) {
  std::string made;
  each(text, [&](char32_t c, std::string_view) { append_lower(made, c); });
  return made;
}

std::string capitalized(std::string_view text) {
  std::string made;
  each(text, [&](char32_t c, std::string_view) {
    if (made.empty()) {
      append_title(made, c);
    } else {
      append_lower(made, c);
    }
  });
  return made;
}

std::string swapped_case(std::string_view text) {
  std::string made;
  each(text, [&](char32_t c, std::string_view) {
    const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
    if (category == UTF8PROC_CATEGORY_LU) {
      append_lower(made, c);
    } else {
      append_upper(made, c);
    }
  });
  return made;
}

std::string titled(std::string_view text) {
  std::string made;
  bool after_cased = false;
  each(text, [&](char32_t c, std::string_view) {
    if (after_cased) {
      append_lower(made, c);
    } else {
      append_title(made, c);
    }
    after_cased = is_title_or_cased(c);
  });
  return made;
}

bool has_case(std::string_view text, bool upper_case) {
  bool any = false, other = false;
  each(text, [&](char32_t c, std::string_view) {
    const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
    const bool is_upper = category == UTF8PROC_CATEGORY_LU;
    const bool is_lower = category == UTF8PROC_CATEGORY_LL;
    any = any || (upper_case ? is_upper : is_lower);
    other = other || (upper_case ? is_lower : is_upper) || category == UTF8PROC_CATEGORY_LT;
  });
  return any && !other;
}

bool is_letter(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
}

std::vector<std::string_view> split_space(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  while (true) {
    text = stripped(text, Side::kLeft);
    if (text.empty()) return parts;
    if (limit >= 0 && std::ssize(parts) == limit) {
      parts.push_back(text);
      return parts;
    }
    size_t end = 0;
    while (end < text.size() && !is_python_space(code_point(text, end))) {
      end += character_bytes(text, end);
    }
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

std::vector<std::string_view> split_space_right(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  while (true) {
    text = stripped(text, Side::kRight);
    if (text.empty()) break;
    if (limit >= 0 && std::ssize(parts) == limit) {
      parts.push_back(text);
      break;
    }
    size_t begin = text.size();
    while (begin > 0) {
      size_t at = begin - 1;
      while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
      if (is_python_space(code_point(text, at))) break;
      begin = at;
    }
    parts.push_back(text.substr(begin));
    text = text.substr(0, begin);
  }
  std::ranges::reverse(parts);
  return parts;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator,
                                       int64_t limit) {
  std::vector<std::string_view> parts;
  for (size_t found; (limit < 0 || std::ssize(parts) < limit) &&
                     (found = text.find(separator)) != std::string_view::npos;) {
    parts.push_back(text.substr(0, found));
    text.remove_prefix(found + separator.size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_at_right(std::string_view text, std::string_view separator,
                                             int64_t limit) {
  std::vector<std::string_view> parts;
  for (size_t found; (limit < 0 || std::ssize(parts) < limit) &&
                     (found = text.rfind(separator)) != std::string_view::npos;) {
    parts.push_back(text.substr(found + separator.size()));
    text = text.substr(0, found);
  }
  parts.push_back(text);
  std::ranges::reverse(parts);
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = line_end_bytes(text, at);
    if (end == 0) {
      at += character_bytes(text, at);
      continue;
    }
    parts.push_back(text.substr(begin, at - begin + (keep_ends ? end : 0)));
    at += end;
    begin = at;
  }
  if (begin < text.size()) parts.push_back(text.substr(begin));
  return parts;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to,
                     int64_t limit) {
  std::string made;
  int64_t count = 0;
  if (from.empty()) {
    // Between all characters, before the first and after the last.
    size_t at = 0;
    for (; at <= text.size() && (limit < 0 || count < limit); ++count) {
      made += to;
      if (at == text.size()) return made;
      const size_t size = character_bytes(text, at);
      made += text.substr(at, size);
      at += size;
    }
    return made.append(text.substr(at));
  }
  for (size_t found;
       (limit < 0 || count < limit) && (found = text.find(from)) != std::string_view::npos;
       ++count) {
    made += text.substr(0, found);
    made += to;
    text.remove_prefix(found + from.size());
  }
  return made.append(text);
}

}  // namespace twofold::jinja
