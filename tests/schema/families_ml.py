"""ai.onnx.ml: scalers, encoders, linear models, support vectors, trees."""

import numpy as np

import values
from drafts import family

ML = "ai.onnx.ml"


def ml(names):
    return family(names, ML)


@ml("ArrayFeatureExtractor")
def extractor(c):
    yield c.case("columns", [c.draw(0, (3, 5)), np.array([0, 4, 2], np.int64)])
    yield c.case("vector", [c.draw(0, (5,)), np.array([1], np.int64)])


@ml("Binarizer")
def binarizer(c):
    yield c.case("default", [c.draw(0, (3, 4))])
    yield c.case("threshold", [c.draw(0, (9,), "finite")], threshold=1.5)


@ml("CategoryMapper")
def mapper(c):
    source, target = c.elem(0), c.out_elem()
    if source == target:
        source = "string" if target == "int64" else "int64"
    types = dict(c.types, T1="tensor(%s)" % source, T2="tensor(%s)" % target)
    x = np.array(["a", "b", "zz"], object) if source == "string" else np.array([1, 2, 9], np.int64)
    yield c.case("both", [x], types=types, cats_strings=["a", "b"], cats_int64s=[1, 2], default_string="none", default_int64=-7)


@ml("FeatureVectorizer")
def vectorizer(c):
    yield c.case("two", [c.draw(0, (2, 3), "small"), c.draw(0, (2, 1), "small")], inputdimensions=[3, 1])


@ml("Imputer")
def imputer(c):
    if values.is_float(c.elem()):
        x = np.array([[1, np.nan, 2], [np.nan, 5, 0]]).astype(values.DTYPE[c.elem()])
        yield c.case("nan", [x], imputed_value_floats=[0.5, 1.5, 2.5], replaced_value_float=float("nan"))
        yield c.case("value", [x], imputed_value_floats=[7.0], replaced_value_float=2.0)
    else:
        yield c.case("value", [c.draw(0, (2, 3), "small")], imputed_value_int64s=[7, 8, 9], replaced_value_int64=1)


@ml("LabelEncoder")
def encoder(c):
    source, target = c.elem(0), c.out_elem()
    if c.version == 1 and source == target:
        source = "string" if target == "int64" else "int64"
    types = dict(c.types, T1="tensor(%s)" % source, T2="tensor(%s)" % target)
    names = {"string": "strings", "int64": "int64s", "float": "floats"}
    keys = {"string": ["a", "b", "c"]}.get(source, [1, 2, 3])
    outs = {"string": ["x", "y", "z"]}.get(target, [4, 5, 6])
    feed = np.array(keys + [{"string": "other"}.get(source, 9)], values.DTYPE[source])
    if c.version == 1:
        yield c.case("classes", [feed if source == "string" else np.array([0, 2, 5], np.int64)], types=types, classes_strings=["a", "b", "c"],
                     default_string="none", default_int64=-3)
        return
    if source in names and target in names:
        real = lambda t, x: [float(v) for v in x] if t == "float" else x  # noqa: E731
        yield c.case("lists", [feed], types=types, **{"keys_" + names[source]: real(source, keys), "values_" + names[target]: real(target, outs)})
    if c.version >= 4:
        more = {"default_tensor": np.array([outs[0]], values.DTYPE[target])}
        yield c.case("tensors", [feed], types=types, keys_tensor=np.array(keys, values.DTYPE[source]),
                     values_tensor=np.array(outs, values.DTYPE[target]), **more)


@ml("LinearClassifier")
def linear_classifier(c):
    labels = {"classlabels_strings": ["p", "q", "r"]} if c.out_elem() == "string" else {"classlabels_ints": [5, 7, 9]}
    for post in ("NONE", "SOFTMAX", "LOGISTIC"):
        yield c.case(post, [c.draw(0, (4, 2), "small")], n_out=2, coefficients=[0.5, -1.0, 0.25, 0.75, -0.5, 1.0], intercepts=[0.1, 0.2, -0.3],
                     post_transform=post, **labels)


@ml("LinearRegressor")
def linear_regressor(c):
    yield c.case("plain", [c.draw(0, (4, 3), "small")], coefficients=[0.5, -1.0, 0.25], intercepts=[0.1])
    yield c.case("targets", [c.draw(0, (4, 2), "small")], coefficients=[0.5, -1.0, 0.25, 2.0], intercepts=[0.1, 0.2], targets=2)


@ml("Normalizer")
def normalizer(c):
    for norm in ("MAX", "L1", "L2"):
        yield c.case(norm, [c.draw(0, (3, 4), "positive")], norm=norm)


@ml("OneHotEncoder")
def one_hot(c):
    if c.elem() == "string":
        yield c.case("strings", [np.array([["a", "c"], ["b", "x"]], object)], cats_strings=["a", "b", "c"])
    else:
        yield c.case("numbers", [np.array([[1, 3], [2, 9]]).astype(values.DTYPE[c.elem()])], cats_int64s=[1, 2, 3])


@ml("Scaler")
def scaler(c):
    yield c.case("each", [c.draw(0, (3, 2), "small")], offset=[0.5, 1.0], scale=[2.0, 0.25])
    yield c.case("one", [c.draw(0, (3, 2), "small")], offset=[0.5], scale=[2.0])


