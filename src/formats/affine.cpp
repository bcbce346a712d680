// r16-u4, r16-s4, r16-c4, r16-zf4: scale (code - zero).
#include <array>

#include "formats/members.h"
#include "formats/r16.h"

namespace twofold {
namespace {

struct Kind {
  std::string_view letters;
  ZeroKind zero;
};
constexpr std::array kKinds = {Kind{"u", ZeroKind::kUnsigned}, Kind{"s", ZeroKind::kSymmetric},
                               Kind{"c", ZeroKind::kCentered}, Kind{"zf", ZeroKind::kFloat}};

bool parse(std::string_view name, Format& format) {
  const auto parts = parse_r16_name(name);
  if (!parts || !parts->level_suffix.empty()) return false;
  for (const Kind& kind : kKinds) {
    if (kind.letters != parts->kind) continue;
    format.scheme = {.kind = ValueKind::kAffine,
                     .bits = parts->bits,
                     .scale_sharing = parts->sharing,
                     .group = parts->group,
                     .zero = kind.zero};
    return true;
  }
  return false;
}

std::string name_for(const Scheme& scheme) {
  if (scheme.kind != ValueKind::kAffine) return {};
  for (const Kind& kind : kKinds) {
    if (kind.zero == scheme.zero) {
      return r16_name(kind.letters, scheme.bits, "", scheme.scale_sharing, scheme.group);
    }
  }
  return {};
}

std::vector<std::string> example_names() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) {
    for (int bits = 2; bits <= 8; ++bits) {
      names.push_back(r16_name(kind.letters, bits, "", Sharing::kRow, 0));
      names.push_back(r16_name(kind.letters, bits, "", Sharing::kGroup, 32));
      names.push_back(r16_name(kind.letters, bits, "", Sharing::kMatrix, 0));
    }
  }
  return names;
}

}  // namespace

const FormatFamily& affine_family() {
  static const FormatFamily kFamily = r16_family({.name = "affine",
                                                  .help = "scale (code - zero), 2 to 8 bits",
                                                  .parse = parse,
                                                  .name_for = name_for,
                                                  .example_names = example_names});
  return kFamily;
}

}  // namespace twofold
