// The page that all processes on one generation of files share: who may write, what has changed,
// whether the files still count, and the words on which waiters for locks sleep. Thread-safe.
//
// The change counter is odd while a change is under way, and moves by two with each. It is made odd
// before anything of a change can be seen and even after all of it can: what was read at an even
// value, and is still read at it, is the present state. A writer that dies in between leaves it
// odd, so that nobody trusts it until the next writer mends it. It begins at a random value, so
// that no two generations of files share one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "l2/lmdb/coarse_clock.h"
#include "l2/lmdb/gate.h"
#include "smartcache/clock.h"
#include "smartcache/result.h"
#include "smartcache/tag.h"

namespace smartcache::lmdb {

// Fixed when the files are made: every process must map them alike.
struct Layout {
  std::uint64_t epoch = 0;               // random
  std::uint64_t hash_seeds[2] = {0, 0};  // random: nobody can make keys collide
  std::uint64_t tokens_bytes = 0;        // of the maps
  std::uint64_t entries_bytes = 0;
};

// Which file lay at a path, and how long it was.
struct FileMark {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::int64_t size = 0;
};
// False when there is no plain file at `path`.
[[nodiscard]] bool MarkFile(const std::string& path, FileMark& mark);

class Control {
 public:
  // Makes the file, all its blocks on disk (a hole could not be filled on a full disk: SIGBUS).
  static Status Create(const std::string& path, const Layout& layout);
  // kCorrupt: not a file that this version wrote.
  static Result<std::unique_ptr<Control>> Open(const std::string& path);
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  [[nodiscard]] const Layout& layout() const { return layout_; }
  [[nodiscard]] const FileMark& mark() const { return watched_[0].mark; }

  // 0: a change is under way, or the files are retired.
  [[nodiscard]] std::uint64_t Changes() const {
    const std::uint64_t changes = page_->changes.load(std::memory_order_acquire);
    return (changes & (kOdd | kRetired)) == 0 ? changes : 0;
  }
  // The next three under the gate of the tokens. Mend: after a writer that died.
  void BeginChange() { page_->changes.fetch_add(1, std::memory_order_seq_cst); }
  void EndChange() { page_->changes.fetch_add(1, std::memory_order_seq_cst); }
  void Mend();

  // Has one more file looked at by Usable. Before the object is shared.
  void Watch(const std::string& path);
  // False once the files are retired, or found to have been replaced, deleted or cut short, which
  // is looked for every 100 ms. Does not block.
  [[nodiscard]] bool Usable() {
    const std::int64_t now = CoarseMilliseconds();
    std::int64_t look_at = look_at_.load(std::memory_order_relaxed);
    if (now >= look_at && look_at_.compare_exchange_strong(look_at, now + kLookEvery)) Look();
    return !retired();
  }
  // As Usable, looking in any case, but at this file alone. Cost: a system call.
  [[nodiscard]] bool UsableNow();

  // The files no longer count; told to all processes at once, for ever.
  void Retire() { page_->changes.fetch_or(kRetired, std::memory_order_seq_cst); }
  [[nodiscard]] bool retired() const {
    return (page_->changes.load(std::memory_order_acquire) & kRetired) != 0;
  }

  [[nodiscard]] Gate& tokens_gate() { return tokens_gate_; }
  [[nodiscard]] Gate& entries_gate() { return entries_gate_; }

  // Waiting for the lock of an entry: note UnlockCount, look at the lock, AwaitUnlock with what was
  // noted.
  [[nodiscard]] std::uint32_t UnlockCount(Tag key) const;
  void AnnounceUnlock(Tag key);
  // Returns on an announcement after `seen`, or when `timeout` (of real time) is over, or for no
  // reason.
  void AwaitUnlock(Tag key, std::uint32_t seen, Duration timeout) const;

 private:
  static constexpr std::uint64_t kOdd = 1;
  static constexpr std::uint64_t kRetired = 1ull << 63;
  static constexpr std::int64_t kLookEvery = 100;
  // Keys share words by their hash: who is woken for nothing looks and sleeps on.
  static constexpr std::size_t kUnlockWords = 512;

  struct Page {
    std::uint64_t magic;
    std::uint64_t version;
    Layout layout;
    alignas(64) std::atomic<std::uint64_t> changes;
    alignas(64) Gate::Shared tokens_gate;
    alignas(64) Gate::Shared entries_gate;
    alignas(64) std::atomic<std::uint32_t> unlocks[kUnlockWords];
  };
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

  struct Watched {
    std::string path;
    FileMark mark;
  };

  Control(Page* page, const std::string& path, int file, int tokens_file, int entries_file);
  void Look();

  Page* const page_;
  const int file_, tokens_file_, entries_file_;
  const Layout layout_;
  Gate tokens_gate_, entries_gate_;
  std::vector<Watched> watched_;  // this file first
  std::atomic<std::int64_t> look_at_{0};
};

}  // namespace smartcache::lmdb
