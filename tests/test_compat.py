"""Names that PyTorch code for small image networks uses, counted over public collections of such code, and scripts that
use them as that code does."""

import pytest
import skipway as torch

NAMES = {
    "nn": """Sequential Conv2d Module Linear CrossEntropyLoss BatchNorm2d ReLU MaxPool2d AvgPool2d DataParallel
        Dropout AdaptiveAvgPool2d Sigmoid MSELoss BatchNorm1d Flatten Dropout2d ConvTranspose2d LeakyReLU
        Tanh LazyLinear LazyConv2d ELU LazyBatchNorm2d Parameter ReLU6 BCELoss LazyBatchNorm1d ConstantPad2d
        BCEWithLogitsLoss PixelShuffle LSTM GELU ModuleList ModuleDict Identity Residual Upsample ZeroPad2d
        Hardswish Hardsigmoid SiLU Mish GroupNorm LayerNorm""",
    "nn.functional": """relu avg_pool2d max_pool2d dropout adaptive_avg_pool2d cross_entropy nll_loss interpolate
        softmax log_softmax sigmoid smooth_l1_loss pad binary_cross_entropy""",
    "": """save load cat no_grad randn tensor zeros manual_seed exp device Tensor max float32 sigmoid
        from_numpy arange rand ones norm matmul dot mm where randint empty add sum allclose sqrt square
        normal stack ones_like Generator FloatTensor zeros_like mv meshgrid linspace flatten equal bernoulli
        unsqueeze tanh split sign randn_like pow logical_and log1p isnan is_grad_enabled full abs float long
        einsum""",
    "autograd": "Variable grad backward Function no_grad enable_grad set_grad_enabled gradcheck",
    "optim": "SGD Adam Adadelta RMSprop AdamW Adagrad",
    "optim.lr_scheduler": """MultiStepLR CosineAnnealingLR StepLR ExponentialLR LinearLR OneCycleLR SequentialLR
        ReduceLROnPlateau LambdaLR""",
    "nn.init": """constant_ normal_ zeros_ ones_ xavier_uniform_ xavier_normal_ kaiming_normal_ kaiming_uniform_
        uniform_ kaiming_normal trunc_normal_ orthogonal_ dirac_""",
    "nn.utils": "clip_grad_norm_ clip_grad_value_ parameters_to_vector vector_to_parameters",
    "cuda": """is_available manual_seed_all device_count set_device manual_seed memory_summary current_device Event
        synchronize""",
    "backends.cudnn": "benchmark deterministic enabled",
    "utils.data": "DataLoader Dataset random_split TensorDataset Subset RandomSampler SubsetRandomSampler",
    "Tensor": """size backward relu view sum item max split numpy mean cuda float reshape to cpu norm sigmoid eq
        fill_ std exp squeeze clone numel normal_ expand_as mul_ add sqrt device zero_ detach argmax floor
        div_ transpose grad tolist add_ topk matmul dot permute gather dim tanh log where unsqueeze pow mm
        requires_grad_ prod maximum flatten t clip data square allclose abs scatter cumsum cos min ceil type
        ravel sin multinomial half copy_ view_as softmax sign scatter_ log_softmax mv logical_and equal cosh
        contiguous bernoulli all uniform_ sub_ sinh shape rsqrt multiply mul long log1p isnan gt expand
        dtype div bernoulli_ any""",
}


def lookup(path):
    value = torch
    for part in filter(None, path.split(".")):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("path", NAMES)
def test_names_are_there(path):
    place = lookup(path)
    missing = [name for name in NAMES[path].split() if not hasattr(place, name)]
    assert not missing


def test_a_classic_training_script(tmp_path):
    """The shape of a CIFAR training script: DataParallel, schedules, top-1 accuracy, checkpoints."""
    import skipway.backends.cudnn as cudnn
    import skipway.nn as nn
    import skipway.nn.functional as F
    import skipway.optim as optim

    class BasicBlock(nn.Module):
        expansion = 1

        def __init__(self, in_planes, planes, stride=1):
            super(BasicBlock, self).__init__()  # noqa: UP008
            self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.shortcut = nn.Sequential()
            if stride != 1 or in_planes != planes:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(in_planes, planes, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(planes)
                )

        def forward(self, x):
            out = self.bn1(self.conv1(x))
            out += self.shortcut(x)
            return F.relu(out)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(BasicBlock(3, 8), BasicBlock(8, 16, 2))
            self.linear = nn.Linear(16, 4)

        def forward(self, x):
            out = F.avg_pool2d(self.body(x), 4)
            return self.linear(out.view(out.size(0), -1))

    torch.manual_seed(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = Net().to(device)
    if device == "cuda":
        net = torch.nn.DataParallel(net)
        cudnn.benchmark = True
    x = torch.randn(64, 3, 8, 8)
    y = (x.mean((1, 2, 3)) > 0).long() + 2 * (x[:, 0].mean((1, 2)) > 0).long()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16, shuffle=True)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    losses = []
    for _ in range(12):
        net.train()
        total, correct = 0.0, 0
        for inputs, targets in loader:
            inputs, targets = inputs.to(device), targets.to(device)
            optimizer.zero_grad()
            outputs = net(inputs)
            loss = criterion(outputs, targets)
            loss.backward()
            optimizer.step()
            total += loss.item()
            _, predicted = outputs.max(1)
            correct += predicted.eq(targets).sum().item()
        losses.append(total)
        scheduler.step()
    assert losses[-1] < 0.7 * losses[0] and correct > 40
    state = {"net": net.state_dict(), "acc": 100.0 * correct / 64, "epoch": 11, "optimizer": optimizer.state_dict()}
    torch.save(state, tmp_path / "ckpt.pth")
    loaded = torch.load(tmp_path / "ckpt.pth", map_location="cpu")
    other = Net()
    other.load_state_dict(loaded["net"])
    optimizer.load_state_dict(loaded["optimizer"])
    net.eval(), other.eval()
    with torch.no_grad():
        assert torch.equal(net(x), other(x)) and loaded["acc"] == state["acc"]


def test_lazy_imports_do_not_break_hasattr():
    assert not hasattr(torch, "no_such_name")
    assert torch.nn.DataParallel(torch.nn.Linear(2, 2)).__class__ is torch.nn.Linear
