#include "io/file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <fstream>
#include <functional>
#include <set>
#include <thread>

#include "io/gguf.h"
#include "io/temporary_folder.h"
#include "support/paths.h"

namespace twofold {
namespace {

using testing::expect_error;
using testing::read_file;
using testing::TemporaryFolder;
namespace fs = std::filesystem;

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

void write_file(const fs::path& path, std::string_view text) {
  FileWriter writer(path);
  writer.write(text);
  writer.finish();
}

TEST(MappedFile, GivesTheBytesAndOutlivesItself) {
  const TemporaryFolder folder;
  const auto path = folder.write("f", "hello");
  std::shared_ptr<const void> owner;
  std::span<const std::byte> bytes;
  {
    const MappedFile file = MappedFile::open(path);
    EXPECT_EQ(file.path(), path);
    bytes = file.bytes();
    owner = file.owner();
  }
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "hello");
  EXPECT_TRUE(MappedFile::open(folder.write("empty", "")).bytes().empty());
}

TEST(MappedFile, ErrorsNameThePathAndTheReason) {
  const TemporaryFolder folder;
  expect_error(ErrorCode::kIo, "absent: cannot open: No such file or directory",
               [&] { MappedFile::open(folder.file("absent")); });
  expect_error(ErrorCode::kIo, folder.path().string() + ": is a folder",
               [&] { MappedFile::open(folder.path()); });
  expect_error(ErrorCode::kIo, "/dev/null: is a device", [] { MappedFile::open("/dev/null"); });
}

TEST(ReadTextFile, ReadsFilesPipesAndFilesWithoutASize) {
  const TemporaryFolder folder;
  const std::string text(100'000, 'x');
  EXPECT_EQ(read_text_file(folder.write("f", text)), text);
  EXPECT_EQ(read_text_file("/dev/null"), "");
  EXPECT_NE(read_text_file("/proc/self/status").find("Name:"), std::string::npos);
  expect_error(ErrorCode::kCorruptFile, "expected at most 99999 bytes, found 100000",
               [&] { read_text_file(folder.file("f"), 99'999); });
  expect_error(ErrorCode::kCorruptFile, "expected at most 10 bytes",
               [&] { read_text_file("/proc/self/status", 10); });
  expect_error(ErrorCode::kIo, "absent: cannot open",
               [&] { read_text_file(folder.file("absent")); });
  expect_error(ErrorCode::kIo, "is a folder", [&] { read_text_file(folder.path()); });
}

/// Processor time of this process, in seconds.
double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

TEST(ReadTextFile, WaitsForTheWriterOfAPipeAndTakesAllItWrites) {
  using namespace std::chrono_literals;
  const TemporaryFolder folder;
  const fs::path pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const double before = processor_seconds();
  std::thread writer([&] {
    std::this_thread::sleep_for(150ms);  // nobody has opened it for writing until now
    std::ofstream out(pipe);
    for (const char* part : {"first", " second", " third"}) {
      out << part << std::flush;
      std::this_thread::sleep_for(50ms);
    }
  });
  const std::atomic<bool> cancel{false};
  EXPECT_EQ(read_text_file(pipe, &cancel), "first second third");
  writer.join();
  EXPECT_LT(processor_seconds() - before, 0.1) << "it waits without work";
  std::thread late([&] { std::ofstream(pipe) << "again"; });
  EXPECT_EQ(read_text_file(pipe), "again");
  late.join();
}

TEST(ReadTextFile, TheWaitForAPipeWithoutAWriterEndsWhenCancelled) {
  const TemporaryFolder folder;
  const fs::path pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::atomic<bool> cancel{true};
  expect_error(ErrorCode::kCancelled, "interrupted", [&] { read_text_file(pipe, &cancel); });
  cancel = false;
  std::thread user([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    cancel = true;
  });
  expect_error(ErrorCode::kCancelled, "interrupted", [&] { read_text_file(pipe, &cancel); });
  user.join();
  EXPECT_EQ(read_text_file(folder.write("f", "text"), &cancel), "text") << "nothing to wait for";
}

TEST(MappedFile, PipesAreRefusedWithoutWaitingForAWriter) {
  const TemporaryFolder folder;
  const fs::path pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_error(ErrorCode::kIo, "pipe: is a device or pipe", [&] { MappedFile::open(pipe); });
  EXPECT_FALSE(looks_like_gguf(pipe));
}

TEST(FileWriter, PiecesOfAnySizeArriveInOrder) {
  const TemporaryFolder folder;
  std::string expected;
  FileWriter writer(folder.file("f"));
  for (const size_t size : {1u, 100u, 300'000u, 0u, 262'143u, 2u, 262'144u, 7u}) {
    const std::string piece(size, static_cast<char>('a' + size % 26));
    writer.write(piece);
    writer.fill(std::byte{'.'}, size / 3);
    expected += piece + std::string(size / 3, '.');
  }
  EXPECT_EQ(writer.size(), expected.size());
  writer.finish();
  EXPECT_EQ(read_file(folder.file("f")), expected);
}

TEST(FileWriter, AFullDiskIsReportedWithThePath) {
  for (const size_t size : {size_t{10}, size_t{1} << 20}) {
    expect_error(ErrorCode::kIo, "/dev/full: cannot write: No space left on device", [&] {
      FileWriter writer("/dev/full");
      writer.write(std::string(size, 'x'));
      writer.finish();
    });
  }
  const TemporaryFolder folder;
  expect_error(ErrorCode::kIo, "cannot create: No such file or directory",
               [&] { FileWriter(folder.file("absent") / "f"); });
}

TEST(WriteTextFile, ReplacesWholeFilesAndLeavesNothingElse) {
  const TemporaryFolder folder;
  write_text_file(folder.file("f"), "one");
  EXPECT_EQ(read_file(folder.file("f")), "one");
  fs::create_symlink("f", folder.file("link"));
  write_text_file(folder.file("link"), "two");
  EXPECT_EQ(read_file(folder.file("f")), "two");
  EXPECT_TRUE(fs::is_symlink(folder.file("link")));
  write_text_file("/dev/null", "gone");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  expect_error(ErrorCode::kIo, "/dev/full: cannot write: No space left on device",
               [] { write_text_file("/dev/full", "x"); });
  expect_error(ErrorCode::kIo, "absent", [&] { write_text_file(folder.file("absent") / "f", ""); });
  expect_error(ErrorCode::kIo, folder.path().string(), [&] { write_text_file(folder.path(), ""); });
  EXPECT_EQ(names_in(folder.path()), (std::set<std::string>{"f", "link"}));
}

TEST(OutputFolder, AppearsCompleteAtCommit) {
  const TemporaryFolder folder;
  {
    OutputFolder out(folder.file("m"), false);
    EXPECT_EQ(out.partial(), folder.file("m.partial"));
    write_file(out.file("a"), "A");
    fs::create_directory(out.file("sub"));
    write_file(out.file("sub") / "b", "B");
    EXPECT_FALSE(fs::exists(folder.file("m")));
    out.commit();
  }
  EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"m"});
  EXPECT_EQ(names_in(folder.file("m")), (std::set<std::string>{"a", "sub"}));
  EXPECT_EQ(read_file(folder.file("m") / "sub" / "b"), "B");
}

TEST(OutputFolder, ATrailingSlashMeansTheSameFolder) {
  const TemporaryFolder folder;
  OutputFolder out(folder.path() / "m" / "", false);
  EXPECT_EQ(out.partial(), folder.file("m.partial"));
  out.commit();
  EXPECT_TRUE(fs::is_directory(folder.file("m")));
}

TEST(OutputFolder, AnExceptionLeavesNothing) {
  const TemporaryFolder folder;
  expect_error(ErrorCode::kIo, "No space left on device", [&] {
    OutputFolder out(folder.file("m"), false);
    write_file(out.file("a"), "A");
    fs::create_symlink("/dev/full", out.file("b"));  // a disk that is full
    write_file(out.file("b"), "B");
    out.commit();
  });
  EXPECT_TRUE(fs::is_empty(folder.path()));
  EXPECT_TRUE(fs::exists("/dev/full"));
}

TEST(OutputFolder, AnExceptionKeepsTheFolderThatWasToBeReplaced) {
  const TemporaryFolder folder;
  fs::create_directory(folder.file("m"));
  write_file(folder.file("m") / "old", "old");
  expect_error(ErrorCode::kCancelled, "interrupted", [&] {
    OutputFolder out(folder.file("m"), true);
    write_file(out.file("new"), "new");
    fail(ErrorCode::kCancelled, "", "interrupted");
  });
  EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"m"});
  EXPECT_EQ(read_file(folder.file("m") / "old"), "old");
}

TEST(OutputFolder, AnExistingFolderIsRefusedOrReplacedAsAWhole) {
  const TemporaryFolder folder;
  fs::create_directory(folder.file("m"));
  write_file(folder.file("m") / "old", "old");
  expect_error(ErrorCode::kInvalidArgument, "m: exists already",
               [&] { OutputFolder(folder.file("m"), false); });
  OutputFolder out(folder.file("m"), true);
  write_file(out.file("new"), "new");
  EXPECT_EQ(read_file(folder.file("m") / "old"), "old");
  out.commit();
  EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"m"});
  EXPECT_EQ(names_in(folder.file("m")), std::set<std::string>{"new"});
}

