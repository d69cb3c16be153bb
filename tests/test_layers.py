"""Layers: each against a formula in NumPy, and what each says to bad input."""

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from layer_tools import close, data, sigmoid
from skipway import nn


def test_convolution_padding_modes():
    x = data(1, 2, 5, 6)
    names = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "zeros": "constant"}
    for mode, numpy_mode in names.items():
        conv = nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode=mode)
        around = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)), mode=numpy_mode)
        close(conv(sw.tensor(x)), F.conv2d(sw.tensor(around), conv.weight, conv.bias).detach().numpy())


def test_same_padding_with_even_kernels():
    x = sw.tensor(data(1, 2, 7, 6))
    conv = nn.Conv2d(2, 3, (2, 4), padding="same", dilation=(1, 2))
    assert tuple(conv(x).shape) == (1, 3, 7, 6)
    reflected = nn.Conv2d(2, 3, (2, 4), padding="same", padding_mode="replicate")
    assert tuple(reflected(x).shape) == (1, 3, 7, 6)


def test_transposed_convolution_output_size():
    up = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1)
    x = sw.tensor(data(1, 3, 5, 5))
    assert tuple(up(x).shape) == (1, 2, 9, 9) and tuple(up(x, output_size=[10, 9]).shape) == (1, 2, 10, 9)
    with pytest.raises(ValueError, match=r"expected output_size from 9 to 10.*got \(12, 12\)"):
        up(x, output_size=(12, 12))


def test_bilinear():
    layer = nn.Bilinear(3, 4, 2)
    a, b = data(5, 3), data(5, 4, seed=1)
    w, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    close(layer(sw.tensor(a), sw.tensor(b)), np.einsum("ni,kij,nj->nk", a, w, b) + bias)


@pytest.mark.parametrize(
    "layer, shape, axes",
    [
        (nn.BatchNorm1d(4), (6, 4), 0), (nn.BatchNorm1d(4), (6, 4, 3), (0, 2)),
        (nn.BatchNorm2d(4), (2, 4, 3, 3), (0, 2, 3)),
        (nn.BatchNorm3d(4), (2, 4, 3, 3, 2), (0, 2, 3, 4)), (nn.InstanceNorm1d(4), (2, 4, 5), 2),
        (nn.InstanceNorm2d(4), (2, 4, 3, 5), (2, 3)), (nn.InstanceNorm2d(4), (4, 3, 5), (1, 2)),
        (nn.InstanceNorm3d(4), (2, 4, 3, 2, 2), (2, 3, 4)), (nn.LayerNorm((3, 5)), (2, 4, 3, 5), (2, 3)),
    ],
)  # fmt: skip
def test_normalization(layer, shape, axes):
    x = data(*shape) * 3 + 1
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    close(layer(sw.tensor(x)), expected, 1e-4)


def test_batch_norm_running_statistics():
    x = data(8, 3, 4, 4) + 2
    n = 8 * 16
    bn = nn.BatchNorm2d(3, momentum=0.3)
    bn(sw.tensor(x))
    close(bn.running_mean, 0.3 * x.mean((0, 2, 3)))
    close(bn.running_var, 0.7 + 0.3 * x.var((0, 2, 3)) * n / (n - 1))
    assert bn.num_batches_tracked.item() == 1
    close(bn.eval()(sw.tensor(x)), (x - bn.running_mean.numpy()[:, None, None])
          / np.sqrt(bn.running_var.numpy()[:, None, None] + 1e-5), 1e-4)  # fmt: skip
    average = nn.BatchNorm2d(3, momentum=None)
    y = data(8, 3, 4, 4, seed=1)
    average(sw.tensor(x))
    average(sw.tensor(y))
    close(average.running_mean, (x.mean((0, 2, 3)) + y.mean((0, 2, 3))) / 2)
    untracked = nn.BatchNorm2d(3, track_running_stats=False).eval()
    assert untracked.running_mean is None
    close(untracked(sw.tensor(x)).mean((0, 2, 3)), np.zeros(3), 1e-4)
    plain = nn.BatchNorm2d(3, affine=False)
    assert plain.weight is None and plain.bias is None
    assert nn.BatchNorm2d(3, bias=False).bias is None


