"""`import skipway as torch`: names that real PyTorch code uses are there, and small programs run as they stand."""

import copy
import importlib
import pickle

import numpy as np
import pytest
import skipway as sw

# Counted over public collections of model files, training scripts and notebooks.
NAMES = {
    "nn": """Sequential Conv2d Module Linear CrossEntropyLoss BatchNorm2d ReLU MaxPool2d AvgPool2d DataParallel
        Dropout AdaptiveAvgPool2d Sigmoid MSELoss BatchNorm1d Flatten Dropout2d ConvTranspose2d LeakyReLU Tanh
        LazyLinear LazyConv2d ELU LazyBatchNorm2d Parameter ReLU6 BCELoss LazyBatchNorm1d ConstantPad2d
        BCEWithLogitsLoss PixelShuffle LSTM GELU Identity ModuleList ModuleDict Softmax LogSoftmax NLLLoss
        Hardswish SiLU ZeroPad2d Upsample GroupNorm LayerNorm InstanceNorm2d Conv1d Conv3d MaxPool1d
        AdaptiveMaxPool2d PReLU SELU Softplus Embedding GRU L1Loss SmoothL1Loss KLDivLoss ParameterList Residual""",
    "nn.functional": """relu avg_pool2d max_pool2d dropout adaptive_avg_pool2d cross_entropy nll_loss interpolate
        softmax log_softmax sigmoid smooth_l1_loss pad binary_cross_entropy conv2d linear batch_norm gelu
        mse_loss one_hot normalize leaky_relu tanh unfold embedding pixel_shuffle""",
    "": """save load cat no_grad randn tensor zeros manual_seed exp device Tensor max float32 sigmoid from_numpy
        arange rand ones norm matmul dot mm where randint empty add sum allclose sqrt square normal stack
        ones_like Generator FloatTensor zeros_like mv meshgrid linspace flatten equal bernoulli unsqueeze tanh
        split sign randn_like pow logical_and log1p isnan is_grad_enabled full abs float long int bool uint8
        double half int64 LongTensor finfo iinfo as_tensor full_like logspace eye einsum set_printoptions
        get_default_dtype set_default_dtype is_tensor isclose randperm clamp chunk squeeze transpose reshape
        mean std var argmax min topk sort cumsum gather bmm squeeze inf pi __version__ memory_stats
        set_num_threads show_config fuse""",
    "optim": "SGD Adam Adadelta RMSprop AdamW Adagrad Optimizer lr_scheduler",
    "optim.lr_scheduler": """MultiStepLR CosineAnnealingLR StepLR ExponentialLR LinearLR OneCycleLR SequentialLR
        ReduceLROnPlateau LambdaLR CosineAnnealingWarmRestarts CyclicLR ConstantLR PolynomialLR ChainedScheduler
        MultiplicativeLR _LRScheduler LRScheduler""",
    "nn.init": """constant_ normal_ zeros_ xavier_uniform_ kaiming_normal_ uniform_ kaiming_normal ones_
        kaiming_uniform_ xavier_normal_ trunc_normal_ orthogonal_ eye_ dirac_ sparse_ calculate_gain
        xavier_uniform""",
    "cuda": """is_available manual_seed_all device_count set_device manual_seed memory_summary current_device
        Event synchronize empty_cache""",
    "utils.data": """DataLoader random_split TensorDataset Dataset RandomSampler SequentialSampler
        SubsetRandomSampler BatchSampler Subset""",
    "autograd": "Variable Function grad backward no_grad",
    "nn.utils": "clip_grad_norm_ clip_grad_value_ parameters_to_vector vector_to_parameters weight_norm spectral_norm",
}
METHODS = """size backward relu view sum item max split numpy mean cuda float reshape to cpu norm sigmoid eq
    fill_ std exp squeeze clone numel normal_ expand_as mul_ add sqrt device zero_ detach argmax floor div_
    transpose grad tolist add_ topk matmul dot permute gather dim tanh log where unsqueeze pow mm prod maximum
    requires_grad_ flatten t clip data square allclose abs scatter cumsum cos min ceil type ravel sin
    multinomial half copy_ view_as softmax sign scatter_ log_softmax mv logical_and equal cosh contiguous
    bernoulli all uniform_ sub_ sinh shape rsqrt multiply mul long log1p isnan gt expand dtype div bernoulli_
    any ndim T is_leaf retain_grad register_hook grad_fn requires_grad new_zeros type_as is_contiguous
    masked_fill clamp_ chunk repeat unbind index_select new_tensor bool int double bfloat16 element_size
    nelement"""
