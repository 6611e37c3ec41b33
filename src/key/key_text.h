// Typed, injective text for plain values inside keys: 5, 'a b', True, 1.0, b'..', None. Whoever
// reads a key can tell the value and its type, and no value's text can run into its neighbour's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace smartcache {

void AppendInt(std::string& out, std::int64_t value);
// A decimal integer too large for 64 bits, digits with sign.
void AppendBigInt(std::string& out, std::string_view digits);
void AppendFloat(std::string& out, double value);
void AppendBool(std::string& out, bool value);
void AppendNone(std::string& out);
// UTF-8 (lone surrogates encoded as three bytes). Bare if it looks like a name, else quoted and
// escaped.
void AppendText(std::string& out, std::string_view utf8);
void AppendBytes(std::string& out, std::string_view bytes);

// Whether `next`, right after the text of some value, could be read as part of that text: what
// numbers, names, b'..', type<..> and app.Model#<pk> are made of. Texts from elsewhere (Python's
// identify) keep to this.
[[nodiscard]] bool MayContinueValue(char next);

}  // namespace smartcache
