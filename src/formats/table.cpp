// r16-t4: one table of levels for the matrix. r16-rt3: int8 levels, scale and offset per row or
// group. r16-b3: the same values as bit planes.
#include <array>

#include "formats/members.h"
#include "formats/r16.h"

namespace twofold {
namespace {

struct Levels {
  std::string_view suffix;
  LevelType type;
};
constexpr std::array kLevels = {Levels{"", LevelType::kInt8}, Levels{"w", LevelType::kInt16},
                                Levels{"f", LevelType::kFloat32}};

bool parse_table(std::string_view name, Format& format) {
  const auto parts = parse_r16_name(name);
  if (!parts || parts->kind != "t") return false;
  for (const Levels& levels : kLevels) {
    if (levels.suffix != parts->level_suffix) continue;
    format.scheme = {.kind = ValueKind::kTable,
                     .bits = parts->bits,
                     .scale_sharing = parts->sharing,
                     .group = parts->group,
                     .table_sharing = Sharing::kMatrix,
                     .level_type = levels.type};
    return true;
  }
  return false;
}

std::string table_name(const Scheme& scheme) {
  if (scheme.kind != ValueKind::kTable || scheme.table_sharing != Sharing::kMatrix ||
      scheme.has_offset) {
    return {};
  }
  for (const Levels& levels : kLevels) {
    if (levels.type == scheme.level_type) {
      return r16_name("t", scheme.bits, levels.suffix, scheme.scale_sharing, scheme.group);
    }
  }
  return {};
}

std::vector<std::string> table_examples() {
  std::vector<std::string> names;
  for (const Levels& levels : kLevels) {
    for (int bits = 2; bits <= 8; ++bits) {
      names.push_back(r16_name("t", bits, levels.suffix, Sharing::kRow, 0));
      names.push_back(r16_name("t", bits, levels.suffix, Sharing::kGroup, 32));
      names.push_back(r16_name("t", bits, levels.suffix, Sharing::kMatrix, 0));
    }
  }
  return names;
}

bool parse_row_table(std::string_view name, Format& format) {
  const auto parts = parse_r16_name(name);
  if (!parts || parts->kind != "rt" || !parts->level_suffix.empty() ||
      parts->sharing == Sharing::kMatrix) {
    return false;
  }
  format.scheme = {.kind = ValueKind::kTable,
                   .bits = parts->bits,
                   .scale_sharing = parts->sharing,
                   .group = parts->group,
                   .table_sharing = parts->sharing,
                   .level_type = LevelType::kInt8,
                   .has_offset = true};
  return true;
}

std::string row_table_name(const Scheme& scheme) {
  if (scheme.kind != ValueKind::kTable || scheme.table_sharing != scheme.scale_sharing ||
      scheme.table_sharing == Sharing::kMatrix || scheme.level_type != LevelType::kInt8 ||
      !scheme.has_offset || scheme.planes) {
    return {};
  }
  return r16_name("rt", scheme.bits, "", scheme.scale_sharing, scheme.group);
}

std::vector<std::string> row_table_examples() {
  std::vector<std::string> names;
  for (int bits = 2; bits <= 8; ++bits) {
    names.push_back(r16_name("rt", bits, "", Sharing::kRow, 0));
    names.push_back(r16_name("rt", bits, "", Sharing::kGroup, 32));
  }
  return names;
}

bool parse_planes(std::string_view name, Format& format) {
  const auto parts = parse_r16_name(name);
  if (!parts || parts->kind != "b" || !parts->level_suffix.empty() || parts->bits > 4 ||
      parts->sharing == Sharing::kMatrix) {
    return false;
  }
  format.scheme = {.kind = ValueKind::kTable,
                   .bits = parts->bits,
                   .scale_sharing = parts->sharing,
                   .group = parts->group,
                   .table_sharing = parts->sharing,
                   .level_type = LevelType::kInt8,
                   .has_offset = true,
                   .planes = true};
  return true;
}

std::string planes_name(const Scheme& scheme) {
  if (!scheme.planes || scheme.bits > 4 || scheme.table_sharing != scheme.scale_sharing ||
      scheme.table_sharing == Sharing::kMatrix || !scheme.has_offset) {
    return {};
  }
  return r16_name("b", scheme.bits, "", scheme.scale_sharing, scheme.group);
}

std::vector<std::string> planes_examples() {
  std::vector<std::string> names;
  for (int bits = 1; bits <= 4; ++bits) {
    names.push_back(r16_name("b", bits, "", Sharing::kRow, 0));
    names.push_back(r16_name("b", bits, "", Sharing::kGroup, 32));
  }
  return names;
}

}  // namespace

const FormatFamily& table_family() {
  static const FormatFamily kFamily =
      r16_family({.name = "table",
                  .help = "scale x level of one shared table, 2 to 8 bits",
                  .parse = parse_table,
                  .name_for = table_name,
                  .example_names = table_examples});
  return kFamily;
}

const FormatFamily& row_table_family() {
  static const FormatFamily kFamily =
      r16_family({.name = "row-table",
                  .help = "scale x level + offset, a table per row or group, 2 to 8 bits",
                  .parse = parse_row_table,
                  .name_for = row_table_name,
                  .example_names = row_table_examples});
  return kFamily;
}

const FormatFamily& plane_family() {
  static const FormatFamily kFamily =
      r16_family({.name = "planes",
                  .help = "scale x sum of signs times integers + offset, 1 to 4 bit planes",
                  .parse = parse_planes,
                  .name_for = planes_name,
                  .example_names = planes_examples});
  return kFamily;
}

}  // namespace twofold
