#include "l2/lmdb/token_table.h"

#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "base/random.h"

namespace smartcache::lmdb {
namespace {

constexpr char kTokenKind = 't';
constexpr char kSchemesKind = 's';

// Records are found by their kind and 64 bits.
using RecordKey = std::array<char, 1 + sizeof(std::uint64_t)>;

RecordKey KeyOf(char kind, std::uint64_t id) {
  RecordKey key;
  key[0] = kind;
  std::memcpy(key.data() + 1, &id, sizeof id);
  return key;
}

MDB_val ValOfKey(const RecordKey& key) { return ValOf(key.data(), key.size()); }

// A token or a lock's owner, and until when.
struct Cell {
  std::uint64_t value = 0;
  std::int64_t deadline = 0;
};

int FindCell(MDB_txn* txn, char kind, std::uint64_t id, Cell& cell) {
  const RecordKey key = KeyOf(kind, id);
  MDB_val key_val = ValOfKey(key), value;
  const int code = mdb_get(txn, Environment::dbi(), &key_val, &value);
  if (code != 0) return code;
  if (value.mv_size != sizeof cell) return MDB_CORRUPTED;
  std::memcpy(&cell, value.mv_data, sizeof cell);
  return 0;
}

int StoreCell(MDB_txn* txn, char kind, std::uint64_t id, const Cell& cell) {
  const RecordKey key = KeyOf(kind, id);
  MDB_val key_val = ValOfKey(key), value = ValOf(&cell, sizeof cell);
  return mdb_put(txn, Environment::dbi(), &key_val, &value, 0);
}

int DropCell(MDB_txn* txn, char kind, std::uint64_t id) {
  const RecordKey key = KeyOf(kind, id);
  MDB_val key_val = ValOfKey(key);
  const int code = mdb_del(txn, Environment::dbi(), &key_val, nullptr);
  return code == MDB_NOTFOUND ? 0 : code;
}

bool IsOf(char kind, const MDB_val& key) {
  return key.mv_size > 0 && *static_cast<const char*>(key.mv_data) == kind;
}

// Deletes, of at most `span` records of `kind` from `from` on, those that have expired, or all.
int DropStretch(MDB_txn* txn, char kind, std::uint64_t from, int span, Instant now,
                bool expired_only) {
  Cursor cursor;
  int code = OpenCursor(txn, cursor);
  if (code != 0) return code;
  const RecordKey first = KeyOf(kind, from);
  MDB_val key = ValOfKey(first), value;
  code = mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE);
  for (; code == 0 && span > 0 && IsOf(kind, key); --span) {
    Cell cell;
    if (value.mv_size == sizeof cell) std::memcpy(&cell, value.mv_data, sizeof cell);
    if (!expired_only || cell.deadline <= now.count()) {
      code = mdb_cursor_del(cursor.get(), 0);
      if (code != 0) return code;
    }
    code = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT);
  }
  return code == MDB_NOTFOUND ? 0 : code;
}

}  // namespace

int TokenTable::Find(MDB_txn* txn, Tag tag, Instant now, TokenReply& reply) {
  Cell cell;
  const int code = FindCell(txn, kTokenKind, tag, cell);
  reply = {kNoToken, Duration(0)};
  if (code == MDB_NOTFOUND) return 0;
  if (code == 0 && cell.deadline > now.count()) reply = {cell.value, Instant(cell.deadline) - now};
  return code;
}

int TokenTable::Mint(MDB_txn* txn, Tag tag, Instant now, Duration ttl, TokenReply& reply,
                     bool& wrote) {
  const int code = Find(txn, tag, now, reply);
  if (code != 0 || !NeedsMint(reply, ttl)) return code;
  if (reply.token == kNoToken) reply.token = RandomU64();
  const Instant deadline = After(After(now, ttl), ttl);
  reply.ttl = deadline - now;
  wrote = true;
  return StoreCell(txn, kTokenKind, tag, {reply.token, deadline.count()});
}

int TokenTable::Drop(MDB_txn* txn, Tag tag) { return DropCell(txn, kTokenKind, tag); }

