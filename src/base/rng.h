// Rng: counter-based random numbers (Philox 4x32-10, Salmon et al., SC 2011). The stream depends
// only on (seed, key), never on threads or call order elsewhere. All results are made with integer
// operations and + - * / sqrt in double, so that any machine gives the same ones.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace twofold {

class Rng {
 public:
  /// @param key names the use, e.g. "model.layers.0.self_attn.q_proj/sign".
  explicit Rng(uint64_t seed, std::string_view key = {});

  uint32_t next_u32();
  uint64_t next_u64();
  /// Uniform in [0, 1), 53 bits.
  double uniform();
  /// Uniform integer in [0, bound), without bias; bound > 0.
  uint64_t below(uint64_t bound);
  /// Standard normal, by Marsaglia's polar method with our own logarithm.
  double normal();

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_{};
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
  bool has_spare_ = false;
  double spare_ = 0;
};

}  // namespace twofold
