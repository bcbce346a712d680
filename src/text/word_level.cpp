#include "text/word_level.h"

namespace twofold {

OrderedJson WordLevel::to_json(std::string_view where) const {
  OrderedJson json;
  json["type"] = "WordLevel";
  json["vocab"] = vocabulary_to_json(vocabulary_, where);
  json["unk_token"] = unk_token_;
  return json;
}

}  // namespace twofold
