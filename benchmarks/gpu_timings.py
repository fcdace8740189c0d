"""How fast the kernels are, beside every peer that is installed. The command is gpu.py."""

from __future__ import annotations

import functools
import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

import bench_attention
import bench_loss
import bench_optim
import torch
import torch.nn.functional as F
from bench_attention import Case
from gpu_checks import Bench, error, label, loss_sizes, plain_logits, plain_newton_schulz
from torch import Tensor
from torch.nn.attention import SDPBackend

from smolfast.bench.results import Row, Spread
from smolfast.distill import HiddenTeacher, distill_loss

# Who is expected in a timing; who isn't there is said to be missing.
ATTENTION_PEERS = ("sdpa", "sdpa flash_attention", "sdpa cudnn_attention", "sdpa efficient_attention", "sdpa math",
                   "flex_attention", "flash-attn", "flash-attn 3", "eager (HF)")  # fmt: skip
LOSS_PEERS = ("naive", "torch chunked", "liger", "cut-cross-entropy")
ITERATION_PEERS = ("plain loop", "gram-newton-schulz", "dion")
STEP_PEERS = ("torch.optim.Muon", "dion.Muon", "heavyball.Muon")


def take_turns(
    bench: Bench, part: str, case: str, runs: dict[str, Callable[[], Any]], expected: tuple[str, ...], work: float,
    dtype: torch.dtype, result: Callable[[Any], Tensor], tolerance: float,
) -> Iterator[Row]:  # fmt: skip
    """A row for each implementation. The first run is ours, and what the others compute is compared with it."""
    for name in expected:
        if name not in runs:
            yield Row(part, case, name, "peer", failed="not installed, or it doesn't do this")
    role = {name: "ours" if name.startswith(("smolfast", "ours")) else "peer" for name in runs}
    memory: dict[str, int] = {}
    base: Tensor | None = None
    difference: dict[str, float] = {}
    for name, run in list(runs.items()):
        try:
            if not bench.dry:
                torch.cuda.reset_peak_memory_stats()
            before = 0 if bench.dry else torch.cuda.memory_allocated()
            value = result(run()).detach().float()
            bench.synchronize()
            memory[name] = 0 if bench.dry else torch.cuda.max_memory_allocated() - before
            base = value if base is None else base
            difference[name] = error(value, base.double())
            del value
            run()
        except Exception as problem:  # a peer that can't run here is a result too
            if is_lasting(problem):
                raise
            del runs[name]
            yield Row(part, case, name, role[name], failed=in_a_line(problem))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(bench.rounds):
        for name, run in runs.items():
            times[name].append(turn(bench, run))
    peak = bench.peak(dtype)
    for name, taken in times.items():
        wall = Spread.of(taken)
        facts = {"share of peak": work / wall.median / peak, "difference from ours": difference[name]}
        if difference[name] > tolerance:
            facts["tolerance"] = tolerance
        if role[name] == "peer":
            mine = next(times[other] for other in times if role[other] == "ours")
            facts["ours is faster by"] = Spread.of(b / a for a, b in zip(mine, taken, strict=True)).median
        yield Row(part, case, name, role[name], operations=work, rounds=len(taken), wall=wall,
                  peak_bytes=memory[name] or None, facts=facts)  # fmt: skip
    yield Row(part, case, f"{label(dtype)} matrix product", "floor", operations=work, wall=Spread.of([work / peak]))


def turn(bench: Bench, run: Callable[[], Any]) -> float:
    """Seconds of a call."""
    if bench.dry:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    calls, milliseconds = 1, 0.0
    while True:
        begin.record()
        for _ in range(calls):
            run()
        end.record()
        torch.cuda.synchronize()
        milliseconds = float(begin.elapsed_time(end))
        if milliseconds >= 15:
            return milliseconds / calls / 1e3
        calls = max(calls + 1, int(calls * 20 / max(milliseconds, 0.02)))


def is_lasting(problem: Exception) -> bool:
    """Whether the device is lost to this process."""
    return "CUDA error" in str(problem) or "HIP error" in str(problem) or "illegal memory" in str(problem)


