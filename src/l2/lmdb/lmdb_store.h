// The Store on LMDB, for the processes of one machine: cache.h, OpenLmdbStore. Tokens and entries
// have an environment each, so that a bump never waits for the eviction of entries.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "l2/lmdb/access.h"
#include "smartcache/options.h"
#include "smartcache/store.h"

namespace smartcache::lmdb {

class LmdbStore final : public Store {
 public:
  // `options.directory` has been checked (Folder::Open). Files are opened by the first call.
  LmdbStore(const Options& options, const Clock& clock);

  Result<GetReply> Get(std::string_view key, std::span<const Tag> tags) override;
  Result<std::vector<GetReply>> GetMany(std::span<const std::string> keys) override;
  Result<TokensReply> Tokens(std::span<const Tag> tags) override;
  Result<TokensReply> Mint(std::span<const Tag> tags,
                           std::span<const SchemeRequest> schemes) override;
  Result<BeginReply> Begin(std::string_view key, std::uint64_t lock_owner, Duration lease) override;
  Result<bool> Fill(const FillRequest& request) override;
  Result<bool> RenewLock(std::string_view key, std::uint64_t lock_owner, Duration lease) override;
  Result<bool> AwaitUnlock(std::string_view key, Duration timeout) override;
  Status Mark(std::uint64_t writer, Duration lease, std::span<const Tag> tags,
              std::span<const SchemeKnowledge> schemes) override;
  using Store::Bump;
  Result<BumpReply> Bump(std::span<const Tag> tags, std::span<const SchemeKnowledge> schemes,
                         const Marks& marks) override;
  Result<PutReply> Put(std::string_view key, std::string_view envelope, Duration ttl,
                       PutCondition condition) override;
  Result<std::size_t> Delete(std::span<const std::string> keys) override;
  Result<bool> Touch(std::string_view key, Duration ttl) override;
  Status Clear() override;
  Result<bool> TryUserLock(std::string_view name, std::uint64_t owner, Duration lease) override;
  Result<bool> UserUnlock(std::string_view name, std::uint64_t owner) override;
  std::optional<std::uint64_t> ChangeCounter() override;
  bool Available() override { return access_.Available(); }
  // Nothing to do: what belongs to the parent is left alone and opened anew by the child's first
  // call, whether or not this is called. Its file handles stay open: closing one of LMDB's later
  // would drop the locks that the child holds by then on the same file.
  void AfterFork() override {}
  [[nodiscard]] std::string Describe() const override;

 private:
  // Reads what Begin and Mint answer; `complete` false when they have to write first.
  int ReadBegin(Session& session, std::string_view key, std::uint64_t lock_owner, BeginReply& reply,
                bool& complete);
  int ReadMint(Session& session, std::span<const Tag> tags, std::span<const SchemeRequest> schemes,
               TokensReply& reply, bool& complete);
  int WriteMint(MDB_txn* txn, std::span<const Tag> tags, std::span<const SchemeRequest> schemes,
                Instant now, std::vector<TokenReply>& tokens);
  int ReadEntry(Session& session, std::string_view key, Instant now,
                std::optional<StoredEntry>& entry);
  // Drops the tokens of these keys' own tags.
  template <class Keys>
  int DropKeyTokens(Generation& generation, Instant now, const Keys& keys);
  Status ReleaseLock(std::string_view key, std::uint64_t owner);

  const Options options_;
  const Clock& clock_;
  Access access_;
};

}  // namespace smartcache::lmdb