TEST(OutputFolder, WhatIsNotAFolderToReplaceIsRefused) {
  const TemporaryFolder folder;
  write_file(folder.file("file"), "x");
  for (const bool replace : {false, true}) {
    expect_error(ErrorCode::kInvalidArgument,
                 "file: ", [&] { OutputFolder(folder.file("file"), replace); });
    for (const fs::path& path : {fs::path("."), fs::path(".."), fs::path("/"), fs::path("")}) {
      expect_error(ErrorCode::kInvalidArgument, "", [&] { OutputFolder(path, replace); });
    }
  }
  expect_error(ErrorCode::kInvalidArgument, "holds the current directory",
               [&] { OutputFolder(fs::current_path().parent_path(), true); });
  expect_error(ErrorCode::kIo, "absent/m.partial: cannot create: No such file or directory",
               [&] { OutputFolder(folder.file("absent") / "m", false); });
  EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"file"});
}

TEST(OutputFolder, ASymbolicLinkIsReplacedNotItsTarget) {
  const TemporaryFolder folder;
  fs::create_directory(folder.file("target"));
  write_file(folder.file("target") / "old", "old");
  fs::create_directory_symlink("target", folder.file("m"));
  OutputFolder out(folder.file("m"), true);
  out.commit();
  EXPECT_EQ(read_file(folder.file("target") / "old"), "old");
  EXPECT_FALSE(fs::is_symlink(folder.file("m")));
  EXPECT_EQ(names_in(folder.path()), (std::set<std::string>{"m", "target"}));
}

