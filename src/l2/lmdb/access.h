// How the calls of a store get at its files: read transactions kept for the next call, gates waited
// for with a limit, room made where there is none, files replaced that prove broken. Thread-safe.
//
// Order of locks: the gate of the entries, the gate of the tokens; both are held during LMDB's I/O.
// Files are opened, and the door to the folder is waited for, by one thread of a process at a time,
// under the mutex of its generations: without any gate, and with a limit.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/per_process.h"
#include "l2/lmdb/generation.h"
#include "smartcache/result.h"

namespace smartcache::lmdb {

// A read transaction in each environment, begun when asked for. One thread at a time.
class Session {
 public:
  explicit Session(std::shared_ptr<Generation> generation) : generation_(std::move(generation)) {}
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] Generation& generation() { return *generation_; }
  [[nodiscard]] int Tokens(MDB_txn*& txn);
  [[nodiscard]] int Entries(MDB_txn*& txn);
  // Ends the reading; what was read may be overwritten from here on.
  void Reset();

 private:
  friend class Access;
  struct Reader {
    MDB_txn* txn = nullptr;
    bool active = false;
  };
  int Begin(Environment& environment, Reader& reader, MDB_txn*& txn);

  const std::shared_ptr<Generation> generation_;  // first: transactions end before it goes
  Reader tokens_, entries_;
};

// A change that others must notice, from before its first to after its last effect. Under the gate
// of the tokens.
class Change {
 public:
  explicit Change(Control& control) : control_(control) { control_.BeginChange(); }
  ~Change() { control_.EndChange(); }
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;

 private:
  Control& control_;
};

enum class Gates : std::uint8_t { kTokens = 1, kEntries = 2, kBoth = 3 };

class Access {
 public:
  explicit Access(Location location) : location_(std::move(location)) {}

  // The control page in use; null: none yet in this process. Never blocks.
  [[nodiscard]] Control* control() {
    Process* const process = process_.Peek();
    return process == nullptr ? nullptr : process->control.load(std::memory_order_acquire);
  }
  // False while it is not worth trying: the files could not be opened, or a gate is held for too
  // long.
  [[nodiscard]] bool Available();

  // Runs `body(session)`, which returns LMDB's code; again, on fresh files, when these prove
  // broken. What is read is to be copied by then.
  template <class Body>
  Status Read(Body&& body);
  // Runs `body(generation)` under the gates; as Read. Again, on fresh files, when these have no
  // room left.
  template <class Body>
  Status Write(Gates gates, Body&& body);
  // A read within a write, on the same files.
  template <class Body>
  int ReadWithin(Generation& generation, Body&& body);

  // Runs `body(txn)` in a write transaction and commits it; makes room and begins again until it
  // fits.
  template <class Body>
  static int Transact(EntryTable& entries, Body&& body) {
    return Fit(entries, EntryTable::MakeRoom, body);
  }
  template <class Body>
  static int Transact(TokenTable& tokens, Instant now, Body&& body) {
    const auto make_room = [now](MDB_txn* txn, int round) {
      return TokenTable::MakeRoom(txn, now, round);
    };
    return Fit(tokens, make_room, body);
  }

 private:
  // What of it is this process' own.
  struct Process {
    Mutex mutex;
    std::shared_ptr<Generation> generation GUARDED_BY(mutex);
    std::vector<std::unique_ptr<Session>> idle GUARDED_BY(mutex);
    // Every control page used so far, some kilobytes each: `control` is read without a lock.
    std::vector<std::shared_ptr<Control>> controls GUARDED_BY(mutex);
    Status failure GUARDED_BY(mutex);  // of the last opening
    std::atomic<Control*> control{nullptr};
    // CoarseMilliseconds; 0: it went well.
    std::atomic<std::int64_t> open_again_at{0};
    std::atomic<std::int64_t> wait_again_at{0};
  };
  // The gates of a generation, held.
  class Held {
   public:
    Held(Control& control, Gates gates, Duration timeout);
    ~Held();
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    // kEntered: all of them are held.
    [[nodiscard]] Gate::Entry entry() const { return entry_; }

