#include "calib/documents.h"

#include <algorithm>
#include <array>

#include "base/json.h"
#include "text/unicode.h"

namespace twofold {
namespace {

constexpr std::string_view kBlanks = " \t\r\n\f\v";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

/// Calls visit(number, line, offset) for each line, numbered from 1, without its newline; until it
/// returns false.
template <class Visit>
void for_lines(std::string_view text, const Visit& visit) {
  int64_t number = 1;
  for (size_t begin = 0; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (!visit(number, text.substr(begin, end - begin), begin)) return;
    begin = end + 1;
  }
}

// ---- jsonl

/// Whether the line is an object with a member "text".
bool is_text_object(std::string_view line) {
  if (line.empty() || line.front() != '{') return false;
  try {
    return parse_json(line, "").contains("text");
  } catch (const Error&) {
    return false;
  }
}

bool marked_jsonl(std::string_view file_name, std::string_view text) {
  if (file_name.ends_with(".jsonl") || file_name.ends_with(".ndjson")) return true;
  bool found = false;
  for_lines(text, [&](int64_t, std::string_view line, size_t) {
    const std::string_view content = trimmed(line);
    if (content.empty()) return true;
    found = is_text_object(content);
    return false;
  });
  return found;
}

std::vector<std::string> split_jsonl(std::string_view text, std::string_view where) {
  std::vector<std::string> documents;
  for_lines(text, [&](int64_t number, std::string_view line, size_t) {
    const std::string_view content = trimmed(line);
    if (content.empty()) return true;
    const std::string place = fmt::format("{}: line {}", where, number);
    const Json json = parse_json(content, place);
    if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) {
      fail(ErrorCode::kCorruptFile, place, "expected an object with a string \"text\"");
    }
    documents.push_back(json["text"].get<std::string>());
    if (trimmed(documents.back()).empty()) {
      fail(ErrorCode::kCorruptFile, place, "expected a document, found an empty \"text\"");
    }
    return true;
  });
  return documents;
}

// ---- <doc> lines

bool is_doc_line(std::string_view line) {
  line = trimmed(line);
  return line == "<doc>" || (line.starts_with("<doc ") && line.ends_with(">"));
}
bool is_doc_end(std::string_view line) { return trimmed(line) == "</doc>"; }

bool marked_doc(std::string_view /*file_name*/, std::string_view text) {
  bool found = false;
  for_lines(text, [&](int64_t, std::string_view line, size_t) {
    found = is_doc_line(line);
    return !found;
  });
  return found;
}

std::vector<std::string> split_doc(std::string_view text, std::string_view where) {
  std::vector<std::string> documents;
  size_t begin = 0;
  int64_t opened = 0;  // line of the mark that opened the document, 0 between documents
  const auto close = [&](size_t end, bool may_be_empty) {
    const std::string_view content = trimmed(text.substr(begin, end - begin));
    if (content.empty() && opened != 0 && !may_be_empty) {
      fail(ErrorCode::kCorruptFile, fmt::format("{}: line {}", where, opened),
           "expected a document, found nothing before the next mark");
    }
    if (!content.empty()) documents.emplace_back(content);
  };
  for_lines(text, [&](int64_t number, std::string_view line, size_t offset) {
    const bool opens = is_doc_line(line);
    if (!opens && !is_doc_end(line)) return true;
    close(offset, false);
    begin = std::min(offset + line.size() + 1, text.size());
    opened = opens ? number : 0;
    return true;
  });
  close(text.size(), true);  // a separator may also end the file
  return documents;
}

// ---- one document a line

bool marked_lines(std::string_view file_name, std::string_view /*text*/) {
  return file_name.ends_with(".lines") || file_name.ends_with(".lines.txt");
}

std::vector<std::string> split_lines(std::string_view text, std::string_view /*where*/) {
  std::vector<std::string> documents;
  for_lines(text, [&](int64_t, std::string_view line, size_t) {
    if (const std::string_view content = trimmed(line); !content.empty()) {
      documents.emplace_back(content);
    }
    return true;
  });
  return documents;
}

// ---- no marks

bool marked_plain(std::string_view /*file_name*/, std::string_view /*text*/) { return true; }

std::vector<std::string> split_plain(std::string_view text, std::string_view /*where*/) {
  return {std::string(text)};
}

constexpr std::array kMarks = {
    DocumentMarks{
        "jsonl",
        "one JSON object a line, the document in \"text\": files named .jsonl or .ndjson, "
        "and files that begin so",
        marked_jsonl, split_jsonl, true},
    DocumentMarks{"lines", "one document a line: files named .lines or .lines.txt", marked_lines,
                  split_lines, false},
    DocumentMarks{"doc", "lines <doc> or <doc ...> before each document or between documents",
                  marked_doc, split_doc, true},
    DocumentMarks{"plain", "no marks: the file is one document", marked_plain, split_plain, false},
};

/// Checks the text and takes its byte order mark away.
std::string_view checked_text(std::string_view text, std::string_view where) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  const size_t valid = valid_utf8_prefix(text);
  if (valid < text.size()) {
    const int64_t line = std::ranges::count(text.substr(0, valid), '\n') + 1;
    fail(ErrorCode::kCorruptFile, fmt::format("{}: line {}", where, line),
         "expected UTF-8 text, found byte 0x{:02x} at offset {}", static_cast<uint8_t>(text[valid]),
         valid);
  }
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  if (trimmed(text).empty()) {
    fail(ErrorCode::kCorruptFile, where, "expected text, found none in {} bytes", text.size());
  }
  return text;
}

}  // namespace

std::span<const DocumentMarks> all_document_marks() { return kMarks; }

const DocumentMarks& marks_of(std::string_view file_name, std::string_view text) {
  return *std::ranges::find_if(
      kMarks, [&](const DocumentMarks& marks) { return marks.marked(file_name, text); });
}

std::vector<std::string> read_documents(std::string_view file_name, std::string_view text,
                                        std::string_view where) {
  text = checked_text(text, where);
  std::vector<std::string> documents = marks_of(file_name, text).split(text, where);
  if (documents.empty()) {
    fail(ErrorCode::kCorruptFile, where, "expected documents, found none in {} bytes", text.size());
  }
  return documents;
}

std::string read_whole(std::string_view file_name, std::string_view text, std::string_view where) {
  const std::string_view content = checked_text(text, where);
  if (!marks_of(file_name, content).marks_are_not_text) return std::string(content);
  std::string whole;
  for (const std::string& document : read_documents(file_name, text, where)) {
    if (!whole.empty()) whole += '\n';
    whole += document;
  }
  return whole;
}

}  // namespace twofold
