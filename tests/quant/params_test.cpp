#include <gtest/gtest.h>

#include "base/error.h"
#include "quant/method.h"

namespace twofold {
namespace {

const ParamSpec kInt = {.name = "count",
                        .kind = ParamKind::kInt,
                        .fallback = "3",
                        .help = "",
                        .choices = {},
                        .min = 1,
                        .max = 9};
const ParamSpec kFloat = {.name = "eps", .kind = ParamKind::kFloat, .fallback = "0", .help = ""};
const ParamSpec kChoice = {
    .name = "mode", .kind = ParamKind::kChoice, .fallback = "a", .help = "", .choices = {"a", "b"}};
const ParamSpec kRange = {
    .name = "range", .kind = ParamKind::kIntRange, .fallback = "", .help = ""};

TEST(Params, AreKeptInANormalForm) {
  Params params;
  params.set(kInt, "07");
  params.set(kFloat, "0.031250");
  params.set(kChoice, "b");
  params.set(kRange, "-16,15");
  EXPECT_EQ(params.get_int("count"), 7);
  EXPECT_EQ(params.get_float("eps"), 0.03125);
  EXPECT_EQ(params.get_choice("mode"), "b");
  EXPECT_EQ(params.get_range("range"), std::pair(int64_t{-16}, int64_t{15}));
  EXPECT_EQ(params.values().at("count"), "7");
  EXPECT_EQ(params.values().at("eps"), "0.03125");
}

TEST(Params, RefuseWhatTheirSpecDoesNotAllow) {
  Params params;
  for (const char* text : {"", "x", "1.5", "0", "10", "3 ", "99999999999999999999"}) {
    EXPECT_THROW(params.set(kInt, text), Error) << text;
  }
  for (const char* text : {"", "x", "nan", "inf", "1e999", "1,5"}) {
    EXPECT_THROW(params.set(kFloat, text), Error) << text;
  }
  EXPECT_THROW(params.set(kChoice, "c"), Error);
  for (const char* text : {"1", "1,", ",1", "5,5", "6,5", "a,b", "1,2,3"}) {
    EXPECT_THROW(params.set(kRange, text), Error) << text;
  }
  EXPECT_THROW(params.get_int("missing"), Error);
}

TEST(Params, AreCompletedFromGivenThenOverridesThenFallbacks) {
  const std::vector<ParamSpec> specs = {kInt, kFloat, kChoice, kRange};
  const Params params = complete_params(specs, {{"count", "4"}, {"mode", "b"}}, {{"count", "5"}});
  EXPECT_EQ(params.get_int("count"), 5);
  EXPECT_EQ(params.get_choice("mode"), "b");
  EXPECT_EQ(params.get_float("eps"), 0);
  EXPECT_FALSE(params.has("range"));
  try {
    complete_params(specs, {}, {{"depth", "1"}});
    FAIL() << "an unknown setting was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("--mode"), std::string::npos) << error.what();
  }
}

TEST(Registry, PartsThatShareASettingMeanTheSame) {
  std::vector<ParamSpec> all;
  for (const Grid& grid : all_grids()) {
    all.insert(all.end(), grid.params.begin(), grid.params.end());
  }
  for (const Rounding& rounding : all_roundings()) {
    all.insert(all.end(), rounding.params.begin(), rounding.params.end());
  }
  for (const ParamSpec& a : all) {
    for (const ParamSpec& b : all) {
      if (a.name != b.name) continue;
      EXPECT_EQ(a.help, b.help) << a.name;
      EXPECT_TRUE(a.kind == b.kind && a.fallback == b.fallback && a.choices == b.choices) << a.name;
    }
  }
  EXPECT_FALSE(all_param_specs().empty());
}

std::string refusal(const MethodRequest& request) {
  try {
    choose_method(request);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return {};
}

void expect_refusal(const MethodRequest& request, const std::string& part) {
  EXPECT_NE(refusal(request).find(part), std::string::npos)
      << "found '" << refusal(request) << "', expected it to name " << part;
}

TEST(ChooseMethod, ListsTheValidChoices) {
  expect_refusal({.method = "gtpq"}, "rtn, pot, apot");
  expect_refusal({.method = "rtn", .transform = "x"}, "none");
  expect_refusal({.method = "rtn", .grid = "x"}, "uniform, pot, apot");
  expect_refusal({.method = "rtn", .rounding = "x"}, "nearest");
  expect_refusal({.method = "rtn", .group = 48}, "0, 32, 64, 128, 256");
  expect_refusal({.method = "rtn", .bits = 9}, "2 to 8 bits");
  expect_refusal({.method = "rtn", .bits = 1}, "2 to 8 bits");
  expect_refusal({.method = "pot", .bits = 7}, "2 to 6 bits");
  expect_refusal({.method = "apot", .bits = 3}, "4 to 6 bits");
  expect_refusal({.method = "rtn", .params = {{"form", "one-step"}}}, "--scale-per");
  expect_refusal({.method = "rtn", .params = {{"zero", "none"}}}, "centered");
  expect_refusal({.method = "rtn", .bits = 4, .params = {{"range", "-16,15"}}}, "5 bits");
  expect_refusal({.method = "rtn", .params = {{"range", "1,15"}}}, "around 0");
  expect_refusal({.method = "rtn", .params = {{"range", "-200,200"}}}, "-128,127");
  expect_refusal({.method = "rtn", .params = {{"range", "-7,7"}, {"zero", "float"}}}, "symmetric");
  expect_refusal({.method = "pot", .bits = 4, .params = {{"range", "-128,128"}}}, "5 bits");
  expect_refusal({.method = "pot", .group = 64, .params = {{"scale-per", "tensor"}}}, "--group 0");
  expect_refusal({.method = "quip", .params = {{"preclamp", "on"}, {"explore", "loop"}}},
                 "--preclamp on");
}

TEST(ChooseMethod, LetsAnIntegerRangeDecideTheBits) {
  const auto bits = [](const std::string& method, const std::string& range) {
    return choose_method({.method = method, .params = {{"range", range}}}).bits;
  };
  EXPECT_EQ(bits("rtn", "-127,127"), 8);
  EXPECT_EQ(bits("rtn", "-16,15"), 5);
  EXPECT_EQ(bits("rtn", "-16,16"), 6);
  EXPECT_EQ(bits("rtn", "-7,7"), 4);
  EXPECT_EQ(bits("rtn", "-1,1"), 2);
  EXPECT_EQ(bits("pot", "-1,1"), 2);
  EXPECT_EQ(bits("pot", "-4,4"), 3);
  EXPECT_EQ(bits("pot", "-16,15"), 4);
  EXPECT_EQ(bits("pot", "-64,64"), 4);
  EXPECT_EQ(bits("pot", "-128,128"), 5);
  EXPECT_EQ(bits("pot", "-16384,16384"), 5);
  EXPECT_EQ(bits("pot", "-1073741824,1073741824"), 6);
}

TEST(ChooseMethod, LetsEveryPartBeOverridden) {
  const MethodChoice choice = choose_method(
      {.method = "rtn", .bits = 5, .group = 64, .grid = "pot", .params = {{"form", "one-step"}}});
  EXPECT_EQ(choice.method, "rtn");
  EXPECT_EQ(choice.grid, "pot");
  EXPECT_EQ(choice.bits, 5);
  EXPECT_EQ(choice.group, 64);
  EXPECT_EQ(choice.params.get_choice("form"), "one-step");
}

TEST(NeedsMoment, ComesFromTheMethodOrAnyOfItsParts) {
  const auto needed = [](const MethodRequest& request) {
    return needs_moment(choose_method(request));
  };
  EXPECT_FALSE(needed({.method = "rtn"}));
  EXPECT_FALSE(needed({.method = "hqq"}));
  EXPECT_TRUE(needed({.method = "rtn", .rounding = "ldlq"}));
  EXPECT_TRUE(needed({.method = "rtn", .transform = "quip"}));
  EXPECT_TRUE(needed({.method = "gptq"}));
  EXPECT_TRUE(needed({.method = "kmeans-h"}));  // nearest on a grid that could do without
  EXPECT_FALSE(needed({.method = "rtn", .grid = "levels"}));
}

}  // namespace
}  // namespace twofold
