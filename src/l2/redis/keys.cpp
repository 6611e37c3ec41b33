#include "l2/redis/keys.h"

namespace smartcache::redis {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

struct TagText {
  explicit TagText(Tag tag) {
    for (int i = 15; i >= 0; --i, tag >>= 4) text[i] = kHexDigits[tag & 15];
  }
  [[nodiscard]] std::string_view view() const { return {text, sizeof text}; }
  char text[16];
};

}  // namespace

Keys::Keys(std::string_view prefix) : prefix_(prefix) {
  for (unsigned bucket = 0; bucket < kBuckets; ++bucket) {
    heads_[bucket] = prefix_ + ":" + HashTag(bucket) + ":";
  }
}

void Keys::Entry(Batch& batch, Tag key_tag, std::string_view key) const {
  batch.Arg(heads_[BucketOf(key_tag)], "e:", key);
}

void Keys::Lock(Batch& batch, Tag key_tag, std::string_view key) const {
  batch.Arg(heads_[BucketOf(key_tag)], "l:", key);
}

void Keys::UserLock(Batch& batch, Tag name_tag, std::string_view name) const {
  batch.Arg(heads_[BucketOf(name_tag)], "u:", name);
}

void Keys::Token(Batch& batch, Tag tag) const {
  batch.Arg(heads_[BucketOf(tag)], "t:", TagText(tag).view());
}

void Keys::Marks(Batch& batch, Tag tag) const {
  batch.Arg(heads_[BucketOf(tag)], "m:", TagText(tag).view());
}

void Keys::SchemeSet(Batch& batch, Tag table) const {
  batch.Arg(heads_[BucketOf(table)], "s:", TagText(table).view());
}

std::string Keys::Probe(unsigned bucket) const { return heads_[bucket] + "probe"; }

std::string Keys::ClearPattern() const {
  std::string pattern;
  for (char c : prefix_) {
    if (std::string_view("*?[]\\^").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern + ":{b[0-9a-f][0-9a-f]}:[ets]:*";
}

std::string Keys::HashTag(unsigned bucket) {
  return {'{', 'b', kHexDigits[bucket >> 4 & 15], kHexDigits[bucket & 15], '}'};
}

}  // namespace smartcache::redis
