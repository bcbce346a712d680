// Post-processors of tokenizer.json, as far as ids go: what is put before and after a sequence.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "text/json_node.h"

namespace twofold {

struct SpecialIds {
  std::vector<int32_t> prefix, suffix;
};

/// @throws Error(kUnsupported | kCorruptFile) naming the field. A null node gives none.
SpecialIds read_post_processor(const JsonNode& node);

}  // namespace twofold
