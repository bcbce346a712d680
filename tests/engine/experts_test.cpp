#include "engine/experts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "engine/block_runner.h"
#include "support/matrices.h"
#include "support/paths.h"

namespace twofold {
namespace {

using testing::normal_numbers;
using testing::test_data;

ModelConfig mixture(int64_t experts, int64_t each, bool norm) {
  ModelConfig config;
  config.experts = experts;
  config.experts_per_token = each;
  config.norm_expert_weights = norm;
  return config;
}

/// Weight of every expert for one token: softmax, the largest, by sorting all of them.
std::vector<double> slow_weights(std::span<const float> logits, int64_t each, bool norm) {
  std::vector<double> weights(logits.begin(), logits.end());
  double total = 0;
  for (double& w : weights) total += w = std::exp(w);
  for (double& w : weights) w /= total;
  std::vector<size_t> order(weights.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater<>(), [&](size_t e) { return weights[e]; });
  double sum = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (static_cast<int64_t>(i) < each) {
      sum += weights[order[i]];
    } else {
      weights[order[i]] = 0;
    }
  }
  if (norm) {
    for (double& w : weights) w /= sum;
  }
  return weights;
}

TEST(Experts, RowsGoToTheLargestOfASoftmax) {
  ThreadPool pool(2);
  const Context ctx{.pool = pool, .isa = select_isa()};
  constexpr int64_t kRows = 40, kExperts = 11;
  for (const int64_t each : {1, 2, 10, 11}) {
    for (const bool norm : {false, true}) {
      const std::vector<float> logits = normal_numbers(kRows * kExperts, 2.0, "router");
      std::vector<float> work = logits;
      const Routes routes =
          route_rows(mixture(kExperts, each, norm), {work.data(), kRows, kExperts}, ctx);
      std::vector<std::vector<double>> found(kRows, std::vector<double>(kExperts));
      for (int64_t e = 0; e < kExperts; ++e) {
        int64_t before = -1;
        for (const Routes::Row& row : routes.of(e)) {
          EXPECT_GT(row.row, before) << "in order";
          before = row.row;
          found[static_cast<size_t>(row.row)][static_cast<size_t>(e)] = row.weight;
        }
      }
      for (size_t r = 0; r < kRows; ++r) {
        const auto wanted =
            slow_weights(std::span(logits).subspan(r * kExperts, kExperts), each, norm);
        for (size_t e = 0; e < kExperts; ++e) EXPECT_NEAR(found[r][e], wanted[e], 1e-6);
      }
    }
  }
}

TEST(Experts, OfEqualLogitsTheFirstAreTaken) {
  ThreadPool pool(1);
  std::vector<float> logits = {0, 1, 1, 1, 0, 2};
  const Routes routes =
      route_rows(mixture(6, 3, true), {logits.data(), 1, 6}, {.pool = pool, .isa = select_isa()});
  for (const int64_t e : {0, 3, 4}) EXPECT_TRUE(routes.of(e).empty()) << e;
  for (const int64_t e : {1, 2, 5}) EXPECT_EQ(routes.of(e).size(), 1u) << e;
}

/// What an observer saw of a block: inputs in order, and their rows.
struct Seen {
  std::vector<std::string> names;
  std::map<std::string, std::vector<std::vector<float>>> rows;
  InputObserver observer() {
    return [this](std::string_view name, Matrix<const float> x) {
      names.emplace_back(name);
      for (int64_t r = 0; r < x.rows; ++r) {
        rows[names.back()].emplace_back(x.row(r).begin(), x.row(r).end());
      }
    };
  }
};

class ExpertBlock : public ::testing::Test {
 protected:
  ExpertBlock() { embed_sequence(files_, ids_, stream(), ctx_); }
  Matrix<float> stream() { return {numbers_.data(), std::ssize(ids_), files_.config.hidden}; }

