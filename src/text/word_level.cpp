#include "text/word_level.h"

namespace twofold {

OrderedJson WordLevel::to_json(std::string_view) const {
  OrderedJson json;
  json["type"] = "WordLevel";
  OrderedJson::object_t vocab;
  OrderedJson::object_t::Container& entries = vocab;  // distinct keys, see Bpe::to_json
  entries.reserve(static_cast<size_t>(vocabulary_.count()));
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    if (vocabulary_.has(id)) entries.emplace_back(std::string(vocabulary_.text(id)), id);
  }
  json["vocab"] = std::move(vocab);
  json["unk_token"] = unk_token_;
  return json;
}

}  // namespace twofold
