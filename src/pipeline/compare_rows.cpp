#include "pipeline/compare_rows.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace twofold {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  while (true) {
    const size_t end = text.find(separator);
    pieces.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return pieces;
    text.remove_prefix(end + 1);
  }
}

bool starts_with_letter(std::string_view text) {
  return !text.empty() && ((text.front() >= 'a' && text.front() <= 'z') ||
                           (text.front() >= 'A' && text.front() <= 'Z'));
}

/// A piece between commas begins a row unless it is "KEY=VALUE" or the rest of a value.
bool begins_row(std::string_view piece) {
  return starts_with_letter(piece) && piece.find('=') >= piece.find(':');
}

/// "a,b:3:x=1,y=2" -> "a", "b:3:x=1,y=2"
std::vector<std::string> split_rows(std::string_view list) {
  std::vector<std::string> rows;
  for (const std::string_view piece : split(list, ',')) {
    const bool has_settings = !rows.empty() && rows.back().find('=') != std::string::npos;
    if (has_settings && !begins_row(piece)) {
      rows.back() += fmt::format(",{}", piece);
    } else {
      rows.emplace_back(piece);
    }
  }
  return rows;
}

template <class T>
T number(std::string_view text, std::string_view where) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    fail(ErrorCode::kInvalidArgument, where, "expected a number, found '{}'", text);
  }
  return value;
}

/// "x=-16,16,y=2" -> x = "-16,16", y = "2"
std::map<std::string, std::string> parse_settings(std::string_view text, std::string_view where) {
  std::map<std::string, std::string> settings;
  std::string* last = nullptr;
  for (const std::string_view piece : split(text, ',')) {
    const size_t equal = piece.find('=');
    if (equal == std::string_view::npos && last != nullptr && !piece.empty()) {
      *last += fmt::format(",{}", piece);
      continue;
    }
    if (equal == std::string_view::npos || equal == 0) {
      fail(ErrorCode::kInvalidArgument, where, "expected KEY=VALUE, found '{}'", piece);
    }
    const auto [entry, added] = settings.try_emplace(std::string(piece.substr(0, equal)),
                                                     std::string(piece.substr(equal + 1)));
    if (!added) {
      fail(ErrorCode::kInvalidArgument, where, "expected {} once, found it twice", entry->first);
    }
    last = &entry->second;
  }
  return settings;
}

/// A row as it was written, before bits are spread.
struct ParsedRow {
  MethodRequest request;  // without bits
  std::optional<double> bits;
  std::string settings;  // as written
};

void apply_settings(std::map<std::string, std::string> settings, std::string_view where,
                    MethodRequest& request) {
  const auto take = [&](const std::string& key, std::string& target) {
    const auto found = settings.find(key);
    if (found == settings.end()) return;
    target = found->second;
    settings.erase(found);
  };
  std::string group;
  take("group", group);
  if (!group.empty()) request.group = number<int64_t>(group, where);
  take("grid", request.grid);
  take("transform", request.transform);
  take("rounding", request.rounding);
  request.params = std::move(settings);
}

ParsedRow parse_row(const std::string& text) {
  const std::string where = fmt::format("row '{}'", text);
  ParsedRow row;
  std::string_view rest = text;
  const auto next = [&] {
    const size_t end = std::min(rest.find(':'), rest.size());
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return part;
  };
  row.request.method = next();
  find_method(row.request.method);
  if (!rest.empty() && !starts_with_letter(rest)) {
    row.bits = number<double>(next(), where);
  }
  row.settings = rest;
  if (!rest.empty()) apply_settings(parse_settings(rest, where), where, row.request);
  return row;
}

CompareRow finish_row(const ParsedRow& parsed, std::optional<double> bits,
                      const RecipeFlags& tables) {
  CompareRow row;
  RecipeFlags flags = tables;
  flags.block = parsed.request;
  const std::string settings = parsed.settings.empty() ? "" : ":" + parsed.settings;
  row.series = flags.block.method + settings;
  try {
    if (bits) {
      set_bits(*bits, flags.block, flags.mean_bits);
    } else {
      bits = choose_method(flags.block).bits;
    }
    row.name = fmt::format("{}:{}{}", flags.block.method, *bits, settings);
    row.recipe = recipe_from_flags(flags);
  } catch (const Error& error) {
    fail(error.code(), fmt::format("row {}", row.series), std::string_view(error.what()));
  }
  return row;
}

}  // namespace

std::vector<CompareRow> parse_compare_rows(std::span<const std::string> lists,
                                           std::span<const double> bits,
                                           const RecipeFlags& tables) {
  std::vector<CompareRow> rows;
  const auto add = [&](CompareRow row) {
    if (std::ranges::find(rows, row.name, &CompareRow::name) != rows.end()) {
      fail(ErrorCode::kInvalidArgument, "--methods", "row {} is asked for twice", row.name);
    }
    rows.push_back(std::move(row));
  };
  for (const std::string& list : lists) {
    for (const std::string& text : split_rows(list)) {
      const ParsedRow parsed = parse_row(text);
      if (parsed.bits || bits.empty()) {
        add(finish_row(parsed, parsed.bits, tables));
        continue;
      }
      for (const double b : bits) add(finish_row(parsed, b, tables));
    }
  }
  return rows;
}

}  // namespace twofold
