// Which code this is: a version number does not tell two builds of it apart.
#pragma once

#include <string_view>

namespace twofold {

/// SHA-256 in hex over the sources of the library and its compiler: what one build has left
/// unfinished, only the same code goes on with.
std::string_view build_id();

}  // namespace twofold
