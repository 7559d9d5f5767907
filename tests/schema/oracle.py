"""What a case should give, by others: ONNX's reference evaluator and ONNX Runtime.

Both know only some versions and types of an operator. A case may also be asked of another version that means the same:
one with the same inputs and attributes (versions that only added types), or, where attributes became inputs and
defaults changed, the newer form that legacy.py writes. For narrow floats there is also the reference in double
precision, rounded to the type: what an operator means before any rounding of steps inside it.
answers(case) yields (who, outputs), cheapest first; outputs are arrays or lists.
"""

import functools
import re
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import formulas
import legacy
import values

onnxruntime.set_default_logger_severity(4)
warnings.simplefilter("ignore")
ORT_TYPES = {"float", "double", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
             "bool", "string"}
IR_VERSION = 10
TOP_OPSET = defs.onnx_opset_version()


def ranked(proto, value):
    """The type with as many unnamed dims as the tensors in the value all have."""
    form = proto.WhichOneof("value")
    if form == "tensor_type":
        ranks = {x.ndim for x in (value if isinstance(value, list) else [value]) if isinstance(x, np.ndarray)}
        if len(ranks) == 1:
            shape = helper.make_tensor_type_proto(proto.tensor_type.elem_type, [None] * ranks.pop()).tensor_type.shape
            proto.tensor_type.shape.CopyFrom(shape)
    elif form in ("sequence_type", "optional_type"):
        ranked(getattr(proto, form).elem_type, value)
    return proto


def type_proto(type_str):
    """tensor(float), seq(tensor(x)), optional(x), map(k, v) as a TypeProto without shapes."""
    head, rest = type_str[:-1].split("(", 1)
    if head == "tensor":
        return helper.make_tensor_type_proto(values.NUMBER[rest], None)
    if head == "seq":
        return helper.make_sequence_type_proto(type_proto(rest))
    if head == "optional":
        return helper.make_optional_type_proto(type_proto(rest))
    key, value = rest.split(",", 1)
    value = value.strip()
    return helper.make_map_type_proto(values.NUMBER[key], type_proto(value if "(" in value else "tensor(%s)" % value))


def attribute(name, value):
    """None for one that is not given."""
    if isinstance(value, np.ndarray):
        return helper.make_attribute(name, numpy_helper.from_array(value))
    if isinstance(value, (list, tuple)) and not value:
        return helper.make_attribute(name, [], attr_type=onnx.AttributeProto.INTS)
    return helper.make_attribute(name, value)


class Parts:
    """A case as pieces of a graph, all names beginning with `prefix`."""

    def __init__(self, case, prefix, all_fixed=False):
        schema = defs.get_schema(case.op, case.version, case.domain)
        self.inputs, self.initializers, self.feeds, self.outputs = [], [], {}, []
        names = []
        for k, value in enumerate(case.inputs):
            if value is None:
                names.append("")
                continue
            name = "%sx%d" % (prefix, k)
            names.append(name)
            port = schema.inputs[min(k, len(schema.inputs) - 1)]
            kind = case.types.get(port.type_str, port.type_str)
            if isinstance(value, np.ndarray) and (k in case.fixed or (all_fixed and kind.startswith("tensor("))):
                self.initializers.append(numpy_helper.from_array(value, name))
                continue
            if isinstance(value, np.ndarray) and kind.startswith("tensor("):
                elem = values.NAME[value.dtype]
                self.inputs.append(helper.make_tensor_value_info(name, values.NUMBER[elem], value.shape))
            else:
                self.inputs.append(helper.make_value_info(name, ranked(type_proto(kind), value)))
            self.feeds[name] = value
        for k in range(case.n_out):
            port = schema.outputs[min(k, len(schema.outputs) - 1)]
            kind = case.types.get(port.type_str, port.type_str)
            self.outputs.append(helper.make_value_info("%sy%d" % (prefix, k), type_proto(kind)))
        self.node = helper.make_node(case.op, names, [v.name for v in self.outputs], name=prefix or "node", domain=case.domain)
        self.node.attribute.extend(attribute(n, v) for n, v in sorted(case.attrs.items()) if v is not None)


