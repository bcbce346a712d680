#include "text/sentencepiece_parts.h"

namespace twofold {

Json sentencepiece_normalizer(const std::string& space, bool add_prefix) {
  Json steps = Json::array();
  if (add_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", space}});
  if (space != " ") {
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space}});
  }
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

Json sentencepiece_decoder_json(const std::string& space, bool byte_tokens, bool strip_first) {
  Json steps = Json::array();
  if (space != " ") {
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", space}}}, {"content", " "}});
  }
  if (byte_tokens) steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (strip_first) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", steps}};
}

}  // namespace twofold
