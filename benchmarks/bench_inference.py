"""Inference of residual networks after `sw.fuse`, against PyTorch, onnxruntime and OpenVINO.

    python benchmarks/bench_inference.py --model resnet20,resnet18 --threads 2 --json inference.json

All run the same weights on the same input, in float32 or, with --dtype bfloat16, computing in bfloat16 (onnxruntime
has no such mode on the CPU and is left out), with the same number of threads, each in its best form: PyTorch
eagerly in channels-last memory with BatchNorm folded, and compiled (`compile`: not by default, it takes half a minute);
onnxruntime and OpenVINO from an ONNX file, which they optimise themselves. Outputs are compared before anything is
timed. The last two columns say how many times longer than skipway a contender takes, by minimum and by median.
"""

from __future__ import annotations

from collections.abc import Callable

import timing

SIZES = {"resnet18": 224, "resnet34": 224, "resnet50": 224}
BATCHES = {32: (1, 128), 224: (1, 16)}
PACKAGES = {"torch": "torch", "onnxruntime": "onnxruntime", "openvino": "openvino", "compile": "torch"}


def skipway_run(name: str, state: dict, images, dtype: str) -> Callable[[], object]:
    import skipway as sw
    from skipway import models

    model = getattr(models, name)(num_classes=state["fc.weight"].shape[0])
    model.load_state_dict({key: sw.from_numpy(value.copy()) for key, value in state.items()})
    model = sw.fuse(model, input_size=(2, *images.shape[1:]))
    x = sw.from_numpy(images)
    if dtype == "bfloat16":
        model = model.to(sw.bfloat16)

    def run() -> object:
        with sw.no_grad():
            return model(x.to(getattr(sw, dtype))).float().numpy()

    return run


def torch_run(name: str, state: dict, images, threads: int, dtype: str, compiled: bool) -> Callable[[], object]:
    import torch
    from peers.torch_resnet import load
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    torch.set_num_threads(threads)
    model = load(name, state["fc.weight"].shape[0], state).eval()
    for parent in list(model.modules()):
        convs = [n for n, m in parent.named_children() if isinstance(m, torch.nn.Conv2d)]
        norms = [n for n, m in parent.named_children() if isinstance(m, torch.nn.BatchNorm2d)]
        for conv, norm in zip(convs, norms, strict=True):
            setattr(parent, conv, fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, norm)))
            setattr(parent, norm, torch.nn.Identity())
    x = torch.tensor(images).contiguous(memory_format=torch.channels_last)
    narrow = getattr(torch, dtype)
    model = model.to(narrow).to(memory_format=torch.channels_last)
    call = torch.compile(model) if compiled else model

    def run() -> object:
        with torch.inference_mode():
            return call(x.to(narrow)).float().numpy()

    return run


def onnxruntime_run(model: bytes, images, threads: int) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"input": images})[0]


def openvino_run(model: bytes, images, threads: int, dtype: str) -> Callable[[], object]:
    import openvino

    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    options["INFERENCE_PRECISION_HINT"] = "f32" if dtype == "float32" else "bf16"
    request = openvino.Core().compile_model(openvino.Core().read_model(model), "CPU", options).create_infer_request()
    return lambda: request.infer({0: images}, share_inputs=True, share_outputs=True)[0]


def contenders(name: str, state: dict, images, args, peers: list[str]) -> dict[str, Callable[[], object]]:
    threads, dtype = args.threads, args.dtype
    runs = {"skipway": skipway_run(name, state, images, dtype)}
    if "torch" in peers:
        runs["torch"] = torch_run(name, state, images, threads, dtype, False)
    if "compile" in peers:
        runs["torch.compile"] = torch_run(name, state, images, threads, dtype, True)
    if "onnxruntime" in peers or "openvino" in peers:
        from peers.onnx_resnet import make

        model = make(state, images.shape).SerializeToString()
        if "onnxruntime" in peers:
            runs["onnxruntime"] = onnxruntime_run(model, images, threads)
        if "openvino" in peers:
            runs["openvino"] = openvino_run(model, images, threads, dtype)
    return runs


def main() -> None:
    parser = timing.peer_arguments("Times inference of residual networks.", list(PACKAGES))
    parser.add_argument("--model", default="resnet20,resnet18", help="comma-separated (default resnet20,resnet18)")
    parser.add_argument("--batch", default=None, help="comma-separated (default 1,128 for 32x32 and 1,16 for 224x224)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    args = parser.parse_args()
    timing.limit_threads(args.threads)
    import numpy as np
    import skipway as sw
    from skipway import models

    peers = [p for p in timing.chosen_peers(args, PACKAGES) if p != "compile" or args.peers]
    if args.dtype == "bfloat16":
        peers = [p for p in peers if p != "onnxruntime"]
    packages = ["skipway", "numpy", *dict.fromkeys(PACKAGES[p] for p in peers)]
    sw.set_num_threads(args.threads)
    print(timing.header(packages, args.threads))
    rows = []
    for name in args.model.split(","):
        size = SIZES.get(name, 32)
        sw.manual_seed(0)
        model = getattr(models, name)(num_classes=1000 if size == 224 else 10)
        rng = np.random.default_rng(0)
        with sw.no_grad():  # running statistics like those of a trained network
            model.train()
            model(sw.from_numpy(rng.standard_normal((8, 3, size, size)).astype(np.float32)))
        state = {key: np.array(value.numpy()) for key, value in model.state_dict().items()}
        for batch in [int(b) for b in args.batch.split(",")] if args.batch else BATCHES[size]:
            images = rng.standard_normal((batch, 3, size, size)).astype(np.float32)
            runs = contenders(name, state, images, args, peers)
            results = {who: np.asarray(run()) for who, run in runs.items()}
            for who, result in results.items():
                error = np.abs(result - results["skipway"]).max() / np.abs(results["skipway"]).max()
                if error > (1e-3 if args.dtype == "float32" else 0.1):
                    raise SystemExit(f"{who} does not compute the same: relative difference {error:.2g}")
            fast = batch * size * size < 10_000  # calls that follow each other, as a server would make them
            times = timing.interleave(runs, args.rounds, calls=20 if fast else 1)
            print("\n".join(timing.table(f"{name}, batch {batch}, {size}x{size}, {args.dtype}", times)), flush=True)
            rows.append({"model": name, "batch": batch, "size": size, "dtype": args.dtype, "seconds": times})
    timing.write_json(args.json, packages, args.threads, rows)


if __name__ == "__main__":
    main()
