#include "l2/redis/redis_url.h"

#include <charconv>
#include <optional>
#include <utility>

namespace smartcache::redis {
namespace {

constexpr int kDefaultPort = 6379;
constexpr int kDefaultSentinelPort = 26379;
constexpr std::string_view kForms =
    "allowed: redis://[user:password@]host[:port][/database], unix://[user:password@]/path[?db=N], "
    "redis+sentinel://host[:port][,host...]/service[/database], "
    "redis+cluster://host[:port][,host...], the same with valkey, and with TLS rediss://, "
    "rediss+sentinel://, rediss+cluster://";

// A password that is cut at its ? is taken for hosts and options: they are not repeated then.
constexpr std::string_view kQuestionMark =
    "a bad host or option, or a ? in a password (write it as %3F)";

Status Bad(std::string_view what) {
  return {Code::kInvalidArgument, "Redis URL: " + std::string(what) + "; " + std::string(kForms)};
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// nullopt: a % that is not followed by two hexadecimal digits, or a NUL.
std::optional<std::string> Decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = HexDigit(text[i + 1]), low = HexDigit(text[i + 2]);
    if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

std::optional<int> Number(std::string_view text, int low, int high) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value >= low && value <= high ? std::optional(value) : std::nullopt;
}

// Splits at the first `separator`; the second part is empty when there is none.
std::pair<std::string_view, std::string_view> Cut(std::string_view text, char separator) {
  const std::size_t at = text.find(separator);
  if (at == text.npos) return {text, {}};
  return {text.substr(0, at), text.substr(at + 1)};
}

std::optional<Endpoint> ParseEndpoint(std::string_view text, int default_port) {
  Endpoint endpoint{.host = {}, .port = default_port, .path = {}};
  std::string_view host = text, port;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == text.npos) return std::nullopt;
    host = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && !rest.starts_with(':')) return std::nullopt;
    port = rest.empty() ? rest : rest.substr(1);
    if (!rest.empty() && port.empty()) return std::nullopt;
  } else if (const std::size_t colon = text.find(':'); colon != text.npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (port.empty()) return std::nullopt;
  }
  auto decoded = Decode(host);
  if (!decoded || decoded->empty()) return std::nullopt;
  endpoint.host = *std::move(decoded);
  if (!port.empty()) {
    const auto number = Number(port, 1, 65535);
    if (!number) return std::nullopt;
    endpoint.port = *number;
  }
  return endpoint;
}

Status ParseCredentials(std::string_view text, RedisUrl& url) {
  const std::size_t colon = text.find(':');
  // "secret@host" without a colon: a user name alone cannot log in, and is most often a mistake.
  if (colon == text.npos) {
    return Bad("credentials without a password (write user:password@ or :password@)");
  }
  auto user = Decode(text.substr(0, colon));
  auto password = Decode(text.substr(colon + 1));
  if (!user || !password) return Bad("bad percent-encoding in the credentials");
  url.user = *std::move(user);
  url.password = *std::move(password);
  return Ok();
}

std::optional<bool> Truth(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
  if (lower == "true" || lower == "yes" || lower == "1") return true;
  if (lower == "false" || lower == "no" || lower == "0") return false;
  return std::nullopt;
}

// What is wrong with `value`; empty: it was taken. nullopt: there is no such option.
std::optional<std::string> TakeTlsOption(std::string_view name, const std::string& value,
                                         tls::Options& options, std::optional<bool>& check_host) {
  if (name == "ssl_ca_certs" || name == "ssl_certfile" || name == "ssl_keyfile") {
    std::string& path = name == "ssl_ca_certs"   ? options.ca_certs
                        : name == "ssl_certfile" ? options.certfile
                                                 : options.keyfile;
    path = value;
    return value.empty() ? std::string(name) + " without a path" : "";
  }
  if (name == "ssl_cert_reqs") {
    // To a client, optional is no different.
    options.verify = value == "required" || value == "optional";
    if (options.verify || value == "none") return "";
    return "ssl_cert_reqs '" + value + "' (allowed: required, optional, none)";
  }
  if (name == "ssl_check_hostname") {
    check_host = Truth(value);
    if (check_host) return "";
    return "ssl_check_hostname '" + value + "' (allowed: true, false)";
  }
  return std::nullopt;
}

