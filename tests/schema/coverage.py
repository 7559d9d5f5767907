#!/usr/bin/env python3
"""What no generated case has: attributes never given, documented values never drawn, inputs and outputs that may be absent and
never are, or always are; and what explained.txt quotes that no specification says.   coverage.py prints a line for each;
run.py counts them as failures.

The schema says which attributes, optional inputs and outputs there are. What values an attribute has stands in its description
only: VALUES repeats it for those with a few. A value counts as drawn where the attribute is absent and it is the default.
"""

import fnmatch
import os
import re
import sys
from collections import defaultdict

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), *p) for p in ((), ("..", "python"))]

import families_attributes  # noqa: E402, F401
import families_control  # noqa: E402, F401
import families_elementwise  # noqa: E402, F401
import families_ml  # noqa: E402, F401
import families_moves  # noqa: E402, F401
import families_rows  # noqa: E402, F401
import families_sums  # noqa: E402, F401
import drafts  # noqa: E402

FLAG, FLOATS = (0, 1), (1, 10, 11, 16)
# Of all operators that have an attribute of that name, or of those named in front of a point.
VALUES = {
    "auto_pad": ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"),
    "Pad.mode": ("constant", "reflect", "edge"),
    "Resize.mode": ("nearest", "linear", "cubic"),
    "Upsample.mode": ("nearest", "linear"),
    "DepthToSpace.mode": ("DCR", "CRD"),
    "SpaceToDepth.mode": ("DCR", "CRD"),
    "RoiAlign.mode": ("avg", "max"),
    "TensorScatter.mode": ("linear", "circular"),
    "TfIdfVectorizer.mode": ("TF", "IDF", "TFIDF"),
    "Momentum.mode": ("standard", "nesterov"),
    "RoiAlign.coordinate_transformation_mode": ("half_pixel", "output_half_pixel"),
    "Resize.coordinate_transformation_mode": (
        "half_pixel",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_crop_and_resize",
    ),
    "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
    "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
    "direction": ("forward", "reverse", "bidirectional"),
    "BitShift.direction": ("LEFT", "RIGHT"),
    "approximate": ("none", "tanh"),
    "activation": ("none", "silu", "swish"),
    "padding_mode": ("zeros", "border", "reflection"),
    "round_mode": ("up", "down", "nearest"),
    "case_change_action": ("NONE", "LOWER", "UPPER"),
    "NegativeLogLikelihoodLoss.reduction": ("none", "sum", "mean"),
    "SoftmaxCrossEntropyLoss.reduction": ("none", "sum", "mean"),
    "update_rule": ("linear", "gated", "delta", "gated_delta"),
    "qk_matmul_output_mode": (0, 1, 2, 3),
    "softmax_precision": FLOATS,
    "QuantizeLinear.precision": FLOATS,
    "LpNormalization.p": (1, 2),
    "ScatterND.reduction": ("none", "add", "mul"),
    "ScatterElements.reduction": ("none", "add", "mul"),
    "Range.stash_type": (1, 11),
    **{
        name: FLAG
        for name in """align_corners allowzero antialias broadcast ceil_mode center_point_box count_include_pad detect_negative
        detect_positive exclude_outside exclusive fmod input_forget interleaved inverse is_case_sensitive is_causal keepdims largest layout
        linear_before_reset new_axis noop_with_empty_axes onesided periodic reverse saturate select_last_index sorted spatial storage_order
        training_mode transA transB upper is_test""".split()
    },
}
LATER = {  # values that a version added: {attribute: ((version, values), ...)}
    "Pad.mode": ((19, ("wrap",)),),
    "Resize.coordinate_transformation_mode": ((19, ("half_pixel_symmetric",)),),
    "ScatterND.reduction": ((18, ("max", "min")),),
    "ScatterElements.reduction": ((18, ("max", "min")),),
}
BEFORE = {"Resize.mode": (11, ("cubic",)), "Upsample.mode": (7, ("linear",))}  # values that versions below do not have
RENAMED = {"GridSample.mode": ((20, ("nearest", "linear", "cubic")), (16, ("nearest", "bilinear", "bicubic")))}
# What is meant to be without: attributes of old formats, and what other tests draw.
NOT = {
    "consumed_inputs": "of a time when operators wrote over their inputs",
    "LpPool.kernel_shape": "version 1 has no default, and says nothing of a pool without",
    "Reshape.shape": "the same of version 1's shape",
    "RegexFullMatch.pattern": "the same of an expression",
}


