"""Steps captured as CUDA graphs: replays are eager steps to the bit, and what cannot be captured is an error."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from skipway import nn


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs, activation="relu")
        self.drop = nn.Dropout(0.3)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, activation="relu")
        same = stride == 1 and inputs == outputs
        self.downsample = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Any) -> Any:
        return self.bn2(self.conv2(self.drop(self.bn1(self.conv1(x)))), self.downsample(x))


def resnet() -> nn.Module:
    sw.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), Block(4, 4, 1), Block(4, 8, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 3),
    )  # fmt: skip


def mlp() -> nn.Module:
    sw.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def batches(n: int, size: int = 6, count: int = 4) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(3)
    return [
        (sw.tensor(rng.normal(0, 1, (count, 3, size, size)), dtype=sw.float32), sw.tensor(rng.integers(0, 3, count)))
        for _ in range(n)
    ]


def bits(*tensors: Any) -> list[bytes]:
    return [t.detach().cpu().numpy().tobytes() for t in tensors]


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: sw.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "plain_sgd": lambda p: sw.optim.SGD(p, lr=0.1),
    "adamw": lambda p: sw.optim.AdamW(p, lr=1e-2),
    "amsgrad": lambda p: sw.optim.Adam(p, lr=1e-2, amsgrad=True),
    "rmsprop": lambda p: sw.optim.RMSprop(p, lr=1e-3, momentum=0.5, centered=True),
    "adagrad": lambda p: sw.optim.Adagrad(p, lr=1e-2, lr_decay=0.1),
    "adadelta": lambda p: sw.optim.Adadelta(p, lr=0.5),
}


class Run:
    """A training run: of eager steps, or of a graph's."""

    def __init__(self, net: nn.Module, optimizer: str, graphed: bool, dtype: Any = None, scaler: Any = None) -> None:
        self.net = net.cuda().train()
        self.optimizer = OPTIMIZERS[optimizer](self.net.parameters())
        self.schedule = sw.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 10)
        self.dtype, self.scaler = dtype, scaler
        self.call = sw.cuda.graph(self.step) if graphed else self.step
        self.losses: list[Any] = []

    def step(self, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad()
        with sw.autocast("cuda", dtype=self.dtype or sw.bfloat16, enabled=self.dtype is not None):
            loss = F.cross_entropy(self.net(x), y)
        if self.scaler is None:
            loss.backward()
            self.optimizer.step()
        else:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return loss

    def run(self, data: list[Any]) -> Run:
        for x, y in data:
            self.losses.append(self.call(x.cuda(), y.cuda()))
            self.schedule.step()
        return self

    def state(self) -> list[bytes]:
        """All that a run has changed."""
        states = [self.optimizer.state[p] for p in self.net.parameters()]
        counts = [float(s.get("step", 0)) for s in states]
        tensors = [v for s in states for v in s.values() if isinstance(v, sw.Tensor)]
        return [
            *bits(*self.losses, *self.net.parameters(), *self.net.buffers(), *tensors, sw.get_rng_state()),
            repr((counts, self.optimizer.param_groups[0]["lr"])).encode(),
        ]


def compare(build: Callable[[], nn.Module], optimizer: str, data: list[Any], **options: Any) -> Run:
    runs = []
    for graphed in (False, True):
        net = build()
        sw.manual_seed(11)
        chosen = {k: v() if callable(v) else v for k, v in options.items()}
        runs.append(Run(net, optimizer, graphed, **chosen).run(data))
    eager, replayed = runs
    assert replayed.call.graphs == 1
    assert eager.state() == replayed.state()
    assert len({b for b in bits(*replayed.losses)}) == len(data), "the losses differ from step to step"
    return replayed


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_residual_network_trains_to_the_bit(optimizer: str) -> None:
    """Dropout masks, the cosine schedule, Adam's bias correction and BatchNorm's statistics go on in replays."""
    compare(resnet, optimizer, batches(5))


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name not in ("sgd", "adamw")])
def test_every_optimizer_goes_on(optimizer: str) -> None:
    compare(mlp, optimizer, batches(5, size=2))


def test_bfloat16_casts_weights_in_each_replay() -> None:
    compare(resnet, "sgd", batches(4), dtype=sw.bfloat16)


