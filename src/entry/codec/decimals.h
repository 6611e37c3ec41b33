// Numbers that people wrote with a few decimals, as integers over a power of ten: prices,
// coordinates.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace smartcache::codec {

// value * 10^decimals for each value, such that dividing gives each value back bit by bit; nullopt
// if there is no such number of decimals.
[[nodiscard]] std::optional<int> FloatsAsInts(std::span<const double> values,
                                              std::vector<std::int64_t>& out);
[[nodiscard]] double FloatOfInt(std::int64_t value, int decimals);

// Likewise for texts of Decimals: plain notation, all with the same number of decimals.
[[nodiscard]] std::optional<int> DecimalsAsInts(std::span<const std::string_view> texts,
                                                std::vector<std::int64_t>& out);
// Writes at most kMaxDecimalBytes; returns the end.
inline constexpr int kMaxDecimalBytes = 24;
char* WriteDecimalOfInt(char* at, std::int64_t value, int decimals);

}  // namespace smartcache::codec
