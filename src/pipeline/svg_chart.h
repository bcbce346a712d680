// A scatter and line chart as an SVG file: axes with round ticks, a legend, a reference line, and
// labels that keep clear of points, lines and each other.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace twofold {

struct ChartPoint {
  double x = 0, y = 0;
  std::string label;  // may be empty
};

/// Points of one kind, joined by a line in the order of x unless told otherwise.
struct ChartSeries {
  std::string name;
  std::vector<ChartPoint> points = {};
  bool joined = true;
};

struct Chart {
  std::string title, x_title, y_title;
  std::vector<ChartSeries> series;
  std::optional<ChartPoint> reference;  // a horizontal line at y; x is not used
  bool log_y = false;                   // all y must be positive
};

/// Round values from at or below `low` to at or above `high`, about `count` of them.
std::vector<double> axis_ticks(double low, double high, int count);

/// 1, 2 and 5 times powers of ten, or over more than two decades powers of ten alone, from at or
/// below `low` > 0 to at or above `high`.
std::vector<double> log_axis_ticks(double low, double high);

/// The chart as the text of an SVG file. There must be a point.
std::string svg_chart(const Chart& chart);

}  // namespace twofold
