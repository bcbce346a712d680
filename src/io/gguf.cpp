// Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#include "io/gguf.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstring>
#include <fstream>
#include <set>

#include "base/checked_math.h"
#include "io/file.h"
#include "io/utf8.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "GGUF";
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxDims = 4;
// Smallest encodings, which bound a count by the bytes that are left in the file.
constexpr uint64_t kMinKeyBytes = 8 + 4 + 1;         // empty key, type, one byte
constexpr uint64_t kMinTensorBytes = 8 + 4 + 4 + 8;  // empty name, no sides, type, offset
constexpr uint64_t kMaxArrayElements = uint64_t{1} << 24;

enum class ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
constexpr uint32_t kLastValueType = 12;

/// Reads little-endian fields one after the other; never past the end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& where)
      : bytes_(bytes), where_(where) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }
  const std::string& where() const { return where_; }

  std::span<const std::byte> take(uint64_t count, std::string_view field) {
    if (count > remaining()) {
      fail(ErrorCode::kCorruptFile, where_, "{}: expected {} bytes at {}, found {}: truncated",
           field, count, position_, remaining());
    }
    position_ += count;
    return bytes_.subspan(position_ - count, count);
  }

  template <class T>
  T number(std::string_view field) {
    T value;
    std::memcpy(&value, take(sizeof(T), field).data(), sizeof(T));
    return value;
  }

  /// A number of things of which each takes at least `min_bytes`.
  uint64_t count(uint64_t min_bytes, std::string_view field) {
    const auto value = number<uint64_t>(field);
    if (value > remaining() / min_bytes) {
      fail(ErrorCode::kCorruptFile, where_, "{}: {} cannot fit in the {} bytes that follow", field,
           value, remaining());
    }
    return value;
  }

  std::string string(std::string_view field) {
    const uint64_t length = count(1, field);
    const std::span<const std::byte> bytes = take(length, field);
    std::string text(reinterpret_cast<const char*>(bytes.data()), length);
    if (!is_utf8(text)) fail(ErrorCode::kCorruptFile, where_, "{}: not valid UTF-8", field);
    return text;
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& where_;
  uint64_t position_ = 0;
};

ValueType value_type(uint32_t number, const Cursor& cursor, std::string_view field) {
  if (number > kLastValueType) {
    fail(ErrorCode::kCorruptFile, cursor.where(), "{}: expected a value type 0 to {}, found {}",
         field, kLastValueType, number);
  }
  return static_cast<ValueType>(number);
}

bool read_bool(Cursor& cursor, std::string_view field) {
  const auto value = cursor.number<uint8_t>(field);
  if (value > 1) {
    fail(ErrorCode::kCorruptFile, cursor.where(), "{}: expected a boolean, found {}", field, value);
  }
  return value != 0;
}

/// `count` numbers stored as T, widened.
template <class T, class Wide>
std::vector<Wide> read_numbers(Cursor& cursor, uint64_t count, std::string_view field) {
  const std::span<const std::byte> bytes = cursor.take(count * sizeof(T), field);
  std::vector<Wide> values(count);
  for (uint64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = static_cast<Wide>(value);
  }
  return values;
}