MODULES = """nn nn.functional nn.init nn.utils nn.parallel nn.parameter nn.modules nn.modules.batchnorm
    nn.modules.conv nn.modules.utils nn.modules.module nn.modules.container nn.modules.loss optim
    optim.lr_scheduler optim.optimizer autograd cuda backends backends.cudnn backends.mps utils utils.data
    utils.checkpoint utils.model_zoo amp cuda.amp jit hub random linalg distributions distributed
    multiprocessing version models data io testing"""


@pytest.mark.parametrize("module", NAMES)
def test_names(module):
    owner = importlib.import_module(f"skipway.{module}" if module else "skipway")
    missing = [name for name in NAMES[module].split() if not hasattr(owner, name)]
    assert not missing


def test_methods():
    t = sw.zeros(2, 2, requires_grad=True)
    assert not [name for name in METHODS.split() if not hasattr(t, name)]


@pytest.mark.parametrize("module", MODULES.split())
def test_modules_import_by_path_and_by_attribute(module):
    imported = importlib.import_module(f"skipway.{module}")
    found = sw
    for part in module.split("."):
        found = getattr(found, part)
    assert found is imported


def test_paths_that_model_files_use():
    from skipway.nn.modules.batchnorm import _BatchNorm
    from skipway.nn.modules.utils import _pair
    from skipway.optim.lr_scheduler import _LRScheduler
    from skipway.utils.data.sampler import SubsetRandomSampler

    assert isinstance(sw.nn.BatchNorm2d(1), _BatchNorm) and _pair(3) == (3, 3) and _pair((1, 2)) == (1, 2)

    class WarmUp(_LRScheduler):
        def __init__(self, optimizer, total_iters, last_epoch=-1):
            self.total_iters = total_iters
            super().__init__(optimizer, last_epoch)

        def get_lr(self):
            return [base_lr * self.last_epoch / (self.total_iters + 1e-8) for base_lr in self.base_lrs]

    opt = sw.optim.SGD([sw.nn.Parameter(sw.zeros(1))], lr=0.1)
    warm = WarmUp(opt, 2)
    assert opt.param_groups[0]["lr"] == 0
    opt.step()
    warm.step()
    assert opt.param_groups[0]["lr"] == pytest.approx(0.05)
    assert len(list(SubsetRandomSampler([1, 2]))) == 2


def test_creation():
    assert sw.tensor([1, 2]).dtype is sw.int64 and sw.tensor([1.0]).dtype is sw.float32
    assert sw.tensor([True]).dtype is sw.bool and sw.tensor(3).shape == () and sw.tensor([]).dtype is sw.float32
    assert sw.tensor(np.zeros(2)).dtype is sw.float64 and sw.tensor([1, 2.5]).tolist() == [1.0, 2.5]
    assert sw.tensor([sw.tensor(1.0), sw.tensor(2.0)]).tolist() == [1.0, 2.0]
    assert sw.tensor([[1], [2]], dtype=sw.bfloat16).dtype is sw.bfloat16
    assert sw.tensor([1.0], requires_grad=True).requires_grad
    source = np.ones(3, np.float32)
    shared, copied = sw.as_tensor(source), sw.tensor(source)
    source[0] = 5
    assert shared[0].item() == 5 and copied[0].item() == 1
    assert sw.arange(5).tolist() == [0, 1, 2, 3, 4] and sw.arange(1, 2, 0.5).tolist() == [1.0, 1.5]
    assert sw.arange(5, 0, -2).tolist() == [5, 3, 1] and sw.arange(3.0).dtype is sw.float32
    assert sw.linspace(0, 1, 3).tolist() == [0.0, 0.5, 1.0] and sw.logspace(0, 2, 3).tolist() == [1.0, 10.0, 100.0]
    assert sw.eye(2).tolist() == [[1, 0], [0, 1]] and sw.full((2,), 7).dtype is sw.int64
    assert sw.full((2, 1), 0.5).tolist() == [[0.5], [0.5]] and sw.zeros(2, 3).shape == (2, 3) == sw.ones((2, 3)).shape
    x = sw.ones(2, dtype=sw.float64)
    assert sw.zeros_like(x).dtype is sw.float64 and sw.full_like(x, 2).tolist() == [2.0, 2.0]
    assert sw.Tensor(2, 3).shape == (2, 3) and sw.Tensor([1, 2]).dtype is sw.float32 and sw.Tensor().numel() == 0
    assert sw.FloatTensor([1, 2]).tolist() == [1.0, 2.0] and sw.LongTensor([1]).dtype is sw.int64
    assert isinstance(sw.zeros(1), sw.FloatTensor) and not isinstance(sw.zeros(1), sw.LongTensor)
    for bad in ("text", [object()], [[1, 2], [3]]):
        with pytest.raises((TypeError, ValueError), match="tensor: "):
            sw.tensor(bad)
    with pytest.raises(ValueError, match="step of 1 does not lead"):
        sw.arange(3, 1)
    with pytest.raises(sw.ShapeError, match=r"\(-1,\)"):
        sw.zeros(-1)


