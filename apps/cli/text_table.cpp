#include "text_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace twofold::cli {

namespace {

/// Characters of UTF-8 text.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string line_of(const std::vector<Column>& columns, const std::vector<size_t>& widths,
                    const std::vector<std::string>& cells) {
  std::string line;
  for (size_t c = 0; c < columns.size(); ++c) {
    const std::string pad(widths[c] - width_of(cells[c]), ' ');
    if (c > 0) line += "  ";
    line += columns[c].right ? pad + cells[c] : cells[c] + pad;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

}  // namespace

std::string text_table(const std::vector<Column>& columns,
                       const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  std::vector<std::string> titles, rules;
  for (size_t c = 0; c < columns.size(); ++c) {
    size_t width = width_of(columns[c].title);
    for (const auto& row : rows) width = std::max(width, width_of(row[c]));
    widths.push_back(width);
    titles.push_back(columns[c].title);
    rules.emplace_back(width, '-');
  }
  std::string text = line_of(columns, widths, titles) + line_of(columns, widths, rules);
  for (const auto& row : rows) text += line_of(columns, widths, row);
  return text;
}

std::string bytes_text(int64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (bytes >= int64_t{1} << 30) return fmt::format("{:.2f} GiB", value / (1 << 30));
  if (bytes >= int64_t{1} << 20) return fmt::format("{:.2f} MiB", value / (1 << 20));
  if (bytes >= int64_t{1} << 10) return fmt::format("{:.2f} KiB", value / (1 << 10));
  return fmt::format("{} bytes", bytes);
}

}  // namespace twofold::cli
