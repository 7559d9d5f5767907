"""Cases from the schemas: for every version of every operator, every type that each of its type constraints allows.

An operator's family (families*.py) says what the schema does not: shapes that fit together and legal values of inputs
and attributes. It is a function that is given a Draft (one version with one choice of types) and yields forms of it.
A case's name: DOMAIN:OP-VERSION/CONSTRAINT=TYPE/FORM; its values depend on that name and the seed, on nothing else.
"""

import zlib
from collections import namedtuple

import numpy as np
from onnx import defs

import extremes
import values

FAMILY = {}  # (domain, operator): the function
MORE = {}  # (domain, operator): functions that make further forms, of common types only

# inputs: arrays, lists of them (sequences), or None (absent); fixed: which inputs are initializers; n_out: how many
# outputs are asked for; rtol, atol: beyond what the types ask for; shapes: dims of inputs that the model names
Case = namedtuple("Case", "name domain op version types inputs attrs fixed n_out rtol atol kind")


def family(names, domain=""):
    """Decorator: the function makes the forms of these operators."""

    def register(function):
        for name in names.split():
            assert (domain, name) not in FAMILY, name
            FAMILY[domain, name] = function
        return function

    return register


def also(names, domain=""):
    """Decorator: the function makes further forms of these operators, once for each version, with its common types."""

    def register(function):
        for name in names.split():
            assert (domain, name) in FAMILY, name
            MORE.setdefault((domain, name), []).append(function)
        return function

    return register


class Draft:
    """One version of an operator with a type for each of its constraints."""

    def __init__(self, schema, types, constraint, seed):
        self.schema, self.types, self.constraint = schema, types, constraint
        self.version, self.op, self.domain = schema.since_version, schema.name, schema.domain
        kind = types.get(constraint, "")
        self.type_name = "%s=%s" % (constraint, kind) if constraint else "-"
        self.prefix = "%s%s-%d/%s" % (
            schema.domain + ":" if schema.domain else "", schema.name, schema.since_version,
            self.type_name.replace("tensor(", "").replace(")", "") if kind.startswith("tensor(") else self.type_name,
        )
        self.seed = seed
        self.rng = np.random.default_rng([seed, zlib.crc32(self.prefix.encode())])

    def elem(self, k=0):
        """The element type of input k (a variadic input stands for all that follow)."""
        port = self.schema.inputs[min(k, len(self.schema.inputs) - 1)]
        return self.elem_of(port.type_str)

    def elem_of(self, type_str):
        return values.element_of(self.types.get(type_str, type_str))[1]

    def out_elem(self, k=0):
        return self.elem_of(self.schema.outputs[k].type_str)

    def draw(self, k, shape, kind="any"):
        """Values for input k."""
        return values.draw(self.rng, self.elem(k), shape, kind)

    def value(self, type_str):
        """A value of any type: an array, a list for a sequence; an optional holds one."""
        head, rest = type_str[:-1].split("(", 1)
        if head == "tensor":
            return values.draw(self.rng, rest, (2, 3), "finite")
        if head == "seq":
            return [self.value(rest) for _ in range(3)]
        return self.value(rest)

    def has(self, attribute):
        return attribute in self.schema.attributes

    def case(self, form, inputs, fixed=(), n_out=1, rtol=0.0, atol=0.0, kind="", types=None, **attrs):
        inputs = [np.asarray(x) if isinstance(x, np.generic) else x for x in inputs]
        return Case("%s/%s" % (self.prefix, form), self.domain, self.op, self.version, types or self.types, inputs, attrs,
                    tuple(fixed), n_out, rtol, atol, kind)


def schemas():
    """Every version of every operator, sorted."""
    return sorted(defs.get_all_schemas_with_history(), key=lambda s: (s.domain, s.name, s.since_version))


PREFER = ("tensor(float)", "tensor(int64)", "tensor(uint8)", "tensor(bool)", "tensor(string)")


def default_types(schema):
    """A common type for each constraint."""
    found = {}
    for c in schema.type_constraints:
        allowed = sorted(c.allowed_type_strs)
        found[c.type_param_str] = next((t for t in PREFER if t in allowed), allowed[0])
    return found


def used_constraints(schema):
    """The constraints that an input or output names, with their types."""
    named = {p.type_str for p in list(schema.inputs) + list(schema.outputs)}
    return [(c.type_param_str, sorted(c.allowed_type_strs)) for c in schema.type_constraints if c.type_param_str in named]


def drafts(schema, seed):
    """Each type of each constraint once, the others being common ones; one draft without a choice where there is none."""
    base = default_types(schema)
    constraints = used_constraints(schema)
    if not constraints:
        yield Draft(schema, base, "", seed)
    for name, allowed in constraints:
        for kind in allowed:
            yield Draft(schema, dict(base, **{name: kind}), name, seed)


def cases_of(draft):
    """The forms of a draft; none when the operator has no family yet."""
    make = FAMILY.get((draft.domain, draft.op))
    return list(make(draft)) if make else []


def with_extremes(draft):
    """The same, and for common types further forms and what extremes.py makes of the family's."""
    forms = cases_of(draft)
    first = next((name for name, _ in used_constraints(draft.schema)), "")
    if draft.constraint == first and draft.types == default_types(draft.schema):
        made = list(extremes.of(forms))
        forms += [form for more in MORE.get((draft.domain, draft.op), ()) for form in more(draft)] + made
    return forms