def test_dropout_masks_go_on_between_eager_steps() -> None:
    """Eager work may come between replays, and a seed set between them is that of the next replay."""
    x = sw.ones(70, device="cuda")

    def drop(x: Any) -> Any:
        return F.dropout(x, 0.5) + sw.rand(70, device="cuda") + sw.randint(0, 9, (70,), device="cuda")

    def sequence(call: Callable[[Any], Any]) -> list[bytes]:
        sw.manual_seed(5)
        results = [call(x) for _ in range(3)]
        results.append(sw.rand(3))
        results.append(call(x))
        sw.manual_seed(6)
        results += [call(x), call(x), sw.get_rng_state()]
        return bits(*results)

    expected, got = sequence(drop), sequence(sw.cuda.graph(drop))
    assert expected == got
    assert len(set(got)) == len(got)


def test_all_random_ops_and_generators() -> None:
    p = sw.full((40,), 0.3, device="cuda")

    def draw(generator: Any) -> Any:
        x = sw.zeros(33, device="cuda")
        return (
            sw.randn(33, device="cuda", generator=generator),
            x.clone().exponential_(),
            sw._core.trunc_normal_(x.clone(), generator=generator),
            x.clone().bernoulli_(0.5),
            F.dropout2d(sw.ones(4, 6, 3, device="cuda")),
            F.dropout(sw.ones(2, 5, 3, 3, device="cuda").to(memory_format=sw.channels_last)),
            p + 0,
        )

    def sequence(call: Callable[[Any], Any]) -> list[bytes]:
        sw.manual_seed(5)
        generator = sw.Generator("cuda").manual_seed(3)
        results = [t for _ in range(4) for t in call(generator)]
        return bits(*results, generator.get_state())

    assert sequence(draw) == sequence(sw.cuda.graph(draw))


def test_schedules_and_hyperparameters_act_on_replays() -> None:
    """A schedule may be stepped within the captured step, too; momentum is read anew like the learning rate."""

    def run(graphed: bool) -> list[bytes]:
        net = mlp().cuda()
        optimizer = OPTIMIZERS["sgd"](net.parameters())
        schedule = sw.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=12)

        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimizer.step()
            schedule.step()
            return loss

        call = sw.cuda.graph(step) if graphed else step
        sw.manual_seed(1)
        losses = []
        for i, (x, y) in enumerate(batches(5, size=2)):
            losses.append(call(x.cuda(), y.cuda()))
            if i == 3:
                optimizer.param_groups[0]["weight_decay"] = 0.1
        return [
            *bits(*losses, *net.parameters()),
            repr([schedule.last_epoch, optimizer.param_groups[0]["lr"]]).encode(),
        ]

    assert run(False) == run(True)


def test_inputs_and_outputs() -> None:
    """Nested arguments, constants and inputs on the CPU; results are copies."""

    def f(pair: Any, factor: float, *, extra: Any) -> Any:
        return {"y": pair[0] * factor + extra, "pair": (pair[1] - 1, "text")}

    g = sw.cuda.graph(f)
    kept = []
    for i in range(4):
        pair = (sw.full((3,), float(i)), sw.tensor([i, i]).cuda())
        kept.append((i, g(pair, 2.0, extra=sw.ones(3))))
    for i, out in kept:
        assert out["y"].is_cuda and out["y"].tolist() == [2.0 * i + 1] * 3
        assert out["pair"][0].tolist() == [i - 1, i - 1] and out["pair"][1] == "text"
    assert g.graphs == 1
    own = sw.cuda.graph(lambda x: x * 2, copy_outputs=False)
    first = [own(sw.tensor([float(i)]).cuda()) for i in range(4)]
    assert [t.item() for t in first] == [0.0, 6.0, 6.0, 6.0], "the graph's own tensor is written again"


