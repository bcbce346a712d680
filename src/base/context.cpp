#include "base/context.h"

#include <array>

#include "base/registry.h"

namespace twofold {
namespace {

constexpr std::array kModes = {
    ActivationsMode{.name = "int8",
                    .help = "rounded to 8 bits in blocks of at most 128: the integer kernels",
                    .activations = Activations::kInt8},
    ActivationsMode{.name = "float",
                    .help = "as they are: weights are decoded for the float product",
                    .activations = Activations::kFloat},
};

}  // namespace

std::span<const ActivationsMode> all_activations() { return kModes; }

const ActivationsMode& find_activations(std::string_view name) {
  return find_entry(all_activations(), "activations", name);
}

}  // namespace twofold
