"""The summary of a network: the textbooks' numbers, what each kind of layer costs, and that it leaves no trace."""

from __future__ import annotations

import html.parser
import sys
import types

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from skipway import models, nn
from skipway.lab import summary
from skipway.lab._summary import total


def see(model, size, **kwargs):
    return summary(model, size, show=False, **kwargs)


def blank(name, **kwargs):
    with models.without_init():
        return models.get(name, **kwargs)


# ---- textbook tables
#
# Memory is the output's, 4 bytes a number, KB of 1024 bytes; "flop" are multiply-adds; biases count as parameters of
# convolutions and not of linear layers; pooling counts its window per output. Three published numbers are slips of the
# pen, which no way of counting gives while it gives their neighbours:
# - AlexNet's conv4 is printed with 145 M. It has 13 * 13 * 256 * 384 * 9 = 149,520,384, 150 M: one and a half times the
#   100 M of conv5, which has 256 inputs. (858, for the 885 thousand parameters, times 169 is 145.)
# - VGG-16's stem to 28x28 and its total are printed with two convolutions at 56x56 instead of three: 42.9 MB, 1.1 M,
#   7,485 M and 13.6 G are right without conv3_3, and 45.9 MB, 1.7 M, 9,335 M and 15.5 G with it. VGG-13 has the former.
# - GoogLeNet's stem is printed with 418 M; 118 + 2 + 13 + 347 + 1 are 481, with the digits the other way round.


def test_alexnets_table():
    table = see(blank("alexnet"), (3, 227, 227)).textbook()
    rounded = {r.name: (round(r.memory), round(r.parameters), round(r.multiply_adds)) for r in table}
    assert rounded == {
        "features.0": (784, 23, 73),
        "features.2": (182, 0, 0),
        "features.3": (547, 307, 224),
        "features.5": (127, 0, 0),
        "features.6": (254, 664, 112),
        "features.8": (169, 885, 150),
        "features.10": (169, 590, 100),
        "features.12": (36, 0, 0),
        "avgpool": (36, 0, 0),
        "classifier.1": (16, 37_749, 38),
        "classifier.4": (16, 16_777, 17),
        "classifier.6": (4, 4_096, 4),
    }
    assert round(sum(r.multiply_adds for r in table) / 1e3, 1) == 0.7


def stem(name):
    return see(blank(name), (3, 224, 224)).until(28)


def test_vggs_stem_and_total():
    convolutions = total(r for r in stem("vgg13") if r.kind == "Conv2d")
    assert round(convolutions.memory / 2**20, 1) == 42.9
    assert round(convolutions.parameters / 1e6, 1) == 1.1 and round(convolutions.multiply_adds / 1e6) == 7485
    s = see(blank("vgg16"), (3, 224, 224))
    without = total(r for r in s if r.name != "features.14")  # conv3_3
    assert round(without.multiply_adds / 1e9, 1) == 13.6 and round(s.total.multiply_adds / 1e9, 2) == 15.47
    whole = total(r for r in s.until(28) if r.kind == "Conv2d")
    numbers = (whole.memory / 2**20, whole.parameters / 1e6, whole.multiply_adds / 1e6)
    assert tuple(round(n, 1) for n in numbers) == (45.9, 1.7, 9335.1)


def test_googlenets_stem():
    rows = [r for r in stem("googlenet") if r.kind in ("Conv2d", "MaxPool2d")]
    assert [round((r.multiply_adds or r.flops) / 1e6) for r in rows] == [118, 2, 13, 347, 1]
    t = total(rows)
    assert round(t.memory / 2**20, 1) == 7.5 and round(t.parameters / 1e3) == 124
    assert round((t.multiply_adds + sum(r.flops for r in rows if r.kind == "MaxPool2d")) / 1e6) == 481


