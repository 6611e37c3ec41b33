// A 64-bit hash that is the same on every machine and in every version: tags and shards are found
// by it.
#pragma once

#include <cstdint>
#include <string_view>

namespace smartcache {

[[nodiscard]] std::uint64_t Hash64(std::string_view bytes, std::uint64_t seed = 0);

}  // namespace smartcache
