#include "tls/session.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include <algorithm>
#include <climits>
#include <utility>

namespace smartcache::tls {

int OpenSslSession::Wire::Read(BIO* bio, char* space, int size) {
  Wire& wire = *static_cast<Wire*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (wire.taken == wire.in.size()) {
    BIO_set_retry_read(bio);
    return -1;
  }
  const std::size_t count = wire.in.copy(space, static_cast<std::size_t>(size), wire.taken);
  wire.taken += count;
  return static_cast<int>(count);
}

int OpenSslSession::Wire::Write(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  static_cast<Wire*>(BIO_get_data(bio))->out.append(bytes, static_cast<std::size_t>(size));
  return size;
}

long OpenSslSession::Wire::Control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

const BIO_METHOD* OpenSslSession::Wire::Method() {
  static const BIO_METHOD* const made = [] {
    BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "smartcache");
    if (method == nullptr) return method;
    BIO_meth_set_read(method, &Read);
    BIO_meth_set_write(method, &Write);
    BIO_meth_set_ctrl(method, &Control);
    return method;
  }();
  return made;
}

std::unique_ptr<OpenSslSession> OpenSslSession::Make(SslPtr ssl) {
  const BIO_METHOD* const method = Wire::Method();
  BIO* const bio = method == nullptr || ssl == nullptr ? nullptr : BIO_new(method);
  if (bio == nullptr) return nullptr;
  std::unique_ptr<OpenSslSession> session(new OpenSslSession(std::move(ssl)));
  BIO_set_data(bio, &session->wire_);
  BIO_set_init(bio, 1);
  SSL_set_bio(session->ssl_.get(), bio, bio);  // owns it from here
  return session;
}

Result<bool> OpenSslSession::Handshake() {
  ERR_clear_error();
  const int done = SSL_do_handshake(ssl_.get());
  if (done == 1) return true;
  const int error = SSL_get_error(ssl_.get(), done);
  if (error == SSL_ERROR_WANT_READ) return false;
  return Failure(error);
}

void OpenSslSession::Feed(std::string_view encrypted) {
  if (wire_.taken == wire_.in.size()) {
    wire_.in.clear();
    wire_.taken = 0;
  }
  wire_.in += encrypted;
}

Result<std::size_t> OpenSslSession::Read(std::span<char> space) {
  ERR_clear_error();
  const auto size = static_cast<int>(std::min<std::size_t>(space.size(), INT_MAX));
  const int count = SSL_read(ssl_.get(), space.data(), size);
  if (count > 0) return static_cast<std::size_t>(count);
  const int error = SSL_get_error(ssl_.get(), count);
  if (error == SSL_ERROR_ZERO_RETURN) ended_ = true;
  if (error == SSL_ERROR_ZERO_RETURN || error == SSL_ERROR_WANT_READ) return std::size_t{0};
  return Failure(error);
}

Status OpenSslSession::Write(std::string_view plain) {
  while (!plain.empty()) {
    ERR_clear_error();
    const auto size = static_cast<int>(std::min<std::size_t>(plain.size(), INT_MAX));
    const int count = SSL_write(ssl_.get(), plain.data(), size);
    // Memory takes all that is written, and a peer cannot ask for another handshake.
    if (count <= 0) return Failure(SSL_get_error(ssl_.get(), count));
    plain.remove_prefix(static_cast<std::size_t>(count));
  }
  return Ok();
}

Status OpenSslSession::Failure(int error) const {
  // The last one is what all before it have led to.
  const unsigned long last = ERR_peek_last_error();
  const int reason = ERR_GET_LIB(last) == ERR_LIB_SSL ? ERR_GET_REASON(last) : 0;
  const char* const text = ERR_reason_error_string(last);
  ERR_clear_error();
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    const long why = SSL_get_verify_result(ssl_.get());
    return Unavailable(std::string("certificate verify failed: ") +
                       X509_verify_cert_error_string(why));
  }
  if (text == nullptr) return Unavailable("OpenSSL error " + std::to_string(error));
  if (reason == SSL_R_WRONG_VERSION_NUMBER) {
    return Unavailable(std::string("what the server says is not TLS (") + text + ")");
  }
  return Unavailable(text);
}

}  // namespace smartcache::tls
