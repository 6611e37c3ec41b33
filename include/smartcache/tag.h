// A tag is a thing an answer can depend on: a table, a row, a column condition, a name the user
// chose, or an entry's own key. It is known by 64 bits: the upper 8 are its bucket, the lower 56 a
// hash of its name. A collision invalidates too much, never too little.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace smartcache {

using Tag = std::uint64_t;
// A tag's random version in the store. Never a counter, never a clock. 0 means "none".
using Token = std::uint64_t;
inline constexpr Token kNoToken = 0;

struct TagToken {
  Tag tag = 0;
  Token token = kNoToken;
  friend bool operator==(const TagToken&, const TagToken&) = default;
};
using TagVector = std::vector<TagToken>;

// Letters are part of the hashed name and of nothing else.
enum class TagKind : char {
  kTable = 't',  // every write to the table
  kBulk = 'b',   // writes whose rows are not known; on every entry of row precision
  kConditionBulk =
      'q',           // writes whose row images are not known; on every entry of condition precision
  kRow = 'r',        // one row, by primary key
  kCondition = 'c',  // a conjunction of column equalities
  kUser = 'u',       // a name the user chose
};

// The tag of `detail` in `scope`. All tags of one scope share a bucket, so that one script call can
// bump them atomically. Scope is the database's identity and the table for kTable..kCondition
// (detail: the primary key or the condition, else empty), the name itself for kUser.
[[nodiscard]] Tag MakeTag(TagKind kind, std::string_view scope, std::string_view detail);

// The tag of an entry's own key. Also the hash by which L1 and the flights find the key.
[[nodiscard]] Tag KeyTag(std::string_view key);

// 0..255.
[[nodiscard]] constexpr unsigned BucketOf(Tag tag) { return static_cast<unsigned>(tag >> 56); }

}  // namespace smartcache
