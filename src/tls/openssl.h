// Owners of OpenSSL's objects, and what its errors say.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

namespace smartcache::tls {

template <auto kFree>
struct Freeing {
  template <class T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using BioPtr = std::unique_ptr<BIO, Freeing<BIO_free>>;
using SslPtr = std::unique_ptr<SSL, Freeing<SSL_free>>;
using CertificatePtr = std::unique_ptr<X509, Freeing<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freeing<EVP_PKEY_free>>;

// The first error that this thread's calls have left behind, in words; forgets all of them, as
// others in the process look there too.
[[nodiscard]] std::string TakeError();

}  // namespace smartcache::tls
