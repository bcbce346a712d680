#include "base/peak_memory.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <fstream>
#include <string>

namespace twofold {

void release_freed_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

bool reset_peak_memory() {
  release_freed_memory();
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

std::optional<int64_t> peak_memory_bytes() {
  std::ifstream file("/proc/self/status");
  std::string key;
  while (file >> key) {
    if (key == "VmHWM:") {
      int64_t kibibytes = 0;
      if (file >> kibibytes) return kibibytes * 1024;
      return std::nullopt;
    }
    std::string rest;
    std::getline(file, rest);
  }
  return std::nullopt;
}

}  // namespace twofold
