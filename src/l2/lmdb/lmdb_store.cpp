#include "l2/lmdb/lmdb_store.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/random.h"
#include "l2/lmdb/folder.h"
#include "smartcache/cache.h"

namespace smartcache::lmdb {
namespace {

// A waiter for a lock looks at it this often, should its holder have died between giving it back
// and saying so, or a test have moved the clock.
constexpr Duration kRecheck = std::chrono::milliseconds(50);

// What the reply says of the store; to be called before anything is read for it.
template <class R>
R NewReply(Generation& generation, Instant sent) {
  R reply;
  reply.sent = sent;
  reply.epoch = generation.epoch();
  reply.stamp = generation.control()->Changes();
  return reply;
}

Duration Remaining(Instant deadline, Instant now) {
  return deadline == kNever ? kNever : deadline - now;
}

// Where the disk has no room for an entry though others were evicted: whether it is to be refused.
// Files that have no room for a small one are of no use to anybody, and are given up for new ones.
bool IsTooMuchForTheDisk(int code, std::string_view envelope) {
  constexpr std::size_t kSmallBytes = 256 << 10;
  return IsDiskFull(code) && envelope.size() > kSmallBytes;
}

// What an entry that cannot be kept comes to.
Status NotKept(bool no_room) {
  return {Code::kTooLarge, no_room ? "lmdb: the disk has no room for the entry"
                                   : "lmdb: larger than an eighth of the entries' map"};
}

}  // namespace

LmdbStore::LmdbStore(const Options& options, const Clock& clock)
    : options_(options),
      clock_(clock),
      access_(
          {options.directory, options.prefix, options.embedded_max_bytes, options.redis_timeout}) {}

int LmdbStore::ReadEntry(Session& session, std::string_view key, Instant now,
                         std::optional<StoredEntry>& entry) {
  MDB_txn* txn = nullptr;
  EntryTable::Found found;
  int code = session.Entries(txn);
  if (code == 0) code = session.generation().entries().Find(txn, key, now, found);
  if (code == 0) entry = StoredEntry{std::string(found.envelope), Remaining(found.deadline, now)};
  return code == MDB_NOTFOUND ? 0 : code;
}

Result<GetReply> LmdbStore::Get(std::string_view key, std::span<const Tag> tags) {
  const Instant now = clock_.Now();
  GetReply reply;
  const Status status = access_.Read([&](Session& session) {
    reply = NewReply<GetReply>(session.generation(), now);
    if (!tags.empty()) {
      MDB_txn* txn = nullptr;
      if (const int code = session.Tokens(txn); code != 0) return code;
      reply.tokens.resize(tags.size());
      for (std::size_t i = 0; i < tags.size(); ++i) {
        if (const int code = TokenTable::Find(txn, tags[i], now, reply.tokens[i]); code != 0) {
          return code;
        }
      }
    }
    return ReadEntry(session, key, now, reply.entry);
  });
  if (!status.ok()) return status;
  return reply;
}

Result<std::vector<GetReply>> LmdbStore::GetMany(std::span<const std::string> keys) {
  const Instant now = clock_.Now();
  std::vector<GetReply> replies;
  const Status status = access_.Read([&](Session& session) {
    replies.assign(keys.size(), NewReply<GetReply>(session.generation(), now));
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (const int code = ReadEntry(session, keys[i], now, replies[i].entry); code != 0) {
        return code;
      }
    }
    return 0;
  });
  if (!status.ok()) return status;
  return replies;
}

Result<TokensReply> LmdbStore::Tokens(std::span<const Tag> tags) {
  const Instant now = clock_.Now();
  TokensReply reply;
  const Status status = access_.Read([&](Session& session) {
    reply = NewReply<TokensReply>(session.generation(), now);
    MDB_txn* txn = nullptr;
    if (const int code = session.Tokens(txn); code != 0) return code;
    reply.tokens.resize(tags.size());
    for (std::size_t i = 0; i < tags.size(); ++i) {
      if (const int code = TokenTable::Find(txn, tags[i], now, reply.tokens[i]); code != 0) {
        return code;
      }
    }
    return 0;
  });
  if (!status.ok()) return status;
  return reply;
}

