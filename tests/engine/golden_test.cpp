// Logits against the transformers library (tests/data/tiny-models), the published minGPT results
// and llama2.c's text.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/json.h"
#include "engine/generate.h"
#include "engine/load_tokenizer.h"
#include "support/paths.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;
using testing::read_file;
using testing::source_dir;
using testing::test_data;

struct Golden {
  fs::path model, expected;
};

/// Every folder and every GGUF file of tests/data/tiny-models, by what is there.
std::vector<Golden> tiny_models() {
  std::vector<Golden> found;
  for (const auto& entry : fs::directory_iterator(test_data("tiny-models"))) {
    const fs::path path = entry.path();
    if (fs::exists(path / "expected.json")) found.push_back({path, path / "expected.json"});
    if (path.extension() != ".gguf") continue;
    std::string name = path.stem().string();
    if (const size_t part = name.find("-00001-of-"); part != std::string::npos) {
      name.resize(part);
    } else if (name.find("-of-") != std::string::npos) {
      continue;
    }
    found.push_back({path, path.parent_path() / name / "expected.json"});
  }
  return found;
}

std::vector<float> logits_of(const Model& model, std::span<const SequenceInput> batch,
                             const Context& ctx) {
  const ModelConfig& c = model.config();
  const AlignedBuffer<float> hidden = model.forward(batch, ctx);
  const int64_t rows = static_cast<int64_t>(hidden.size()) / c.hidden;
  std::vector<float> logits(static_cast<size_t>(rows * c.vocab_size));
  model.logits({hidden.data(), rows, c.hidden}, {logits.data(), rows, c.vocab_size}, ctx);
  return logits;
}

void expect_row(std::span<const float> found, const Json& expected, double bound,
                const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_NEAR(found[i], expected[i].get<double>(), bound) << what << " logit " << i;
  }
}

void check_sequences(const Model& model, const Json& expected, double bound,
                     const std::string& name, const Context& ctx) {
  const size_t vocab = static_cast<size_t>(model.config().vocab_size);
  for (const Json& sequence : expected.at("sequences")) {
    const auto ids = sequence.at("ids").get<std::vector<int32_t>>();
    const SequenceInput input{ids, nullptr};
    const std::vector<float> logits = logits_of(model, {&input, 1}, ctx);
    if (sequence.contains("logits")) {
      for (size_t p = 0; p < ids.size(); ++p) {
        expect_row({logits.data() + p * vocab, vocab}, sequence["logits"][p], bound, name);
      }
    } else {
      expect_row({logits.data() + (ids.size() - 1) * vocab, vocab}, sequence.at("last_logits"),
                 bound, name);
    }
  }
}

TEST(Golden, TinyModelsGiveTheLogitsOfTheTransformersLibrary) {
  ThreadPool pool(2);
  size_t checked = 0;
  for (const Isa isa : all_isas()) {
    if (!cpu_has(isa)) continue;
    const Context ctx{.pool = pool, .isa = isa};
    for (const Golden& golden : tiny_models()) {
      const auto model = Model::load(golden.model);
      const Json expected = parse_json(read_file(golden.expected), golden.expected.string());
      check_sequences(*model, expected, 1e-4, golden.model.filename().string(), ctx);
      if (expected.contains("greedy")) {
        const auto prompt = expected["greedy"]["prompt"].get<std::vector<int32_t>>();
        const auto wanted = expected["greedy"]["continuation"].get<std::vector<int32_t>>();
        const GenerateResult result = generate(*model, nullptr, prompt,
                                               {.max_tokens = static_cast<int64_t>(wanted.size()),
                                                .sampler = {.temperature = 0},
                                                .ignore_eos = true},
                                               ctx);
        EXPECT_EQ(result.ids, wanted) << golden.model;
      }
      ++checked;
    }
  }
  EXPECT_GE(checked, 20u);
}

TEST(Golden, MinGptSortGivesItsPublishedLogits) {
  ThreadPool pool(1);
  const auto model = Model::load(test_data("mingpt-nano-sort"));
  const Json expected = parse_json(read_file(test_data("mingpt-nano-sort/expected.json")), "json");
  check_sequences(*model, expected, 1e-5, "mingpt", {.pool = pool, .isa = select_isa()});
}

TEST(Golden, Stories260kWritesTheTextOfLlama2c) {
  const fs::path folder = source_dir() / "models" / "stories260k";
  ThreadPool pool(2);
  const Context ctx{.pool = pool, .isa = select_isa()};
  const auto model = Model::load(folder / "stories260K.bin");
  const auto tokenizer = load_tokenizer(model->files());
  ASSERT_NE(tokenizer, nullptr);
  const std::vector<int32_t> prompt = {1};
  std::string streamed;
  const GenerateResult result =
      generate(*model, tokenizer.get(), prompt,
               {.max_tokens = 200, .sampler = {.temperature = 0}, .ignore_eos = true}, ctx,
               [&](std::string_view piece) { streamed += piece; });
  EXPECT_EQ(result.text, read_file(folder / "expected-greedy-200.txt"));
  EXPECT_EQ(streamed, result.text);
}

