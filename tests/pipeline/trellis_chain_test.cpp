// Trellis-coded matrices from the method to the product: solved, packed, written, read again and
// multiplied, every rate gives the same numbers at each station; a damaged folder is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/model.h"
#include "formats/r16_layout.h"
#include "io/safetensors.h"
#include "kernels/int8_activations.h"
#include "kernels/packed_view.h"
#include "kernels/select.h"
#include "pipeline/quantize_model.h"
#include "pipeline/support.h"
#include "quant/method.h"
#include "quant/trellis_code.h"
#include "support/matrices.h"

namespace twofold {
namespace {

using testing::error_of;
using testing::normal_numbers;
using testing::TempFolder;

/// Inputs of which neighbours are alike.
SecondMoment correlated_moment(int64_t cols) {
  std::vector<double> alike(static_cast<size_t>(cols));
  for (size_t i = 0; i < alike.size(); ++i) alike[i] = std::pow(0.8, static_cast<double>(i));
  SecondMoment moment{.cols = cols, .tokens = 4 * cols, .h = {}, .mean_magnitude = {}};
  for (int64_t i = 0; i < cols; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      moment.h.push_back(alike[static_cast<size_t>(std::abs(i - j))]);
    }
  }
  return moment;
}

class TrellisChain : public ::testing::TestWithParam<TrellisCode> {
 protected:
  Solution solved(const std::vector<float>& w, int64_t rows, int64_t cols,
                  std::map<std::string, std::string> params = {}) {
    params["window"] = std::to_string(GetParam().window);
    params.emplace("effort", "fast");
    params.emplace("explore", "weights");
    const MethodChoice choice =
        choose_method({.method = "trellis", .bits = GetParam().bits, .params = std::move(params)});
    const SecondMoment moment = correlated_moment(cols);
    return solve(choice,
                 {.weight = {w.data(), rows, cols},
                  .moment = &moment,
                  .input_name = "in",
                  .matrix_name = "w"},
                 {.pool = pool_, .isa = select_isa()});
  }

  /// Writes the matrix to a file and opens it again.
  PackedMatrix through_a_file(const PackedMatrix& packed) {
    const auto bytes = packed.bytes.view.bytes;
    SafetensorsWriter writer(folder_ / "", {{"w", DType::kU8, {std::ssize(bytes)}}}, {});
    writer.write(bytes);
    writer.finish();
    const SafetensorsFile file = read_safetensors(folder_ / "model.safetensors");
    const StoredTensor& tensor = file.tensors.at(0);
    return open_packed(parse_format(packed.format.name), packed.rows, packed.cols,
                       {{DType::kU8, tensor.shape, tensor.bytes}, tensor.owner}, "w");
  }

  /// Every station gives what the solution says.
  void expect_same_everywhere(const Solution& solution) {
    QuantizedMatrix q = solution.q;
    EXPECT_NO_THROW(validate(q));
    q.transform = {};  // the blob has none
    const PackedMatrix packed = through_a_file(pack(q));
    EXPECT_TRUE(unpack(packed) == q);
    std::vector<float> numbers(q.codes.size()), read(q.codes.size());
    dequantize(q, {numbers.data(), q.rows, q.cols});
    packed.format.family->decode_rows(packed, 0, q.rows, read.data(), q.cols);
    EXPECT_EQ(std::memcmp(numbers.data(), read.data(), read.size() * sizeof(float)), 0);
    for (const float x : numbers) EXPECT_TRUE(std::isfinite(x));
    expect_products(packed, {numbers.data(), q.rows, q.cols});
  }

