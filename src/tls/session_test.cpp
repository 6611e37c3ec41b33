#include "tls/session.h"

#include <gtest/gtest.h>

#include <utility>

#include "tls/context.h"
#include "tls/test_peer.h"

namespace smartcache::tls {
namespace {

std::unique_ptr<Session> Client(Options options = {}, const std::string& host = "localhost") {
  if (options.ca_certs.empty()) options.ca_certs = TestAuthority::Shared().ca_path();
  auto session = MakeOpenSslContext(options)->Start(host);
  EXPECT_TRUE(session.ok()) << session.status().message();
  return session.ok() ? *std::move(session) : nullptr;
}

// Greets a server that has `issued`, and says how that ended.
std::string Outcome(const std::string& host, const TestAuthority::Issued& issued,
                    const Options& options = {}) {
  TestPeer peer(issued);
  const Status status = peer.Greet(*Client(options, host));
  return status.ok() ? "greeted" : status.message();
}

TEST(TlsSession, CarriesBytesBothWaysHoweverTheyArrive) {
  TestPeer peer;
  const auto client = Client();
  ASSERT_TRUE(peer.Greet(*client).ok());
  EXPECT_EQ(ReadAll(*client), "");
  ASSERT_TRUE(client->Write("PING").ok());
  peer.Carry(*client);
  EXPECT_EQ(peer.Hear(), "PING");

  // Several records, fed byte by byte, and read into little room.
  const std::string long_text(50'000, 'x');
  peer.Say("+PONG");
  peer.Say(long_text);
  std::string heard;
  for (char byte : peer.TakeOutgoing()) {
    client->Feed({&byte, 1});
    heard += ReadAll(*client, 7);
  }
  EXPECT_EQ(heard, "+PONG" + long_text);
  // All at once: nothing stays behind that no further input would bring to light.
  peer.Say(long_text);
  peer.Say("end");
  client->Feed(peer.TakeOutgoing());
  EXPECT_EQ(ReadAll(*client, 1000), long_text + "end");

  ASSERT_TRUE(client->Write(long_text).ok());
  peer.Carry(*client);
  EXPECT_EQ(peer.Hear(), long_text);
  EXPECT_FALSE(client->ended());
}

TEST(TlsSession, KnowsTheEndFromSilence) {
  TestPeer peer;
  const auto client = Client();
  ASSERT_TRUE(peer.Greet(*client).ok());
  peer.Say("last");
  SSL_shutdown(peer.ssl());
  client->Feed(peer.TakeOutgoing());
  EXPECT_EQ(ReadAll(*client), "last");
  EXPECT_TRUE(client->ended());
}

TEST(TlsSession, AcceptsTheServerItWasToMeetAndNoOther) {
  TestAuthority& authority = TestAuthority::Shared();
  const auto issued = authority.Issue("DNS:cache.example,DNS:*.shard.example,IP:192.0.2.7,IP:::1");
  for (const char* host :
       {"cache.example", "CACHE.example", "a.shard.example", "192.0.2.7", "::1"}) {
    EXPECT_EQ(Outcome(host, issued), "greeted") << host;
  }
  for (const char* host : {"other.example", "example", "a.b.shard.example", "shard.example"}) {
    EXPECT_EQ(Outcome(host, issued), "certificate verify failed: hostname mismatch") << host;
    EXPECT_EQ(Outcome(host, issued, {.check_host = false}), "greeted") << host;
    EXPECT_EQ(Outcome(host, issued, {.verify = false}), "greeted") << host;
  }
  for (const char* address : {"192.0.2.8", "::2"}) {
    EXPECT_EQ(Outcome(address, issued), "certificate verify failed: IP address mismatch");
    EXPECT_EQ(Outcome(address, issued, {.check_host = false}), "greeted");
  }
  // An address is no name, even if a certificate says so.
  const auto as_name = authority.Issue("DNS:192.0.2.7");
  EXPECT_EQ(Outcome("192.0.2.7", as_name), "certificate verify failed: IP address mismatch");
}

TEST(TlsSession, RefusesWhomNobodyItTrustsHasSigned) {
  TestAuthority stranger("a stranger"), namesake;
  const auto issued = stranger.Issue();
  EXPECT_EQ(Outcome("localhost", namesake.Issue()),
            "certificate verify failed: certificate signature failure");
  for (const Options& options : {Options{}, Options{.check_host = false}}) {
    EXPECT_EQ(Outcome("localhost", issued, options),
              "certificate verify failed: unable to get local issuer certificate");
  }
  EXPECT_EQ(Outcome("localhost", issued, {.verify = false}), "greeted");
  EXPECT_EQ(Outcome("localhost", issued, {.ca_certs = stranger.ca_path()}), "greeted");
  const auto old = TestAuthority::Shared().Issue(TestAuthority::kLocal, -1);
  EXPECT_EQ(Outcome("localhost", old), "certificate verify failed: certificate has expired");
}

TEST(TlsSession, TrustsWhomTheSystemTrustsUnlessToldOtherwise) {
  TestPeer peer;
  auto session = MakeOpenSslContext({})->Start("localhost");
  ASSERT_TRUE(session.ok()) << session.status().message();
  EXPECT_EQ(peer.Greet(**session).message(),
            "certificate verify failed: unable to get local issuer certificate");
  // Where the system looks can be said to OpenSSL.
  ASSERT_EQ(setenv("SSL_CERT_FILE", TestAuthority::Shared().ca_path().c_str(), 1), 0);
  session = MakeOpenSslContext({})->Start("localhost");
  unsetenv("SSL_CERT_FILE");
  TestPeer trusted;
  EXPECT_TRUE(trusted.Greet(**session).ok());
}

TEST(TlsSession, TellsTheServerWhyItLeaves) {
  TestAuthority stranger("a stranger");
  TestPeer peer(stranger.Issue());
  EXPECT_FALSE(peer.Greet(*Client()).ok());
  EXPECT_LE(SSL_do_handshake(peer.ssl()), 0);
  EXPECT_EQ(TakeError(), "tlsv1 alert unknown ca");
}

TEST(TlsSession, NamesTheHostToTheServerButNoAddress) {
  for (const auto& [host, named] : {std::pair("localhost", true), std::pair("127.0.0.1", false)}) {
    TestPeer peer;
    ASSERT_TRUE(peer.Greet(*Client({}, host)).ok());
    const char* const name = SSL_get_servername(peer.ssl(), TLSEXT_NAMETYPE_host_name);
    EXPECT_EQ(name != nullptr, named) << host;
    EXPECT_EQ(name == nullptr ? host : std::string(name), host);
  }
}

TEST(TlsSession, SpeaksNothingOlderThanTls12) {
  for (const auto& [newest, spoken] :
       {std::pair(TLS1_3_VERSION, true), std::pair(TLS1_2_VERSION, true),
        std::pair(TLS1_1_VERSION, false)}) {
    TestPeer peer;
    SSL_CTX_set_security_level(peer.settings(), 0);
    SSL_CTX_set_min_proto_version(peer.settings(), TLS1_VERSION);
    SSL_CTX_set_max_proto_version(peer.settings(), newest);
    EXPECT_EQ(peer.Greet(*Client()).ok(), spoken) << newest;
  }
}

TEST(TlsSession, SaysThatAServerSpeaksNoTls) {
  const auto client = Client();
  ASSERT_TRUE(client->Handshake().ok());
  client->Feed("-ERR unknown command\r\n");
  const Result<bool> done = client->Handshake();
  ASSERT_FALSE(done.ok());
  EXPECT_NE(done.status().message().find("is not TLS"), std::string::npos)
      << done.status().message();
}

TEST(TlsSession, DamagedBytesEndIt) {
  TestPeer peer;
  const auto client = Client();
  ASSERT_TRUE(peer.Greet(*client).ok());
  peer.Say("text");
  std::string bytes = peer.TakeOutgoing();
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  client->Feed(bytes);
  char space[16];
  EXPECT_EQ(client->Read(space).status().code(), Code::kUnavailable);
  EXPECT_FALSE(client->Write("more").ok());
}

TEST(TlsSession, TakesNewKeysInBetween) {
  TestPeer peer;
  const auto client = Client();
  ASSERT_TRUE(peer.Greet(*client).ok());
  ASSERT_EQ(SSL_key_update(peer.ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
  peer.Say("with new keys");
  client->Feed(peer.TakeOutgoing());
  EXPECT_EQ(ReadAll(*client), "with new keys");
  ASSERT_TRUE(client->Write("so do I").ok());
  peer.Carry(*client);
  EXPECT_EQ(peer.Hear(), "so do I");
}

TEST(TlsSession, StartsNoSecondHandshakeForTheServer) {
  TestPeer peer;
  SSL_CTX_set_max_proto_version(peer.settings(), TLS1_2_VERSION);
  const auto client = Client();
  ASSERT_TRUE(peer.Greet(*client).ok());
  ASSERT_EQ(SSL_renegotiate(peer.ssl()), 1);
  SSL_do_handshake(peer.ssl());
  client->Feed(peer.TakeOutgoing());
  EXPECT_EQ(ReadAll(*client), "");
  EXPECT_TRUE(client->Write("goes on").ok());
}

TEST(TlsSession, ShowsItsCertificateToAServerThatAsks) {
  TestAuthority& authority = TestAuthority::Shared();
  const auto own = authority.Issue("DNS:client");
  for (const bool shown : {true, false}) {
    TestPeer peer;
    SSL_CTX_set_verify(peer.settings(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_load_verify_locations(peer.settings(), authority.ca_path().c_str(), nullptr);
    const auto client =
        Client(shown ? Options{.certfile = own.certfile, .keyfile = own.keyfile} : Options{});
    ASSERT_TRUE(peer.Greet(*client).ok());  // the server judges afterwards
    peer.Carry(*client);
    char space[16];
    const Result<std::size_t> count = client->Read(space);
    EXPECT_EQ(count.ok(), shown) << count.status().message();
    EXPECT_EQ(count.status().message(), shown ? "" : "tlsv13 alert certificate required");
  }
}

}  // namespace
}  // namespace smartcache::tls