def test_group_rms_and_local_response_norm():
    x = data(2, 6, 5)
    grouped = x.reshape(2, 3, 2, 5)
    mean, var = grouped.mean((2, 3), keepdims=True), grouped.var((2, 3), keepdims=True)
    close(nn.GroupNorm(3, 6)(sw.tensor(x)), ((grouped - mean) / np.sqrt(var + 1e-5)).reshape(x.shape), 1e-4)
    close(nn.RMSNorm(5, eps=1e-3)(sw.tensor(x)), x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3), 1e-4)
    squares = np.pad(x**2, ((0, 0), (1, 1), (0, 0)))
    mean3 = (squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]) / 3
    close(nn.LocalResponseNorm(3, alpha=0.5, beta=0.6, k=2.0)(sw.tensor(x)), x / (2 + 0.5 * mean3) ** 0.6)


def test_pooling_layers():
    x = data(2, 3, 6, 6)
    windows = x.reshape(2, 3, 3, 2, 3, 2)
    t = sw.tensor(x)
    close(nn.MaxPool2d(2)(t), windows.max((3, 5)))
    close(nn.AvgPool2d(2)(t), windows.mean((3, 5)))
    close(nn.LPPool2d(2, 2)(t), np.sqrt((windows**2).sum((3, 5))))
    close(nn.AdaptiveAvgPool2d(1)(t), x.mean((2, 3), keepdims=True))
    close(nn.AdaptiveAvgPool2d((3, None))(t), x.reshape(2, 3, 3, 2, 6).mean(3))
    close(nn.AdaptiveMaxPool2d(2)(t), x.reshape(2, 3, 2, 3, 2, 3).max((3, 5)))
    values, indices = nn.MaxPool2d(2, return_indices=True)(t)
    back = nn.MaxUnpool2d(2)(values, indices)
    close(back, np.where(x == windows.max((3, 5)).repeat(2, 2).repeat(2, 3), x, 0))
    line = sw.tensor(data(2, 3, 8))
    close(nn.MaxPool1d(4)(line), line.numpy().reshape(2, 3, 2, 4).max(3))
    close(nn.AvgPool1d(4)(line), line.numpy().reshape(2, 3, 2, 4).mean(3))
    cube = sw.tensor(data(1, 2, 4, 4, 4))
    close(nn.AvgPool3d(4)(cube), cube.numpy().mean((2, 3, 4), keepdims=True))
    close(nn.MaxPool3d(4)(cube), cube.numpy().max((2, 3, 4), keepdims=True))


def test_dropout_layers():
    sw.manual_seed(0)
    x = sw.ones(4, 50, 6, 6)
    for layer, whole in ((nn.Dropout(0.25), False), (nn.Dropout2d(0.25), True)):
        y = layer(x).numpy()
        assert set(np.unique(y).round(5)) == {0.0, np.float32(1 / 0.75).round(5)}
        per_channel = np.ptp(y.reshape(200, -1), axis=1)
        assert (per_channel == 0).all() == whole
        assert layer.eval()(x) is x or sw.equal(layer(x), x)
    assert nn.Dropout(1.0)(x).abs().sum().item() == 0
    y = nn.AlphaDropout(0.2)(sw.randn(20000))
    assert abs(y.mean().item()) < 0.05 and abs(y.numpy().std() - 1) < 0.05