  /// The scalar kernel within its derived bound of the float64 product (kernel_law_test.cpp), every
  /// other one equal to it.
  void expect_products(const PackedMatrix& packed, Matrix<const float> w) {
    const PackedView view = packed_view(packed);
    for (const int64_t m : {1, 3, 13}) {
      const std::vector<float> x = normal_numbers(m * w.cols, 1, "x");
      Int8Activations rounded({x.data(), m, w.cols}, {kActivationBlock}, select_isa(), pool_);
      std::vector<float> used(x.size());
      rounded.dequantize({used.data(), m, w.cols});
      const std::vector<float> expected = product(view, *all_kernels().front(), rounded, w.rows);
      const double roundings =
          static_cast<double>(2 * rounded.cut(view.group).segments + 3 * view.groups + 6);
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t r = 0; r < w.rows; ++r) {
          double sum = 0, magnitude = 0;
          for (int64_t c = 0; c < w.cols; ++c) {
            const double part = static_cast<double>(w.at(r, c)) * used[i * w.cols + c];
            sum += part;
            magnitude += std::fabs(part);
          }
          ASSERT_NEAR(expected[static_cast<size_t>(i * w.rows + r)], sum,
                      roundings * 0x1p-24 * magnitude + 1e-37);
        }
      }
      for (const Kernel* kernel : kernels_of(packed.format)) {
        if (!cpu_has(kernel->isa) || m < kernel->min_m || m > kernel->max_m) continue;
        ASSERT_EQ(product(view, *kernel, rounded, w.rows), expected) << kernel->name;
      }
    }
  }

  static std::vector<float> product(const PackedView& view, const Kernel& kernel,
                                    Int8Activations& x, int64_t rows) {
    std::vector<float> y(static_cast<size_t>(x.rows() * rows));
    AlignedBuffer<uint8_t> scratch(kernel.scratch_bytes == nullptr
                                       ? 0
                                       : static_cast<size_t>(kernel.scratch_bytes(view, x.rows())));
    kernel.run({.weights = &view,
                .x = x.cut(view.group),
                .m = x.rows(),
                .y = y.data(),
                .y_stride = rows,
                .block_begin = 0,
                .block_end = view.blocks,
                .scratch = scratch.data()});
    return y;
  }

  TempFolder folder_;
  ThreadPool pool_{2, false};
};

INSTANTIATE_TEST_SUITE_P(Codes, TrellisChain, ::testing::ValuesIn(kTrainedTrellisCodes),
                         [](const auto& param) {
                           return std::to_string(param.param.bits) + "bits" +
                                  std::to_string(param.param.window);
                         });

TEST_P(TrellisChain, GivesTheSameNumbersAtEachStationForEverySide) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{16, 16},
                                   {48, 172},
                                   {172, 48},
                                   {80, 176},
                                   {176, 80},
                                   {33, 47},
                                   {17, 1536},
                                   {1536, 16}}) {
    SCOPED_TRACE(fmt::format("{} x {}", rows, cols));
    const std::vector<float> w = normal_numbers(rows * cols, 0.02, "weights");
    const Solution solution = solved(w, rows, cols);
    expect_same_everywhere(solution);
    // What a code of so many bits loses on normal numbers, with room for matrices of few tiles.
    EXPECT_LT(solution.proxy_loss, 1.6 * std::pow(0.3, GetParam().bits));
  }
}

TEST_P(TrellisChain, SurvivesDegenerateTiles) {
  constexpr int64_t kRows = 48, kCols = 80;
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  const std::vector<float> normal = normal_numbers(kRows * kCols, 0.02, "weights");
  std::vector<std::pair<const char*, std::vector<float>>> cases;
  const auto add = [&](const char* name, auto&& change) {
    cases.emplace_back(name, normal);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t c = 0; c < kCols; ++c) {
        change(r, c, cases.back().second[static_cast<size_t>(r * kCols + c)]);
      }
    }
  };
  add("zeros", [](int64_t, int64_t, float& x) { x = 0; });
  add("a tile of zeros", [](int64_t r, int64_t c, float& x) {
    if (r < 16 && c / 16 == 1) x = 0;
  });
  add("one huge value", [](int64_t r, int64_t c, float& x) {
    if (r == 20 && c == 33) x = 30000;
  });
  add("huge ones by turns",
      [](int64_t r, int64_t c, float& x) { x = (r + c) % 2 == 0 ? 10000.0f : -10000.0f; });
  add("denormals", [](int64_t, int64_t, float& x) { x = x < 0 ? -kTiny : kTiny; });
  add("rows of denormals", [](int64_t r, int64_t, float& x) {
    if (r % 2 == 0) x = kTiny;
  });
  add("one value that is not zero",
      [](int64_t r, int64_t c, float& x) { x = r == 47 && c == 79 ? 1.0f : 0.0f; });
  for (const auto& [name, w] : cases) {
    for (const char* transform : {"none", "hadamard"}) {
      SCOPED_TRACE(fmt::format("{}, transform {}", name, transform));
      const MethodChoice choice =
          choose_method({.method = "trellis",
                         .bits = GetParam().bits,
                         .transform = transform,
                         .params = {{"window", std::to_string(GetParam().window)}}});
      const SecondMoment moment = correlated_moment(kCols);
      const Solution solution = solve(choice,
                                      {.weight = {w.data(), kRows, kCols},
                                       .moment = &moment,
                                       .input_name = "in",
                                       .matrix_name = "w"},
                                      {.pool = pool_, .isa = select_isa()});
      EXPECT_TRUE(std::isfinite(solution.proxy_loss));
      expect_same_everywhere(solution);
    }
  }
}

