// Every family of models is quantized, read back and imported without any method knowing of it: a
// loop over the tiny models, whose tensors and operators are those of all families.
#include <algorithm>
#include <cmath>
#include <set>

#include "engine/model.h"
#include "pipeline/quantize_model.h"
#include "pipeline/support.h"
#include "quant/method.h"

namespace twofold {
namespace {

using testing::numbers_of;
using testing::shakespeare;
using testing::TempFolder;
using testing::test_data;
namespace fs = std::filesystem;

/// What a method does to a matrix, as far as a family of models could notice.
enum class Kind { kUniform, kBinary, kOther, kTransformed };
constexpr Kind kKinds[] = {Kind::kUniform, Kind::kBinary, Kind::kOther, Kind::kTransformed};

Kind kind_of(const Method& method) {
  const MethodChoice choice = choose_method({.method = std::string(method.name)});
  if (choice.transform != "none") return Kind::kTransformed;
  const Scheme scheme = scheme_for(choice, 64, 64);
  if (scheme.kind == ValueKind::kAffine) return Kind::kUniform;
  // Binary codings are the tables that can be stored as bit planes.
  const std::vector<ParamSpec>& params = find_grid(choice.grid).params;
  const bool planes = std::ranges::find(params, "storage", &ParamSpec::name) != params.end();
  return scheme.kind == ValueKind::kTable && planes ? Kind::kBinary : Kind::kOther;
}

/// The methods of one kind, in the order of the registry.
std::vector<const Method*> methods_of(Kind kind) {
  std::vector<const Method*> methods;
  for (const Method& method : all_methods()) {
    if (kind_of(method) == kind) methods.push_back(&method);
  }
  return methods;
}

/// One method of every kind for the n-th model: the models take turns, so that together they have
/// them all.
std::vector<const Method*> methods_for(size_t n) {
  std::vector<const Method*> chosen;
  for (const Kind kind : kKinds) {
    const std::vector<const Method*> methods = methods_of(kind);
    chosen.push_back(methods.at(n % methods.size()));
  }
  return chosen;
}

std::vector<fs::path> tiny_folders() {
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(test_data("tiny-models"))) {
    if (fs::exists(entry.path() / "config.json")) folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

/// The model with a tokenizer, which the tiny ones lack: characters, all of them below 96.
fs::path with_tokenizer(const fs::path& model, const fs::path& to) {
  fs::copy(model, to);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    fs::copy_file(shakespeare() / name, to / name);
  }
  return to;
}

/// Mean loss of the model on a fixed sequence, in nats per token.
double loss_of(const Model& model, const Context& ctx) {
  const ModelConfig& c = model.config();
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 40; ++i) ids.push_back((i * 37 + 5) % static_cast<int32_t>(c.vocab_size));
  const SequenceInput input{ids, nullptr};
  const AlignedBuffer<float> hidden = model.forward({&input, 1}, ctx);
  const int64_t count = std::ssize(ids) - 1;
  std::vector<float> logits(static_cast<size_t>(count * c.vocab_size));
  const Matrix<float> out(logits.data(), count, c.vocab_size);
  model.logits({hidden.data(), count, c.hidden}, out, ctx);
  double loss = 0;
  for (int64_t i = 0; i < count; ++i) {
    double total = 0;
    for (const float x : out.row(i)) total += std::exp(double{x});
    loss += std::log(total) - double{out.at(i, ids[static_cast<size_t>(i + 1)])};
  }
  return loss / static_cast<double>(count);
}

TEST(Families, EveryOneHasATinyModel) {
  std::set<std::string_view> found;
  for (const fs::path& folder : tiny_folders()) found.insert(open_model(folder).family->name);
  for (const Family* family : all_families()) {
    EXPECT_TRUE(found.contains(family->name)) << family->name;
  }
}

TEST(Families, TogetherMeetEveryMethodAndEachOneOfEveryKind) {
  std::set<const Method*> met;
  const size_t models = tiny_folders().size();
  for (size_t n = 0; n < models; ++n) {
    for (const Method* method : methods_for(n)) met.insert(method);
  }
  EXPECT_EQ(met.size(), all_methods().size());
  EXPECT_EQ(methods_of(Kind::kUniform).front()->name, "rtn") << "the simplest comes first";
}

TEST(Families, EveryOneIsQuantizedAndReadBack) {
  ThreadPool pool(2);
  const Context ctx{.pool = pool};
  TempFolder folder;
  size_t turn = 0;
  for (const fs::path& tiny : tiny_folders()) {
    const std::string name = tiny.filename().string();
    const ModelFiles source = open_model(with_tokenizer(tiny, folder / name));
    const double plain = loss_of(*Model::load(folder / name), ctx);
    for (const Method* method : methods_for(turn++)) {
      const fs::path output = folder / fmt::format("{}-{}", name, method->name);
      const CalibrationOptions calibration{
          .files = {test_data("text") / "ts-calibration.txt"}, .samples = 4, .context = 32};
      const QuantizeReport report = quantize_model(
          source, testing::recipe_of(std::string(method->name), method->default_bits),
          {.output = output, .seed = 3, .command_line = "test", .calibration = calibration}, ctx);
      const ModelFiles made = open_model(output);
      const double loss = loss_of(*Model::load(output), ctx);
      EXPECT_TRUE(std::isfinite(loss)) << output;
      const bool fine = kind_of(*method) == Kind::kUniform && method->default_bits >= 4;
      EXPECT_LT(loss, plain + (fine ? 3 : 20)) << output;
      for (const Slot& slot : made.slots) {
        if (slot.shape.size() != 2) continue;
        const auto row = std::ranges::find(report.matrices, slot.name, &MatrixReport::name);
        ASSERT_NE(row, report.matrices.end()) << output << " " << slot.name;
        EXPECT_EQ(row->quantized, !slot.format.empty()) << slot.name;
        EXPECT_GT(row->bytes, 0) << slot.name;
        if (!is_block_linear(slot.role)) continue;
        const MethodChoice expected = choose_method(  // of narrow matrices another
            {.method = std::string(method->name)}, slot.shape[0], slot.shape[1]);
        EXPECT_EQ(row->method, expected.method) << slot.name;
        EXPECT_TRUE(row->proxy_loss && std::isfinite(*row->proxy_loss)) << output << slot.name;
      }
      fs::remove_all(output);
    }
  }
}

TEST(Families, ImportGivesBackEveryNumber) {
  ThreadPool pool(2);
  const Context ctx{.pool = pool};
  TempFolder folder;
  for (const fs::path& tiny : tiny_folders()) {
    const ModelFiles source = open_model(tiny);
    const fs::path output = folder / tiny.filename().string();
    import_model(source, {.output = output}, ctx);
    const ModelFiles made = open_model(output);
    // Fused tensors are whole again: the names are those of the source.
    EXPECT_EQ(made.slots.size(), source.slots.size());
    for (size_t i = 0; i < std::min(made.slots.size(), source.slots.size()); ++i) {
      EXPECT_EQ(made.slots[i].tensor->name,
                made.slots[i].fused.empty() ? made.slots[i].name : made.slots[i].fused);
      EXPECT_EQ(numbers_of(made.slots[i]), numbers_of(source.slots[i])) << source.slots[i].name;
    }
    fs::remove_all(output);
  }
}

}  // namespace
}  // namespace twofold