def model_of(parts, domain, version):
    """One model of some cases' parts, all of one version."""
    graph = helper.make_graph(
        [p.node for p in parts], "g", [x for p in parts for x in p.inputs], [y for p in parts for y in p.outputs],
        [t for p in parts for t in p.initializers],
    )
    imports = [helper.make_opsetid(domain, version)]
    if domain:
        imports.append(helper.make_opsetid("", 17))
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)


def signature(schema):
    ports = [[(p.name, str(p.option)) for p in side] for side in (schema.inputs, schema.outputs)]
    attrs = {n: (str(a.type), a.required, str(a.default_value)) for n, a in schema.attributes.items()
             if n != "consumed_inputs"}
    return ports, attrs


@functools.cache
def history(domain, op):
    return sorted((s for s in defs.get_all_schemas_with_history() if (s.domain, s.name) == (domain, op)),
                  key=lambda s: s.since_version)


@functools.cache
def same_meaning(domain, op, version):
    """Versions of an operator whose inputs and attributes are those of this one, itself first, the newer before the
    older ones."""
    all_of = history(domain, op)
    own = next(s for s in all_of if s.since_version == version)
    kin = [s.since_version for s in all_of if signature(s) == signature(own)
           and not legacy.changed(domain, op, s.since_version, version)]
    return [version] + sorted((v for v in kin if v > version)) + sorted((v for v in kin if v < version), reverse=True)


def by_reference(case):
    parts = Parts(case, "")
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = ReferenceEvaluator(model_of([parts], case.domain, case.version))
        return session.run(None, {n: copy_of(v) for n, v in parts.feeds.items()})


def copy_of(value):
    return value.copy() if isinstance(value, np.ndarray) else list(value) if isinstance(value, list) else value


def by_runtime(case):
    parts = Parts(case, "")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = model_of([parts], case.domain, case.version)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, parts.feeds)


def elements(case):
    """The element types that a case feeds and returns."""
    found = {values.NAME[x.dtype] for x in case.inputs if isinstance(x, np.ndarray)}
    for kind in case.types.values():
        found |= set(re.findall(r"\w+", kind)) - {"tensor", "seq", "optional", "map"}
    return found


def in_double(case):
    """The case with its narrow floats widened, or None."""
    narrow = {"float", "float16", "bfloat16"}
    fed = {values.NAME[x.dtype] for x in case.inputs if isinstance(x, np.ndarray)}
    if case.kind == "own" or not fed & narrow or any(isinstance(x, list) for x in case.inputs):
        return None
    wide = [x.astype(np.float64) if isinstance(x, np.ndarray) and values.NAME[x.dtype] in narrow else x for x in case.inputs]
    types = {n: "tensor(double)" if values.element_of(t)[1] in narrow else t for n, t in case.types.items()}
    return case._replace(inputs=wide, types=types)


def as_common(case, whole):
    """The case with every float as float32 and every integer as `whole` (an exact change where values are small), for
    ONNX Runtime, which has these types of nearly every operator; None when nothing would change."""
    if case.kind == "own" or any(isinstance(x, list) for x in case.inputs):
        return None

    moved = case.kind == "move"  # elements only change place: a string is as good as its number
    words = sorted({str(w) for x in case.inputs if isinstance(x, np.ndarray) and x.dtype == object for w in x.flat})

    def as_number(x):
        return np.array([words.index(str(w)) for w in x.flat], np.int64).reshape(x.shape)

    def common(name):
        if moved and name in ("string", "bool"):
            return whole
        if whole == "float":
            return name if name in ("string", "bool") else "float"
        if name in values.FLOAT:
            return "float"
        return whole if name in values.SINT[:4] + values.UINT[:4] else name

    schema = defs.get_schema(case.op, case.version, case.domain)
    free = {c.type_param_str for c in schema.type_constraints}
    inputs = []
    for k, x in enumerate(case.inputs):
        port = schema.inputs[min(k, len(schema.inputs) - 1)]
        name = values.NAME[x.dtype] if isinstance(x, np.ndarray) else ""
        if name == "string" and moved:
            x = as_number(x)
        inputs.append(x.astype(values.DTYPE[common(name)]) if name and port.type_str in free else x)
    types = {}
    for n, t in case.types.items():
        head, name = values.element_of(t)
        types[n] = "tensor(%s)" % common(name) if head == "tensor" else t
    return None if types == case.types else (case._replace(inputs=inputs, types=types), words)


