// The stored thing: a value with the evidence of its freshness.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "smartcache/clock.h"
#include "smartcache/result.h"
#include "smartcache/tag.h"

namespace smartcache {

// How a payload's bytes are to be read. The core carries it and does not interpret it.
enum class Codec : std::uint8_t {
  kNative = 1,  // entry/codec
  kPickle = 2,  // pickle protocol 5, read by the package
};
// Or-ed to the codec where the payload is compressed; which compressor is said in its first byte.
inline constexpr std::uint8_t kCompressed = 0x80;

// What is stored beside the payload, all under the authentication code.
struct EntryHeader {
  std::uint64_t epoch = 0;     // state of the store that the tokens belong to
  std::uint64_t identity = 0;  // fingerprint of the instances passed as arguments; 0: none
  Duration hard_ttl{};         // from storing; kNever: none
  Duration soft_ttl{};         // from storing; later reads get the value as stale. <= hard_ttl
  Duration cost{};             // how long the computation took
  std::uint8_t codec = 0;
  TagVector tags;
};

// An entry out of a store, decoded: views into the envelope it was decoded from.
struct EntryView {
  EntryHeader header;
  std::string_view key;
  std::string_view payload;
};

// 32 bytes, derived from SMARTCACHE_SECRET by the package.
using Secret = std::array<std::uint8_t, 32>;

// A secret made ready: saves two hash blocks of the five or so that a short entry takes. Made anew
// where a Secret is given.
struct EntryKey {
  EntryKey(const Secret& secret);  // NOLINT(google-explicit-constructor)
  std::array<std::uint32_t, 8> inner;
  std::array<std::uint32_t, 8> outer;
};

// Envelope of `payload` under `key`. Negative times count as 0; the cost is kept to the
// microsecond, everything else exactly. Cost: one pass over the bytes.
[[nodiscard]] std::string EncodeEntry(const EntryKey& secret, std::string_view key,
                                      const EntryHeader& header, std::string_view payload);

// Checks the authentication code over all bytes in constant time, then the structure, then that the
// key is `key`. kCorrupt for anything damaged, foreign, truncated, extended or of another format
// version; nothing is decoded before it is authenticated. The views point into `envelope`.
[[nodiscard]] Result<EntryView> DecodeEntry(const EntryKey& secret, std::string_view key,
                                            std::string_view envelope);

// What L1 keeps for a value. The core only destroys it, possibly on a thread without Python's lock.
class Value {
 public:
  virtual ~Value() = default;
  // Bytes to charge.
  [[nodiscard]] virtual std::size_t weight() const = 0;
  // What hits may share, as nobody can change it: kept beside the entry, so that they need not look
  // at this object, which costs a cache line. Null: there is no such thing.
  [[nodiscard]] virtual void* immutable() const { return nullptr; }
};

}  // namespace smartcache
