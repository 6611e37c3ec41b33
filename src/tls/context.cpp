#include "tls/context.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/per_process.h"
#include "tls/session.h"

namespace smartcache::tls {
namespace {

// What the files of the options hold.
struct Files {
  std::string ca_certs, certificate, key;
  friend bool operator==(const Files&, const Files&) = default;
};

Status Unusable(const char* option, const std::string& path, const std::string& why) {
  return Unavailable(std::string(option) + " '" + path + "': " + why);
}

Status ReadFile(const char* option, const std::string& path, std::string& content) {
  const auto fail = [&](int error) {
    return Unusable(option, path, std::generic_category().message(error));
  };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail(errno);
  char space[16 << 10];
  ssize_t count;
  while ((count = read(fd, space, sizeof space)) > 0 || (count < 0 && errno == EINTR)) {
    if (count > 0) content.append(space, static_cast<std::size_t>(count));
  }
  const int error = errno;
  close(fd);
  return count < 0 ? fail(error) : Ok();
}

// The file of all whom the system trusts, if it has one. It may have a folder as well.
std::string SystemFile() {
  const char* const chosen = secure_getenv(X509_get_default_cert_file_env());
  return chosen == nullptr ? X509_get_default_cert_file() : chosen;
}

Result<Files> ReadFiles(const Options& options) {
  Files files;
  Status status;
  if (!options.ca_certs.empty()) {
    status = ReadFile("ssl_ca_certs", options.ca_certs, files.ca_certs);
  } else if (options.verify) {
    (void)ReadFile("the system's", SystemFile(), files.ca_certs);
  }
  if (status.ok() && !options.certfile.empty()) {
    status = ReadFile("ssl_certfile", options.certfile, files.certificate);
  }
  if (status.ok() && !options.keyfile.empty()) {
    status = ReadFile("ssl_keyfile", options.keyfile, files.key);
  }
  if (!status.ok()) return status;
  return files;
}

// In place of OpenSSL's own, which would ask at the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

BioPtr Reading(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

using Certificates = std::vector<CertificatePtr>;

Result<Certificates> ReadCertificates(const std::string& pem) {
  const BioPtr bio = Reading(pem);
  Certificates certificates;
  ERR_clear_error();
  while (X509* each = PEM_read_bio_X509_AUX(bio.get(), nullptr, NoPassphrase, nullptr)) {
    certificates.emplace_back(each);
    X509_check_purpose(each, -1, 0);  // works out all that is kept in it, so that it stays as it is
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string error = TakeError();
  if (!at_end) return Unavailable("a damaged certificate (" + error + ")");
  if (certificates.empty()) return Unavailable("no certificate in it (PEM is read)");
  return certificates;
}

// Those who may have signed the server's certificate. Reading the hundred or more of a system takes
// as long as many calls to a server may, so it is done once, and before anybody waits for it.
struct Trusted {
  explicit Trusted(const std::string& text) : pem(text), certificates(ReadCertificates(text)) {}
  const std::string pem;
  const Result<Certificates> certificates;
};
using TrustedRef = std::shared_ptr<const Trusted>;

Status UseKey(SSL_CTX* settings, const std::string& pem) {
  const BioPtr bio = Reading(pem);
  ERR_clear_error();
  const KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr) {
    return Unavailable("no private key in it, or one with a passphrase (" + TakeError() + ")");
  }
  const bool fits =
      SSL_CTX_use_PrivateKey(settings, key.get()) == 1 && SSL_CTX_check_private_key(settings) == 1;
  return fits ? Ok() : Unavailable("not the key of the certificate (" + TakeError() + ")");
}

using Settings = std::shared_ptr<SSL_CTX>;

Status AddTrusted(SSL_CTX* settings, const Options& options, const Trusted& trusted) {
  const bool of_system = options.ca_certs.empty();
  if (of_system && !options.verify) return Ok();
  const Result<Certificates>& found = trusted.certificates;
  if (!of_system && !found.ok()) {
    return Unusable("ssl_ca_certs", options.ca_certs, found.status().message());
  }
  if (of_system && SSL_CTX_set_default_verify_dir(settings) != 1) return Unavailable(TakeError());
  if (!found.ok()) return Ok();
  for (const CertificatePtr& each : *found) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(settings), each.get()) != 1) {
      return Unavailable(TakeError());
    }
  }
  return Ok();
}

Status AddOwn(SSL_CTX* settings, const Options& options, const Files& files) {
  const auto bad_certificate = [&](const std::string& why) {
    return Unusable("ssl_certfile", options.certfile, why);
  };
  const Result<Certificates> chain = ReadCertificates(files.certificate);
  if (!chain.ok()) return bad_certificate(chain.status().message());
  bool used = SSL_CTX_use_certificate(settings, chain->front().get()) == 1;
  for (std::size_t i = 1; i < chain->size() && used; ++i) {
    used = SSL_CTX_add1_chain_cert(settings, (*chain)[i].get()) == 1;
  }
  if (!used) return bad_certificate(TakeError());
  const bool apart = !options.keyfile.empty();
  const Status status = UseKey(settings, apart ? files.key : files.certificate);
  if (status.ok()) return Ok();
  return apart ? Unusable("ssl_keyfile", options.keyfile, status.message())
               : bad_certificate(status.message());
}

