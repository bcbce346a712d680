#include "io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/checked_math.h"
#include "base/json.h"

namespace twofold {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as the format's authors limit it
constexpr std::string_view kMetadataKey = "__metadata__";

struct TensorEntry {
  std::string name;
  std::string dtype;
  Shape shape;
  std::vector<int64_t> offsets;  // begin, end, from the start of the data
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

/// Reads the header as a stream of JSON events against its fixed schema:
/// {"__metadata__": {string: string}, name: {"dtype": string, "shape": [n...],
/// "data_offsets": [begin, end]}}. Whatever does not fit is refused where it stands, so nothing
/// larger than the header is ever built, whatever it holds.
class HeaderReader {
 public:
  using Json = nlohmann::json;

  explicit HeaderReader(std::string_view where) : where_(where) {}

  std::map<std::string, std::string> take_metadata() { return std::move(metadata_); }
  std::vector<TensorEntry> take_tensors() { return std::move(tensors_); }

  // Events of nlohmann's parser. All return true: errors are exceptions.
  bool null() { return unexpected("null"); }
  bool boolean(bool) { return unexpected("a boolean"); }
  bool number_float(double value, const std::string&) {
    return unexpected(fmt::format("the number {}", value));
  }
  bool binary(Json::binary_t&) { return unexpected("binary data"); }
  bool number_integer(int64_t value) {
    return unexpected(fmt::format("the negative number {}", value));
  }

  bool number_unsigned(uint64_t value) {
    if (state_ != State::kShape && state_ != State::kOffsets) {
      return unexpected(fmt::format("the number {}", value));
    }
    const int64_t number = checked_cast<int64_t>(value, place());
    if (state_ == State::kShape) {
      tensor().shape.push_back(number);
    } else {
      tensor().offsets.push_back(number);
    }
    return true;
  }

  bool string(std::string& value) {
    if (state_ == State::kMetadata) {
      metadata_[key_] = value;
    } else if (state_ == State::kTensor && key_ == "dtype") {
      tensor().dtype = value;
    } else {
      return unexpected(fmt::format("the text \"{}\"", value));
    }
    return true;
  }

  bool start_object(size_t) {
    if (state_ == State::kStart) {
      state_ = State::kHeader;
    } else if (state_ == State::kHeader && key_ == kMetadataKey) {
      state_ = State::kMetadata;
    } else if (state_ == State::kHeader) {
      state_ = State::kTensor;
      tensors_.push_back({});
      tensor().name = key_;
    } else {
      return unexpected("an object");
    }
    return true;
  }

  bool key(std::string& name) {
    key_ = name;
    if (state_ == State::kHeader || state_ == State::kMetadata) {
      std::set<std::string>& names = state_ == State::kHeader ? tensor_names_ : metadata_names_;
      if (!names.insert(name).second) {
        fail(ErrorCode::kCorruptFile, where_, "the name {} is given twice", name);
      }
      return true;
    }
    bool* const seen = name == "dtype"          ? &tensor().has_dtype
                       : name == "shape"        ? &tensor().has_shape
                       : name == "data_offsets" ? &tensor().has_offsets
                                                : nullptr;
    if (seen == nullptr) return unexpected("an unknown field");
    if (std::exchange(*seen, true)) return unexpected("the field twice");
    return true;
  }

  bool end_object() {
    if (state_ == State::kTensor && !(tensor().has_dtype && tensor().has_shape &&
                                      tensor().has_offsets && tensor().offsets.size() == 2)) {
      fail(ErrorCode::kCorruptFile, where_,
           "tensor {}: expected dtype, shape and two data_offsets, found fewer", tensor().name);
    }
    state_ = state_ == State::kHeader ? State::kEnd : State::kHeader;
    return true;
  }

  bool start_array(size_t) {
    if (state_ == State::kTensor && key_ == "shape") {
      state_ = State::kShape;
    } else if (state_ == State::kTensor && key_ == "data_offsets") {
      state_ = State::kOffsets;
    } else {
      return unexpected("an array");
    }
    return true;
  }

  bool end_array() {
    if (state_ == State::kOffsets && tensor().offsets.size() != 2) {
      return unexpected(fmt::format("{} numbers", tensor().offsets.size()));
    }
    state_ = State::kTensor;
    return true;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) {
    fail(ErrorCode::kCorruptFile, where_, "header is not valid JSON: {}", json_problem(error));
  }

 private:
  enum class State { kStart, kHeader, kMetadata, kTensor, kShape, kOffsets, kEnd };

  TensorEntry& tensor() { return tensors_.back(); }

