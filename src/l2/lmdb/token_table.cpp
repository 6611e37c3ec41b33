#include "l2/lmdb/token_table.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "base/random.h"

namespace smartcache::lmdb {
namespace {

constexpr char kTokenKind = 't';
constexpr char kSchemesKind = 's';
constexpr char kMarksKind = 'm';
// What Clear leaves.
constexpr std::array kLastingKinds = {static_cast<char>(LockKind::kEntry),
                                      static_cast<char>(LockKind::kUser), kMarksKind};

// Records are found by their kind and 64 bits.
using RecordKey = std::array<char, 1 + sizeof(std::uint64_t)>;

RecordKey KeyOf(char kind, std::uint64_t id) {
  RecordKey key;
  key[0] = kind;
  std::memcpy(key.data() + 1, &id, sizeof id);
  return key;
}

MDB_val ValOfKey(const RecordKey& key) { return ValOf(key.data(), key.size()); }

// A token, a lock's owner or a writer that has marked, and until when.
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
    // Of marks each is a cell; what is damaged counts as expired.
    std::int64_t deadline = 0;
    for (std::size_t at = 0; at + sizeof(Cell) <= value.mv_size; at += sizeof(Cell)) {
      Cell cell;
      std::memcpy(&cell, static_cast<const char*>(value.mv_data) + at, sizeof cell);
      deadline = std::max(deadline, cell.deadline);
    }
    if (!expired_only || deadline <= now.count()) {
      code = mdb_cursor_del(cursor.get(), 0);
      if (code != 0) return code;
    }
    code = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT);
  }
  return code == MDB_NOTFOUND ? 0 : code;
}

// The marks of a tag, those too whose time is over.
int FindMarks(MDB_txn* txn, Tag tag, std::vector<Cell>& marks) {
  const RecordKey key = KeyOf(kMarksKind, tag);
  MDB_val key_val = ValOfKey(key), value;
  marks.clear();
  const int code = mdb_get(txn, Environment::dbi(), &key_val, &value);
  if (code == MDB_NOTFOUND) return 0;
  if (code != 0) return code;
  if (value.mv_size % sizeof(Cell) != 0) return MDB_CORRUPTED;
  marks.resize(value.mv_size / sizeof(Cell));
  std::memcpy(marks.data(), value.mv_data, value.mv_size);
  return 0;
}

int StoreMarks(MDB_txn* txn, Tag tag, const std::vector<Cell>& marks) {
  if (marks.empty()) return DropCell(txn, kMarksKind, tag);
  const RecordKey key = KeyOf(kMarksKind, tag);
  MDB_val key_val = ValOfKey(key), value = ValOf(marks.data(), marks.size() * sizeof(Cell));
  return mdb_put(txn, Environment::dbi(), &key_val, &value, 0);
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
  Instant marked = kNever;
  const int looked = NearestMark(txn, tag, now, marked);
  if (looked != 0) return looked;
  if (reply.token == kNoToken) {
    reply.token = RandomU64();
  } else if (marked != kNever) {
    return 0;  // it ends with the mark, or before
  }
  const Instant deadline = std::min(After(After(now, ttl), ttl), marked);
  reply.ttl = deadline - now;
  wrote = true;
  return StoreCell(txn, kTokenKind, tag, {reply.token, deadline.count()});
}

int TokenTable::Drop(MDB_txn* txn, Tag tag) { return DropCell(txn, kTokenKind, tag); }

int TokenTable::Mark(MDB_txn* txn, Tag tag, std::uint64_t writer, Instant now, Instant deadline) {
  std::vector<Cell> marks;
  const int code = FindMarks(txn, tag, marks);
  if (code != 0) return code;
  std::erase_if(marks, [&](const Cell& mark) {
    return mark.value == writer || mark.deadline <= now.count();
  });
  marks.push_back({writer, deadline.count()});
  return StoreMarks(txn, tag, marks);
}

int TokenTable::Unmark(MDB_txn* txn, Tag tag, std::uint64_t writer, Instant now, Duration ttl) {
  std::vector<Cell> marks;
  int code = FindMarks(txn, tag, marks);
  if (code != 0) return code;
  Instant nearest = After(After(now, ttl), ttl);
  std::erase_if(marks, [&](const Cell& mark) {
    return mark.value == writer || mark.deadline <= now.count();
  });
  for (const Cell& mark : marks) nearest = std::min(nearest, Instant(mark.deadline));
  code = StoreMarks(txn, tag, marks);
  TokenReply present;
  if (code == 0) code = Find(txn, tag, now, present);
  if (code != 0 || present.token == kNoToken || present.ttl >= ttl) return code;
  return StoreCell(txn, kTokenKind, tag, {present.token, nearest.count()});
}

int TokenTable::NearestMark(MDB_txn* txn, Tag tag, Instant now, Instant& deadline) {
  std::vector<Cell> marks;
  const int code = FindMarks(txn, tag, marks);
  deadline = kNever;
  for (const Cell& mark : marks) {
    if (mark.deadline > now.count()) deadline = std::min(deadline, Instant(mark.deadline));
  }
  return code;
}

int TokenTable::EndWithMarks(MDB_txn* txn, Tag tag, Instant now) {
  Instant nearest;
  TokenReply present;
  int code = NearestMark(txn, tag, now, nearest);
  if (code == 0) code = Find(txn, tag, now, present);
  if (code != 0 || present.token == kNoToken || nearest == kNever) return code;
  return StoreCell(txn, kTokenKind, tag, {present.token, nearest.count()});
}

int TokenTable::Shorten(MDB_txn* txn, Tag tag, Instant deadline) {
  Cell cell;
  const int code = FindCell(txn, kTokenKind, tag, cell);
  if (code == MDB_NOTFOUND) return 0;
  if (code != 0 || cell.deadline <= deadline.count()) return code;
  return StoreCell(txn, kTokenKind, tag, {cell.value, deadline.count()});
}

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
  // Locks and marks are few: they are carried over, so that the tree can be dropped page by page.
  std::vector<std::pair<std::string, std::string>> kept;
  Cursor cursor;
  int code = OpenCursor(txn, cursor);
  if (code != 0) return code;
  for (const char kind : kLastingKinds) {
    const RecordKey first = KeyOf(kind, 0);
    MDB_val key = ValOfKey(first), value;
    code = mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE);
    while (code == 0 && IsOf(kind, key)) {
      kept.emplace_back(std::string(static_cast<const char*>(key.mv_data), key.mv_size),
                        std::string(static_cast<const char*>(value.mv_data), value.mv_size));
      code = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT);
    }
    if (code != 0 && code != MDB_NOTFOUND) return code;
  }
  cursor.reset();
  code = mdb_drop(txn, Environment::dbi(), 0);
  for (const auto& [key, value] : kept) {
    if (code != 0) return code;
    MDB_val key_val = ValOf(key.data(), key.size()), value_val = ValOf(value.data(), value.size());
    code = mdb_put(txn, Environment::dbi(), &key_val, &value_val, 0);
  }
  return code;
}

int TokenTable::MakeRoom(MDB_txn* txn, Instant now, int round) {
  if (round >= kLastRound) return Clear(txn);
  const int span = 256 << (2 * round);
  for (const char kind : kLastingKinds) {
    const int code = DropStretch(txn, kind, RandomU64(), span, now, true);
    if (code != 0) return code;
  }
  int code = DropStretch(txn, kTokenKind, RandomU64(), span, now, true);
  if (code == 0) code = DropStretch(txn, kTokenKind, RandomU64(), span, now, false);
  return code;
}

}  // namespace smartcache::lmdb