def documented(schema, name):
    """The values that an attribute's description lists; none where they are many."""
    own = "%s.%s" % (schema.name, name)
    if own in RENAMED:
        return next(found for since, found in RENAMED[own] if schema.since_version >= since)
    found = VALUES.get(own, VALUES.get(name) if "." not in name else None) or ()
    if own in BEFORE and schema.since_version < BEFORE[own][0]:
        found = [v for v in found if v not in BEFORE[own][1]]
    return list(found) + [v for since, more in LATER.get(own, ()) if schema.since_version >= since for v in more]


def default_of(attribute):
    proto = attribute.default_value
    return None if not proto.name else proto.s.decode() if proto.type == 3 else proto.i if proto.type == 2 else None


def gaps(schema):
    """Texts, each naming what no case of this version has."""
    given, drawn, inputs, outputs = defaultdict(set), defaultdict(set), defaultdict(set), set()
    for draft in drafts.drafts(schema, 0):
        for case in drafts.with_extremes(draft):
            for name, a in schema.attributes.items():
                value = case.attrs.get(name)
                given[name].add(value is not None)
                drawn[name].add(default_of(a) if value is None else value if isinstance(value, (int, str)) else None)
            for k, port in enumerate(schema.inputs):
                inputs[k].add(k < len(case.inputs) and case.inputs[k] is not None)
            outputs.add(case.n_out)
    if not outputs:
        return  # explained.txt has it
    for name, a in sorted(schema.attributes.items()):
        if name in NOT or "%s.%s" % (schema.name, name) in NOT:
            continue
        if True not in given[name]:
            yield "attribute %s is never given" % name
        if not a.required and False not in given[name]:
            yield "attribute %s is never absent" % name
        for value in documented(schema, name):
            if value not in drawn[name]:
                yield "%s=%s is never drawn" % (name, value)
    for k, port in enumerate(schema.inputs):
        if "Optional" in str(port.option) and inputs[k] != {True, False}:
            yield "input %s is never %s" % (port.name, "absent" if True in inputs[k] else "there")
    if schema.max_output > 100:
        return
    if max(outputs) < schema.max_output:
        yield "%d outputs, never asked for more than %d" % (schema.max_output, max(outputs))
    if min(outputs) > max(schema.min_output, 1):
        yield "%d outputs would do, never asked for less than %d" % (schema.min_output, min(outputs))


def all_gaps():
    """(version's name, text) of every operator; those of ai.onnx.ml draw their attributes at random: tests/python/ml_gen.py."""
    return [
        ("%s%s-%d" % (s.domain + ":" if s.domain else "", s.name, s.since_version), text)
        for s in drafts.schemas()
        if s.domain != "ai.onnx.ml"
        for text in gaps(s)
    ]


def plain(text):
    """Without marks and breaks of lines."""
    return " ".join(re.sub(r"[`*\\]", "", text).split()).lower()


def specification(schema):
    ports = [(p.name, p.description) for p in list(schema.inputs) + list(schema.outputs)]
    attributes = [(n, a.description) for n, a in schema.attributes.items()]
    return plain(" ".join([schema.doc or ""] + ["%s: %s" % x for x in ports + attributes]))


def unquoted(rules):
    """(pattern, quotation) of the rules (pattern, verdict, reason) whose quotation neither a version that the pattern stands
    for nor an operator that the reason names has. [...] and ... stand for what is left out."""
    schemas = drafts.schemas()
    for pattern, _, reason in rules:
        head, words = pattern.split("/")[0], set(re.findall(r"[A-Z]\w+", re.sub(r'"[^"]*"', "", reason)))
        meant = [specification(s) for s in schemas if s.name in words or fnmatch.fnmatchcase(
            "%s%s-%d" % (s.domain + ":" if s.domain else "", s.name, s.since_version), head)]
        for quote in re.findall(r'"([^"]+)"', reason):
            parts = [plain(p) for p in re.split(r"\[\.\.\.\]|\.\.\.", quote)]
            if not any(all(p in text for p in parts) for text in meant):
                yield pattern, quote


if __name__ == "__main__":
    import run

    found = all_gaps() + list(unquoted(run.explained()))
    for line in found:
        print("%s: %s" % line)
    sys.exit(1 if found else 0)