@ml("SVMRegressor")
def svm_regressor(c):
    for kernel in ("LINEAR", "RBF", "POLY", "SIGMOID"):
        yield c.case(kernel, [c.draw(0, (3, 2), "small")], kernel_type=kernel, kernel_params=[0.25, 0.5, 2.0], support_vectors=[1.0, 0.5, -1.0, 2.0],
                     coefficients=[0.5, -0.75], n_supports=2, rho=[0.125])


@ml("SVMClassifier")
def svm_classifier(c):
    labels = {"classlabels_strings": ["p", "q"]} if c.out_elem() == "string" else {"classlabels_ints": [5, 7]}
    for kernel in ("RBF", "LINEAR"):
        yield c.case(kernel, [c.draw(0, (3, 2), "small")], n_out=2, kernel_type=kernel, kernel_params=[0.25, 0.5, 2.0],
                     support_vectors=[1.0, 0.5, -1.0, 2.0], coefficients=[0.5, -0.75], vectors_per_class=[1, 1], rho=[0.125], **labels)


TREE = dict(nodes_treeids=[0, 0, 0, 1, 1, 1], nodes_nodeids=[0, 1, 2, 0, 1, 2], nodes_featureids=[0, 0, 0, 1, 0, 0],
            nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0, 1, 0, 0],
            nodes_falsenodeids=[2, 0, 0, 2, 0, 0])
SPLITS, WEIGHTS = [0.5, 0.0, 0.0, -0.5, 0.0, 0.0], [1.0, 2.0, 0.5, -1.5]


@ml("TreeEnsembleClassifier TreeEnsembleRegressor")
def trees(c):
    x = c.draw(0, (5, 2), "small")
    forms = [("floats", dict(nodes_values=SPLITS), WEIGHTS)]
    for name, split, weights in forms:
        if c.op.endswith("Regressor"):
            for how in ("SUM", "AVERAGE", "MIN", "MAX"):
                yield c.case(how, [x], **TREE, **split, target_treeids=[0, 0, 1, 1], target_nodeids=[1, 2, 1, 2], target_ids=[0, 0, 0, 0],
                             target_weights=weights, n_targets=1, aggregate_function=how, base_values=[0.25])
            continue
        labels = {"classlabels_strings": ["p", "q"]} if c.out_elem() == "string" else {"classlabels_int64s": [5, 7]}
        for post in ("NONE", "SOFTMAX"):
            yield c.case(post, [x], n_out=2, **TREE, **split, class_treeids=[0, 0, 1, 1], class_nodeids=[1, 2, 1, 2], class_ids=[0, 1, 0, 1],
                         class_weights=weights, post_transform=post, **labels)
    if c.version >= 3 and c.elem() == "double" and c.op.endswith("Regressor"):
        yield c.case("tensors", [x], **TREE, nodes_values_as_tensor=np.array(SPLITS), target_treeids=[0, 0, 1, 1], target_nodeids=[1, 2, 1, 2],
                     target_ids=[0, 0, 0, 0], target_weights_as_tensor=np.array(WEIGHTS), n_targets=1)


@ml("TreeEnsemble")
def tree_ensemble(c):
    dtype = values.DTYPE[c.elem()]
    yield c.case("two", [c.draw(0, (5, 2), "small")], n_targets=2, aggregate_function=1, post_transform=0, tree_roots=[0],
                 nodes_featureids=[0, 1], nodes_splits=np.array([0.5, -0.5], dtype), nodes_modes=np.array([0, 1], np.uint8),
                 nodes_truenodeids=[1, 0], nodes_trueleafs=[0, 1], nodes_falsenodeids=[2, 1], nodes_falseleafs=[1, 1],
                 leaf_targetids=[0, 1, 0], leaf_weights=np.array([1.0, 2.0, -0.5], dtype))


MAPS = {"int64": [1, 3, 4], "string": ["a", "b", "d"], "float": [0.5, 1.5, -2.0], "double": [0.25, 1.5, -2.0]}


def a_map(kind):
    key, value = (x.strip() for x in kind[len("map("):-1].split(","))
    return dict(zip(MAPS[key], MAPS[value])), key, value


@ml("ZipMap")
def zip_map(c):
    labels = {"classlabels_strings": ["a", "b"]} if "string" in c.types["T"] else {"classlabels_int64s": [3, 4]}
    yield c.case("rows", [c.draw(0, (3, 2), "finite")], **labels)


@ml("DictVectorizer")
def dict_vectorizer(c):
    kind = c.types["T1"]
    if c.constraint == "T2":
        wanted = values.element_of(c.types["T2"])[1]
        kind = {"int64": "map(string, int64)", "string": "map(int64, string)"}.get(wanted, "map(int64, %s)" % wanted)
    value, key, of = a_map(kind)
    vocabulary = {"string_vocabulary": ["b", "c", "a"]} if key == "string" else {"int64_vocabulary": [3, 2, 1]}
    yield c.case("some", [value], types=dict(c.types, T1=kind, T2="tensor(%s)" % of), **vocabulary)


@ml("CastMap")
def cast_map(c):
    value, _, _ = a_map(c.types["T1"])
    target = values.element_of(c.types["T2"])[1]
    if target != "string" and "string" in c.types["T1"]:
        value = {1: "2", 3: "4"}
    to = {"string": "TO_STRING", "float": "TO_FLOAT", "int64": "TO_INT64"}[target]
    yield c.case("dense", [value], cast_to=to)
    yield c.case("sparse", [value], cast_to=to, map_form="SPARSE", max_map=6)
