#include "base/sha256.h"

#include <gtest/gtest.h>

namespace twofold {
namespace {

// FIPS 180-4 examples of NIST's Cryptographic Standards and Guidelines page.
TEST(Sha256, EqualsThePublishedVectors) {
  EXPECT_EQ(sha256_hex(std::string_view()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, OfPiecesEqualsOfTheWhole) {
  const std::string text(100000, 'x');
  Sha256 hash;
  for (size_t begin = 0, step = 1; begin < text.size(); begin += step, step = step * 2 + 1) {
    hash.update(std::string_view(text).substr(begin, step));
    EXPECT_EQ(hash.hex(), sha256_hex(std::string_view(text).substr(0, begin + step)));
  }
}

}  // namespace
}  // namespace twofold
