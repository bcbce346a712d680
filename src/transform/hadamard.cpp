// Blocks of Hadamard matrices with random signs, on both sides: what QuIP# (arXiv:2402.04396, Sec.
// 3) and QuaRot (arXiv:2404.00456) do with one large matrix. Differs: the block is the largest
// power of two up to 128 that divides the side, so that every side has one (576 gives 64) and a
// block stays in registers.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "tensor/ops.h"
#include "transform/members.h"
#include "transform/two_sided.h"

namespace twofold {
namespace {

constexpr int64_t kLargestBlock = 128;

int64_t block_of(int64_t n) {
  int64_t block = 1;
  while (block < kLargestBlock && n % (2 * block) == 0) block *= 2;
  return block;
}

/// R = diag of blocks H_b / sqrt(b), times diag(signs).
class SignedHadamard final : public Rotation {
 public:
  SignedHadamard(uint64_t seed, int64_t n)
      : block_(block_of(n)), signs_(static_cast<size_t>(n)), unit_signs_(signs_.size()) {
    const double scale = 1 / std::sqrt(static_cast<double>(block_));
    Rng rng(seed, "hadamard signs");
    for (size_t i = 0; i < signs_.size(); ++i) {
      unit_signs_[i] = rng.next_u32() >> 31 == 0 ? scale : -scale;
      signs_[i] = static_cast<float>(unit_signs_[i]);
    }
  }

  uint64_t checksum() const override {
    uint64_t hash = kChecksumStart;
    for (const float sign : signs_) hash = add_to_checksum(hash, std::bit_cast<uint32_t>(sign));
    return hash;
  }

  int64_t size() const override { return static_cast<int64_t>(signs_.size()); }

  void apply(Matrix<float> x, Isa isa) const override {
    const Ops& op = ops(isa);
    for (int64_t r = 0; r < x.rows; ++r) {
      float* row = x.row(r).data();
      multiply_signs(row);
      op.hadamard(row, x.cols, block_);
    }
  }

  void undo(Matrix<float> x, Isa isa) const override {
    const Ops& op = ops(isa);
    for (int64_t r = 0; r < x.rows; ++r) {
      float* row = x.row(r).data();
      op.hadamard(row, x.cols, block_);
      multiply_signs(row);
    }
  }

  void apply(Matrix<double> x) const override {
    for (int64_t r = 0; r < x.rows; ++r) {
      double* row = x.row(r).data();
      for (int64_t c = 0; c < x.cols; ++c) row[c] *= unit_signs_[static_cast<size_t>(c)];
      for (int64_t half = 1; half < block_; half *= 2) {
        for (int64_t i = 0; i < x.cols; i += 2 * half) {
          for (int64_t j = i; j < i + half; ++j) {
            const double a = row[j], b = row[j + half];
            row[j] = a + b;
            row[j + half] = a - b;
          }
        }
      }
    }
  }

 private:
  void multiply_signs(float* row) const {
    for (size_t c = 0; c < signs_.size(); ++c) row[c] *= signs_[c];
  }

  int64_t block_;
  std::vector<float> signs_;        // [n] 1 / sqrt(b) with a random sign
  std::vector<double> unit_signs_;  // [n] the same in double
};

bool never(const Params& /*params*/) { return false; }

/// What is weaker than it should be for a side of n numbers; empty if nothing is.
std::string weakness(std::string_view side, int64_t n) {
  const int64_t block = block_of(n);
  if (block > 1) return {};
  return fmt::format("hadamard: {} side {} is odd: random signs only", side, n);
}

std::string check_shape(const Params& /*params*/, int64_t rows, int64_t cols) {
  const std::string input = weakness("input", cols), output = weakness("output", rows);
  return input.empty() || output.empty() ? input + output : input + "; " + output;
}

TransformSpec fit_input(const TransformProblem& problem, ThreadPool& /*pool*/) {
  TransformSpec spec{
      .name = "hadamard",
      .variant = {},
      .input_seed = Rng(problem.seed, fmt::format("{}/input", problem.name)).next_u64(),
      .input_scale = {}};
  spec.input_checksum = SignedHadamard(spec.input_seed, problem.weights.front().cols).checksum();
  return spec;
}

void add_output(TransformSpec& spec, uint64_t seed, std::string_view matrix_name, int64_t rows) {
  spec.output_seed = Rng(seed, fmt::format("{}/output", matrix_name)).next_u64();
  spec.output_checksum = SignedHadamard(spec.output_seed, rows).checksum();
}

std::unique_ptr<const Rotation> draw(std::string_view side, uint64_t seed, uint64_t checksum,
                                     int64_t n) {
  auto rotation = std::make_unique<SignedHadamard>(seed, n);
  check_drawn(*rotation, "hadamard", side, seed, checksum);
  return rotation;
}

std::unique_ptr<const PreparedTransform> prepare(const TransformSpec& spec, int64_t rows,
                                                 int64_t cols) {
  check_input_scale(spec, cols, false);
  auto input = draw("input", spec.input_seed, spec.input_checksum, cols);
  if (rows == 0) return make_two_sided({}, std::move(input), nullptr);
  return make_two_sided({}, std::move(input),
                        draw("output", spec.output_seed, spec.output_checksum, rows));
}

int64_t stored_bytes(const TransformSpec& /*spec*/) { return 0; }

}  // namespace

const Transform& hadamard_transform() {
  static const Transform kTransform = {
      .name = "hadamard",
      .paper = "arXiv:2402.04396",
      .help = "blocks of Hadamard matrices with random signs, on both sides",
      .params = {},
      .identity = false,
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
