"""Module: registration, state dicts, hooks, modes, printing and copying."""

import copy
import pickle
from collections import OrderedDict

import pytest
import skipway as sw
from skipway import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
        self.register_buffer("scale", sw.ones(1), persistent=False)

    def forward(self, x):
        return self.head(self.bn(self.conv(x)).relu() * self.scale)


KEYS = [
    "conv.weight", "conv.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked",
    "head.1.weight", "head.1.bias",
]  # fmt: skip


def test_registration_order_and_names():
    net = Net()
    assert list(net.state_dict()) == KEYS
    assert [n for n, _ in net.named_parameters()] == [
        "conv.weight", "conv.bias", "bn.weight", "bn.bias", "head.1.weight", "head.1.bias",
    ]  # fmt: skip
    assert [n for n, _ in net.named_buffers()] == [
        "scale", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked",
    ]  # fmt: skip
    assert [n for n, _ in net.named_modules()] == ["", "conv", "bn", "head", "head.0", "head.1"]
    assert [n for n, _ in net.named_children()] == ["conv", "bn", "head"]
    assert len(list(net.modules())) == 6 and len(list(net.children())) == 3
    assert len(list(net.parameters())) == 6 and len(list(net.parameters(recurse=False))) == 0


def test_shared_modules_are_listed_once():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert len(list(net.parameters())) == 2
    assert [n for n, _ in net.named_modules()] == ["", "0", "1"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_setattr_and_delattr():
    net = Net()
    net.conv = None
    assert net.conv is None and "conv.weight" not in net.state_dict()
    net.extra = nn.Parameter(sw.zeros(2))
    assert "extra" in dict(net.named_parameters())
    del net.extra
    assert not hasattr(net, "extra")
    with pytest.raises(TypeError, match="cannot assign 'int' as child module 'bn'"):
        net.bn = 3
    with pytest.raises(TypeError, match="cannot assign 'Tensor' as parameter 'weight'"):
        net.bn.weight = sw.zeros(4)
    with pytest.raises(TypeError, match="as buffer 'running_mean'"):
        net.bn.running_mean = 1.0
    net.bn.running_mean = sw.ones(4)
    assert net.bn.running_mean.sum().item() == 4
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'missing'"):
        net.missing  # noqa: B018
    assert "conv" in dir(Net()) and "forward" in dir(net)


def test_use_before_init():
    class Bad(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match="cannot assign module before Module.__init__"):
        Bad()

    class BadParameter(nn.Module):
        def __init__(self):
            self.p = nn.Parameter(sw.zeros(1))

    with pytest.raises(AttributeError, match="cannot assign parameters before Module.__init__"):
        BadParameter()


def test_names_are_checked():
    net = Net()
    with pytest.raises(KeyError, match="contain"):
        net.register_buffer("a.b", sw.zeros(1))
    with pytest.raises(KeyError, match="already exists"):
        net.register_parameter("conv", None)
    with pytest.raises(KeyError, match="empty string"):
        net.add_module("", nn.ReLU())
    with pytest.raises(TypeError, match="is not a Module subclass"):
        net.add_module("x", 3)
    with pytest.raises(ValueError, match="must be a leaf"):
        net.register_parameter("w", _non_leaf_parameter())


def _non_leaf_parameter():
    p = nn.Parameter(sw.zeros(2), requires_grad=False)
    p.mul_(sw.ones(2, requires_grad=True))
    return p


def test_submodules_by_path():
    net = Net()
    assert net.get_submodule("head.1") is net.head[1] and net.get_submodule("") is net
    assert net.get_parameter("head.1.bias") is net.head[1].bias
    assert net.get_buffer("bn.running_mean") is net.bn.running_mean
    with pytest.raises(AttributeError, match="has no attribute `nope`"):
        net.get_submodule("head.nope")
    net.set_submodule("head.1", nn.Identity())
    assert isinstance(net.head[1], nn.Identity)


def test_load_state_dict_round_trip():
    a, b = Net(), Net()
    result = b.load_state_dict(a.state_dict())
    assert str(result) == "<All keys matched successfully>"
    for key, value in a.state_dict().items():
        assert sw.equal(value, b.state_dict()[key]), key
    assert a.conv.weight.data_ptr() != b.conv.weight.data_ptr()


def test_load_state_dict_reports_everything():
    net = Net()
    state = net.state_dict()
    del state["conv.bias"]
    state["head.1.weight"] = sw.zeros(3, 64)
    state["head.9.weight"] = sw.zeros(1)
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    message = str(error.value)
    assert "Error(s) in loading state_dict for Net" in message
    assert 'Missing key(s) in state_dict: "conv.bias"' in message
    assert 'Unexpected key(s) in state_dict: "head.9.weight"' in message
    assert "size mismatch for head.1.weight" in message and "(3, 64)" in message and "(2, 64)" in message
    state["head.1.weight"] = sw.zeros(2, 64)
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["conv.bias"] and result.unexpected_keys == ["head.9.weight"]
    with pytest.raises(TypeError, match="dict-like"):
        net.load_state_dict([1])


def test_old_batch_norm_files_without_a_batch_count():
    net = nn.BatchNorm2d(3)
    state = {k: v for k, v in net.state_dict().items() if k != "num_batches_tracked"}
    net.load_state_dict(OrderedDict(state))


def test_state_dict_prefix_and_hooks():
    net = Net()
    seen = []
    net.register_state_dict_post_hook(lambda module, state, prefix, meta: seen.append(prefix))
    assert next(iter(net.state_dict(prefix="model."))) == "model.conv.weight"
    assert seen == ["model."]
    net.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.clear())
    state = Net().state_dict()
    del state["conv.bias"]
    net.load_state_dict(state)


