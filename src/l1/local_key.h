// An entry's key inside the entry itself: a key of a usual length costs a hit no cache line of its
// own, as one on the heap does. Longer ones are on the heap.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

namespace smartcache {

class LocalKey {
 public:
  LocalKey() = default;
  LocalKey(const LocalKey&) = delete;
  LocalKey& operator=(const LocalKey&) = delete;
  LocalKey& operator=(std::string_view key) {
    size_ = static_cast<std::uint32_t>(key.size());
    far_ = size_ > kNearBytes ? std::make_unique<char[]>(size_) : nullptr;
    if (size_ != 0) std::memcpy(far_ ? far_.get() : near_.data(), key.data(), size_);
    return *this;
  }
  // Good as long as the key lives and is not assigned to.
  [[nodiscard]] std::string_view view() const {
    return {size_ > kNearBytes ? far_.get() : near_.data(), size_};
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  // What it takes beside itself.
  [[nodiscard]] std::size_t heap_bytes() const { return size_ > kNearBytes ? size_ : 0; }

 private:
  static constexpr std::size_t kNearBytes = 44;  // `user:1234567:profile` and most of its kind

  std::uint32_t size_ = 0;
  std::array<char, kNearBytes> near_{};
  std::unique_ptr<char[]> far_;
};

}  // namespace smartcache
