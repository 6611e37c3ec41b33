// SHA-256's inner loop: by the processor's SHA instructions where it has them, else portable.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/sha256.h"

namespace smartcache {

// Feeds `count` blocks of 64 bytes to `state`.
void Sha256Blocks(Sha256State& state, const std::uint8_t* blocks, std::size_t count);
void Sha256BlocksPortable(Sha256State& state, const std::uint8_t* blocks, std::size_t count);

}  // namespace smartcache
