// The identity: weights are stored in their own basis.
#include "base/error.h"
#include "transform/members.h"

namespace twofold {
namespace {

class Identity final : public PreparedTransform {
 public:
  bool identity() const override { return true; }
  void apply_weight(Matrix<float> /*weight*/) const override {}
  void undo_weight(Matrix<float> /*weight*/) const override {}
  void apply_moment(Matrix<double> /*moment*/) const override {}
  void apply_input(Matrix<float> /*x*/, Isa /*isa*/) const override {}
  void undo_output(Matrix<float> /*y*/, Isa /*isa*/) const override {}
};

bool never(const Params& /*params*/) { return false; }

TransformSpec fit_input(const TransformProblem& /*problem*/, ThreadPool& /*pool*/) { return {}; }

std::string check_shape(const Params& /*params*/, int64_t /*rows*/, int64_t /*cols*/) { return {}; }

void add_output(TransformSpec& /*spec*/, uint64_t /*seed*/, std::string_view /*matrix_name*/,
                int64_t /*rows*/) {}

std::unique_ptr<const PreparedTransform> prepare(const TransformSpec& spec, int64_t /*rows*/,
                                                 int64_t /*cols*/) {
  if (!spec.input_scale.empty()) {
    fail(ErrorCode::kCorruptFile, "transform 'none'", "expected no scale vector, found {} numbers",
         spec.input_scale.size());
  }
  return std::make_unique<Identity>();
}

int64_t stored_bytes(const TransformSpec& /*spec*/) { return 0; }

}  // namespace

const Transform& none_transform() {
  static const Transform kTransform = {.name = "none",
                                       .paper = "",
                                       .help = "weights are rounded in their own basis",
                                       .params = {},
                                       .identity = true,
                                       .needs_moment = never,
                                       .check_shape = check_shape,
                                       .per_matrix = never,
                                       .has_input_scale = never,
                                       .fit_input = fit_input,
                                       .add_output = add_output,
                                       .prepare = prepare,
                                       .stored_bytes = stored_bytes};
  return kTransform;
}

}  // namespace twofold