@pytest.mark.parametrize(
    ("name", "kwargs", "exact", "published"),
    [
        ("resnet18", {}, 1_814_073_344, 1.8),
        ("resnet34", {"shortcut": "A"}, 3_644_493_824, 3.6),  # 3.66 with projections
        ("resnet50", {"stride_in_1x1": True}, 3_857_973_248, 3.8),  # cut, not rounded; 4.1 with the stride in the 3x3
        ("resnet101", {"stride_in_1x1": True}, 7_570_194_432, 7.6),
        ("resnet152", {"stride_in_1x1": True}, 11_282_415_616, 11.3),
    ],
)
def test_resnets(name, kwargs, exact, published):
    """He et al. 2016, table 1: convolutions and linear layer, the stride of a stage in its first 1x1 convolution."""
    multiply_adds = see(blank(name, **kwargs), (3, 224, 224)).total.multiply_adds
    assert multiply_adds == exact
    assert published in (round(exact / 1e9, 1), int(exact / 1e8) / 10)
    if name != "resnet50":
        assert round(exact / 1e9, 1) == published


def test_blocks_and_kernels():
    c, h, w = 8, 6, 5
    area = h * w * c * c
    assert see(models.BasicBlock(c, c), (c, h, w)).total.multiply_adds == 18 * area
    assert see(models.Bottleneck(4 * c, c), (4 * c, h, w)).total.multiply_adds == 17 * area
    five = nn.Conv2d(c, c, 5, padding=2, bias=False)
    threes = nn.Sequential(*(nn.Conv2d(c, c, 3, padding=1, bias=False) for _ in range(2)))
    for model, times in ((five, 25), (threes, 18)):
        t = see(model, (c, h, w)).total
        assert t.multiply_adds == times * area and t.flops == 2 * times * area
        assert t.parameters == times * c * c


# ---- layers


def row(layer, size):
    s = see(nn.Sequential(layer), size)
    assert s.error is None
    return s["0"]


