// Texts as documents: how a calibration file is marked, and what it then holds. A row of the table
// per kind of mark; docs/calibration.md describes them for users.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace twofold {

/// One way in which a file says where its documents begin and end.
struct DocumentMarks {
  std::string_view name, help;
  /// Whether a file is marked so, by its name (without folders) and its text.
  bool (*marked)(std::string_view file_name, std::string_view text);
  /// The documents, in order. @throws Error(kCorruptFile) naming `where` and the line of a document
  /// that is damaged or empty.
  std::vector<std::string> (*split)(std::string_view text, std::string_view where);
  /// True if the marks are no text: documents must be joined to get the text as a whole.
  bool marks_are_not_text;
};

/// Tried in this order; the last takes every file.
std::span<const DocumentMarks> all_document_marks();
const DocumentMarks& marks_of(std::string_view file_name, std::string_view text);

/// The documents of a file called `where` in messages. A byte order mark at its start is left out.
/// @throws Error(kCorruptFile) naming `where` and the line if the text is not UTF-8, as `split`, or
/// if there is no document.
std::vector<std::string> read_documents(std::string_view file_name, std::string_view text,
                                        std::string_view where);

/// The same file as one string: as it is, or, where marks are no text, its documents joined by
/// newlines. @throws as read_documents
std::string read_whole(std::string_view file_name, std::string_view text, std::string_view where);

}  // namespace twofold