def test_default_dtype():
    assert sw.get_default_dtype() is sw.float32
    sw.set_default_dtype(sw.float64)
    try:
        assert sw.zeros(1).dtype is sw.float64 and sw.tensor([1.0]).dtype is sw.float64
        assert sw.randn(2).dtype is sw.float64 and sw.nn.Linear(1, 1).weight.dtype is sw.float64
        assert sw.tensor([1.0], dtype=sw.float32).dtype is sw.float32
    finally:
        sw.set_default_dtype(sw.float32)
    with pytest.raises(TypeError, match="floating-point"):
        sw.set_default_dtype(sw.int64)


def test_types_and_devices():
    x = sw.zeros(2)
    assert x.type() == "skipway.FloatTensor" and x.type(sw.LongTensor).dtype is sw.int64
    assert x.type("torch.DoubleTensor").dtype is sw.float64 and x.long().dtype is sw.int64
    assert x.to(sw.float32) is x and x.to("cpu") is x and x.to(sw.device("cpu"), sw.float64).dtype is sw.float64
    assert x.to(x.long()).dtype is sw.int64 and x.to(device="cpu", dtype=sw.int32).dtype is sw.int32
    assert x.to(sw.float32, copy=True) is not x
    assert sw.device("cuda:1").index == 1 and sw.device("cpu").type == "cpu"
    device = sw.device("cuda" if sw.cuda.is_available() else "cpu")
    assert x.to(device) is x and x.cpu() is x
    for call in (x.cuda, lambda: x.to("cuda"), lambda: x.to(sw.device("cuda", 0))):
        with pytest.raises(sw.DeviceError, match="cuda"):
            call()
    assert x.half().dtype is sw.half and x.to(sw.float16).dtype is sw.zeros(1, dtype=sw.float16).dtype
    with pytest.raises(TypeError, match="float16 is a dtype for CUDA devices"):
        sw.softmax(sw.zeros(2, 2).half(), 1)
    assert sw.finfo(sw.float32).eps == np.finfo(np.float32).eps and sw.finfo().max == np.finfo(np.float32).max
    assert sw.finfo(sw.bfloat16).bits == 16 and sw.iinfo(sw.int32).max == 2**31 - 1
    with pytest.raises(TypeError, match="wrong kind"):
        sw.finfo(sw.int64)


def test_cuda_without_devices():
    assert not sw.cuda.is_available() and sw.cuda.device_count() == 0 and sw.cuda.memory_allocated() == 0
    sw.cuda.empty_cache()
    sw.cuda.manual_seed_all(3)
    a = sw.rand(2)
    sw.manual_seed(3)
    assert sw.equal(a, sw.rand(2))
    for call in (sw.cuda.current_device, sw.cuda.synchronize, lambda: sw.cuda.set_device(0), sw.cuda.memory_summary):
        with pytest.raises(sw.DeviceError, match="CUDA"):
            call()
    start, end = sw.cuda.Event(enable_timing=True), sw.cuda.Event(enable_timing=True)
    start.record()
    end.record()
    assert start.elapsed_time(end) >= 0
    sw.backends.cudnn.benchmark = True
    assert not sw.backends.mps.is_available() and not sw.distributed.is_initialized()


def test_size_and_index_by_range():
    x = sw.zeros(2, 3, 4)
    assert x.size() == (2, 3, 4) and x.size(-1) == 4 and x.shape.numel() == 24 and x.size()[1:] == (3, 4)
    assert (
        isinstance(x.shape, sw.Size) and sw.zeros(x.size()).shape == x.shape and sw.zeros(x.shape[:2] + (5,)).dim() == 3
    )
    assert repr(x.shape) == "skipway.Size([2, 3, 4])"
    n, c, h = x.shape
    assert (
        x.view(n, -1).shape == (2, 12) and x[range(2), [0, 2]].shape == (2, 4) and x.view(x.size(0), -1).size(1) == 12
    )


def test_copies_and_pickles_of_tensors():
    x = sw.tensor([1.0, 2.0], requires_grad=True)
    for other in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert other.tolist() == [1.0, 2.0] and other.requires_grad and other.data_ptr() != x.data_ptr()
    with pytest.raises(RuntimeError, match="detach"):
        copy.deepcopy(x * 2)
    b = sw.ones(2, dtype=sw.bfloat16)
    assert pickle.loads(pickle.dumps(b)).dtype is sw.bfloat16
    assert pickle.loads(pickle.dumps(sw.device("cpu"))) == sw.device("cpu")
    assert pickle.loads(pickle.dumps(sw.float64)) is sw.float64
    assert copy.copy(x).data_ptr() == x.data_ptr()


