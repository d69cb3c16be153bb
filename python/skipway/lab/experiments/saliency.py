"""What a network looks at: input gradients, guided backpropagation, first filters, activation maximization."""

from __future__ import annotations

from typing import Any

import numpy as np

import skipway as sw
import skipway.nn.functional as F
from skipway import autograd, nn, optim

from .._frame import Bench, experiment, floats
from .._learn import evaluate, train


class _Guided(autograd.Function):
    """A ReLU whose backward passes only what is positive (Springenberg et al. 2015, section 3.4)."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = sw.relu(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (y,) = ctx.saved_tensors
        return sw.relu(grad) * (y > 0).to(grad.dtype)


class GuidedReLU(nn.ReLU):
    """ReLU; with `guided` set, its backward is that of guided backpropagation."""

    guided = False

    def forward(self, input: Any) -> Any:
        return _Guided.apply(input) if self.guided else sw.relu(input)


def network(channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, padding=2), GuidedReLU(), nn.Conv2d(16, 32, 3, padding=1), GuidedReLU(),
        nn.MaxPool2d(2), nn.Conv2d(32, 32, 3, padding=1), GuidedReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(512, classes),
    )  # fmt: skip


def input_gradient(model: nn.Module, x: Any, y: Any, guided: bool = False) -> np.ndarray:
    """The gradient of each image's score of class y in the image (Simonyan et al. 2014, section 3)."""
    layers = [m for m in model.modules() if isinstance(m, GuidedReLU)]
    for m in layers:
        m.guided = guided
    leaf = x.detach().requires_grad_()
    model(leaf).gather(1, y.reshape(-1, 1)).sum().backward()
    for m in layers:
        m.guided = False
    model.zero_grad()
    return leaf.grad.cpu().numpy()


def maximize(model: nn.Module, classes: int, shape: tuple[int, ...], steps: int, device: Any) -> tuple[Any, Any]:
    """An image per class that maximizes its score less a penalty on the image's norm (Simonyan et al. 2014, section 2),
    from zeros, and the probability of that class."""
    image = sw.zeros(classes, *shape).to(device).requires_grad_()
    target = sw.arange(classes).to(device)
    optimizer = optim.Adam([image], lr=0.1)
    for _ in range(steps):
        score = model(image).gather(1, target.reshape(-1, 1)).sum()
        loss = 0.02 * (image * image).sum() - score
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with sw.no_grad():
        chances = F.softmax(model(image), 1).gather(1, target.reshape(-1, 1))[:, 0]
    return image.detach().cpu().numpy(), chances.cpu().numpy()


def deletion(model: nn.Module, x: Any, y: Any, rank: np.ndarray, share: float) -> float:
    """Accuracy when the highest-ranked pixels of each image are set to its mean."""
    n = len(rank)
    flat = x.cpu().numpy().copy().reshape(n, x.shape[1], -1)
    count = max(1, int(share * flat.shape[2]))
    top = np.argsort(-rank.reshape(n, -1), 1, kind="stable")[:, :count]
    for c in range(flat.shape[1]):
        np.put_along_axis(flat[:, c], top, flat[:, c].mean(1, keepdims=True), 1)
    return evaluate(model, sw.from_numpy(flat.reshape(tuple(x.shape))).to(x.device), y)[1]


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """A small convolutional network is trained; then: the gradient of a class's score in the image (Simonyan et al.
    2014), the same by guided backpropagation (Springenberg et al. 2015), the filters of the first layer (Krizhevsky et
    al. 2012, figure 3), and images that maximize each class's score.

    If the gradients say what the network looks at, then taking away the pixels that they rank first must hurt more than
    taking away as many at random.
    """
    steps, share = bench.pick((600, 0.15), (80, 0.15))
    images = bench.images(bench.pick(6000, None), bench.pick(1000, 200))
    classes = len(images.classes)
    model = network(images.channels, classes).to(bench.device)
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    train(model, images.x, images.y, optimizer, steps, 64, bench.rng)
    model.eval()
    _, accuracy = evaluate(model, images.test_x, images.test_y)
    test_x, test_y = images.test_x[:200], images.test_y[:200]
    plain = np.abs(input_gradient(model, test_x, test_y)).max(1)
    guided = np.abs(input_gradient(model, test_x, test_y, guided=True)).max(1)
    ranks = {"gradient": plain, "guided": guided, "random": bench.rng.random(plain.shape)}
    after = {
        name: deletion(model, test_x, test_y, rank, share) for name, rank in bench.bar(ranks.items(), "deleting pixels")
    }
    best, chances = maximize(model, classes, tuple(test_x.shape[1:]), bench.pick(200, 60), bench.device)
    labels = test_y.cpu().numpy()
    shown = [int(np.flatnonzero(labels == c)[0]) for c in range(classes) if (labels == c).any()][:10]
    pictures = {
        "image": test_x.cpu().numpy()[shown].mean(1), "gradient": plain[shown], "guided": guided[shown],
        "maximal": best[: len(shown)].mean(1),
    }  # fmt: skip
    filters = next(iter(model.parameters())).detach().cpu().numpy().mean(1)
    holds = after["gradient"] < after["random"] - 0.08 and float(chances.min()) > 0.9
    sentence = (
        f"with {100 * share:.0f} % of the pixels taken away the accuracy falls from {100 * accuracy:.1f} % to"
        f" {100 * after['gradient']:.1f} % where the input gradient is largest, to {100 * after['guided']:.1f} % where"
        f" guided backpropagation is, and to {100 * after['random']:.1f} % at random; the images that maximize a class"
        f" are that class with a probability of at least {float(chances.min()):.3f}"
    )
    numbers = {"accuracy": accuracy, "after": after, "share": share, "probabilities": chances, "filters": filters}
    return sentence, holds, {**numbers, "classes": images.classes, "pictures": pictures}


def draw(figure: Any, data: dict[str, Any]) -> None:
    pictures = data["pictures"]
    columns = len(pictures["image"])
    above, below = figure.subfigures(2, 1, height_ratios=(4, 1.4))
    grid = above.subplots(4, columns)
    labels = {"image": "image", "gradient": "gradient", "guided": "guided", "maximal": "maximal"}
    for row, name in zip(grid, labels, strict=True):
        for axes, picture in zip(row, pictures[name], strict=True):
            axes.imshow(floats(picture), cmap="magma" if name in ("gradient", "guided") else "gray")
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(labels[name])
    left, right = below.subplots(1, 2, width_ratios=(2, 1))
    filters = floats(data["filters"])
    gap = np.full((filters.shape[1], 1), np.nan)
    left.imshow(np.concatenate([np.concatenate([f, gap], 1) for f in filters], 1), cmap="gray")
    left.set(title="filters of the first layer", xticks=[], yticks=[])
    after = {"none": data["accuracy"], **data["after"]}
    right.barh(list(after), [100 * v for v in after.values()], color=["C7", "C3", "C1", "C0"])
    right.invert_yaxis()
    right.set(xlabel=f"accuracy (%) without {100 * data['share']:.0f} % of the pixels, chosen by", xlim=(0, 100))


saliency = experiment("saliency", measure, draw, size=(11, 7), data=("digits", "fashion-mnist", "mnist5k", "mnist"))
