#include "base/error.h"

namespace twofold {

void fail(ErrorCode code, std::string_view where, std::string_view what) {
  throw Error(code, where.empty() ? std::string(what) : fmt::format("{}: {}", where, what));
}

}  // namespace twofold
