#include "python/cached_function.h"

#include <structmember.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "python/answers.h"
#include "python/bound_function.h"
#include "python/gil.h"
#include "python/guarded.h"
#include "python/hooks.h"
#include "python/py_value.h"
#include "python/ready_value.h"
#include "python/ref.h"
#include "smartcache/tag.h"

namespace smartcache::binding {

const KeyPlan* (*plan_of)(PyObject* object) = nullptr;

namespace {

struct Object {
  PyObject_HEAD PyObject* dict;
  PyObject* weak_references;
  vectorcallfunc vectorcall;
  PyObject* plan_object;
  const KeyPlan* plan;  // inside plan_object
  PyObject* slow;
  PyObject* prefix;  // bytes, or a callable that returns them; null: that of the process
  std::uint64_t hits;
  bool coroutine;
  bool asks_store;  // what L1 does not answer is looked up here, before `slow` is called
  bool lock;        // for that, as in FindOptions
  bool stale;
};
Object* Of(PyObject* self) { return reinterpret_cast<Object*>(self); }

// A buffer for one key, kept for the next call: hits allocate nothing. A call made by user code
// while a key is being made finds none and has its own. What an argument of megabytes took is given
// back.
class KeyBuffer {
 public:
  KeyBuffer() : text_(std::move(Spare())) { text_.clear(); }
  ~KeyBuffer() {
    const std::size_t capacity = text_.capacity();
    if (capacity > Spare().capacity() && capacity <= kMaxKept) Spare() = std::move(text_);
  }
  KeyBuffer(const KeyBuffer&) = delete;
  KeyBuffer& operator=(const KeyBuffer&) = delete;
  [[nodiscard]] std::string& text() { return text_; }

