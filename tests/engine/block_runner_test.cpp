#include "engine/block_runner.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "engine/block.h"
#include "support/paths.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;
using Inputs = std::vector<std::pair<std::string, std::vector<float>>>;

/// Every model of tests/data/tiny-models that opens by itself.
std::vector<fs::path> tiny_models() {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(testing::test_data("tiny-models"))) {
    if (fs::exists(entry.path() / "config.json")) found.push_back(entry.path());
  }
  return found;
}

std::vector<int32_t> some_ids(const ModelConfig& config, int64_t count) {
  std::vector<int32_t> ids(static_cast<size_t>(std::min(count, config.context)));
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<int32_t>((i * 7 + 3) % static_cast<size_t>(config.vocab_size));
  }
  return ids;
}

InputObserver recorder(Inputs& inputs) {
  return [&inputs](std::string_view name, Matrix<const float> x) {
    std::vector<float> numbers;
    for (int64_t r = 0; r < x.rows; ++r) {
      numbers.insert(numbers.end(), x.row(r).begin(), x.row(r).end());
    }
    inputs.emplace_back(name, std::move(numbers));
  };
}

/// A stream [ids, hidden] that entered block 0.
struct Stream {
  Stream(const ModelFiles& files, std::span<const int32_t> ids, const Context& ctx)
      : numbers(ids.size() * static_cast<size_t>(files.config.hidden)),
        view(numbers.data(), static_cast<int64_t>(ids.size()), files.config.hidden) {
    embed_sequence(files, ids, view, ctx);
  }
  std::vector<float> numbers;
  Matrix<float> view;
};

/// The matrix in a slot times `factor`, as f32.
PackedMatrix dense_pack(const ModelFiles& files, const Slot& slot, float factor) {
  const Linear linear(files, slot, nullptr);
  std::vector<float> weight(static_cast<size_t>(linear.rows() * linear.cols()));
  for (int64_t r = 0; r < linear.rows(); ++r) linear.row(r, weight.data() + r * linear.cols());
  for (float& w : weight) w *= factor;
  return pack_dense(parse_format("f32"), {weight.data(), linear.rows(), linear.cols()});
}

TEST(BlockRunner, BlockAfterBlockGivesTheModelsNumbersBitForBit) {
  for (const int threads : {1, 2}) {
    ThreadPool pool(threads);
    const Context ctx{.pool = pool, .isa = select_isa()};
    for (const fs::path& path : tiny_models()) {
      SCOPED_TRACE(path.filename().string());
      const auto model = Model::load(path);
      const ModelFiles& files = model->files();
      for (const int64_t length : {int64_t{1}, int64_t{24}}) {
        const std::vector<int32_t> ids = some_ids(files.config, length);
        Inputs expected, found;
        const SequenceInput sequence{ids, nullptr};
        const AlignedBuffer<float> hidden = model->forward({&sequence, 1}, ctx, recorder(expected));
        const Stream stream(files, ids, ctx);
        for (int64_t layer = 0; layer < files.config.layers; ++layer) {
          BlockRunner(files, static_cast<int>(layer)).run(stream.view, ctx, recorder(found));
        }
        norm_rows(files.config, *read_norm(files, "final_norm"), stream.view, stream.view, ctx);
        EXPECT_EQ(found, expected);
        EXPECT_TRUE(std::ranges::equal(stream.numbers, hidden.span()));
      }
    }
  }
}

TEST(BlockRunner, ObserveShowsTheInputsOfRunUpToTheNamedOneAndLeavesTheStream) {
  ThreadPool pool(2);
  const Context ctx{.pool = pool, .isa = select_isa()};
  for (const fs::path& path : tiny_models()) {
    SCOPED_TRACE(path.filename().string());
    const ModelFiles files = open_model(path);
    const Stream stream(files, some_ids(files.config, 20), ctx);
    const std::vector<float> before = stream.numbers;
    const BlockRunner runner(files, 0);
    Inputs all, found;
    runner.observe(stream.view, "", ctx, recorder(all));
    if (files.config.layer(0).experts) {
      EXPECT_GT(all.size(), 5u);
    } else {
      ASSERT_EQ(all.size(), 4u);
    }
    for (size_t count = 1; count <= all.size(); ++count) {
      found.clear();
      runner.observe(stream.view, all[count - 1].first, ctx, recorder(found));
      EXPECT_EQ(found, Inputs(all.begin(), all.begin() + static_cast<int64_t>(count)));
    }
    EXPECT_EQ(stream.numbers, before);
    found.clear();
    runner.run(stream.view, ctx, recorder(found));
    EXPECT_EQ(found, all);
    EXPECT_NE(stream.numbers, before);
  }
}

