// What quantize_model writes, compared with the source, with the parts it is made of, and with the
// bytes of the file counted by hand.
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "pipeline/quantize_model.h"
#include "pipeline/support.h"
#include "quant/method.h"

namespace twofold {
namespace {

using testing::numbers_of;
using testing::packed_of;
using testing::read_file;
using testing::recipe_of;
using testing::shakespeare;
using testing::stories;
using testing::TempFolder;
using testing::tiny_model;
namespace fs = std::filesystem;

class Quantize : public ::testing::Test {
 protected:
  QuantizeReport run(const fs::path& source, const Recipe& recipe, const std::string& name,
                     int threads = 2) {
    ThreadPool pool(threads, false);
    const Context ctx{.pool = pool};
    return quantize_model(open_model(source), recipe,
                          {.output = folder_ / name, .seed = 7, .command_line = "test"}, ctx);
  }

  TempFolder folder_;
};

/// Header and offsets of a safetensors file, read without the library's own reader.
struct RawSafetensors {
  Json header;
  size_t data_begin = 0;
  std::string bytes;

  explicit RawSafetensors(const fs::path& path) : bytes(read_file(path)) {
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    header = Json::parse(bytes.substr(8, length));
    data_begin = 8 + length;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, value] : header.items()) {
      if (name != "__metadata__") names.push_back(name);
    }
    return names;
  }
  uint64_t begin(const std::string& name) const { return header[name]["data_offsets"][0]; }
  uint64_t size(const std::string& name) const {
    return header[name]["data_offsets"][1].get<uint64_t>() - begin(name);
  }
};

TEST_F(Quantize, MatricesReadBackAreWhatTheMethodChose) {
  for (const Method& method : all_methods()) {
    if (needs_moment(choose_method({.method = std::string(method.name)}))) continue;
    for (const std::string model : {"gpt2", "llama-gqa"}) {
      const std::string name = fmt::format("{}-{}", model, method.name);
      MethodRequest request;
      request.method = std::string(method.name);
      const int bits = choose_method(request).bits;
      const Recipe recipe = recipe_of(request.method, bits);
      run(tiny_model(model), recipe, name);

      const ModelFiles source = open_model(tiny_model(model));
      const ModelFiles result = open_model(folder_ / name);
      ASSERT_EQ(result.slots.size(), source.slots.size());
      ThreadPool pool(1);
      for (size_t i = 0; i < source.slots.size(); ++i) {
        const Slot& slot = source.slots[i];
        ASSERT_EQ(result.slots[i].name, slot.name);
        const auto choice = choose(recipe, slot);
        EXPECT_EQ(!result.slots[i].format.empty(), choice.has_value()) << slot.name;
        if (!choice) {
          EXPECT_EQ(numbers_of(result.slots[i]), numbers_of(slot)) << slot.name;
          continue;
        }
        const std::vector<float> weight = numbers_of(slot);
        const Solution expected = solve(*choice,
                                        {.weight = {weight.data(), slot.shape[0], slot.shape[1]},
                                         .seed = 7,
                                         .input_name = slot.input,
                                         .matrix_name = slot.name},
                                        {.pool = pool});
        EXPECT_TRUE(unpack(packed_of(result.slots[i])) == expected.q) << name << " " << slot.name;
      }
    }
  }
}

TEST_F(Quantize, RecipeOfTheOutputGivesTheSameBytes) {
  RecipeFlags flags;
  flags.block.method = "rtn";
  flags.block.bits = 3;
  flags.block.group = 32;
  flags.head = "rtn:6";
  flags.embeddings = "keep";
  run(tiny_model("llama-gqa"), recipe_from_flags(flags), "first");
  const Json config = Json::parse(read_file(folder_ / "first/config.json"));
  const Recipe saved = parse_recipe(config["quantization_config"]["recipe"].dump(), "saved");
  run(tiny_model("llama-gqa"), saved, "second");
  EXPECT_EQ(read_file(folder_ / "first/model.safetensors"),
            read_file(folder_ / "second/model.safetensors"));
  EXPECT_EQ(read_file(folder_ / "first/config.json"), read_file(folder_ / "second/config.json"));
}

