# The extension modules: djsmartcache._core, the one place where C++ meets Python, and beside it
# djsmartcache._tls, which only registers itself with that.

find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
execute_process(COMMAND ${Python_EXECUTABLE} -m nanobind --cmake_dir
                OUTPUT_VARIABLE nanobind_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE
                COMMAND_ERROR_IS_FATAL ANY)
find_package(nanobind CONFIG REQUIRED)

file(GLOB extension_sources CONFIGURE_DEPENDS src/python/*.cpp)
list(FILTER extension_sources EXCLUDE REGEX "_(test|bench)\\.cpp$")
# NOMINSIZE: the hit path is ours to optimize for speed; nanobind's default is for size.
nanobind_add_module(_core NB_STATIC NOMINSIZE NB_SUPPRESS_WARNINGS ${extension_sources})
target_link_libraries(_core PRIVATE smartcache)
# Symbols of the static libraries stay inside, apart from those of other extensions.
target_link_options(_core PRIVATE LINKER:--exclude-libs,ALL)
install(TARGETS _core LIBRARY DESTINATION djsmartcache)

if(SMARTCACHE_HAS_TLS)
  python_add_library(_tls MODULE WITH_SOABI src/python/tls/module.cpp)
  target_link_libraries(_tls PRIVATE smartcache_tls)
  target_link_options(_tls PRIVATE LINKER:--exclude-libs,ALL)
  install(TARGETS _tls LIBRARY DESTINATION djsmartcache)
endif()

if(SKBUILD)
  if(NOT SMARTCACHE_SYSTEM_LMDB)
    install(FILES ${third_party}/lmdb/LICENSE DESTINATION ${SKBUILD_METADATA_DIR}/licenses/lmdb)
  endif()
  if(NOT SMARTCACHE_SYSTEM_LIBVALKEY)
    install(FILES ${third_party}/libvalkey/COPYING
            DESTINATION ${SKBUILD_METADATA_DIR}/licenses/libvalkey)
  endif()
endif()
