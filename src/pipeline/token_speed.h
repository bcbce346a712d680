// Token speed: what memory and the kernels of a model's matrices let a token take. The rate of each
// kernel is measured with weights in the cache, on the first rows of a matrix of the model.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "model/model_files.h"

namespace twofold {

/// Matrices of one format and shape that one kernel multiplies for every token.
struct MatrixKind {
  std::string format, kernel;
  int64_t rows = 0, cols = 0;
  int64_t digits = 1;  // of int8 that an activation is rounded to: rows that the kernel multiplies
  int64_t matrices = 0;
  double bytes_per_token = 0;  // of all of them; of experts the share that a token has
  size_t slot = 0;             // one of them, in ModelFiles::slots
};

/// One kind at some number of threads. A kernel that is slower from the cache than memory gives
/// bytes waits for its instructions; of small matrices the start of the threads is among them.
struct KindSpeed {
  double bytes_per_second = 0;  // of packed bytes, from the cache
  bool bound_by_memory = false;
};

/// "memory" or "instructions".
std::string_view bound_name(const KindSpeed& speed);

struct TokenSpeed {
  int threads = 1;
  double tokens_per_second = 0;         // each matrix takes what the slower of the two takes
  double memory_tokens_per_second = 0;  // if memory is all there is to wait for; never less
  std::vector<KindSpeed> kinds;         // in the order of the kinds
};

/// @param read_bytes_per_second of memory.   @param rates from the cache, of each kind.
TokenSpeed predict_speed(std::span<const MatrixKind> kinds, double read_bytes_per_second,
                         std::span<const double> rates);

/// Bytes per second of one row of activations (in as many digits as the model asks for) times a
/// matrix of each kind, with weights from the second cache, on all threads of the pool: the best of
/// some 20 ms each, as of peaks. @throws Error(kCancelled), Error as Model::load.
std::vector<double> measure_kernel_rates(const ModelFiles& files, std::span<const MatrixKind> kinds,
                                         const Context& ctx);

}  // namespace twofold
