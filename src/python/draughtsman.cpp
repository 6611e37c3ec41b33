// Draws blueprints: walks a value once and copies what is mutable in it.
//
// Other threads and user code (label_of) may change the value meanwhile, so containers are copied
// first, in one step under the GIL, and only the copies are walked. They become the blueprint's
// own.

#include <cstring>
#include <unordered_map>
#include <utility>

#include "python/blueprint.h"
#include "python/class_table.h"
#include "python/weights.h"

namespace smartcache::binding {
namespace {

constexpr int kMaxDepth = 200;  // deeper values are rebuilt by the serializer

}  // namespace

class Draughtsman {
 public:
  explicit Draughtsman(Blueprint& plan) : plan_(plan) {}

  bool DrawRoot(PyObject* value) {
    Drawn drawn = Draw(value, 0, kUnknownHolders);
    if (drawn.verdict == Verdict::kRefuse) return false;
    plan_.memo_size_ = again_;
    plan_.weight_ += plan_.nodes_.size() * sizeof(Blueprint::Node) +
                     plan_.children_.size() * sizeof(Blueprint::Child) + sizeof(Blueprint);
    if (drawn.verdict == Verdict::kKeep) {
      plan_.shared_ = Ref::Borrow(value);
    } else {
      plan_.root_ = drawn.node;
    }
    return true;
  }

 private:
  using Kind = Blueprint::Kind;
  enum class Verdict { kKeep, kNode, kRefuse };
  struct Drawn {
    Verdict verdict;
    std::uint32_t node;
  };
  static constexpr Drawn kKept{Verdict::kKeep, 0};
  static constexpr Drawn kRefused{Verdict::kRefuse, 0};
  static constexpr std::uint32_t kUnderWay = UINT32_MAX;
  // How many references to a member its container and our copy of that account for: more mean that
  // it may stand in the value twice. Nothing is known of the root.
  static constexpr Py_ssize_t kUnknownHolders = 0;
  static constexpr Py_ssize_t kInTuple = 1;
  static constexpr Py_ssize_t kInCopy = 2;

  struct Met {
    std::uint32_t node = kUnderWay;
    Ref object;  // kept, so that no other object gets its address
  };
  using Children = std::vector<Blueprint::Child>;

  Drawn Draw(PyObject* value, int depth, Py_ssize_t holders) {
    PyTypeObject* type = Py_TYPE(value);
    if (IsScalar(type)) {
      plan_.weight_ += ScalarWeight(value);
      return kKept;
    }
    const ClassKind kind = ClassOf(type).kind;
    switch (kind) {
      case ClassKind::kOther:
        return kRefused;
      case ClassKind::kKeep:
        plan_.weight_ += kObjectWeight;
        return kKept;
      case ClassKind::kZoned:
        plan_.weight_ += kObjectWeight;
        return DrawZoned(value);
      case ClassKind::kFrozenSet:
        return AllKept(value) ? kKept : kRefused;
      default:
        break;
    }
    if (depth >= kMaxDepth) return kRefused;
    const bool may_repeat = Py_REFCNT(value) > holders;
    if (may_repeat) {
      if (const auto met = met_.find(value); met != met_.end()) return DrawAgain(met->second);
      met_.try_emplace(value, Met{kUnderWay, Ref::Borrow(value)});
    }
    const Drawn drawn = DrawNew(value, kind, depth, may_repeat);
    if (may_repeat) {
      if (drawn.verdict == Verdict::kNode) {
        met_[value].node = drawn.node;
      } else {
        met_.erase(value);
      }
    }
    return drawn;
  }

  Drawn DrawNew(PyObject* value, ClassKind kind, int depth, bool may_repeat) {
    switch (kind) {
      case ClassKind::kTuple:
        return DrawTuple(value, nullptr, depth);
      case ClassKind::kNamedTuple:
        return DrawTuple(value, Py_TYPE(value), depth);
      case ClassKind::kList:
        return DrawList(value, depth, may_repeat);
      case ClassKind::kSet:
        return DrawSet(value);
      case ClassKind::kDict: {
        Ref copy = Ref::Steal(PyDict_Copy(value));
        return DrawDict(std::move(copy), nullptr, depth, may_repeat ? value : nullptr);
      }
      case ClassKind::kModel:
      case ClassKind::kModelState:
      case ClassKind::kQuerySet:
        return DrawObject(value, kind, depth, may_repeat);
      default:
        return kRefused;
    }
  }

