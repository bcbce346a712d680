// Peak memory of this process, as the kernel counts it: resident pages, mapped files included. The
// kernel keeps one mark per process, so one measurement at a time.
#pragma once

#include <cstdint>
#include <optional>

namespace twofold {

/// Gives pages that only freed memory lies on back to the system, in the arenas of all threads
/// (glibc; elsewhere nothing).
void release_freed_memory();

/// Gives freed memory back to the system and sets the mark to what is resident now, so that
/// `peak_memory_bytes` tells the peak from here on (Linux: "5" to /proc/self/clear_refs).
/// @return false if the system has no such thing: the mark then stays where it is.
bool reset_peak_memory();

/// The largest resident size since the start or the last reset (VmHWM of /proc/self/status);
/// nothing if the system does not say.
std::optional<int64_t> peak_memory_bytes();

}  // namespace twofold
