#include "l2/redis/board.h"

#include <algorithm>
#include <chrono>

namespace smartcache::redis {
namespace {

// Longer waits are done in parts: time points far away overflow.
constexpr Duration kLongestWait = std::chrono::hours(1);

}  // namespace

Board::Place::Place(Board& board, Tag tag) : board_(board), tag_(tag) {
  MutexLock lock(board_.mutex_);
  Waiting& waiting = board_.waiting_[tag_];
  ++waiting.threads;
  seen_ = waiting.wakes;
}

Board::Place::~Place() {
  MutexLock lock(board_.mutex_);
  const auto found = board_.waiting_.find(tag_);
  if (--found->second.threads == 0) board_.waiting_.erase(found);
}

bool Board::Place::Listening() {
  MutexLock lock(board_.mutex_);
  losses_ = board_.losses_;
  return board_.listening_;
}

bool Board::Place::Wait(Duration limit) {
  const auto until = std::chrono::steady_clock::now() + std::min(limit, kLongestWait);
  MutexLock lock(board_.mutex_);
  const Waiting& waiting = board_.waiting_.find(tag_)->second;
  while (waiting.wakes == seen_ && board_.losses_ == losses_) {
    if (board_.changed_.wait_until(board_.mutex_, until) == std::cv_status::timeout) break;
  }
  const bool woken = waiting.wakes != seen_;
  seen_ = waiting.wakes;
  return woken;
}

void Board::Wake(Tag tag) {
  MutexLock lock(mutex_);
  const auto found = waiting_.find(tag);
  if (found == waiting_.end()) return;
  ++found->second.wakes;
  changed_.notify_all();
}

void Board::SetListening(bool listening) {
  MutexLock lock(mutex_);
  if (listening_ && !listening) ++losses_;
  listening_ = listening;
  changed_.notify_all();
}

}  // namespace smartcache::redis