GgufValue read_array(Cursor& cursor, std::string_view field) {
  const ValueType type = value_type(cursor.number<uint32_t>(field), cursor, field);
  const uint64_t count = cursor.count(type == ValueType::kString ? 8 : 1, field);
  if (count > kMaxArrayElements) {
    fail(ErrorCode::kUnsupported, cursor.where(), "{}: expected at most {} elements, found {}",
         field, kMaxArrayElements, count);
  }
  switch (type) {
    case ValueType::kU8:
      return read_numbers<uint8_t, uint64_t>(cursor, count, field);
    case ValueType::kU16:
      return read_numbers<uint16_t, uint64_t>(cursor, count, field);
    case ValueType::kU32:
      return read_numbers<uint32_t, uint64_t>(cursor, count, field);
    case ValueType::kU64:
      return read_numbers<uint64_t, uint64_t>(cursor, count, field);
    case ValueType::kI8:
      return read_numbers<int8_t, int64_t>(cursor, count, field);
    case ValueType::kI16:
      return read_numbers<int16_t, int64_t>(cursor, count, field);
    case ValueType::kI32:
      return read_numbers<int32_t, int64_t>(cursor, count, field);
    case ValueType::kI64:
      return read_numbers<int64_t, int64_t>(cursor, count, field);
    case ValueType::kF32:
      return read_numbers<float, double>(cursor, count, field);
    case ValueType::kF64:
      return read_numbers<double, double>(cursor, count, field);
    case ValueType::kBool: {
      std::vector<uint64_t> values(count);
      for (uint64_t& value : values) value = read_bool(cursor, field) ? 1 : 0;
      return values;
    }
    case ValueType::kString: {
      std::vector<std::string> values;
      for (uint64_t i = 0; i < count; ++i) values.push_back(cursor.string(field));
      return values;
    }
    case ValueType::kArray:
      break;
  }
  fail(ErrorCode::kUnsupported, cursor.where(), "{}: arrays of arrays are not supported", field);
}

GgufValue read_value(Cursor& cursor, std::string_view field) {
  switch (value_type(cursor.number<uint32_t>(field), cursor, field)) {
    case ValueType::kU8:
      return uint64_t{cursor.number<uint8_t>(field)};
    case ValueType::kU16:
      return uint64_t{cursor.number<uint16_t>(field)};
    case ValueType::kU32:
      return uint64_t{cursor.number<uint32_t>(field)};
    case ValueType::kU64:
      return cursor.number<uint64_t>(field);
    case ValueType::kI8:
      return int64_t{cursor.number<int8_t>(field)};
    case ValueType::kI16:
      return int64_t{cursor.number<int16_t>(field)};
    case ValueType::kI32:
      return int64_t{cursor.number<int32_t>(field)};
    case ValueType::kI64:
      return cursor.number<int64_t>(field);
    case ValueType::kF32:
      return double{cursor.number<float>(field)};
    case ValueType::kF64:
      return cursor.number<double>(field);
    case ValueType::kBool:
      return read_bool(cursor, field);
    case ValueType::kString:
      return cursor.string(field);
    case ValueType::kArray:
      return read_array(cursor, field);
  }
  fail(ErrorCode::kInternal, cursor.where(), "value type without a reader");
}

struct Counts {
  uint64_t tensors;
  uint64_t keys;
};

Counts read_file_header(Cursor& cursor) {
  const std::string& where = cursor.where();
  if (cursor.remaining() < kMagic.size() ||
      std::memcmp(cursor.take(kMagic.size(), "magic").data(), kMagic.data(), kMagic.size()) != 0) {
    fail(ErrorCode::kCorruptFile, where, "expected a GGUF file, which starts with \"GGUF\"");
  }
  const auto version = cursor.number<uint32_t>("version");
  if (version != 0 && (version & 0xffff) == 0) {
    fail(ErrorCode::kUnsupported, where, "big-endian GGUF files are not supported");
  }
  if (version != 2 && version != 3) {
    fail(ErrorCode::kUnsupported, where, "expected GGUF version 2 or 3, found {}", version);
  }
  const uint64_t tensors = cursor.count(kMinTensorBytes, "number of tensors");
  const uint64_t keys = cursor.count(kMinKeyBytes, "number of metadata keys");
  return {tensors, keys};
}

struct TensorInfo {
  StoredTensor tensor;  // without bytes
  uint64_t offset;      // from the start of the data
};