Status ParseQuery(std::string_view query, RedisUrl& url) {
  const bool with_at = query.find('@') != query.npos;
  const auto bad = [&](const std::string& what) { return Bad(with_at ? kQuestionMark : what); };
  std::optional<bool> check_host;
  while (!query.empty()) {
    const auto [pair, rest] = Cut(query, '&');
    const auto [name, value] = Cut(pair, '=');
    query = rest;
    if (name == "db") {
      const auto number = Number(value, 0, 1'000'000);
      if (!number) return bad("the database '" + std::string(value) + "' is not a number");
      url.database = *number;
      continue;
    }
    auto text = Decode(value);
    if (!text) return bad("bad percent-encoding in '" + std::string(name) + "'");
    if (url.tls) {
      const auto wrong = TakeTlsOption(name, *text, *url.tls, check_host);
      if (wrong && !wrong->empty()) return bad(*wrong);
      if (wrong) continue;
    }
    if (url.topology == Topology::kSentinel && name == "sentinel_user") {
      url.sentinel_user = *std::move(text);
    } else if (url.topology == Topology::kSentinel && name == "sentinel_password") {
      url.sentinel_password = *std::move(text);
    } else {
      return bad("unknown option '" + std::string(name) +
                 "' (db; with sentinel also sentinel_user, sentinel_password; with TLS also "
                 "ssl_cert_reqs, ssl_check_hostname, ssl_ca_certs, ssl_certfile, ssl_keyfile)");
    }
  }
  if (!url.tls) return Ok();
  if (!url.tls->keyfile.empty() && url.tls->certfile.empty()) {
    return Bad("ssl_keyfile without ssl_certfile");
  }
  if (!url.tls->verify && check_host == true) {
    return Bad("ssl_check_hostname=true with ssl_cert_reqs=none, which checks nothing");
  }
  url.tls->check_host = check_host.value_or(true);
  return Ok();
}

Status ParseDatabase(std::string_view text, RedisUrl& url) {
  if (text.empty()) return Ok();
  const auto number = Number(text, 0, 1'000'000);
  if (!number) return Bad("the database '" + std::string(text) + "' is not a number");
  url.database = *number;
  return Ok();
}

Status ParsePath(std::string_view path, RedisUrl& url) {
  switch (url.topology) {
    case Topology::kSingle:
      return ParseDatabase(path, url);
    case Topology::kSentinel: {
      const auto [service, database] = Cut(path, '/');
      auto decoded = Decode(service);
      if (!decoded || decoded->empty()) return Bad("no service name after the sentinels");
      url.service = *std::move(decoded);
      return ParseDatabase(database, url);
    }
    case Topology::kCluster:
      if (!path.empty() && path != "0") return Bad("a cluster has no databases but 0");
      return Ok();
  }
  return Ok();
}

}  // namespace

