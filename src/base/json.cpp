#include "base/json.h"

#include <set>
#include <vector>

namespace twofold {
namespace {

using Event = Json::parse_event_t;

/// Follows the parser through objects and arrays; refuses a key that an object has already.
class KeyCheck {
 public:
  explicit KeyCheck(std::string_view where) : where_(where) {}

  void see(Event event, const Json& parsed) {
    switch (event) {
      case Event::object_start:
      case Event::array_start:
        count_element();
        open_.emplace_back().is_array = event == Event::array_start;
        return;
      case Event::object_end:
      case Event::array_end:
        open_.pop_back();
        return;
      case Event::value:
        count_element();
        return;
      case Event::key:
        see_key(parsed.get_ref<const std::string&>());
        return;
    }
  }

 private:
  struct Container {
    bool is_array = false;
    int64_t elements = 0;        // of an array, up to the current one
    std::set<std::string> keys;  // of an object
    std::string key;             // its current one
  };

  void count_element() {
    if (!open_.empty() && open_.back().is_array) ++open_.back().elements;
  }

  void see_key(const std::string& key) {
    Container& object = open_.back();
    if (!object.keys.insert(key).second) {
      fail(ErrorCode::kCorruptFile, place(), "key '{}' is given twice", key);
    }
    object.key = key;
  }

  /// The object being read: "FILE: rules: element 2".
  std::string place() const {
    std::string text(where_);
    for (size_t i = 0; i + 1 < open_.size(); ++i) {
      const Container& outer = open_[i];
      text += outer.is_array ? fmt::format(": element {}", outer.elements) : ": " + outer.key;
    }
    return text;
  }

  std::string_view where_;
  std::vector<Container> open_;  // from the outermost inwards
};

}  // namespace

std::string_view json_problem(const Json::exception& error) {
  const std::string_view text = error.what();
  const size_t end = text.find("] ");
  return text.starts_with("[json.exception.") && end != text.npos ? text.substr(end + 2) : text;
}

Json parse_json(std::string_view text, std::string_view where, RepeatedKeys repeated) {
  KeyCheck keys(where);
  const auto check = [&](int depth, Event event, const Json& parsed) {
    if ((event == Event::object_start || event == Event::array_start) && depth >= kMaxJsonDepth) {
      fail(ErrorCode::kCorruptFile, where, "JSON nested deeper than {} levels", kMaxJsonDepth);
    }
    if (repeated == RepeatedKeys::kRefused) keys.see(event, parsed);
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), check);
  } catch (const Json::exception& e) {
    fail(ErrorCode::kCorruptFile, where, "not valid JSON: {}", json_problem(e));
  }
}

std::string dump_json(const OrderedJson& value, int indent) {
  return value.dump(indent, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

}  // namespace twofold