def test_shape_layers():
    x = data(2, 8, 3, 5)
    t = sw.tensor(x)
    assert tuple(nn.Flatten()(t).shape) == (2, 120) and tuple(nn.Unflatten(1, (2, 4))(t).shape) == (2, 2, 4, 3, 5)
    up = nn.PixelShuffle(2)(t)
    assert tuple(up.shape) == (2, 2, 6, 10) and up[1, 1, 3, 2].item() == x[1, 4 + 2, 1, 1]
    assert sw.equal(nn.PixelUnshuffle(2)(up), t)
    shuffled = nn.ChannelShuffle(2)(t)
    assert [shuffled[0, c, 0, 0].item() for c in range(8)] == [x[0, c, 0, 0] for c in (0, 4, 1, 5, 2, 6, 3, 7)]
    assert nn.Identity(1, a=2)(t) is t
    close(nn.ZeroPad2d((1, 2, 0, 1))(t), np.pad(x, ((0, 0), (0, 0), (0, 1), (1, 2))))
    close(nn.ConstantPad1d(2, 7.0)(t), np.pad(x, ((0, 0), (0, 0), (0, 0), (2, 2)), constant_values=7))
    close(nn.ReflectionPad2d(2)(t), np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect"))
    close(nn.ReplicationPad2d((0, 3, 1, 0))(t), np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 3)), mode="edge"))
    close(nn.CircularPad2d(1)(t), np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="wrap"))


def test_pixel_shuffles_of_empty_batches():
    assert tuple(nn.PixelShuffle(2)(sw.zeros(0, 8, 3, 3)).shape) == (0, 2, 6, 6)
    assert tuple(nn.PixelUnshuffle(2)(sw.zeros(0, 2, 6, 6)).shape) == (0, 8, 3, 3)


def test_cosine_similarity_broadcasts_before_it_measures():
    a, b = data(3, 4), data(2, 3, 4, seed=1)
    expected = (a * b).sum(1) / np.sqrt((a * a).sum(0) * (b * b).sum(1))
    close(nn.CosineSimilarity(1)(sw.tensor(a), sw.tensor(b)), expected)


def test_unfold_and_fold():
    x = data(2, 3, 5, 6)
    columns = nn.Unfold((2, 3), padding=1, stride=2)(sw.tensor(x))
    around = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    window = around[:, :, 2:4, 4:7].reshape(2, -1)
    assert tuple(columns.shape) == (2, 18, 9)
    close(columns[:, :, 5], window)
    ones = nn.Unfold(2)(sw.ones(1, 1, 4, 4))
    close(nn.Fold((4, 4), 2)(ones)[0, 0], [[1, 2, 2, 1], [2, 4, 4, 2], [2, 4, 4, 2], [1, 2, 2, 1]])


