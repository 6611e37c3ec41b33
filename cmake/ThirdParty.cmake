# Targets smartcache_lmdb and smartcache_libvalkey: the system's library where that is asked for,
# else C sources, looked for in this order: bundled in our sdist (third_party/), or fetched by
# tools/fetch_sources.py, which keeps what it downloaded in the user's cache folder.

set(third_party ${PROJECT_SOURCE_DIR}/third_party)
if(NOT EXISTS ${third_party}/lmdb/mdb.c AND NOT (SMARTCACHE_SYSTEM_LMDB
                                                 AND SMARTCACHE_SYSTEM_LIBVALKEY))
  set(third_party ${PROJECT_BINARY_DIR}/third_party)
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
  execute_process(COMMAND ${Python_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/fetch_sources.py
                          ${third_party} COMMAND_ERROR_IS_FATAL ANY)
endif()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS tools/sources.txt)

# Warnings in others' C are not ours to mend. Only the address sanitizer is kept: LMDB reads
# unaligned and shares its map between threads by design, which the other two report.
function(smartcache_c_library target)
  add_library(${target} STATIC EXCLUDE_FROM_ALL ${ARGN})
  target_compile_options(${target} PRIVATE -w)
  target_link_libraries(${target} PRIVATE Threads::Threads)
  if(SMARTCACHE_SANITIZE MATCHES address)
    target_compile_options(${target} PRIVATE -fsanitize=address -fno-omit-frame-pointer)
  endif()
endfunction()

find_package(Threads REQUIRED)
if(SMARTCACHE_SYSTEM_LMDB)
  find_path(LMDB_INCLUDE_DIR lmdb.h REQUIRED)
  find_library(LMDB_LIBRARY lmdb REQUIRED)
  add_library(smartcache_lmdb INTERFACE)
  target_include_directories(smartcache_lmdb SYSTEM INTERFACE ${LMDB_INCLUDE_DIR})
  target_link_libraries(smartcache_lmdb INTERFACE ${LMDB_LIBRARY})
else()
  smartcache_c_library(smartcache_lmdb ${third_party}/lmdb/mdb.c ${third_party}/lmdb/midl.c)
  target_include_directories(smartcache_lmdb SYSTEM PUBLIC ${third_party}/lmdb)
endif()

if(SMARTCACHE_SYSTEM_LIBVALKEY)
  find_path(LIBVALKEY_INCLUDE_DIR valkey/valkey.h REQUIRED)
  find_library(LIBVALKEY_LIBRARY valkey REQUIRED)
  add_library(smartcache_libvalkey INTERFACE)
  target_include_directories(smartcache_libvalkey SYSTEM INTERFACE ${LIBVALKEY_INCLUDE_DIR})
  target_link_libraries(smartcache_libvalkey INTERFACE ${LIBVALKEY_LIBRARY})
else()
  # Neither tls.c (TLS is src/tls) nor rdma.c. async.c comes along because cluster.c needs it.
  set(valkey_sources)
  foreach(name adlist alloc async cluster command conn crc16 dict dns net read sds sockcompat
               timer valkey vkutil)
    list(APPEND valkey_sources ${third_party}/libvalkey/src/${name}.c)
  endforeach()
  smartcache_c_library(smartcache_libvalkey ${valkey_sources})
  target_include_directories(
    smartcache_libvalkey SYSTEM PUBLIC ${third_party}/libvalkey/include
    PRIVATE ${third_party}/libvalkey/include/valkey ${third_party}/libvalkey/src)
endif()
