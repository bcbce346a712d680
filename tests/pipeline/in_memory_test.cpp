// A written folder is the model that was in memory: for every method, the same matrices quantized
// here, block by block, and run from memory have the loss of the folder that was read back.
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "calib/moment_sum.h"
#include "engine/block_runner.h"
#include "engine/load_tokenizer.h"
#include "engine/model.h"
#include "eval/evaluate.h"
#include "pipeline/quantize_model.h"
#include "pipeline/support.h"
#include "quant/method.h"

namespace twofold {
namespace {

using testing::numbers_of;
using testing::recipe_of;
using testing::stories;
using testing::TempFolder;
using testing::test_data;

constexpr uint64_t kSeed = 7;

struct Sequence {
  std::vector<int32_t> ids;
  std::vector<float> stream;  // [ids, hidden]
  Matrix<float> matrix(int64_t hidden) { return {stream.data(), std::ssize(ids), hidden}; }
};

/// Quantizes what reads `input` and puts it into `runner`, by no file.
void replace_readers(const ModelFiles& source, int layer, const std::string& input,
                     const SecondMoment& moment, const MethodChoice& choice, BlockRunner& runner,
                     const Context& ctx) {
  InputProblem problem{.moment = &moment, .weights = {}, .seed = kSeed, .name = input};
  std::vector<const Slot*> readers;
  std::vector<std::vector<float>> numbers;
  for (const Slot& slot : source.slots) {
    if (slot.layer != layer || slot.input != input) continue;
    readers.push_back(&slot);
    numbers.push_back(numbers_of(slot));
    problem.weights.emplace_back(numbers.back().data(), slot.shape[0], slot.shape[1]);
  }
  const auto prepared = prepare_input(choice, problem, ctx);
  for (size_t i = 0; i < readers.size(); ++i) {
    const Solution solution = solve(choice, *prepared,
                                    {.weight = problem.weights[i],
                                     .moment = &moment,
                                     .seed = kSeed,
                                     .input_name = input,
                                     .matrix_name = readers[i]->name},
                                    ctx);
    runner.replace(readers[i]->slot, pack(solution.q), solution.q.transform);
  }
}

/// Mean of -log p of each next token: RMS norm and head as written in a book, in float64.
double loss_of(const ModelFiles& source, Sequence& sequence) {
  const int64_t hidden = source.config.hidden, vocabulary = source.config.vocab_size;
  const std::vector<float> gain = numbers_of(*source.find("final_norm"));
  const Slot* head = source.find("head");
  const std::vector<float> table = numbers_of(head != nullptr ? *head : *source.find("embed"));
  double sum = 0;
  for (size_t t = 0; t + 1 < sequence.ids.size(); ++t) {
    const float* x = sequence.stream.data() + t * static_cast<size_t>(hidden);
    double squares = 0;
    for (int64_t i = 0; i < hidden; ++i) squares += static_cast<double>(x[i]) * x[i];
    const double scale =
        1 / std::sqrt(squares / static_cast<double>(hidden) + source.config.norm_eps);
    double total = 0, wanted = 0;
    for (int64_t token = 0; token < vocabulary; ++token) {
      double logit = 0;
      for (int64_t i = 0; i < hidden; ++i) {
        logit += scale * x[i] * gain[static_cast<size_t>(i)] *
                 table[static_cast<size_t>(token * hidden + i)];
      }
      total += std::exp(logit);
      if (token == sequence.ids[t + 1]) wanted = logit;
    }
    sum += std::log(total) - wanted;
  }
  return sum / static_cast<double>(sequence.ids.size() - 1);
}

double loss_in_memory(const ModelFiles& source, const MethodChoice& choice,
                      const CalibrationSamples& samples, const std::vector<int32_t>& text,
                      const Context& ctx) {
  const int64_t hidden = source.config.hidden;
  std::vector<Sequence> sequences;
  for (const std::vector<int32_t>& window : samples.windows) sequences.push_back({window, {}});
  sequences.push_back({text, {}});  // goes through the blocks behind the samples
  for (Sequence& sequence : sequences) {
    sequence.stream.resize(sequence.ids.size() * static_cast<size_t>(hidden));
    embed_sequence(source, sequence.ids, sequence.matrix(hidden), ctx);
  }
  for (int layer = 0; layer < source.config.layers; ++layer) {
    BlockRunner runner(source, layer);
    std::map<std::string, MomentSum> sums;
    for (size_t i = 0; i + 1 < sequences.size(); ++i) {
      runner.observe(
          sequences[i].matrix(hidden), {}, ctx, [&](std::string_view input, Matrix<const float> x) {
            sums.try_emplace(std::string(input), x.cols).first->second.add_sequence(x, ctx);
          });
    }
    for (const auto& [input, sum] : sums) {
      replace_readers(source, layer, input, sum.mean(), choice, runner, ctx);
    }
    for (Sequence& sequence : sequences) runner.run(sequence.matrix(hidden), ctx);
  }
  return loss_of(source, sequences.back());
}

TEST(InMemory, EveryMethodsFolderReloadsToTheLossOfTheModelInMemory) {
  ThreadPool pool(2, false);
  const Context ctx{.pool = pool, .isa = select_isa()};
  const TempFolder folder;
  const ModelFiles source = open_model(stories());
  const CalibrationOptions calibration{
      .files = {test_data("text") / "ts-calibration.txt"}, .samples = 4, .context = 64};
  const CalibrationSamples samples =
      load_samples(calibration, *load_tokenizer(source), source.config.context, kSeed);
  std::vector<std::vector<int32_t>> texts = {samples.held_back.front()};
  texts[0].resize(std::min<size_t>(texts[0].size(), 64));
  for (const Method& method : all_methods()) {
    const MethodChoice choice = choose_method({.method = std::string(method.name)});
    const std::string name(method.name);
    quantize_model(source, recipe_of(name, choice.bits, "keep"),
                   {.output = folder / name,
                    .seed = kSeed,
                    .command_line = "test",
                    .calibration = calibration},
                   ctx);
    const auto reloaded = Model::load(folder / name);
    const double expected = loss_in_memory(source, choice, samples, texts[0], ctx);
    const double found = evaluate(*reloaded, nullptr, texts, 0, {.protocol = "sequences"},
                                  {.config = reloaded->config()}, ctx)
                             .nats_per_token;
    EXPECT_NEAR(found, expected, 1e-6 * expected) << name;
  }
}

}  // namespace
}  // namespace twofold