def in_a_line(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {(str(problem).strip().splitlines() or [''])[0][:100]}"


def attention_cases(dry: bool) -> list[Case]:
    if not dry:
        return bench_attention.cases("cuda")
    shape: dict[str, Any] = {"batch": 1, "heads": 1, "kv_heads": 1, "width": 16, "dtype": torch.float32}
    return [
        Case("causal", documents=(32,), **shape),
        Case("packed", documents=(9, 23), **shape),
        Case("window", documents=(32,), window=7, **shape),
    ]


def time_attention(bench: Bench, case: Case, backward: bool) -> Iterator[Row]:
    kernel = bench.kernels["gqa_attention"]
    inputs = bench_attention.make_inputs(case, bench.device, backward)
    dout = torch.randn(inputs[0].shape, device=bench.device).to(case.dtype)
    window = (case.window, -1)
    starts = torch.tensor([0, *case.documents * case.batch], device=bench.device).cumsum(0).to(torch.int32)
    longest = max(case.documents)

    def ours(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Any:
        if len(case.documents) == 1:
            return kernel.gqa_attention(q, k, v, window_size=window, **options)
        flat = (x.flatten(0, 1) for x in (q, k, v))
        results = kernel.gqa_attention_varlen(*flat, starts, starts, longest, longest, window_size=window, **options)
        first, *rest = results if isinstance(results, tuple) else (results,)
        return (first.view(q.shape), *rest) if rest else first.view(q.shape)

    peers = dict(bench_attention.implementations(case, bench.device))
    peers["smolfast"] = ours
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION,
                    SDPBackend.MATH):  # fmt: skip
        peers[f"sdpa {backend.name.lower()}"] = bench_attention.under(backend, peers["sdpa"])
    if importlib.util.find_spec("flash_attn_interface") and not bench.dry and len(case.documents) == 1:
        import flash_attn_interface  # type: ignore[import-not-found]

        def flash_3(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = flash_attn_interface.flash_attn_func(q, k, v, causal=True, window_size=window)
            return out[0] if isinstance(out, tuple) else out  # type: ignore[no-any-return]

        peers["flash-attn 3"] = flash_3
    peers = {"smolfast": peers.pop("smolfast"),
             "smolfast + max_logit": lambda q, k, v: ours(q, k, v, return_max_logit=True)[0], **peers}  # fmt: skip

    def call(implementation: bench_attention.Implementation) -> Tensor:
        if backward:
            return torch.autograd.grad(implementation(*inputs), inputs, dout)[0]
        with torch.no_grad():
            return implementation(*inputs)

    runs = {name: functools.partial(call, implementation) for name, implementation in peers.items()}
    part = "attention forward + backward" if backward else "attention forward"
    yield from take_turns(
        bench, part, case.name, runs, ATTENTION_PEERS, case.flops(backward), case.dtype, lambda x: x, 0.03
    )


def time_loss(bench: Bench, depths: int) -> Iterator[Row]:
    positions, width, vocabulary = loss_sizes(bench) if bench.dry else (8192, 2048, 128_256)
    dtype = torch.float32 if bench.dry else torch.bfloat16
    hidden = bench.randn(depths, positions, width, dtype=dtype, seed=0).requires_grad_()
    weight = (bench.randn(vocabulary, width, dtype=dtype, seed=1) * 0.05).requires_grad_()
    targets = torch.randint(0, vocabulary, (positions,), generator=torch.Generator().manual_seed(2)).to(bench.device)
    found = bench_loss.peers(hidden, weight, targets)

    def call(loss: Callable[[], Tensor]) -> Tensor:
        value = loss()
        torch.autograd.grad(value, (hidden, weight))
        return value

    names = {name: name.replace("ours", "smolfast") for name in found if "," not in name}
    runs = {names[name]: functools.partial(call, found[name]) for name in names}
    case = f"{positions:,} positions, H {width:,}, V {vocabulary:,}, k = {depths}"
    work = 6.0 * depths * positions * width * vocabulary
    yield from take_turns(bench, "loss forward + backward", case, runs, LOSS_PEERS, work, dtype, lambda x: x, 0.01)


def time_distillation(bench: Bench) -> Iterator[Row]:
    positions, width, vocabulary = loss_sizes(bench) if bench.dry else (4096, 2048, 128_256)
    dtype = torch.float32 if bench.dry else torch.bfloat16
    hidden, theirs = (bench.randn(positions, width, dtype=dtype, seed=seed) for seed in (0, 1))
    weight, their_weight = (bench.randn(vocabulary, width, dtype=dtype, seed=seed) * 0.05 for seed in (2, 3))
    leaves = hidden.requires_grad_(), weight.requires_grad_()
    targets = torch.randint(0, vocabulary, (positions,), generator=torch.Generator().manual_seed(2)).to(bench.device)
    teacher = HiddenTeacher(theirs, their_weight)

    def naive() -> Tensor:
        z = plain_logits(hidden, weight)
        q = torch.log_softmax(plain_logits(theirs, their_weight), -1)
        kl = F.kl_div(torch.log_softmax(z, -1), q, log_target=True, reduction="batchmean")
        return 0.5 * F.cross_entropy(z, targets) + 0.5 * kl

    def call(loss: Callable[[], Tensor]) -> Tensor:
        value = loss()
        torch.autograd.grad(value, leaves)
        return value

    runs = {
        "smolfast": lambda: call(lambda: bench_loss._tensor(distill_loss(hidden, weight, targets, teacher))),
        "naive": lambda: call(naive),
    }
    case = f"{positions:,} positions, H {width:,}, V {vocabulary:,}"
    work = 8.0 * positions * width * vocabulary
    yield from take_turns(
        bench, "distillation forward + backward", case, runs, ("naive",), work, dtype, lambda x: x, 0.01
    )


def time_newton_schulz(bench: Bench, shape: tuple[int, int, int]) -> Iterator[Row]:
    kernel = bench.kernels["newton_schulz"]
    shape = (1, 24, 30) if bench.dry else shape
    G = bench.randn(*shape, dtype=torch.float32, seed=0)
    steps = (bench_optim.COEFFICIENTS,) * 5
    runs: dict[str, Callable[[], Any]] = {
        "smolfast": lambda: kernel.newton_schulz(G, steps),
        "smolfast plain": lambda: kernel.newton_schulz(G, steps, "plain"),
        "smolfast gram": lambda: kernel.newton_schulz(G, steps, "gram"),
        "plain loop": lambda: plain_newton_schulz(G.bfloat16())["X"],
    }
    others = bench_optim.iteration_peers(G)
    runs |= {name: others[name] for name in ITERATION_PEERS if name in others}
    case = " × ".join(map(str, shape))
    work = bench_optim.plain_operations(shape)
    yield from take_turns(
        bench, "Newton–Schulz", case, runs, ITERATION_PEERS, work, torch.bfloat16, lambda x: x, 0.3
    )  # fmt: skip


def time_symmetric(bench: Bench, shape: tuple[int, int, int]) -> Iterator[Row]:
    kernel = bench.kernels["newton_schulz"]
    shape = (1, 20, 30) if bench.dry else shape
    X = bench.randn(*shape, dtype=torch.bfloat16, seed=0)
    runs: dict[str, Callable[[], Any]] = {"smolfast": lambda: kernel.symmetric(X, X), "cuBLAS": lambda: X @ X.mT}
    batch, n, m = shape
    case = " × ".join(map(str, shape))
    yield from take_turns(
        bench, "XXᵀ", case, runs, ("cuBLAS",), 2.0 * batch * n * n * m, torch.bfloat16, lambda x: x, 0.01
    )


def time_muon(bench: Bench) -> Iterator[Row]:
    """A whole step over a model's matrices; the peers count the plain form too."""
    shapes = [(2, 24, 24), (2, 24, 40)] if bench.dry else [(16, 2048, 2048), (16, 512, 2048), (8, 11008, 2048)]
    with torch.device(bench.device):
        steps = bench_optim.step_peers(shapes)
    runs = {name.replace("ours", "smolfast"): step for name, step in steps.items()}
    nothing = torch.ones(1)  # a step returns None; the optimisers' own tests compare what they do
    case = " + ".join(" × ".join(map(str, shape)) for shape in shapes)
    work = float(sum(bench_optim.plain_operations(shape) for shape in shapes))
    yield from take_turns(
        bench, "Muon's step", case, runs, STEP_PEERS, work, torch.bfloat16, lambda _: nothing, 0.0
    )  # fmt: skip