int TokenTable::FindSchemes(MDB_txn* txn, Tag table, Schemes& schemes) {
  const RecordKey key = KeyOf(kSchemesKind, table);
  MDB_val key_val = ValOfKey(key), value;
  schemes = {};
  const int code = mdb_get(txn, Environment::dbi(), &key_val, &value);
  if (code == MDB_NOTFOUND) return 0;
  if (code != 0) return code;
  if (value.mv_size < sizeof schemes.version) return MDB_CORRUPTED;
  std::memcpy(&schemes.version, value.mv_data, sizeof schemes.version);
  std::string_view rest(static_cast<const char*>(value.mv_data), value.mv_size);
  rest.remove_prefix(sizeof schemes.version);
  while (!rest.empty()) {  // each column combination ends with a NUL
    const std::size_t end = std::min(rest.find('\0'), rest.size() - 1);
    schemes.columns.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  return 0;
}

int TokenTable::StoreSchemes(MDB_txn* txn, Tag table, const Schemes& schemes) {
  std::string bytes(reinterpret_cast<const char*>(&schemes.version), sizeof schemes.version);
  for (const std::string& columns : schemes.columns) bytes.append(columns).push_back('\0');
  const RecordKey key = KeyOf(kSchemesKind, table);
  MDB_val key_val = ValOfKey(key), value = ValOf(bytes.data(), bytes.size());
  return mdb_put(txn, Environment::dbi(), &key_val, &value, 0);
}

int TokenTable::FindLock(MDB_txn* txn, LockKind kind, std::uint64_t id, Instant now,
                         std::uint64_t& owner, Instant& deadline) {
  Cell cell;
  const int code = FindCell(txn, static_cast<char>(kind), id, cell);
  const bool held = code == 0 && cell.deadline > now.count();
  owner = held ? cell.value : 0;
  deadline = held ? Instant(cell.deadline) : Instant(0);
  return code == MDB_NOTFOUND ? 0 : code;
}

int TokenTable::StoreLock(MDB_txn* txn, LockKind kind, std::uint64_t id, std::uint64_t owner,
                          Instant deadline) {
  return StoreCell(txn, static_cast<char>(kind), id, {owner, deadline.count()});
}

int TokenTable::DropLock(MDB_txn* txn, LockKind kind, std::uint64_t id) {
  return DropCell(txn, static_cast<char>(kind), id);
}

int TokenTable::Clear(MDB_txn* txn) {
  // Locks are few: they are carried over, so that the tree can be dropped page by page.
  std::vector<std::pair<std::string, std::string>> locks;
  Cursor cursor;
  int code = OpenCursor(txn, cursor);
  if (code != 0) return code;
  for (const LockKind kind : {LockKind::kEntry, LockKind::kUser}) {
    const RecordKey first = KeyOf(static_cast<char>(kind), 0);
    MDB_val key = ValOfKey(first), value;
    code = mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE);
    while (code == 0 && IsOf(static_cast<char>(kind), key)) {
      locks.emplace_back(std::string(static_cast<const char*>(key.mv_data), key.mv_size),
                         std::string(static_cast<const char*>(value.mv_data), value.mv_size));
      code = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT);
    }
    if (code != 0 && code != MDB_NOTFOUND) return code;
  }
  cursor.reset();
  code = mdb_drop(txn, Environment::dbi(), 0);
  for (const auto& [key, value] : locks) {
    if (code != 0) return code;
    MDB_val key_val = ValOf(key.data(), key.size()), value_val = ValOf(value.data(), value.size());
    code = mdb_put(txn, Environment::dbi(), &key_val, &value_val, 0);
  }
  return code;
}

int TokenTable::MakeRoom(MDB_txn* txn, Instant now, int round) {
  if (round >= kLastRound) return Clear(txn);
  const int span = 256 << (2 * round);
  for (const LockKind kind : {LockKind::kEntry, LockKind::kUser}) {
    const int code = DropStretch(txn, static_cast<char>(kind), RandomU64(), span, now, true);
    if (code != 0) return code;
  }
  int code = DropStretch(txn, kTokenKind, RandomU64(), span, now, true);
  if (code == 0) code = DropStretch(txn, kTokenKind, RandomU64(), span, now, false);
  return code;
}

}  // namespace smartcache::lmdb