def test_extra_state():
    class Counter(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.n = n

        def get_extra_state(self):
            return {"n": self.n}

        def set_extra_state(self, state):
            self.n = state["n"]

    a, b = nn.Sequential(Counter(3)), nn.Sequential(Counter(0))
    b.load_state_dict(a.state_dict())
    assert b[0].n == 3


def test_train_eval_apply_requires_grad():
    net = Net()
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())
    with pytest.raises(ValueError, match="boolean"):
        net.train("yes")
    names = []
    net.apply(lambda m: names.append(type(m).__name__))
    assert names == ["Conv2d", "BatchNorm2d", "Flatten", "Linear", "Sequential", "Net"]
    assert not any(p.requires_grad for p in net.requires_grad_(False).parameters())


def test_to_and_casts():
    net = Net()
    weight = net.conv.weight
    optimizer = sw.optim.SGD(net.parameters(), lr=0.1)
    net.double()
    assert net.conv.weight is weight and weight.dtype is sw.float64
    assert net.bn.num_batches_tracked.dtype is sw.int64
    assert optimizer.param_groups[0]["params"][0] is weight
    assert net.to(sw.float32).bn.running_var.dtype is sw.float32
    assert net.bfloat16().conv.bias.dtype is sw.bfloat16
    assert net.to("cpu", sw.float32).conv.bias.dtype is sw.float32
    assert net.to(sw.zeros(1, dtype=sw.float64)).conv.bias.dtype is sw.float64
    assert net.half().conv.bias.dtype is sw.float16 and net.double().conv.bias.dtype is sw.float64
    with pytest.raises(TypeError, match="floating-point dtype"):
        net.to(sw.int64)
    with pytest.raises(sw.DeviceError, match="cuda"):
        net.cuda()
    with pytest.raises(sw.DeviceError, match="cuda"):
        net.to("cuda:0")


