#include "base/cpu.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "base/error.h"

namespace twofold {
namespace {

struct IsaName {
  Isa isa;
  std::string_view name;
};
constexpr std::array kIsaNames = {
    IsaName{Isa::kScalar, "scalar"}, IsaName{Isa::kAvx2, "avx2"}, IsaName{Isa::kAvx512, "avx512"},
    IsaName{Isa::kAvx512Vnni, "avx512vnni"}, IsaName{Isa::kAmx, "amx"}};
constexpr std::array kIsas = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAmx};

/// Asks the operating system for the tile registers, which it grants per process on request.
bool tiles_permitted() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr int kRequestPermission = 0x1023,
                kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool kPermitted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return kPermitted;
#else
  return false;
#endif
}

/// AMX tiles with bfloat16 and int8 products: CPUID leaf 7, bits 22, 24 and 25 of EDX (unknown to
/// GCC 12's list).
bool cpu_has_tiles() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 22 & 0b1101) == 0b1101;
#else
  return false;
#endif
}

std::optional<int> read_int(const std::string& path) {
  std::ifstream file(path);
  int value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

/// (package, core) of a logical processor; unknown ones count as cores of their own.
std::pair<int, int> core_of(int cpu) {
  const std::string base = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
  const auto package = read_int(base + "physical_package_id");
  const auto core = read_int(base + "core_id");
  return {package.value_or(-1), core.value_or(cpu)};
}

/// CPUs granted by the cgroup quota (v2, then v1), rounded up; nothing if unlimited.
std::optional<int> cgroup_cpus() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) {
    return std::max(1, static_cast<int>(std::ceil(std::strtod(quota.c_str(), nullptr) / period)));
  }
  const auto v1_quota = read_int("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  const auto v1_period = read_int("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (v1_quota && v1_period && *v1_quota > 0 && *v1_period > 0) {
    return std::max(1, (*v1_quota + *v1_period - 1) / *v1_period);
  }
  return std::nullopt;
}

std::string read_word(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

/// "2048K" in bytes; 0 if it is no such text.
int64_t size_in_bytes(const std::string& text) {
  char* end = nullptr;
  const int64_t number = std::strtoll(text.c_str(), &end, 10);
  if (number <= 0 || number > int64_t{1} << 40) return 0;
  switch (*end) {
    case 'K':
      return number << 10;
    case 'M':
      return number << 20;
    default:
      return number;
  }
}

/// Processors in a list such as "0-3,8".
int count_of_list(const std::string& list) {
  std::istringstream parts(list);
  int count = 0;
  for (std::string part; std::getline(parts, part, ',');) {
    const size_t dash = part.find('-');
    const int first = std::atoi(part.c_str());
    count += dash == std::string::npos ? 1 : std::atoi(part.c_str() + dash + 1) - first + 1;
  }
  return std::max(1, count);
}

}  // namespace

std::span<const Isa> all_isas() { return kIsas; }

std::string_view isa_name(Isa isa) {
  for (const IsaName& row : kIsaNames) {
    if (row.isa == isa) return row.name;
  }
  return "unknown";
}

std::string isa_names() {
  std::string names;
  for (const IsaName& row : kIsaNames) {
    if (!names.empty()) names += ", ";
    names += row.name;
  }
  return names;
}

std::optional<Isa> parse_isa(std::string_view name) {
  for (const IsaName& row : kIsaNames) {
    if (row.name == name) return row.isa;
  }
  return std::nullopt;
}

bool cpu_has(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::kScalar:
      return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
    case Isa::kAvx512:
      return cpu_has(Isa::kAvx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
    case Isa::kAvx512Vnni:
      return cpu_has(Isa::kAvx512) && __builtin_cpu_supports("avx512vnni") &&
             __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("gfni");
    case Isa::kAmx:
      return cpu_has(Isa::kAvx512Vnni) && cpu_has_tiles() && tiles_permitted();
  }
  return false;
#else
  return isa == Isa::kScalar;
#endif
}

bool refused_by_system(Isa isa) {
  return isa == Isa::kAmx && cpu_has(Isa::kAvx512Vnni) && cpu_has_tiles() && !tiles_permitted();
}

Isa select_isa() {
  if (const char* wanted = std::getenv("TWOFOLD_ISA"); wanted != nullptr && *wanted != '\0') {
    const std::optional<Isa> isa = parse_isa(wanted);
    if (!isa) {
      fail(ErrorCode::kInvalidArgument, "TWOFOLD_ISA", "unknown instruction set '{}' ({})", wanted,
           isa_names());
    }
    if (!cpu_has(*isa)) {
      fail(ErrorCode::kInvalidArgument, "TWOFOLD_ISA", "this CPU does not offer {}", wanted);
    }
    return *isa;
  }
  Isa best = Isa::kScalar;
  for (Isa isa : kIsas) {
    if (cpu_has(isa)) best = isa;
  }
  return best;
}

int memory_streams() {
#if defined(__x86_64__)
  static const bool kAmd = __builtin_cpu_is("amd") != 0;
  return kAmd ? 1 : 2;
#else
  return 1;
#endif
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) == 0) {
      const size_t colon = line.find(": ");
      if (colon != std::string::npos) return line.substr(colon + 2);
    }
  }
  return "unknown CPU";
}

std::vector<int> usable_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) != 0) return {0};
  std::set<std::pair<int, int>> seen;
  std::vector<int> first, siblings;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    (seen.insert(core_of(cpu)).second ? first : siblings).push_back(cpu);
  }
  first.insert(first.end(), siblings.begin(), siblings.end());
  if (first.empty()) first.push_back(0);
  return first;
}

ThreadChoice choose_threads() {
  ThreadChoice choice;
  const std::vector<int> usable = usable_cpus();
  std::set<std::pair<int, int>> cores;
  for (int cpu : usable) cores.insert(core_of(cpu));
  choice.usable = static_cast<int>(usable.size());
  choice.cores = static_cast<int>(cores.size());
  const std::string online = read_word("/sys/devices/system/cpu/online");
  choice.online = std::max(choice.usable, online.empty() ? 1 : count_of_list(online));
  choice.quota = cgroup_cpus();
  choice.threads = std::max(1, std::min(choice.cores, choice.quota.value_or(choice.cores)));
  return choice;
}

int default_threads() { return choose_threads().threads; }

std::vector<CacheLevel> data_caches() {
  std::vector<CacheLevel> caches;
  for (int index = 0;; ++index) {
    const std::string base =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const std::optional<int> level = read_int(base + "level");
    if (!level) break;
    const int64_t bytes = size_in_bytes(read_word(base + "size"));
    if (bytes == 0 || read_word(base + "type") == "Instruction") continue;
    caches.push_back({*level, bytes, count_of_list(read_word(base + "shared_cpu_list"))});
  }
  std::ranges::sort(caches, {}, &CacheLevel::bytes);
  return caches;
}

}  // namespace twofold
