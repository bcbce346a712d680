// What the CPU and the operating system offer: instruction sets, caches, the processors this
// process may use. Read once, on first use; no other state.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/isa.h"

namespace twofold {

std::span<const Isa> all_isas();
std::string_view isa_name(Isa isa);
/// All names, for messages: "scalar, avx2, ...".
std::string isa_names();
/// Parses a name of `isa_name`; nothing if it is none of them.
std::optional<Isa> parse_isa(std::string_view name);
/// Whether the CPU has the level and the operating system lets this process use it.
bool cpu_has(Isa isa);

/// Whether the CPU has the level, but the operating system refuses it to this process.
bool refused_by_system(Isa isa);

/// The best level of this CPU, or the level named by the environment variable TWOFOLD_ISA.
/// @throws Error(kInvalidArgument) if the variable names an unknown level or one the CPU lacks.
Isa select_isa();

/// How many streams a thread should read memory in while it computes. On AMD (Zen 4 measured) one,
/// which the hardware follows at the full speed of memory, where two or lines asked for ahead reach
/// two thirds of it; elsewhere (Sapphire Rapids measured) two, each asked for ahead.
int memory_streams();

/// Model name as the operating system gives it, e.g. "AMD EPYC 9R14".
std::string cpu_name();

/// Logical processors this process may run on (affinity mask), ordered so that distinct physical
/// cores come first.
std::vector<int> usable_cpus();

/// Number of threads to use by default, and what it follows from: distinct physical cores within
/// the affinity mask and the cgroup quota, at least 1.
struct ThreadChoice {
  int threads = 1;
  int online = 1;            // logical processors of the machine
  int usable = 1;            // of them in the affinity mask
  int cores = 1;             // physical cores among these
  std::optional<int> quota;  // processors that the cgroup grants, rounded up; nothing: no limit
};
ThreadChoice choose_threads();
/// `choose_threads().threads`.
int default_threads();

/// A data cache as the operating system describes it.
struct CacheLevel {
  int level = 0;
  int64_t bytes = 0;
  int shared_by = 1;  // logical processors of the machine that use it
};
/// Data caches of the first processor, the smallest first; empty if the system does not say.
std::vector<CacheLevel> data_caches();

}  // namespace twofold
