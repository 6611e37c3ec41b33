#include "python/text_memo.h"

#include <array>
#include <cstddef>
#include <cstring>

#include "base/hash.h"
#include "python/scalars.h"

namespace smartcache::binding {
namespace {

// A place for each hash; the newest text has it. Together at most a tenth of a megabyte.
constexpr std::size_t kPlaces = 1024;
constexpr std::size_t kMaxBytes = 32;

bool Is(PyObject* text, std::string_view ascii) {
  return PyUnicode_IS_COMPACT_ASCII(text) &&
         static_cast<std::size_t>(PyUnicode_GET_LENGTH(text)) == ascii.size() &&
         std::memcmp(PyUnicode_DATA(text), ascii.data(), ascii.size()) == 0;
}

}  // namespace

Ref MemoText(std::string_view utf8) {
  static auto& places = *new std::array<Ref, kPlaces>();  // outlives the interpreter
  if (utf8.empty() || utf8.size() > kMaxBytes) return Ref::Steal(MakeText(utf8));
  Ref& place = places[Hash64(utf8) % kPlaces];
  if (place && Is(place.get(), utf8)) return place;
  Ref made = Ref::Steal(MakeText(utf8));
  if (made && PyUnicode_IS_COMPACT_ASCII(made.get())) place = made;
  return made;
}

}  // namespace smartcache::binding
