#include <cstdio>

#include "base/version.h"

int main() {
  std::printf("twofold %s\n", twofold::kVersion);
  return 0;
}
