// The Session of tls.h on OpenSSL, which reads and writes memory in place of a socket.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "smartcache/tls.h"
#include "tls/openssl.h"

namespace smartcache::tls {

class OpenSslSession final : public Session {
 public:
  // Takes an SSL that is neither client nor server yet nor has anything to read from. Null: out of
  // memory.
  [[nodiscard]] static std::unique_ptr<OpenSslSession> Make(SslPtr ssl);

  [[nodiscard]] Result<bool> Handshake() override;
  void Feed(std::string_view encrypted) override;
  [[nodiscard]] Result<std::size_t> Read(std::span<char> space) override;
  [[nodiscard]] bool ended() const override { return ended_; }
  [[nodiscard]] Status Write(std::string_view plain) override;
  [[nodiscard]] std::string_view outgoing() const override { return wire_.out; }
  void DropOutgoing() override { wire_.out.clear(); }

 private:
  // The two directions of what would be the socket.
  struct Wire {
    std::string in;
    std::size_t taken = 0;  // of `in`
    std::string out;
    static int Read(BIO* bio, char* space, int size);
    static int Write(BIO* bio, const char* bytes, int size);
    static long Control(BIO* bio, int command, long number, void* pointer);
    static const BIO_METHOD* Method();
  };

  explicit OpenSslSession(SslPtr ssl) : ssl_(std::move(ssl)) {}
  [[nodiscard]] Status Failure(int error) const;

  Wire wire_;  // outlives ssl_
  SslPtr ssl_;
  bool ended_ = false;
};

}  // namespace smartcache::tls
