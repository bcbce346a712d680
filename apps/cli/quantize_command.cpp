// twofold quantize: a model to a folder, by flags or by a recipe file.
#include <fmt/ranges.h>

#include "base/json.h"
#include "calibration_flags.h"
#include "commands.h"
#include "io/file.h"
#include "model_input.h"
#include "pipeline/forecast.h"
#include "pipeline/quantize_model.h"
#include "pipeline/rate_plan.h"
#include "pipeline/recipe.h"
#include "report_text.h"
#include "session.h"

namespace twofold::cli {

namespace {

struct QuantizeFlags {
  std::string model, output, recipe, save_recipe;
  MethodRequest request;
  std::optional<double> bits;
  std::optional<std::string> head, embeddings;
  CalibrationFlags calibration;
  bool no_resume = false, no_score = false, dry_run = false;
  float save_interval = static_cast<float>(QuantizeOptions().save_interval_seconds);
  bool force = false;
  uint64_t seed = 0;

  /// Flags that say what a recipe file says.
  bool has_recipe_flags() const {
    return !request.method.empty() || bits || request.group || !request.grid.empty() ||
           !request.transform.empty() || !request.rounding.empty() || !request.params.empty() ||
           head || embeddings;
  }
};

Recipe recipe_of(const QuantizeFlags& flags) {
  if (!flags.recipe.empty()) {
    if (flags.has_recipe_flags()) {
      fail(ErrorCode::kInvalidArgument, "--recipe",
           "says everything; leave out --method and the flags that go with it");
    }
    return parse_recipe(read_input(flags.recipe), flags.recipe);
  }
  if (flags.request.method.empty()) {
    std::vector<std::string_view> names;
    for (const Method& method : all_methods()) names.push_back(method.name);
    fail(ErrorCode::kInvalidArgument, "quantize", "expected --method, one of {}, or --recipe FILE",
         fmt::join(names, ", "));
  }
  RecipeFlags recipe{.block = flags.request};
  if (flags.bits) set_bits(*flags.bits, recipe.block, recipe.mean_bits);
  if (flags.head) recipe.head = *flags.head;
  if (flags.embeddings) recipe.embeddings = *flags.embeddings;
  return recipe_from_flags(recipe);
}

QuantizeOptions options_of(const QuantizeFlags& flags, const Session& session) {
  QuantizeOptions options{.output = flags.output,
                          .force = flags.force,
                          .seed = flags.seed,
                          .command_line = session.command_line(),
                          .resume = !flags.no_resume,
                          .score = !flags.no_score,
                          .save_interval_seconds = static_cast<double>(flags.save_interval)};
  apply(flags.calibration, options);
  return options;
}

void run_quantize(const QuantizeFlags& flags, Session& session) {
  const Recipe recipe = recipe_of(flags);
  const ModelFiles source = open_model(flags.model);
  const QuantizeOptions options = options_of(flags, session);
  const RatePlan plan = find_rates(source, recipe, options, session.ctx());
  if (has_mean_bits(recipe)) {
    session.ctx().note(flags.dry_run ? rate_table(plan) + summary(plan) : summary(plan));
  }
  if (!flags.save_recipe.empty()) {
    write_text_file(flags.save_recipe, dump_json(to_json(plan.recipe)));
  }
  if (flags.dry_run) {
    const Forecast forecast = forecast_quantization(source, plan.recipe, options, session.ctx());
    if (session.json()) return session.print_json(to_json(forecast));
    return session.print(forecast_text(forecast));
  }
  const QuantizeReport report = quantize_model(source, plan, options, session.ctx());
  for (const std::string& note : report.notes) session.ctx().note(note);
  for (const MatrixReport& matrix : report.matrices) {
    for (const std::string& note : matrix.notes) {
      session.ctx().note(fmt::format("{}: {}", matrix.name, note));
    }
  }
  session.ctx().note(matrix_table(report));
  if (session.json()) return session.print_json(run_to_json(report));
  session.print(fmt::format("wrote       {}\n{}{}", flags.output, report_summary(report),
                            run_summary(report)));
}

/// What stands for the value of a setting in help.
std::string value_name(const ParamSpec& spec) {
  switch (spec.kind) {
    case ParamKind::kInt:
      return "N";
    case ParamKind::kFloat:
      return "X";
    case ParamKind::kIntRange:
      return "LO,HI";
    case ParamKind::kChoice:
      return fmt::format("{}", fmt::join(spec.choices, "|"));
  }
  fail(ErrorCode::kInternal, spec.name, "kind of setting not in the table");
}

/// A row per setting of grids and roundings.
std::vector<Flag> setting_flags(std::map<std::string, std::string>& values) {
  std::vector<Flag> flags;
  for (const ParamSpec& spec : all_param_specs()) {
    Flag flag{.names = fmt::format("--{}", spec.name),
              .value = value_name(spec),
              .target = MapEntry{&values, std::string(spec.name)},
              .help = std::string(spec.help),
              .fallback = std::string(spec.fallback)};
    flags.push_back(std::move(flag));
  }
  return flags;
}

std::vector<Choice> method_choices() {
  std::vector<Choice> choices;
  for (const Method& method : all_methods()) {
    choices.push_back({std::string(method.name),
                       fmt::format("{}; {}; grid {}, transform {}, rounding {}, {} bits, group {}",
                                   method.help, method.paper, method.grid, method.transform,
                                   method.rounding, method.default_bits, method.default_group)});
  }
  return choices;
}

std::vector<Flag> own_flags(QuantizeFlags& flags) {
  return {
      model_flag(flags.model),
      output_flag(flags.output),
      {.names = "--method",
       .value = "METHOD",
       .target = &flags.request.method,
       .help = "how weights are quantized",
       .choices = method_choices()},
      {.names = "--bits",
       .value = "B",
       .target = &flags.bits,
       .help = "bits per code; 2.5: 3 for the matrices that gain most from them, 2 for the others",
       .min = 1,
       .max = kMostBits,
       .fallback = "the method's"},
      {.names = "--group",
       .value = "N",
       .target = &flags.request.group,
       .help = "columns that share a scale; 0 = the whole row",
       .min = 0,
       .fallback = "the method's"},
      {.names = "--grid",
       .value = "GRID",
       .target = &flags.request.grid,
       .help = "which values a weight may take",
       .choices = choices_of(all_grids()),
       .fallback = "the method's"},
      {.names = "--transform",
       .value = "TRANSFORM",
       .target = &flags.request.transform,
       .help = "change of basis before rounding",
       .choices = choices_of(all_transforms()),
       .fallback = "the method's"},
      {.names = "--rounding",
       .value = "ROUNDING",
       .target = &flags.request.rounding,
       .help = "how values are chosen",
       .choices = choices_of(all_roundings()),
       .fallback = "the method's"},
      {.names = "--head",
       .value = "keep|METHOD:BITS",
       .target = &flags.head,
       .help = "the output head",
       .fallback = RecipeFlags().head},
      {.names = "--embeddings",
       .value = "keep|METHOD:BITS",
       .target = &flags.embeddings,
       .help = "token and position tables",
       .fallback = RecipeFlags().embeddings},
      {.names = "--recipe",
       .value = "FILE",
       .target = &flags.recipe,
       .help = "JSON file of rules (role, layer, name pattern -> method or keep) in place of the "
               "flags above"},
      {.names = "--save-recipe",
       .value = "FILE",
       .target = &flags.save_recipe,
       .help = "writes what the flags say as a recipe, with whole bits for each matrix"},
      {.names = "--dry-run",
       .target = &flags.dry_run,
       .help = "prints bytes, peak memory and time that the command would take, and writes "
               "nothing; with --json an object of bytes, peak_memory_bytes, peak_phase, "
               "disk_bytes, seconds"},
      {.names = "--save-interval",
       .value = "SECONDS",
       .target = &flags.save_interval,
       .help = "least time between copies of the hidden states, and of a run that is kept",
       .min = 0},
      {.names = "--no-resume",
       .target = &flags.no_resume,
       .help = "discards what an interrupted run left, in place of going on with it"},
      {.names = "--no-score",
       .target = &flags.no_score,
       .help = "does not score the result on held-back text"},
      force_flag(flags.force),
      seed_flag(flags.seed, "of everything random in a method, and of the calibration windows"),
  };
}

}  // namespace

Command quantize_command() {
  const auto flags = std::make_shared<QuantizeFlags>();
  Command command{
      .name = "quantize",
      .summary = "Quantizes a model and writes it as a folder that every command reads.",
      .details =
          "A method applies to the linear layers of all blocks; the output head and the "
          "embedding tables have flags of their own. Any part of a method can be replaced. "
          "A recipe file says the same rule by rule.",
      .common = std::make_shared<CommonFlags>(),
      .json_keys = run_json_keys(),
      .run = [flags](Session& session) { run_quantize(*flags, session); }};
  command.flags = own_flags(*flags);
  command.flags.push_back(json_flag(*command.common));
  for (Flag& flag : calibration_flags(flags->calibration)) command.flags.push_back(std::move(flag));
  for (Flag& flag : setting_flags(flags->request.params)) command.flags.push_back(std::move(flag));
  return command;
}

}  // namespace twofold::cli