  Drawn DrawZoned(PyObject* value) {
    const Ref zone = Ref::Steal(PyObject_GetAttrString(value, "tzinfo"));
    if (!zone) return kRefused;
    return ClassOf(Py_TYPE(zone.get())).kind == ClassKind::kKeep ? kKept : kRefused;
  }

  // Second sight of an object: a node that refers to the first one's place in the memo.
  Drawn DrawAgain(Met& met) {
    if (met.node == kUnderWay) {
      return kRefused;  // a cycle through a tuple: it cannot be made before its members
    }
    Blueprint::Node& first = plan_.nodes_[met.node];
    if (first.again == Blueprint::kOnce) first.again = again_++;
    Blueprint::Node node;
    node.kind = Kind::kAgain;
    node.again = first.again;
    return Add(std::move(node));
  }

  Drawn DrawTuple(PyObject* value, PyTypeObject* type, int depth) {
    Children children;
    const Py_ssize_t size = PyTuple_GET_SIZE(value);
    for (Py_ssize_t i = 0; i < size; ++i) {
      const Drawn drawn = Draw(PyTuple_GET_ITEM(value, i), depth + 1, kInTuple);
      if (drawn.verdict == Verdict::kRefuse) return kRefused;
      if (drawn.verdict == Verdict::kNode) children.push_back({i, {}, drawn.node});
    }
    plan_.weight_ += kContainerWeight + static_cast<std::size_t>(size) * sizeof(PyObject*);
    if (children.empty()) return kKept;
    Blueprint::Node node;
    node.kind = Kind::kTuple;
    node.members = CopyOfMembers(value, children);
    if (!node.members) return kRefused;
    if (type != nullptr) node.type = Ref::Borrow(reinterpret_cast<PyObject*>(type));
    return Add(std::move(node), std::move(children));
  }

  // `value` as a tuple with None in the places of `children`.
  static Ref CopyOfMembers(PyObject* value, const Children& children) {
    const Py_ssize_t size = PyTuple_GET_SIZE(value);
    Ref members = Ref::Steal(PyTuple_New(size));
    if (!members) return members;
    auto child = children.begin();
    for (Py_ssize_t i = 0; i < size; ++i) {
      const bool copied = child != children.end() && child->index == i;
      if (copied) ++child;
      PyTuple_SET_ITEM(members.get(), i, Py_NewRef(copied ? Py_None : PyTuple_GET_ITEM(value, i)));
    }
    return members;
  }

  Drawn DrawList(PyObject* value, int depth, bool may_repeat) {
    const Ref members = Ref::Steal(PyList_AsTuple(value));
    if (!members) return kRefused;
    const std::uint32_t at = Reserve(may_repeat ? value : nullptr, Kind::kList);
    Children children;
    const Py_ssize_t size = PyTuple_GET_SIZE(members.get());
    for (Py_ssize_t i = 0; i < size; ++i) {
      const Drawn drawn = Draw(PyTuple_GET_ITEM(members.get(), i), depth + 1, kInCopy);
      if (drawn.verdict == Verdict::kRefuse) return kRefused;
      if (drawn.verdict == Verdict::kNode) children.push_back({i, {}, drawn.node});
    }
    plan_.weight_ += kContainerWeight + static_cast<std::size_t>(size) * sizeof(PyObject*);
    Ref stripped = children.empty() ? members : CopyOfMembers(members.get(), children);
    if (!stripped) return kRefused;
    return Finish(at, std::move(stripped), {}, std::move(children));
  }

  Drawn DrawSet(PyObject* value) {
    Ref copy = Ref::Steal(PySet_New(value));
    if (!copy || !AllKept(copy.get())) return kRefused;
    Blueprint::Node node;
    node.kind = Kind::kSet;
    node.members = std::move(copy);
    return Add(std::move(node));
  }

  // Whether a set's members are all shared. Copies of others would have to be hashed, which is user
  // code.
  bool AllKept(PyObject* set) {
    const Ref members = Ref::Steal(PySequence_Tuple(set));
    if (!members) return false;
    const Py_ssize_t size = PyTuple_GET_SIZE(members.get());
    plan_.weight_ += kContainerWeight + static_cast<std::size_t>(size) * kSlotWeight;
    for (Py_ssize_t i = 0; i < size; ++i) {
      if (!IsKept(PyTuple_GET_ITEM(members.get(), i))) return false;
    }
    return true;
  }

  // Draws a value that must turn out shared, as keys and set members must.
  bool IsKept(PyObject* value) {
    const std::size_t nodes = plan_.nodes_.size();
    return Draw(value, kMaxDepth - 8, kUnknownHolders).verdict == Verdict::kKeep &&
           plan_.nodes_.size() == nodes;
  }

