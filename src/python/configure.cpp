#include "python/configure.h"

#include <cstring>

#include "python/answers.h"
#include "python/errors.h"
#include "smartcache/entry.h"

namespace smartcache::binding {
namespace {

std::size_t BytesOf(Py_ssize_t bytes, const char* name) {
  if (bytes < 0) {
    PyErr_Format(PyExc_ValueError, "%s must not be negative", name);
    nb::raise_python_error();
  }
  return static_cast<std::size_t>(bytes);
}

nb::object CallableOf(PyObject* object, const char* name) {
  if (PyCallable_Check(object) == 0) {
    PyErr_Format(PyExc_TypeError, "%s must be callable", name);
    nb::raise_python_error();
  }
  return nb::borrow(object);
}

}  // namespace

Settings SettingsOf(nb::handle arguments) {
  static const char* names[] = {"url",
                                "directory",
                                "prefix",
                                "secret",
                                "local_max_bytes",
                                "max_payload_bytes",
                                "use_lock",
                                "lock_timeout",
                                "channel",
                                "start_listener",
                                "redis_timeout",
                                "embedded_max_bytes",
                                "mark_lease",
                                "dumps",
                                "loads",
                                "model_of",
                                "label_of",
                                nullptr};
  const char *url, *directory, *prefix, *channel;
  PyObject *secret, *dumps, *loads, *model_of, *label_of;
  Py_ssize_t local_max_bytes, max_payload_bytes, embedded_max_bytes;
  int use_lock, start_listener;
  double lock_timeout, redis_timeout, mark_lease;
  const nb::tuple none = nb::make_tuple();
  if (PyArg_ParseTupleAndKeywords(none.ptr(), arguments.ptr(), "$zssSnnpdspdndOOOO:configure",
                                  const_cast<char**>(names), &url, &directory, &prefix, &secret,
                                  &local_max_bytes, &max_payload_bytes, &use_lock, &lock_timeout,
                                  &channel, &start_listener, &redis_timeout, &embedded_max_bytes,
                                  &mark_lease, &dumps, &loads, &model_of, &label_of) == 0) {
    nb::raise_python_error();
  }
  Settings settings;
  if (url != nullptr) settings.url = url;
  Options& options = settings.options;
  options.prefix = prefix;
  options.secret = SecretOf(secret);
  options.local_max_bytes = BytesOf(local_max_bytes, "local_max_bytes");
  options.max_payload_bytes = BytesOf(max_payload_bytes, "max_payload_bytes");
  options.use_lock = use_lock != 0;
  options.lock_timeout = SecondsOf(lock_timeout);
  options.channel = channel;
  options.redis_timeout = SecondsOf(redis_timeout);
  options.start_listener = start_listener != 0;
  options.directory = directory;
  options.embedded_max_bytes = BytesOf(embedded_max_bytes, "embedded_max_bytes");
  options.mark_lease = SecondsOf(mark_lease);
  settings.dumps = CallableOf(dumps, "dumps");
  settings.loads = CallableOf(loads, "loads");
  settings.model_of = CallableOf(model_of, "model_of");
  settings.label_of = CallableOf(label_of, "label_of");
  return settings;
}

Secret SecretOf(nb::handle bytes) {
  Secret secret;
  if (PyBytes_Check(bytes.ptr()) == 0 ||
      PyBytes_GET_SIZE(bytes.ptr()) != static_cast<Py_ssize_t>(secret.size())) {
    throw nb::value_error("secret must be 32 bytes");
  }
  std::memcpy(secret.data(), PyBytes_AS_STRING(bytes.ptr()), secret.size());
  return secret;
}

}  // namespace smartcache::binding