def test_numpy_meets_tensors():
    x = sw.arange(4.0).reshape(2, 2)
    a = np.ones((2, 2), np.float32)
    for got in (a + x, x + sw.as_tensor(a), np.float32(1) + x, np.add(a, x)):
        assert isinstance(got, sw.Tensor) and got.tolist() == [[1, 2], [3, 4]]
    assert isinstance(np.float64(2) * x, sw.Tensor) and (np.float64(2) * x).dtype is sw.float32
    assert (a @ x).tolist() == [[2, 4], [2, 4]]
    assert np.mean(x) == 1.5 and np.concatenate([x, x]).shape == (4, 2) and isinstance(np.exp(x), np.ndarray)
    assert x.sum(axis=1).tolist() == [1, 5] and x.max(axis=0, keepdims=True).values.tolist() == [[2, 3]]
    assert f"{x.sum():.1f}" == "6.0" and int(sw.tensor(3)) == 3 and list(range(5))[sw.tensor(2)] == 2


def test_what_cannot_work_says_so():
    with pytest.raises(RuntimeError, match="downloads nothing"):
        sw.utils.model_zoo.load_url("https://example.org/resnet.pth")
    with pytest.raises(RuntimeError, match="downloads nothing"):
        sw.hub.load("a/b", "resnet18")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sw.nonsense  # noqa: B018


def test_no_ops_return_what_they_got():
    net = sw.nn.Linear(1, 1)
    assert sw.compile(net) is net and sw.jit.script(net) is net
    assert sw.utils.checkpoint.checkpoint(net, sw.ones(1, 1), use_reentrant=False).shape == (1, 1)
    sw.use_deterministic_algorithms(True)


def test_autocast_computes_products_in_bfloat16():
    net = sw.nn.Sequential(sw.nn.Conv2d(3, 4, 3), sw.nn.BatchNorm2d(4), sw.nn.Flatten(), sw.nn.Linear(16, 2))
    x = sw.randn(2, 3, 4, 4)
    with sw.autocast("cpu", dtype=sw.bfloat16):
        y = net(x)
        loss = sw.nn.functional.cross_entropy(y, sw.tensor([0, 1]))
        assert sw.mm(x[0, 0], x[0, 1]).dtype is sw.bfloat16 and (x[0, 0] @ x[0, 1]).dtype is sw.bfloat16
    assert y.dtype is sw.bfloat16 and loss.dtype is sw.float32
    scaler = sw.amp.GradScaler(enabled=True)
    opt = sw.optim.SGD(net.parameters(), lr=0.1)
    scaler.scale(loss).backward()
    scaler.step(opt)
    scaler.update()
    assert all(p.grad.dtype is sw.float32 for p in net.parameters())
    assert net(x).dtype is sw.float32
    with sw.amp.autocast("cpu", enabled=False):
        assert net(x).dtype is sw.float32
    with pytest.raises(TypeError, match="bfloat16"):
        sw.autocast("cpu", dtype=sw.float32)


def test_a_training_loop_as_it_is_written_everywhere():
    torch = sw
    nn, optim, F = sw.nn, sw.optim, sw.nn.functional
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    class Net(nn.Module):
        def __init__(self):
            super(Net, self).__init__()  # noqa: UP008
            self.conv1 = nn.Conv2d(1, 6, kernel_size=3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(6)
            self.fc = nn.Linear(6 * 4 * 4, 3)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
            x = x.view(x.size(0), -1)
            return F.log_softmax(self.fc(F.dropout(x, p=0.1, training=self.training)), dim=1)

    data = torch.randn(48, 1, 8, 8)
    labels = torch.arange(48) % 3
    data += labels.float().view(-1, 1, 1, 1)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data, labels), batch_size=16, shuffle=True)
    model = nn.DataParallel(Net()).to(device)
    criterion = nn.NLLLoss().to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    first = last = None
    for _ in range(10):
        model.train()
        for inputs, targets in loader:
            inputs, targets = inputs.to(device), targets.to(device)
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            last = loss.item()
            first = last if first is None else first
        scheduler.step()
    model.eval()
    with torch.no_grad():
        _, predicted = model(data).max(1)
        correct = predicted.eq(labels).sum().item()
    assert last < first and correct > 40


def test_summary_writer(tmp_path):
    import json

    from skipway.utils.tensorboard import SummaryWriter

    with SummaryWriter(log_dir=tmp_path / "run") as writer:
        writer.add_scalar("loss", sw.tensor(0.5), 3)
        writer.add_scalars("acc", {"train": 0.9}, 3)
        writer.add_histogram("w", sw.arange(4.0), 1)
        writer.add_graph(sw.nn.Linear(1, 1), sw.ones(1, 1))
    lines = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert (
        [x["tag"] for x in lines] == ["loss", "acc/train", "w"] and lines[0]["value"] == 0.5 and lines[0]["step"] == 3
    )
    assert sum(lines[2]["counts"]) == 4