def holds(wide, narrow):
    """Did nothing get lost on the way back?"""
    return all(not isinstance(w, np.ndarray) or w.dtype.kind not in "iu" or (w == n.astype(w.dtype)).all()
               for w, n in zip(wide, narrow))


def attempt(run, case):
    try:
        with np.errstate(all="ignore"):
            return run(case)
    except Exception as error:  # whatever an oracle cannot do: the next one is asked
        return "%s: %s" % (type(error).__name__, str(error).strip().replace("\n", " ")[:200])


def round_to(outputs, case):
    """Outputs of the case in double precision, each in the type that the case declares."""
    schema = defs.get_schema(case.op, case.version, case.domain)
    found = []
    for k, y in enumerate(outputs):
        port = schema.outputs[min(k, len(schema.outputs) - 1)]
        elem = values.element_of(case.types.get(port.type_str, port.type_str))[1]
        with np.errstate(all="ignore"):
            found.append(np.asarray(y).astype(values.DTYPE.get(elem, object)) if isinstance(y, (np.ndarray, np.generic)) else y)
    return found


# Sums of elements with real weights: the reference evaluator drops the imaginary part of these.
LINEAR = {"Resize", "Upsample", "GridSample"}
PART = {"complex64": "float", "complex128": "double"}


def by_parts(case):
    """Real and imaginary parts one after the other, by the reference evaluator."""
    types = {}
    for n, t in case.types.items():
        head, name = values.element_of(t)
        types[n] = "tensor(%s)" % PART[name] if head == "tensor" and name in PART else t
    parts = []
    for part in (np.real, np.imag):
        inputs = [np.ascontiguousarray(part(x)) if np.iscomplexobj(x) else x for x in case.inputs]
        parts.append(by_reference(case._replace(inputs=inputs, types=types)))
    return [re + 1j * im if np.issubdtype(re.dtype, np.floating) else re for re, im in zip(*parts)]


def answers(case):
    """(who, outputs or a text that says why there are none)."""
    if case.op in LINEAR and elements(case) & set(PART):
        yield "reference, part by part", attempt(by_parts, legacy.modern(case) or case)
        return
    forms = [case]
    newer = legacy.modern(case)
    if newer is not None:
        forms = [newer] + ([case] if not legacy.only_modern(case) else [])
    for form in forms:
        for version in same_meaning(form.domain, form.op, form.version):
            yield "reference %d" % version, attempt(by_reference, form._replace(version=version))
            if version != form.version:
                break
    for form in forms:
        for version in same_meaning(form.domain, form.op, form.version):
            if elements(form) <= ORT_TYPES:
                yield "runtime %d" % version, attempt(by_runtime, form._replace(version=version))
    for form in forms:
        wide = in_double(form)
        if wide is None:
            continue
        top = max(same_meaning(form.domain, form.op, form.version))
        found = attempt(by_reference, wide._replace(version=top))
        yield "reference %d in double precision" % top, found if isinstance(found, str) else round_to(found, case)
    for form in forms:
        for whole in ("int64", "int32") if form.domain != "ai.onnx.ml" else ("int64", "float"):
            common, words = as_common(form, whole) or (None, None)
            if common is None or not elements(common) <= ORT_TYPES:
                continue
            for version in same_meaning(form.domain, form.op, form.version)[:3]:
                found = attempt(by_runtime, common._replace(version=version))
                if not isinstance(found, str):
                    texts = words and form.kind == "move" and "tensor(string)" in form.types.values()
                    back = [np.array(words, object)[y] for y in found] if texts else round_to(found, case)
                    found = back if texts or holds(found, back) else "out of range"
                yield "runtime %d in single precision" % version, found
                if not isinstance(found, str):
                    break
    if case.op in formulas.FORMULA:
        for form in forms:
            yield "formula", attempt(lambda x: round_to(formulas.FORMULA[x.op](x), case), form)