int LmdbStore::ReadMint(Session& session, std::span<const Tag> tags,
                        std::span<const SchemeRequest> schemes, TokensReply& reply,
                        bool& complete) {
  MDB_txn* txn = nullptr;
  if (const int code = session.Tokens(txn); code != 0) return code;
  complete = true;
  for (const SchemeRequest& request : schemes) {
    Schemes present;
    if (const int code = TokenTable::FindSchemes(txn, request.table, present); code != 0) {
      return code;
    }
    complete = complete && std::ranges::count(present.columns, request.columns) > 0;
  }
  reply.tokens.resize(tags.size());
  for (std::size_t i = 0; complete && i < tags.size(); ++i) {
    if (const int code = TokenTable::Find(txn, tags[i], reply.sent, reply.tokens[i]); code != 0) {
      return code;
    }
    complete = !TokenTable::NeedsMint(reply.tokens[i], options_.token_ttl);
    if (complete || reply.tokens[i].token == kNoToken) continue;
    // One that is marked ends with the mark, and nothing here prolongs it.
    Instant marked;
    const int code = TokenTable::NearestMark(txn, tags[i], reply.sent, marked);
    if (code != 0) return code;
    complete = marked != kNever;
  }
  return 0;
}

int LmdbStore::WriteMint(MDB_txn* txn, std::span<const Tag> tags,
                         std::span<const SchemeRequest> schemes, Instant now,
                         std::vector<TokenReply>& tokens) {
  for (const SchemeRequest& request : schemes) {
    Schemes present;
    int code = TokenTable::FindSchemes(txn, request.table, present);
    // Nobody knows who held condition tokens under a set that is gone.
    if (code == 0 && present.version == 0) code = TokenTable::Drop(txn, request.condition_bulk);
    if (code != 0) return code;
    if (std::ranges::count(present.columns, request.columns) > 0) continue;
    // Writers that have marked did not know of this combination.
    Instant marked = kNever;
    code = TokenTable::NearestMark(txn, request.condition_bulk, now, marked);
    if (code == 0) code = TokenTable::Shorten(txn, request.condition_bulk, marked);
    if (code != 0) return code;
    present.version = RandomU64();
    present.columns.push_back(request.columns);
    code = TokenTable::StoreSchemes(txn, request.table, present);
    if (code != 0) return code;
  }
  tokens.resize(tags.size());
  bool wrote = false;
  for (std::size_t i = 0; i < tags.size(); ++i) {
    const int code = TokenTable::Mint(txn, tags[i], now, options_.token_ttl, tokens[i], wrote);
    if (code != 0) return code;
  }
  return 0;
}

Result<TokensReply> LmdbStore::Mint(std::span<const Tag> tags,
                                    std::span<const SchemeRequest> schemes) {
  const Instant now = clock_.Now();
  TokensReply reply;
  bool complete = false;
  Status status = access_.Read([&](Session& session) {
    reply = NewReply<TokensReply>(session.generation(), now);
    return ReadMint(session, tags, schemes, reply, complete);
  });
  if (!status.ok()) return status;
  if (complete) return reply;
  status = access_.Write(Gates::kTokens, [&](Generation& generation) {
    int code = 0;
    const auto write = [&](MDB_txn* txn) {
      return WriteMint(txn, tags, schemes, now, reply.tokens);
    };
    if (schemes.empty()) {
      code = Access::Transact(generation.tokens(), now, write);
    } else {  // may drop a condition-bulk tag
      const Change change(*generation.control());
      code = Access::Transact(generation.tokens(), now, write);
    }
    auto tokens = std::move(reply.tokens);
    reply = NewReply<TokensReply>(generation, now);  // under the gate: as the transaction left it
    reply.tokens = std::move(tokens);
    return code;
  });
  if (!status.ok()) return status;
  return reply;
}

