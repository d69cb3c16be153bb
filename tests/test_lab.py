"""The experiments of skipway.lab: their findings in the quick version, and what is written and said."""

from __future__ import annotations

import base64
import json
import re
import sys
import types

import numpy as np
import pytest
import skipway as sw
from skipway import cli, lab

pytest.importorskip("matplotlib")
RESULTS: dict[str, lab.Result] = {}


def quick(name: str) -> lab.Result:
    """The quick version, run once."""
    if name not in RESULTS:
        RESULTS[name] = lab.get(name)(quick=True, progress=False, **({"data": "digits"} if DIGITS.get(name) else {}))
    return RESULTS[name]


# Those whose own data set does not come with the package.
DIGITS = {"depth": True, "dropout": True}


@pytest.mark.parametrize("name", lab.names())
def test_every_finding_holds(name):
    result = quick(name)
    assert result.holds, result.finding
    assert len(result.finding) > 60 and "\n" not in result.finding and "nan" not in result.finding


@pytest.mark.parametrize("name", lab.names())
def test_every_experiment_draws_from_its_json(name, tmp_path):
    result = quick(name)
    numbers, picture = result.save(tmp_path)
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and 5_000 < picture.stat().st_size < 400_000
    stored = json.loads(numbers.read_text(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    assert stored["finding"] == result.finding and stored["settings"]["seed"] == 0
    assert lab.load(numbers).data == result.data


def test_a_loaded_result_draws_the_same_picture(tmp_path):
    numbers, picture = quick("lr").save(tmp_path)
    assert lab.load(numbers).png() == picture.read_bytes()


@pytest.mark.parametrize("name", ["signal", "bounds", "shattering"])
def test_the_seed_decides_the_numbers(name):
    before = sw.get_rng_state().numpy().tobytes()
    again, other = (lab.get(name)(quick=True, progress=False, seed=seed) for seed in (0, 1))
    assert again.data == quick(name).data and other.data != again.data
    assert sw.get_rng_state().numpy().tobytes() == before


# ------------------------------------------------------------------------------------------------------- the findings


def test_signal_follows_the_theory_of_each_scheme():
    runs = quick("signal").data["runs"]["30"]
    kaiming, xavier = (np.array(runs[s]["plain"]["std"]) for s in ("Kaiming, ReLU", "Xavier, ReLU"))
    slope = np.polyfit(np.arange(31), np.log2(xavier), 1)[0]
    assert -0.6 < slope < -0.4  # half of the mean square in each layer
    assert 0.2 < kaiming[-1] < 3
    gradients = np.array(runs["normal 0.01, tanh"]["plain"]["gradient_std"])
    assert gradients[0] < 1e-20 and gradients[-1] > 0.5
    assert min(runs["normal 0.01, tanh"]["bn"]["std"]) > 0.3


def test_signal_histograms_are_shares():
    histogram = np.array(quick("signal").data["runs"]["10"]["Xavier, tanh"]["plain"]["histogram"])
    np.testing.assert_allclose(histogram.sum(1), 1, atol=5e-3)


def test_disc_needs_batch_norm():
    data = quick("disc").data
    i = data["stds"].index(0.01)
    assert data["errors"]["without"][i] > 0.4 and data["errors"]["with"][i] < 0.15


def test_bounds_enclose_the_gradient():
    data = quick("bounds").data
    for run in data["runs"].values():
        low = np.nan_to_num(np.array(run["lower"], float), nan=-np.inf)
        assert (low <= np.array(run["measured"], float) + 1e-3).all()
        assert (np.array(run["measured"], float) <= np.array(run["upper"], float) + 1e-3).all()
    assert data["fft_error"] < 1e-10


def test_conv_spectrum_of_a_known_kernel():
    from skipway.lab.experiments.bounds import conv_spectrum

    kernel = np.zeros((2, 2, 3, 3))
    kernel[0, 0, 1, 1], kernel[1, 1, 0, 2] = 2.0, 3.0  # a picture moved about keeps its norm
    np.testing.assert_allclose(conv_spectrum(kernel, 4), [3.0] * 16 + [2.0] * 16)
    with pytest.raises(ValueError, match=r"k up to 2, got \(2, 2, 3, 3\)"):
        conv_spectrum(kernel, 2)


def test_shattering_orders_the_networks():
    data = quick("shattering").data
    at = {name: values[data["lag"]] for name, values in data["autocorrelation"].items()}
    assert at["1 layer"] > 0.9 and abs(at["BN, 50"]) < 0.2 < at["ResNet with BN, 50"] < at["branches x 0.1, 50"]
    assert min(data["autocorrelation"]["Looks-Linear, 50"]) > 0.999
    deep = data["deep"]
    assert deep["looks-linear"]["test_accuracy"] > deep["Kaiming"]["test_accuracy"] + 0.3


def test_of_22_plain_layers_kaiming_learns_sooner_and_of_30_alone():
    data = quick("deep-vgg").data
    losses = {d: {name: np.array(run["losses"][0]) for name, run in of.items()} for d, of in data["runs"].items()}
    guess = data["chance"]
    assert losses["22"]["Kaiming"][-1] < 0.6 < losses["22"]["Xavier"][-1] < guess - 0.4
    assert losses["30"]["Kaiming"][-1] < 0.8 and losses["30"]["Xavier"].min() > guess - 0.02


def test_each_layer_takes_a_root_of_two_of_xaviers_gradient():
    runs = quick("deep-vgg").data["runs"]
    ratio = {d: of["Kaiming"]["first_gradient"][0] / of["Xavier"]["first_gradient"][0] for d, of in runs.items()}
    # the loss is nearly linear in small outputs: 21 or 29 layers lie above the first
    assert 1 < ratio["22"] / 2 ** (21 / 2) < 20 and 8 < ratio["30"] / ratio["22"] < 64


def test_zero_gamma_makes_blocks_their_shortcuts():
    runs = quick("zero-init").data["runs"]
    stds = np.array(runs["gamma 0"]["block_std"])
    stages = stds.reshape(3, -1)
    np.testing.assert_allclose(stages, np.repeat(stages[:, :1], stages.shape[1], 1), rtol=1e-4)
    assert (np.diff(np.array(runs["gamma 1"]["block_std"]).reshape(3, -1), axis=1) > 0).all()
    assert runs["all weights 0"]["with_gradient"] == ["fc.bias"]


def test_the_suggested_rate_is_between_too_slow_and_too_fast():
    data = quick("lr").data
    final = {name: course["final"] for name, course in data["courses"].items()}
    assert final["suggested"] < 0.5 * final["suggested / 100"]
    assert final["blown up x 3"] is None or final["suggested"] < 0.5 * final["blown up x 3"]


def test_smoothing_forgets_a_spike():
    from skipway.lab._learn import smooth

    np.testing.assert_array_equal(smooth([1.0, 3.0, 1e30, 2.0, 4.0], 2), [1, 2, 5e29, 5e29, 3])


def test_suggestion_of_a_known_curve():
    from skipway.lab.experiments.lr import suggestion

    rates = np.geomspace(1e-4, 10, 201)
    losses = 2.5 - 2 / (1 + np.exp(-4 * (np.log(rates) - np.log(0.01)))) + np.where(rates > 1, 30 * (rates - 1), 0)
    best, blown = suggestion(rates, losses)
    assert 0.007 < best < 0.02 and 1 < blown < 1.5


def test_momentum_crosses_the_valley_in_the_root_of_the_steps():
    paths = quick("optimizers").data["paths"]
    need = {name: path["steps_to_1e-6"] for name, path in paths.items()}
    assert need["SGD"] > 4 * need["momentum"] and need["SGD"] > 4 * need["Nesterov"]
    # gradient descent at 2 / (L + m): the distance falls by (k - 1) / (k + 1) per step
    values = np.array(paths["SGD"]["values"])
    assert values[100] / values[0] == pytest.approx((99 / 101) ** 200, rel=0.05)


def test_only_batch_norm_has_a_train_eval_gap():
    runs = quick("norms").data["runs"]
    assert abs(runs["GN"]["2"]["gap_loss"]) < 1e-4 < 0.05 < abs(runs["BN"]["2"]["gap_loss"])
    assert abs(runs["BN"]["32"]["gap_loss"]) < abs(runs["BN"]["2"]["gap_loss"]) / 2


def test_the_deeper_plain_network_trains_worse():
    runs = quick("depth").data["runs"]
    final = {name: run["final"][0] for name, run in runs.items()}
    assert final["plain-56"] > final["plain-20"] + 0.3
    assert final["ResNet-56"] < final["plain-56"] - 0.3
    assert final["ResNet-56"] < final["ResNet-20"] + 0.1


def test_what_multiplies_the_shortcut_hurts():
    data = quick("shortcuts").data
    final = {name: run["final"] for name, run in data["runs"]["shortcut"].items()}
    assert min(final, key=lambda name: final[name]) == "identity"
    assert data["published"]["shortcut"]["identity"] == 6.61 and data["published"]["shortcut"]["dropout"] is None
    assert len(data["runs"]["block"]) == 5


def test_noise_raises_the_training_loss_and_narrows_the_gap():
    runs = dict(quick("dropout").data["runs"])
    quiet = runs.pop("none")
    assert sum(run["train_loss"] > quiet["train_loss"] + 0.05 for run in runs.values()) >= 4
    assert sum(run["gap"] < quiet["gap"] - 0.03 for run in runs.values()) >= 4


def test_saliency_finds_the_pixels_that_matter():
    data = quick("saliency").data
    assert (
        data["after"]["gradient"] < data["after"]["random"] - 0.2 and data["after"]["guided"] < data["after"]["random"]
    )
    assert min(data["probabilities"]) > 0.9


def test_guided_backpropagation_passes_what_is_positive():
    from skipway.lab.experiments.saliency import GuidedReLU

    layer = GuidedReLU()
    layer.guided = True
    x = sw.tensor([-1.0, 2.0, 3.0]).requires_grad_()
    (layer(x) * sw.tensor([1.0, -1.0, 1.0])).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 0, 1])