   private:
    Control& control_;
    bool entries_ = false, tokens_ = false;
    Gate::Entry entry_ = Gate::Entry::kEntered;
  };

  static bool Usable(Process& process);
  Result<std::shared_ptr<Generation>> Present(Process& process);
  Result<std::shared_ptr<Generation>> Reopen(Process& process);
  // Puts `generation` (null: none) in the place of one that cannot be used.
  static void Replace(Process& process, const std::shared_ptr<Generation>& generation);
  Result<std::unique_ptr<Session>> Take(Process& process);
  void GiveBack(Process& process, std::unique_ptr<Session> session);
  // A gate could not be had; remembers for a while that its holder is stuck.
  static Status Kept(Process& process, Gate::Entry entry);
  [[nodiscard]] Duration Patience(Process& process) const;
  static Status Failed(int code);
  template <class Table, class MakeRoom, class Body>
  static int Fit(Table& table, MakeRoom&& make_room, Body&& body);

  const Location location_;
  PerProcess<Process> process_;
};

template <class Body>
Status Access::Read(Body&& body) {
  Process& process = process_.Get();
  for (int attempt = 0;; ++attempt) {
    auto taken = Take(process);
    if (!taken.ok()) return taken.status();
    std::unique_ptr<Session> session = std::move(taken).value();
    const int code = body(*session);
    if (code == 0) {
      GiveBack(process, std::move(session));
      return Ok();
    }
    if (TroubleOf(code) != Trouble::kBroken || attempt > 0) return Failed(code);
    session->generation().control()->Retire();
  }
}

template <class Body>
Status Access::Write(Gates gates, Body&& body) {
  Process& process = process_.Get();
  for (int attempt = 0;; ++attempt) {
    auto present = Present(process);
    if (!present.ok()) return present.status();
    Generation& generation = **present;
    Control& control = *generation.control();
    int code = 0;
    {
      const Held held(control, gates, Patience(process));
      if (held.entry() != Gate::Entry::kEntered) return Kept(process, held.entry());
      // Asked under the gate: whoever replaces the files from here on does so after this write
      // began, and nothing in the new ones can be older than it.
      if (!control.UsableNow()) {
        if (attempt > 2) return Unavailable("lmdb: the files are being replaced all the time");
        continue;
      }
      process.wait_again_at.store(0, std::memory_order_relaxed);
      code = body(generation);
    }
    if (code == 0) {
      generation.Sweep();
      return Ok();
    }
    if (TroubleOf(code) == Trouble::kOther) return Failed(code);
    control.Retire();
    if (attempt > 2) return Failed(code);
  }
}

template <class Body>
int Access::ReadWithin(Generation& generation, Body&& body) {
  auto taken = Take(process_.Get());
  if (!taken.ok()) return ENOMEM;
  std::unique_ptr<Session> session = std::move(taken).value();
  if (&session->generation() != &generation) return MDB_INVALID;  // replaced meanwhile
  const int code = body(*session);
  if (code == 0) GiveBack(process_.Get(), std::move(session));
  return code;
}

template <class Table, class MakeRoom, class Body>
int Access::Fit(Table& table, MakeRoom&& make_room, Body&& body) {
  WriteTxn txn;
  for (int round = 0;; ++round) {
    int code = txn.Begin(table.environment());
    if (code == 0) code = body(txn.get());
    if (code == 0) code = txn.Commit();
    txn.Abort();
    if (TroubleOf(code) != Trouble::kFull || round > Table::kLastRound) return code;
    table.environment().DropDeadReaders();
    // Twice, as pages freed by a transaction are used again by the next but one.
    for (int i = 0; i < 2; ++i) {
      code = txn.Begin(table.environment());
      if (code == 0) code = make_room(txn.get(), round);
      if (code == 0) code = txn.Commit();
      txn.Abort();
      if (code != 0 && TroubleOf(code) != Trouble::kFull) return code;
    }
  }
}

}  // namespace smartcache::lmdb
