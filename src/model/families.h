// The families' data, one per file family_*.cpp; listed once in registry.cpp.
#pragma once

#include "model/family.h"

namespace twofold {

extern const Family kGpt2Family;
extern const Family kLlamaFamily;

}  // namespace twofold
