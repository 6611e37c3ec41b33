#include "key/key_plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "key/key_text.h"

namespace smartcache {
namespace {

std::vector<bool> Wrapped(const std::vector<std::string>& literals) {
  std::vector<bool> wrapped;
  const KeyTemplate compiled(literals);
  for (const KeyPart& part : compiled.parts()) {
    if (part.has_field) wrapped.push_back(part.wrapped);
  }
  return wrapped;
}

TEST(KeyTemplate, KeepsLiteralsAndNumbersFields) {
  const KeyTemplate compiled({"user:", ":", ""});
  ASSERT_EQ(compiled.parts().size(), 3u);
  EXPECT_EQ(compiled.parts()[1].literal, ":");
  EXPECT_EQ(compiled.parts()[1].field, 1u);
  EXPECT_TRUE(compiled.parts()[1].has_field);
  EXPECT_FALSE(compiled.parts()[2].has_field);
}

TEST(KeyTemplate, WrapsAFieldThatCouldRunIntoWhatFollows) {
  using Flags = std::vector<bool>;
  EXPECT_EQ(Wrapped({"user:", ":profile"}), Flags{false});
  EXPECT_EQ(Wrapped({"user:", ""}), Flags{false});
  EXPECT_EQ(Wrapped({"user:", "x"}), Flags{true});
  EXPECT_EQ(Wrapped({"", ".json"}), Flags{true});
  EXPECT_EQ(Wrapped({"", "", ""}), (Flags{true, false}));
  EXPECT_EQ(Wrapped({"", "-", "/"}), (Flags{true, false}));
  EXPECT_EQ(Wrapped({"plain"}), Flags{});
}

// A value as text and what tells it from all others.
struct Value {
  std::string text;
  std::string identity;
};

// Values and literals out of a few characters that mean something in keys, so that a rendering
// which is not injective is found out by chance.
class Keys {
 public:
  explicit Keys(unsigned seed) : random_(seed) {}

  Value Draw(int depth = 0) {
    Value value;
    switch (Pick(depth < 2 ? 10 : 7)) {
      case 0: {
        const auto number = static_cast<std::int64_t>(Pick(12)) - 2;
        AppendInt(value.text, number);
        value.identity = "int " + std::to_string(number);
        break;
      }
      case 1: {
        const double numbers[] = {1, 1.5, -1, 1e16, 11, 0.1, HUGE_VAL};
        const double number = numbers[Pick(7)];
        AppendFloat(value.text, number);
        value.identity = "float " + std::to_string(number);
        break;
      }
      case 2: {
        const std::string bytes = Characters(3);
        AppendBytes(value.text, bytes);
        value.identity = "bytes " + bytes;
        break;
      }
      case 3:
        AppendNone(value.text);
        value.identity = "none";
        break;
      case 7:
      case 8: {
        value.text = "(";
        value.identity = "tuple(";
        const std::size_t count = Pick(3);
        for (std::size_t i = 0; i < count; ++i) {
          const Value member = Draw(depth + 1);
          value.text += (i > 0 ? "," : "") + member.text;
          value.identity += std::to_string(member.identity.size()) + ":" + member.identity;
        }
        value.text += ')';
        break;
      }
      case 9: {  // as Python's identify renders an instance
        const Value pk = Draw(2);
        value.text = "a.M#" + pk.text;
        value.identity = "instance " + pk.identity;
        break;
      }
      default: {
        const std::string text = Characters(4);
        AppendText(value.text, text);
        value.identity = "text " + text;
      }
    }
    return value;
  }

  std::string Characters(std::size_t most) {
    constexpr std::string_view kCharacters = "ab1e.-'%(),#<N";
    std::string text;
    for (std::size_t left = Pick(most + 1); left > 0; --left) {
      text += kCharacters[Pick(kCharacters.size())];
    }
    return text;
  }

  std::size_t Pick(std::size_t bound) { return random_() % bound; }

 private:
  std::mt19937 random_;
};

TEST(KeyTemplate, NoTwoDifferentCallsShareAKey) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    Keys keys(seed);
    std::vector<std::string> literals;
    for (std::size_t fields = 2 + keys.Pick(3); fields-- > 0;) {
      literals.push_back(keys.Characters(2));
    }
    const KeyTemplate compiled(literals);
    std::map<std::string, std::string> calls;  // key -> identities of the values
    for (int i = 0; i < 2000; ++i) {
      std::string key;
      std::string identity;
      for (const KeyPart& part : compiled.parts()) {
        key += part.literal;
        if (!part.has_field) continue;
        const Value value = keys.Draw();
        key += part.wrapped ? "(" + value.text + ")" : value.text;
        identity += std::to_string(value.identity.size()) + ":" + value.identity;
      }
      const auto [known, is_new] = calls.emplace(key, identity);
      ASSERT_TRUE(is_new || known->second == identity)
          << key << " of " << identity << " and of " << known->second << ", seed " << seed;
    }
  }
}

TEST(ShortenKey, LeavesShortKeysAlone) {
  std::string key(kMaxKeyBytes, 'k');
  ShortenKey(key);
  EXPECT_EQ(key, std::string(kMaxKeyBytes, 'k'));
}

TEST(ShortenKey, KeepsTheBeginningAndTellsTheRestApart) {
  const std::string start(kMaxKeyBytes, 'k');
  std::string one = start + "1";
  std::string two = start + "2";
  ShortenKey(one);
  ShortenKey(two);
  EXPECT_EQ(one.size(), 120u + 1 + 32);
  EXPECT_EQ(one.substr(0, 121), start.substr(0, 120) + "~");
  EXPECT_NE(one, two);
  std::string again = start + "1";
  ShortenKey(again);
  EXPECT_EQ(again, one);
  // sha256(b"k" * 201).hexdigest()[:32]
  std::string known(201, 'k');
  ShortenKey(known);
  EXPECT_EQ(known.substr(121), "ebf0ead0a3b837bc388d6a36c93833ff");
}

TEST(ShortenKey, DoesNotCutACharacter) {
  std::string key = std::string(119, 'k') + "\xe2\x82\xac" + std::string(100, 'k');
  ShortenKey(key);
  EXPECT_EQ(key.substr(0, 120), std::string(119, 'k') + "~");
}

}  // namespace
}  // namespace smartcache
