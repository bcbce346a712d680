#include "model/model_files.h"

#include <algorithm>
#include <array>
#include <set>

#include "base/json.h"
#include "io/file.h"
#include "io/llama2c.h"
#include "model/gguf_fields.h"
#include "model/json_fields.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

/// Binds the rules of a family to the tensors of a checkpoint.
class Binder {
 public:
  explicit Binder(ModelFiles& files) : files_(files) {}

  void bind_all() {
    for (int64_t layer = -1; layer < files_.config.layers; ++layer) {
      for (const TensorRule& rule : files_.family->rules) {
        const int64_t count = tensor_count(rule, files_.config, layer);
        if (count == 0 && layer < 0 && has_own_head(rule)) add(rule, layer, -1);
        const bool experts = is_of_experts(rule);
        for (int64_t i = 0; i < count; ++i) add(rule, layer, experts ? i : -1);
      }
    }
    // Embeddings, blocks, then what follows them.
    std::stable_sort(files_.slots.begin(), files_.slots.end(),
                     [](const Slot& a, const Slot& b) { return order(a) < order(b); });
    for (size_t i = 0; i < files_.slots.size(); ++i) files_.slot_numbers[files_.slots[i].slot] = i;
  }

 private:
  static int order(const Slot& slot) {
    if (slot.layer >= 0) return slot.layer + 1;
    return slot.role == Role::kEmbedding || slot.role == Role::kPosition ? 0 : 1 << 30;
  }

  /// A quantized folder may hold a head of its own for a model whose head was tied.
  bool has_own_head(const TensorRule& rule) const {
    return rule.role == Role::kHead && files_.is_quantized() &&
           JsonFields(files_.quantization, quantization_where()).get_bool("untied_head", false);
  }

  const StoredTensor* find_tensor(const std::string& name) const {
    const Checkpoint& checkpoint = *files_.checkpoint;
    const std::string_view prefix = files_.family->optional_prefix;
    if (!checkpoint.has(name) && name.starts_with(prefix)) {
      const std::string without = name.substr(prefix.size());
      if (checkpoint.has(without)) return &checkpoint.get(without);
    }
    return checkpoint.has(name) ? &checkpoint.get(name) : nullptr;
  }

  void add(const TensorRule& rule, int64_t layer, int64_t expert) {
    const ModelConfig& config = files_.config;
    Slot slot;
    slot.slot = numbered(rule.slot, layer, expert);
    slot.name = tensor_name(rule, layer, expert);
    slot.role = rule.role;
    slot.layer = static_cast<int>(layer);
    slot.expert = expert;
    slot.input = numbered(rule.input, layer, expert);
    slot.wider_input = numbered(rule.wider_input, layer);
    slot.shape = {side_length(rule.rows, config)};
    if (rule.cols != Side::kNone) slot.shape.push_back(side_length(rule.cols, config));
    slot.hf_stored_less = rule.stored_less;
    if (rule.part) {
      slot.fused = numbered(rule.source, layer, expert);
      slot.fused_rows = fused_rows(*rule.part, config);
      slot.hf_view = fused_view(*rule.part, rule.part->by_head, config);
    }
    slot.hf_view.transposed = rule.linear && config.transposed_linear;
    bind_tensor(rule, slot, expert);
    files_.slots.push_back(std::move(slot));
  }

  /// Finds where the numbers of `slot` are stored.
  void bind_tensor(const TensorRule& rule, Slot& slot, int64_t expert) {
    const ModelConfig& config = files_.config;
    if (files_.container == Container::kGguf) {
      const std::string single = numbered(rule.gguf_single, slot.layer, expert);
      const bool joined = !files_.checkpoint->has(single);
      slot.tensor = &files_.checkpoint->get(joined ? numbered(rule.gguf, slot.layer) : single);
      if (rule.part) slot.view = fused_view(*rule.part, false, config);
      if (expert >= 0 && joined) slot.view.expert = expert;
    } else {
      slot.tensor = find_tensor(slot.name);
      if (slot.tensor != nullptr) {  // written by this program, or whole in any folder
        slot.view.transposed = slot.hf_view.transposed;
      } else {
        const std::string& name = slot.fused.empty() ? slot.name : slot.fused;
        slot.tensor = find_tensor(name);
        if (slot.tensor == nullptr) {
          slot.tensor = find_tensor(numbered(rule.alias, slot.layer, expert));
        }
        // The error says what is missing.
        if (slot.tensor == nullptr) slot.tensor = &files_.checkpoint->get(name);
        slot.view = slot.hf_view;
      }
      slot.stored_less = slot.hf_stored_less;
    }
    if (files_.is_quantized() && bind_packed(slot)) return;
    if (files_.container != Container::kHuggingFace) slot.view.transposed = false;
    if (rule.rope_rows && permuted()) {
      slot.view.rope_permuted_heads = rule.rows == Side::kQ ? config.heads : config.kv_heads;
    }
    check_shape(slot);
  }