TEST_F(Quantize, FilesDoNotDependOnThreads) {
  for (const Method& method : all_methods()) {
    if (needs_moment(choose_method({.method = std::string(method.name)}))) continue;
    MethodRequest request;
    request.method = std::string(method.name);
    const Recipe recipe = recipe_of(request.method, choose_method(request).bits);
    std::set<std::string> hashes;
    for (const int threads : {1, 2, 5}) {
      const std::string name = fmt::format("{}-{}", method.name, threads);
      run(shakespeare(), recipe, name, threads);
      hashes.insert(sha256_hex(read_file(folder_ / (name + "/model.safetensors"))) +
                    sha256_hex(read_file(folder_ / (name + "/config.json"))));
    }
    EXPECT_EQ(hashes.size(), 1u) << method.name;
  }
}

TEST_F(Quantize, BitsAndBytesAreThoseOfTheFile) {
  const Recipe recipe = recipe_of("rtn", 4);
  const QuantizeReport report = run(shakespeare(), recipe, "out");
  const fs::path path = folder_ / "out/model.safetensors";
  const RawSafetensors file(path);
  EXPECT_EQ(static_cast<uintmax_t>(report.bytes), fs::file_size(path));

  uint64_t packed = 0, all = 0;
  int64_t weights = 0;
  std::map<std::string, MatrixReport> rows;
  for (const MatrixReport& row : report.matrices) rows[row.name] = row;
  const Json config = Json::parse(read_file(folder_ / "out/config.json"));
  for (const std::string& name : file.names()) {
    all += file.size(name);
    if (file.header[name]["dtype"] != "U8") continue;
    const Json& shape = config["quantization_config"]["tensors"][name]["shape"];
    const int64_t count = shape[0].get<int64_t>() * shape[1].get<int64_t>();
    EXPECT_EQ(static_cast<uint64_t>(rows[name].bytes), file.size(name));
    EXPECT_DOUBLE_EQ(rows[name].bits_per_weight,
                     8.0 * static_cast<double>(file.size(name)) / static_cast<double>(count));
    packed += file.size(name);
    weights += count;
  }
  EXPECT_EQ(file.data_begin + all, fs::file_size(path));
  EXPECT_DOUBLE_EQ(report.bits_per_weight,
                   8.0 * static_cast<double>(packed) / static_cast<double>(weights));
  // The source's tied head counts once: its file holds it once.
  uint64_t source_bytes = 0;
  const RawSafetensors source(shakespeare() / "model.safetensors");
  for (const std::string& name : source.names()) source_bytes += source.size(name);
  EXPECT_EQ(static_cast<uint64_t>(report.parameters), source_bytes / 4);
  EXPECT_DOUBLE_EQ(report.bits_per_weight_total, 8.0 * static_cast<double>(fs::file_size(path)) /
                                                     static_cast<double>(report.parameters));
}

TEST_F(Quantize, PackedMatricesStartOnMultiplesOf64) {
  run(tiny_model("gpt2"), recipe_of("rtn", 3, "keep"), "out");
  const RawSafetensors file(folder_ / "out/model.safetensors");
  int packed = 0;
  uint64_t last_matrix = 0, first_vector = UINT64_MAX;
  for (const std::string& name : file.names()) {
    const bool is_packed = file.header[name]["dtype"] == "U8";
    const bool is_vector = !is_packed && file.header[name]["shape"].size() == 1;
    if (is_packed) {
      EXPECT_EQ((file.data_begin + file.begin(name)) % 64, 0u) << name;
      ++packed;
    }
    if (is_vector) first_vector = std::min(first_vector, file.begin(name));
    if (!is_vector) last_matrix = std::max(last_matrix, file.begin(name));
  }
  EXPECT_EQ(packed, 3 * 4);
  EXPECT_LT(last_matrix, first_vector);
}

