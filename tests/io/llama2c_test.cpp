#include "io/llama2c.h"

#include <gtest/gtest.h>

#include <numeric>

#include "io/bad_files.h"
#include "io/gguf_builder.h"
#include "io/temporary_folder.h"
#include "support/paths.h"

namespace twofold {
namespace {

using testing::raw;
using testing::TemporaryFolder;

struct Header {
  int32_t dim = 8, hidden_dim = 6, n_layers = 2, n_heads = 2, n_kv_heads = 1, vocab_size = 5,
          seq_len = 3;
  std::string bytes() const {
    return raw(dim) + raw(hidden_dim) + raw(n_layers) + raw(n_heads) + raw(n_kv_heads) +
           raw(vocab_size) + raw(seq_len);
  }
};

/// Floats in a file with the default header: embedding, norms, q, k, v, o, three MLP matrices, last
/// norm, two tables of seq_len x head_dim / 2.
constexpr int kFloats = 5 * 8 + 2 * (8 + 64 + 32 + 32 + 64 + 8 + 3 * 48) + 8 + 2 * 3 * 2;

/// Numbers 0, 1, 2, ... after the header.
std::string file_of(const Header& header, int floats) {
  std::string bytes = header.bytes();
  for (int i = 0; i < floats; ++i) bytes += raw(static_cast<float>(i));
  return bytes;
}

float first_number(const Llama2cFile& file, std::string_view name) {
  for (const StoredTensor& tensor : file.tensors) {
    if (tensor.name != name) continue;
    float value = 0;
    tensor.decode(0, 1, &value);
    return value;
  }
  ADD_FAILURE() << name;
  return -1;
}

void read_all(const std::filesystem::path& path) {
  for (const StoredTensor& tensor : read_llama2c(path).tensors) {
    std::vector<float> numbers(static_cast<size_t>(tensor.elements()));
    tensor.decode(0, tensor.elements(), numbers.data());
  }
}

TEST(Llama2c, TensorsLieWhereRunCExpectsThem) {
  const TemporaryFolder folder;
  const Llama2cFile file = read_llama2c(folder.write("m.bin", file_of({}, kFloats)));
  EXPECT_TRUE(file.shared_classifier);
  EXPECT_EQ(file.vocab_size, 5);
  EXPECT_EQ(file.tensors.size(), 2u + 2u * 9u);
  // Offsets in floats, by hand from memory_map_weights of run.c.
  EXPECT_EQ(first_number(file, "model.embed_tokens.weight"), 0);
  EXPECT_EQ(first_number(file, "model.layers.0.input_layernorm.weight"), 40);
  EXPECT_EQ(first_number(file, "model.layers.1.input_layernorm.weight"), 48);
  EXPECT_EQ(first_number(file, "model.layers.0.self_attn.q_proj.weight"), 56);
  EXPECT_EQ(first_number(file, "model.layers.1.self_attn.q_proj.weight"), 120);
  EXPECT_EQ(first_number(file, "model.layers.0.self_attn.k_proj.weight"), 184);
  EXPECT_EQ(first_number(file, "model.layers.1.self_attn.v_proj.weight"), 280);
  EXPECT_EQ(first_number(file, "model.layers.0.self_attn.o_proj.weight"), 312);
  EXPECT_EQ(first_number(file, "model.layers.0.post_attention_layernorm.weight"), 440);
  EXPECT_EQ(first_number(file, "model.layers.0.mlp.gate_proj.weight"), 456);  // w1
  EXPECT_EQ(first_number(file, "model.layers.0.mlp.down_proj.weight"), 552);  // w2
  EXPECT_EQ(first_number(file, "model.layers.1.mlp.up_proj.weight"), 696);    // w3
  EXPECT_EQ(first_number(file, "model.norm.weight"), 744);
  for (const StoredTensor& tensor : file.tensors) {
    if (tensor.name == "model.layers.1.mlp.down_proj.weight") {
      EXPECT_EQ(tensor.shape, (Shape{8, 6}));
    }
    if (tensor.name == "model.layers.1.self_attn.k_proj.weight") {
      EXPECT_EQ(tensor.shape, (Shape{4, 8}));
    }
  }
}

TEST(Llama2c, ANegativeVocabularyMeansAClassifierOfItsOwn) {
  const TemporaryFolder folder;
  Header header;
  header.vocab_size = -5;
  const Llama2cFile file = read_llama2c(folder.write("m.bin", file_of(header, kFloats + 40)));
  EXPECT_FALSE(file.shared_classifier);
  EXPECT_EQ(file.vocab_size, 5);
  EXPECT_EQ(first_number(file, "lm_head.weight"), kFloats);
}

TEST(Llama2c, ImplausibleHeadersAreRefused) {
  const TemporaryFolder folder;
  const std::vector<int32_t Header::*> fields = {
      &Header::dim,        &Header::hidden_dim, &Header::n_layers, &Header::n_heads,
      &Header::n_kv_heads, &Header::vocab_size, &Header::seq_len};
  for (const auto field : fields) {
    for (const int32_t value : {0, -1, INT32_MIN, INT32_MAX, 1 << 30, 3}) {
      Header header;
      if (header.*field == value) continue;
      header.*field = value;
      EXPECT_NE(testing::read_damaged(folder, file_of(header, kFloats), read_all), "") << value;
    }
  }
  Header versioned;
  versioned.dim = 0x616b3432;
  versioned.hidden_dim = 2;
  const std::string message = testing::read_damaged(folder, file_of(versioned, kFloats), read_all);
  EXPECT_NE(message.find("expected llama2.c version 0, found version 2"), std::string::npos)
      << message;
}

TEST(Llama2c, SizesMustFitExactly) {
  const TemporaryFolder folder;
  const std::string bytes = file_of({}, kFloats);
  EXPECT_EQ(testing::read_damaged(folder, bytes, read_all), "");
  EXPECT_NE(testing::read_damaged(folder, bytes + "x", read_all), "");
  testing::expect_prefixes_refused(bytes, read_all);
}

TEST(Llama2c, RandomDamageGivesErrorsOnly) {
  testing::expect_only_errors_from_random_damage(
      file_of({}, kFloats).substr(0, 28) + std::string(kFloats * 4, '\0'), 500, read_all);
  const TemporaryFolder folder;
  Rng rng(5, "header");
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = file_of({}, kFloats);
    bytes[rng.below(28)] = static_cast<char>(rng.below(256));
    testing::read_damaged(folder, bytes, read_all);
  }
}

TEST(Llama2c, ReadsStories260K) {
  const Llama2cFile file =
      read_llama2c(testing::source_dir() / "models/stories260k/stories260K.bin");
  EXPECT_EQ(file.dim, 64);
  EXPECT_EQ(file.hidden_dim, 172);
  EXPECT_EQ(file.n_layers, 5);
  EXPECT_EQ(file.n_heads, 8);
  EXPECT_EQ(file.n_kv_heads, 4);
  EXPECT_EQ(file.vocab_size, 512);
  EXPECT_EQ(file.seq_len, 512);
  int64_t parameters = 0;
  for (const StoredTensor& tensor : file.tensors) parameters += tensor.elements();
  EXPECT_EQ(parameters, 260032);
}

}  // namespace
}  // namespace twofold
