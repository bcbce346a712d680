// Look-up in a registry: a span of entries with a `name`.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace twofold {

/// "none, hadamard, quip": the names of all entries, for messages.
template <class Entry>
std::string names_of(std::span<const Entry> entries) {
  std::string text;
  for (const Entry& entry : entries) {
    if (!text.empty()) text += ", ";
    text += entry.name;
  }
  return text;
}

/// The entry called `name`. @param what names the kind of entry, e.g. "method".
/// @throws Error(kInvalidArgument) listing the names.
template <class Entry>
const Entry& find_entry(std::span<const Entry> entries, std::string_view what,
                        std::string_view name) {
  for (const Entry& entry : entries) {
    if (entry.name == name) return entry;
  }
  fail(ErrorCode::kInvalidArgument, what, "expected one of {}; found '{}'", names_of(entries),
       name);
}

}  // namespace twofold
