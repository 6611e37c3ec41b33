#include "l2/lmdb/access.h"

#include <algorithm>

namespace smartcache::lmdb {
namespace {

// How long to refuse at once after the files could not be opened, and to try gates without waiting
// after one could not be had: a store that is down must cost its callers little. Milliseconds.
constexpr std::int64_t kBackOff = 1000;
// Sessions kept for the next calls; more are made when more threads call at once.
constexpr std::size_t kMaxIdle = 64;

}  // namespace

Session::~Session() {
  for (const Reader& reader : {tokens_, entries_}) {
    if (reader.txn != nullptr) mdb_txn_abort(reader.txn);
  }
}

int Session::Begin(Environment& environment, Reader& reader, MDB_txn*& txn) {
  const int code = reader.active ? 0 : environment.BeginRead(reader.txn);
  reader.active = code == 0;
  txn = reader.txn;
  return code;
}

int Session::Tokens(MDB_txn*& txn) {
  return Begin(generation_->tokens().environment(), tokens_, txn);
}

int Session::Entries(MDB_txn*& txn) {
  return Begin(generation_->entries().environment(), entries_, txn);
}

void Session::Reset() {
  for (Reader* const reader : {&tokens_, &entries_}) {
    if (reader->active) mdb_txn_reset(reader->txn);
    reader->active = false;
  }
}

Access::Held::Held(Control& control, Gates gates, Duration timeout) : control_(control) {
  const auto wanted = static_cast<unsigned>(gates);
  if ((wanted & static_cast<unsigned>(Gates::kEntries)) != 0) {
    entry_ = control_.entries_gate().Lock(timeout);
    entries_ = entry_ == Gate::Entry::kEntered;
  }
  if (entry_ == Gate::Entry::kEntered && (wanted & static_cast<unsigned>(Gates::kTokens)) != 0) {
    entry_ = control_.tokens_gate().Lock(timeout);
    tokens_ = entry_ == Gate::Entry::kEntered;
    if (tokens_) control_.Mend();
  }
}

Access::Held::~Held() {
  if (tokens_) control_.tokens_gate().Unlock();
  if (entries_) control_.entries_gate().Unlock();
}

bool Access::Available() {
  Process* const process = process_.Peek();
  if (process == nullptr) return true;
  const std::int64_t again_at = std::max(process->open_again_at.load(std::memory_order_relaxed),
                                         process->wait_again_at.load(std::memory_order_relaxed));
  return again_at == 0 || CoarseMilliseconds() >= again_at;
}

Duration Access::Patience(Process& process) const {
  const std::int64_t again_at = process.wait_again_at.load(std::memory_order_relaxed);
  return again_at == 0 || CoarseMilliseconds() >= again_at ? location_.timeout : Duration(0);
}

Status Access::Kept(Process& process, Gate::Entry entry) {
  if (entry == Gate::Entry::kCrowded) return Unavailable("lmdb: too many are writing at once");
  std::int64_t again_at = process.wait_again_at.load(std::memory_order_relaxed);
  const std::int64_t now = CoarseMilliseconds();
  if (again_at == 0 || now >= again_at) {
    process.wait_again_at.compare_exchange_strong(again_at, now + kBackOff);
  }
  return Unavailable("lmdb: a process has stopped in the midst of writing");
}

Status Access::Failed(int code) { return Unavailable(std::string("lmdb: ") + mdb_strerror(code)); }

bool Access::Usable(Process& process) {
  Control* const control = process.control.load(std::memory_order_acquire);
  return control != nullptr && control->Usable();
}

Result<std::shared_ptr<Generation>> Access::Present(Process& process) {
  if (Usable(process)) {
    MutexLock lock(process.mutex);
    if (process.generation != nullptr) return process.generation;
  }
  return Reopen(process);
}

Result<std::shared_ptr<Generation>> Access::Reopen(Process& process) {
  if (process.open_again_at.load(std::memory_order_relaxed) > CoarseMilliseconds()) {
    MutexLock lock(process.mutex);
    if (!process.failure.ok()) return process.failure;
  }
  // Let go of what cannot be used, before opening: on a full disk its space is needed.
  Replace(process, nullptr);
  auto acquired = Generation::Acquire(location_);
  if (!acquired.ok()) {
    // Whatever has become of the folder since it was checked is no mistake of this call's.
    MutexLock lock(process.mutex);
    process.failure = Unavailable(acquired.status().message());
    process.open_again_at.store(CoarseMilliseconds() + kBackOff, std::memory_order_relaxed);
    return process.failure;
  }
  process.open_again_at.store(0, std::memory_order_relaxed);
  Replace(process, *acquired);
  return acquired;
}

void Access::Replace(Process& process, const std::shared_ptr<Generation>& generation) {
  // Destroyed after the lock is gone.
  std::vector<std::unique_ptr<Session>> idle;
  std::shared_ptr<Generation> old;
  MutexLock lock(process.mutex);
  if (process.generation == generation) return;
  // Another thread's work, done meanwhile.
  if (process.generation != nullptr && process.generation->control()->Usable()) return;
  idle.swap(process.idle);
  old = std::exchange(process.generation, generation);
  if (generation == nullptr) return;
  process.controls.push_back(generation->control());
  process.control.store(generation->control().get(), std::memory_order_release);
}

Result<std::unique_ptr<Session>> Access::Take(Process& process) {
  if (Usable(process)) {
    MutexLock lock(process.mutex);
    if (!process.idle.empty()) {
      std::unique_ptr<Session> session = std::move(process.idle.back());
      process.idle.pop_back();
      return session;
    }
  }
  auto present = Present(process);
  if (!present.ok()) return present.status();
  return std::make_unique<Session>(std::move(present).value());
}

void Access::GiveBack(Process& process, std::unique_ptr<Session> session) {
  session->Reset();
  MutexLock lock(process.mutex);
  if (session->generation_ == process.generation && process.idle.size() < kMaxIdle) {
    process.idle.push_back(std::move(session));
  }
}

}  // namespace smartcache::lmdb
