// Dates on the wall as numbers that pack well, and back. Proleptic Gregorian, as Python's datetime.
#pragma once

#include <chrono>
#include <cstdint>

namespace smartcache::codec {

inline constexpr std::int64_t kMicrosPerDay = 86'400'000'000;
inline constexpr std::int64_t kMinDays = -719'162;   // 0001-01-01
inline constexpr std::int64_t kMaxDays = 2'932'896;  // 9999-12-31

struct Civil {
  int year = 1970;
  unsigned month = 1;
  unsigned day = 1;
};

constexpr std::int64_t DaysFromCivil(Civil date) {
  return std::chrono::sys_days(std::chrono::year(date.year) / static_cast<int>(date.month) /
                               static_cast<int>(date.day))
      .time_since_epoch()
      .count();
}

// `days` within kMinDays..kMaxDays.
constexpr Civil CivilFromDays(std::int64_t days) {
  const std::chrono::year_month_day date{
      std::chrono::sys_days(std::chrono::days(static_cast<int>(days)))};
  return {static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
          static_cast<unsigned>(date.day())};
}

// Days of a microsecond count, rounded down, and what is left of the day.
struct DayMicros {
  std::int64_t days = 0;
  std::int64_t micros = 0;
};
constexpr DayMicros SplitMicros(std::int64_t micros) {
  const std::int64_t rest = micros % kMicrosPerDay;
  const std::int64_t days = micros / kMicrosPerDay;
  return rest < 0 ? DayMicros{days - 1, rest + kMicrosPerDay} : DayMicros{days, rest};
}

static_assert(DaysFromCivil({1, 1, 1}) == kMinDays && DaysFromCivil({9999, 12, 31}) == kMaxDays);

}  // namespace smartcache::codec
