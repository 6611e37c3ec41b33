# Target smartcache_tls: TLS by OpenSSL, the one part that needs it. It goes into an extension module of
# its own, djsmartcache._tls, so that the rest runs where there is no OpenSSL.

set(SMARTCACHE_TLS AUTO CACHE STRING
    "Build TLS (rediss://): ON, OFF, or AUTO where OpenSSL's headers are installed")
set_property(CACHE SMARTCACHE_TLS PROPERTY STRINGS AUTO ON OFF)

set(oldest_openssl 1.1.1)
if(SMARTCACHE_TLS STREQUAL AUTO)
  find_package(OpenSSL ${oldest_openssl} QUIET)
elseif(SMARTCACHE_TLS)
  find_package(OpenSSL ${oldest_openssl} REQUIRED)
endif()
if(SMARTCACHE_TLS AND OPENSSL_FOUND)
  set(SMARTCACHE_HAS_TLS ON)
  add_library(smartcache_tls STATIC ${tls_sources})
  target_link_libraries(smartcache_tls PUBLIC smartcache OpenSSL::SSL OpenSSL::Crypto)
else()
  set(SMARTCACHE_HAS_TLS OFF)
  message(STATUS "Without TLS (rediss://): SMARTCACHE_TLS is ${SMARTCACHE_TLS}, "
                 "OpenSSL ${oldest_openssl} or later was not looked for or not found")
endif()
