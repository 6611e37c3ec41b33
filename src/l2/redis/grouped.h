// Positions of things sorted by the group of servers they belong to, so that one command can name
// all of a group. A group that has grown too large for one command is split.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "l2/redis/servers.h"
#include "smartcache/tag.h"

namespace smartcache::redis {

class Grouped {
 public:
  // Keys in one command: a server is held up by it for less than a millisecond.
  static constexpr std::size_t kMostKeys = 2000;

  // `tag_of(i)` is the tag that places thing i.
  template <class TagOf>
  Grouped(const Servers& servers, std::size_t count, TagOf tag_of) : order_(count) {
    std::iota(order_.begin(), order_.end(), 0u);
    const auto group = [&](std::uint32_t i) { return servers.GroupOf(BucketOf(tag_of(i))); };
    const auto before = [&](std::uint32_t a, std::uint32_t b) { return group(a) < group(b); };
    if (!std::is_sorted(order_.begin(), order_.end(), before)) {
      std::stable_sort(order_.begin(), order_.end(), before);
    }
    for (std::size_t i = 0; i < count; ++i) {
      const bool starts = i == 0 || group(order_[i]) != group(order_[i - 1]);
      if (starts || i - starts_.back() == kMostKeys) starts_.push_back(i);
    }
  }

  [[nodiscard]] std::size_t size() const { return starts_.size(); }
  // Positions of the things in part `part`.
  [[nodiscard]] std::span<const std::uint32_t> operator[](std::size_t part) const {
    const std::size_t end = part + 1 < starts_.size() ? starts_[part + 1] : order_.size();
    return std::span(order_).subspan(starts_[part], end - starts_[part]);
  }

 private:
  std::vector<std::uint32_t> order_;
  std::vector<std::size_t> starts_;
};

}  // namespace smartcache::redis
