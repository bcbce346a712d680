// Metadata of a GGUF file as fields of a config.json, with errors that name file, key, expected and
// found. Keys are written without the architecture in front: "attention.head_count". Remembers what
// was read, so that what would change the result and was not read is refused.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/gguf.h"

namespace twofold {

enum class GgufType { kInt, kFloat, kBool };

/// A field of config.json that has the value of a key.
struct GgufField {
  std::string_view name, key;
  GgufType type = GgufType::kInt;
  std::optional<double> fallback = std::nullopt;  // of an absent key; none: the key must be there
};

class GgufFields {
 public:
  explicit GgufFields(const GgufFile& file);

  bool has(std::string_view key) const;
  bool is_list(std::string_view key) const;
  int64_t get_int(std::string_view key, std::optional<int64_t> fallback = std::nullopt);
  /// GGUF files hold single precision: gives the shortest decimal that rounds to the number, so
  /// that 1e-6 is 1e-6 again. @throws Error(kCorruptFile) also if it is not finite.
  double get_float(std::string_view key, std::optional<double> fallback = std::nullopt);
  bool get_bool(std::string_view key, bool fallback);
  std::string get_string(std::string_view key, std::string_view fallback);
  std::vector<int64_t> get_ints(std::string_view key);

  /// Null if absent. What is found counts as read.
  const StoredTensor* find_tensor(std::string_view name);
  bool has_tensor(std::string_view name) { return find_tensor(name) != nullptr; }
  /// Numbers of an F32 vector, [count], as `get_float` gives them. @throws Error(kCorruptFile) if
  /// it is absent or none.
  std::vector<double> get_vector(std::string_view name, int64_t count);

  /// @throws Error(kUnsupported): "<file>: <key> = <value> is not supported (<why>)".
  [[noreturn]] void refuse(std::string_view key, std::string_view why) const;
  /// @throws Error(kCorruptFile) naming key and value.
  [[noreturn]] void corrupt(std::string_view key, std::string_view expected) const;
  /// Refuses keys that were not read and change what attention, rope, experts or factors compute.
  /// Other keys that nobody read are ignored.
  void refuse_unread() const;

  const std::string& where() const { return file_.path; }
  /// Names of tensors that `find_tensor` found.
  const std::set<std::string, std::less<>>& read_tensors() const { return read_tensors_; }

 private:
  std::string full(std::string_view key) const;
  /// The whole key, which counts as read from now on.
  std::string read(std::string_view key);

  const GgufFile& file_;
  std::string prefix_;
  std::set<std::string, std::less<>> read_keys_, read_tensors_;
};

/// Adds the fields to `config`.
void add_fields(nlohmann::json& config, GgufFields& g, std::span<const GgufField> fields);

/// What families named like Llama have in common: names, sides, heads, norm, rope without scaling.
nlohmann::json llama_like_config(GgufFields& g, std::string_view model_type,
                                 std::string_view architecture);

/// Base of rope; llama.cpp takes 10000 where files do not say.
double rope_base(GgufFields& g);
/// Numbers of each head that rope turns; 1 to head_dim.
int64_t rope_dims(GgufFields& g, int64_t head_dim);
/// Share of a head with floor(share * head_dim) == dims, as configurations have it.
double rope_share(int64_t dims, int64_t head_dim);
/// rope_scaling in Hugging Face form, or null: none, linear, yarn, or llama3 by the tensor of its
/// divisors. @throws Error(kUnsupported) naming the scaling that is none of these.
nlohmann::json rope_scaling(GgufFields& g, int64_t dims);
/// The field "rope_scaling", if there is any scaling, of a configuration with "head_dim".
void add_rope_scaling(nlohmann::json& config, GgufFields& g);

/// Refuses groups of heads, in families that have none.
void require_ungrouped_heads(GgufFields& g);

/// The number of experts as `count_name`, and how many a token takes.
void add_experts(nlohmann::json& config, GgufFields& g, std::string_view count_name);

/// As llama_like_config with the scaling of rope, and what the Gemmas have beyond that. Queries are
/// scaled by the size of a head, but in the model of 27B, known by its `layers_of_27b`, by hidden
/// size / heads.
nlohmann::json gemma_like_config(GgufFields& g, std::string_view model_type,
                                 std::string_view architecture, int64_t layers_of_27b);
/// A soft cap, or null where it is 0.
nlohmann::json get_softcap(GgufFields& g, std::string_view key, double fallback);
/// The window (0: none) and the layers that have it: as the file says (a list, or a period, the
/// last layer of which has none), else by `period`.
void add_windows(nlohmann::json& config, GgufFields& g, int64_t window, int64_t period);

}  // namespace twofold