int LmdbStore::ReadBegin(Session& session, std::string_view key, std::uint64_t lock_owner,
                         BeginReply& reply, bool& complete) {
  MDB_txn* txn = nullptr;
  const Tag tag = KeyTag(key);
  if (const int code = session.Tokens(txn); code != 0) return code;
  if (const int code = TokenTable::Find(txn, tag, reply.sent, reply.key_token); code != 0) {
    return code;
  }
  std::uint64_t holder = 0;
  Instant deadline{};
  if (lock_owner != 0) {
    const int code = TokenTable::FindLock(txn, LockKind::kEntry, tag, reply.sent, holder, deadline);
    if (code != 0) return code;
  }
  reply.locked = lock_owner == 0;
  const bool lock_free = lock_owner != 0 && (holder == 0 || holder == lock_owner);
  complete = !lock_free && !TokenTable::NeedsMint(reply.key_token, options_.token_ttl);
  return complete ? ReadEntry(session, key, reply.sent, reply.entry) : 0;
}

Result<BeginReply> LmdbStore::Begin(std::string_view key, std::uint64_t lock_owner,
                                    Duration lease) {
  const Instant now = clock_.Now();
  BeginReply reply;
  bool complete = false;
  Status status = access_.Read([&](Session& session) {
    reply = NewReply<BeginReply>(session.generation(), now);
    return ReadBegin(session, key, lock_owner, reply, complete);
  });
  if (!status.ok()) return status;
  if (complete) return reply;
  status = access_.Write(Gates::kTokens, [&](Generation& generation) {
    reply = NewReply<BeginReply>(generation, now);
    const int code = Access::Transact(generation.tokens(), now, [&](MDB_txn* txn) {
      const Tag tag = KeyTag(key);
      bool wrote = false;
      int result = TokenTable::Mint(txn, tag, now, options_.token_ttl, reply.key_token, wrote);
      reply.locked = lock_owner == 0;
      if (result != 0 || lock_owner == 0) return result;
      std::uint64_t holder = 0;
      Instant deadline{};
      result = TokenTable::FindLock(txn, LockKind::kEntry, tag, now, holder, deadline);
      if (result != 0 || (holder != 0 && holder != lock_owner)) return result;
      reply.locked = true;
      return TokenTable::StoreLock(txn, LockKind::kEntry, tag, lock_owner, After(now, lease));
    });
    if (code != 0) return code;
    return access_.ReadWithin(generation, [&](Session& session) {
      reply.entry.reset();
      return ReadEntry(session, key, now, reply.entry);
    });
  });
  if (!status.ok()) return status;
  return reply;
}

Status LmdbStore::ReleaseLock(std::string_view key, std::uint64_t owner) {
  const Instant now = clock_.Now();
  const Tag tag = KeyTag(key);
  return access_.Write(Gates::kTokens, [&](Generation& generation) {
    bool released = false;
    const int code = Access::Transact(generation.tokens(), now, [&](MDB_txn* txn) {
      std::uint64_t holder = 0;
      Instant deadline{};
      const int found = TokenTable::FindLock(txn, LockKind::kEntry, tag, now, holder, deadline);
      released = found == 0 && holder == owner;
      return released ? TokenTable::DropLock(txn, LockKind::kEntry, tag) : found;
    });
    if (code == 0 && released) generation.control()->AnnounceUnlock(tag);
    return code;
  });
}

