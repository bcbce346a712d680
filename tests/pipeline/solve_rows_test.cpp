// Matrices that are solved a chunk of rows at a time are those solved as a whole.
#include "pipeline/solve_rows.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "pipeline/dense_weights.h"
#include "pipeline/support.h"

namespace twofold {
namespace {

MethodChoice choice_of(std::string_view method) {
  return choose_method({.method = std::string(method)});
}

/// Methods whose matrices may be solved by rows, in their defaults.
std::vector<std::string> methods_by_rows() {
  std::vector<std::string> names;
  for (const Method& method : all_methods()) {
    if (rows_are_independent(choice_of(method.name), 64)) names.emplace_back(method.name);
  }
  return names;
}

TEST(SolveByRows, GivesTheBytesAndLossOfTheWholeMatrixForEveryThreadCount) {
  const ModelFiles source = open_model(testing::shakespeare());
  ThreadPool one(1, false), three(3, false);
  const std::vector<std::string> methods = methods_by_rows();
  EXPECT_GE(methods.size(), 4u);
  for (const std::string& method : methods) {
    const MethodChoice choice = choice_of(method);
    for (const Slot& slot : source.slots) {
      if (slot.layer > 0 || slot.shape.size() != 2) continue;
      const AlignedBuffer<float> weight = load_matrix(slot, {.pool = one});
      const Solution whole = solve(choice,
                                   {.weight = {weight.data(), slot.shape[0], slot.shape[1]},
                                    .input_name = slot.input,
                                    .matrix_name = slot.name},
                                   {.pool = one});
      const PackedMatrix expected = pack(whole.q);
      for (ThreadPool* pool : {&one, &three}) {
        const PackedSolution found = solve_by_rows(choice, slot, 0, {.pool = *pool});
        EXPECT_EQ(found.packed.format.name, expected.format.name) << method;
        EXPECT_TRUE(std::ranges::equal(found.packed.bytes.view.bytes, expected.bytes.view.bytes))
            << method << ' ' << slot.name;
        EXPECT_EQ(found.proxy_loss, whole.proxy_loss) << method << ' ' << slot.name;
        EXPECT_EQ(found.transform, whole.q.transform);
        EXPECT_EQ(found.notes, whole.notes);
      }
    }
  }
}

TEST(SolveByRows, RowsOfOneScaleOrAnotherBasisAreNotIndependent) {
  MethodRequest whole{.method = "rtn"};
  whole.params["scale-per"] = "tensor";
  EXPECT_FALSE(rows_are_independent(choose_method(whole), 64));
  MethodRequest rotated{.method = "rtn"};
  rotated.transform = "hadamard";
  EXPECT_FALSE(rows_are_independent(choose_method(rotated), 64));
  EXPECT_FALSE(rows_are_independent(choice_of("gptq"), 64));
}

TEST(SolveByRows, ErrorsNameTheRowOfTheMatrix) {
  ModelFiles source = open_model(testing::shakespeare());
  ThreadPool pool(2, false);
  const Slot* slot = nullptr;
  for (const Slot& s : source.slots) {
    if (s.layer == 0 && s.shape.size() == 2 && s.shape[0] > 130 &&
        s.tensor->type->dtype == DType::kF32) {
      slot = &s;
    }
  }
  ASSERT_NE(slot, nullptr);
  const std::span<const std::byte> bytes = slot->tensor->bytes;
  std::vector<float> numbers(bytes.size() / sizeof(float));
  std::memcpy(numbers.data(), bytes.data(), bytes.size());
  const auto at = static_cast<size_t>(129 * slot->shape[1]);
  StoredTensor damaged = *slot->tensor;
  damaged.bytes = std::as_bytes(std::span(numbers));
  Slot changed = *slot;
  changed.tensor = &damaged;
  for (const float bad : {NAN, 1e30f}) {
    numbers[at] = bad;
    try {
      solve_by_rows(choice_of("rtn"), changed, 0, {.pool = pool});
      FAIL() << bad;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("129"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace twofold
