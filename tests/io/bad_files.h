// Checks that damaged files are refused: by Error, with the file's name, and without allocating
// more than the file's own size class.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/rng.h"
#include "io/allocations.h"
#include "io/temporary_folder.h"

namespace twofold::testing {

/// Numbers in memory are up to 16 times as large as their smallest encoding in a file (a tensor
/// without name and sides is 24 bytes in a GGUF); 256 KB are buffers and messages.
inline size_t allowed_allocation(size_t file_bytes) { return 16 * file_bytes + (size_t{1} << 18); }

/// Writes `bytes` and calls `read` with the path.
/// @return the message of the Error, empty if there was none.
template <class Read>
std::string read_damaged(const TemporaryFolder& folder, std::string_view bytes, const Read& read) {
  // Removed first: some file systems flush a file that is emptied and written again.
  std::filesystem::remove(folder.file("damaged.file"));
  const auto path = folder.write("damaged.file", bytes);
  const AllocationPeak peak;
  std::string message;
  try {
    read(path);
  } catch (const Error& error) {
    message = error.what();
    EXPECT_TRUE(error.code() == ErrorCode::kCorruptFile || error.code() == ErrorCode::kUnsupported)
        << message;
    EXPECT_NE(message.find("damaged.file"), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  EXPECT_LE(peak.bytes(), allowed_allocation(bytes.size())) << message;
  return message;
}

/// Every proper prefix of a file must be refused.
template <class Read>
void expect_prefixes_refused(std::string_view bytes, const Read& read) {
  const TemporaryFolder folder;
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_NE(read_damaged(folder, bytes.substr(0, length), read), "") << "length " << length;
  }
}

/// Changes up to four bytes at random places, `rounds` times. Files may stay readable; nothing but
/// Error may come out of `read`, which must look at all that it was given.
template <class Read>
void expect_only_errors_from_random_damage(std::string_view bytes, int rounds, const Read& read) {
  const TemporaryFolder folder;
  Rng rng(1, "damage");
  int refused = 0;
  for (int round = 0; round < rounds; ++round) {
    std::string damaged(bytes);
    for (uint64_t changes = 1 + rng.below(4); changes > 0; --changes) {
      const uint64_t place = rng.below(damaged.size());
      switch (rng.below(3)) {
        case 0:
          damaged[place] = static_cast<char>(rng.below(256));
          break;
        case 1:
          damaged[place] = static_cast<char>(damaged[place] ^ (1 << rng.below(8)));
          break;
        case 2:
          damaged[place] = rng.below(2) == 0 ? '\0' : '\xff';
          break;
      }
    }
    if (!read_damaged(folder, damaged, read).empty()) ++refused;
  }
  EXPECT_GT(refused, 0);
}

}  // namespace twofold::testing