TEST_F(Quantize, ATiedHeadStaysOneMatrixIfTreatedAlike) {
  run(shakespeare(), recipe_of("rtn", 4), "alike");
  const ModelFiles alike = open_model(folder_ / "alike");
  EXPECT_EQ(alike.find("head"), nullptr);
  EXPECT_FALSE(alike.checkpoint->has("lm_head.weight"));
  EXPECT_FALSE(alike.find("embed")->format.empty());
}

TEST_F(Quantize, ATiedHeadBecomesTwoTensorsIfTreatedDifferently) {
  RecipeFlags flags;
  flags.block.method = "rtn";
  flags.head = "rtn:4";
  flags.embeddings = "keep";
  const QuantizeReport report = run(shakespeare(), recipe_from_flags(flags), "apart");
  const ModelFiles apart = open_model(folder_ / "apart");
  ASSERT_NE(apart.find("head"), nullptr);
  EXPECT_FALSE(apart.find("head")->format.empty());
  EXPECT_TRUE(apart.find("embed")->format.empty());
  EXPECT_TRUE(apart.find("position")->format.empty());
  EXPECT_EQ(apart.parameters(), open_model(shakespeare()).parameters());
  EXPECT_EQ(report.parameters, apart.parameters());
  EXPECT_EQ(numbers_of(*apart.find("embed")), numbers_of(*open_model(shakespeare()).find("embed")));

  std::swap(flags.head, flags.embeddings);
  run(shakespeare(), recipe_from_flags(flags), "other");
  const ModelFiles other = open_model(folder_ / "other");
  EXPECT_TRUE(other.find("head")->format.empty());
  EXPECT_FALSE(other.find("embed")->format.empty());
  EXPECT_EQ(numbers_of(*other.find("head")), numbers_of(*open_model(shakespeare()).find("embed")));
}

TEST_F(Quantize, AContainerOfTheSameWeightsGivesTheSamePackedMatrices) {
  for (const auto& [gguf, plain] : std::map<std::string, std::string>{
           {"gpt2.gguf", "gpt2"}, {"llama-gqa-00001-of-00002.gguf", "llama-gqa"}}) {
    run(tiny_model(gguf), recipe_of("rtn", 4, "keep"), "from-" + gguf);
    run(tiny_model(plain), recipe_of("rtn", 4, "keep"), "from-" + plain);
    const ModelFiles a = open_model(folder_ / ("from-" + gguf));
    const ModelFiles b = open_model(folder_ / ("from-" + plain));
    ASSERT_EQ(a.slots.size(), b.slots.size());
    for (size_t i = 0; i < a.slots.size(); ++i) {
      EXPECT_EQ(numbers_of(a.slots[i]), numbers_of(b.slots[i])) << a.slots[i].name;
    }
  }
}

TEST_F(Quantize, Llama2cSourcesGetConfigurationAndTokenizer) {
  run(stories(), recipe_of("pot", 4), "out");
  const ModelFiles files = open_model(folder_ / "out");
  EXPECT_EQ(files.config.family, open_model(stories()).config.family);
  EXPECT_TRUE(fs::exists(folder_ / "out/tokenizer.json"));
  EXPECT_TRUE(fs::exists(folder_ / "out/tokenizer_config.json"));
}

TEST_F(Quantize, CompanionFilesAreCopiedAsTheyWere) {
  run(shakespeare(), recipe_of("rtn", 4), "out");
  for (const std::string name : {"tokenizer.json", "tokenizer_config.json"}) {
    EXPECT_EQ(read_file(folder_ / ("out/" + name)), read_file(shakespeare() / name));
  }
}