Result<RedisUrl> ParseRedisUrl(std::string_view text) {
  const std::size_t separator = text.find("://");
  if (separator == text.npos) return Bad("no scheme");
  const std::string_view scheme = text.substr(0, separator);
  std::string_view rest = text.substr(separator + 3);
  RedisUrl url;

  std::string_view kind;  // the scheme without redis or valkey
  for (std::string_view brand : {"redis", "valkey"}) {
    if (scheme.starts_with(brand)) kind = scheme.substr(brand.size());
  }
  const bool plain = scheme == "redis" || scheme == "valkey";
  const bool unix_socket = scheme == "unix" || kind == "+unix";
  if (kind.starts_with('s')) url.tls = tls::Options();
  if (kind == "+sentinel" || kind == "s+sentinel") {
    url.topology = Topology::kSentinel;
  } else if (kind == "+cluster" || kind == "s+cluster") {
    url.topology = Topology::kCluster;
  } else if (!plain && kind != "s" && !unix_socket) {
    return Bad("unknown scheme '" + std::string(scheme) + "'");
  }
  if (rest.find('#') != rest.npos) return Bad("a fragment (write # as %23)");
  std::string_view query;
  if (const std::size_t mark = rest.find('?'); mark != rest.npos) {
    query = rest.substr(mark + 1);
    rest = rest.substr(0, mark);
  }
  // Credentials end at the last @ before the path, so that an unescaped one in a password is
  // harmless.
  const std::size_t slash = rest.find('/', rest.rfind('@') == rest.npos ? 0 : rest.rfind('@'));
  std::string_view authority = rest.substr(0, slash);
  std::string_view path = slash == rest.npos ? std::string_view() : rest.substr(slash + 1);
  if (const std::size_t at = authority.rfind('@'); at != authority.npos) {
    if (Status status = ParseCredentials(authority.substr(0, at), url); !status.ok()) return status;
    authority = authority.substr(at + 1);
  }
  if (unix_socket) {
    auto decoded = Decode(slash == rest.npos ? std::string_view() : rest.substr(slash));
    if (!authority.empty() || !decoded || decoded->size() < 2) {
      return Bad("a unix socket needs an absolute path (three slashes: unix:///run/redis.sock)");
    }
    url.endpoints.push_back({.host = {}, .port = 0, .path = *std::move(decoded)});
  } else {
    const int port = url.topology == Topology::kSentinel ? kDefaultSentinelPort : kDefaultPort;
    if (authority.ends_with(',')) return Bad("an empty host");
    while (!authority.empty()) {
      const auto [one, others] = Cut(authority, ',');
      auto endpoint = ParseEndpoint(one, port);
      if (!endpoint && query.find('@') != query.npos) return Bad(kQuestionMark);
      if (!endpoint) return Bad("'" + std::string(one) + "' is not host or host:port");
      url.endpoints.push_back(*std::move(endpoint));
      authority = others;
    }
    if (url.endpoints.empty()) return Bad("no host");
    if (url.topology == Topology::kSingle && url.endpoints.size() > 1) {
      return Bad("several hosts (use redis+sentinel:// or redis+cluster://)");
    }
    if (Status status = ParsePath(path, url); !status.ok()) return status;
  }
  if (Status status = ParseQuery(query, url); !status.ok()) return status;
  if (url.topology == Topology::kCluster && url.database != 0) {
    return Bad("a cluster has no databases but 0");
  }
  return url;
}

std::string ToString(const Endpoint& endpoint) {
  if (!endpoint.path.empty()) return endpoint.path;
  const bool v6 = endpoint.host.find(':') != std::string::npos;
  std::string text = v6 ? "[" : "";
  text += endpoint.host;
  text += v6 ? "]:" : ":";
  text += std::to_string(endpoint.port);
  return text;
}

std::string Describe(const RedisUrl& url) {
  std::string hosts;
  for (const Endpoint& endpoint : url.endpoints) {
    if (!hosts.empty()) hosts += ',';
    hosts += ToString(endpoint);
  }
  const std::string database = std::to_string(url.database);
  const std::string redis = url.tls ? "rediss" : "redis";
  switch (url.topology) {
    case Topology::kSingle:
      if (!url.endpoints.front().path.empty()) return "unix://" + hosts + "?db=" + database;
      return redis + "://" + hosts + "/" + database;
    case Topology::kSentinel:
      return redis + "+sentinel://" + hosts + "/" + url.service + "/" + database;
    case Topology::kCluster:
      return redis + "+cluster://" + hosts;
  }
  return hosts;
}

}  // namespace smartcache::redis