 private:
  static constexpr std::size_t kMaxKept = 4096;
  static std::string& Spare() {
    static auto* spare = new std::string();  // guarded by the GIL; outlives the interpreter
    return *spare;
  }
  std::string text_;
};

bool AppendPrefix(PyObject* prefix, std::string& key) {
  if (prefix == nullptr) prefix = hooks.prefix;
  if (prefix == nullptr) return true;
  Ref made;
  if (!PyBytes_CheckExact(prefix)) [[unlikely]] {
    const Ref call = Ref::Borrow(prefix);  // a set_prefix() meanwhile must not free it
    made = Ref::Steal(PyObject_CallNoArgs(call.get()));
    prefix = made.get();
    if (prefix == nullptr) return false;
    if (!PyBytes_Check(prefix)) {
      PyErr_Format(PyExc_TypeError, "prefix() must return bytes, not %.200s",
                   Py_TYPE(prefix)->tp_name);
      return false;
    }
  }
  key.append(PyBytes_AS_STRING(prefix), static_cast<std::size_t>(PyBytes_GET_SIZE(prefix)));
  return true;
}

bool MakeKey(Object* function, const Call& call, std::string& key, std::uint64_t& identity) {
  if (function->plan == nullptr) [[unlikely]] {
    PyErr_SetString(PyExc_RuntimeError, "CachedFunction has not been initialized");
    return false;
  }
  return AppendPrefix(function->prefix, key) && function->plan->Render(call, key, identity);
}

// `answer`: what the store said, if it was asked.
PyObject* CallSlow(Object* function, const Call& call, std::string_view key, std::uint64_t identity,
                   PyObject* answer) {
  const Ref slow = Ref::Borrow(function->slow);
  const Ref text =
      Ref::Steal(PyBytes_FromStringAndSize(key.data(), static_cast<Py_ssize_t>(key.size())));
  const Ref number = Ref::Steal(PyLong_FromUnsignedLongLong(identity));
  const Ref args = Ref::Steal(PyTuple_New(call.positional));
  const Ref kwargs = Ref::Steal(PyDict_New());
  if (!text || !number || !args || !kwargs) return nullptr;
  for (Py_ssize_t i = 0; i < call.positional; ++i) {
    PyTuple_SET_ITEM(args.get(), i, Py_NewRef(call.args[i]));
  }
  for (Py_ssize_t i = 0; i < call.named(); ++i) {
    if (PyDict_SetItem(kwargs.get(), PyTuple_GET_ITEM(call.names, i),
                       call.args[call.positional + i]) != 0) {
      return nullptr;
    }
  }
  PyObject* arguments[] = {text.get(), number.get(), args.get(), kwargs.get(), answer};
  return PyObject_Vectorcall(slow.get(), arguments, answer == nullptr ? 4 : 5, nullptr);
}

// The way of a call that L1 did not answer: a hit in the store ends it here, anything else goes on
// in `slow`, which knows how long this thread may wait for others. No context is under way in this
// process, so the caller leads no other key.
PyObject* CallStore(Object* function, const Call& call, std::string_view key,
                    std::uint64_t identity) {
  FindOptions options;
  options.identity = identity;
  options.owner = static_cast<std::uint64_t>(PyThread_get_thread_ident()) << 1;
  options.lock = function->lock;
  options.stale = function->stale;
  options.wait = false;
  options.linger = false;
  bool hit = false;
  const Ref answer = Ref::Steal(FindForCall(key, options, hit));
  if (!answer) return nullptr;
  if (!hit) return CallSlow(function, call, key, identity, answer.get());
  ++function->hits;
  return Py_NewRef(answer.get());
}

// The hit path.
inline PyObject* Answer(PyObject* self, PyObject* const* args, std::size_t flags, PyObject* names) {
  DrainDropped();
  Object* function = Of(self);
  const Call call{args, PyVectorcall_NARGS(flags), names};
  KeyBuffer key;
  std::uint64_t identity = 0;
  if (!MakeKey(function, call, key.text(), identity)) [[unlikely]] {
    return nullptr;
  }
  // A coroutine's caller is on an event loop, which is not to wait for a fence.
  const auto proven = [function] {
    return !process.asks_fenced() || (!function->coroutine && ProofNow() == Proof::kSlots);
  };
  if (process.answers() && proven()) [[likely]] {
    if (const LocalRef entry = process.cache->Peek(KeyTag(key.text()), key.text(), identity)) {
      PyObject* copy = PyValue::Copy(*entry);
      if (copy != nullptr) [[likely]] {
        ++function->hits;
        return function->coroutine ? MakeReadyValue(copy) : copy;
      }
      if (PyErr_Occurred() != nullptr) return nullptr;
    }
    if (function->asks_store) return CallStore(function, call, key.text(), identity);
  }
  return CallSlow(function, call, key.text(), identity, nullptr);
}

PyObject* Vectorcall(PyObject* self, PyObject* const* args, std::size_t flags, PyObject* names) {
  return Guarded([&] { return Answer(self, args, flags, names); });
}

PyObject* New(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self != nullptr) Of(self)->vectorcall = Vectorcall;
  return self;
}

int Init(PyObject* self, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"plan", "slow", "prefix", "coroutine", "lock", "stale", nullptr};
  PyObject* plan_object = nullptr;
  PyObject* slow = nullptr;
  PyObject* prefix = nullptr;
  int coroutine = 0;
  int lock = 1;
  int stale = 0;
  if (PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$Oppp:CachedFunction",
                                  const_cast<char**>(names), &plan_object, &slow, &prefix,
                                  &coroutine, &lock, &stale) == 0) {
    return -1;
  }
  const KeyPlan* plan = plan_of(plan_object);
  if (plan == nullptr) return -1;
  if (PyCallable_Check(slow) == 0) {
    PyErr_SetString(PyExc_TypeError, "slow must be callable");
    return -1;
  }
  Ref no_prefix =
      prefix == nullptr ? Ref::Steal(PyBytes_FromStringAndSize(nullptr, 0)) : Ref::Borrow(prefix);
  if (!no_prefix) return -1;
  if (no_prefix.get() == Py_None) {
    no_prefix = Ref();
  } else if (!PyBytes_CheckExact(no_prefix.get()) && PyCallable_Check(no_prefix.get()) == 0) {
    PyErr_SetString(PyExc_TypeError, "prefix must be bytes, a callable that returns them, or None");
    return -1;
  }
  Object* function = Of(self);
  if (function->plan != nullptr) {
    PyErr_SetString(PyExc_TypeError, "CachedFunction is initialized once");
    return -1;
  }
  function->plan_object = Py_NewRef(plan_object);
  function->plan = plan;
  function->slow = Py_NewRef(slow);
  function->prefix = no_prefix.release();
  function->coroutine = coroutine != 0;
  function->lock = lock != 0;
  function->stale = stale != 0;
  return 0;
}

