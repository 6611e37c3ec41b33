// For tests: the server's end of a session, in memory.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "smartcache/tls.h"
#include "tls/openssl.h"
#include "tls/test_certificates.h"

namespace smartcache::tls {

class TestPeer {
 public:
  explicit TestPeer(const TestAuthority::Issued& issued = TestAuthority::SharedServer())
      : settings_(SSL_CTX_new(TLS_server_method())) {
    EXPECT_EQ(SSL_CTX_use_certificate_chain_file(settings_.get(), issued.certfile.c_str()), 1);
    EXPECT_EQ(
        SSL_CTX_use_PrivateKey_file(settings_.get(), issued.keyfile.c_str(), SSL_FILETYPE_PEM), 1);
  }
  // For changes before the first Ssl().
  SSL_CTX* settings() { return settings_.get(); }
  SSL* ssl() {
    if (ssl_ == nullptr) {
      ssl_.reset(SSL_new(settings_.get()));
      SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
      SSL_set_accept_state(ssl_.get());
    }
    return ssl_.get();
  }

  // Carries what each has to say to the other, once.
  void Carry(Session& client) {
    const std::string_view said = client.outgoing();
    if (!said.empty()) BIO_write(SSL_get_rbio(ssl()), said.data(), static_cast<int>(said.size()));
    client.DropOutgoing();
    SSL_do_handshake(ssl());
    client.Feed(TakeOutgoing());
  }
  std::string TakeOutgoing() {
    std::string bytes = Text(SSL_get_wbio(ssl()));
    if (!bytes.empty()) BIO_read(SSL_get_wbio(ssl()), bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
  }
  // The client's handshake with this, to its end.
  Status Greet(Session& client) {
    for (int i = 0; i < 10; ++i) {
      const Result<bool> done = client.Handshake();
      Carry(client);
      if (!done.ok()) return done.status();
      if (*done) return Ok();
    }
    return Unavailable("no end of it");
  }
  void Say(std::string_view plain) {
    EXPECT_EQ(SSL_write(ssl(), plain.data(), static_cast<int>(plain.size())),
              static_cast<int>(plain.size()));
  }
  std::string Hear() {
    std::string heard;
    char space[1 << 12];
    int count;
    while ((count = SSL_read(ssl(), space, sizeof space)) > 0) {
      heard.append(space, static_cast<std::size_t>(count));
    }
    return heard;
  }

 private:
  struct Free {
    void operator()(SSL_CTX* each) const { SSL_CTX_free(each); }
  };
  std::unique_ptr<SSL_CTX, Free> settings_;
  SslPtr ssl_;
};

// All that `client` can read.
inline std::string ReadAll(Session& client, std::size_t at_once = 1 << 12) {
  std::string heard, space(at_once, '\0');
  for (;;) {
    const Result<std::size_t> count = client.Read(space);
    EXPECT_TRUE(count.ok()) << count.status().message();
    if (!count.ok() || *count == 0) return heard;
    heard.append(space, 0, *count);
  }
}

}  // namespace smartcache::tls
