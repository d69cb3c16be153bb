"""Losses as layers, each against its formula in NumPy."""

import numpy as np
import skipway as sw
from layer_tools import close, data, sigmoid
from skipway import nn


def test_losses():
    x, y = data(4, 3), data(4, 3, seed=1)
    a, b = sw.tensor(x), sw.tensor(y)
    d = x - y
    close(nn.MSELoss()(a, b), (d**2).mean())
    close(nn.L1Loss(reduction="sum")(a, b), abs(d).sum(), 1e-4)
    close(nn.SmoothL1Loss(beta=0.5)(a, b), np.where(abs(d) < 0.5, d**2, abs(d) - 0.25).mean())
    close(nn.HuberLoss(delta=0.5)(a, b), np.where(abs(d) < 0.5, d**2 / 2, 0.5 * (abs(d) - 0.25)).mean())
    p, q = sigmoid(x), sigmoid(y)
    bce = -(q * np.log(p) + (1 - q) * np.log(1 - p))
    close(nn.BCELoss()(sw.tensor(p), sw.tensor(q)), bce.mean())
    close(nn.BCEWithLogitsLoss()(a, sw.tensor(q)), bce.mean())
    logp = x - np.log(np.exp(x).sum(1, keepdims=True))
    labels = np.array([0, 2, 1, 2])
    nll = -logp[np.arange(4), labels]
    close(nn.CrossEntropyLoss()(a, sw.tensor(labels)), nll.mean())
    smooth = 0.9 * nll + 0.1 * -logp.mean(1)
    close(nn.CrossEntropyLoss(label_smoothing=0.1)(a, sw.tensor(labels)), smooth.mean())
    close(nn.NLLLoss(ignore_index=2)(sw.tensor(logp), sw.tensor(labels)), nll[[0, 2]].mean())
    weights = np.array([1.0, 2.0, 3.0], np.float32)
    w = weights[labels]
    close(nn.CrossEntropyLoss(weight=sw.tensor(weights))(a, sw.tensor(labels)), (nll * w).sum() / w.sum())
    target = np.exp(y) / np.exp(y).sum(1, keepdims=True)
    kl = target * (np.log(target) - logp)
    close(nn.KLDivLoss(reduction="batchmean")(sw.tensor(logp), sw.tensor(target)), kl.sum() / 4)
    close(nn.PoissonNLLLoss()(a, sw.tensor(q)), (np.exp(x) - q * x).mean())
    var = np.exp(y)
    close(nn.GaussianNLLLoss()(a, b, sw.tensor(var)), (0.5 * (np.log(var) + d**2 / var)).mean())
    sign = np.sign(y)
    s = sw.tensor(sign)
    close(nn.SoftMarginLoss()(a, s), np.log1p(np.exp(-sign * x)).mean())
    close(nn.HingeEmbeddingLoss(0.5)(a, s), np.where(sign == 1, x, np.maximum(0, 0.5 - x)).mean())
    close(nn.MarginRankingLoss(0.3)(a, b, s), np.maximum(0, -sign * d + 0.3).mean())
    cos = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    side = np.array([1, -1, 1, -1.0], np.float32)
    expected = np.where(side == 1, 1 - cos, np.maximum(0, cos - 0.1)).mean()
    close(nn.CosineEmbeddingLoss(0.1)(a, b, sw.tensor(side)), expected)
    close(nn.CosineSimilarity()(a, b), cos)
    close(nn.PairwiseDistance()(a, b), np.linalg.norm(d + 1e-6, axis=1))
    far = data(4, 3, seed=2)
    gap = np.linalg.norm(d + 1e-6, axis=1) - np.linalg.norm(x - far + 1e-6, axis=1) + 1
    close(nn.TripletMarginLoss()(a, b, sw.tensor(far)), np.maximum(gap, 0).mean())
    margins = np.maximum(0, 1 - x[np.arange(4), labels][:, None] + x)
    margins[np.arange(4), labels] = 0
    close(nn.MultiMarginLoss()(a, sw.tensor(labels)), (margins.sum(1) / 3).mean())
    binary = (q > 0.5).astype(np.float32)
    soft = -(binary * np.log(p) + (1 - binary) * np.log(1 - p)).mean(1)
    close(nn.MultiLabelSoftMarginLoss()(a, sw.tensor(binary)), soft.mean())
    listed = sw.tensor([[2, 0, -1], [1, -1, 0], [0, 1, 2], [-1, 0, 1]])
    rows = [(1 - x[0, 2] + x[0, 1]), (1 - x[0, 0] + x[0, 1]), (1 - x[1, 1] + x[1, 0]), (1 - x[1, 1] + x[1, 2])]
    close(nn.MultiLabelMarginLoss(reduction="sum")(a, listed), np.maximum(0, rows).sum() / 3)
