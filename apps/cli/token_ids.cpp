#include "token_ids.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "base/json.h"
#include "model_input.h"

namespace twofold::cli {

namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

[[noreturn]] void fail_id(std::string_view where, std::string_view found) {
  fail(ErrorCode::kCorruptFile, where, "expected a token id, an integer from 0 to {}, found '{}'",
       std::numeric_limits<int32_t>::max(), found.substr(0, 40));
}

std::vector<int32_t> ids_from_json(const Json& list, std::string_view where) {
  if (!list.is_array()) {
    fail(ErrorCode::kCorruptFile, where, "expected a list of token ids, found {}",
         list.type_name());
  }
  std::vector<int32_t> ids;
  for (const Json& value : list) {
    const bool fits =
        value.is_number_unsigned() && value.get<uint64_t>() <= std::numeric_limits<int32_t>::max();
    if (!fits) fail_id(where, value.dump(-1, ' ', false, Json::error_handler_t::replace));
    ids.push_back(value.get<int32_t>());
  }
  return ids;
}

std::vector<int32_t> ids_from_numbers(std::string_view line, std::string_view where) {
  constexpr std::string_view kBetween = " \t\r,";
  std::vector<int32_t> ids;
  while (true) {
    const size_t begin = line.find_first_not_of(kBetween);
    if (begin == std::string_view::npos) return ids;
    line.remove_prefix(begin);
    const std::string_view word = line.substr(0, line.find_first_of(kBetween));
    int32_t id = -1;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || stop != word.data() + word.size() || id < 0) fail_id(where, word);
    ids.push_back(id);
    line.remove_prefix(word.size());
  }
}

/// `ids` if the model can take them.
std::vector<int32_t> checked(std::vector<int32_t> ids, const IdLimits& limits,
                             std::string_view where) {
  const int64_t count = std::ssize(ids);
  if (count < limits.min_count || count > limits.max_count) {
    fail(ErrorCode::kInvalidArgument, where, "expected {} to {} ids for {}, found {}",
         limits.min_count, limits.max_count, limits.model, count);
  }
  for (const int32_t id : ids) {
    if (id < limits.vocab_size) continue;
    fail(ErrorCode::kInvalidArgument, where,
         "expected ids below {}, the vocabulary of {}, found {}", limits.vocab_size, limits.model,
         id);
  }
  return ids;
}

bool is_list_of_lists(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos || text[first] != '[') return false;
  const size_t second = text.find_first_not_of(kSpace, first + 1);
  return second != std::string_view::npos && text[second] == '[';
}

}  // namespace

std::vector<std::vector<int32_t>> parse_token_ids(std::string_view text, std::string_view where,
                                                  const IdLimits& limits) {
  std::vector<std::vector<int32_t>> sequences;
  if (is_list_of_lists(text)) {
    const Json lists = parse_json(text, where);
    for (const Json& list : lists) {
      const std::string place = fmt::format("{}: sequence {}", where, sequences.size() + 1);
      sequences.push_back(checked(ids_from_json(list, place), limits, place));
    }
    return sequences;
  }
  int64_t number = 0;
  while (!text.empty()) {
    ++number;
    const std::string_view raw = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(raw.size() + 1, text.size()));
    const std::string_view line = trim(raw);
    if (line.empty()) continue;
    const std::string place = fmt::format("{}: line {}", where, number);
    sequences.push_back(checked(line.front() == '[' ? ids_from_json(parse_json(line, place), place)
                                                    : ids_from_numbers(line, place),
                                limits, place));
  }
  if (sequences.empty()) fail(ErrorCode::kCorruptFile, where, "expected token ids, found none");
  return sequences;
}

std::vector<std::vector<int32_t>> read_token_ids(const std::filesystem::path& path,
                                                 const IdLimits& limits) {
  return parse_token_ids(read_input(path), path.string(), limits);
}

}  // namespace twofold::cli
