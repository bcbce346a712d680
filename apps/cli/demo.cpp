#include "demo.h"

#include <array>

#include "engine/generate.h"
#include "engine/load_tokenizer.h"
#include "io/file.h"
#include "pipeline/quantize_model.h"
#include "temporary_folder.h"

namespace twofold::cli {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRtn = "round to nearest, per row";
constexpr std::string_view kPot = "powers of two, per row";
constexpr std::string_view kPublished = "powers of two as published, per tensor";
constexpr std::string_view kGptq = "GPTQ", kGptqt = "GPTQT", kQuip = "QuIP", kTrellis = "trellis";

/// Steps of the bar of the whole demonstration.
constexpr int64_t kSteps = 1000;

/// A context whose progress fills the part from begin / steps to end / steps of that of `ctx`.
Context part_of(const Context& ctx, int64_t begin, int64_t end, int64_t steps) {
  Context part = ctx;
  part.progress = [&ctx, begin, end, steps](std::string_view, int64_t done, int64_t total) {
    if (total <= 0) return;
    ctx.report("demo", kSteps * (begin * total + (end - begin) * done) / (steps * total), kSteps);
  };
  return part;
}

/// The text up to the end of its validation part.
std::string demo_text(const fs::path& folder) {
  const fs::path path = folder / "input.txt";
  const std::string text = read_text_file(path);
  if (std::ssize(text) < kDemoTextEnd) {
    fail(ErrorCode::kCorruptFile, path.string(), "expected at least {} bytes, found {}",
         kDemoTextEnd, text.size());
  }
  return text.substr(0, kDemoTextEnd);
}

/// Tokens per second of greedy generation from a newline, over at least `kSeconds`.
double generation_speed(const Model& model, std::span<const int32_t> prompt, const Context& ctx) {
  constexpr double kSeconds = 0.25;
  GenerateOptions options{.max_tokens = -1, .ignore_eos = true};
  options.sampler.temperature = 0;
  Context silent = ctx;
  silent.activations = Activations::kInt8;
  silent.progress = nullptr;
  generate(model, nullptr, prompt, options, silent);
  double tokens = 0, seconds = 0;
  while (seconds < kSeconds) {
    const GenerateResult result = generate(model, nullptr, prompt, options, silent);
    tokens += static_cast<double>(result.ids.size());
    seconds += result.generate_seconds;
  }
  return tokens / seconds;
}

/// `count` tokens of text. The context is short, so each step starts anew from the last half of it.
std::string sample_text(const Model& model, const Tokenizer& tokenizer, std::vector<int32_t> ids,
                        uint64_t seed, const Context& ctx) {
  constexpr int64_t kTokens = 320;
  const int64_t half = model.config().context / 2;
  Context silent = ctx;
  silent.activations = Activations::kInt8;
  silent.progress = nullptr;
  GenerateOptions options{.max_tokens = half, .ignore_eos = true};
  options.sampler.seed = seed;
  const int64_t prompt = std::ssize(ids);
  while (std::ssize(ids) < prompt + kTokens) {
    const std::span<const int32_t> all(ids);
    const auto last = all.last(static_cast<size_t>(std::min(half, std::ssize(ids))));
    const GenerateResult result = generate(model, nullptr, last, options, silent);
    ids.insert(ids.end(), result.ids.begin(), result.ids.end());
    ++options.sampler.seed;
  }
  ids.erase(ids.begin(), ids.begin() + prompt);
  return tokenizer.decode(ids);
}

/// Quantizes each variant into `folder` and loads what was written; fills sizes of the rows.
/// @param calibration text of the rows that calibrate.
std::vector<std::shared_ptr<const Model>> make_models(const ModelFiles& source,
                                                      const fs::path& folder,
                                                      const fs::path& calibration,
                                                      std::vector<DemoRow>& rows,
                                                      const Context& ctx) {
  std::vector<std::shared_ptr<const Model>> models;
  for (DemoRow& row : rows) {
    const int64_t done = std::ssize(models);
    fs::path path = source.path;
    ctx.report("demo", done, std::ssize(rows));
    if (!row.variant->series.empty()) {
      path = folder / fmt::format("variant-{}", done);
      QuantizeOptions options{.output = path, .command_line = "twofold demo"};
      if (row.variant->calibrated) {
        options.calibration = CalibrationOptions{.files = {calibration},
                                                 .samples = kDemoCalibrationWindows,
                                                 .context = kDemoCalibrationContext,
                                                 .sampling = Sampling::kConsecutive};
      }
      quantize_model(source, demo_recipe(*row.variant), options,
                     part_of(ctx, done, done + 1, std::ssize(rows)));
    }
    models.push_back(Model::load(path));
    const QuantizeReport report = inspect_model(models.back()->files());
    row.bits_per_weight = report.bits_per_weight;
    row.bits_per_weight_total = report.bits_per_weight_total;
    row.bytes = report.bytes;
  }
  return models;
}

DemoVariant calibrated(std::string_view name, std::string_view series, std::string_view method,
                       int bits, bool sampled = false) {
  return {.name = name,
          .series = series,
          .request = {.method = std::string(method), .bits = bits},
          .sampled = sampled,
          .calibrated = true};
}

}  // namespace

