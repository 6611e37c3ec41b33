// A key template, compiled once: literals and fields, and for each field whether its rendering must
// be wrapped so that no two different calls share a key. Knows no Python: values arrive rendered
// (key_text.h).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace smartcache {

struct KeyPart {
  std::string literal;     // before the field
  bool has_field = false;  // false only for the last part
  std::size_t field = 0;   // index among the fields, in order of appearance
  bool wrapped = false;    // render as "(" value ")"
};

class KeyTemplate {
 public:
  // `literals` has one more member than there are fields: text before, between and after them.
  explicit KeyTemplate(const std::vector<std::string>& literals);
  [[nodiscard]] const std::vector<KeyPart>& parts() const { return parts_; }

 private:
  std::vector<KeyPart> parts_;
};

// Replaces a key longer than kMaxKeyBytes by its beginning and a 128-bit SHA-256 prefix of the
// whole.
inline constexpr std::size_t kMaxKeyBytes = 200;
void ShortenKey(std::string& key);

}  // namespace smartcache