  std::string quantization_where() const {
    return (files_.path / "config.json").string() + ": quantization_config";
  }

  bool permuted() const {
    switch (files_.container) {
      case Container::kHuggingFace:
        return false;
      case Container::kGguf:
        return files_.family->gguf_permutes_rope;
      case Container::kLlama2c:
        return true;
    }
    return false;
  }

  /// Reads format and transform of a packed tensor; false if the tensor was kept as it was.
  bool bind_packed(Slot& slot) const {
    const auto tensors = files_.quantization.find("tensors");
    if (tensors == files_.quantization.end() || !tensors->is_object()) {
      fail(ErrorCode::kCorruptFile, quantization_where(), "tensors: expected an object");
    }
    const auto entry = tensors->find(slot.name);
    if (entry == tensors->end()) return false;
    const std::string where = fmt::format("{}: quantization_config: {}",
                                          (files_.path / "config.json").string(), slot.name);
    const JsonFields fields(*entry, where);
    slot.format = fields.get_string("format", "");
    const auto shape = entry->find("shape");
    if (slot.format.empty() || shape == entry->end() || *shape != nlohmann::json(slot.shape)) {
      fail(ErrorCode::kCorruptFile, where, "expected a format and shape {}, found {}",
           shape_text(slot.shape), entry->dump(-1, ' ', false, Json::error_handler_t::replace));
    }
    if (const auto transform = entry->find("transform"); transform != entry->end()) {
      slot.transform = *transform;
      bind_input_scale(slot, where);
    }
    slot.activation_block = fields.get_int("activation_block", 0);
    slot.activation_digits = fields.get_int("activation_digits", 1);
    if (slot.tensor->type->dtype != DType::kU8 || slot.tensor->shape.size() != 1) {
      fail(ErrorCode::kCorruptFile, fmt::format("{}: {}", slot.tensor->file, slot.name),
           "expected packed bytes, U8 [n], found {} {}", slot.tensor->type->name,
           shape_text(slot.tensor->shape));
    }
    return true;
  }

  /// Finds the vector that the transform of a packed tensor names, if it names one.
  void bind_input_scale(Slot& slot, const std::string& where) const {
    const auto name = slot.transform.find("input_scale");
    if (!slot.transform.is_object() || name == slot.transform.end()) return;
    if (!name->is_string()) {
      fail(ErrorCode::kCorruptFile, where, "expected input_scale to name a tensor, found {}",
           name->dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 80));
    }
    const StoredTensor& tensor = files_.checkpoint->get(name->get<std::string>());
    const Shape expected = {slot.shape.back()};
    if (tensor.type->dtype != DType::kF16 || tensor.shape != expected) {
      fail(ErrorCode::kCorruptFile, tensor.where(),
           "expected the scales of {}, F16 {}, found {} {}", slot.name, shape_text(expected),
           tensor.type->name, shape_text(tensor.shape));
    }
    slot.input_scale = &tensor;
  }

  void check_shape(const Slot& slot) const {
    Shape expected = slot.shape;
    if (slot.view.row_count >= 0) expected[0] = slot.fused_rows;
    if (slot.view.transposed) std::swap(expected[0], expected[1]);
    if (slot.view.expert >= 0) expected.insert(expected.begin(), files_.config.experts);
    const StoredTensor& tensor = *slot.tensor;
    if (tensor.type->decode == nullptr &&
        !(tensor.type->dtype && dtype_info(*tensor.type->dtype).is_float16_or_32)) {
      fail(ErrorCode::kUnsupported, fmt::format("{}: {}", tensor.file, tensor.name),
           "element type {} cannot be a weight (F32, F16, BF16 or a supported block type)",
           tensor.type->name);
    }
    if (tensor.shape != expected) {
      fail(ErrorCode::kCorruptFile, fmt::format("{}: {}", tensor.file, tensor.name),
           "expected shape {}, found {}", shape_text(expected), shape_text(tensor.shape));
    }
  }

  ModelFiles& files_;
};

