// For tests: certificate authorities and certificates, made anew in temporary folders.
#pragma once

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "tls/openssl.h"

namespace smartcache::tls {

inline std::string Text(BIO* bio) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio, &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

inline void Save(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::trunc) << content;
}

class TestAuthority {
 public:
  struct Issued {
    std::string certificate, key;   // PEM
    std::string certfile, keyfile;  // their paths
  };
  static constexpr const char* kLocal = "DNS:localhost,IP:127.0.0.1";
  static constexpr const char* kPassphrase = "open sesame";

  explicit TestAuthority(std::string name = "test authority") : name_(std::move(name)) {
    std::string pattern = (std::filesystem::temp_directory_path() / "smartcache-XXXXXX").string();
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    key_ = NewKey();
    certificate_ = Sign(key_.get(), name_, "", 1);
    Save(ca_path(), Pem(certificate_.get()));
  }
  ~TestAuthority() { std::filesystem::remove_all(folder_); }
  TestAuthority(const TestAuthority&) = delete;
  TestAuthority& operator=(const TestAuthority&) = delete;

  // A certificate of these alternative names, valid for `days` (of the past where negative).
  Issued Issue(const std::string& names = kLocal, int days = 1) {
    const KeyPtr key = NewKey();
    Issued issued;
    issued.certificate = Pem(Sign(key.get(), "a test", names, days).get());
    issued.key = Pem(key.get(), nullptr);
    const std::string name = path(std::to_string(++serial_));
    issued.certfile = name + ".crt";
    issued.keyfile = name + ".key";
    Save(issued.certfile, issued.certificate);
    Save(issued.keyfile, issued.key);
    Save(issued.keyfile + ".secret", Pem(key.get(), kPassphrase));
    return issued;
  }
  [[nodiscard]] std::string path(const std::string& name) const { return folder_ + "/" + name; }
  [[nodiscard]] std::string ca_path() const { return path("ca.crt"); }

  // What every test may use that changes nothing about it.
  static TestAuthority& Shared() {
    static TestAuthority authority;
    return authority;
  }
  static const Issued& SharedServer() {
    static const Issued issued = Shared().Issue();
    return issued;
  }

 private:
  static KeyPtr NewKey() {
    EVP_PKEY_CTX* const making = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nullptr);
    EVP_PKEY* key = nullptr;
    EXPECT_EQ(EVP_PKEY_keygen_init(making), 1);
    EXPECT_EQ(EVP_PKEY_CTX_set_ec_paramgen_curve_nid(making, NID_X9_62_prime256v1), 1);
    EXPECT_EQ(EVP_PKEY_keygen(making, &key), 1);
    EVP_PKEY_CTX_free(making);
    return KeyPtr(key);
  }
  static std::string Pem(X509* certificate) {
    const BioPtr bio(BIO_new(BIO_s_mem()));
    EXPECT_EQ(PEM_write_bio_X509(bio.get(), certificate), 1);
    return Text(bio.get());
  }
  static std::string Pem(EVP_PKEY* key, const char* passphrase) {
    const BioPtr bio(BIO_new(BIO_s_mem()));
    const EVP_CIPHER* const cipher = passphrase == nullptr ? nullptr : EVP_aes_128_cbc();
    std::string secret = passphrase == nullptr ? "" : passphrase;
    EXPECT_EQ(PEM_write_bio_PKCS8PrivateKey(bio.get(), key, cipher, secret.data(),
                                            static_cast<int>(secret.size()), nullptr, nullptr),
              1);
    return Text(bio.get());
  }
  // Without names: the authority's own.
  CertificatePtr Sign(EVP_PKEY* key, const std::string& subject, const std::string& names,
                      int days) {
    CertificatePtr made(X509_new());
    X509* const certificate = made.get();
    EXPECT_EQ(X509_set_version(certificate, 2), 1);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial_);
    constexpr long kDay = 24 * 3600;
    X509_gmtime_adj(X509_getm_notBefore(certificate), -10 * kDay);
    X509_gmtime_adj(X509_getm_notAfter(certificate), days * kDay);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(subject.c_str()), -1, -1, 0);
    X509* const issuer = names.empty() ? certificate : certificate_.get();
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    X509_set_pubkey(certificate, key);
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    const int kind = names.empty() ? NID_basic_constraints : NID_subject_alt_name;
    const std::string value = names.empty() ? "critical,CA:TRUE" : names;
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
    EXPECT_NE(extension, nullptr);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    EXPECT_GT(X509_sign(certificate, key_.get(), EVP_sha256()), 0);
    return made;
  }

  const std::string name_;
  std::string folder_;
  long serial_ = 0;
  KeyPtr key_;
  CertificatePtr certificate_;
};

}  // namespace smartcache::tls
