#include "calib/documents.h"

#include <gtest/gtest.h>

#include <set>

#include "base/sha256.h"
#include "calib/builtin_texts.h"
#include "io/temporary_folder.h"
#include "support/paths.h"

namespace twofold {
namespace {

using testing::expect_error;
using Strings = std::vector<std::string>;

struct File {
  std::string_view marks;
  Strings documents;
  std::string whole;
};
File read(std::string_view name, std::string_view text) {
  const std::string where = fmt::format("folder/{}", name);
  return {marks_of(name, text).name, read_documents(name, text, where),
          read_whole(name, text, where)};
}

TEST(Documents, FileWithoutMarksIsOneDocumentAndKeptAsItIs) {
  const File file = read("a.txt", "\none\n\n{two} <doc>\n ");
  EXPECT_EQ(file.marks, "plain");
  EXPECT_EQ(file.documents, Strings{"\none\n\n{two} <doc>\n "});
  EXPECT_EQ(file.whole, file.documents[0]);
}

TEST(Documents, DocLinesOpenCloseOrSeparate) {
  const File tags = read(
      "a.txt", "<doc id=\"1\" title=\"A\">\nA\n\nfirst\n\n</doc>\n\n<doc>\nsecond</doc>\n</doc>");
  EXPECT_EQ(tags.marks, "doc");
  EXPECT_EQ(tags.documents, (Strings{"A\n\nfirst", "second</doc>"}));
  EXPECT_EQ(tags.whole, "A\n\nfirst\nsecond</doc>");
  const File separators = read("a.txt", "one\r\n<doc>\r\ntwo\nlines\n<doc>\n");
  EXPECT_EQ(separators.documents, (Strings{"one", "two\nlines"}));
}

TEST(Documents, JsonlIsKnownByNameOrByItsFirstLine) {
  const std::string_view text = "\n{\"text\": \"one\\nline\", \"id\": 3}\r\n\n{\"text\":\"two\"}\n";
  for (const char* name : {"a.jsonl", "a.ndjson", "a.txt"}) {
    const File file = read(name, text);
    EXPECT_EQ(file.marks, "jsonl");
    EXPECT_EQ(file.documents, (Strings{"one\nline", "two"}));
    EXPECT_EQ(file.whole, "one\nline\ntwo");
  }
  EXPECT_EQ(read("a.txt", "{\"title\": \"no text\"}").marks, "plain");
  EXPECT_EQ(read("a.txt", "{\"text\": \"broken").marks, "plain");
}

TEST(Documents, OneALineIsKnownByName) {
  for (const char* name : {"a.lines", "a.lines.txt"}) {
    const File file = read(name, "one\n\n  two \r\nthree");
    EXPECT_EQ(file.marks, "lines");
    EXPECT_EQ(file.documents, (Strings{"one", "two", "three"}));
    EXPECT_EQ(file.whole, "one\n\n  two \r\nthree");
  }
}

TEST(Documents, ByteOrderMarkIsNoText) {
  EXPECT_EQ(read("a.txt", "\xef\xbb\xbfone").whole, "one");
  EXPECT_EQ(read("a.txt", "\xef\xbb\xbf{\"text\": \"x\"}").documents, Strings{"x"});
}

TEST(Documents, DamageIsNamedWithFileAndLine) {
  const auto refuse = [](std::string_view name, std::string_view text, std::string_view part) {
    const std::string where = fmt::format("folder/{}", name);
    expect_error(ErrorCode::kCorruptFile, part, [&] { read_documents(name, text, where); });
    if (!part.starts_with("folder/")) return;
    expect_error(ErrorCode::kCorruptFile, part, [&] { read_whole(name, text, where); });
  };
  refuse("a.txt", "one\ntwo\xff",
         "folder/a.txt: line 2: expected UTF-8 text, found byte 0xff at offset 7");
  refuse("a.txt", std::string_view("\xff\xfeo\0n\0", 6), "folder/a.txt: line 1: expected UTF-8");
  refuse("a.txt", "cut \xe2\x82", "line 1: expected UTF-8 text, found byte 0xe2 at offset 4");
  refuse("a.txt", "", "folder/a.txt: expected text, found none in 0 bytes");
  refuse("a.txt", " \n\t\n", "expected text, found none in 4 bytes");
  refuse("a.lines", "\n\n", "expected text, found none");
  refuse("a.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"", "folder/a.jsonl: line 2");
  refuse("a.jsonl", "{\"text\": \"one\"}\n\n[1]",
         "line 3: expected an object with a string \"text\"");
  refuse("a.jsonl", "{\"text\": 1}", "line 1: expected an object with a string \"text\"");
  refuse("a.jsonl", "{\"text\": \" \"}", "line 1: expected a document, found an empty \"text\"");
  refuse("a.jsonl", "", "expected text, found none");
  refuse("a.txt", "<doc>\none\n</doc>\n<doc>\n\n</doc>\n",
         "folder/a.txt: line 4: expected a document");
  refuse("a.txt", "one\n<doc>\n<doc>\ntwo", "line 2: expected a document");
}

TEST(BuiltinTexts, AreTheFilesOfTheRepositoryByteForByte) {
  for (const BuiltinText& text : builtin_texts()) {
    SCOPED_TRACE(text.file_name);
    EXPECT_EQ(sha256_hex(text.text), text.sha256);
    const auto path = testing::source_dir() / "data" / "calibration" / text.file_name;
    EXPECT_EQ(text.text, testing::read_file(path));
  }
}

TEST(BuiltinTexts, HoldThousandsOfDocumentsAndNoMarks) {
  std::set<std::string> documents;
  for (const BuiltinText& text : builtin_texts()) {
    for (std::string& document : read_documents(text.file_name, text.text, text.file_name)) {
      documents.insert(std::move(document));
    }
    EXPECT_NE(marks_of(text.file_name, text.text).name, "plain");
  }
  EXPECT_GT(documents.size(), 2400u);
  for (const std::string& document : documents) {
    ASSERT_EQ(document.find("doc>"), std::string::npos);
    ASSERT_FALSE(document.empty());
  }
}

TEST(BuiltinTexts, AreNamedInNoticeWithTheirSource) {
  const std::string notice = testing::read_file(testing::source_dir() / "NOTICE");
  for (const BuiltinText& text : builtin_texts()) {
    EXPECT_NE(notice.find(text.file_name), std::string::npos);
    EXPECT_NE(notice.find(text.source.substr(text.source.find("@ "))), std::string::npos);
    EXPECT_NE(notice.find(text.licence), std::string::npos) << text.licence;
  }
}

}  // namespace
}  // namespace twofold