void add_token_ids(ModelFiles& files, const JsonFields& fields) {
  const std::vector<int32_t> bos = fields.get_ids("bos_token_id");
  if (!bos.empty()) files.config.bos_id = bos.front();
  for (const int32_t id : fields.get_ids("eos_token_id")) {
    std::vector<int32_t>& ids = files.config.eos_ids;
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
}

void parse_config(ModelFiles& files, const std::string& where) {
  files.config = files.family->parse_config(files.config_json, where);
  check_config(files.config, where);
  add_token_ids(files, JsonFields(files.config_json, where));
}

void check_format_version(const JsonFields& quantization) {
  const int64_t version = quantization.get_int("format_version");
  if (version < 1) {
    quantization.refuse("format_version",
                        "written before formats were settled at version 1: quantize again");
  }
  if (version > kFolderFormatVersion) {
    quantization.refuse("format_version",
                        fmt::format("written by a newer twofold; this one reads versions 1 to {}",
                                    kFolderFormatVersion));
  }
}

void open_folder(ModelFiles& files) {
  const fs::path config = files.path / "config.json";
  if (!path_exists(config)) {
    fail(ErrorCode::kIo, files.path.string(),
         "expected a model folder with config.json, found none");
  }
  const std::string where = config.string();
  files.config_json = parse_json(read_text_file(config, 16 << 20), where);
  JsonFields(files.config_json, where);  // refuses what is no object
  files.family = &find_family(files.config_json, where);
  parse_config(files, where);
  const fs::path generation = files.path / "generation_config.json";
  if (path_exists(generation)) {
    const Json json = parse_json(read_text_file(generation, 16 << 20), generation.string());
    add_token_ids(files, JsonFields(json, generation.string()));
  }
  files.checkpoint = std::make_shared<Checkpoint>(open_safetensors_folder(files.path));
  if (const auto it = files.config_json.find("quantization_config");
      it != files.config_json.end() && !it->is_null()) {
    const JsonFields quantization(*it, where + ": quantization_config");
    if (quantization.get_string("quant_method", "") != "twofold") {
      quantization.refuse("quant_method", "only folders that twofold wrote, or plain weights");
    }
    check_format_version(quantization);
    files.quantization = *it;
  }
  Binder(files).bind_all();
}

/// A tensor that no rule reads (the bias of a linear that has none in this family) would change the
/// result.
void refuse_unbound(const ModelFiles& files, const GgufFields& fields) {
  std::set<const StoredTensor*> bound;
  for (const Slot& slot : files.slots) bound.insert(slot.tensor);
  for (const StoredTensor& tensor : files.checkpoint->tensors()) {
    if (!bound.contains(&tensor) && !fields.read_tensors().contains(tensor.name)) {
      fail(ErrorCode::kUnsupported, tensor.where(), "not a tensor of the family {}",
           files.family->name);
    }
  }
}

/// The ids that end a text, a turn (eot) and a message that calls a tool (eom): one, a list of
/// several, or null.
Json gguf_end_ids(const GgufFile& gguf) {
  Json ids = Json::array();
  for (const char* name : {"eos", "eot", "eom"}) {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
    if (!gguf.has(key)) continue;
    const Json id = gguf.get_int(key);
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  if (ids.empty()) return nullptr;
  return ids.size() == 1 ? ids.front() : ids;
}

void open_gguf(ModelFiles& files) {
  auto gguf = std::make_shared<GgufFile>(read_gguf(files.path));
  files.container = Container::kGguf;
  const Family& family = find_gguf_family(*gguf);
  GgufFields fields(*gguf);
  if (fields.get_int("block_count") > std::ssize(gguf->tensors)) {
    fields.corrupt("block_count",
                   fmt::format("at most {}, one for each tensor", gguf->tensors.size()));
  }
  files.config_json = family.config_from_gguf(fields);
  fields.refuse_unread();
  files.family = &find_family(files.config_json, files.path.string());
  auto checkpoint = std::make_shared<Checkpoint>(gguf->path, gguf->tensors);
  // Every family: sizes that the token table shows, and whether the head is a tensor of its own.
  const StoredTensor& embed = checkpoint->get("token_embd.weight");
  files.config_json["vocab_size"] = embed.shape.empty() ? 0 : embed.shape[0];
  files.config_json["tie_word_embeddings"] = !checkpoint->has("output.weight");
  files.config_json["torch_dtype"] = "float16";
  struct TokenId {
    const char *field, *key;
    bool null_if_absent;  // the transformers library's default may lie outside of the vocabulary
  };
  for (const TokenId& id : {TokenId{"bos_token_id", "tokenizer.ggml.bos_token_id", false},
                            TokenId{"pad_token_id", "tokenizer.ggml.padding_token_id", true}}) {
    if (gguf->has(id.key)) {
      files.config_json[id.field] = gguf->get_int(id.key);
    } else if (id.null_if_absent) {
      files.config_json[id.field] = nullptr;
    }
  }
  if (const auto ids = gguf_end_ids(*gguf); !ids.is_null()) files.config_json["eos_token_id"] = ids;
  files.checkpoint = std::move(checkpoint);
  files.gguf = std::move(gguf);
  parse_config(files, files.path.string());
  Binder(files).bind_all();
  refuse_unbound(files, fields);
}

void open_llama2c(ModelFiles& files) {
  Llama2cFile file = read_llama2c(files.path);
  files.container = Container::kLlama2c;
  files.config_json = {
      {"model_type", "llama"},
      {"architectures", {"LlamaForCausalLM"}},
      {"vocab_size", file.vocab_size},
      {"hidden_size", file.dim},
      {"intermediate_size", file.hidden_dim},
      {"num_hidden_layers", file.n_layers},
      {"num_attention_heads", file.n_heads},
      {"num_key_value_heads", file.n_kv_heads},
      {"max_position_embeddings", file.seq_len},
      {"rms_norm_eps", 1e-5},
      {"rope_theta", 10000.0},
      {"hidden_act", "silu"},
      {"tie_word_embeddings", file.shared_classifier},
      {"bos_token_id", 1},
      {"eos_token_id", 2},
      {"torch_dtype", "float32"},
  };
  files.family = &find_family(files.config_json, files.path.string());
  files.checkpoint = std::make_shared<Checkpoint>(files.path.string(), std::move(file.tensors));
  parse_config(files, files.path.string());
  Binder(files).bind_all();
}

constexpr std::array kCompanions = {
    "tokenizer.json",      "tokenizer_config.json",   "tokenizer.model",   "vocab.json",
    "merges.txt",          "special_tokens_map.json", "added_tokens.json", "generation_config.json",
    "chat_template.jinja", "chat_template.json"};

}  // namespace

const Slot* ModelFiles::find(std::string_view name) const {
  const auto found = slot_numbers.find(name);
  return found == slot_numbers.end() ? nullptr : &slots[found->second];
}

int64_t ModelFiles::parameters() const {
  int64_t count = 0;
  for (const Slot& s : slots) {
    if (s.role == Role::kHead && config.tied_head) continue;
    count += element_count(s.shape, s.name);
  }
  return count;
}

ModelFiles open_model(const fs::path& path) {
  ModelFiles files;
  files.path = path;
  if (!path_exists(path)) {
    fail(ErrorCode::kIo, path.string(), "expected a model folder or file, found nothing");
  }
  std::error_code error;
  if (fs::is_directory(path, error)) {
    open_folder(files);
  } else if (looks_like_gguf(path)) {
    open_gguf(files);
  } else if (path.extension() == ".bin") {
    open_llama2c(files);
  } else {
    fail(ErrorCode::kUnsupported, path.string(),
         "expected a Hugging Face folder, a GGUF file or a llama2.c .bin file, found none of them");
  }
  return files;
}

int64_t slot_bytes(const Slot& slot) {
  if (!slot.format.empty()) return static_cast<int64_t>(slot.tensor->bytes.size());
  return stored_bytes(*slot.tensor->type, slot.shape, slot.name);
}

std::vector<float> read_vector(const Slot& slot) {
  const StoredTensor& tensor = *slot.tensor;
  const int64_t count = slot.shape[0];
  std::vector<float> stored(static_cast<size_t>(tensor.elements())),
      values(static_cast<size_t>(count));
  tensor.decode(0, tensor.elements(), stored.data());
  for (int64_t i = 0; i < count; ++i) {
    values[static_cast<size_t>(i)] =
        stored[static_cast<size_t>(stored_row(slot.view, count, i))] + slot.stored_less;
  }
  return values;
}

std::vector<fs::path> companion_files(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const char* name : kCompanions) {
    if (fs::is_regular_file(folder / name)) found.push_back(folder / name);
  }
  return found;
}

}  // namespace twofold
