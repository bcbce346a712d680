// add_golden_formats: appends a random blob of every example name that the golden file of format
// version 1 lacks, and the line of its hashes. Never changes what is there.
#include <cstdio>
#include <fstream>

#include "formats/golden.h"
#include "io/safetensors.h"
#include "support/matrices.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

PackedMatrix random_blob(const std::string& name) {
  const Format format = parse_format(name);
  if (!format.is_dense()) {
    return pack(
        testing::random_quantized(format.scheme, testing::kGoldenRows, testing::kGoldenCols, name));
  }
  const auto values = testing::normal_numbers(testing::kGoldenRows * testing::kGoldenCols, 1, name);
  return pack_dense(format, {values.data(), testing::kGoldenRows, testing::kGoldenCols});
}

void add_missing() {
  struct Blob {
    std::string name;
    Tensor bytes;
  };
  std::vector<Blob> blobs;
  if (fs::exists(testing::golden_blobs())) {
    for (const StoredTensor& tensor : read_safetensors(testing::golden_blobs()).tensors) {
      blobs.push_back({tensor.name, {{DType::kU8, tensor.shape, tensor.bytes}, tensor.owner}});
    }
  }
  const auto known = testing::read_golden_hashes();
  std::string lines;
  for (const std::string& name : testing::example_format_names()) {
    if (known.contains(name)) continue;
    const PackedMatrix packed = random_blob(name);
    const testing::GoldenHashes hashes = testing::hashes_of(packed, false);
    lines += name + ' ' + hashes.blob + ' ' + hashes.values + '\n';
    blobs.push_back({name, packed.bytes});
  }
  std::vector<TensorPlan> plan;
  for (const Blob& blob : blobs) {
    plan.push_back({blob.name, DType::kU8, {std::ssize(blob.bytes.view.bytes)}});
  }
  const fs::path folder = testing::golden_blobs().parent_path() / "new";
  fs::create_directory(folder);
  SafetensorsWriter writer(folder, plan, {{"format_version", "1"}});
  for (const Blob& blob : blobs) writer.write(blob.bytes.view.bytes);
  writer.finish();
  fs::rename(folder / "model.safetensors", testing::golden_blobs());
  fs::remove(folder);
  std::ofstream(testing::golden_hashes(), std::ios::app) << lines;
}

}  // namespace
}  // namespace twofold

int main() {
  try {
    twofold::add_missing();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