Result<bool> LmdbStore::Fill(const FillRequest& request) {
  const Instant now = clock_.Now();
  bool stored = false, too_large = false, no_room = false;
  Status status;
  if (!request.envelope.empty()) {
    status = access_.Write(Gates::kEntries, [&](Generation& generation) {
      stored = false;
      too_large = request.envelope.size() > generation.entries().max_bytes();
      if (too_large) return 0;
      TokenReply present;
      int code = access_.ReadWithin(generation, [&](Session& session) {
        MDB_txn* txn = nullptr;
        const int begun = session.Tokens(txn);
        return begun != 0 ? begun : TokenTable::Find(txn, KeyTag(request.key), now, present);
      });
      if (code != 0 || present.token == kNoToken || present.token != request.key_token) return code;
      // Whoever drops the token after this look does it before the entry counts as anything:
      // explicit stores need the gate that is held here, and bumps leave an entry that carries the
      // token dead.
      code = Access::Transact(generation.entries(), [&](MDB_txn* txn) {
        return generation.entries().Store(txn, request.key, request.envelope,
                                          After(now, request.ttl), now);
      });
      stored = code == 0;
      // Nothing has changed: no reason to give up what else is there.
      no_room = IsTooMuchForTheDisk(code, request.envelope);
      return no_room ? 0 : code;
    });
  }
  if (request.lock_owner != 0) {
    const Status released = ReleaseLock(request.key, request.lock_owner);
    if (request.envelope.empty()) status = released;  // else the lease ends by itself
  }
  if (!status.ok()) return status;
  if (too_large || no_room) return NotKept(no_room);
  return request.envelope.empty() || stored;
}

Result<bool> LmdbStore::RenewLock(std::string_view key, std::uint64_t lock_owner, Duration lease) {
  const Instant now = clock_.Now();
  bool renewed = false;
  const Status status = access_.Write(Gates::kTokens, [&](Generation& generation) {
    return Access::Transact(generation.tokens(), now, [&](MDB_txn* txn) {
      std::uint64_t holder = 0;
      Instant deadline{};
      const Tag tag = KeyTag(key);
      const int code = TokenTable::FindLock(txn, LockKind::kEntry, tag, now, holder, deadline);
      renewed = code == 0 && holder == lock_owner && holder != 0;
      return renewed
                 ? TokenTable::StoreLock(txn, LockKind::kEntry, tag, lock_owner, After(now, lease))
                 : code;
    });
  });
  if (!status.ok()) return status;
  return renewed;
}

Result<bool> LmdbStore::AwaitUnlock(std::string_view key, Duration timeout) {
  const Tag tag = KeyTag(key);
  const Instant end = After(clock_.Now(), timeout);
  for (;;) {
    const Instant now = clock_.Now();
    std::uint64_t holder = 0;
    Instant deadline{};
    std::shared_ptr<Control> control;
    std::uint32_t seen = 0;
    const Status status = access_.Read([&](Session& session) {
      control = session.generation().control();
      seen = control->UnlockCount(tag);  // before the look at the lock
      MDB_txn* txn = nullptr;
      const int code = session.Tokens(txn);
      return code != 0 ? code
                       : TokenTable::FindLock(txn, LockKind::kEntry, tag, now, holder, deadline);
    });
    if (!status.ok()) return status;
    if (holder == 0) return true;
    if (now >= end) return false;
    control->AwaitUnlock(tag, seen, std::min({end - now, deadline - now, kRecheck}));
  }
}

template <class Keys>
int LmdbStore::DropKeyTokens(Generation& generation, Instant now, const Keys& keys) {
  return Access::Transact(generation.tokens(), now, [&](MDB_txn* txn) {
    for (const auto& key : keys) {
      if (const int code = TokenTable::Drop(txn, KeyTag(key)); code != 0) return code;
    }
    return 0;
  });
}

Status LmdbStore::Mark(std::uint64_t writer, Duration lease, std::span<const Tag> tags,
                       std::span<const SchemeKnowledge> schemes) {
  const Instant now = clock_.Now();
  const Instant deadline = After(now, lease);
  const auto mark = [&](MDB_txn* txn) {
    for (const Tag tag : tags) {
      int code = TokenTable::Mark(txn, tag, writer, now, deadline);
      if (code == 0) code = TokenTable::EndWithMarks(txn, tag, now);
      if (code != 0) return code;
    }
    for (const SchemeKnowledge& known : schemes) {
      Schemes present;
      int code = TokenTable::Mark(txn, known.condition_bulk, writer, now, deadline);
      if (code == 0) code = TokenTable::FindSchemes(txn, known.table, present);
      if (code == 0 && (present.version == 0 || present.version != known.version)) {
        code = TokenTable::EndWithMarks(txn, known.condition_bulk, now);
      }
      if (code != 0) return code;
    }
    return 0;
  };
  return access_.Write(Gates::kTokens, [&](Generation& generation) {
    // Slots hold the times that tokens had.
    const Change change(*generation.control());
    return Access::Transact(generation.tokens(), now, mark);
  });
}

