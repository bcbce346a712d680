// Parts of the program on their own: files of ids, tables, charts, flags.
#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "base/error.h"
#include "commands.h"
#include "flag_table.h"
#include "io/temporary_folder.h"
#include "pipeline/svg_chart.h"
#include "text_table.h"
#include "token_ids.h"

namespace twofold::cli {
namespace {

using Sequences = std::vector<std::vector<int32_t>>;
using twofold::testing::expect_error;

const IdLimits kAnyIds{
    .model = "m", .vocab_size = int64_t{1} << 31, .min_count = 0, .max_count = 1 << 20};

TEST(TokenIds, AreListsOrNumbersASequenceALine) {
  EXPECT_EQ(parse_token_ids("1 2 3\n[4,5]\r\n\n  6,7\t8  \n[ ]\n9", "x", kAnyIds),
            (Sequences{{1, 2, 3}, {4, 5}, {6, 7, 8}, {}, {9}}));
}

TEST(TokenIds, MayBeOneListOfLists) {
  EXPECT_EQ(parse_token_ids("[\n  [1, 2],\n  [3]\n]\n", "x", kAnyIds), (Sequences{{1, 2}, {3}}));
}

TEST(TokenIds, BadLinesAreNamedByTheirNumber) {
  const auto code = ErrorCode::kCorruptFile;
  for (const char* bad : {"x", "1.5", "-1", "2147483648", "1 2 x", "[1, \"a\"]", "[1, -2]", "[1, 2",
                          "[1, 2] 3", "[1e3]", "\xff\xfe"}) {
    expect_error(code, "ids.txt: line 3", [&] {
      parse_token_ids(std::string("1 2\n\n") + bad + "\n4\n", "ids.txt", kAnyIds);
    });
  }
  for (const auto& [where, text] :
       std::vector<std::pair<std::string, std::string>>{{"ids.txt", ""},
                                                        {"ids.txt: sequence 2", "[[1],2]"},
                                                        {"ids.txt", std::string(20000, '[')}}) {
    expect_error(code, where, [&] { parse_token_ids(text, "ids.txt", kAnyIds); });
  }
}

TEST(TokenIds, BeyondTheModelAreNamedByLineAndModel) {
  const IdLimits limits{.model = "m", .vocab_size = 10, .min_count = 2, .max_count = 3};
  const auto code = ErrorCode::kInvalidArgument;
  EXPECT_EQ(parse_token_ids("0 9\n[1, 2, 3]\n", "f", limits), (Sequences{{0, 9}, {1, 2, 3}}));
  for (const auto& [said, text] : std::vector<std::pair<std::string, std::string>>{
           {"f: line 2: expected ids below 10, the vocabulary of m, found 10", "1 2\n3 10"},
           {"f: line 1: expected 2 to 3 ids for m, found 4", "[1,2,3,4]\n1 2"},
           {"f: line 1: expected 2 to 3 ids for m, found 1", "5"},
           {"f: sequence 2: expected ids below 10, the vocabulary of m, found 11",
            "[[1,2],[11,1]]"},
           {"f: sequence 1: expected 2 to 3 ids for m, found 0", "[[],[1,1]]"}}) {
    expect_error(code, said, [&] { parse_token_ids(text, "f", limits); });
  }
}

TEST(TextTable, PadsColumnsToTheWidestCell) {
  EXPECT_EQ(text_table({{"name"}, {"n", true}}, {{"a", "1"}, {"longer", "22"}}),
            "name     n\n"
            "------  --\n"
            "a        1\n"
            "longer  22\n");
}

TEST(TextTable, BytesHaveUnits) {
  EXPECT_EQ(bytes_text(512), "512 bytes");
  EXPECT_EQ(bytes_text(3 << 20), "3.00 MiB");
}

TEST(Chart, TicksAreRoundAndCoverTheData) {
  for (const auto& [low, high] :
       {std::pair{1.5843, 1.8878}, {2.3, 8.5}, {0.0, 1.0}, {-3.0, 4000.0}, {5.0, 5.0}}) {
    const std::vector<double> ticks = axis_ticks(low, high, 6);
    ASSERT_GE(ticks.size(), 2u);
    ASSERT_LE(ticks.size(), 9u);
    EXPECT_LE(ticks.front(), low);
    EXPECT_GE(ticks.back(), high);
    const double step = ticks[1] - ticks[0];
    const double leading = step / std::pow(10, std::floor(std::log10(step) + 1e-9));
    EXPECT_TRUE(std::abs(leading - 1) < 1e-6 || std::abs(leading - 2) < 1e-6 ||
                std::abs(leading - 5) < 1e-6)
        << step;
  }
}

TEST(Chart, LabelsOfCrowdedPointsDoNotOverlap) {
  Chart chart{.title = "t", .x_title = "x", .y_title = "y"};
  chart.series.push_back({"series <&>", {}});
  for (int i = 0; i < 8; ++i) {
    chart.series[0].points.push_back({4 + 0.02 * i, 1.6 + 0.001 * i, "label" + std::to_string(i)});
  }
  chart.series[0].points.push_back({8, 2, "far away"});
  chart.reference = ChartPoint{.y = 1.601, .label = "reference"};
  const std::string svg = svg_chart(chart);
  EXPECT_EQ(svg.find("series <&>"), std::string::npos) << "text must be escaped";
  const std::regex pattern("<text x=\"([0-9.]+)\" y=\"([0-9.]+)\"[^>]*>(label[0-9])<");
  std::vector<std::pair<double, double>> places;
  for (std::sregex_iterator it(svg.begin(), svg.end(), pattern), end; it != end; ++it) {
    places.emplace_back(std::stod((*it)[1]), std::stod((*it)[2]));
  }
  ASSERT_EQ(places.size(), 8u);
  for (size_t a = 0; a < places.size(); ++a) {
    for (size_t b = a + 1; b < places.size(); ++b) {
      const bool apart = std::abs(places[a].first - places[b].first) >= 35 ||
                         std::abs(places[a].second - places[b].second) >= 12;
      EXPECT_TRUE(apart) << a << " and " << b;
    }
  }
}

/// A command with a row of each type, and what its rows fill.
struct Everything {
  bool on = false;
  int64_t count = 3;
  uint64_t seed = 7;
  float ratio = 0.5f;
  std::string model, word = "word";
  std::vector<std::string> files, stops;
  std::optional<int64_t> maybe;
  std::map<std::string, std::string> settings;
  std::shared_ptr<CommonFlags> common = std::make_shared<CommonFlags>();