@pytest.mark.parametrize(
    ("layer", "size", "output", "weights", "biases", "multiply_adds", "flops"),
    [
        (nn.Conv1d(2, 6, 3, groups=2), (2, 9), (6, 7), 18, 6, 126, 294),
        (nn.Conv2d(2, 4, (3, 1), stride=2, bias=False), (2, 7, 8), (4, 3, 4), 24, 0, 288, 576),
        (nn.Conv2d(2, 4, 3, padding="same", padding_mode="reflect"), (2, 7, 8), (4, 7, 8), 72, 4, 4032, 8288),
        (nn.Conv3d(1, 2, 2, dilation=2), (1, 4, 4, 4), (2, 2, 2, 2), 16, 2, 128, 272),
        (nn.ConvTranspose2d(4, 2, 3, stride=2), (4, 3, 3), (2, 7, 7), 72, 2, 648, 1394),
        (nn.Linear(5, 3), (5,), (3,), 15, 3, 15, 33),
        (nn.Linear(5, 3, bias=False), (4, 5), (4, 3), 15, 0, 60, 120),
        (nn.DropConnectLinear(5, 3), (5,), (3,), 15, 3, 15, 33),
        (nn.BatchNorm2d(3), (3, 4, 4), (3, 4, 4), 3, 3, 0, 96),
        (nn.BatchNorm2d(3, activation="relu"), (3, 4, 4), (3, 4, 4), 3, 3, 0, 144),
        (nn.LayerNorm(4), (3, 4), (3, 4), 4, 4, 0, 24),
        (nn.LocalResponseNorm(5), (8, 2, 2), (8, 2, 2), 0, 0, 0, 160),
        (nn.MaxPool2d(3, 2, ceil_mode=True), (2, 8, 8), (2, 4, 4), 0, 0, 0, 288),
        (type("Mine", (nn.MaxPool2d,), {})((2, 1)), (1, 4, 4), (1, 2, 4), 0, 0, 0, 16),
        (nn.AvgPool1d(2), (2, 8), (2, 4), 0, 0, 0, 16),
        (nn.AdaptiveAvgPool2d(1), (2, 4, 4), (2, 1, 1), 0, 0, 0, 32),
        (nn.ReLU(inplace=True), (3, 2), (3, 2), 0, 0, 0, 6),
        (nn.PReLU(3), (3, 2), (3, 2), 3, 0, 0, 6),
        (nn.CReLU(), (3, 2), (6, 2), 0, 0, 0, 6),
        (nn.Softmax(1), (4,), (4,), 0, 0, 0, 12),
        (nn.Dropout(), (4,), (4,), 0, 0, 0, 0),
        (nn.Flatten(), (4, 3), (12,), 0, 0, 0, 0),
        (nn.LSTM(3, 2, batch_first=True), (5, 3), (5, 2), 40, 16, 200, 480),
        (nn.MultiheadAttention, (5, 4), (5, 4), 64, 16, 520, 1190),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else None,
)
def test_what_layers_cost(layer, size, output, weights, biases, multiply_adds, flops):
    if layer is nn.MultiheadAttention:

        class Own(nn.Module):
            def __init__(self):
                super().__init__()
                self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

            def forward(self, x):
                return self.attend(x, x, x)[0]

        r = see(Own(), size)["attend"]
    else:
        r = row(layer, size)
    assert (r.input, r.output, r.weights, r.biases) == (size, output, weights, biases)
    assert (r.multiply_adds, r.flops) == (multiply_adds, flops)
    assert r.memory == 4 * np.prod(output) and r.parameters == weights + biases


def test_shapes_agree_with_the_models_own():
    """Shapes are inferred; a real pass has the same."""
    for name, size in (("googlenet", 75), ("resnet18", 50), ("zfnet", 90), ("preact_resnet164", 20), ("lenet5", 28)):
        kwargs = {"hidden": 4} if name == "zfnet" else {}
        model = models.get(name, num_classes=3, **kwargs).eval()
        x = sw.zeros(1, models.card(name).input_size[0], size, size)
        seen = []
        for layer_name, layer in model.named_modules():
            if not any(True for _ in layer.children()):
                layer.register_forward_hook(lambda m, a, y, n=layer_name, to=seen: to.append((n, tuple(y.shape[1:]))))
        with sw.no_grad():
            model(x)
        assert [(r.name, r.output) for r in see(model, tuple(x.shape[1:])) if r.output is not None] == seen


def test_backward():
    """The gradient of the input costs what forward does, that of the weights too; the first layer has no former."""
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.Linear(6, 2))
    for p in model[2].parameters():
        p.requires_grad_(False)
    s = see(model, (4,))
    assert [r.backward_multiply_adds for r in s] == [20, 0, 30, 24]
    assert [r.backward_flops for r in s] == [2 * 20 + 5, 5, 2 * 30 + 6, 2 * 24 + 2]
    assert s.total.backward_multiply_adds == 74


def test_stages():
    s = see(blank("resnet18"), (3, 224, 224))
    assert list(s.stages) == ["112x112", "56x56", "28x28", "14x14", "7x7", "1x1", "vectors"]
    assert sum(t.multiply_adds for t in s.stages.values()) == s.total.multiply_adds
    assert s.stages["7x7"].parameters == sum(int(p.numel()) for p in blank("resnet18").layer4.parameters())
    assert s.until(56)[-1].name == "maxpool"
    with pytest.raises(ValueError, match="no output has maps of 0 or less; the stages are 112x112, 56x56"):
        s.until(0)
    with pytest.raises(KeyError, match="no layer is called 'layer9'; expected one of conv1, bn1"):
        s["layer9"]


def test_training_mode_shows_the_auxiliary_classifiers():
    model = blank("googlenet").eval()
    s = see(model, (3, 224, 224))
    missed = [r.name for r in s if r.output is None]
    assert all(n.startswith("aux") for n in missed) and "aux1.fc1" in missed and s.total.complete
    assert "layers with parameters were not reached: aux1.conv.conv" in str(s)
    trained = see(model, (3, 224, 224), training=True)
    assert trained["aux1.fc1"].output == (1024,) and trained.total.parameters == s.total.parameters == 13_004_888
    assert not model.training


# ---- no side effects