  std::string place() const {
    switch (state_) {
      case State::kStart:
      case State::kEnd:
        return fmt::format("{}: header", where_);
      case State::kHeader:
        return fmt::format("{}: header field {}", where_, key_);
      case State::kMetadata:
        return fmt::format("{}: metadata {}", where_, key_);
      case State::kTensor:
      case State::kShape:
      case State::kOffsets:
        return fmt::format("{}: tensor {}: {}", where_, tensors_.back().name, key_);
    }
    fail(ErrorCode::kInternal, "safetensors header", "state without a name");
  }

  std::string_view expected() const {
    switch (state_) {
      case State::kStart:
        return "an object";
      case State::kHeader:
        return "an object describing a tensor";
      case State::kMetadata:
        return "a text";
      case State::kTensor:
        return "dtype (a text), shape and data_offsets (lists), once each";
      case State::kShape:
        return "sides that are not negative";
      case State::kOffsets:
        return "two numbers that are not negative";
      case State::kEnd:
        return "nothing";
    }
    fail(ErrorCode::kInternal, "safetensors header", "state without a name");
  }

  [[noreturn]] bool unexpected(std::string_view found) {
    fail(ErrorCode::kCorruptFile, place(), "expected {}, found {}", expected(), found);
  }

  std::string where_;
  State state_ = State::kStart;
  std::string key_;
  std::set<std::string> tensor_names_;
  std::set<std::string> metadata_names_;
  std::map<std::string, std::string> metadata_;
  std::vector<TensorEntry> tensors_;
};

std::string_view header_text(const MappedFile& file, const std::string& where) {
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() < 8) {
    fail(ErrorCode::kCorruptFile, where,
         "expected a safetensors file, which starts with 8 bytes of header size, found {} bytes",
         bytes.size());
  }
  uint64_t header_bytes = 0;  // little-endian, as all machines this program is built for
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  if (header_bytes > kMaxHeaderBytes) {
    fail(ErrorCode::kCorruptFile, where, "expected a header of at most {} bytes, found {}",
         kMaxHeaderBytes, header_bytes);
  }
  if (header_bytes > bytes.size() - 8) {
    fail(ErrorCode::kCorruptFile, where, "expected a header of {} bytes, found {}: truncated",
         header_bytes, bytes.size() - 8);
  }
  return {reinterpret_cast<const char*>(bytes.data()) + 8, static_cast<size_t>(header_bytes)};
}

/// The tensors of the header in file order, with `bytes` set.
std::vector<StoredTensor> place_tensors(std::vector<TensorEntry> entries, const MappedFile& file,
                                        std::span<const std::byte> data, const std::string& where) {
  std::stable_sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return a.offsets < b.offsets;
  });
  std::vector<StoredTensor> tensors;
  tensors.reserve(entries.size());
  int64_t position = 0;
  for (TensorEntry& entry : entries) {
    StoredTensor tensor;
    tensor.name = std::move(entry.name);
    tensor.file = where;
    const std::optional<DType> dtype = parse_dtype(entry.dtype);
    if (!dtype) {
      fail(ErrorCode::kUnsupported, tensor.where(), "dtype {} is not known", entry.dtype);
    }
    tensor.type = &stored_type_of(*dtype);
    tensor.shape = std::move(entry.shape);
    const int64_t begin = entry.offsets[0], end = entry.offsets[1];
    if (begin != position) {
      fail(ErrorCode::kCorruptFile, tensor.where(),
           "expected data_offsets from {} (no hole, no overlap), found {}", position, begin);
    }
    const int64_t size = stored_bytes(*tensor.type, tensor.shape, tensor.where());
    if (end < begin || end - begin != size) {
      fail(ErrorCode::kCorruptFile, tensor.where(),
           "expected {} bytes for {} {}, found data_offsets [{}, {}]", size, tensor.type->name,
           shape_text(tensor.shape), begin, end);
    }
    if (static_cast<uint64_t>(end) > data.size()) {
      fail(ErrorCode::kCorruptFile, tensor.where(),
           "expected data up to byte {}, found {} bytes: truncated", end, data.size());
    }
    tensor.bytes = data.subspan(static_cast<size_t>(begin), static_cast<size_t>(size));
    tensor.owner = file.owner();
    tensors.push_back(std::move(tensor));
    position = end;
  }
  if (static_cast<uint64_t>(position) != data.size()) {
    fail(ErrorCode::kCorruptFile, where, "expected {} bytes of data, found {}", position,
         data.size());
  }
  return tensors;
}

}  // namespace

SafetensorsFile read_safetensors(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  const std::string where = path.string();
  const std::string_view text = header_text(file, where);
  HeaderReader reader(where);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  SafetensorsFile result;
  result.metadata = reader.take_metadata();
  result.tensors =
      place_tensors(reader.take_tensors(), file, file.bytes().subspan(8 + text.size()), where);
  return result;
}

}  // namespace twofold
