#include "cache/pending.h"

#include <new>

namespace smartcache {

void Pending::Settle() {
  if (tags_.size() + keys_.size() > kMaxKept) {
    tags_.clear();
    keys_.clear();
    ++everything_;
  }
  empty_.store(tags_.empty() && keys_.empty() && everything_ == 0, std::memory_order_release);
}

void Pending::AddTags(std::span<const Tag> tags) {
  const MutexLock lock(mutex_);
  tags_.insert(tags.begin(), tags.end());
  Settle();
}

void Pending::AddKeys(std::span<const std::string> keys) {
  const MutexLock lock(mutex_);
  keys_.insert(keys.begin(), keys.end());
  Settle();
}

void Pending::AddEverything() {
  const MutexLock lock(mutex_);
  ++everything_;
  Settle();
}

Pending::Batch Pending::Peek() {
  const MutexLock lock(mutex_);
  Batch batch;
  batch.everything = everything_ > 0;
  for (const Tag tag : tags_) {
    if (batch.tags.size() == kMaxBatch) break;
    batch.tags.push_back(tag);
  }
  for (const auto& key : keys_) {
    if (batch.keys.size() == kMaxBatch) break;
    batch.keys.push_back(key);
  }
  return batch;
}

void Pending::Done(const Batch& batch) {
  const MutexLock lock(mutex_);
  for (const Tag tag : batch.tags) {
    if (const auto found = tags_.find(tag); found != tags_.end()) tags_.erase(found);
  }
  for (const auto& key : batch.keys) {
    if (const auto found = keys_.find(key); found != keys_.end()) keys_.erase(found);
  }
  if (batch.everything && everything_ > 0) --everything_;
  Settle();
}

void Pending::AfterFork() {
  // Another thread of the parent may have held the mutex: the old state is left behind, not
  // destroyed.
  new (this) Pending;
}

}  // namespace smartcache