  // `copy` becomes the blueprint's. `met`: the object to note before its members are drawn, if any.
  Drawn DrawDict(Ref copy, PyTypeObject* type, int depth, PyObject* met) {
    if (!copy) return kRefused;
    const std::uint32_t at = Reserve(met, type == nullptr ? Kind::kDict : Kind::kObject);
    const bool is_query_set = type != nullptr && ClassOf(type).kind == ClassKind::kQuerySet;
    Children children;
    PyObject* key = nullptr;
    PyObject* member = nullptr;
    for (Py_ssize_t position = 0; PyDict_Next(copy.get(), &position, &key, &member) != 0;) {
      plan_.weight_ += kSlotWeight;
      if (Py_TYPE(key) != &PyUnicode_Type && !IsKept(key)) return kRefused;
      if (is_query_set && IsConvention(key)) continue;
      const Drawn drawn = Draw(member, depth + 1, kInCopy);
      if (drawn.verdict == Verdict::kRefuse) return kRefused;
      if (drawn.verdict == Verdict::kNode) children.push_back({0, Ref::Borrow(key), drawn.node});
    }
    for (const Blueprint::Child& child : children) {
      if (PyDict_SetItem(copy.get(), child.key.get(), Py_None) != 0) return kRefused;
    }
    plan_.weight_ += kDictWeight;
    return Finish(at, std::move(copy), Ref::Borrow(reinterpret_cast<PyObject*>(type)),
                  std::move(children));
  }

  // What Django itself shares between a queryset and those derived from it.
  static bool IsConvention(PyObject* key) {
    return PyUnicode_CompareWithASCIIString(key, "_query") == 0 ||
           PyUnicode_CompareWithASCIIString(key, "_prefetch_related_lookups") == 0;
  }

  Drawn DrawObject(PyObject* value, ClassKind kind, int depth, bool may_repeat) {
    if (kind == ClassKind::kQuerySet) {
      // Applies a deferred filter and fetches what has not been fetched: both change the object in
      // place.
      for (const char* step : {"query", "_fetch_all"}) {
        Ref done = Ref::Steal(PyObject_GetAttrString(value, step));
        if (done && step[0] == '_') done = Ref::Steal(PyObject_CallNoArgs(done.get()));
        if (!done) return kRefused;
      }
    }
    const Ref dict = Ref::Steal(PyObject_GenericGetDict(value, nullptr));
    if (!dict || !PyDict_CheckExact(dict.get())) return kRefused;
    Ref copy = Ref::Steal(PyDict_Copy(dict.get()));
    if (!copy) return kRefused;
    // Weak references to the other instances of the result.
    if (kind == ClassKind::kModelState && PyDict_DelItemString(copy.get(), "peers") != 0) {
      PyErr_Clear();
    }
    plan_.weight_ += kObjectWeight;
    return DrawDict(std::move(copy), Py_TYPE(value), depth, may_repeat ? value : nullptr);
  }

  // Takes a place for a node whose members follow; `met` can be referred to from then on.
  std::uint32_t Reserve(PyObject* met, Kind kind) {
    const auto at = static_cast<std::uint32_t>(plan_.nodes_.size());
    plan_.nodes_.emplace_back().kind = kind;
    if (met != nullptr) met_[met].node = at;
    return at;
  }

  Drawn Finish(std::uint32_t at, Ref members, Ref type, Children children) {
    Blueprint::Node& node = plan_.nodes_[at];
    node.members = std::move(members);
    node.type = std::move(type);
    Attach(node, std::move(children));
    return {Verdict::kNode, at};
  }

  Drawn Add(Blueprint::Node node, Children children = {}) {
    Attach(node, std::move(children));
    plan_.nodes_.push_back(std::move(node));
    return {Verdict::kNode, static_cast<std::uint32_t>(plan_.nodes_.size() - 1)};
  }

  void Attach(Blueprint::Node& node, Children children) {
    node.first_child = static_cast<std::uint32_t>(plan_.children_.size());
    node.children = static_cast<std::uint32_t>(children.size());
    for (Blueprint::Child& child : children) plan_.children_.push_back(std::move(child));
  }

  Blueprint& plan_;
  std::unordered_map<PyObject*, Met> met_;
  std::uint32_t again_ = 0;
};

std::unique_ptr<Blueprint> Blueprint::Draw(PyObject* value) {
  auto plan = std::make_unique<Blueprint>();
  if (!Draughtsman(*plan).DrawRoot(value)) return nullptr;
  plan->nodes_.shrink_to_fit();
  plan->children_.shrink_to_fit();
  return plan;
}

}  // namespace smartcache::binding
