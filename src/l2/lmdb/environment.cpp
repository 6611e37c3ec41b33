#include "l2/lmdb/environment.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "l2/lmdb/control.h"

namespace smartcache::lmdb {
namespace {

// Concurrent readers of one machine; each is a thread inside a call. 64 bytes each in the lock
// file.
constexpr unsigned kMaxReaders = 2048;
// Room for kMaxReaders and LMDB's header of the lock file.
constexpr off_t kLockFileBytes = (kMaxReaders + 8) * 64;

// No fsync: the files never outlive the machine's uptime. Readers' slots go with transactions, not
// with threads. No read-ahead: entries are found by hash, neighbours mean nothing.
constexpr unsigned kFlags = MDB_NOSUBDIR | MDB_NOSYNC | MDB_NOMETASYNC | MDB_NOTLS | MDB_NORDAHEAD;

// Makes the lock file with all its blocks: LMDB would leave a hole, whose filling kills on a full
// disk.
int ReserveLockFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return errno == EEXIST ? 0 : errno;
  const int result = posix_fallocate(file, 0, kLockFileBytes);
  close(file);
  if (result != 0) unlink(path.c_str());
  return result;
}

Status Failed(const std::string& path, int code) {
  const std::string message = "lmdb: " + path + ": " + mdb_strerror(code);
  return TroubleOf(code) == Trouble::kBroken ? Corrupt(message) : Unavailable(message);
}

}  // namespace

bool IsDiskFull(int code) {
  // EIO is LMDB's code for a write that found room for a part only.
  return code == ENOSPC || code == EDQUOT || code == EFBIG || code == EIO;
}

Trouble TroubleOf(int code) {
  if (IsDiskFull(code)) return Trouble::kFull;
  switch (code) {
    case MDB_SUCCESS:
      return Trouble::kNone;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
      return Trouble::kFull;
    case MDB_READERS_FULL:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EACCES:
    case EPERM:
    case EROFS:
    case EAGAIN:
    case EINTR:
      return Trouble::kOther;
    default:
      return Trouble::kBroken;
  }
}

Result<std::unique_ptr<Environment>> Environment::Open(const std::string& path,
                                                       std::size_t map_bytes) {
  int code = ReserveLockFile(path + "-lock");
  MDB_env* env = nullptr;
  if (code == 0) code = mdb_env_create(&env);
  if (code != 0) return Failed(path, code);
  std::unique_ptr<Environment> environment(new Environment(env, path, map_bytes));
  code = mdb_env_set_mapsize(env, map_bytes);
  if (code == 0) code = mdb_env_set_maxreaders(env, kMaxReaders);
  if (code == 0) code = mdb_env_open(env, path.c_str(), kFlags, 0600);
  if (code == 0) code = environment->Check();
  if (code != 0) return Failed(path, code);
  environment->DropDeadReaders();
  return environment;
}

Environment::Environment(MDB_env* env, std::string path, std::size_t map_bytes)
    : env_(env), path_(std::move(path)), map_bytes_(map_bytes) {}

Environment::~Environment() { mdb_env_close(env_); }

int Environment::Check() {
  MDB_envinfo info;
  MDB_stat stat;
  int code = mdb_env_info(env_, &info);
  if (code == 0) code = mdb_env_stat(env_, &stat);
  if (code != 0) return code;
  FileMark mark;
  if (!MarkFile(path_, mark)) return MDB_INVALID;
  // Pages beyond the end of the file are in the map all the same: reading one is SIGBUS.
  const auto needed = static_cast<std::int64_t>((info.me_last_pgno + 1) * stat.ms_psize);
  if (info.me_last_txnid > 0 && mark.size < needed) return MDB_INVALID;
  if (info.me_mapsize != map_bytes_) return MDB_INVALID;
  MDB_txn* txn = nullptr;
  code = BeginRead(txn);
  if (code != 0) return code;
  MDB_dbi unnamed = 0;
  Cursor cursor;
  MDB_val key, value;
  code = mdb_dbi_open(txn, nullptr, 0,
                      &unnamed);  // sets the order of keys; the handle is always dbi()
  if (code == 0) code = OpenCursor(txn, cursor);
  if (code == 0) code = mdb_cursor_get(cursor.get(), &key, &value, MDB_FIRST);
  cursor.reset();
  mdb_txn_abort(txn);
  return code == MDB_NOTFOUND ? 0 : code;
}

int Environment::BeginRead(MDB_txn*& txn) {
  if (txn != nullptr) {
    const int code = mdb_txn_renew(txn);
    if (code == 0) return 0;
    mdb_txn_abort(txn);
    txn = nullptr;
    if (code != MDB_BAD_RSLOT) return code;
  }
  int code = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
  if (code == MDB_READERS_FULL) {
    DropDeadReaders();
    code = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
  }
  if (code != 0) txn = nullptr;
  return code;
}

void Environment::DropDeadReaders() {
  int dead = 0;
  mdb_reader_check(env_, &dead);
}

double Environment::Fullness(MDB_txn* txn) const {
  MDB_stat stat;
  if (mdb_stat(txn, dbi(), &stat) != 0) return 1;
  const std::size_t pages = stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
  return static_cast<double>(pages) * stat.ms_psize / static_cast<double>(map_bytes_);
}

int OpenCursor(MDB_txn* txn, Cursor& cursor) {
  MDB_cursor* raw = nullptr;
  const int code = mdb_cursor_open(txn, Environment::dbi(), &raw);
  cursor.reset(raw);
  return code;
}

int WriteTxn::Begin(Environment& environment) {
  Abort();
  const int code = mdb_txn_begin(environment.get(), nullptr, 0, &txn_);
  if (code != 0) txn_ = nullptr;
  return code;
}

int WriteTxn::Commit() { return mdb_txn_commit(std::exchange(txn_, nullptr)); }

void WriteTxn::Abort() {
  if (txn_ != nullptr) mdb_txn_abort(std::exchange(txn_, nullptr));
}

}  // namespace smartcache::lmdb
