#include "pipeline/build_id.h"

#include "pipeline/build_id_value.h"

namespace twofold {

std::string_view build_id() { return TWOFOLD_BUILD_ID; }

}  // namespace twofold
