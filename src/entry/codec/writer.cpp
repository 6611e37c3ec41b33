#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/hash.h"
#include "entry/codec/heads.h"

namespace smartcache::codec {
namespace {

// Slots of the table of shared texts: enough for the names of one instance, then for much more.
constexpr std::size_t kFewSlots = 64;
constexpr std::size_t kManySlots = 2048;

}  // namespace

void Writer::Reset() {
  size_ = 0;
  nesting_.Reset();
  shared_.clear();
  shared_count_ = 0;
  free_cells_ = kFreeCells;
  *Room(1) = static_cast<char>(kFormat);
  size_ = 1;
}

std::string Writer::Take() {
  if (!nesting_.complete()) return {};
  std::string payload(out_.data(), size_);
  return payload;
}

char* Writer::Room(std::size_t bytes) {
  if (out_.size() - size_ < bytes) out_.resize(std::max(2 * out_.size(), size_ + bytes + 256));
  return out_.data() + size_;
}

char* Writer::Head(Type type, std::size_t room) {
  if (!nesting_.Value()) return nullptr;
  char* at = Room(1 + room);
  *at = HeadOf(type);
  return at + 1;
}

bool Writer::TakeFreeCells(std::size_t cells) {
  if (free_cells_ < cells) return false;
  free_cells_ -= cells;
  return true;
}

void Writer::WriteNone() {
  if (char* at = Head(Type::kNone, 0)) Used(at);
}

void Writer::WriteBool(bool value) {
  if (char* at = Head(Type::kBool, 0)) {
    if (value) at[-1] = HeadOf(Type::kBool, kSecondForm);
    Used(at);
  }
}

void Writer::WriteInt(std::int64_t value) {
  char* at = Head(Type::kInt, kMaxVarintBytes);
  if (at == nullptr) return;
  if (static_cast<std::uint64_t>(value) < kShort) {
    at[-1] = static_cast<char>(value);
    Used(at);
  } else {
    Used(PutVarint(at, ZigzagOf(value)));
  }
}

void Writer::WriteBigInt(bool negative, std::string_view magnitude) {
  char* at = Head(Type::kBigInt, kMaxVarintBytes + magnitude.size());
  if (at == nullptr) return;
  at = PutVarint(at, magnitude.size() << 1 | (negative ? 1 : 0));
  Used(std::copy(magnitude.begin(), magnitude.end(), at));
}

void Writer::WriteFloat(double value) {
  if (char* at = Head(Type::kFloat, sizeof value)) Used(PutFixed(at, value));
}

void Writer::WriteText(std::string_view utf8) {
  if (nesting_.Value()) PutText(utf8);
}

void Writer::PutText(std::string_view utf8) {
  char* at = Room(1 + kMaxVarintBytes + utf8.size());
  if (utf8.size() >= kShort) {
    *at = HeadOf(Type::kText);
    at = PutVarint(at + 1, utf8.size());
    Used(std::copy(utf8.begin(), utf8.end(), at));
    return;
  }
  if (!utf8.empty()) {
    if (shared_count_ >= shared_.size() / 2) GrowShared();
    SharedText& known = shared_[Hash64(utf8) & (shared_.size() - 1)];
    // A reference longer than the text would be (a letter, after many other texts) is not worth it.
    const bool shorter = known.index < kShort || utf8.size() > 3;
    if (known.length == utf8.size() && shorter &&
        std::memcmp(out_.data() + known.offset, utf8.data(), utf8.size()) == 0) {
      if (known.index < kShort) {
        *at = static_cast<char>(kSharedText + known.index);
        Used(at + 1);
      } else {
        *at = HeadOf(Type::kText, kSecondForm);
        Used(PutVarint(at + 1, known.index));
      }
      return;
    }
    if (size_ < UINT32_MAX) {
      known = {static_cast<std::uint32_t>(size_ + 1), static_cast<std::uint32_t>(utf8.size()),
               shared_count_};
    }
    ++shared_count_;
  }
  *at = static_cast<char>(kShortText + utf8.size());
  Used(std::copy(utf8.begin(), utf8.end(), at + 1));
}

void Writer::GrowShared() {
  if (shared_.size() == kManySlots) return;
  const std::vector<SharedText> before = std::move(shared_);
  shared_.assign(before.empty() ? kFewSlots : kManySlots, {});
  for (const SharedText& text : before) {
    if (text.length == 0) continue;
    const std::string_view bytes(out_.data() + text.offset, text.length);
    shared_[Hash64(bytes) & (shared_.size() - 1)] = text;
  }
}

void Writer::WriteBytes(std::string_view bytes) {
  char* at = Head(Type::kBytes, kMaxVarintBytes + bytes.size());
  if (at == nullptr) return;
  Used(std::copy(bytes.begin(), bytes.end(), PutVarint(at, bytes.size())));
}

void Writer::WriteDate(std::int64_t days) {
  if (char* at = Head(Type::kDate, kMaxVarintBytes)) Used(PutVarint(at, ZigzagOf(days)));
}

void Writer::PutZone(const Zone& zone) {
  if (zone.kind == ZoneKind::kOffset) {
    Used(PutVarint(Room(kMaxVarintBytes), ZigzagOf(zone.offset_us)));
  } else if (zone.kind == ZoneKind::kNamed) {
    PutText(zone.name.bytes);
  }
}

void Writer::WriteDateTime(const DateTime& value) {
  char* at = Head(Type::kDateTime, 1 + kMaxVarintBytes);
  if (at == nullptr) return;
  *at = TimeFlags(value.zone, value.fold);
  Used(PutVarint(at + 1, ZigzagOf(value.micros)));
  PutZone(value.zone);
}

void Writer::WriteTime(const Time& value) {
  char* at = Head(Type::kTime, 1 + kMaxVarintBytes);
  if (at == nullptr) return;
  *at = TimeFlags(value.zone, value.fold);
  Used(PutVarint(at + 1, ZigzagOf(value.micros)));
  PutZone(value.zone);
}

void Writer::WriteTimeDelta(const TimeDelta& value) {
  char* at = Head(Type::kTimeDelta, 3 * kMaxVarintBytes);
  if (at == nullptr) return;
  at = PutVarint(at, ZigzagOf(value.days));
  at = PutVarint(at, static_cast<std::uint32_t>(value.seconds));
  Used(PutVarint(at, static_cast<std::uint32_t>(value.micros)));
}

void Writer::WriteDecimal(std::string_view text) {
  char* at = Head(Type::kDecimal, kMaxVarintBytes + text.size());
  if (at == nullptr) return;
  Used(std::copy(text.begin(), text.end(), PutVarint(at, text.size())));
}

void Writer::WriteUuid(const Uuid& value) {
  if (char* at = Head(Type::kUuid, value.size())) Used(std::copy(value.begin(), value.end(), at));
}

void Writer::WriteBackRef(std::uint64_t number) {
  if (char* at = Head(Type::kBackRef, kMaxVarintBytes)) Used(PutVarint(at, number));
}

void Writer::Open(Type type, std::size_t count, std::size_t members) {
  char* at = Head(type, kMaxVarintBytes);
  if (at != nullptr && nesting_.Open(members)) Used(PutVarint(at, count));
}

void Writer::WriteTagged(std::uint8_t tag) {
  char* at = Head(Type::kTagged, 1);
  if (at == nullptr || !nesting_.Open(1)) return;
  *at = static_cast<char>(tag);
  Used(at + 1);
}

void Writer::PutNames(const std::vector<Text>& names) {
  Used(PutVarint(Room(kMaxVarintBytes), names.size()));
  for (const Text& name : names) PutText(name.bytes);
}

void Writer::WriteRows(const RowsHeader& header) {
  char* at = Head(Type::kRows, 1);
  const std::size_t columns = header.fields.size() + header.related.size();
  if (at == nullptr || !nesting_.OpenRows(columns, header.count)) return;
  *at = static_cast<char>(header.flags);
  Used(at + 1);
  PutText(header.label.bytes);
  PutText(header.alias.bytes);
  PutNames(header.fields);
  PutNames(header.related);
  Used(PutVarint(Room(kMaxVarintBytes), header.count));
  if (columns == 0 && !TakeFreeCells(header.count)) nesting_.Fail();
}

}  // namespace smartcache::codec