TEST(Golden, BabyllamaGreedyIdsStayTheSame) {
  const fs::path folder = source_dir() / "models" / "babyllama-tok105";
  ThreadPool pool(2);
  const auto model = Model::load(folder / "model5000.bin");
  std::vector<int32_t> wanted;
  std::istringstream file(read_file(folder / "own-run-greedy-256.ids"));
  for (int32_t id; file >> id;) wanted.push_back(id);
  ASSERT_EQ(wanted.size(), 256u);
  const GenerateResult result =
      generate(*model, nullptr, std::vector<int32_t>{1},
               {.max_tokens = 255, .sampler = {.temperature = 0}, .ignore_eos = true},
               {.pool = pool, .isa = select_isa()});
  EXPECT_EQ(result.ids, std::vector<int32_t>(wanted.begin() + 1, wanted.end()));
}

TEST(Forward, TokensThroughTheCacheEqualTheWholeSequence) {
  ThreadPool pool(2);
  const Context ctx{.pool = pool, .isa = select_isa()};
  for (const Golden& golden : tiny_models()) {
    const auto model = Model::load(golden.model);
    const size_t vocab = static_cast<size_t>(model->config().vocab_size);
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < 40; ++i) ids.push_back((i * 37 + 5) % static_cast<int32_t>(vocab));
    const SequenceInput whole{ids, nullptr};
    const std::vector<float> expected = logits_of(*model, {&whole, 1}, ctx);
    KvCache cache(model->config(), std::ssize(ids));
    // Pieces of several lengths: a prompt, single tokens, a longer continuation.
    size_t at = 0;
    for (const size_t count : {17u, 1u, 1u, 9u, 1u, 11u}) {
      const SequenceInput piece{std::span(ids).subspan(at, count), &cache};
      const std::vector<float> logits = logits_of(*model, {&piece, 1}, ctx);
      for (size_t i = 0; i < logits.size(); ++i) {
        ASSERT_NEAR(logits[i], expected[at * vocab + i], 2e-5) << golden.model << " " << at;
      }
      at += count;
    }
    EXPECT_EQ(cache.length(), 40);
  }
}

TEST(Forward, BatchesEqualSingleRunsAndThreadsDoNotMatter) {
  ThreadPool one(1), three(3);
  for (const Golden& golden : tiny_models()) {
    const auto model = Model::load(golden.model);
    const std::vector<int32_t> a(33, 3), b = {5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7};
    KvCache cache(model->config(), 64);
    const SequenceInput first{b, &cache};
    model->forward({&first, 1}, {.pool = one, .isa = select_isa()});
    const SequenceInput alone{b, nullptr};
    const std::vector<float> single =
        logits_of(*model, {&alone, 1}, {.pool = one, .isa = select_isa()});
    const SequenceInput batch[] = {{a, nullptr}, {b, nullptr}, {a, &cache}};
    const std::vector<float> together =
        logits_of(*model, batch, {.pool = three, .isa = select_isa()});
    const std::span fresh(batch, 2);
    EXPECT_EQ(logits_of(*model, fresh, {.pool = one, .isa = select_isa()}),
              logits_of(*model, fresh, {.pool = three, .isa = select_isa()}))
        << golden.model;
    const size_t vocab = static_cast<size_t>(model->config().vocab_size);
    // An expert may have fewer than kGemmMinRows tokens of one sequence, and more of a batch.
    const float bound = model->config().experts > 0 ? 2e-5f : 0;
    for (size_t i = 0; i < single.size(); ++i) {
      ASSERT_NEAR(single[i], together[33 * vocab + i], bound) << golden.model;
    }
  }
}

/// The likeliest token of each row of hidden states.
std::vector<int32_t> best_tokens(const Model& model, const AlignedBuffer<float>& states,
                                 int64_t rows, const Context& ctx) {
  const ModelConfig& c = model.config();
  std::vector<float> logits(static_cast<size_t>(rows * c.vocab_size));
  model.logits({states.data(), rows, c.hidden}, {logits.data(), rows, c.vocab_size}, ctx);
  std::vector<int32_t> best;
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = std::span(logits).subspan(static_cast<size_t>(r * c.vocab_size),
                                               static_cast<size_t>(c.vocab_size));
    best.push_back(static_cast<int32_t>(std::ranges::max_element(row) - row.begin()));
  }
  return best;
}

