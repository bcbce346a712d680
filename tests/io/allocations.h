// Counts what operator new hands out, so that tests can bound the memory that a bad file costs.
#pragma once

#include <cstddef>

namespace twofold::testing {

/// Highest number of bytes in use since construction, above those in use then.
class AllocationPeak {
 public:
  AllocationPeak();
  size_t bytes() const;

 private:
  size_t start_;
};

}  // namespace twofold::testing