PyObject* Get(PyObject* self, PyObject* instance, PyObject*) {
  return instance == nullptr || instance == Py_None ? Py_NewRef(self)
                                                    : BindFunction(self, instance);
}

PyObject* KeyMethod(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  if (count != 2 || !PyTuple_Check(args[0]) || !PyDict_Check(args[1])) {
    PyErr_SetString(PyExc_TypeError, "key() takes a tuple and a dict");
    return nullptr;
  }
  return Guarded([&]() -> PyObject* {
    UnpackedCall unpacked;
    KeyBuffer key;
    std::uint64_t identity = 0;
    if (!unpacked.Unpack(args[0], args[1]) ||
        !MakeKey(Of(self), unpacked.call(), key.text(), identity)) {
      return nullptr;
    }
    return KeyTuple(key.text(), identity);
  });
}

// As functions are: by the name under which the module has them. Copies are the same object,
// therefore.
PyObject* Reduce(PyObject* self, PyObject*) { return PyObject_GetAttrString(self, "__qualname__"); }

PyObject* Repr(PyObject* self) {
  const Ref name = Ref::Steal(PyObject_GetAttrString(self, "__qualname__"));
  if (name) return PyUnicode_FromFormat("<cached function %U at %p>", name.get(), self);
  PyErr_Clear();
  return PyUnicode_FromFormat("<cached function at %p>", self);
}

int Traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(Of(self)->dict);
  Py_VISIT(Of(self)->plan_object);
  Py_VISIT(Of(self)->slow);
  Py_VISIT(Of(self)->prefix);
  return 0;
}

int Clear(PyObject* self) {
  Of(self)->plan = nullptr;
  Py_CLEAR(Of(self)->dict);
  Py_CLEAR(Of(self)->plan_object);
  Py_CLEAR(Of(self)->slow);
  Py_CLEAR(Of(self)->prefix);
  return 0;
}

void Dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (Of(self)->weak_references != nullptr) PyObject_ClearWeakRefs(self);
  (void)Clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyMemberDef members[] = {
    {"hits", T_ULONGLONG, offsetof(Object, hits), 0, nullptr},
    {"asks_store", T_BOOL, offsetof(Object, asks_store), 0, nullptr},
    {"__dictoffset__", T_PYSSIZET, offsetof(Object, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Object, weak_references), READONLY, nullptr},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Object, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyGetSetDef properties[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef methods[] = {
    {"key", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(KeyMethod)), METH_FASTCALL,
     nullptr},
    {"__reduce__", Reduce, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void*>(New)},
                       {Py_tp_init, reinterpret_cast<void*>(Init)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(Dealloc)},
                       {Py_tp_traverse, reinterpret_cast<void*>(Traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(Clear)},
                       {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                       {Py_tp_descr_get, reinterpret_cast<void*>(Get)},
                       {Py_tp_repr, reinterpret_cast<void*>(Repr)},
                       {Py_tp_members, members},
                       {Py_tp_getset, properties},
                       {Py_tp_methods, methods},
                       {0, nullptr}};

// A method descriptor: obj.f(1) is called as f(obj, 1), without a bound object in between.
PyType_Spec spec = {"djsmartcache._core.CachedFunction", sizeof(Object), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                        Py_TPFLAGS_METHOD_DESCRIPTOR,
                    slots};

}  // namespace

bool AddCachedFunction(PyObject* module) {
  if (!ReadyReadyValue() || !ReadyBoundFunction()) return false;
  const Ref type = Ref::Steal(PyType_FromSpec(&spec));
  return type && PyModule_AddObjectRef(module, "CachedFunction", type.get()) == 0;
}

}  // namespace smartcache::binding
