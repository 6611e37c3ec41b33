// Between the store's values and the protocol: numbers as text, times to live, tokens, entries.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "l2/redis/batch.h"
#include "l2/redis/grouped.h"
#include "l2/redis/keys.h"
#include "smartcache/store.h"

namespace smartcache::redis {

// The calling thread's buffer for requests, empty; and emptied again, so that a thread that has
// nothing to do keeps no replies. Calls of the store do not nest.
class BorrowedBatch {
 public:
  BorrowedBatch();
  ~BorrowedBatch();
  BorrowedBatch(const BorrowedBatch&) = delete;
  BorrowedBatch& operator=(const BorrowedBatch&) = delete;
  operator Batch&() const { return batch_; }  // NOLINT(google-explicit-constructor)

 private:
  Batch& batch_;
};

// A reply that is an error, or none that the command can have.
[[nodiscard]] Status Unexpected(const valkeyReply& reply);

// A number as the text of an argument.
struct Decimal {
  explicit Decimal(std::int64_t number)
      : size(static_cast<std::size_t>(std::to_chars(text, text + sizeof text, number).ptr - text)) {
  }
  operator std::string_view() const { return {text, size}; }  // NOLINT(google-explicit-constructor)
  char text[24];
  std::size_t size;
};

// Tokens, owners, versions: signed, so that Redis can keep them as integers.
[[nodiscard]] inline Decimal Number(std::uint64_t value) {
  return Decimal(static_cast<std::int64_t>(value));
}
[[nodiscard]] std::optional<std::uint64_t> ParseNumber(std::string_view text);

// A time in milliseconds. Less than one counts as one: Redis takes no zero.
[[nodiscard]] std::int64_t Millis(Duration span);
// The argument for a time to live: empty for none.
void AddTtl(Batch& batch, Duration ttl);
inline constexpr long long kNoExpiry = -1, kNoKey = -2;  // as PTTL says it
[[nodiscard]] Duration ReadTtl(const valkeyReply& reply);

// A token that is none of ours reads as missing.
[[nodiscard]] Token ReadToken(const valkeyReply& reply);
// The entry out of its TTL and value. A key of another type, which is none of ours, is a miss.
[[nodiscard]] std::optional<StoredEntry> ReadEntry(const valkeyReply& ttl,
                                                   const valkeyReply& value);
[[nodiscard]] Result<bool> ReadBool(const valkeyReply& reply);
void SetHead(Reply& reply, const Batch& batch);

// PTTL of each token where wanted, then MGET of them, for each part.
void AddTokenReads(Batch& batch, const Keys& keys, std::span<const Tag> tags, const Grouped& parts,
                   bool ttls);
// The replies to AddTokenReads, from reply `at` on.
[[nodiscard]] Status ReadTokens(const Batch& batch, std::size_t at, const Grouped& parts, bool ttls,
                                std::vector<TokenReply>& tokens);

}  // namespace smartcache::redis
