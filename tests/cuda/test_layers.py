"""Layers on the device against the same layers on the CPU: results, gradients of inputs and parameters, buffers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skipway as sw
from against_cpu import array_of
from skipway import nn

IMAGE, LINE, VOLUME, ROWS = (2, 4, 6, 5), (2, 4, 9), (1, 4, 4, 3, 3), (5, 6)

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 3), ROWS),
    "conv1d": (lambda: nn.Conv1d(4, 3, 3, padding="same"), LINE),
    "conv2d reflect": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, padding_mode="reflect"), IMAGE),
    "conv3d": (lambda: nn.Conv3d(4, 2, (2, 3, 1), dilation=(1, 1, 2)), VOLUME),
    "conv_transpose2d": (lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, output_padding=1), IMAGE),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False), IMAGE),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), IMAGE),
    "batch_norm relu": (lambda: nn.BatchNorm2d(4, activation="relu"), IMAGE),
    "batch_norm eval": (lambda: nn.BatchNorm2d(4).eval(), IMAGE),
    "batch_norm1d": (lambda: nn.BatchNorm1d(6, momentum=None), ROWS),
    "instance_norm": (lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True), IMAGE),
    "group_norm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "layer_norm": (lambda: nn.LayerNorm((6, 5)), IMAGE),
    "rms_norm": (lambda: nn.RMSNorm(6), ROWS),
    "local_response_norm": (lambda: nn.LocalResponseNorm(3), IMAGE),
    "dropout": (lambda: nn.Dropout(0.4), IMAGE),
    "dropout2d": (lambda: nn.Dropout2d(0.4), IMAGE),
    "alpha_dropout": (lambda: nn.AlphaDropout(0.3), ROWS),
    "stochastic_depth": (lambda: nn.StochasticDepth(0.5, "row"), IMAGE),
    "prelu": (lambda: nn.PReLU(4), IMAGE),
    "gelu": (nn.GELU, IMAGE),
    "selu": (nn.SELU, IMAGE),
    "mish": (nn.Mish, IMAGE),
    "hardswish": (nn.Hardswish, IMAGE),
    "log_softmax": (lambda: nn.LogSoftmax(1), IMAGE),
    "glu": (lambda: nn.GLU(1), IMAGE),
    "crelu": (nn.CReLU, IMAGE),
    "maxout": (lambda: nn.Maxout(2), IMAGE),
    "max_pool": (lambda: nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), IMAGE),
    "avg_pool": (lambda: nn.AvgPool2d(2, padding=1, count_include_pad=False), IMAGE),
    "adaptive_avg_pool": (lambda: nn.AdaptiveAvgPool2d((3, 2)), IMAGE),
    "adaptive_max_pool1d": (lambda: nn.AdaptiveMaxPool1d(4), LINE),
    "lp_pool": (lambda: nn.LPPool2d(2, 2), IMAGE),
    "upsample": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "pixel_shuffle": (lambda: nn.PixelShuffle(2), IMAGE),
    "unfold": (lambda: nn.Unfold(3, padding=1), IMAGE),
    "replication_pad": (lambda: nn.ReplicationPad2d((1, 2, 0, 1)), IMAGE),
    "highway": (lambda: nn.Highway(6), ROWS),
    "residual": (lambda: nn.Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))), IMAGE),
    "transformer": (lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True), (2, 3, 6)),
    "flatten": (nn.Flatten, IMAGE),
}


def run(layer: nn.Module, x: Any, device: str) -> dict[str, Any]:
    sw.manual_seed(3)
    x = x.to(device).requires_grad_()
    layer = layer.to(device)
    y = layer(x)
    weights = np.cos(np.arange(y.numel())).reshape(tuple(y.shape)).astype(np.float32)
    (y * sw.tensor(weights).to(device)).sum().backward()
    found = {"result": y, "gradient of the input": x.grad}
    found |= {f"gradient of {name}": p.grad for name, p in layer.named_parameters()}
    return found | {f"buffer {name}": b for name, b in layer.named_buffers()}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_equals_the_cpus(name: str) -> None:
    build, shape = LAYERS[name]
    sw.manual_seed(0)
    layer, x = build(), sw.randn(*shape)
    if name == "lazy":
        layer(x)
    expected = run(copy.deepcopy(layer), x.clone(), "cpu")
    actual = run(copy.deepcopy(layer), x.clone(), "cuda")
    assert expected.keys() == actual.keys()
    for what, e in expected.items():
        assert actual[what].is_cuda and actual[what].dtype is e.dtype, what
        a, b = array_of(actual[what]), array_of(e)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(b).max(initial=0)), err_msg=what)


@pytest.mark.parametrize("layer", [lambda: nn.LSTM(6, 4, batch_first=True), lambda: nn.GRU(6, 4, batch_first=True)])
def test_recurrent_layers(layer: Callable[[], nn.Module]) -> None:
    sw.manual_seed(0)
    net, x = layer(), sw.randn(2, 5, 6)
    twin = copy.deepcopy(net).cuda()
    y, z = net(x)[0], twin(x.cuda())[0]
    y.sum().backward()
    z.sum().backward()
    np.testing.assert_allclose(array_of(z), array_of(y), rtol=1e-4, atol=1e-5)
    for (name, p), q in zip(net.named_parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(array_of(q.grad), array_of(p.grad), rtol=1e-3, atol=1e-5, err_msg=name)