  ThreadPool pool_{2};
  const Context ctx_{.pool = pool_, .isa = select_isa()};
  const ModelFiles files_ = open_model(test_data("tiny-models/qwen3-moe"));
  const std::vector<int32_t> ids_ = {5, 9, 70, 3, 44, 5, 12, 90, 31, 8, 77, 60};
  std::vector<float> numbers_ =
      std::vector<float>(ids_.size() * static_cast<size_t>(files_.config.hidden));
};

TEST_F(ExpertBlock, EveryTokenIsShownToItsExpertsOnly) {
  Seen seen;
  BlockRunner(files_, 0).observe(stream(), {}, ctx_, seen.observer());
  const auto& all = seen.rows.at("layers.0.mlp.in");
  ASSERT_EQ(all.size(), ids_.size());
  size_t shown = 0;
  for (int64_t e = 0; e < files_.config.experts; ++e) {
    const std::string prefix = fmt::format("layers.0.mlp.experts.{}.", e);
    const bool reached = seen.rows.contains(prefix + "in");
    EXPECT_EQ(reached, seen.rows.contains(prefix + "mid"));
    if (!reached) continue;
    shown += seen.rows[prefix + "in"].size();
    EXPECT_EQ(seen.rows[prefix + "in"].size(), seen.rows[prefix + "mid"].size());
    for (const auto& row : seen.rows[prefix + "in"]) {
      EXPECT_NE(std::ranges::find(all, row), all.end());
    }
  }
  EXPECT_EQ(shown, ids_.size() * static_cast<size_t>(files_.config.experts_per_token));
}

TEST_F(ExpertBlock, StopsAtAnExpertThatNoTokenReaches) {
  const BlockRunner runner(files_, 0);
  const Matrix<const float> one(numbers_.data(), 1, files_.config.hidden);
  Seen all;
  runner.observe(one, {}, ctx_, all.observer());
  for (const char* part : {"in", "mid"}) {
    for (int64_t e = 0; e < files_.config.experts; ++e) {
      const std::string last = fmt::format("layers.0.mlp.experts.{}.{}", e, part);
      Seen seen;
      runner.observe(one, last, ctx_, seen.observer());
      ASSERT_LE(seen.names.size(), all.names.size());
      EXPECT_TRUE(std::equal(seen.names.begin(), seen.names.end(), all.names.begin())) << last;
      const auto at = std::ranges::find(all.names, last);
      if (at != all.names.end()) {
        EXPECT_EQ(seen.names.back(), last);
      } else if (!seen.names.empty()) {
        EXPECT_LT(seen.names.size(), all.names.size() + 1);
      }
    }
  }
}

/// The matrix in a slot, all zeros.
PackedMatrix zeros(const Slot& slot) {
  const std::vector<float> weight(static_cast<size_t>(slot.shape[0] * slot.shape[1]));
  return pack_dense(parse_format("f32"), {weight.data(), slot.shape[0], slot.shape[1]});
}

TEST_F(ExpertBlock, AReplacedExpertAddsWhatItsNewMatrixMakes) {
  BlockRunner all(files_, 0), none(files_, 0);
  Seen seen;
  all.observe(stream(), {}, ctx_, seen.observer());
  for (const Slot& slot : files_.slots) {
    if (slot.layer != 0 || slot.role != Role::kMlpOut) continue;
    none.replace(slot.slot, zeros(slot), {});
  }
  std::vector<float> whole = numbers_, without = numbers_;
  all.run({whole.data(), std::ssize(ids_), files_.config.hidden}, ctx_);
  none.run({without.data(), std::ssize(ids_), files_.config.hidden}, ctx_);
  EXPECT_NE(whole, without);
  // Only the tokens of one expert change when that one is silent.
  const Slot* slot = files_.find("layers.0.mlp.experts.2.down");
  ASSERT_NE(slot, nullptr);
  BlockRunner but_one(files_, 0);
  but_one.replace(slot->slot, zeros(*slot), {});
  std::vector<float> quiet = numbers_;
  but_one.run({quiet.data(), std::ssize(ids_), files_.config.hidden}, ctx_);
  size_t changed = 0;
  const auto width = static_cast<size_t>(files_.config.hidden);
  for (size_t t = 0; t < ids_.size(); ++t) {
    changed += std::equal(quiet.begin() + static_cast<std::ptrdiff_t>(t * width),
                          quiet.begin() + static_cast<std::ptrdiff_t>((t + 1) * width),
                          whole.begin() + static_cast<std::ptrdiff_t>(t * width))
                   ? 0
                   : 1;
  }
  EXPECT_EQ(changed, seen.rows["layers.0.mlp.experts.2.in"].size());
  EXPECT_GT(changed, 0u);
}

TEST_F(ExpertBlock, ATokenReadsTheMatricesOfItsExpertsOnly) {
  int64_t always = 0, experts = 0;
  for (const Slot& slot : files_.slots) {
    const bool read =
        is_block_linear(slot.role) || slot.role == Role::kRouter || slot.role == Role::kHead;
    if (!read) continue;
    (slot.expert < 0 ? always : experts) += static_cast<int64_t>(slot.tensor->bytes.size());
  }
  EXPECT_EQ(Model::load(files_)->bytes_per_token(), always + experts * 2 / 6);
}

}  // namespace
}  // namespace twofold
