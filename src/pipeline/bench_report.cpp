#include <algorithm>

#include "base/json.h"
#include "pipeline/bench.h"

namespace twofold {
namespace {

/// A text as a CSV field.
std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string out = text;
  for (size_t at = 0; (at = out.find('"', at)) != std::string::npos; at += 2)
    out.insert(at, 1, '"');
  return fmt::format("\"{}\"", out);
}

std::string field(const OrderedJson& value) {
  return quoted(value.is_string() ? value.get<std::string>() : value.dump());
}

std::string megabytes(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  return bytes >= int64_t{1} << 30 ? fmt::format("{:.2f} GiB", value / (1 << 30))
                                   : fmt::format("{:.2f} MiB", value / (1 << 20));
}

std::string count_text(int64_t count) {
  const auto value = static_cast<double>(count);
  return count >= 1'000'000'000 ? fmt::format("{:.2f} B", value / 1e9)
                                : fmt::format("{:.2f} M", value / 1e6);
}

std::vector<std::string> cells_of(const BenchRow& row) {
  return {fmt::format("{} {}", row.model, row.format),
          megabytes(row.bytes),
          count_text(row.parameters),
          fmt::format("{}", row.threads),
          row.test(),
          fmt::format("{:.2f} ± {:.2f}", row.tokens_per_second, row.tokens_per_second_stddev),
          fmt::format("{:.2f}", row.bytes_per_second / 1e9),
          fmt::format("{:.1f} %", 100 * row.bandwidth_share),
          fmt::format("{:.1f} %", 100 * row.peak_share),
          megabytes(row.peak_memory_bytes)};
}

/// Characters of UTF-8 text.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

OrderedJson to_json(const BenchRow& row) {
  return {{"model", row.model},
          {"format", row.format},
          {"bytes", row.bytes},
          {"parameters", row.parameters},
          {"isa", row.isa},
          {"activations", row.activations},
          {"threads", row.threads},
          {"test", row.test()},
          {"prompt", row.prompt},
          {"generated", row.generated},
          {"depth", row.depth},
          {"repetitions", row.samples.size()},
          {"tokens_per_second", row.tokens_per_second},
          {"tokens_per_second_stddev", row.tokens_per_second_stddev},
          {"bytes_per_token", row.bytes_per_token},
          {"bytes_per_second", row.bytes_per_second},
          {"read_bytes_per_second", row.read_bytes_per_second},
          {"bandwidth_share", row.bandwidth_share},
          {"operations_per_second", row.operations_per_second},
          {"integer_peak", row.integer_peak},
          {"peak_share", row.peak_share},
          {"peak_memory_bytes", row.peak_memory_bytes}};
}

std::string bench_csv(std::span<const BenchRow> rows) {
  std::string text;
  for (const BenchRow& row : rows) {
    std::string titles, values;
    const OrderedJson json = to_json(row);
    for (const auto& [key, value] : json.items()) {
      if (!titles.empty()) {
        titles += ',';
        values += ',';
      }
      titles += key;
      values += field(value);
    }
    if (text.empty()) text = titles + "\n";
    text += values + "\n";
  }
  return text;
}

std::string bench_markdown(std::span<const BenchRow> rows) {
  constexpr size_t kLeftColumns = 1;  // the others are numbers, to the right
  std::vector<std::vector<std::string>> table = {{"model", "size", "params", "threads", "test",
                                                  "t/s", "GB/s", "of bandwidth", "of int peak",
                                                  "memory"}};
  for (const BenchRow& row : rows) table.push_back(cells_of(row));
  std::vector<size_t> widths(table.front().size());
  for (const auto& cells : table) {
    for (size_t c = 0; c < cells.size(); ++c) widths[c] = std::max(widths[c], width_of(cells[c]));
  }
  std::string text;
  for (size_t r = 0; r < table.size(); ++r) {
    std::string line = "|", rule = "|";
    for (size_t c = 0; c < widths.size(); ++c) {
      const std::string pad(widths[c] - width_of(table[r][c]), ' ');
      const bool left = c < kLeftColumns;
      line += fmt::format(" {} |", left ? table[r][c] + pad : pad + table[r][c]);
      rule += fmt::format(" {:-<{}}{} |", "", widths[c] - (left ? 0 : 1), left ? "" : ":");
    }
    text += line + "\n";
    if (r == 0) text += rule + "\n";
  }
  return text;
}

}  // namespace twofold