  Command command() {
    return {.name = "all",
            .summary = "test",
            .common = common,
            .flags = {{.names = "MODEL", .target = &model, .required = true},
                      {.names = "--on", .target = &on},
                      {.names = "-n,--count", .value = "N", .target = &count, .min = -1},
                      {.names = "--seed", .value = "N", .target = &seed},
                      {.names = "--ratio", .value = "X", .target = &ratio, .min = 0, .max = 1},
                      {.names = "--word", .value = "W", .target = &word},
                      {.names = "--files", .value = "FILE...", .target = &files},
                      {.names = "-r", .value = "TEXT", .target = &stops},
                      {.names = "--maybe", .value = "N", .target = &maybe},
                      {.names = "--set", .value = "V", .target = MapEntry{&settings, "set"}}}};
  }
  void parse(const std::vector<std::string>& args) { parse_flags(command(), args); }
};

TEST(Flags, FillTheirTargets) {
  Everything all;
  all.parse({"m",
             "--on",
             "-n",
             "-1",
             "--seed",
             "18446744073709551615",
             "--ratio=0.25",
             "--word",
             "",
             "--files",
             "a",
             "b",
             "-r",
             "[x,y]",
             "-r",
             "--on",
             "--maybe",
             "5",
             "--set",
             "-16,15"});
  EXPECT_EQ(all.model, "m");
  EXPECT_TRUE(all.on);
  EXPECT_EQ(all.count, -1);
  EXPECT_EQ(all.seed, UINT64_MAX);
  EXPECT_EQ(all.ratio, 0.25f);
  EXPECT_EQ(all.word, "");
  EXPECT_EQ(all.files, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(all.stops, (std::vector<std::string>{"[x,y]", "--on"}));
  EXPECT_EQ(all.maybe, 5);
  EXPECT_EQ(all.settings.at("set"), "-16,15");
}

TEST(Flags, KeepTheirDefaultsWhenNotGiven) {
  Everything all;
  all.parse({"m"});
  EXPECT_EQ(all.count, 3);
  EXPECT_EQ(all.word, "word");
  EXPECT_FALSE(all.maybe.has_value());
  EXPECT_TRUE(all.settings.empty());
}

TEST(Flags, BadValuesAreArgumentErrors) {
  for (const std::vector<std::string>& args : {std::vector<std::string>{},
                                               {"m", "--count"},
                                               {"m", "--count", "1", "--count", "2"},
                                               {"m", "--ratio", "2"},
                                               {"m", "extra"},
                                               {"m", "--on=maybe"},
                                               {"m", "--other"},
                                               {"m", "-x"},
                                               {"m", "--maybe", ""},
                                               {"m", "--seed", "1 "}}) {
    Everything all;
    expect_error(ErrorCode::kInvalidArgument, "", [&] { all.parse(args); });
  }
}

}  // namespace
}  // namespace twofold::cli
