// Activations in int8 on the embedded model, for formats of every kind of kernel: the text is the
// one of the scalar kernels, and nearly always the one of float activations.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/cpu.h"
#include "engine/generate.h"
#include "engine/load_tokenizer.h"
#include "pipeline/quantize_model.h"
#include "pipeline/support.h"
#include "quant/method.h"

namespace twofold {
namespace {

using testing::shakespeare;
using testing::TempFolder;
namespace fs = std::filesystem;

struct Case {
  const char* format;  // of the matrices in blocks
  const char* method;
  int bits;
  int64_t group = 0;
  std::map<std::string, std::string> params = {};
};
const Case kCases[] = {
    {"r16-u2", "hadamard-gptq", 2},  // nearest rounding leaves no text at 2 bits
    {"r16-u3-g32", "rtn", 3, 32},
    {"r16-u4", "rtn", 4},
    {"r16-u4-g128", "rtn", 4, 128},
    {"r16-u5", "rtn", 5},
    {"r16-u6", "rtn", 6},
    {"r16-u8", "rtn", 8},
    {"r16-s4-g64", "rtn", 4, 64, {{"zero", "symmetric"}}},
    {"r16-c2-m", "quip", 2},
    {"r16-zf3", "rtn", 3, 0, {{"zero", "float"}}},
    {"r16-t3", "pot", 3},
    {"r16-t4", "pot", 4},
    {"r16-t5w", "pot", 5},
    {"r16-tr2", "trellis", 2, 0, {{"explore", "weights"}, {"effort", "fast"}}},
    {"r16-rt2", "bcq", 2},
    {"r16-rt3", "bcq", 3},
    {"r16-rt4", "bcq", 4},
    {"r16-b2", "bcq", 2, 0, {{"storage", "planes"}}},
    {"r16-b3", "bcq", 3, 0, {{"storage", "planes"}}},
    {"r16-b3-g32", "bcq", 3, 32, {{"storage", "planes"}}},
};

std::vector<int32_t> read_validation(const Tokenizer& tokenizer) {
  const std::string text = testing::read_file(shakespeare() / "input.txt");
  return tokenizer.encode(std::string_view(text).substr(text.size() / 10 * 9));
}

class Int8Text : public ::testing::TestWithParam<Case> {
 protected:
  std::shared_ptr<const Model> quantized(const fs::path& source) {
    const Case& c = GetParam();
    RecipeFlags flags;
    flags.block.method = c.method;
    flags.block.bits = c.bits;
    flags.block.group = c.group;
    flags.block.params = c.params;
    QuantizeOptions options{.output = folder_ / "model", .force = true, .command_line = "test"};
    if (needs_moment(choose_method(flags.block))) {
      const std::string text = testing::read_file(source / "input.txt");
      testing::write_file(folder_ / "train.txt", text.substr(0, text.size() / 10 * 9));
      options.calibration = {.files = {folder_ / "train.txt"}, .samples = 256, .context = 64};
    }
    quantize_model(open_model(source), recipe_from_flags(flags), options, {.pool = pool_});
    auto model = Model::load(folder_ / "model");
    for (const Slot& slot : model->files().slots) {
      if (slot.layer < 0 || slot.shape.size() != 2) continue;
      EXPECT_EQ(slot.format, c.format) << slot.name;
    }
    return model;
  }

  std::vector<int32_t> greedy(const Model& model, std::vector<int32_t> prompt, int64_t tokens,
                              Isa kernels) {
    GenerateOptions options{.max_tokens = tokens, .ignore_eos = true};
    options.sampler.temperature = 0;
    const Context ctx{.pool = pool_,
                      .isa = select_isa(),
                      .activations = Activations::kInt8,
                      .kernel_limit = kernels};
    std::vector<int32_t> ids = generate(model, nullptr, prompt, options, ctx).ids;
    EXPECT_EQ(std::ssize(ids), tokens);
    return ids;
  }

  TempFolder folder_;
  ThreadPool pool_{2, false};
};
std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  std::string name = info.param.format + 4;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Formats, Int8Text, ::testing::ValuesIn(kCases), name_of);

/// Most likely next token at every position of windows of the model's context.
std::vector<int32_t> top1(const Model& model, std::span<const int32_t> ids, const Context& ctx) {
  const int64_t context = model.config().context, vocab = model.config().vocab_size;
  std::vector<int32_t> best;
  std::vector<float> logits(static_cast<size_t>(context * vocab));
  for (size_t at = 0; at + context <= ids.size(); at += context) {
    const SequenceInput window{ids.subspan(at, context)};
    const AlignedBuffer<float> hidden = model.forward({&window, 1}, ctx);
    model.logits({hidden.data(), context, model.config().hidden}, {logits.data(), context, vocab},
                 ctx);
    for (int64_t p = 0; p < context; ++p) {
      const auto row = logits.begin() + p * vocab;
      best.push_back(static_cast<int32_t>(std::max_element(row, row + vocab) - row));
    }
  }
  return best;
}

TEST_P(Int8Text, IsTheScalarKernelsAndNearlyThatOfFloatActivations) {
  const auto model = quantized(shakespeare());
  const auto tokenizer = load_tokenizer(model->files());
  // The context has 64 tokens, so 200 are four texts of 50.
  for (const char* prompt : {"ROMEO:\n", "First Cit", "The king ", "\n"}) {
    const std::vector<int32_t> ids = tokenizer->encode(prompt);
    const std::vector<int32_t> expected = greedy(*model, ids, 50, Isa::kScalar);
    for (const Isa isa : all_isas()) {
      if (isa > select_isa()) continue;
      // Everything but the packed kernels is the same: so is every logit.
      EXPECT_EQ(greedy(*model, ids, 50, isa), expected) << isa_name(isa) << ' ' << prompt;
    }
  }
  std::vector<int32_t> text = read_validation(*tokenizer);
  text.resize(500 * 64);
  const Isa isa = select_isa();
  const auto exact = top1(*model, text, {.pool = pool_, .isa = isa});
  const auto rounded =
      top1(*model, text, {.pool = pool_, .isa = isa, .activations = Activations::kInt8});
  int64_t same = 0;
  for (size_t i = 0; i < exact.size(); ++i) same += exact[i] == rounded[i] ? 1 : 0;
  const double agreement = static_cast<double>(same) / static_cast<double>(exact.size());
  RecordProperty("agreement", fmt::format("{:.4f}", agreement));
  EXPECT_GE(agreement, 0.99);
}

}  // namespace
}  // namespace twofold
