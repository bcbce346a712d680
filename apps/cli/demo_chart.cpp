#include <fmt/format.h>

#include <algorithm>

#include "demo.h"
#include "pipeline/svg_chart.h"

namespace twofold::cli {

std::string demo_chart(std::span<const DemoRow> rows) {
  // A logarithmic axis has no zero, and what is smaller is the noise of the text.
  constexpr double kLeast = 1e-4;
  const double float_loss = rows.front().score.nats_per_token;
  Chart chart{.title = "Loss against size: character model of tiny Shakespeare",
              .x_title = "bits per weight, everything counted",
              .y_title = fmt::format("nats per character above {} ({:.4f})",
                                     rows.front().variant->name, float_loss),
              .series = {},
              .reference = {},
              .log_y = true};
  for (const DemoRow& row : rows) {
    if (row.variant->series.empty()) continue;
    auto series = std::ranges::find(chart.series, row.variant->series, &ChartSeries::name);
    if (series == chart.series.end()) {
      series = chart.series.insert(series, {.name = std::string(row.variant->series)});
    }
    const double above = std::max(row.score.nats_per_token - float_loss, kLeast);
    series->points.push_back({row.bits_per_weight_total, above, std::string(row.variant->name)});
  }
  return svg_chart(chart);
}

}  // namespace twofold::cli