def test_other_shapes_have_graphs_of_their_own_up_to_a_bound() -> None:
    g = sw.cuda.graph(lambda x: x + 1, max_graphs=2)
    for n in (3, 4, 3, 4, 3, 4):
        assert g(sw.zeros(n, device="cuda")).tolist() == [1.0] * n
    assert g.graphs == 2
    with pytest.raises(RuntimeError, match=r"max_graphs.*float32 \(3,\).*float32 \(4,\).*float32 \(5,\).*drop or pad"):
        g(sw.zeros(5, device="cuda"))
    g.reset()
    assert g.graphs == 0
    assert [g(sw.zeros(5, device="cuda", dtype=d)).dtype for d in (sw.float64, sw.int32)] == [sw.float64, sw.int32]


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "item": (lambda x: x.sum().item(), r"x\.sum\(\)\.item\(\)"),
    "print": (lambda x: str(x), r"str\(x\)"),
    "tolist": (lambda x: x.tolist(), r"x\.tolist\(\)"),
    "if": (lambda x: bool(x[0] > 0), r"bool\("),
    "cpu": (lambda x: x.cpu(), r"x\.cpu\(\)"),
    "from_cpu": (lambda x: x + sw.ones(40).cuda(), r"sw\.ones\(40\)\.cuda\(\)"),
    "nonzero": (lambda x: x.nonzero(), r"x\.nonzero\(\)"),
    "mask": (lambda x: x[x > 0], r"x\[x > 0\]"),
    "synchronize": (lambda x: sw.cuda.synchronize(), r"sw\.cuda\.synchronize\(\)"),
    "event": (lambda x: x.add_(1) is x and sw.cuda.current_stream().synchronize(), "synchronize"),
    "cpu_random": (lambda x: x + sw.rand(()), r"a random op on the CPU.*sw\.rand\(\(\)\)"),
    "stream": (lambda x: sw.cuda.set_stream(sw.cuda.Stream()), r"the stream cannot be changed.*set_stream"),
    "empty_cache": (lambda x: sw.cuda.empty_cache(), r"empty_cache cannot be captured"),
    "other_device": (
        lambda x: sw.ones(3, device=f"cuda:{sw.cuda.device_count() - 1}") + 1,
        r"work on cuda:1 in the capture of a graph on cuda:0; capture within `with sw\.cuda\.device\(1\):`",
    ),
    "error_if_nonfinite": (
        lambda x: nn.utils.clip_grad_norm_([with_grad(x)], 1.0, error_if_nonfinite=True),
        r"clip_grad_norm_",
    ),
}


def with_grad(x: Any) -> Any:
    p = nn.Parameter(x.detach())
    p.grad = x
    return p


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_the_host_is_an_error_that_names_the_call(name: str) -> None:
    f, message = REFUSED[name]
    if name == "other_device" and sw.cuda.device_count() < 2:
        pytest.skip("there is one device")
    g = sw.cuda.graph(f)
    x = sw.ones(40, device="cuda")
    g(x.clone())
    sw.cuda.set_stream(sw.cuda.default_stream())
    before = sw.get_rng_state().tolist()
    with pytest.raises(RuntimeError, match=f"^cuda graph: .*{message}"):
        g(x.clone())
    assert sw.get_rng_state().tolist() == before
    assert sw.cuda.is_current_stream_capturing() is False
    assert (x + 1).sum().item() == 80.0, "the device can be used as ever"


def test_an_error_in_the_function_ends_the_capture() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(x)
        if len(calls) > 1:
            raise KeyError("mine")
        return x

    g = sw.cuda.graph(f)
    g(sw.ones(2, device="cuda"))
    with pytest.raises(KeyError, match="mine"):
        g(sw.ones(2, device="cuda"))
    assert not sw.cuda.is_current_stream_capturing()
    assert sw.cuda.graph(lambda x: x + 1)(sw.ones(2, device="cuda")).tolist() == [2.0, 2.0]


def test_optimizers_must_have_their_state_before() -> None:
    for name in ("sgd", "adamw"):
        p = nn.Parameter(sw.ones(3, device="cuda"))
        optimizer = OPTIMIZERS[name]([p])
        p.grad = sw.ones(3, device="cuda")
        graph = sw.cuda.CUDAGraph()
        with pytest.raises(RuntimeError, match="take (one|a) step before"), sw.cuda.graph(graph):
            optimizer.step()


def test_faults_come_with_the_next_wait() -> None:
    net = nn.Embedding(5, 2).cuda()
    g = sw.cuda.graph(lambda i: net(i).sum())
    fine, wrong = sw.tensor([0, 4]).cuda(), sw.tensor([0, 7]).cuda()
    for _ in range(3):
        g(fine).item()
    out = g(wrong)
    with pytest.raises(IndexError, match="7 is out of range for size 5"):
        out.item()
    g(fine).item()


