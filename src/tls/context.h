// The Context of tls.h on OpenSSL.
#pragma once

#include <memory>

#include "smartcache/tls.h"

namespace smartcache::tls {

[[nodiscard]] std::shared_ptr<Context> MakeOpenSslContext(const Options& options);

}  // namespace smartcache::tls