def test_zero_grad():
    net = nn.Linear(2, 1)
    net(sw.ones(1, 2)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert net.weight.grad.abs().sum().item() == 0
    net.zero_grad()
    assert net.weight.grad is None


def test_forward_hooks():
    net = nn.Linear(2, 2)
    calls = []
    pre = net.register_forward_pre_hook(lambda m, args: calls.append("pre") or (args[0] * 2,))
    post = net.register_forward_hook(lambda m, args, out: calls.append("post") or out + 1)
    x = sw.ones(1, 2)
    hooked = net(x)
    assert calls == ["pre", "post"]
    pre.remove()
    post.remove()
    assert sw.allclose(hooked, net(x * 2) + 1)
    assert calls == ["pre", "post"]

    with_kwargs = net.register_forward_hook(
        lambda m, args, kwargs, out: calls.append(sorted(kwargs)), with_kwargs=True, prepend=True
    )
    net(input=x)
    assert calls[-1] == ["input"]
    with with_kwargs:
        pass
    net(input=x)
    assert len(calls) == 3


def test_hook_that_is_always_called():
    class Fails(nn.Module):
        def forward(self, x):
            raise KeyError("inside")

    seen = []
    net = Fails()
    net.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    with pytest.raises(KeyError, match="inside"):
        net(1)
    assert seen == [None]


def test_full_backward_hook_sees_and_replaces_gradients():
    net = nn.Linear(2, 3)
    seen = {}

    def hook(module, grad_input, grad_output):
        seen["in"], seen["out"] = grad_input[0], grad_output[0]
        return (grad_input[0] * 10,)

    handle = net.register_full_backward_hook(hook)
    x = sw.ones(4, 2, requires_grad=True)
    net(x).sum().backward()
    assert tuple(seen["in"].shape) == (4, 2) and tuple(seen["out"].shape) == (4, 3)
    assert sw.allclose(x.grad, 10 * seen["in"])
    handle.remove()
    x.grad = None
    net(x).sum().backward()
    assert sw.allclose(x.grad, seen["in"])


def test_backward_pre_hook_and_input_without_grad():
    net = nn.Linear(2, 3, bias=False)
    seen = []
    net.register_full_backward_pre_hook(lambda m, grad_output: (grad_output[0] * 0,))
    net.register_full_backward_hook(lambda m, grad_input, grad_output: seen.append((grad_input, grad_output)))
    net(sw.ones(1, 2)).sum().backward()
    assert net.weight.grad.abs().sum().item() == 0
    assert seen[0][0] == (None,)


def test_repr():
    net = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 8, 3, bias=False), act=nn.ReLU(inplace=True)))
    assert repr(net) == (
        "Sequential(\n"
        "  (conv): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), bias=False)\n"
        "  (act): ReLU(inplace=True)\n"
        ")"
    )
    assert repr(nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU()])) == (
        "ModuleList(\n  (0-1): 2 x Linear(in_features=2, out_features=2, bias=True)\n  (2): ReLU()\n)"
    )
    assert repr(nn.Module()) == "Module()"


def test_deepcopy_and_pickle():
    net = Net()
    x = sw.randn(2, 3, 4, 4)
    net(x).sum().backward()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.conv.weight is not net.conv.weight
        assert isinstance(other.conv.weight, nn.Parameter) and other.conv.weight.requires_grad
        assert sw.equal(other.eval()(x), net.eval()(x))
    with sw.no_grad():
        copied = copy.deepcopy(net)
        copied.conv.weight.zero_()
    assert net.conv.weight.abs().sum().item() > 0


def test_tied_weights_stay_tied_in_a_copy():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    copied = copy.deepcopy(net)
    assert copied[0].weight is copied[1].weight


def test_module_without_forward():
    with pytest.raises(NotImplementedError, match='missing the required "forward"'):
        nn.Module()(1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'a'"):
        nn.Module(a=1)


def test_data_parallel_is_the_module():
    net = Net()
    assert nn.DataParallel(net) is net and nn.parallel.DataParallel(net, device_ids=[0]) is net
    assert net.module is net and list(net.module.state_dict()) == KEYS and "module" not in repr(net)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(net)))
    assert copied.module is copied and len(list(copied.modules())) == 6
