// Two programs that run on the same cores at once: waiting threads give way, so that neither
// collapses.
#include <gtest/gtest.h>

#include <future>

#include "base/cpu.h"
#include "base/json.h"
#include "io/temporary_folder.h"
#include "run_program.h"

namespace twofold {
namespace {

using testing::run_twofold;
using testing::RunResult;

/// Tokens per second of generating with all cores.
double generate_speed(const std::string& model) {
  const RunResult result = run_twofold({"bench", model, "-p", "0", "-n", "48", "-r", "3", "-t",
                                        std::to_string(default_threads()), "--json", "--quiet"});
  EXPECT_EQ(result.status, 0) << result.err;
  if (result.status != 0) return 0;
  return Json::parse(result.out)["rows"][0]["tokens_per_second"].get<double>();
}

TEST(SharedCores, ASecondProgramDoesNotCollapseTheSpeed) {
  testing::TemporaryFolder folder;
  const std::string model = folder.file("model");
  const RunResult made = run_twofold(
      {"bench", "--synthetic", "135m", "--keep", model, "-p", "0", "-n", "0", "--quiet"});
  ASSERT_EQ(made.status, 0) << made.err;
  const double alone = generate_speed(model);
  std::future<double> other = std::async(std::launch::async, [&] { return generate_speed(model); });
  const double shared = generate_speed(model), beside = other.get();
  RecordProperty("alone", std::to_string(alone));
  RecordProperty("shared", std::to_string(shared) + " and " + std::to_string(beside));
  // Half of it each would be fair; barriers wait for threads that have no processor now and then.
  EXPECT_GT(shared, alone / 5);
  EXPECT_GT(beside, alone / 5);
}

}  // namespace
}  // namespace twofold
