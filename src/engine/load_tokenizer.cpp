#include "engine/load_tokenizer.h"

#include "base/checked_math.h"
#include "base/error.h"
#include "io/file.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Tokenizer> from_folder(const fs::path& folder) {
  const std::string config = read_text_or_empty(folder / "tokenizer_config.json");
  if (const fs::path p = folder / "tokenizer.json"; fs::is_regular_file(p)) {
    return make_tokenizer_from_json(read_text_file(p), config, p.string());
  }
  if (const fs::path p = folder / "tokenizer.model"; fs::is_regular_file(p)) {
    return make_tokenizer_from_sentencepiece(read_text_file(p), p.string());
  }
  if (const fs::path p = folder / "vocab.json";
      fs::is_regular_file(p) && fs::is_regular_file(folder / "merges.txt")) {
    return make_tokenizer_from_vocab_merges(
        read_text_file(p), read_text_file(folder / "merges.txt"), config, p.string());
  }
  return nullptr;
}

std::unique_ptr<Tokenizer> from_gguf(const GgufFile& g) {
  if (!g.has("tokenizer.ggml.model")) return nullptr;
  return make_tokenizer_from_gguf(gguf_vocabulary(g), g.path);
}

}  // namespace

int32_t gguf_token_id(const GgufFile& g, std::string_view name) {
  const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
  return checked_cast<int32_t>(g.get_int(key, -1), fmt::format("{}: {}", g.path, key));
}

GgufVocabulary gguf_vocabulary(const GgufFile& g) {
  GgufVocabulary v;
  v.model = g.get_string("tokenizer.ggml.model");
  v.pre = g.get_string("tokenizer.ggml.pre", "");
  v.name = g.get_string("general.name", "");
  if (const auto* tokens = g.get_strings("tokenizer.ggml.tokens")) v.tokens = *tokens;
  if (const auto* merges = g.get_strings("tokenizer.ggml.merges")) v.merges = *merges;
  v.scores = g.get_floats("tokenizer.ggml.scores");
  v.token_types = g.get_ints("tokenizer.ggml.token_type");
  v.bos_id = gguf_token_id(g, "bos");
  v.eos_id = gguf_token_id(g, "eos");
  v.unk_id = gguf_token_id(g, "unknown");
  // llama.cpp's default: SentencePiece vocabularies add a space, byte-level ones do not.
  const bool sentencepiece = !g.has("tokenizer.ggml.merges");
  if (g.has("tokenizer.ggml.add_bos_token")) {
    v.add_bos = g.get_bool("tokenizer.ggml.add_bos_token", false);
  }
  if (g.has("tokenizer.ggml.add_eos_token")) {
    v.add_eos = g.get_bool("tokenizer.ggml.add_eos_token", false);
  }
  v.add_space_prefix = g.get_bool("tokenizer.ggml.add_space_prefix", sentencepiece);
  return v;
}

std::unique_ptr<Tokenizer> load_tokenizer(const ModelFiles& files) {
  switch (files.container) {
    case Container::kHuggingFace:
      return from_folder(files.path);
    case Container::kGguf:
      return from_gguf(*files.gguf);
    case Container::kLlama2c:
      break;
  }
  const fs::path folder = files.path.parent_path();
  const std::string sized = fmt::format("tok{}.bin", files.config.vocab_size);
  for (const std::string& name : {sized, std::string("tokenizer.bin")}) {
    if (const fs::path p = folder / name; fs::is_regular_file(p)) {
      return make_tokenizer_from_llama2c(read_text_file(p), files.config.vocab_size, p.string());
    }
  }
  for (const std::string& name :
       {fmt::format("tok{}.model", files.config.vocab_size), std::string("tokenizer.model")}) {
    if (const fs::path p = folder / name; fs::is_regular_file(p)) {
      return make_tokenizer_from_sentencepiece(read_text_file(p), p.string());
    }
  }
  return nullptr;
}

std::vector<fs::path> tokenizer_files(const ModelFiles& files) {
  if (files.container == Container::kGguf) return {};
  const bool folder = files.container == Container::kHuggingFace;
  const std::vector<std::string> names =
      folder ? std::vector<std::string>{"tokenizer.json", "tokenizer_config.json",
                                        "tokenizer.model", "vocab.json", "merges.txt"}
             : std::vector<std::string>{
                   fmt::format("tok{}.bin", files.config.vocab_size), "tokenizer.bin",
                   fmt::format("tok{}.model", files.config.vocab_size), "tokenizer.model"};
  std::vector<fs::path> found;
  for (const std::string& name : names) {
    const fs::path path = (folder ? files.path : files.path.parent_path()) / name;
    if (fs::is_regular_file(path)) found.push_back(path);
  }
  return found;
}

std::unique_ptr<Tokenizer> open_tokenizer(const fs::path& path, const ModelConfig& config) {
  std::unique_ptr<Tokenizer> tokenizer;
  if (fs::is_directory(path)) {
    tokenizer = from_folder(path);
  } else if (!fs::exists(path)) {
    fail(ErrorCode::kIo, path.string(), "expected a tokenizer file, found nothing");
  } else if (looks_like_gguf(path)) {
    tokenizer = from_gguf(read_gguf(path));
  } else if (path.extension() == ".json") {
    tokenizer = make_tokenizer_from_json(
        read_text_file(path), read_text_or_empty(path.parent_path() / "tokenizer_config.json"),
        path.string());
  } else if (path.extension() == ".model") {
    tokenizer = make_tokenizer_from_sentencepiece(read_text_file(path), path.string());
  } else if (path.extension() == ".bin") {
    tokenizer = make_tokenizer_from_llama2c(read_text_file(path), config.vocab_size, path.string());
  }
  if (tokenizer == nullptr) {
    fail(ErrorCode::kUnsupported, path.string(),
         "expected tokenizer.json, a SentencePiece .model, a llama2.c .bin, a .gguf or a folder");
  }
  return tokenizer;
}

}  // namespace twofold
