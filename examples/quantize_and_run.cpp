// Quantizes a model to 4-bit integers, scores both versions on the end of a text and writes a few
// words with the small one: the whole library in one page.
//
//   quantize_and_run MODEL OUTPUT TEXT
//   quantize_and_run models/shakespeare-char /tmp/shakespeare-4 models/shakespeare-char/input.txt
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "engine/generate.h"
#include "engine/load_tokenizer.h"
#include "eval/evaluate.h"
#include "pipeline/quantize_model.h"

namespace {

using namespace twofold;

std::string last_bytes(const char* path, size_t count) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return text.size() > count ? text.substr(text.size() - count) : text;
}

void run(const char* source_path, const char* output, const char* text_path) {
  ThreadPool pool;  // one thread per physical core
  const Context ctx{.pool = pool, .isa = select_isa()};

  // 4-bit codes, one scale and zero point for every 64 weights; head and token table at 8 bits.
  const Recipe recipe =
      recipe_from_flags({.block = {.method = "rtn", .bits = 4, .group = 64, .transform = {}}});
  const ModelFiles source = open_model(source_path);
  const QuantizeReport report =
      quantize_model(source, recipe, {.output = output, .force = true}, ctx);
  std::printf("%.2f bits per weight, %.2f with everything else\n", report.bits_per_weight,
              report.bits_per_weight_total);

  const auto original = Model::load(source);
  const auto small = Model::load(output);
  const auto tokenizer = load_tokenizer(small->files());
  if (tokenizer == nullptr) fail(ErrorCode::kIo, output, "expected a tokenizer, found none");

  const std::string text = last_bytes(text_path, 20000);
  const std::vector<std::vector<int32_t>> texts = {tokenizer->encode(text)};
  const EvalResult score =
      evaluate(*small, original.get(), texts, static_cast<int64_t>(text.size()),
               {.protocol = "nanogpt-full"}, {.config = small->config()}, ctx);
  std::printf("%.4f nats per token; from the original: KL %.5f, same best token %.1f %%\n",
              score.nats_per_token, score.divergence->kl_mean,
              100 * score.divergence->top1_agreement);

  const GenerateOptions options{.max_tokens = 50, .sampler = {.temperature = 0.8f, .seed = 1}};
  const GenerateResult written =
      generate(*small, tokenizer.get(), tokenizer->encode("ROMEO:"), options, ctx);
  std::printf("ROMEO:%s\n", written.text.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: quantize_and_run MODEL OUTPUT TEXT\n");
    return 2;
  }
  try {
    run(argv[1], argv[2], argv[3]);
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
