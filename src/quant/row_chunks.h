// Work on the rows of a matrix is cut into chunks of a fixed number of rows, so that no result
// depends on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/checked_math.h"
#include "base/thread_pool.h"

namespace twofold {

/// Rows per chunk: a multiple of the 16 rows of a trellis tile and of a packed block.
constexpr int64_t kRowChunk = 64;

/// Calls body(begin, end) for each chunk of `rows` rows on the pool.
template <class Body>
void for_row_chunks(ThreadPool& pool, int64_t rows, const Body& body) {
  pool.run(ceil_div(rows, kRowChunk), [&](int64_t item, int /*worker*/) {
    body(item * kRowChunk, std::min(rows, (item + 1) * kRowChunk));
  });
}

}  // namespace twofold
