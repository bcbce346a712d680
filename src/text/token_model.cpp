#include "text/token_model.h"

namespace twofold {

OrderedJson vocabulary_to_json(const Vocabulary& vocabulary, std::string_view where) {
  // An ordered object looks through all its keys for each new one; these are distinct anyway.
  OrderedJson::object_t json;
  OrderedJson::object_t::Container& entries = json;
  entries.reserve(static_cast<size_t>(vocabulary.count()));
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    if (!vocabulary.has(id)) continue;
    const std::string text(vocabulary.text(id));
    if (vocabulary.find(text) != id) {
      fail(ErrorCode::kUnsupported, where, "ids {} and {} have the same text '{}'",
           vocabulary.find(text), id, text);
    }
    entries.emplace_back(text, id);
  }
  return OrderedJson(std::move(json));
}

}  // namespace twofold
