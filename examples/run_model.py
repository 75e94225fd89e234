"""Run a network that fastmlp has saved, with NumPy alone: what a program in any language does.

    python examples/run_model.py model.safetensors 0.5 1.0 ...

The file begins with the length of a JSON text, and the text. It describes the layers and says where
in the rest of the file the numbers are.
"""

import json
import sys

import numpy as np

FUNCTIONS = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "logistic": lambda z: 1 / (1 + np.exp(-z)),
    "softmax": lambda z: np.exp(z - z.max()) / np.exp(z - z.max()).sum(),
}

with open(sys.argv[1], "rb") as file:
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    data = file.read()


def array(name):
    entry = header[name]
    dtype = {"F32": "<f4", "F64": "<f8"}[entry["dtype"]]
    begin, end = entry["data_offsets"]
    return np.frombuffer(data[begin:end], dtype).reshape(entry["shape"])


a = np.array(sys.argv[2:], dtype=float)
for i, layer in enumerate(json.loads(header["__metadata__"]["model"])["layers"]):
    z = a @ array(f"coefs_.{i}") + array(f"intercepts_.{i}")
    a = FUNCTIONS[layer["activation"]](z)
print(*a)
