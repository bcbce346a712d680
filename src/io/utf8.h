// Validation of UTF-8 text from files.
#pragma once

#include <string_view>

namespace twofold {

/// True if `text` is UTF-8 by Unicode's table 3-7: no overlong forms, no surrogates, nothing beyond
/// U+10FFFF.
bool is_utf8(std::string_view text);

}  // namespace twofold
