// Tables of text for people: columns as wide as their widest cell, numbers to the right.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace twofold::cli {

struct Column {
  std::string title;
  bool right = false;
};

/// Rows of cells under titles, two spaces between columns, a line under the titles.
std::string text_table(const std::vector<Column>& columns,
                       const std::vector<std::vector<std::string>>& rows);

/// "3.07 MiB".
std::string bytes_text(int64_t bytes);

}  // namespace twofold::cli