# ----------------------------------------------------------------------------------------------- what is said and shown


def test_a_result_in_a_notebook():
    result = quick("bounds")
    html = result._repr_html_()
    picture = re.fullmatch(r'<img alt="[^"]+" src="data:image/png;base64,([^"]+)">', html)
    assert picture and base64.b64decode(picture[1]).startswith(b"\x89PNG")
    assert str(result) == result.finding and "bounds" in repr(result)


def test_a_notebook_gets_the_sentence_in_short_lines(monkeypatch, capsys):
    lab.bounds(quick=True)
    sentence = capsys.readouterr().out
    shell = types.ModuleType("IPython")
    shell.get_ipython = lambda: type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", shell)
    lab.bounds(quick=True)
    lines = capsys.readouterr().out.splitlines()
    assert sentence.count("\n") == 1 and len(lines) > 2 and max(map(len, lines)) <= 88
    assert " ".join(lines) == sentence.rstrip()


def test_the_command_writes_and_says(tmp_path, capsys):
    assert cli.main(["lab", "bounds", "--quick", "--seed", "3", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert json.loads((tmp_path / "bounds.json").read_text())["settings"]["seed"] == 3
    assert (tmp_path / "bounds.png").stat().st_size > 10_000
    assert "singular values" in out and str(tmp_path / "bounds.png") in out


def test_the_command_lists_the_experiments(capsys):
    assert cli.main(["lab"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == lab.names() and all(len(line.split()) > 4 for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "unknown experiment 'nonsense'; expected one of signal, disc, bounds"),
        (["signal", "--data", "digits"], "signal: uses no data set, got 'digits'"),
        (["shattering", "--data", "cifar10"], "shattering: data must be one of digits, got 'cifar10'"),
        (["depth", "--data-dir", "/nowhere"], "fashion-mnist not found; looked for /nowhere/train-images-idx3-ubyte"),
        (["depth", "--data-dir", "/nowhere"], "depth also takes --data digits or mnist5k"),
        (["signal", "--seed", "-1"], "signal: seed must be a whole number from 0 to"),
        (["signal", "--device", "cuda:7"], "signal: device cuda:7 cannot be used: "),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys, tmp_path):
    assert cli.main(["lab", *arguments, "--quick", "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_without_matplotlib_it_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert cli.main(["lab", "signal", "--quick", "--out", str(tmp_path)]) == 2
    assert "drawing needs matplotlib: pip install 'skipway[plot]'" in capsys.readouterr().err
    result = lab.bounds(quick=True, progress=False)  # the numbers need no figure
    with pytest.raises(ImportError, match="matplotlib"):
        result.figure()
    assert result.finding in result._repr_html_()


def test_names_of_the_lab():
    assert set(lab.names()) <= {name.replace("_", "-") for name in dir(lab)}
    assert "Args:" in lab.signal.__doc__ and lab.signal.__name__ == "signal"
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'; its experiments are signal"):
        _ = lab.nonsense
    with pytest.raises(ValueError, match="unknown experiment"):
        lab.get("nonsense")


def test_load_refuses_other_files(tmp_path):
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds no result"):
        lab.load(tmp_path / "x.json")
