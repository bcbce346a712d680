// twofold import: any readable model as a plain Hugging Face folder.
#include "commands.h"
#include "pipeline/quantize_model.h"
#include "session.h"
#include "text_table.h"

namespace twofold::cli {

namespace {

struct ImportFlags {
  std::string model, output, dtype;
  bool force = false;
};

/// "f16" for F16: the float types weights may have.
std::vector<Choice> weight_types() {
  std::vector<Choice> choices;
  for (const DTypeInfo& info : all_dtypes()) {
    if (!info.is_float16_or_32) continue;
    std::string name(info.name);
    for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    choices.push_back({name, fmt::format("{} bytes per weight", info.bytes)});
  }
  return choices;
}

std::optional<DType> dtype_of(const std::string& name) {
  if (name.empty()) return std::nullopt;
  std::string upper = name;
  for (char& c : upper) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return parse_dtype(upper);
}

void run_import(const ImportFlags& flags, Session& session) {
  const ModelFiles files = open_model(flags.model);
  import_model(files,
               {.output = flags.output, .force = flags.force, .dtype = dtype_of(flags.dtype)},
               session.ctx());
  if (session.json()) {
    const QuantizeReport written = inspect_model(open_model(flags.output));
    OrderedJson json;
    json["output"] = flags.output;
    json["family"] = files.config.family;
    json["parameters"] = written.parameters;
    json["bytes"] = written.bytes;
    return session.print_json(json);
  }
  session.print(fmt::format("wrote {}: {} parameters, family {}\n", flags.output,
                            files.parameters(), files.config.family));
}

}  // namespace

Command import_command() {
  const auto flags = std::make_shared<ImportFlags>();
  Command command{.name = "import",
                  .summary = "Writes a model as a Hugging Face folder.",
                  .details =
                      "Reads a Hugging Face folder, a GGUF file (one or split) or a llama2.c "
                      "checkpoint and writes config.json, safetensors and the tokenizer.",
                  .common = std::make_shared<CommonFlags>(),
                  .flags = {model_flag(flags->model),
                            output_flag(flags->output),
                            {.names = "--dtype",
                             .value = "TYPE",
                             .target = &flags->dtype,
                             .help = "type of the weights written",
                             .choices = weight_types(),
                             .fallback = "as stored; f16 for block-quantized sources"},
                            force_flag(flags->force)},
                  .json_keys = {{"output", "the folder written"},
                                {"family", "of the model"},
                                {"parameters", "numbers in the model, tied matrices once"},
                                {"bytes", "of all weight files written"}},
                  .run = [flags](Session& session) { run_import(*flags, session); }};
  command.flags.push_back(json_flag(*command.common));
  return command;
}

}  // namespace twofold::cli