Result<BumpReply> LmdbStore::Bump(std::span<const Tag> tags,
                                  std::span<const SchemeKnowledge> schemes, const Marks& marks) {
  const Instant now = clock_.Now();
  BumpReply reply;
  const auto bump = [&](MDB_txn* txn) {
    reply.schemes.clear();
    reply.also_bumped.clear();
    for (const Tag tag : tags) {
      if (const int code = TokenTable::Drop(txn, tag); code != 0) return code;
    }
    for (const SchemeKnowledge& known : schemes) {
      Schemes& present = reply.schemes.emplace_back();
      if (const int code = TokenTable::FindSchemes(txn, known.table, present); code != 0) {
        return code;
      }
      if (present.version != 0 && present.version == known.version) continue;
      reply.also_bumped.push_back(known.condition_bulk);
      if (const int code = TokenTable::Drop(txn, known.condition_bulk); code != 0) return code;
    }
    for (const Tag tag : marks.tags) {
      const int code = TokenTable::Unmark(txn, tag, marks.writer, now, options_.token_ttl);
      if (code != 0) return code;
    }
    return 0;
  };
  const Status status = access_.Write(Gates::kTokens, [&](Generation& generation) {
    int code = 0;
    {
      const Change change(*generation.control());
      code = Access::Transact(generation.tokens(), now, bump);
    }
    static_cast<Reply&>(reply) = NewReply<Reply>(generation, now);
    return code;
  });
  if (!status.ok()) return status;
  return reply;
}

Result<PutReply> LmdbStore::Put(std::string_view key, std::string_view envelope, Duration ttl,
                                PutCondition condition) {
  const Instant now = clock_.Now();
  PutReply reply;
  bool too_large = false, no_room = false;
  const Status status = access_.Write(Gates::kBoth, [&](Generation& generation) {
    EntryTable& entries = generation.entries();
    reply = NewReply<PutReply>(generation, now);
    too_large = envelope.size() > entries.max_bytes();
    std::optional<StoredEntry> present;
    if (condition != PutCondition::kAlways) {
      const int code = access_.ReadWithin(
          generation, [&](Session& session) { return ReadEntry(session, key, now, present); });
      const bool wrong = present.has_value() == (condition == PutCondition::kIfAbsent);
      if (code != 0 || wrong) return code;
    }
    int code = 0;
    {
      // The entry first: while its key's token stands nobody takes the old entry for the new one's,
      // and while the change is under way nobody trusts the counter.
      const Change change(*generation.control());
      if (!too_large) {
        code = Access::Transact(entries, [&](MDB_txn* txn) {
          return entries.Store(txn, key, envelope, After(now, ttl), now);
        });
        no_room = IsTooMuchForTheDisk(code, envelope);
      }
      if (too_large || no_room) {
        // The old one must not stand for what was to replace it.
        code = Access::Transact(entries, [&](MDB_txn* txn) {
          const int dropped = entries.Drop(txn, key);
          return dropped == MDB_NOTFOUND ? 0 : dropped;
        });
      }
      if (code == 0) code = DropKeyTokens(generation, now, std::array{key});
    }
    reply = NewReply<PutReply>(generation, now);
    reply.stored = code == 0;
    return code;
  });
  if (!status.ok()) return status;
  if ((too_large || no_room) && reply.stored) return NotKept(no_room);
  return reply;
}

Result<std::size_t> LmdbStore::Delete(std::span<const std::string> keys) {
  const Instant now = clock_.Now();
  std::size_t deleted = 0;
  const Status status = access_.Write(Gates::kBoth, [&](Generation& generation) {
    EntryTable& entries = generation.entries();
    const Change change(*generation.control());
    const int code = Access::Transact(entries, [&](MDB_txn* txn) {
      deleted = 0;
      for (const std::string& key : keys) {
        EntryTable::Found found;
        const int present = entries.Find(txn, key, now, found);
        if (present != 0 && present != MDB_NOTFOUND) return present;
        const int dropped = entries.Drop(txn, key);
        if (dropped != 0 && dropped != MDB_NOTFOUND) return dropped;
        deleted += present == 0 ? 1 : 0;
      }
      return 0;
    });
    return code != 0 ? code : DropKeyTokens(generation, now, keys);
  });
  if (!status.ok()) return status;
  return deleted;
}

