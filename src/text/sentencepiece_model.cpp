#include "text/sentencepiece_model.h"

#include <bit>
#include <cstring>

#include "base/error.h"

namespace twofold {
namespace {

enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

/// One field of a message; which members hold something depends on the wire type.
struct Field {
  uint64_t number = 0;
  uint64_t wire = 0;
  uint64_t value = 0;      // varint or fixed
  std::string_view bytes;  // length-delimited
};

class Message {
 public:
  Message(std::string_view bytes, std::string_view where) : bytes_(bytes), where_(where) {}

  /// False at the end.
  bool next(Field& field) {
    if (bytes_.empty()) return false;
    const uint64_t key = varint();
    field = {key >> 3, key & 7, 0, {}};
    if (field.number == 0) corrupt("field number 0");
    switch (field.wire) {
      case kVarint:
        field.value = varint();
        break;
      case kFixed64:
        field.value = fixed(8);
        break;
      case kBytes:
        field.bytes = take(varint());
        break;
      case kFixed32:
        field.value = fixed(4);
        break;
      default:
        corrupt(fmt::format("field {} has wire type {}", field.number, field.wire));
    }
    return true;
  }

  void expect(const Field& field, WireType wire, std::string_view name) const {
    if (field.wire != wire) {
      corrupt(fmt::format("{}: expected wire type {}, found {}", name, uint64_t{wire}, field.wire));
    }
  }
  [[noreturn]] void corrupt(std::string_view what) const {
    fail(ErrorCode::kCorruptFile, where_, "SentencePiece model: {}", what);
  }

 private:
  std::string_view take(uint64_t size) {
    if (size > bytes_.size()) {
      corrupt(fmt::format("expected {} more bytes, found {}", size, bytes_.size()));
    }
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    corrupt("a number of more than ten bytes");
  }
  uint64_t fixed(size_t size) {
    static_assert(std::endian::native == std::endian::little);
    uint64_t value = 0;
    std::memcpy(&value, take(size).data(), size);
    return value;
  }

  std::string_view bytes_;
  std::string_view where_;
};

SentencePieceModel::Piece parse_piece(std::string_view bytes, std::string_view where) {
  SentencePieceModel::Piece piece;
  Message message(bytes, where);
  for (Field field; message.next(field);) {
    switch (field.number) {
      case 1:
        message.expect(field, kBytes, "piece");
        piece.text = field.bytes;
        break;
      case 2:
        message.expect(field, kFixed32, "score");
        piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
        break;
      case 3:
        message.expect(field, kVarint, "type");
        if (field.value < SentencePieceModel::kNormal || field.value > SentencePieceModel::kByte) {
          message.corrupt(fmt::format("type {} of a piece", field.value));
        }
        piece.type = static_cast<int32_t>(field.value);
        break;
      default:
        break;
    }
  }
  return piece;
}

void parse_trainer(std::string_view bytes, std::string_view where, SentencePieceModel& model) {
  Message message(bytes, where);
  const auto flag = [&](const Field& field, std::string_view name) {
    message.expect(field, kVarint, name);
    return field.value != 0;
  };
  const auto text = [&](const Field& field, std::string_view name) {
    message.expect(field, kBytes, name);
    return std::string(field.bytes);
  };
  for (Field field; message.next(field);) {
    switch (field.number) {
      case 3:
        message.expect(field, kVarint, "model_type");
        model.model_type = static_cast<int64_t>(field.value);
        break;
      case 24:
        model.treat_whitespace_as_suffix = flag(field, "treat_whitespace_as_suffix");
        break;
      case 35:
        model.byte_fallback = flag(field, "byte_fallback");
        break;
      case 44:
        model.unk_surface = text(field, "unk_surface");
        break;
      case 46:
        model.bos_piece = text(field, "bos_piece");
        break;
      case 47:
        model.eos_piece = text(field, "eos_piece");
        break;
      default:
        break;
    }
  }
}

void parse_normalizer(std::string_view bytes, std::string_view where, SentencePieceModel& model) {
  Message message(bytes, where);
  const auto flag = [&](const Field& field, std::string_view name) {
    message.expect(field, kVarint, name);
    return field.value != 0;
  };
  for (Field field; message.next(field);) {
    switch (field.number) {
      case 1:
        message.expect(field, kBytes, "normalizer name");
        model.normalizer_name = field.bytes;
        break;
      case 2:
        message.expect(field, kBytes, "precompiled_charsmap");
        model.has_charsmap = model.has_charsmap || !field.bytes.empty();
        break;
      case 3:
        model.add_dummy_prefix = flag(field, "add_dummy_prefix");
        break;
      case 4:
        model.remove_extra_whitespaces = flag(field, "remove_extra_whitespaces");
        break;
      case 5:
        model.escape_whitespaces = flag(field, "escape_whitespaces");
        break;
      default:
        break;
    }
  }
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes, std::string_view where) {
  SentencePieceModel model;
  SentencePieceModel denormalizer;
  Message message(bytes, where);
  for (Field field; message.next(field);) {
    switch (field.number) {
      case 1:
        message.expect(field, kBytes, "pieces");
        model.pieces.push_back(parse_piece(field.bytes, where));
        break;
      case 2:
        message.expect(field, kBytes, "trainer_spec");
        parse_trainer(field.bytes, where, model);
        break;
      case 3:
        message.expect(field, kBytes, "normalizer_spec");
        parse_normalizer(field.bytes, where, model);
        break;
      case 5:
        message.expect(field, kBytes, "denormalizer_spec");
        parse_normalizer(field.bytes, where, denormalizer);
        break;
      default:
        break;
    }
  }
  model.has_charsmap = model.has_charsmap || denormalizer.has_charsmap;
  return model;
}

}  // namespace twofold