Result<Settings> MakeSettings(const Options& options, const Files& files, const Trusted& trusted) {
  ERR_clear_error();
  const Settings made(SSL_CTX_new(TLS_client_method()), [](SSL_CTX* each) { SSL_CTX_free(each); });
  SSL_CTX* const settings = made.get();
  if (settings == nullptr || SSL_CTX_set_min_proto_version(settings, TLS1_2_VERSION) != 1) {
    return Unavailable(TakeError());
  }
  SSL_CTX_set_options(settings, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  // Idle connections, of which a pool has many, then hold no buffers.
  SSL_CTX_set_mode(settings, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_verify(settings, options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  Status status = AddTrusted(settings, options, trusted);
  if (status.ok() && !options.certfile.empty()) status = AddOwn(settings, options, files);
  if (!status.ok()) return status;
  return made;
}

bool IsAddress(const std::string& host) {
  unsigned char address[sizeof(in6_addr)];
  return inet_pton(AF_INET, host.c_str(), address) == 1 ||
         inet_pton(AF_INET6, host.c_str(), address) == 1;
}

// Whom the server has to be. What is not set would not be checked, so each failure counts.
bool Expect(SSL* ssl, const std::string& host, bool check) {
  X509_VERIFY_PARAM* const expected = SSL_get0_param(ssl);
  if (host.empty()) return false;  // would stand for any
  if (IsAddress(host)) {
    return !check || X509_VERIFY_PARAM_set1_ip_asc(expected, host.c_str()) == 1;
  }
  if (SSL_set_tlsext_host_name(ssl, host.c_str()) != 1) return false;
  X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return !check || X509_VERIFY_PARAM_set1_host(expected, host.data(), host.size()) == 1;
}

// The files are looked at again for each connection, which is rare, so that a certificate that was
// renewed is used. Where that fails those of before do: a process may have given up, after it
// started, the right to read a key.
class OpenSslContext final : public Context {
 public:
  explicit OpenSslContext(const Options& options)
      : options_(options),
        first_(ReadFiles(options)),
        first_trusted_(std::make_shared<Trusted>(first_.ok() ? first_->ca_certs : "")) {
    (void)Start("localhost");  // whatever takes time at first, and nobody waits yet
  }

  Result<std::unique_ptr<Session>> Start(const std::string& host) override {
    Result<Settings> settings = Present();
    if (!settings.ok()) return settings.status();
    ERR_clear_error();
    SslPtr ssl(SSL_new(settings->get()));
    if (ssl != nullptr && !Expect(ssl.get(), host, options_.verify && options_.check_host)) {
      return Unavailable("no certificate can be made out to '" + host + "'");
    }
    if (ssl != nullptr) SSL_set_connect_state(ssl.get());
    std::unique_ptr<Session> session = OpenSslSession::Make(std::move(ssl));
    if (session == nullptr) return Unavailable(TakeError());
    return session;
  }

 private:
  // What a fork spoils: OpenSSL's settings have locks, which a thread of the parent may have held.
  struct State {
    Mutex mutex;
    Settings settings GUARDED_BY(mutex);
    Files files GUARDED_BY(mutex);  // that they were made of
  };

  Result<Settings> Present() {
    State& state = state_.Get();
    Result<Files> files = ReadFiles(options_);
    {
      MutexLock lock(state.mutex);
      const bool same = !files.ok() || *files == state.files;
      if (state.settings != nullptr && same) return state.settings;
    }
    if (!files.ok() && first_.ok()) files = first_;
    if (!files.ok()) return files.status();
    const TrustedRef trusted = files->ca_certs == first_trusted_->pem
                                   ? first_trusted_
                                   : std::make_shared<Trusted>(files->ca_certs);
    Result<Settings> made = MakeSettings(options_, *files, *trusted);
    Settings replaced;  // freed after the lock is given up
    MutexLock lock(state.mutex);
    if (!made.ok()) return state.settings != nullptr ? Result(state.settings) : made;
    replaced = std::exchange(state.settings, *made);
    state.files = *std::move(files);
    return made;
  }

  const Options options_;
  const Result<Files> first_;
  const TrustedRef first_trusted_;
  PerProcess<State> state_;
};

}  // namespace

std::shared_ptr<Context> MakeOpenSslContext(const Options& options) {
  return std::make_shared<OpenSslContext>(options);
}

}  // namespace smartcache::tls
