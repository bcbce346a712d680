#include "base/large_pages.h"

#include <sys/mman.h>

#include <cstdint>

namespace twofold {

void prefer_large_pages(std::span<std::byte> memory) {
  constexpr uintptr_t kLarge = uintptr_t{1} << 21;
  const auto first = reinterpret_cast<uintptr_t>(memory.data());
  const uintptr_t begin = (first + kLarge - 1) / kLarge * kLarge;
  const uintptr_t end = (first + memory.size()) / kLarge * kLarge;
  // Only whole large pages: a part of one would keep memory that nobody asked for.
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

}  // namespace twofold
