// What the store and the backplane of one process share.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/random.h"
#include "l2/redis/board.h"

namespace smartcache::redis {

class Peers {
 public:
  // `key_space` distinguishes prefix and database: a Clear of another one is not for this process.
  explicit Peers(std::uint64_t key_space)
      : key_space_(key_space), board_(std::make_unique<Board>()) {}
  // What a fork left behind may be locked: it is never destroyed.
  ~Peers() { (void)left_behind_.release(); }

  [[nodiscard]] std::uint64_t origin() const { return origin_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t key_space() const { return key_space_; }
  [[nodiscard]] Board& board() { return *board_; }
  // In a child, before a listener is started anew. Called by the store.
  void AfterFork() {
    origin_.store(RandomU64(), std::memory_order_relaxed);
    (void)left_behind_.release();
    left_behind_ = std::move(board_);
    board_ = std::make_unique<Board>();
  }

 private:
  const std::uint64_t key_space_;
  std::atomic<std::uint64_t> origin_{RandomU64()};
  std::unique_ptr<Board> board_;
  std::unique_ptr<Board> left_behind_;
};

}  // namespace smartcache::redis
