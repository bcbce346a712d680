// The law of transforms in the engine: a block whose weights are stored in another basis,
// unrounded, does what the block of the model does.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/block_runner.h"
#include "engine/model.h"
#include "support/matrices.h"
#include "support/paths.h"

namespace twofold {
namespace {

/// Stands for the loss of some grid, for transforms that search one.
double rounding_loss(std::span<const float> column_scale) {
  double loss = 0;
  for (const float s : column_scale) loss += std::abs(std::log(static_cast<double>(s)) - 0.1);
  return loss;
}

/// A second moment with a diagonal over three decades, [n, n].
std::vector<double> moment_of(int64_t n) {
  std::vector<double> h(static_cast<size_t>(n * n), 0.01);
  for (int64_t i = 0; i < n; ++i) {
    h[static_cast<size_t>(i * n + i)] = std::pow(10.0, static_cast<double>(i % 4) - 1);
  }
  return h;
}

/// The matrix of a slot in the stored basis of a transform fitted to it, in float32.
PackedMatrix transformed(const Transform& transform, const Slot& slot, TransformSpec& spec) {
  const int64_t rows = slot.shape[0], cols = slot.shape[1];
  std::vector<float> weight(static_cast<size_t>(rows * cols));
  make_row_source(*slot.tensor, slot.view)->decode_rows(0, rows, weight.data(), cols);
  const Matrix<float> w(weight.data(), rows, cols);
  const std::vector<double> h = moment_of(cols);
  ThreadPool pool(1, false);
  spec = transform.fit_input({.weights = {w},
                              .moment = {h.data(), cols, cols},
                              .mean_magnitude = {},
                              .params = complete_params(transform.params, {}, {}),
                              .seed = 3,
                              .name = slot.input,
                              .trial = rounding_loss},
                             pool);
  transform.add_output(spec, 3, slot.name, rows);
  prepare_transform(spec, rows, cols)->apply_weight(w);
  return pack_dense(parse_format("f32"), w);
}

struct Case {
  std::string transform, model;
};
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Transform& transform : all_transforms()) {
    for (const char* model : {"gpt2", "llama-gqa", "llama-bias"}) {
      all.push_back({std::string(transform.name), model});
    }
  }
  return all;
}

class EngineTransformLaw : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Registry, EngineTransformLaw, ::testing::ValuesIn(cases()));

TEST_P(EngineTransformLaw, UnroundedWeightsInAnotherBasisGiveTheFloatModel) {
  const ModelFiles files = open_model(testing::test_data("tiny-models") / GetParam().model);
  const Transform& transform = find_transform(GetParam().transform);
  const int64_t hidden = files.config.hidden;
  for (const Isa isa : all_isas()) {
    if (!cpu_has(isa)) continue;
    for (const int64_t tokens : {int64_t{1}, int64_t{5}, int64_t{40}}) {
      if (tokens > files.config.context) continue;
      ThreadPool pool(2, false);
      const Context ctx{.pool = pool, .isa = isa};
      std::vector<float> expected = testing::normal_numbers(tokens * hidden, 1, "stream");
      std::vector<float> stream = expected;
      for (int layer = 0; layer < files.config.layers; ++layer) {
        const BlockRunner plain(files, layer);
        plain.run({expected.data(), tokens, hidden}, ctx);
        BlockRunner rotated(files, layer);
        for (const Slot& slot : files.slots) {
          if (slot.layer != layer || slot.input.empty() || slot.shape.size() != 2) continue;
          TransformSpec spec;
          const PackedMatrix packed = transformed(transform, slot, spec);
          rotated.replace(slot.slot, packed, spec);
        }
        rotated.run({stream.data(), tokens, hidden}, ctx);
      }
      // Each linear's output differs by less than 1e-5 of |x| |w| (the law of the transforms); with
      // norms between, a few dozen such linears leave less than 1e-3 of the stream's own size.
      double size = 0;
      for (const float v : expected) size += static_cast<double>(v) * static_cast<double>(v);
      const double bound = 1e-3 * std::sqrt(size / static_cast<double>(expected.size()));
      for (size_t i = 0; i < stream.size(); ++i) ASSERT_NEAR(stream[i], expected[i], bound);
    }
  }
}

}  // namespace
}  // namespace twofold
