#include "base/json.h"

namespace twofold {

Json parse_json(std::string_view text, std::string_view where) {
  const auto limit_depth = [&](int depth, Json::parse_event_t event, Json&) {
    if ((event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start) &&
        depth >= kMaxJsonDepth) {
      fail(ErrorCode::kCorruptFile, where, "JSON nested deeper than {} levels", kMaxJsonDepth);
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), limit_depth);
  } catch (const Json::exception& e) {
    fail(ErrorCode::kCorruptFile, where, "not valid JSON: {}", e.what());
  }
}

std::string dump_json(const OrderedJson& value, int indent) {
  return value.dump(indent, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

}  // namespace twofold
