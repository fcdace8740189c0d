// The published hashes that other tools' signatures are made from.
#pragma once

#include <cstddef>
#include <cstdint>

namespace smolfast::dedup {

// The first 8 bytes of SHA-1 (FIPS 180-4) as a little-endian number; the low 32 bits are those of the first 4 bytes.
uint64_t sha1_prefix(const char* data, std::size_t size);
// XXH32 and XXH64 with seed 0 (xxHash specification 0.1.1, doc/xxhash_spec.md).
uint32_t xxh32(const char* data, std::size_t size);
uint64_t xxh64(const char* data, std::size_t size);

}  // namespace smolfast::dedup