TEST_P(TrellisChain, RefusesWhatNoScaleOrLevelHolds) {
  std::vector<float> w = normal_numbers(32 * 48, 0.02, "weights");
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    w[5 * 48 + 7] = bad;
    const std::string message = error_of([&] { solved(w, 32, 48); }, ErrorCode::kUnsupported);
    EXPECT_NE(message.find("w: weight at row 5, column 7"), std::string::npos) << message;
  }
  w[5 * 48 + 7] = 1e30f;  // its row's scale is beyond binary16
  const std::string message = error_of([&] { solved(w, 32, 48); }, ErrorCode::kUnsupported);
  EXPECT_EQ(message.find("w: "), 0u) << message;
}

constexpr const char* kMatrix = "model.layers.0.self_attn.q_proj.weight";

class TrellisFolder : public ::testing::TestWithParam<const char*> {
 protected:
  TrellisFolder() {
    ThreadPool pool(2, false);
    RecipeFlags flags;
    flags.block = {
        .method = "trellis", .bits = 2, .rounding = "nearest", .params = {{"window", GetParam()}}};
    flags.head = flags.embeddings = "rtn:8";
    quantize_model(open_model(testing::tiny_model("llama-gqa")), recipe_from_flags(flags),
                   {.output = path_, .seed = 7, .command_line = "test"}, {.pool = pool});
    weights_ = testing::read_file(path_ / "model.safetensors");
    config_ = testing::read_file(path_ / "config.json");
  }

  /// The message of the error that opening and loading the folder gives.
  std::string refusal() const {
    const std::string message = error_of([&] { Model::load(path_); }, ErrorCode::kCorruptFile);
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_NE(message.find(path_.string()), std::string::npos) << message;
    return message;
  }
  std::string refusal_of(const std::string& weights) const {
    testing::write_file(path_ / "model.safetensors", weights);
    return refusal();
  }

  TempFolder folder_;
  const std::filesystem::path path_ = folder_ / "out";
  std::string weights_, config_;
};

INSTANTIATE_TEST_SUITE_P(Windows, TrellisFolder, ::testing::Values("12", "6"));

TEST_P(TrellisFolder, ADamagedTableMatrixOrWindowIsRefusedByName) {
  const ModelFiles files = open_model(path_);
  const auto slot = std::ranges::find(files.slots, kMatrix,
                                      [](const Slot& s) { return std::string_view(s.name); });
  ASSERT_NE(slot, files.slots.end());
  const Scheme scheme = parse_format(slot->format).scheme;
  ASSERT_EQ(scheme.kind, ValueKind::kTrellis);
  uint64_t header = 0;
  std::memcpy(&header, weights_.data(), 8);
  const Json offsets = Json::parse(weights_.substr(8, header))[kMatrix]["data_offsets"];
  const size_t tail =
      8 + header + offsets[0].get<size_t>() +
      static_cast<size_t>(r16_layout(scheme, slot->shape[0], slot->shape[1], "").tail_at);
  for (size_t at = 0; at < kTrellisTailBytes; ++at) {
    std::string damaged = weights_;
    damaged[tail + at] = static_cast<char>(damaged[tail + at] ^ (1 << at % 8));
    const std::string message = refusal_of(damaged);
    EXPECT_NE(message.find(kMatrix), std::string::npos) << at << message;
    if (at == kTrellisWindowAt) {
      EXPECT_NE(message.find(fmt::format("windows of {} bits, found", GetParam())),
                std::string::npos)
          << message;
    } else if (at >= kTailHeaderBytes && at < kTrellisMixingAt) {
      EXPECT_NE(message.find("checksum"), std::string::npos) << at << message;
    }
  }
}

TEST_P(TrellisFolder, AFileThatWasCutOffIsRefused) {
  for (const size_t left : {size_t{0}, size_t{7}, size_t{100}, weights_.size() / 2,
                            weights_.size() - 64, weights_.size() - 1}) {
    EXPECT_NE(refusal_of(weights_.substr(0, left)).find("model.safetensors"), std::string::npos);
  }
}

TEST_P(TrellisFolder, AnotherRateOrWindowThanThatOfTheFileIsRefused) {
  const std::string light = GetParam() == std::string("6") ? "s" : "";
  for (const std::string& other : {"r16-tr3" + light, "r16-tr1" + light,
                                   std::string(light.empty() ? "r16-tr2s" : "r16-tr2")}) {
    Json config = Json::parse(config_);
    Json& format = config["quantization_config"]["tensors"][kMatrix]["format"];
    ASSERT_EQ(format, "r16-tr2" + light);
    format = other;
    testing::write_file(path_ / "config.json", config.dump());
    EXPECT_NE(refusal().find(kMatrix), std::string::npos);
  }
}

}  // namespace
}  // namespace twofold
