// A scatter and line chart as an SVG file: axes with round ticks, a legend, a reference line, and
// labels that keep clear of points, lines and each other.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace twofold::cli {

struct ChartPoint {
  double x = 0, y = 0;
  std::string label;  // may be empty
};

/// Points joined by a line in the order of x.
struct ChartSeries {
  std::string name;
  std::vector<ChartPoint> points;
};

struct Chart {
  std::string title, x_title, y_title;
  std::vector<ChartSeries> series;
  std::optional<ChartPoint> reference;  // a horizontal line at y; x is not used
};

/// Round values from at or below `low` to at or above `high`, about `count` of them.
std::vector<double> axis_ticks(double low, double high, int count);

/// The chart as the text of an SVG file. There must be a point.
std::string svg_chart(const Chart& chart);

}  // namespace twofold::cli
