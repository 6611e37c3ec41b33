// TLS to the servers, which an optional module brings, so that the core needs no OpenSSL. It is a
// conversion of bytes: sockets, deadlines and waiting stay in the core.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "smartcache/result.h"

namespace smartcache::tls {

struct Options {
  bool verify = true;      // the server's certificate
  bool check_host = true;  // and that it is made out to the host connected to
  // NOLINTBEGIN(readability-redundant-member-init): g++ warns of {.verify = false} without them.
  // A file of those who may have signed it; empty: the system's.
  std::string ca_certs = {};
  // The client's own certificate; empty: none. Its key; empty: in the same file.
  std::string certfile = {}, keyfile = {};
  // NOLINTEND(readability-redundant-member-init)
  friend bool operator==(const Options&, const Options&) = default;
};

// The client's end of one connection. Not thread-safe. Any failure is final.
class Session {
 public:
  virtual ~Session() = default;
  // Goes on with the handshake. False: it needs what the server will say. True: it is done, and the
  // server is who it should be.
  [[nodiscard]] virtual Result<bool> Handshake() = 0;
  // Takes what came from the server.
  virtual void Feed(std::string_view encrypted) = 0;
  // Decrypts into `space` and gives the number of bytes; 0: all that was fed is used up.
  [[nodiscard]] virtual Result<std::size_t> Read(std::span<char> space) = 0;
  // Whether the server has said that no more will come.
  [[nodiscard]] virtual bool ended() const = 0;
  // Encrypts all of `plain`.
  [[nodiscard]] virtual Status Write(std::string_view plain) = 0;
  // What is to be sent to the server, after any of the calls above. Valid until the next of them.
  [[nodiscard]] virtual std::string_view outgoing() const = 0;
  virtual void DropOutgoing() = 0;
};

// Makes sessions by one set of options. Thread-safe, also in a forked child.
class Context {
 public:
  virtual ~Context() = default;
  // A session with the server of that name or address, its handshake not begun. kUnavailable: the
  // files of the options cannot be used.
  [[nodiscard]] virtual Result<std::unique_ptr<Session>> Start(const std::string& host) = 0;
};

// What the module registers. It may read the files of the options, and never fails: that is for
// Start.
using MakeContext = std::shared_ptr<Context> (*)(const Options& options);
void Register(MakeContext make);
// Null as long as none was registered.
[[nodiscard]] MakeContext Registered();

// Names the capsule in which the module hands a MakeContext over. The number rises with any change
// of this header: what was built for another one must not be called.
inline constexpr const char* kCapsule = "djsmartcache.tls.1";

}  // namespace smartcache::tls