def test_interpolate():
    x = sw.arange(4.0).reshape(1, 1, 2, 2)
    close(F.interpolate(x, scale_factor=2)[0, 0], [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
    close(F.interpolate(x, size=(3, 3), mode="bilinear", align_corners=True)[0, 0],
          [[0, 0.5, 1], [1, 1.5, 2], [2, 2.5, 3]])  # fmt: skip
    close(F.interpolate(x, scale_factor=2, mode="bilinear")[0, 0, 0], [0, 0.25, 0.75, 1])
    close(F.interpolate(x, size=1, mode="area")[0, 0], [[1.5]])
    line = sw.arange(3.0).reshape(1, 1, 3)
    close(nn.Upsample(scale_factor=2, mode="linear")(line)[0, 0], [0, 0.25, 0.75, 1.25, 1.75, 2])
    flat = sw.full((1, 2, 4, 4), 3.0)
    close(F.interpolate(flat, size=(7, 9), mode="bicubic"), np.full((1, 2, 7, 9), 3.0))
    with pytest.raises(ValueError, match="one of size and scale_factor"):
        F.interpolate(x)
    with pytest.raises(ValueError, match="mode 'linear' does not apply"):
        F.interpolate(x, 2, mode="linear")


def test_embedding_layer():
    table = nn.Embedding(5, 3, padding_idx=1)
    index = sw.tensor([[0, 1], [4, 0]])
    out = table(index)
    close(out, table.weight.detach().numpy()[index.numpy()])
    out.sum().backward()
    assert table.weight.grad[0].tolist() == [2.0] * 3 and table.weight.grad[1].tolist() == [0.0] * 3
    frozen = nn.Embedding.from_pretrained(sw.ones(4, 2))
    assert not frozen.weight.requires_grad and frozen(sw.tensor([3])).tolist() == [[1.0, 1.0]]
    short = nn.Embedding(3, 4, max_norm=0.5)
    assert short(sw.tensor([0, 2])).detach().norm(2, 1).max().item() <= 0.5 + 1e-5


@pytest.mark.parametrize("kind, gates", [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers(kind, gates):
    layer = getattr(nn, kind)(3, 2)
    x = data(4, 2, 3)
    w_ih, w_hh, b_ih, b_hh = (p.detach().numpy() for p in layer.parameters())
    h = c = np.zeros((2, 2), np.float32)
    outputs = []
    for t in range(4):
        gi, gh = x[t] @ w_ih.T + b_ih, h @ w_hh.T + b_hh
        i, g = np.split(gi, gates, 1), np.split(gh, gates, 1)
        if kind == "LSTM":
            c = sigmoid(i[1] + g[1]) * c + sigmoid(i[0] + g[0]) * np.tanh(i[2] + g[2])
            h = sigmoid(i[3] + g[3]) * np.tanh(c)
        elif kind == "GRU":
            z = sigmoid(i[1] + g[1])
            h = (1 - z) * np.tanh(i[2] + sigmoid(i[0] + g[0]) * g[2]) + z * h
        else:
            h = np.tanh(gi + gh)
        outputs.append(h)
    out, state = layer(sw.tensor(x))
    close(out, np.stack(outputs))
    close((state[0] if kind == "LSTM" else state)[0], h)
    deep = getattr(nn, kind)(3, 2, num_layers=2, bidirectional=True, batch_first=True)
    assert tuple(deep(sw.tensor(x))[0].shape) == (4, 2, 4)
    assert "weight_ih_l1_reverse" in deep.state_dict()
    cell = getattr(nn, kind + "Cell")(3, 2)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    first = cell(sw.tensor(x[0]))
    close(first[0] if kind == "LSTM" else first, outputs[0])


def test_attention():
    layer = nn.MultiheadAttention(4, 2, batch_first=True)
    x = sw.tensor(data(2, 3, 4))
    out, weights = layer(x, x, x)
    assert tuple(out.shape) == (2, 3, 4)
    close(weights.sum(-1), np.ones((2, 3)))
    causal = sw.ones(3, 3, dtype=sw.bool).triu(1)
    _, weights = layer(x, x, x, attn_mask=causal, average_attn_weights=False)
    assert tuple(weights.shape) == (2, 2, 3, 3) and weights[0, 0, 0, 1].item() == 0
    q = sw.tensor(data(2, 3, 4))
    scores = q.numpy() @ q.numpy().transpose(0, 2, 1) / 2
    soft = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    close(F.scaled_dot_product_attention(q, q, q), soft @ q.numpy())


def test_weight_and_spectral_norm():
    layer = nn.Linear(4, 3)
    before = layer.weight.detach().clone()
    nn.utils.weight_norm(layer)
    assert sorted(n for n, _ in layer.named_parameters()) == ["bias", "weight_g", "weight_v"]
    x = sw.tensor(data(2, 4))
    close(layer(x), x.numpy() @ before.numpy().T + layer.bias.detach().numpy())
    layer(x).sum().backward()
    assert layer.weight_g.grad is not None
    nn.utils.remove_weight_norm(layer)
    close(layer.weight, before.numpy())
    conv = nn.utils.spectral_norm(nn.Conv2d(3, 5, 3), n_power_iterations=30)
    conv(sw.randn(1, 3, 4, 4))
    assert np.linalg.norm(conv.weight.detach().numpy().reshape(5, -1), 2) == pytest.approx(1, rel=1e-3)
    assert {"weight_orig", "weight_u", "weight_v"} <= set(conv.state_dict())


def test_fused_evaluation():
    conv, bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    bn(sw.randn(4, 4, 5, 5))
    x = sw.randn(2, 3, 6, 6)
    fused = nn.utils.fuse_conv_bn_eval(conv.eval(), bn.eval())
    close(fused(x), bn(conv(x)).detach().numpy(), 1e-4)


def test_pad_sequence():
    rows = [sw.ones(2, 2), sw.ones(1, 2)]
    assert nn.utils.rnn.pad_sequence(rows, batch_first=True).tolist() == [[[1, 1], [1, 1]], [[1, 1], [0, 0]]]
