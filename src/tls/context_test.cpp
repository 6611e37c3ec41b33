#include "tls/context.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>
#include <vector>

#include "base/fork_test.h"
#include "tls/test_peer.h"

namespace smartcache::tls {
namespace {

std::string WhyNot(const Options& options) {
  const auto session = MakeOpenSslContext(options)->Start("localhost");
  return session.ok() ? "it can" : session.status().message();
}

// The name of the client's certificate that a server sees; its serial number tells them apart.
long SerialShownBy(Context& context) {
  TestPeer peer;
  SSL_CTX_set_verify(peer.settings(), SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) { return 1; });
  const auto client = context.Start("localhost");
  EXPECT_TRUE(client.ok()) << client.status().message();
  if (!client.ok() || !peer.Greet(**client).ok()) return -1;
  peer.Carry(**client);
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
  const CertificatePtr shown(SSL_get1_peer_certificate(peer.ssl()));
#else
  const CertificatePtr shown(SSL_get_peer_certificate(peer.ssl()));
#endif
  return shown == nullptr ? 0 : ASN1_INTEGER_get(X509_get_serialNumber(shown.get()));
}

TEST(TlsContext, NamesTheFileThatCannotBeUsed) {
  TestAuthority& authority = TestAuthority::Shared();
  const auto own = authority.Issue(), other = authority.Issue();
  const std::string none = authority.path("none"), text = authority.path("text");
  const std::string damaged = authority.path("damaged");
  Save(text, "no PEM\n");
  std::string pem = own.certificate;
  pem.replace(pem.size() / 2, 4, "!!!!");
  Save(damaged, pem);
  const std::string ca = authority.ca_path();
  EXPECT_EQ(WhyNot({.ca_certs = none}), "ssl_ca_certs '" + none + "': No such file or directory");
  EXPECT_EQ(WhyNot({.ca_certs = authority.path("")}),
            "ssl_ca_certs '" + authority.path("") + "': Is a directory");
  EXPECT_EQ(WhyNot({.ca_certs = text}),
            "ssl_ca_certs '" + text + "': no certificate in it (PEM is read)");
  EXPECT_TRUE(WhyNot({.ca_certs = damaged})
                  .starts_with("ssl_ca_certs '" + damaged + "': a damaged certificate ("))
      << WhyNot({.ca_certs = damaged});
  EXPECT_EQ(WhyNot({.ca_certs = ca, .certfile = none}),
            "ssl_certfile '" + none + "': No such file or directory");
  EXPECT_TRUE(WhyNot({.ca_certs = ca, .certfile = own.certfile})
                  .starts_with("ssl_certfile '" + own.certfile + "': no private key in it"));
  EXPECT_TRUE(WhyNot({.ca_certs = ca, .certfile = own.certfile, .keyfile = other.keyfile})
                  .starts_with("ssl_keyfile '" + other.keyfile + "': not the key of the"));
  // The passphrase is not asked for, neither here nor at a terminal.
  const std::string secret = own.keyfile + ".secret";
  EXPECT_TRUE(
      WhyNot({.ca_certs = ca, .certfile = own.certfile, .keyfile = secret})
          .starts_with("ssl_keyfile '" + secret + "': no private key in it, or one with a"));
  Save(authority.path("both"), own.key + own.certificate);
  EXPECT_EQ(WhyNot({.ca_certs = ca, .certfile = authority.path("both")}), "it can");
}

TEST(TlsContext, RefusesAHostThatCannotBeChecked) {
  const auto context = MakeOpenSslContext({});
  EXPECT_FALSE(context->Start("").ok());
  EXPECT_FALSE(context->Start(std::string(300, 'x')).ok());
}

TEST(TlsContext, UsesACertificateThatWasRenewedAndKeepsTheOldOneOtherwise) {
  TestAuthority& authority = TestAuthority::Shared();
  const auto first = authority.Issue(), second = authority.Issue();
  const std::string certfile = authority.path("renewed.crt"), keyfile = authority.path("new.key");
  const auto install = [&](const TestAuthority::Issued& issued) {
    Save(certfile, issued.certificate);
    Save(keyfile, issued.key);
  };
  install(first);
  const auto context = MakeOpenSslContext(
      {.ca_certs = authority.ca_path(), .certfile = certfile, .keyfile = keyfile});
  const long shown = SerialShownBy(*context);
  EXPECT_GT(shown, 0);
  install(second);
  const long renewed = SerialShownBy(*context);
  EXPECT_GT(renewed, shown);
  Save(keyfile, first.key);  // half of a change
  EXPECT_EQ(SerialShownBy(*context), renewed);
  std::filesystem::remove(keyfile);
  EXPECT_EQ(SerialShownBy(*context), renewed);
}

TEST(TlsContext, ReadsItsFilesWhereTheyComeLate) {
  TestAuthority authority;
  const std::string path = authority.path("late.crt");
  const auto context = MakeOpenSslContext({.ca_certs = path});
  EXPECT_FALSE(context->Start("localhost").ok());
  std::filesystem::copy(authority.ca_path(), path);
  EXPECT_TRUE(context->Start("localhost").ok());
}

// A server changes its user after it has read its key, and forks.
TEST(TlsContext, ForkedChildNeedsNoFileAndNoLockOfItsParent) {
  SMARTCACHE_SKIP_FORK_AMID_THREADS();
  TestAuthority& authority = TestAuthority::Shared();
  const auto own = authority.Issue();
  const auto context = MakeOpenSslContext(
      {.ca_certs = authority.ca_path(), .certfile = own.certfile, .keyfile = own.keyfile});
  const long shown = SerialShownBy(*context);
  std::filesystem::remove(own.keyfile);
  std::atomic<bool> ended{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!ended.load()) (void)context->Start("localhost");
    });
  }
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      _exit(SerialShownBy(*context) == shown ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0) << "child " << i;
  }
  ended.store(true);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(SerialShownBy(*context), shown);
}

TEST(TlsContext, ServesManyThreads) {
  TestAuthority& authority = TestAuthority::Shared();
  const std::string path = authority.path("changing.crt");
  std::filesystem::copy(authority.ca_path(), path);
  const auto context = MakeOpenSslContext({.ca_certs = path});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round) {
        if (i == 0) std::ofstream(path, std::ios::app) << "# another\n";
        auto session = context->Start("localhost");
        ASSERT_TRUE(session.ok());
        EXPECT_TRUE((*session)->Handshake().ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace smartcache::tls