TensorInfo read_tensor_info(Cursor& cursor) {
  TensorInfo info;
  StoredTensor& tensor = info.tensor;
  tensor.file = cursor.where();
  tensor.name = cursor.string("tensor name");
  const std::string where = tensor.where();
  const auto dims = cursor.number<uint32_t>("number of sides");
  if (dims > kMaxDims) {
    fail(ErrorCode::kCorruptFile, where, "expected at most {} sides, found {}", kMaxDims, dims);
  }
  tensor.shape.resize(dims);
  for (uint32_t i = dims; i-- > 0;) {  // stored fastest first
    tensor.shape[i] = checked_cast<int64_t>(cursor.number<uint64_t>("side"), where);
  }
  const auto type = cursor.number<uint32_t>("tensor type");
  tensor.type = type > INT32_MAX ? nullptr : find_ggml_type(static_cast<int32_t>(type));
  if (tensor.type == nullptr) {
    fail(ErrorCode::kUnsupported, where, "type number {} is not known", type);
  }
  info.offset = cursor.number<uint64_t>("tensor offset");
  return info;
}

/// Sets the bytes of each tensor; checks alignment, bounds and overlap.
void place_tensors(std::vector<TensorInfo>& infos, const MappedFile& file, uint64_t data_begin,
                   uint64_t alignment) {
  struct Range {
    uint64_t begin, end;
    const StoredTensor* tensor;
  };
  std::vector<Range> ranges;
  ranges.reserve(infos.size());
  for (TensorInfo& info : infos) {
    StoredTensor& tensor = info.tensor;
    const std::string where = tensor.where();
    if (info.offset % alignment != 0) {
      fail(ErrorCode::kCorruptFile, where, "expected an offset in multiples of {}, found {}",
           alignment, info.offset);
    }
    const uint64_t begin = checked_add(data_begin, info.offset, where);
    const auto size = static_cast<uint64_t>(stored_bytes(*tensor.type, tensor.shape, where));
    const uint64_t end = checked_add(begin, size, where);
    if (end > file.bytes().size()) {
      fail(ErrorCode::kCorruptFile, where, "expected data up to byte {}, found {}: truncated", end,
           file.bytes().size());
    }
    tensor.bytes = file.bytes().subspan(begin, size);
    tensor.owner = file.owner();
    if (size > 0) ranges.push_back({begin, end, &tensor});
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].begin < ranges[i - 1].end) {
      fail(ErrorCode::kCorruptFile, ranges[i].tensor->where(), "data overlaps that of tensor {}",
           ranges[i - 1].tensor->name);
    }
  }
}

uint64_t read_alignment(const GgufFile& file) {
  const int64_t alignment =
      file.get_int("general.alignment", static_cast<int64_t>(kDefaultAlignment));
  if (alignment <= 0 || !std::has_single_bit(static_cast<uint64_t>(alignment))) {
    fail(ErrorCode::kCorruptFile, file.path, "general.alignment: expected a power of two, found {}",
         alignment);
  }
  return static_cast<uint64_t>(alignment);
}

GgufFile read_one(const fs::path& path) {
  const MappedFile mapped = MappedFile::open(path);
  GgufFile file;
  file.path = path.string();
  Cursor cursor(mapped.bytes(), file.path);
  const Counts counts = read_file_header(cursor);
  for (uint64_t i = 0; i < counts.keys; ++i) {
    std::string key = cursor.string("metadata key");
    GgufValue value = read_value(cursor, key);
    const auto [entry, inserted] = file.metadata.emplace(std::move(key), std::move(value));
    if (!inserted) fail(ErrorCode::kCorruptFile, file.path, "key {} is given twice", entry->first);
  }
  std::vector<TensorInfo> infos;
  std::set<std::string> names;
  for (uint64_t i = 0; i < counts.tensors; ++i) {
    infos.push_back(read_tensor_info(cursor));
    if (!names.insert(infos.back().tensor.name).second) {
      fail(ErrorCode::kCorruptFile, infos.back().tensor.where(), "given twice");
    }
  }
  const uint64_t alignment = read_alignment(file);
  const uint64_t padding = (alignment - cursor.position() % alignment) % alignment;
  place_tensors(infos, mapped, checked_add(cursor.position(), padding, file.path), alignment);
  file.tensors.reserve(infos.size());
  for (TensorInfo& info : infos) file.tensors.push_back(std::move(info.tensor));
  return file;
}