@pytest.mark.parametrize("change", ["data", "load", "groups"])
def test_moved_parameters_and_states_are_errors(change: str) -> None:
    run = Run(mlp(), "sgd", True).run(batches(3, size=2))
    x, y = batches(1, size=2)[0]
    if change == "data":
        run.net[1].weight.data = run.net[1].weight.data.clone()
        message = r"parameter 0 of SGD, of shape \(16, 12\), is in other memory"
    elif change == "load":
        run.optimizer.load_state_dict(run.optimizer.state_dict())
        message = "the state of SGD was replaced"
    else:
        run.optimizer.param_groups = [dict(g) for g in run.optimizer.param_groups]
        message = "the parameter groups of SGD were replaced"
    with pytest.raises(RuntimeError, match=message):
        run.call(x.cuda(), y.cuda())
    run.call.reset()
    before = bits(*run.net.parameters())
    for _ in range(3):
        run.call(x.cuda(), y.cuda())
    assert run.call.graphs == 1 and bits(*run.net.parameters()) != before


def test_pytorchs_way() -> None:
    x = sw.zeros(4, device="cuda")
    sw.manual_seed(3)
    g = sw.cuda.CUDAGraph()
    with sw.cuda.graph(g):
        assert sw.cuda.is_current_stream_capturing()
        y = F.dropout(x + 1, 0.5)
        z = y * 2
    expected = F.dropout(sw.full((4,), 3.0, device="cuda"), 0.5).tolist()
    sw.manual_seed(3)
    x.fill_(2.0)
    g.replay()
    assert y.tolist() == expected and z.tolist() == [2 * v for v in expected]
    with pytest.raises(RuntimeError, match="captured once"), sw.cuda.graph(g):
        pass
    g.reset()
    with pytest.raises(RuntimeError, match="nothing has been captured"):
        g.replay()
    with pytest.raises(TypeError, match="a function or a CUDAGraph"):
        sw.cuda.graph(3)
    with pytest.raises(ValueError, match="warmup"):
        sw.cuda.graph(mlp(), warmup=0)


def test_memory_is_the_graphs_own_and_comes_back() -> None:
    """What is freed meanwhile, and caches that are emptied, do not touch it."""
    gc.collect()  # graphs of other tests keep memory
    sw.cuda.synchronize()
    sw.cuda.empty_cache()
    start = sw.cuda.memory_reserved()
    g = sw.cuda.graph(lambda x: ((x + 1) * 2 + x).sum(0))
    x = sw.ones(50, 20, device="cuda")
    for _ in range(3):
        assert g(x).tolist() == [250.0] * 20
        other = [sw.full((50, 20), float("nan"), device="cuda") for _ in range(4)]
        del other
        sw.cuda.empty_cache()
    assert sw.cuda.memory_reserved() > start
    del x
    g.reset()
    sw.cuda.empty_cache()
    assert sw.cuda.memory_reserved() == start


def test_pinned_memory_is_copied_in_each_replay() -> None:
    host = sw.zeros(5).pin_memory()
    back = sw.zeros(5).pin_memory()
    graph = sw.cuda.CUDAGraph()
    with sw.cuda.graph(graph):
        x = host.to("cuda", non_blocking=True)
        back.copy_(x * 2, non_blocking=True)
    for i in range(3):
        host.fill_(float(i))
        graph.replay()
        sw.cuda.synchronize()
        assert back.tolist() == [2.0 * i] * 5
    address = host.data_ptr()
    del host
    assert all(sw.zeros(5).pin_memory().data_ptr() != address for _ in range(3)), "the graph still reads it"


def test_a_backward_pass_outside_of_the_graph_is_an_error() -> None:
    x = sw.ones(5, device="cuda", requires_grad=True)
    graph = sw.cuda.CUDAGraph()
    with sw.cuda.graph(graph):
        y = F.dropout(x, 0.5).sum()
    graph.replay()
    with pytest.raises(RuntimeError, match="capture the backward pass in the same graph"):
        y.backward()


def test_accumulated_gradients() -> None:
    """Gradients of several replays add up in memory that was there before."""
    net = mlp().cuda().eval()
    twin = copy.deepcopy(net)
    (x, y), *_ = batches(1, size=2)

    def make(net: nn.Module) -> Callable[[Any, Any], Any]:
        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            return loss

        return step

    eager, graphed = make(net), sw.cuda.graph(make(twin))
    for i in range(5):
        eager(x.cuda() + i, y.cuda())
        graphed(x.cuda() + i, y.cuda())
    assert bits(*[p.grad for p in net.parameters()]) == bits(*[p.grad for p in twin.parameters()])
