// The native codec's reader on any bytes: no fault, no large allocation, and what it accepts
// survives being written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "entry/codec/transcode.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using smartcache::codec::Transcoder;
  const std::string once = Transcoder({reinterpret_cast<const char*>(data), size}).Run();
  if (!once.empty() && Transcoder(once).Run() != once) std::abort();
  return 0;
}