/// "-00001-of-00003.gguf" at the end of a file name.
struct PartName {
  std::string prefix;
  int64_t part;  // from 1
  int64_t parts;
};

std::optional<PartName> parse_part_name(const std::string& name) {
  constexpr std::string_view kPattern = "-00000-of-00000.gguf";
  if (name.size() < kPattern.size()) return std::nullopt;
  const std::string_view tail = std::string_view(name).substr(name.size() - kPattern.size());
  int64_t number[2] = {0, 0};  // before and after "-of-"
  for (size_t i = 0; i < tail.size(); ++i) {
    const bool digit = tail[i] >= '0' && tail[i] <= '9';
    if (kPattern[i] == '0' ? !digit : tail[i] != kPattern[i]) return std::nullopt;
    int64_t& target = number[i < kPattern.find("-of-") ? 0 : 1];
    if (digit) target = target * 10 + (tail[i] - '0');
  }
  return PartName{name.substr(0, name.size() - tail.size()), number[0], number[1]};
}

void check_split(const GgufFile& file, int64_t part, int64_t parts) {
  const int64_t count = file.get_int("split.count", 1);
  const int64_t no = file.get_int("split.no", 0);
  if (count != parts || no != part - 1) {
    fail(ErrorCode::kCorruptFile, file.path,
         "expected part {} of {} by its name, found split.no {} and split.count {}", part, parts,
         no, count);
  }
}

/// Adds parts 2 to N to `file`, which is part 1.
void append_parts(GgufFile& file, const fs::path& path, const PartName& name) {
  std::set<std::string> names;
  for (const StoredTensor& tensor : file.tensors) names.insert(tensor.name);
  for (int64_t part = 2; part <= name.parts; ++part) {
    GgufFile next = read_one(path.parent_path() /
                             fmt::format("{}-{:05}-of-{:05}.gguf", name.prefix, part, name.parts));
    check_split(next, part, name.parts);
    for (StoredTensor& tensor : next.tensors) {
      if (!names.insert(tensor.name).second) {
        fail(ErrorCode::kCorruptFile, tensor.where(), "is in an earlier part too");
      }
      file.tensors.push_back(std::move(tensor));
    }
  }
  const auto found = static_cast<int64_t>(file.tensors.size());
  if (const int64_t total = file.get_int("split.tensors.count", found); total != found) {
    fail(ErrorCode::kCorruptFile, file.path, "expected {} tensors in {} parts, found {}", total,
         name.parts, found);
  }
}

/// Name of a value's type, for messages.
std::string_view type_name(const GgufValue& value) {
  constexpr std::string_view kNames[] = {
      "an integer",         "an integer",         "a number",          "a boolean",      "a text",
      "a list of integers", "a list of integers", "a list of numbers", "a list of texts"};
  static_assert(std::size(kNames) == std::variant_size_v<GgufValue>);
  return kNames[value.index()];
}

[[noreturn]] void wrong_type(const GgufFile& file, std::string_view key, std::string_view expected,
                             const GgufValue& value) {
  fail(ErrorCode::kCorruptFile, file.path, "key {}: expected {}, found {}", key, expected,
       type_name(value));
}

const GgufValue* find(const GgufFile& file, std::string_view key) {
  const auto entry = file.metadata.find(key);
  return entry == file.metadata.end() ? nullptr : &entry->second;
}

const GgufValue& require(const GgufFile& file, std::string_view key) {
  const GgufValue* const value = find(file, key);
  if (value == nullptr) {
    fail(ErrorCode::kCorruptFile, file.path, "expected the metadata key {}, found none", key);
  }
  return *value;
}

int64_t to_int(const GgufFile& file, std::string_view key, const GgufValue& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) return *number;
  if (const auto* number = std::get_if<uint64_t>(&value)) {
    return checked_cast<int64_t>(*number, fmt::format("{}: key {}", file.path, key));
  }
  wrong_type(file, key, "an integer", value);
}

