#include "pipeline/output_files.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/json.h"
#include "engine/load_tokenizer.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

constexpr const char* kGgufChatTemplate = "tokenizer.chat_template";

void copy_whole(const fs::path& from, const fs::path& to) {
  FileWriter writer(to);
  writer.write(MappedFile::open(from).bytes());
  writer.finish();
}

/// What a tokenizer.json does not say: special tokens, whether BOS is added, the chat template.
OrderedJson tokenizer_config(const ModelFiles& source, const Tokenizer& tokenizer) {
  OrderedJson config;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  const auto add_token = [&](const char* field, int32_t id) {
    if (id >= 0) config[field] = tokenizer.token_text(id);
  };
  add_token("bos_token", tokenizer.bos_id());
  add_token("eos_token", tokenizer.eos_id());
  config["add_bos_token"] = tokenizer.adds_bos();
  config["model_max_length"] = source.config.context;
  if (source.gguf != nullptr && source.gguf->has(kGgufChatTemplate)) {
    config["chat_template"] = source.gguf->get_string(kGgufChatTemplate);
  }
  return config;
}

/// Nothing if the source has no tokenizer, or one that this program cannot translate.
std::optional<std::pair<std::string, OrderedJson>> translated_tokenizer(const ModelFiles& source,
                                                                        const Context& ctx) {
  try {
    const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(source);
    if (tokenizer != nullptr) {
      return std::pair(tokenizer_to_json(*tokenizer), tokenizer_config(source, *tokenizer));
    }
    ctx.note(fmt::format("{}: no tokenizer found, none written", source.path.string()));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUnsupported) throw;
    ctx.note(fmt::format("no tokenizer written: {}", error.what()));
  }
  return std::nullopt;
}

}  // namespace

void check_output_place(const ModelFiles& source, const fs::path& output, bool force) {
  if (output.empty()) {
    fail(ErrorCode::kInvalidArgument, "output folder", "expected a name, found none");
  }
  std::error_code error;
  const fs::path from = fs::weakly_canonical(source.path, error);
  fs::path to = fs::weakly_canonical(output, error);
  if (error) fail(ErrorCode::kIo, output.string(), "cannot reach: {}", error.message());
  if (!to.has_filename()) to = to.parent_path();  // "folder/" ends in an empty part
  if (std::mismatch(to.begin(), to.end(), from.begin(), from.end()).first == to.end()) {
    fail(ErrorCode::kInvalidArgument, output.string(),
         "holds the source {}: expected another output folder", source.path.string());
  }
  // What --force removes must be what this program or another tool wrote as a model.
  if (force && fs::is_directory(output, error) && !fs::is_empty(output, error) &&
      !fs::exists(output / "config.json", error)) {
    fail(ErrorCode::kInvalidArgument, output.string(),
         "holds files but no config.json: only a model folder is replaced");
  }
}

void write_companions(const ModelFiles& source, const OutputFolder& folder, const Context& ctx) {
  if (source.container != Container::kHuggingFace) {
    if (const auto tokenizer = translated_tokenizer(source, ctx)) {
      write_text_file(folder.file("tokenizer.json"), tokenizer->first);
      write_text_file(folder.file("tokenizer_config.json"), dump_json(tokenizer->second));
    }
    return;
  }
  for (const fs::path& file : companion_files(source.path)) {
    copy_whole(file, folder.file(file.filename().string()));
  }
}

void write_config(const OrderedJson& config, const OutputFolder& folder) {
  write_text_file(folder.file("config.json"), dump_json(config));
}

}  // namespace twofold