TEST(OutputFolder, ASecondWriterIsRefusedAndTheFirstGoesOn) {
  const TemporaryFolder folder;
  OutputFolder first(folder.file("m"), false);
  write_file(first.file("a"), "A");
  for (const bool replace : {false, true}) {
    expect_error(ErrorCode::kIo, "m.partial: is being written by another process",
                 [&] { OutputFolder(folder.file("m"), replace); });
  }
  first.commit();
  EXPECT_EQ(names_in(folder.file("m")), std::set<std::string>{"a"});
}

TEST(OutputFolder, TheLeftoverOfAKilledProcessIsCleanedAndUsed) {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    OutputFolder out(folder.file("m"), false);
    write_file(out.file("stale"), "stale");
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_TRUE(fs::exists(folder.file("m.partial") / "stale"));
  OutputFolder out(folder.file("m"), false);
  EXPECT_EQ(names_in(out.partial()), std::set<std::string>{std::string(out.kPartialMarker)});
  out.commit();
  EXPECT_TRUE(fs::is_empty(folder.file("m")));
}

TEST(OutputFolder, AForeignFolderOfThePartialNameIsNotTouched) {
  const TemporaryFolder folder;
  fs::create_directory(folder.file("m.partial"));
  write_file(folder.file("m.partial") / "thesis", "mine");
  expect_error(ErrorCode::kIo, "m.partial: exists and was not made by this program",
               [&] { OutputFolder(folder.file("m"), true); });
  EXPECT_EQ(read_file(folder.file("m.partial") / "thesis"), "mine");
  fs::remove_all(folder.file("m.partial"));
  write_file(folder.file("m.partial"), "a file");
  expect_error(ErrorCode::kIo, "m.partial: cannot open",
               [&] { OutputFolder(folder.file("m"), true); });
  EXPECT_EQ(read_file(folder.file("m.partial")), "a file");
}

/// Runs `rounds` writers of folder m in each of four threads. @return how many committed.
int race(const TemporaryFolder& folder, bool replace, int rounds) {
  std::atomic<int> committed{0};
  std::vector<std::thread> writers;
  for (int id = 0; id < 4; ++id) {
    writers.emplace_back([&, id] {
      for (int round = 0; round < rounds; ++round) {
        try {
          OutputFolder out(folder.file("m"), replace);
          const std::string text = fmt::format("{}-{}", id, round);
          write_file(out.file("a"), text);
          write_file(out.file("b"), text);
          out.commit();
          ++committed;
        } catch (const Error& error) {
          EXPECT_TRUE(error.code() == ErrorCode::kIo || error.code() == ErrorCode::kInvalidArgument)
              << error.what();
        }
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  return committed;
}

TEST(OutputFolder, OfManyWritersWithoutReplaceExactlyOneCommits) {
  for (int repeat = 0; repeat < 5; ++repeat) {
    const TemporaryFolder folder;
    EXPECT_EQ(race(folder, false, 5), 1);
    EXPECT_EQ(read_file(folder.file("m") / "a"), read_file(folder.file("m") / "b"));
    EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"m"});
  }
}

TEST(OutputFolder, WhileReplacedTheFolderIsAlwaysThereAndWhole) {
  const TemporaryFolder folder;
  OutputFolder(folder.file("m"), false).commit();
  std::atomic<bool> done{false};
  std::atomic<int> missing{0};
  std::thread reader([&] {
    while (!done) {
      if (!fs::exists(folder.file("m"))) ++missing;
    }
  });
  const int committed = race(folder, true, 10);
  done = true;
  reader.join();
  EXPECT_GT(committed, 0);
  EXPECT_EQ(missing, 0);
  EXPECT_EQ(read_file(folder.file("m") / "a"), read_file(folder.file("m") / "b"));
  EXPECT_EQ(names_in(folder.file("m")), (std::set<std::string>{"a", "b"}));
  EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"m"});
}

}  // namespace
}  // namespace twofold
