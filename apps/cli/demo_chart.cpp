#include <fmt/format.h>

#include <algorithm>

#include "demo.h"
#include "pipeline/svg_chart.h"

namespace twofold::cli {

std::string demo_chart(std::span<const DemoRow> rows) {
  Chart chart{.title = "Loss against size: character model of tiny Shakespeare",
              .x_title = "bits per weight, everything counted",
              .y_title = "validation loss, nats per character"};
  for (const DemoRow& row : rows) {
    const double loss = row.score.nats_per_token;
    if (row.variant->series.empty()) {
      chart.reference =
          ChartPoint{.y = loss, .label = fmt::format("{} {:.4f}", row.variant->name, loss)};
      continue;
    }
    auto series = std::ranges::find(chart.series, row.variant->series, &ChartSeries::name);
    if (series == chart.series.end()) {
      series = chart.series.insert(series, {std::string(row.variant->series), {}});
    }
    series->points.push_back({row.bits_per_weight_total, loss, std::string(row.variant->name)});
  }
  return svg_chart(chart);
}

}  // namespace twofold::cli
