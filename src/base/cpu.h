// What the CPU and the operating system offer: instruction sets, caches, the processors this
// process may use. Read once, on first use; no other state.
#pragma once

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

/// The best level of this CPU, or the level named by the environment variable TWOFOLD_ISA.
/// @throws Error(kInvalidArgument) if the variable names an unknown level or one the CPU lacks.
Isa select_isa();

/// Model name as the operating system gives it, e.g. "AMD EPYC 9R14".
std::string cpu_name();

/// Logical processors this process may run on (affinity mask), ordered so that distinct physical
/// cores come first.
std::vector<int> usable_cpus();

/// Number of threads to use by default: distinct physical cores within the affinity mask and the
/// cgroup quota, at least 1.
int default_threads();

}  // namespace twofold
