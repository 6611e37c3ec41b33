// Text that says where a server is: whatever is in SMARTCACHE_REDIS_URL, no fault, an address that
// can be used or an error, and never a password in what is shown.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "expect.h"
#include "l2/redis/connection.h"
#include "l2/redis/redis_url.h"
#include "l2/redis/slot_map.h"

namespace {

using namespace smartcache::redis;
using std::string_view;

constexpr string_view kPassword = "x-Pass-Word-x";

bool Contains(string_view text, string_view part) { return text.find(part) != text.npos; }

void CheckUrl(string_view text) {
  const auto url = ParseRedisUrl(text);
  if (!url.ok()) return;
  Expect(!url->endpoints.empty());
  for (const Endpoint& endpoint : url->endpoints) {
    Expect(!endpoint.path.empty() || (!endpoint.host.empty() && endpoint.port > 0));
    Expect(endpoint.port < 65536);
  }
  Expect((url->topology == Topology::kSentinel) == !url->service.empty());
  Expect(!Describe(*url).empty());
}

// `before` PASSWORD `after`, where what is between the scheme and the last @ logs in.
void CheckSecrecy(string_view before, string_view after) {
  const std::size_t scheme = before.find("://");
  if (scheme == before.npos || Contains(before, kPassword) || Contains(after, kPassword)) return;
  const string_view user = before.substr(scheme + 3);
  if (!user.ends_with(':') || user.find_first_of("/?#@") != user.npos) return;
  if (!Contains(after, "@")) return;
  const std::string text = std::string(before) + std::string(kPassword) + std::string(after);
  const auto url = ParseRedisUrl(text);
  Expect(!Contains(url.ok() ? Describe(*url) : url.status().message(), kPassword));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const string_view text(reinterpret_cast<const char*>(data), size);
  CheckUrl(text);
  const std::size_t half = text.find('|');
  if (half != text.npos) CheckSecrecy(text.substr(0, half), text.substr(half + 1));
  const Endpoint asked{.host = "asked", .port = 1, .path = {}};
  const auto target = ReadRedirection(text, asked);
  if (target.ok()) Expect(target->port > 0 && target->port < 65536);
  (void)InfoField(text, "role");
  return 0;
}
