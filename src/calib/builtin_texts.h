// The calibration texts inside the program: data/calibration, byte for byte. For users who have no
// text of their own at hand; docs/calibration.md says what it is and what it is not good for.
#pragma once

#include <span>
#include <string_view>

namespace twofold {

struct BuiltinText {
  std::string_view file_name;  // in data/calibration; says how documents are marked
  std::string_view what;       // "English Wikipedia articles"
  std::string_view source;     // repository, path and commit
  std::string_view licence;
  std::string_view sha256;  // of the text
  std::string_view text;
};

std::span<const BuiltinText> builtin_texts();

}  // namespace twofold