TEST_F(Quantize, InspectGivesTheFiguresOfTheRun) {
  QuantizeReport written = run(tiny_model("llama-bias"), recipe_of("pot", 4, "keep"), "out");
  const QuantizeReport seen = inspect_model(open_model(folder_ / "out"));
  EXPECT_EQ(seen.bytes, written.bytes);
  EXPECT_EQ(seen.parameters, written.parameters);
  EXPECT_DOUBLE_EQ(seen.bits_per_weight, written.bits_per_weight);
  EXPECT_DOUBLE_EQ(seen.bits_per_weight_total, written.bits_per_weight_total);
  ASSERT_EQ(seen.matrices.size(), written.matrices.size());
  for (const MatrixReport& row : seen.matrices) {
    const auto same = std::find_if(written.matrices.begin(), written.matrices.end(),
                                   [&](const MatrixReport& r) { return r.name == row.name; });
    ASSERT_NE(same, written.matrices.end());
    EXPECT_EQ(row.method, same->method);
    EXPECT_EQ(row.format, same->format);
    EXPECT_EQ(row.bytes, same->bytes);
    EXPECT_EQ(row.parameters, same->parameters);
    EXPECT_EQ(row.proxy_loss, same->proxy_loss);
    EXPECT_EQ(row.quantized, same->quantized);
  }
}

TEST_F(Quantize, InspectJsonHasTheKeysOfTheInterface) {
  run(tiny_model("gpt2"), recipe_of("rtn", 4), "out");
  const std::vector<fs::path> models = {folder_ / "out", tiny_model("gpt2"), stories(),
                                        tiny_model("llama-q4.gguf")};
  for (const fs::path& path : models) {
    const OrderedJson json = to_json(inspect_model(open_model(path)));
    for (const char* key : {"bytes", "parameters"}) {
      EXPECT_TRUE(json.at(key).is_number_integer()) << key;
    }
    for (const char* key : {"bits_per_weight", "bits_per_weight_total"}) {
      EXPECT_GT(json.at(key).get<double>(), 0) << key;
    }
    ASSERT_FALSE(json.at("matrices").empty());
    for (const OrderedJson& row : json.at("matrices")) {
      for (const char* key : {"name", "method", "format"}) {
        EXPECT_FALSE(row.at(key).get<std::string>().empty()) << key;
      }
      EXPECT_GT(row.at("rows").get<int64_t>(), 0);
      EXPECT_GT(row.at("cols").get<int64_t>(), 0);
      EXPECT_GT(row.at("bits_per_weight").get<double>(), 0);
      EXPECT_GE(row.at("proxy_loss").get<double>(), 0);
    }
  }
}

/// Of tensors that count with no matrix, and headers.
int64_t other_bytes(const QuantizeReport& report) {
  int64_t sum = report.others->headers;
  for (const TensorReport& tensor : report.others->tensors) {
    if (tensor.counted_with.empty()) sum += tensor.bytes;
  }
  return sum;
}

TEST_F(Quantize, InspectAccountsForEveryByte) {
  std::vector<fs::path> models = {stories(),
                                  shakespeare(),
                                  tiny_model("gpt2"),
                                  tiny_model("gpt2.gguf"),
                                  tiny_model("llama-q4.gguf"),
                                  tiny_model("llama-tied"),
                                  tiny_model("llama-bias")};
  ThreadPool pool(2, false);
  const Context ctx{.pool = pool};
  for (const std::string method : {"rtn", "quip", "awq", "gptqt"}) {
    models.push_back(folder_ / method);
    quantize_model(open_model(stories()), recipe_of(method, 3),
                   {.output = models.back(),
                    .calibration = CalibrationOptions{.files = {testing::test_data("text") /
                                                                "ts-calibration.txt"},
                                                      .samples = 2,
                                                      .context = 32}},
                   ctx);
  }
  int vectors = 0;
  for (const fs::path& path : models) {
    const ModelFiles files = open_model(path);
    const QuantizeReport report = inspect_model(files);
    ASSERT_TRUE(report.others);
    int64_t sum = report.others->headers;
    for (const MatrixReport& matrix : report.matrices) {
      sum += matrix.bytes;
      ASSERT_TRUE(matrix.kinds);
      EXPECT_EQ(matrix.kinds->sum(), matrix.bytes) << matrix.name;
    }
    EXPECT_EQ(kinds_of(report.matrices).sum() + other_bytes(report), report.bytes) << path;
    for (const TensorReport& tensor : report.others->tensors) {
      if (tensor.counted_with.empty()) sum += tensor.bytes;
      vectors += tensor.counted_with.empty() ? 0 : 1;
    }
    EXPECT_EQ(sum, report.bytes) << path;
    if (fs::exists(path / "model.safetensors")) {
      const RawSafetensors raw(path / "model.safetensors");
      EXPECT_EQ(report.bytes, std::ssize(raw.bytes)) << path;
      EXPECT_EQ(report.others->headers, static_cast<int64_t>(raw.data_begin)) << path;
    }
  }
  EXPECT_EQ(vectors, 2 * 4 * open_model(stories()).config.layers) << "one an input, quip and awq";
}