Result<bool> LmdbStore::Touch(std::string_view key, Duration ttl) {
  const Instant now = clock_.Now();
  bool touched = false;
  const Status status = access_.Write(Gates::kBoth, [&](Generation& generation) {
    EntryTable& entries = generation.entries();
    std::optional<StoredEntry> present;
    int code = access_.ReadWithin(
        generation, [&](Session& session) { return ReadEntry(session, key, now, present); });
    touched = present.has_value();
    if (code != 0 || !touched) return code;
    const Change change(*generation.control());
    code = Access::Transact(entries, [&](MDB_txn* txn) {
      return entries.Store(txn, key, present->envelope, After(now, ttl), now);
    });
    return code != 0 ? code : DropKeyTokens(generation, now, std::array{key});
  });
  if (!status.ok()) return status;
  return touched;
}

Status LmdbStore::Clear() {
  const Instant now = clock_.Now();
  return access_.Write(Gates::kBoth, [&](Generation& generation) {
    const Change change(*generation.control());
    const int code = Access::Transact(generation.entries(), EntryTable::Clear);
    return code != 0 ? code : Access::Transact(generation.tokens(), now, TokenTable::Clear);
  });
}

Result<bool> LmdbStore::TryUserLock(std::string_view name, std::uint64_t owner, Duration lease) {
  const Instant now = clock_.Now();
  bool locked = false;
  const Status status = access_.Write(Gates::kTokens, [&](Generation& generation) {
    return Access::Transact(generation.tokens(), now, [&](MDB_txn* txn) {
      std::uint64_t holder = 0;
      Instant deadline{};
      const Tag tag = KeyTag(name);
      const int code = TokenTable::FindLock(txn, LockKind::kUser, tag, now, holder, deadline);
      locked = code == 0 && holder == 0;
      return locked ? TokenTable::StoreLock(txn, LockKind::kUser, tag, owner, After(now, lease))
                    : code;
    });
  });
  if (!status.ok()) return status;
  return locked;
}

Result<bool> LmdbStore::UserUnlock(std::string_view name, std::uint64_t owner) {
  const Instant now = clock_.Now();
  bool unlocked = false;
  const Status status = access_.Write(Gates::kTokens, [&](Generation& generation) {
    return Access::Transact(generation.tokens(), now, [&](MDB_txn* txn) {
      std::uint64_t holder = 0;
      Instant deadline{};
      const Tag tag = KeyTag(name);
      const int code = TokenTable::FindLock(txn, LockKind::kUser, tag, now, holder, deadline);
      unlocked = code == 0 && holder == owner && holder != 0;
      return unlocked ? TokenTable::DropLock(txn, LockKind::kUser, tag) : code;
    });
  });
  if (!status.ok()) return status;
  return unlocked;
}

std::optional<std::uint64_t> LmdbStore::ChangeCounter() {
  Control* const control = access_.control();
  // Retired files are noticed first: they keep the counter they had.
  return control != nullptr && control->Usable() ? control->Changes() : 0;
}

std::string LmdbStore::Describe() const {
  const auto name = FolderName(options_.prefix);
  return "lmdb:" + options_.directory + "/" + (name.ok() ? *name : "?");
}

}  // namespace smartcache::lmdb

namespace smartcache {

std::unique_ptr<Store> OpenLmdbStore(const Options& options, const Clock& clock) {
  return std::make_unique<lmdb::LmdbStore>(options, clock);
}

Status CheckLmdbFolder(const std::string& directory, std::string_view prefix) {
  return lmdb::Folder::Open(directory, prefix).status();
}

}  // namespace smartcache
