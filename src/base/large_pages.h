// Large pages for large buffers: one page fault in place of hundreds.
#pragma once

#include <cstddef>
#include <span>

namespace twofold {

/// Advises the system to back fresh memory, of megabytes, with large pages. Advice only: less
/// memory, or a system without large pages, stays as it is.
void prefer_large_pages(std::span<std::byte> memory);

}  // namespace twofold
