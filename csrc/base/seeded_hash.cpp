#include "base/seeded_hash.h"

#include <random>

namespace smolfast {

HashSeed draw_hash_seed() {
  static const HashSeed seed = [] {
    std::random_device device;
    const auto draw = [&] { return static_cast<uint64_t>(device()) << 32 | device() | 1; };
    return HashSeed{draw(), draw()};
  }();
  return seed;
}

}  // namespace smolfast