TEST_F(Quantize, InspectCountsBlockTypesOfGguf) {
  const QuantizeReport report = inspect_model(open_model(tiny_model("llama-q4.gguf")));
  const auto row = std::find_if(report.matrices.begin(), report.matrices.end(),
                                [](const MatrixReport& r) { return r.format == "q4_0"; });
  ASSERT_NE(row, report.matrices.end());
  EXPECT_DOUBLE_EQ(row->bits_per_weight, 4.5);
  EXPECT_EQ(static_cast<uintmax_t>(report.bytes), fs::file_size(tiny_model("llama-q4.gguf")));
}

TEST_F(Quantize, TheReportSaysWhatAndHow) {
  const QuantizeReport report = run(tiny_model("gpt2"), recipe_of("rtn", 4), "out");
  const Json json = Json::parse(read_file(folder_ / "out/quantization_report.json"));
  EXPECT_EQ(json["command_line"], "test");
  EXPECT_EQ(json["seed"], 7);
  EXPECT_EQ(json["threads"], 2);
  EXPECT_EQ(json["instruction_set"], isa_name(Isa::kScalar));
  EXPECT_EQ(json["source"]["path"], tiny_model("gpt2").string());
  EXPECT_EQ(json["source"]["fingerprint"].get<std::string>().size(), 64u);
  ASSERT_EQ(json["matrices"].size(), report.matrices.size());
  const Json& row = json["matrices"][0];
  EXPECT_EQ(row["method"], "rtn");
  EXPECT_EQ(row["parameters"]["bits"], 8);
  EXPECT_EQ(row["parameters"]["grid"], "uniform");
  EXPECT_GT(row["proxy_loss"].get<double>(), 0);
  EXPECT_LT(row["proxy_loss"].get<double>(), 1e-3);
}

TEST_F(Quantize, ADamagedReportIsRefusedByInspect) {
  run(tiny_model("gpt2"), recipe_of("rtn", 4), "out");
  const fs::path path = folder_ / "out/quantization_report.json";
  const std::string good = read_file(path);
  Json without = Json::parse(good);
  without["matrices"].erase(0);
  Json mistyped = Json::parse(good);
  mistyped["matrices"][0]["method"] = 5;
  for (const std::string& bad : {std::string("{}"), std::string("[1"), without.dump(),
                                 mistyped.dump(), std::string("\"x\"")}) {
    testing::write_file(path, bad);
    const std::string message = testing::error_of(
        [&] { inspect_model(open_model(folder_ / "out")); }, ErrorCode::kCorruptFile);
    EXPECT_NE(message.find("quantization_report.json"), std::string::npos) << message;
  }
  fs::remove(path);
  testing::error_of([&] { inspect_model(open_model(folder_ / "out")); }, ErrorCode::kIo);
}

TEST_F(Quantize, AQuantizedSourceIsRefused) {
  run(tiny_model("gpt2"), recipe_of("rtn", 4), "out");
  testing::error_of([&] { run(folder_ / "out", recipe_of("rtn", 4), "again"); },
                    ErrorCode::kUnsupported);
  EXPECT_FALSE(fs::exists(folder_ / "again"));
}

}  // namespace
}  // namespace twofold