def test_the_model_is_left_as_it_was():
    sw.manual_seed(0)

    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
            self.register_buffer("calls", sw.zeros(1))
            self.times = 0

        def forward(self, x):
            self.calls += 1
            self.times += 1
            self.last = x
            return self.inner(x) * sw.rand(1)

    model = Counts()
    model.inner[1].eval()
    model(sw.randn(2, 3, 8, 8)).sum().backward()
    called = []
    model.inner[0].register_forward_hook(lambda *a: called.append("forward"))
    model.inner[0].register_forward_pre_hook(lambda *a: called.append("before"))
    model.inner[2].register_full_backward_hook(lambda *a: called.append("backward"))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    grads = [p.grad.clone() for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    attributes = [sorted(m.__dict__) for m in model.modules()]
    last, rng = model.last, sw.get_rng_state()
    for training in (False, True):
        s = see(model, (3, 9, 9), training=training)
        assert s.error is None and len(s) == 3
    assert not called and model.times == 1 and model.last is last and model.calls.item() == 1
    assert all(bool((v == state[k]).all()) for k, v in model.state_dict().items())
    assert all(bool((p.grad == g).all()) for p, g in zip(model.parameters(), grads, strict=True))
    assert [m.training for m in model.modules()] == modes
    assert [sorted(m.__dict__) for m in model.modules()] == attributes
    assert bool((sw.get_rng_state() == rng).all()) and sw.is_grad_enabled()
    model(sw.randn(2, 3, 8, 8))
    assert called == ["before", "forward"]


def test_big_layers_are_not_computed():
    """A forward pass of this network would take minutes and 137 GB."""
    model = nn.Sequential(nn.Conv2d(3, 512, 3, padding=1), nn.ReLU(), nn.Conv2d(512, 512, 3, padding=1))
    s = see(model, (3, 8192, 8192))
    assert s.error is None and s["2"].multiply_adds == 8192**2 * 512 * 512 * 9
    assert s["2"].memory == 4 * 512 * 8192**2


def test_lazy_layers_stay_lazy():
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(5))
    s = see(model, (2, 6, 6))
    assert [r.parameters for r in s] == [2 * 9 * 4 + 4, 8, 0, 4 * 16 * 5 + 5] and s.error is None
    assert s["3"].multiply_adds == 320 and s["0"].multiply_adds == 16 * 4 * 18
    assert model[0].has_uninitialized_params() and type(model[3]) is nn.LazyLinear


# ---- what cannot be traced


class Stops(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(7, 2)

    def forward(self, x):
        return self.second(self.first(x))


def test_a_model_that_stops_has_the_rows_before_and_the_parameters_after():
    s = see(Stops(), (4,))
    assert s["first"].output == (3,) and s["first"].multiply_adds == 12
    assert s["second"].output is None and s["second"].parameters == 16 and s.total.parameters == 31
    assert "in second (Linear)" in s.error and "the model stopped here: " + s.error in str(s)
    assert s["second"].stage == "not reached" and not s.total.complete and "at least" in str(s)


def test_control_flow_that_reads_values_is_computed():
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            nn.init.zeros_(self.a.weight)
            nn.init.ones_(self.a.bias)

        def forward(self, x):
            y = self.a(x)
            if not bool((y == 1).all()):
                raise RuntimeError("reads values")
            return self.b(y)

    s = see(Looks(), (3,))
    assert s.error is None and [r.name for r in s] == ["a", "b"]


def test_own_layers_and_shared_ones():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(sw.ones(3))

        def forward(self, x):
            return x * self.scale

    class Odd(nn.Conv2d):
        def forward(self, x):
            return super().forward(F.pad(x, (1, 1, 1, 1)))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.shared, self.odd = Scale(), nn.Linear(3, 3), Odd(1, 1, 3)

        def forward(self, x):
            return self.odd(self.shared(self.shared(self.scale(x))).reshape(1, 1, 1, 3))

    s = see(Model(), (3,))
    assert [(r.name, r.parameters) for r in s] == [("scale", 3), ("shared", 12), ("shared", 0), ("odd", 10)]
    assert s["scale"].multiply_adds is None and not s.total.complete
    assert s["odd"].output == (1, 1, 3) and s.total.multiply_adds == 9 + 9 + 27
    assert "?: a layer of a kind whose cost is not known" in str(s) and "at least" in str(s)


def test_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 3), nn.Linear(4, 3)

        def forward(self, x, y):
            return self.a(x) + self.b(y)

    assert [r.input for r in see(Two(), [(2,), (4,)])] == [(2,), (4,)]
    words = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    s = see(words, sw.tensor([[1, 2, 3], [4, 5, 6]]))
    assert [r.output for r in s] == [(3, 4), (3, 2)] and s["0"].multiply_adds == 0
    assert see(words, (3,)).error is not None  # numbers are no indices, and the table says so
    assert see(nn.Conv2d(3, 4, 3), (16, 3, 8, 8)).input_size == ((3, 8, 8),)  # the batch was named too
    assert see(nn.Linear(4, 3).to(sw.bfloat16), (4,)).error is None
    assert see(nn.Identity(), (4,)).total.multiply_adds == 0


