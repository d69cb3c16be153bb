"""The residual networks of skipway.models as ONNX graphs (opset 17), from their state dicts: what onnxruntime and
OpenVINO read."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper


class Graph:
    def __init__(self, state: dict[str, np.ndarray]) -> None:
        self.state = state
        self.nodes: list = []
        self.weights: list = []

    def weight(self, key: str) -> str:
        if all(w.name != key for w in self.weights):
            self.weights.append(numpy_helper.from_array(self.state[key].astype(np.float32), key))
        return key

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def conv_bn(self, x: str, conv: str, norm: str, stride: int) -> str:
        kernel = self.state[f"{conv}.weight"].shape[2]
        x = self.op("Conv", x, self.weight(f"{conv}.weight"), strides=[stride] * 2, pads=[kernel // 2] * 4)
        rest = [self.weight(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        return self.op("BatchNormalization", x, *rest, epsilon=1e-5)

    def block(self, x: str, name: str, stride: int) -> str:
        last = max(i for i in (1, 2, 3) if f"{name}.conv{i}.weight" in self.state)
        y = x
        for i in range(1, last + 1):
            step = stride if i == max(1, last - 1) else 1
            y = self.conv_bn(y, f"{name}.conv{i}", f"{name}.bn{i}", step)
            if i < last:
                y = self.op("Relu", y)
        if f"{name}.downsample.0.weight" in self.state:
            x = self.conv_bn(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
        return self.op("Relu", self.op("Add", y, x))


def make(state: dict[str, np.ndarray], shape: tuple[int, ...]) -> ModelProto:
    """The network of `state` for inputs of `shape`."""
    g = Graph(state)
    image = state["conv1.weight"].shape[2] == 7
    x = g.op("Relu", g.conv_bn("input", "conv1", "bn1", 2 if image else 1))
    if image:
        x = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    stage = 1
    while f"layer{stage}.0.conv1.weight" in state:
        i = 0
        while f"layer{stage}.{i}.conv1.weight" in state:
            x = g.block(x, f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1)
            i += 1
        stage += 1
    x = g.op("Flatten", g.op("GlobalAveragePool", x))
    y = g.op("Gemm", x, g.weight("fc.weight"), g.weight("fc.bias"), transB=1)
    classes = state["fc.weight"].shape[0]
    graph = helper.make_graph(
        g.nodes,
        "resnet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, [shape[0], classes])],
        g.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
