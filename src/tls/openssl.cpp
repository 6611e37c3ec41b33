#include "tls/openssl.h"

#include <openssl/err.h>

namespace smartcache::tls {

std::string TakeError() {
  const unsigned long error = ERR_peek_error();
  ERR_clear_error();
  if (error == 0) return "no reason given";
  const char* const reason = ERR_reason_error_string(error);
  return reason == nullptr ? "OpenSSL error " + std::to_string(error) : reason;
}

}  // namespace smartcache::tls