@pytest.mark.parametrize(
    ("model", "size", "error", "match"),
    [
        (lambda x: x, (3,), TypeError, "expected model to be a module, got a function"),
        (nn.Identity(), (3, -1), ValueError, r"positive integers, as \(3, 224, 224\), got \(3, -1\)"),
        (nn.Identity(), (3, 2.5), ValueError, r"got \(3, 2.5\)"),
        (nn.Identity(), (), ValueError, "input_size is empty"),
        (nn.Identity(), "ab", ValueError, "got"),
        (nn.Identity(), [(3,), (4, 0)], ValueError, r"got \(4, 0\)"),
        (nn.Identity(), sw.zeros(0, 3), ValueError, r"expected tensors with a batch, got shapes \[\(0, 3\)\]"),
    ],
)
def test_bad_arguments(model, size, error, match):
    with pytest.raises(error, match=match):
        see(model, size)


# ---- how it looks


def test_text(capsys):
    s = summary(models.lenet5(), (1, 28, 28))
    text = capsys.readouterr().out
    assert text == f"{s}\n" and text.startswith("LeNet5, input 1x28x28\n")
    lines = text.splitlines()
    first = "features.0 Conv2d 1x28x28 6x28x28 5 1 2 18.38 0.156 117.6 239.9 117.6 239.9"
    assert first in [" ".join(line.split()) for line in lines]
    stages = [line.split()[1] for line in lines if line.startswith("stage ")]
    assert stages == ["28x28", "14x14", "10x10", "5x5", "vectors"]
    assert any(line.startswith("total") for line in lines) and "1 KB is 1024 bytes" in lines[-1]
    assert repr(s) == "<summary of LeNet5: 61,706 parameters, 416,520 multiply-adds>"
    assert max(map(len, lines)) < 170
    heads = [line.split() for line in lines[1:4]]
    assert heads[1] == ["KB", "k", "k", "k", "multiply-adds", "FLOPs"] and heads[2] == ["k", "k"]
    big = str(see(blank("vgg16"), (3, 224, 224))).splitlines()
    assert big[2].split() == ["KB", "k", "M", "M", "multiply-adds", "FLOPs"]
    conv = "features.2 Conv2d 64x224x224 64x224x224 3 1 1 12,544 36.93 1,850 3,703 3,699 7,402"
    assert conv in [" ".join(line.split()) for line in big]


def test_html_and_notebooks(monkeypatch, capsys):
    model = nn.Sequential()
    model.add_module("a<b>", nn.Linear(2, 3))
    shell = types.ModuleType("IPython")
    shell.get_ipython = lambda: type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", shell)
    s = summary(model, (2,))
    assert capsys.readouterr().out == ""  # the notebook shows it
    page = s._repr_html_()
    tags = []

    class Check(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)

        def handle_endtag(self, tag):
            assert tag in tags

    Check().feed(page)
    assert "a&lt;b&gt;" in page and "a<b>" not in page
    assert tags.count("th") == 13 and tags.count("td") == 13 * 3
    shell.get_ipython = lambda: None
    summary(model, (2,))
    assert "Linear" in capsys.readouterr().out
