"""Random nodes of ai.onnx.ml and inputs for them, over what their attributes allow:   nodes(op, version, rng) gives one.

What ONNX Runtime is known to compute by accident is left out, each with its reason.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

F32, F64, I32, I64 = np.float32, np.float64, np.int32, np.int64
NUMBERS = (F32, F64, I32, I64)
POSTS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
SINGLE = ("NONE", "PROBIT")     # of one score ONNX Runtime leaves the others out, though "the transform to apply to the score" makes no exception
WORDS = ["", "a", "b", "ab", "Straße", "dog", "cat", "x y", "7", "longer than the others"]
ONNX_TYPE = {np.dtype(k): v for k, v in ((F32, 1), (F64, 11), (I32, 6), (I64, 7), (np.int16, 5), (np.float16, 10))}


class Node:
    """A node: attributes, inputs, and the element types of its outputs (TensorProto numbers).

    either: ONNX Runtime and the standard's reference do not agree with one another everywhere; one of them has to agree.
    spelled: attributes that say to ONNX Runtime what the standard means without them.
    """

    def __init__(self, attributes, inputs, outputs, either=False, spelled=None):
        self.attributes, self.inputs, self.outputs, self.either, self.spelled = attributes, inputs, outputs, either, spelled

    def for_peer(self):
        return Node(dict(self.attributes, **self.spelled), self.inputs, self.outputs, self.either) if self.spelled else self


def floats(rng, n, scale=1.0):
    return [float(v) for v in (rng.standard_normal(n) * scale).astype(F32)]


def matrix(rng, rows, columns, dtype=None):
    """Numbers around 0, with ties."""
    dtype = dtype or NUMBERS[rng.integers(4)]
    x = rng.standard_normal((rows, columns)) * 3
    return np.round(x).astype(dtype) if rng.random() < 0.3 or dtype in (I32, I64) else x.astype(dtype)


def rows_of(rng):
    return int(rng.choice([0, 1, 1, 2, 5, 17, 33]))


def words(rng, shape):
    return np.array([WORDS[k] for k in rng.integers(0, len(WORDS), int(np.prod(shape)))], dtype=object).reshape(shape)


def labels(rng, n, a, ints="classlabels_ints", strings="classlabels_strings"):
    """Class labels as numbers or words; the type of the result."""
    if rng.random() < 0.4:
        a[strings] = ["class %d" % k for k in rng.permutation(n)]
        return TensorProto.STRING
    a[ints] = [int(k) for k in rng.permutation(3 * n)[:n] - n]
    return TensorProto.INT64


def scaler(rng, version):
    c = int(rng.integers(1, 6))
    x = matrix(rng, rows_of(rng), c)
    a = {"offset": floats(rng, c if rng.random() < 0.5 else 1), "scale": floats(rng, c if rng.random() < 0.5 else 1)}
    return Node(a, [x], [1])


def normalizer(rng, version):
    x = matrix(rng, rows_of(rng), int(rng.integers(1, 7)))
    if len(x) > 1:
        x[0] = 0
    return Node({"norm": str(rng.choice(["MAX", "L1", "L2"]))}, [x], [1])


def binarizer(rng, version):
    x = matrix(rng, rows_of(rng), 4, F32)     # ONNX Runtime has no other
    a = {"threshold": float(rng.choice([0, 1, -0.5, 2.25]))} if rng.random() < 0.7 else {}
    return Node(a, [x], [ONNX_TYPE[x.dtype]])


def imputer(rng, version):
    c = int(rng.integers(1, 5))
    x = np.round(matrix(rng, rows_of(rng), c, F32 if rng.random() < 0.7 else I64))   # the two that ONNX Runtime has
    n = c if rng.random() < 0.5 else 1
    if x.dtype == I64:
        return Node({"imputed_value_int64s": [int(k) for k in rng.integers(-9, 9, n)], "replaced_value_int64": int(rng.integers(-2, 3))}, [x], [7])
    x[rng.random(x.shape) < 0.2] = np.nan
    missing = float(rng.choice([np.nan, 0, 1, -2]))
    return Node({"imputed_value_floats": floats(rng, n), "replaced_value_float": missing}, [x], [1])


def feature_vectorizer(rng, version):
    rows, dtype = rows_of(rng) or 3, NUMBERS[rng.integers(4)]    # without rows, ONNX Runtime ends the process
    parts = [matrix(rng, rows, int(rng.integers(1, 5)), dtype) for _ in range(rng.integers(1, 4))]
    return Node({"inputdimensions": [p.shape[1] for p in parts]}, parts, [1])


def array_feature_extractor(rng, version):
    c, n = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    x = words(rng, (3, c)) if rng.random() < 0.3 else matrix(rng, int(rng.integers(1, 6)), c)
    if rng.random() < 0.3:
        x = x[:, None, :]
    kind = TensorProto.STRING if x.dtype == object else ONNX_TYPE[x.dtype]
    return Node({}, [x, rng.integers(0, c, (1, n)).astype(I64)], [kind])


def one_hot_encoder(rng, version):
    text = rng.random() < 0.4
    a = {"cats_strings": WORDS[2:6]} if text else {"cats_int64s": [int(k) for k in rng.permutation(7)[:4] - 3]}
    x = words(rng, (rows_of(rng), 3)) if text else np.round(matrix(rng, rows_of(rng), 3))
    if rng.random() < 0.5:
        a["zeros"] = 1
    return Node(a, [x[:, 0].copy() if rng.random() < 0.3 else x], [1])


def category_mapper(rng, version):
    a = {"cats_strings": WORDS[1:6], "cats_int64s": [4, -1, 9, 0, 77], "default_int64": int(rng.integers(-5, 5)), "default_string": "none"}
    if rng.random() < 0.5:
        return Node(a, [words(rng, (rows_of(rng), 2))], [7])
    return Node(a, [rng.choice([4, -1, 9, 0, 77, 5, 6], (rows_of(rng), 2)).astype(I64)], [8])


def keys_and_values(rng, kind, n, role, nan=False):
    """An attribute list of that kind, and its elements."""
    if kind == "strings":
        v = WORDS[1 : n + 1] if role == "keys" else ["value %d" % k for k in range(n)]
    elif kind == "int64s":
        v = [int(k) for k in (rng.permutation(2 * n)[:n] - n)]
    else:
        v = [float(k) / 2 for k in (rng.permutation(2 * n)[:n] - n)]
        if nan and rng.random() < 0.4:
            v[0] = float("nan")
    return v


def label_encoder(rng, version):
    n, shape = int(rng.integers(1, 9)), (rows_of(rng), 2)
    pick = lambda v, t: np.array([v[k] for k in rng.integers(0, len(v), int(np.prod(shape)))], dtype=t).reshape(shape)
    if version == 1:
        a = {"classes_strings": WORDS[1 : n + 1], "default_int64": int(rng.integers(-5, 5)), "default_string": "none"}
        return Node(a, [words(rng, shape)], [7]) if rng.random() < 0.5 else Node(a, [rng.integers(-2, n + 2, shape).astype(I64)], [8])
    kinds = {"strings": (object, 8), "int64s": (I64, 7), "floats": (F32, 1)}
    if version == 4 and rng.random() < 0.5:      # as tensors: float64 and int16, too
        pairs = ((F64, F64), (F64, I64), (I64, F64), (I64, np.int16), (F32, F32), (I64, I64))   # those that ONNX Runtime has
        k, v = pairs[rng.integers(len(pairs))]
        keys, values = np.array(keys_and_values(rng, "int64s", n, "keys"), k), np.array(keys_and_values(rng, "int64s", n, "values"), v)
        a = {"keys_tensor": numpy_helper.from_array(keys), "values_tensor": numpy_helper.from_array(values),
             "default_tensor": numpy_helper.from_array(np.array([-7], v))}
        return Node(a, [pick(list(keys) + [99], k)], [ONNX_TYPE[np.dtype(v)]])
    k, v = (str(rng.choice(list(kinds))) for _ in range(2))
    keys = keys_and_values(rng, k, n, "keys", nan=version == 4)     # before, ONNX Runtime does not find a NaN
    a = {"keys_" + k: keys, "values_" + v: keys_and_values(rng, v, n, "values")}
    if rng.random() < 0.6:
        a.update({"default_int64": 17, "default_string": "none", "default_float": 2.5})
    other = {"strings": "no key", "int64s": 99, "floats": 99.0}[k]
    return Node(a, [pick(list(keys) + [other], kinds[k][0])], [kinds[v][1]])


def linear_regressor(rng, version):
    c, t = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    a = {"coefficients": floats(rng, c * t), "targets": t}
    a["post_transform"] = str(rng.choice(POSTS if t > 1 else SINGLE))
    if rng.random() < 0.7 or a["post_transform"] == "SOFTMAX_ZERO":     # of scores that are all 0 ONNX Runtime makes NaN here, the reference 0.5
        a["intercepts"] = floats(rng, t)
    # ONNX Runtime's LinearRegressor has float32 only
    return Node(a, [matrix(rng, rows_of(rng), c, F32)], [1])


def linear_classifier(rng, version):
    c, n, a = int(rng.integers(1, 6)), int(rng.integers(2, 5)), {}
    kind = labels(rng, n, a)
    rows = 1 if n == 2 and rng.random() < 0.5 else n
    a.update({"coefficients": floats(rng, c * rows), "intercepts": floats(rng, rows), "multi_class": int(rng.integers(2))})
    # of one score, ONNX Runtime's PROBIT leaves the second place as it was
    a["post_transform"] = str(rng.choice(POSTS[:4] if rows == 1 else POSTS))
    return Node(a, [matrix(rng, rows_of(rng), c)], [kind, 1])


def svm_kernel(rng, a):
    a["kernel_type"] = str(rng.choice(["LINEAR", "POLY", "RBF", "SIGMOID"]))
    a["kernel_params"] = [float(F32(rng.random() * 0.2)), float(F32(rng.random())), float(rng.integers(1, 4))]


def svm_regressor(rng, version):
    c, n, a = int(rng.integers(1, 6)), int(rng.choice([0, 1, 4, 9])), {}
    svm_kernel(rng, a)
    a.update({"n_supports": n, "rho": floats(rng, 1), "coefficients": floats(rng, n or c), "one_class": int(rng.random() < 0.3)})
    if n:
        a["support_vectors"] = floats(rng, n * c)
    else:
        a["kernel_type"] = "LINEAR"
    # ONNX Runtime reads post_transform, and does not use it
    return Node(a, [matrix(rng, rows_of(rng), c, F32)], [1])


def svm_classifier(rng, version):
    c, n, a = int(rng.integers(1, 6)), int(rng.integers(2, 6)), {}
    kind = labels(rng, n, a)
    svm_kernel(rng, a)
    pairs = n * (n - 1) // 2
    if rng.random() < 0.2:
        a.update({"kernel_type": "LINEAR", "coefficients": floats(rng, n * c), "rho": floats(rng, 1)})
        if rng.random() < 0.3:
            a["coefficients"] = [abs(v) for v in a["coefficients"]]
        a["post_transform"] = str(rng.choice(POSTS))
        return Node(a, [matrix(rng, rows_of(rng), c)], [kind, 1])
    vectors = [int(k) for k in rng.integers(0, 4, n)]
    vectors[0] += 1
    a.update({"vectors_per_class": vectors, "support_vectors": floats(rng, c * sum(vectors)), "rho": floats(rng, pairs),
              "coefficients": floats(rng, (n - 1) * sum(vectors))})
    probability = rng.random() < 0.5
    if probability:
        a.update({"prob_a": floats(rng, pairs), "prob_b": floats(rng, pairs)})
    # of one score, ONNX Runtime's PROBIT leaves the second place as it was
    a["post_transform"] = str(rng.choice(POSTS if n > 2 or probability else POSTS[:4]))
    return Node(a, [matrix(rng, rows_of(rng), c)], [kind, 1])


# ---- trees ----

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")


class Forest:
    """Lists of nodes, random trees of mixed depth; `leaves` are (tree, node)."""

    def __init__(self, rng, trees, features, depth, modes):
        self.rng, self.features, self.modes, self.lists, self.leaves = rng, features, modes, [], []
        for t in range(trees):
            self.next = 0
            self.grow(t, int(rng.integers(0, depth + 1)))

    def grow(self, tree, depth):
        me, at = self.next, len(self.lists)
        self.next += 1
        self.lists.append(None)
        rng = self.rng
        if depth == 0:
            self.leaves.append((tree, me))
            self.lists[at] = (tree, me, 0, "LEAF", 0.0, 0, 0, 0)
            return me
        yes = self.grow(tree, depth - 1)
        no = self.grow(tree, int(rng.integers(0, depth)))
        split = float(np.round(rng.standard_normal() * 3) if rng.random() < 0.5 else F32(rng.standard_normal() * 3))
        self.lists[at] = (tree, me, int(rng.integers(self.features)), str(rng.choice(self.modes)), split, yes, no, int(rng.random() < 0.3))
        return me

    def attributes(self, tensors, missing):
        names = ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids", "missing_value_tracks_true")
        a = {"nodes_" + name: [r[k] for r in self.lists] for k, name in enumerate(names)}
        if not missing:
            del a["nodes_missing_value_tracks_true"]
        if tensors is not None:
            a["nodes_values_as_tensor"] = numpy_helper.from_array(np.array(a.pop("nodes_values"), tensors))
        elif self.rng.random() < 0.5:
            a["nodes_hitrates"] = [1.0] * len(self.lists)
        return a


def tree_input(rng, features, missing, dtype):
    x = matrix(rng, rows_of(rng), features, dtype)
    if missing and x.dtype in (F32, F64):
        x[rng.random(x.shape) < 0.15] = np.nan
    return x


def tree_common(rng, version):
    """A forest, its attributes, an input, and the type of tensors (None: lists)."""
    features, missing = int(rng.integers(1, 6)), rng.random() < 0.5
    dtype = NUMBERS[rng.integers(4)]
    tensors = (F64 if dtype == F64 else F32) if version >= 3 and rng.random() < 0.5 else None
    if tensors is None and dtype == F64:
        dtype = F32 if version >= 3 else F64
    one = rng.random() < 0.5
    f = Forest(rng, int(rng.integers(1, 40)), features, int(rng.integers(0, 6)), [str(rng.choice(MODES[:5]))] if one else MODES)
    return f, f.attributes(tensors, missing), tree_input(rng, features, missing, dtype), tensors


def weights(rng, f, stem, ids, tensors, positive):
    """Weights of leaves for targets out of `ids`, of some leaves several."""
    rows = [(t, n, int(i)) for t, n in f.leaves for i in rng.permutation(ids)[: rng.integers(1, len(ids) + 1)]]
    w = np.array(floats(rng, len(rows)), F32)
    w = np.abs(w) / len(f.leaves) if positive else w
    a = {stem + "_treeids": [r[0] for r in rows], stem + "_nodeids": [r[1] for r in rows], stem + "_ids": [r[2] for r in rows]}
    if tensors is None:
        a[stem + "_weights"] = [float(v) for v in w]
    else:
        a[stem + "_weights_as_tensor"] = numpy_helper.from_array(w.astype(tensors))
    return a


def base_values(rng, a, n, tensors):
    if tensors is None:
        a["base_values"] = floats(rng, n)
    else:
        a["base_values_as_tensor"] = numpy_helper.from_array(np.array(floats(rng, n), tensors))


def tree_regressor(rng, version):
    f, a, x, tensors = tree_common(rng, version)
    n = int(rng.integers(1, 4))
    a.update(weights(rng, f, "target", range(n), tensors, rng.random() < 0.3))
    a["n_targets"] = n
    a["aggregate_function"] = str(rng.choice(["SUM", "AVERAGE", "MIN", "MAX"]))
    bases = rng.random() < 0.5
    if n > 1 and (bases or a["aggregate_function"] in ("MIN", "MAX")):
        # a target that no leaf of a row speaks of: ONNX Runtime gives no base value, or what was in memory before
        rows = [(t, k, i) for t, k in f.leaves for i in range(n)]
        a.update({"target_treeids": [r[0] for r in rows], "target_nodeids": [r[1] for r in rows], "target_ids": [r[2] for r in rows]})
        w = np.array(floats(rng, len(rows)), tensors or F32)
        a["target_weights" if tensors is None else "target_weights_as_tensor"] = [float(v) for v in w] if tensors is None else numpy_helper.from_array(w)
    if bases:
        base_values(rng, a, n, tensors)
    a["post_transform"] = str(rng.choice(POSTS if n > 1 else SINGLE))
    return Node(a, [x], [1])


def tree_classifier(rng, version):
    f, a, x, tensors = tree_common(rng, version)
    n = int(rng.integers(2, 5))
    kind = labels(rng, n, a, "classlabels_int64s")
    only = n == 2       # two that both have weights: ONNX Runtime takes the second when its score is above 0, and calls them 0 and 1
    ids = [int(rng.integers(2))] if only else range(n)
    a.update(weights(rng, f, "class", ids, tensors, rng.random() < 0.5))
    spelled = None
    if rng.random() < 0.3 and not only:
        base_values(rng, a, n, tensors)    # of one class: ONNX Runtime says itself that the standard is silent about the other's
    elif not only:
        # Base values are "added to final class score" and "can be left unassigned (assumed 0)": a class without a vote has the score 0 and may be
        # the top one. ONNX Runtime and the standard's reference have it so, too, but ONNX Runtime only where the zeros are given.
        zeros = [0.0] * n
        spelled = {"base_values": zeros} if tensors is None else {"base_values_as_tensor": numpy_helper.from_array(np.array(zeros, tensors))}
    a["post_transform"] = str(rng.choice(POSTS[:4] if only else POSTS))
    return Node(a, [x], [kind, 1], spelled=spelled)


def tree_ensemble(rng, version):
    """Version 5: leaves apart, modes as numbers, sets of members."""
    features, missing, dtype = int(rng.integers(1, 6)), rng.random() < 0.5, (F32, F64)[rng.integers(2)]
    modes = [0, 1, 2, 3, 4, 5] if rng.random() < 0.5 else [int(rng.integers(6))]
    member = rng.random() < 0.3
    targets, leaves, nodes, roots, members = int(rng.integers(1, 4)), [], [], [], []

    def grow(depth):
        """(index, is it a leaf)"""
        if depth == 0:
            # a tree speaks of one target: where none speaks of a target, ONNX Runtime's transformations leave it out
            leaves.append((len(roots) % targets, float(F32(rng.standard_normal()))))
            return len(leaves) - 1, 1
        at = len(nodes)
        nodes.append(None)
        mode = 6 if member and rng.random() < 0.4 else int(rng.choice(modes))
        set_of = [float(v) for v in rng.permutation(9)[: rng.integers(1, 4)] - 4] if mode == 6 else None
        yes, no = grow(depth - 1), grow(int(rng.integers(0, depth)))
        nodes[at] = (int(rng.integers(features)), mode, float(np.round(rng.standard_normal() * 3)), yes, no, int(rng.random() < 0.3), set_of)
        return at, 0

    for _ in range(int(rng.integers(targets, 30))):
        roots.append(grow(int(rng.integers(1, 6)))[0])
    for r in nodes:
        members += r[6] + [float("nan")] if r[6] else []
    a = {
        "nodes_featureids": [r[0] for r in nodes], "nodes_truenodeids": [r[3][0] for r in nodes], "nodes_trueleafs": [r[3][1] for r in nodes],
        "nodes_falsenodeids": [r[4][0] for r in nodes], "nodes_falseleafs": [r[4][1] for r in nodes],
        "nodes_modes": numpy_helper.from_array(np.array([r[1] for r in nodes], np.uint8)),
        "nodes_splits": numpy_helper.from_array(np.array([r[2] for r in nodes], dtype)),
        "tree_roots": roots, "n_targets": targets, "leaf_targetids": [v[0] for v in leaves],
        "leaf_weights": numpy_helper.from_array(np.array([v[1] for v in leaves], dtype)),
        "aggregate_function": 1 if targets > 1 else int(rng.integers(4)), "post_transform": int(rng.choice([0, 3, 4])) if targets > 1 else 0,    # ONNX Runtime takes 1 for LOGISTIC, 2 for SOFTMAX
    }
    either = bool(members) or 4 in modes    # sets and equalities: ONNX Runtime 1.31 takes wrong ways, the reference others
    if either:
        a["post_transform"] = 0             # the reference knows none
    if members:
        a["membership_values"] = numpy_helper.from_array(np.array(members, dtype))
    if missing:
        a["nodes_missing_value_tracks_true"] = [r[5] for r in nodes]
    return Node(a, [tree_input(rng, features, missing, dtype)], [ONNX_TYPE[np.dtype(dtype)]], either)


OPS = {
    ("Scaler", 1): scaler, ("Normalizer", 1): normalizer, ("Binarizer", 1): binarizer, ("Imputer", 1): imputer,
    ("FeatureVectorizer", 1): feature_vectorizer, ("ArrayFeatureExtractor", 1): array_feature_extractor,
    ("OneHotEncoder", 1): one_hot_encoder, ("CategoryMapper", 1): category_mapper, ("LabelEncoder", 1): label_encoder,
    ("LabelEncoder", 2): label_encoder, ("LabelEncoder", 4): label_encoder, ("LinearRegressor", 1): linear_regressor,
    ("LinearClassifier", 1): linear_classifier, ("SVMRegressor", 1): svm_regressor, ("SVMClassifier", 1): svm_classifier,
    ("TreeEnsembleRegressor", 1): tree_regressor, ("TreeEnsembleRegressor", 3): tree_regressor,
    ("TreeEnsembleClassifier", 1): tree_classifier,
    ("TreeEnsembleClassifier", 3): tree_classifier, ("TreeEnsemble", 5): tree_ensemble,
}


def model_of(op, version, made):
    """One model with all the nodes, and its inputs."""
    return model_of_all(version, [(op, m) for m in made])


def mixture(version, rng):
    """One model with a node of each operator that version has, and its inputs."""
    newest = {op: max(v for o, v in OPS if o == op and v <= version) for op, v in OPS if v <= version}
    return model_of_all(version, [(op, OPS[op, v](rng, v)) for op, v in sorted(newest.items())])


def model_of_all(version, made):
    nodes, inputs, outputs, feeds = [], [], [], {}
    for k, (op, m) in enumerate(made):
        names = []
        for i, x in enumerate(m.inputs):
            names.append("x%d_%d" % (k, i))
            feeds[names[-1]] = x
            kind = TensorProto.STRING if x.dtype == object else ONNX_TYPE[x.dtype]
            inputs.append(helper.make_tensor_value_info(names[-1], kind, ["n%d" % k] + list(x.shape[1:]) if i == 0 else x.shape))
        ys = ["y%d_%d" % (k, i) for i in range(len(m.outputs))]
        nodes.append(helper.make_node(op, names, ys, domain="ai.onnx.ml", **m.attributes))
        outputs += [helper.make_tensor_value_info(y, kind, None) for y, kind in zip(ys, m.outputs)]
    graph = helper.make_graph(nodes, "ml", inputs, outputs)
    sets = [helper.make_opsetid("ai.onnx.ml", version), helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8), feeds
