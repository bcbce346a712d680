#include "base/sha256.h"

#include <openssl/evp.h>

#include <array>
#include <new>

#include "base/error.h"

namespace twofold {

namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using DigestContext = std::unique_ptr<EVP_MD_CTX, FreeContext>;

DigestContext new_context() {
  DigestContext context(EVP_MD_CTX_new());
  if (context == nullptr) throw std::bad_alloc();
  return context;
}

}  // namespace

struct Sha256::State {
  DigestContext context = new_context();
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  TWOFOLD_ASSERT(EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  TWOFOLD_ASSERT(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) == 1);
}

void Sha256::update(std::string_view text) { update(std::as_bytes(std::span(text))); }

std::string Sha256::hex() const {
  // Finishing destroys a state, so a copy is finished.
  const DigestContext copy = new_context();
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int length = 0;
  TWOFOLD_ASSERT(EVP_MD_CTX_copy_ex(copy.get(), state_->context.get()) == 1);
  TWOFOLD_ASSERT(EVP_DigestFinal_ex(copy.get(), digest.data(), &length) == 1);
  std::string text;
  text.reserve(size_t{2} * length);
  for (unsigned int i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

std::string sha256_hex(std::string_view text) { return sha256_hex(std::as_bytes(std::span(text))); }

}  // namespace twofold
