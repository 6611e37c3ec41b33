// One LMDB environment: opening, transactions, what its error codes mean. Codes are LMDB's or
// errno's, 0 is success. Thread-safe, except that a transaction belongs to one thread at a time.
#pragma once

#include <lmdb.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "smartcache/result.h"

namespace smartcache::lmdb {

// What to do about a code.
enum class Trouble : std::uint8_t {
  kNone,
  kFull,    // no room in the map or on the disk: evict, try again
  kBroken,  // the files cannot be trusted: retire them
  kOther,   // no memory, no file handles, ...: the store is unavailable
};
[[nodiscard]] Trouble TroubleOf(int code);
// Of kFull: the disk has no room. Else the map has none, though entries were evicted: a reader
// holds it.
[[nodiscard]] bool IsDiskFull(int code);

class Environment {
 public:
  // Opens or makes the file `path` (and `path`-lock beside it). The same process must not have it
  // open.
  static Result<std::unique_ptr<Environment>> Open(const std::string& path, std::size_t map_bytes);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  // All data is in the unnamed database: a named one would be looked up by each transaction.
  [[nodiscard]] static MDB_dbi dbi() { return 1; }
  [[nodiscard]] MDB_env* get() const { return env_; }

  // Begins `txn` (null) or renews it (reset).
  [[nodiscard]] int BeginRead(MDB_txn*& txn);
  // Drops what dead processes left in the table of readers, which keeps old pages from being used
  // again.
  void DropDeadReaders();
  // Share of the map that its tree fills, from 0 to 1, as `txn` sees it.
  [[nodiscard]] double Fullness(MDB_txn* txn) const;

 private:
  Environment(MDB_env* env, std::string path, std::size_t map_bytes);
  // 0 when the file is as long as its newest state says and its root can be read.
  [[nodiscard]] int Check();

  MDB_env* const env_;
  const std::string path_;
  const std::size_t map_bytes_;
};

// A write transaction, aborted unless committed. Needs the environment's gate.
class WriteTxn {
 public:
  WriteTxn() = default;
  ~WriteTxn() { Abort(); }
  WriteTxn(const WriteTxn&) = delete;
  WriteTxn& operator=(const WriteTxn&) = delete;

  [[nodiscard]] int Begin(Environment& environment);
  [[nodiscard]] int Commit();
  void Abort();
  [[nodiscard]] MDB_txn* get() const { return txn_; }

 private:
  MDB_txn* txn_ = nullptr;
};

struct CursorCloser {
  void operator()(MDB_cursor* cursor) const { mdb_cursor_close(cursor); }
};
// To be closed before its transaction ends.
using Cursor = std::unique_ptr<MDB_cursor, CursorCloser>;
[[nodiscard]] int OpenCursor(MDB_txn* txn, Cursor& cursor);

inline MDB_val ValOf(const void* data, std::size_t size) {
  return {size, const_cast<void*>(data)};  // LMDB does not write to keys and values given to it
}

}  // namespace smartcache::lmdb