double to_double(const GgufFile& file, std::string_view key, const GgufValue& value) {
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto* number = std::get_if<int64_t>(&value)) return static_cast<double>(*number);
  if (const auto* number = std::get_if<uint64_t>(&value)) return static_cast<double>(*number);
  wrong_type(file, key, "a number", value);
}

const std::string& to_text(const GgufFile& file, std::string_view key, const GgufValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  wrong_type(file, key, "a text", value);
}

}  // namespace

bool GgufFile::has(std::string_view key) const { return find(*this, key) != nullptr; }

int64_t GgufFile::get_int(std::string_view key) const {
  return to_int(*this, key, require(*this, key));
}

int64_t GgufFile::get_int(std::string_view key, int64_t fallback) const {
  const GgufValue* const value = find(*this, key);
  return value == nullptr ? fallback : to_int(*this, key, *value);
}

double GgufFile::get_float(std::string_view key) const {
  return to_double(*this, key, require(*this, key));
}

double GgufFile::get_float(std::string_view key, double fallback) const {
  const GgufValue* const value = find(*this, key);
  return value == nullptr ? fallback : to_double(*this, key, *value);
}

bool GgufFile::get_bool(std::string_view key, bool fallback) const {
  const GgufValue* const value = find(*this, key);
  if (value == nullptr) return fallback;
  if (const auto* flag = std::get_if<bool>(value)) return *flag;
  wrong_type(*this, key, "a boolean", *value);
}

std::string GgufFile::get_string(std::string_view key) const {
  return to_text(*this, key, require(*this, key));
}

std::string GgufFile::get_string(std::string_view key, std::string_view fallback) const {
  const GgufValue* const value = find(*this, key);
  return value == nullptr ? std::string(fallback) : to_text(*this, key, *value);
}

const std::vector<std::string>* GgufFile::get_strings(std::string_view key) const {
  const GgufValue* const value = find(*this, key);
  if (value == nullptr) return nullptr;
  if (const auto* texts = std::get_if<std::vector<std::string>>(value)) return texts;
  wrong_type(*this, key, "a list of texts", *value);
}

std::vector<double> GgufFile::get_floats(std::string_view key) const {
  const GgufValue* const value = find(*this, key);
  if (value == nullptr) return {};
  if (const auto* numbers = std::get_if<std::vector<double>>(value)) return *numbers;
  wrong_type(*this, key, "a list of numbers", *value);
}

std::vector<int64_t> GgufFile::get_ints(std::string_view key) const {
  const GgufValue* const value = find(*this, key);
  if (value == nullptr) return {};
  if (const auto* numbers = std::get_if<std::vector<int64_t>>(value)) return *numbers;
  if (const auto* numbers = std::get_if<std::vector<uint64_t>>(value)) {
    std::vector<int64_t> result;
    result.reserve(numbers->size());
    for (const uint64_t number : *numbers) {
      result.push_back(checked_cast<int64_t>(number, fmt::format("{}: key {}", path, key)));
    }
    return result;
  }
  wrong_type(*this, key, "a list of integers", *value);
}

bool looks_like_gguf(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return false;  // a pipe would be waited for, and emptied
  std::ifstream file(path, std::ios::binary);
  char magic[kMagic.size()] = {};
  file.read(magic, sizeof magic);
  return file && std::string_view(magic, sizeof magic) == kMagic;
}

GgufFile read_gguf(const fs::path& path) {
  const std::optional<PartName> name = parse_part_name(path.filename().string());
  if (name && name->part != 1) {
    fail(ErrorCode::kUnsupported, path.string(), "is part {} of {}: open part 1", name->part,
         name->parts);
  }
  GgufFile file = read_one(path);
  const int64_t parts = name ? name->parts : 1;
  check_split(file, 1, parts);
  if (parts > 1) append_parts(file, path, *name);
  return file;
}

}  // namespace twofold