std::span<const DemoVariant> demo_variants() {
  static const std::array kVariants = {
      DemoVariant{.name = "float32", .series = "", .request = {}, .sampled = true},
      DemoVariant{.name = "int8", .series = kRtn, .request = {.method = "rtn", .bits = 8}},
      DemoVariant{.name = "PoT as published",
                  .series = kPublished,
                  .request = {.method = "pot",
                              .params = {{"range", "-16,15"},
                                         {"exponent-rounding", "up"},
                                         {"scale-per", "tensor"}}},
                  .tables_float = true},
      DemoVariant{.name = "PoT, 5 bits", .series = kPot, .request = {.method = "pot", .bits = 5}},
      DemoVariant{.name = "PoT, 4 bits", .series = kPot, .request = {.method = "pot", .bits = 4}},
      DemoVariant{.name = "rtn, 4 bits", .series = kRtn, .request = {.method = "rtn", .bits = 4}},
      DemoVariant{.name = "rtn, 3 bits", .series = kRtn, .request = {.method = "rtn", .bits = 3}},
      DemoVariant{.name = "rtn, 2 bits", .series = kRtn, .request = {.method = "rtn", .bits = 2}},
      calibrated("GPTQ, 3 bits", kGptq, "gptq", 3),
      calibrated("GPTQ, 2 bits", kGptq, "gptq", 2),
      calibrated("GPTQT, 3 bits", kGptqt, "gptqt", 3),
      calibrated("GPTQT, 2 bits", kGptqt, "gptqt", 2, true),
      calibrated("QuIP, 3 bits", kQuip, "quip", 3),
      calibrated("QuIP, 2 bits", kQuip, "quip", 2),
      calibrated("trellis, 3 bits", kTrellis, "trellis", 3),
      calibrated("trellis, 2 bits", kTrellis, "trellis", 2)};
  return kVariants;
}

Recipe demo_recipe(const DemoVariant& variant) {
  if (!variant.tables_float) return recipe_from_flags({.block = variant.request});
  Recipe recipe = recipe_from_flags({.block = variant.request, .embeddings = "keep"});
  for (RecipeRule& rule : recipe.rules) {
    if (!rule.keep) rule.request = variant.request;
  }
  return recipe;
}

std::vector<DemoRow> run_demo(const DemoOptions& options, const Context& ctx) {
  const ModelFiles source = open_model(options.model);
  const std::string text = demo_text(options.model);
  const std::string validation = text.substr(kDemoTextBegin);
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(source);
  if (tokenizer == nullptr) {
    fail(ErrorCode::kIo, options.model.string(), "expected a tokenizer, found none");
  }
  std::vector<DemoRow> rows;
  for (const DemoVariant& variant : demo_variants()) rows.push_back({.variant = &variant});

  const TemporaryFolder folder("demo");
  const fs::path training = folder.path() / "training.txt";
  write_text_file(training, std::string_view(text).substr(0, kDemoTextBegin));
  const auto models =
      make_models(source, folder.path(), training, rows, part_of(ctx, 0, 250, kSteps));
  std::vector<const Model*> pointers;
  for (const auto& model : models) pointers.push_back(model.get());
  const std::vector<int32_t> ids[] = {tokenizer->encode(validation)};
  const std::vector<EvalResult> scores =
      evaluate_all(pointers, pointers.front(), ids, std::ssize(validation),
                   {.protocol = std::string(kDemoProtocol)}, {.config = source.config},
                   part_of(ctx, 250, 850, kSteps));
  const std::vector<int32_t> newline = tokenizer->encode("\n");
  for (size_t i = 0; i < rows.size(); ++i) {
    ctx.report("demo", 850 + 150 * static_cast<int64_t>(i) / std::ssize(rows), kSteps);
    rows[i].score = scores[i];
    rows[i].tokens_per_second = generation_speed(*models[i], newline, ctx);
    if (rows[i].variant->sampled) {
      rows[i].sample = sample_text(*models[i], *tokenizer, newline, options.seed, ctx);
    }
  }
  ctx.report("demo", kSteps, kSteps);
  return rows;
}

fs::path default_demo_model() {
  const fs::path inside = fs::path("models") / "shakespeare-char";
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  fs::path found =
      program.parent_path().parent_path() / TWOFOLD_INSTALL_DATADIR / "twofold" / inside;
  if (!fs::exists(found, ignored)) found = fs::path(TWOFOLD_SOURCE_DIR) / inside;
  const fs::path from_here = found.lexically_relative(fs::current_path(ignored));
  return from_here.empty() || *from_here.begin() == ".." ? found : from_here;
}

}  // namespace twofold::cli
