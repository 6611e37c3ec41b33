// Beginning and end of a cache, forks, and what the listener thread tells it.
#include <algorithm>
#include <utility>

#include "cache/cache_impl.h"

namespace smartcache {

std::shared_ptr<Cache> Cache::Make(Options options, std::unique_ptr<Store> store,
                                   std::unique_ptr<Backplane> backplane, const Clock& clock) {
  return std::make_shared<CacheImpl>(std::move(options), std::move(store), std::move(backplane),
                                     clock);
}

CacheImpl::CacheImpl(Options options, std::unique_ptr<Store> store,
                     std::unique_ptr<Backplane> backplane, const Clock& clock)
    : options_(std::move(options)),
      entry_key_(options_.secret),
      clock_(clock),
      store_(std::move(store)),
      backplane_(std::move(backplane)),
      embedded_(store_->ChangeCounter().has_value()),
      table_(options_.local_max_bytes, stats_),
      trust_(options_.trust_bound),
      keeper_(*store_, options_.lock_timeout, std::min(options_.lock_timeout, options_.mark_lease)),
      standing_(*store_, clock_, keeper_, options_.mark_lease),
      replayer_([this] { return Replay(); }, options_.replay_pause) {}

CacheImpl::~CacheImpl() { Close(); }

void CacheImpl::EnsureStarted() {
  // Threads are started by the first use, not at import: a server that forks its workers first has
  // none.
  if (!backplane_ || listener_.load(std::memory_order_acquire) != Listener::kIdle) return;
  auto expected = Listener::kIdle;
  if (!listener_.compare_exchange_strong(expected, Listener::kStarting)) return;
  // Where no thread is to be had there is no trust, and the next call tries again.
  const bool started = backplane_->Start(*this);
  expected = Listener::kStarting;
  const auto next = started ? Listener::kStarted : Listener::kIdle;
  // Closed meanwhile: what was started after all is stopped by who started it.
  if (!listener_.compare_exchange_strong(expected, next) && started) backplane_->Stop();
}

void CacheImpl::AfterFork() {
  trust_.End();
  slots_.AfterFork();
  table_.AfterFork();
  flights_.AfterFork();
  pending_.AfterFork();
  hints_.AfterFork();
  keeper_.AfterFork();
  replayer_.AfterFork();
  store_->AfterFork();
  if (backplane_) backplane_->AfterFork();
  replaying_.store(false);
  // Whoever was starting or closing it did so in the parent.
  listener_.store(closed_.load() ? Listener::kClosed : Listener::kIdle);
}

void CacheImpl::Close() {
  if (closed_.exchange(true)) return;
  replayer_.Stop();
  // Once more: nobody else knows of it.
  if (!pending_.empty()) (void)Replay(After(clock_.Now(), kLastReplay));
  keeper_.Stop();
  standing_.TakeBack();
  if (listener_.exchange(Listener::kClosed) == Listener::kStarted) backplane_->Stop();
  trust_.End();
  table_.Clear();
}

Cache::LocalUse CacheImpl::local_use() const {
  return {table_.entries(), table_.bytes(), slots_.size()};
}

bool CacheImpl::trusted() const { return pending_.empty() && Usable(TrustAt(), clock_.Now()); }

bool CacheImpl::available() const {
  return !closed_.load(std::memory_order_acquire) && store_->Available();
}

void CacheImpl::Failed(const Status& status) {
  stats_.Add(Counter::kStoreError);
  if (status.code() != Code::kUnavailable) return;
  KeptFailure& kept = failure_.Get();
  Failure failure{status.message(), clock_.Now()};
  const MutexLock lock(kept.mutex);
  kept.last = std::move(failure);
}

std::optional<Cache::Failure> CacheImpl::LastFailure() {
  KeptFailure& kept = failure_.Get();
  const MutexLock lock(kept.mutex);
  return kept.last;
}

void CacheImpl::OnConnected(std::uint64_t epoch) {
  epoch_.store(epoch, std::memory_order_relaxed);
  standing_.Forsake();
  trust_.End();
  slots_.DropAll();
}

void CacheImpl::OnFence(Instant sent) {
  stats_.Add(Counter::kFence);
  trust_.Extend(sent);
}

void CacheImpl::OnBump(std::span<const Tag> tags) {
  stats_.Add(Counter::kMessage);
  DropLocally(tags);
}

void CacheImpl::OnClear() {
  stats_.Add(Counter::kMessage);
  slots_.DropAll();
  table_.Clear();
}

void CacheImpl::OnDisconnected() {
  stats_.Add(Counter::kDisconnect);
  trust_.End();
  slots_.DropAll();
}

}  // namespace smartcache
