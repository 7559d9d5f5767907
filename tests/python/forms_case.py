"""What the models of forms.py are made with: case() adds one to CASES, a dict of

    name    letters
    model   ONNX's text form
    feeds   lists of inputs: arrays, lists (sequences), None (an optional without a value)
    patch   what the text form cannot say, done to the ModelProto
    options of the compiler
    want    the outputs of each feed, or Fails(text), where no oracle is right; says why in a comment
"""

import numpy as np


class Fails:
    """The run ends with a message that contains this."""

    def __init__(self, text):
        self.text = text


CASES = []


def case(name, model, feeds, **more):
    CASES.append(dict(name=name, model=model, feeds=feeds, **more))


def f(*x):
    return np.array(x, np.float32)


def i(*x):
    return np.array(x, np.int64)


def s(x, t=np.int64):
    return np.array(x, t)


YES, NO = np.array(True), np.array(False)
HEAD = '<ir_version: 10, opset_import: ["": 21, "local": 1]>\n'
OLD = '<ir_version: 4, opset_import: ["": %d]>\n'