TEST(Forward, SequencesGeneratedTogetherEqualThoseGeneratedAlone) {
  ThreadPool one(1), three(3);
  const Context alone{.pool = one, .isa = select_isa()}, together{.pool = three, .isa = alone.isa};
  for (const Golden& golden : tiny_models()) {
    const auto model = Model::load(golden.model);
    for (const KvFormat& format : kv_formats()) {
      // Prompts of different lengths, so that every sequence is at a position of its own.
      std::vector<KvCache> caches;
      std::vector<std::vector<int32_t>> wanted;
      std::vector<int32_t> last;
      for (const int64_t length : {3, 17, 9, 9}) {
        std::vector<int32_t> prompt;
        for (int64_t i = 0; i < length; ++i) {
          prompt.push_back(static_cast<int32_t>((i * 29 + length) % model->config().vocab_size));
        }
        wanted.push_back(generate(*model, nullptr, prompt,
                                  {.max_tokens = 12,
                                   .sampler = {.temperature = 0},
                                   .ignore_eos = true,
                                   .kv_cache = std::string(format.name)},
                                  alone)
                             .ids);
        const SequenceInput input{prompt,
                                  &caches.emplace_back(model->config(), length + 12, format)};
        const AlignedBuffer<float> states = model->forward({&input, 1}, together);
        last.push_back(best_tokens(*model, states, length, together).back());
      }
      std::vector<std::vector<int32_t>> got(wanted.size());
      for (size_t step = 0; step < wanted.front().size(); ++step) {
        std::vector<SequenceInput> batch;
        for (size_t s = 0; s < last.size(); ++s) {
          got[s].push_back(last[s]);
          batch.push_back({{&last[s], 1}, &caches[s]});
        }
        const AlignedBuffer<float> states = model->forward(batch, together);
        last = best_tokens(*model, states, std::ssize(batch), together);
      }
      EXPECT_EQ(got, wanted) << golden.model << " " << format.name;
    }
  }
}

TEST(Forward, ObserversSeeEveryInputOfEveryLinear) {
  ThreadPool pool(1);
  for (const char* name : {"tiny-models/gpt2", "tiny-models/llama-gqa"}) {
    const auto model = Model::load(test_data(name));
    std::set<std::string> expected, seen;
    for (const Slot& slot : model->files().slots) {
      if (is_block_linear(slot.role)) expected.insert(slot.input);
    }
    const std::vector<int32_t> ids = {1, 2, 3};
    const SequenceInput input{ids, nullptr};
    model->forward({&input, 1}, {.pool = pool, .isa = Isa::kScalar},
                   [&](std::string_view what, Matrix<const float> x) {
                     EXPECT_EQ(x.rows, 3);
                     for (const Slot& slot : model->files().slots) {
                       if (slot.input == what) {
                         EXPECT_EQ(x.cols, slot.shape[1]);
                       }
                     }
                     seen.insert(std::string(what));
                   });
    EXPECT_EQ(seen, expected);
  }
}

TEST(Forward, AFormatThatDoesNotExistIsADamagedFile) {
  ModelFiles files = open_model(test_data("tiny-models/llama-tied"));
  for (Slot& slot : files.slots) {
    if (slot.role == Role::kMlpOut) slot.format = "r16-u99";
  }
  const std::string path = files.path.string();
  try {
    Model::load(std::move(files));
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kCorruptFile);
    EXPECT_NE(std::string(e.what()).find(path), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("r16-u99"), std::string::npos) << e.what();
  }
}

TEST(Forward, BadRequestsAreRefused) {
  ThreadPool pool(1);
  const Context ctx{.pool = pool};
  const auto model = Model::load(test_data("tiny-models/gpt2"));
  const auto refused = [&](const std::vector<int32_t>& ids) {
    const SequenceInput input{ids, nullptr};
    try {
      model->forward({&input, 1}, ctx);
    } catch (const Error& e) {
      return e.code() == ErrorCode::kInvalidArgument;
    }
    return false;
  };
  EXPECT_TRUE(refused({}));
  EXPECT_TRUE(refused({-1}));
  EXPECT_TRUE(refused({static_cast<int32_t>(model->config().vocab_size)}));
  EXPECT_TRUE(refused(std::vector<int32_t>(static_cast<size_t>(model->config().context) + 1, 0)));
  std::atomic<bool> cancel{true};
  const std::vector<int32_t> ids = {1};
  const SequenceInput input{ids, nullptr};
  EXPECT_THROW(model->forward({&input, 1}, {.pool = pool, .cancel = &cancel}), Error);
}

}  // namespace
}  // namespace twofold
