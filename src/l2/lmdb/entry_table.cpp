#include "l2/lmdb/entry_table.h"

#include <cstring>
#include <limits>
#include <memory>

#include "base/hash.h"
#include "base/random.h"

namespace smartcache::lmdb {
namespace {

// Of neighbours compared in one eviction; Redis' sampling gets close to the exact order with ten.
constexpr int kSample = 16;
// Evictions of one write at the most, when it adds a large entry to a map of small ones.
constexpr int kMaxEvictions = 256;
// Neighbours looked at after a write for having expired: they lie in the page just written.
constexpr int kSwept = 4;

struct Header {
  std::int64_t deadline = 0;
  std::int64_t stored = 0;
};

// An entry too short to have a header counts as expired long ago.
Header HeaderOf(const MDB_val& value) {
  Header header;
  if (value.mv_size >= sizeof header) std::memcpy(&header, value.mv_data, sizeof header);
  return header;
}

// The entry at or after a random place, else the first.
int SeekRandom(MDB_cursor* cursor, MDB_val& key, MDB_val& value) {
  const std::uint64_t place[2] = {RandomU64(), RandomU64()};
  key = ValOf(place, sizeof place);
  const int code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
  return code == MDB_NOTFOUND ? mdb_cursor_get(cursor, &key, &value, MDB_FIRST) : code;
}

}  // namespace

EntryTable::Key EntryTable::KeyOf(std::string_view key) const {
  return {Hash64(key, layout_.hash_seeds[0]), Hash64(key, layout_.hash_seeds[1])};
}

int EntryTable::Find(MDB_txn* txn, std::string_view key, Instant now, Found& found) const {
  const Key hashed = KeyOf(key);
  MDB_val key_val = ValOf(&hashed, sizeof hashed), value;
  const int code = mdb_get(txn, Environment::dbi(), &key_val, &value);
  if (code != 0) return code;
  const Header header = HeaderOf(value);
  if (header.deadline <= now.count()) return MDB_NOTFOUND;
  found.envelope = {static_cast<const char*>(value.mv_data) + sizeof header,
                    value.mv_size - sizeof header};
  found.deadline = Instant(header.deadline);
  return 0;
}

int EntryTable::Store(MDB_txn* txn, std::string_view key, std::string_view envelope,
                      Instant deadline, Instant now) {
  const std::size_t bytes = sizeof(Header) + envelope.size();
  if (environment_->Fullness(txn) > kFull) {
    std::size_t freed = 0;
    for (int i = 0; i < kMaxEvictions && freed < 2 * bytes; ++i) {
      const int code = EvictSome(txn, now, freed);
      if (code == MDB_NOTFOUND) break;
      if (code != 0) return code;
    }
  }
  Cursor cursor;
  int code = OpenCursor(txn, cursor);
  if (code != 0) return code;
  const Key hashed = KeyOf(key);
  MDB_val key_val = ValOf(&hashed, sizeof hashed), value{bytes, nullptr};
  code = mdb_cursor_put(cursor.get(), &key_val, &value, MDB_RESERVE);
  if (code != 0) return code;
  const Header header{deadline.count(), now.count()};
  auto* const place = static_cast<char*>(value.mv_data);
  std::memcpy(place, &header, sizeof header);
  if (!envelope.empty()) std::memcpy(place + sizeof header, envelope.data(), envelope.size());
  for (int i = 0; i < kSwept; ++i) {
    code = mdb_cursor_get(cursor.get(), &key_val, &value, MDB_NEXT);
    if (code == 0 && HeaderOf(value).deadline <= now.count()) {
      code = mdb_cursor_del(cursor.get(), 0);
    }
    if (code == MDB_NOTFOUND) return 0;
    if (code != 0) return code;
  }
  return 0;
}

int EntryTable::Drop(MDB_txn* txn, std::string_view key) {
  const Key hashed = KeyOf(key);
  MDB_val key_val = ValOf(&hashed, sizeof hashed);
  return mdb_del(txn, Environment::dbi(), &key_val, nullptr);
}

int EntryTable::Clear(MDB_txn* txn) { return mdb_drop(txn, Environment::dbi(), 0); }

int EntryTable::EvictSome(MDB_txn* txn, Instant now, std::size_t& freed) {
  Cursor cursor;
  int code = OpenCursor(txn, cursor);
  if (code != 0) return code;
  MDB_val key, value;
  Key oldest{};
  std::size_t oldest_bytes = 0;
  auto oldest_time = std::numeric_limits<std::int64_t>::max();
  bool expired = false;
  code = SeekRandom(cursor.get(), key, value);
  if (code != 0) return code;
  for (int i = 0; i < kSample && code == 0; ++i) {
    const Header header = HeaderOf(value);
    if (header.deadline <= now.count()) {
      freed += value.mv_size;
      expired = true;
      code = mdb_cursor_del(cursor.get(), 0);
      if (code != 0) return code;
    } else if (header.stored < oldest_time && key.mv_size == sizeof oldest) {
      oldest_time = header.stored;
      oldest_bytes = value.mv_size;
      std::memcpy(&oldest, key.mv_data, sizeof oldest);
    }
    code = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT);
  }
  if (code != 0 && code != MDB_NOTFOUND) return code;
  cursor.reset();
  if (expired) return 0;
  freed += oldest_bytes;
  key = ValOf(&oldest, sizeof oldest);
  return mdb_del(txn, Environment::dbi(), &key, nullptr);
}

int EntryTable::MakeRoom(MDB_txn* txn, int round) {
  if (round >= kLastRound) return Clear(txn);
  Cursor cursor;
  int code = OpenCursor(txn, cursor);
  if (code != 0) return code;
  MDB_val key, value;
  code = SeekRandom(cursor.get(), key, value);
  for (int left = 64 << (2 * round); code == 0 && left > 0; --left) {
    code = mdb_cursor_del(cursor.get(), 0);
    if (code == 0) code = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT);
  }
  return code == MDB_NOTFOUND ? 0 : code;
}

}  // namespace smartcache::lmdb