TEST(BlockRunner, RunsSequencesOfDifferentLengthsOneAfterTheOther) {
  ThreadPool pool(1);
  const Context ctx{.pool = pool, .isa = select_isa()};
  const ModelFiles files = open_model(testing::test_data("tiny-models/llama-gqa"));
  const BlockRunner reused(files, 0);
  for (const int64_t length : {9, 24, 8, 1, 16}) {
    const Stream a(files, some_ids(files.config, length), ctx);
    const Stream b(files, some_ids(files.config, length), ctx);
    reused.run(a.view, ctx);
    BlockRunner(files, 0).run(b.view, ctx);
    EXPECT_EQ(a.numbers, b.numbers) << length;
  }
}

TEST(BlockRunner, ReplacedLinearsAreTheOnesThatMultiply) {
  ThreadPool pool(1);
  const Context ctx{.pool = pool, .isa = select_isa()};
  for (const char* name : {"tiny-models/llama-mha", "tiny-models/llama-q8"}) {
    const ModelFiles files = open_model(testing::test_data(name));
    const std::vector<int32_t> ids = some_ids(files.config, 20);
    BlockRunner same(files, 0), silent(files, 0);
    for (const Slot& slot : files.slots) {
      if (slot.layer != 0 || !is_block_linear(slot.role)) continue;
      same.replace(slot.slot, dense_pack(files, slot, 1), {});
      if (slot.role == Role::kAttentionOut || slot.role == Role::kMlpOut) {
        silent.replace(slot.slot, dense_pack(files, slot, 0), {});
      }
    }
    const Stream original(files, ids, ctx), replaced(files, ids, ctx), kept(files, ids, ctx);
    const std::vector<float> entered = kept.numbers;
    BlockRunner(files, 0).run(original.view, ctx);
    same.run(replaced.view, ctx);
    silent.run(kept.view, ctx);
    EXPECT_EQ(replaced.numbers, original.numbers) << "its own weights, once more";
    EXPECT_EQ(kept.numbers, entered) << "nothing is added by zero weights";
  }
}

TEST(BlockRunner, ReplacedLinearsKeepTheirBias) {
  ThreadPool pool(1);
  const Context ctx{.pool = pool, .isa = select_isa()};
  const ModelFiles files = open_model(testing::test_data("tiny-models/gpt2"));
  BlockRunner runner(files, 0);
  std::vector<float> expected(static_cast<size_t>(files.config.hidden));
  for (const Slot& slot : files.slots) {
    if (slot.layer != 0) continue;
    if (slot.role != Role::kAttentionOut && slot.role != Role::kMlpOut) continue;
    runner.replace(slot.slot, dense_pack(files, slot, 0), {});
    const Slot* bias = files.find(slot.slot + ".bias");
    ASSERT_NE(bias, nullptr);
    const std::vector<float> numbers = read_vector(*bias);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += numbers[i];
  }
  const Stream stream(files, some_ids(files.config, 20), ctx);
  const std::vector<float> entered = stream.numbers;
  runner.run(stream.view, ctx);
  for (size_t i = 0; i < entered.size(); ++i) {
    ASSERT_NEAR(stream.numbers[i], entered[i] + expected[i % expected.size()], 1e-5f);
  }
}

TEST(BlockRunner, RefusesWhatTheBlockDoesNotHave) {
  ThreadPool pool(1);
  const Context ctx{.pool = pool, .isa = select_isa()};
  const ModelFiles files = open_model(testing::test_data("tiny-models/llama-mha"));
  BlockRunner runner(files, 0);
  const Slot* down = files.find("layers.0.mlp.down");
  ASSERT_NE(down, nullptr);
  const PackedMatrix packed = dense_pack(files, *down, 1);
  EXPECT_THROW(runner.replace("layers.1.mlp.down", packed, {}), Error);
  EXPECT_THROW(runner.replace("layers.0.mlp.gate", packed, {}), Error) << "another shape";
  const Stream stream(files, some_ids(files.config, 8), ctx);
  EXPECT_THROW(runner.observe(stream.view, "layers.1.mlp.mid", ctx, {}), Error);
  std::vector<float> wrong_id(static_cast<size_t>(files.config.hidden));
  const std::vector<int32_t> outside = {static_cast<int32_t>(files.config.vocab_size)};
  EXPECT_THROW(embed_sequence(files, outside, {wrong_id.data(), 1, files.config.hidden}, ctx),
               Error);
  std::vector<float> far(static_cast<size_t>((files.config.context + 1) * files.config.hidden));
  EXPECT_THROW(runner.run({far.data(), files.config.context + 1, files.config.hidden}, ctx), Error);
}

}  // namespace
}  // namespace twofold
