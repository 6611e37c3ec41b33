// The store on Redis >= 7.0 or Valkey. Each call is one round trip (in a cluster: one to each
// server concerned, at the same time), bounded by Options::redis_timeout; AwaitUnlock and Clear
// make several.
//
// Atomicity: what store.h asks to be atomic is one Lua script within one bucket. Tokens are decimal
// text, which Redis keeps as integers without memory of their own.
//
// Methods are in redis_store.cpp (entries), redis_store_tokens.cpp and redis_store_locks.cpp.
//
// Clear scans for the keys of the prefix and deletes them. SCAN returns every key that is there
// throughout, so all that was stored before Clear began is gone when it returns. What a computation
// begun before stores meanwhile is unreadable: its vector holds its key's token, which was there
// and is gone. So no epoch of our own is needed, and no read pays for Clear.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "l2/redis/keys.h"
#include "l2/redis/peers.h"
#include "l2/redis/servers.h"
#include "smartcache/options.h"
#include "smartcache/store.h"

namespace smartcache::redis {

class RedisStore final : public Store {
 public:
  struct Config {
    std::string prefix;
    std::string channel;
    bool sharded_channels = false;  // one for each bucket, as a cluster wants it
    Duration token_ttl{};
    Duration timeout{};               // of one step of Clear
    bool token_ttls = true;           // read with the tokens; what is kept nowhere needs none
    std::size_t max_entry_bytes = 0;  // what Get reads of an entry at most
    std::string description;
  };
  RedisStore(Config config, std::shared_ptr<Servers> servers, std::shared_ptr<Peers> peers,
             const Clock& clock);

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
  bool Available() override { return servers_->Available(); }
  void AfterFork() override;
  [[nodiscard]] std::string Describe() const override { return config_.description; }

 private:
  // The publish command and channel for a message about `bucket`, as two arguments.
  void AddChannel(Batch& batch, unsigned bucket) const;
  // The same and the message that `tags` were dropped, three arguments in all.
  void AddAnnouncement(Batch& batch, unsigned bucket, std::span<const Tag> tags) const;
  // The command that releases the lock of `key`, held by `owner`.
  void AddUnlock(Batch& batch, Tag tag, std::string_view key, std::string_view owner) const;
  // Deletes `keys` by one script call for each group; counts those that were there.
  [[nodiscard]] Status DeleteKeys(Batch& batch, std::span<const std::string_view> keys,
                                  std::size_t& count);

  const Config config_;
  const Keys keys_;
  const std::shared_ptr<Servers> servers_;
  const std::shared_ptr<Peers> peers_;
  const Clock& clock_;
};

}  // namespace smartcache::redis
