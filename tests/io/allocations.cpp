#include "io/allocations.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<size_t> g_used{0};
std::atomic<size_t> g_peak{0};

}  // namespace

void* operator new(size_t size, const std::nothrow_t&) noexcept {
  void* const p = std::malloc(size);
  if (p == nullptr) return nullptr;
  const size_t used = g_used += ::malloc_usable_size(p);
  size_t peak = g_peak;
  while (used > peak && !g_peak.compare_exchange_weak(peak, used)) {
  }
  return p;
}

void* operator new(size_t size) {
  void* const p = operator new(size, std::nothrow);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

void operator delete(void* p) noexcept {
  if (p != nullptr) g_used -= ::malloc_usable_size(p);
  std::free(p);
}

void operator delete(void* p, size_t) noexcept { operator delete(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { operator delete(p); }

namespace twofold::testing {

AllocationPeak::AllocationPeak() : start_(g_used) { g_peak = start_; }

size_t AllocationPeak::bytes() const { return g_peak - start_; }

}  // namespace twofold::testing
