#include "pipeline/svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace twofold {

namespace {

constexpr double kWidth = 840, kHeight = 520;
constexpr double kLeft = 78, kRight = 812, kBottom = 456;
constexpr double kLegendTop = 56, kLegendRow = 20, kLegendMark = 18, kLegendGap = 22;
constexpr double kFontSize = 12, kCharWidth = 6.6, kPointRadius = 5;

using Marker = void (*)(std::string& out, double x, double y, std::string_view colour);

struct Style {
  std::string_view colour;
  Marker marker;
};

void circle(std::string& out, double x, double y, std::string_view colour) {
  out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"{}\"/>\n", x, y,
                     kPointRadius, colour);
}
void square(std::string& out, double x, double y, std::string_view colour) {
  out += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"9\" height=\"9\" fill=\"{}\"/>\n",
                     x - 4.5, y - 4.5, colour);
}
void diamond(std::string& out, double x, double y, std::string_view colour) {
  out +=
      fmt::format("<path d=\"M{:.1f} {:.1f}l6 6l-6 6l-6 -6z\" fill=\"{}\"/>\n", x, y - 6, colour);
}
void triangle(std::string& out, double x, double y, std::string_view colour) {
  out += fmt::format("<path d=\"M{:.1f} {:.1f}l6 10h-12z\" fill=\"{}\"/>\n", x, y - 6, colour);
}

/// Colours that the colour-blind can tell apart (Okabe and Ito).
constexpr std::array<std::string_view, 7> kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                      "#e69f00", "#56b4e9", "#333333"};
constexpr std::array<Marker, 4> kMarkers = {circle, square, diamond, triangle};

/// 28 series have a pair of colour and shape of their own.
Style style_of(size_t series) {
  return {kColours[series % kColours.size()], kMarkers[series % kMarkers.size()]};
}

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

double text_width(std::string_view text) { return kCharWidth * static_cast<double>(text.size()); }

struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;
  bool overlaps(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

/// Map of an axis onto pixels.
struct Axis {
  std::vector<double> ticks;
  double from = 0, to = 0;  // pixels of the first and the last tick
  bool log = false;

  double place(double value) const { return log ? std::log10(value) : value; }
  double pixel(double value) const {
    const double first = place(ticks.front());
    const double share = (place(value) - first) / (place(ticks.back()) - first);
    return from + share * (to - from);
  }
  std::string tick_text(double tick) const {
    return log ? fmt::format("{:g}", tick) : fmt::format("{:.{}f}", tick, decimals());
  }

 private:
  /// Decimals that tell neighbouring ticks apart.
  int decimals() const {
    const double step = ticks[1] - ticks[0];
    return std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  }
};

class Drawing {
 public:
  explicit Drawing(const Chart& chart) : chart_(chart) {
    std::vector<double> xs, ys;
    for (const ChartSeries& series : chart.series) {
      for (const ChartPoint& point : series.points) {
        xs.push_back(point.x);
        ys.push_back(point.y);
      }
    }
    if (chart.reference) ys.push_back(chart.reference->y);
    const auto [x_low, x_high] = std::ranges::minmax(xs);
    const auto [y_low, y_high] = std::ranges::minmax(ys);
    top_ = kLegendTop + kLegendRow * static_cast<double>(legend_rows()) + 16;
    x_ = {axis_ticks(x_low, x_high, 8), kLeft, kRight};
    y_ = {chart.log_y ? log_axis_ticks(y_low, y_high) : axis_ticks(y_low, y_high, 6), kBottom, top_,
          chart.log_y};
  }

  std::string draw() {
    frame();
    legend();
    if (chart_.reference) reference_line();
    for (size_t s = 0; s < chart_.series.size(); ++s) lines(s);
    for (size_t s = 0; s < chart_.series.size(); ++s) markers(s);
    for (const ChartSeries& series : chart_.series) {
      for (const ChartPoint& point : series.points) label(point);
    }
    return fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
        "height=\"{1}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"{2}\" "
        "fill=\"#333\">\n<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\"/>\n{3}</svg>\n",
        kWidth, kHeight, kFontSize, out_);
  }

 private:
  void text(double x, double y, std::string_view anchor, std::string_view words,
            std::string_view extra = "") {
    out_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y,
                        anchor, extra, escape(words));
  }

  void frame() {
    text(kLeft, 30, "start", chart_.title, " font-size=\"17\" font-weight=\"bold\" fill=\"#111\"");
    for (const double tick : y_.ticks) {
      const double y = y_.pixel(tick);
      out_ += fmt::format("<path d=\"M{} {:.1f}H{}\" stroke=\"#e4e4e4\"/>\n", kLeft, y, kRight);
      text(kLeft - 10, y + 4, "end", y_.tick_text(tick));
    }
    for (const double tick : x_.ticks) {
      const double x = x_.pixel(tick);
      out_ += fmt::format("<path d=\"M{:.1f} {}v6\" stroke=\"#666\"/>\n", x, kBottom);
      text(x, kBottom + 22, "middle", x_.tick_text(tick));
    }
    out_ += fmt::format("<path d=\"M{} {}V{}H{}\" fill=\"none\" stroke=\"#666\"/>\n", kLeft, top_,
                        kBottom, kRight);
    text((kLeft + kRight) / 2, kHeight - 16, "middle", chart_.x_title);
    const double middle = (top_ + kBottom) / 2;
    text(22, middle, "middle", chart_.y_title,
         fmt::format(" transform=\"rotate(-90 22 {})\"", middle));
  }

  double legend_width(const ChartSeries& series) const {
    return kLegendMark + text_width(series.name) + kLegendGap;
  }

  /// Calls entry(series, x, row) for entries in rows under the title, wrapped at the right edge.
  template <class Entry>
  void lay_out_legend(const Entry& entry) const {
    double x = kLeft;
    int row = 0;
    for (size_t s = 0; s < chart_.series.size(); ++s) {
      const double width = legend_width(chart_.series[s]);
      if (x > kLeft && x + width > kRight + kLegendGap) {
        x = kLeft;
        ++row;
      }
      entry(s, x, row);
      x += width;
    }
  }

  int legend_rows() const {
    int last = 0;
    lay_out_legend([&](size_t, double, int row) { last = row; });
    return last + 1;
  }

  void legend() {
    lay_out_legend([&](size_t s, double x, int row) {
      const double y = kLegendTop + kLegendRow * row;
      style_of(s).marker(out_, x + 6, y - 4, style_of(s).colour);
      text(x + kLegendMark, y, "start", chart_.series[s].name);
    });
  }

  void reference_line() {
    const double y = y_.pixel(chart_.reference->y);
    out_ += fmt::format(
        "<path d=\"M{} {:.1f}H{}\" stroke=\"#555\" stroke-width=\"1.5\" "
        "stroke-dasharray=\"6 4\"/>\n",
        kLeft, y, kRight);
    const std::string& words = chart_.reference->label;
    const double baseline = y + 16 < kBottom ? y + 16 : y - 6;
    text(kLeft + 8, baseline, "start", words);
    taken_.push_back({kLeft, y - 2, kRight, y + 2});
    taken_.push_back({kLeft + 8, baseline - 11, kLeft + 8 + text_width(words), baseline + 3});
  }

  void lines(size_t s) {
    if (!chart_.series[s].joined) return;
    std::vector<ChartPoint> points = chart_.series[s].points;
    std::ranges::sort(points, {}, &ChartPoint::x);
    std::string path;
    for (const ChartPoint& point : points) {
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x_.pixel(point.x),
                          y_.pixel(point.y));
    }
    for (size_t i = 1; i < points.size(); ++i) keep_clear(points[i - 1], points[i]);
    out_ += fmt::format(
        "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" opacity=\"0.6\"/>\n", path,
        style_of(s).colour);
  }

  /// Labels stay off the line between two points.
  void keep_clear(const ChartPoint& a, const ChartPoint& b) {
    constexpr int kPieces = 60;
    for (int i = 0; i <= kPieces; ++i) {
      const double share = static_cast<double>(i) / kPieces;
      const double x = x_.pixel(a.x + share * (b.x - a.x));
      const double y = y_.pixel(a.y + share * (b.y - a.y));
      taken_.push_back({x - 2, y - 2, x + 2, y + 2});
    }
  }

  void markers(size_t s) {
    for (const ChartPoint& point : chart_.series[s].points) {
      const double x = x_.pixel(point.x), y = y_.pixel(point.y);
      style_of(s).marker(out_, x, y, style_of(s).colour);
      taken_.push_back({x - kPointRadius, y - kPointRadius, x + kPointRadius, y + kPointRadius});
    }
  }

  /// A thin line from a point to the nearest place of the box of its label.
  void leader(double x, double y, const Box& box) {
    out_ += fmt::format("<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" stroke=\"#999\"/>\n", x, y,
                        std::clamp(x, box.left, box.right), std::clamp(y, box.top, box.bottom));
  }

  /// Puts the label at the first free place on growing rings around its point.
  void label(const ChartPoint& point) {
    if (point.label.empty()) return;
    const double x = x_.pixel(point.x), y = y_.pixel(point.y), width = text_width(point.label);
    constexpr double kTextTop = 10, kTextBottom = 3, kFar = 20;
    for (double gap = 10; gap < 300; gap += 6) {
      const std::array<std::array<double, 2>, 8> offsets = {{{gap, 4},
                                                             {gap, -gap},
                                                             {gap, gap + 6},
                                                             {-width / 2, -gap},
                                                             {-width / 2, gap + 8},
                                                             {-gap - width, -gap},
                                                             {-gap - width, gap + 6},
                                                             {-gap - width, 4}}};
      for (const auto& [dx, dy] : offsets) {
        const Box box{x + dx, y + dy - kTextTop, x + dx + width, y + dy + kTextBottom};
        const bool inside = box.left > kLeft && box.right < kRight + 20 && box.top > top_ - 14 &&
                            box.bottom < kBottom;
        const auto hits = [&](const Box& other) { return box.overlaps(other); };
        if (!inside || std::ranges::any_of(taken_, hits)) continue;
        if (gap > kFar) leader(x, y, box);
        text(x + dx, y + dy, "start", point.label, " fill=\"#111\"");
        taken_.push_back(box);
        return;
      }
    }
  }

  const Chart& chart_;
  double top_ = 0;  // of the plot, under the legend
  Axis x_, y_;
  std::vector<Box> taken_;
  std::string out_;
};

}  // namespace

std::vector<double> axis_ticks(double low, double high, int count) {
  if (!(high > low)) {
    low -= 0.5;
    high = low + 1;
  }
  const double raw = (high - low) / count;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= raw) {
      step = factor * power;
      break;
    }
  }
  const auto first = static_cast<int64_t>(std::floor(low / step + 1e-9));
  const auto last = static_cast<int64_t>(std::ceil(high / step - 1e-9));
  std::vector<double> ticks;
  for (int64_t i = first; i <= last; ++i) ticks.push_back(static_cast<double>(i) * step);
  return ticks;
}

std::vector<double> log_axis_ticks(double low, double high) {
  const bool fine = high <= 100 * low;
  std::vector<double> ticks;
  for (auto k = static_cast<int>(std::floor(std::log10(low) + 1e-9)); k < 400; ++k) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor > 1 && !fine) continue;
      const double tick = factor * std::pow(10.0, k);
      if (tick <= low * (1 + 1e-9)) ticks.clear();
      ticks.push_back(tick);
      if (tick >= high * (1 - 1e-9) && ticks.size() > 1) return ticks;
    }
  }
  return ticks;
}

std::string svg_chart(const Chart& chart) { return Drawing(chart).draw(); }

}  // namespace twofold
