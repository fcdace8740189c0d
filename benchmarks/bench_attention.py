"""Attention, ours beside every other implementation at hand: PyTorch's SDPA, FlexAttention, flash-attn, HF eager.

    python benchmarks/bench_attention.py                        # this machine's GPU if it has one, else its CPU
    python benchmarks/bench_attention.py --rounds 9 --json results/attention.json
    python benchmarks/bench_attention.py --quick                # a few small cases, nothing compiled

Cases are causal, windowed and packed, forward and forward + backward. Each round times every implementation once, in
turn; the figures are medians over the rounds with the least and the most beside them, and every claim is a ratio. On a
CPU it is CPU time of the whole process, which a busy machine disturbs least; on a GPU, time between CUDA events, with
TFLOP/s over visible pairs (4 · pairs · D a head forward, 2.5 × that backward) and the share of what a large matrix
product reaches on the same device in the same run.

Implementations are first compared with ours, so that nothing that computes something else is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from smolfast import ops
from smolfast.bench.results import Results, Row, Spread, machine, versions, write_results


@dataclass(frozen=True)
class Case:
    """One problem; sequence lengths are those of the documents of each row."""

    name: str
    batch: int
    documents: tuple[int, ...]
    heads: int
    kv_heads: int
    width: int
    dtype: torch.dtype
    window: int = -1

    @property
    def length(self) -> int:
        return sum(self.documents)

    def pairs(self) -> int:
        """Visible pairs of one head of one row."""
        mask = torch.zeros((), dtype=torch.int64)
        for length in self.documents:
            rows = torch.arange(1, length + 1)
            mask += (rows.clamp(max=self.window + 1) if self.window >= 0 else rows).sum()
        return int(mask)

    def flops(self, backward: bool) -> float:
        return 4.0 * self.pairs() * self.width * self.heads * self.batch * (3.5 if backward else 1.0)


Inputs = tuple[Tensor, Tensor, Tensor]
Implementation = Callable[[Tensor, Tensor, Tensor], Tensor]  # [B, S, H, D] in and out


def cases(device: str) -> list[Case]:
    if device == "cuda":
        shape = {"batch": 4, "heads": 32, "kv_heads": 8, "dtype": torch.bfloat16}
        return [
            Case("causal 4k D128", documents=(4096,), width=128, **shape),
            Case("causal 8k D128", documents=(8192,), width=128, **shape),
            Case("causal 4k D64", documents=(4096,), width=64, **shape),
            Case("packed 8k D128", documents=(1024, 3072, 512, 2048, 1536), width=128, **shape),
            Case("window 1k of 8k D128", documents=(8192,), width=128, window=1023, **shape),
        ]
    found = []
    for dtype, label in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
        shape = {"batch": 1, "heads": 8, "kv_heads": 2, "width": 64, "dtype": dtype}
        found += [
            Case(f"causal 256 {label}", documents=(256,), **shape),
            Case(f"causal 1k {label}", documents=(1024,), **shape),
            Case(f"packed 2k {label}", documents=(300, 700, 150, 500, 398), **shape),
            Case(f"window 256 of 2k {label}", documents=(2048,), window=255, **shape),
        ]
    return found


def visible(case: Case, device: str) -> Tensor:
    """[S, S], True where a query sees a key."""
    document = torch.repeat_interleave(
        torch.arange(len(case.documents), device=device), torch.tensor(case.documents, device=device)
    )
    row = torch.arange(case.length, device=device)
    seen = (document[:, None] == document) & (row[:, None] >= row)
    return seen & (row[:, None] - row <= case.window) if case.window >= 0 else seen


def implementations(case: Case, device: str) -> Iterator[tuple[str, Implementation]]:
    """Ours first. Each gets what it needs (masks, block masks, lengths) prepared outside the timing."""
    window = (case.window, -1) if case.window >= 0 else (-1, -1)
    starts = [0]
    for _ in range(case.batch):
        for length in case.documents:
            starts.append(starts[-1] + length)
    cu, longest = torch.tensor(starts, dtype=torch.int32, device=device), max(case.documents)
    packed = len(case.documents) > 1

    def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if not packed:
            return ops.gqa_attention(q, k, v, window_size=window)  # type: ignore[return-value]
        flat = (x.flatten(0, 1) for x in (q, k, v))
        out = ops.gqa_attention_varlen(*flat, cu, cu, longest, longest, window_size=window)
        return out.view(q.shape)  # type: ignore[union-attr]

    yield "smolfast", ours
    plain = not packed and case.window < 0
    mask = None if plain else visible(case, device)

    def sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        heads_first = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(
            *heads_first, attn_mask=mask, is_causal=plain, enable_gqa=True
        ).transpose(1, 2)  # fmt: skip

    yield "sdpa", sdpa
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
        if device == "cuda":
            yield f"sdpa {backend.name.lower()}", under(backend, sdpa)
    if packed:  # what a careful user of SDPA writes: a call for each document

        def sdpa_by_document(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            parts = zip(*(x.split(list(case.documents), 1) for x in (q, k, v)), strict=True)
            outs = [
                F.scaled_dot_product_attention(
                    *(x.transpose(1, 2) for x in part), is_causal=True, enable_gqa=True
                ).transpose(1, 2)
                for part in parts
            ]  # fmt: skip
            return torch.cat(outs, 1)

        yield "sdpa by document", sdpa_by_document
    yield "flex_attention", _flex(case, device)
    yield "eager (HF)", _eager(case, device)
    if importlib.util.find_spec("flash_attn") and device == "cuda":
        yield "flash-attn", _flash(cu, longest, window, packed)


def under(backend: SDPBackend, implementation: Implementation) -> Implementation:
    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return implementation(q, k, v)

    return run


def _flex(case: Case, device: str) -> Implementation:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    seen = visible(case, device)
    block_mask = create_block_mask(lambda _b, _h, i, j: seen[i, j], None, None, case.length, case.length, device=device)
    torch._dynamo.reset()  # else the second shape compiles with dynamic sizes, 17 × slower on a CPU
    compiled = torch.compile(flex_attention, dynamic=False)

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        heads_first = (x.transpose(1, 2) for x in (q, k, v))
        return compiled(*heads_first, block_mask=block_mask, enable_gqa=True).transpose(1, 2)  # type: ignore[no-any-return]

    return run


def _eager(case: Case, device: str) -> Implementation:
    """What transformers' `eager_attention_forward` does: repeated keys, a matrix of scores, a softmax in fp32."""
    bias = torch.zeros(case.length, case.length, dtype=case.dtype, device=device)
    bias.masked_fill_(~visible(case, device), torch.finfo(case.dtype).min)
    group = case.heads // case.kv_heads

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = (x.transpose(1, 2).repeat_interleave(group, 1) for x in (k, v))
        scores = q.transpose(1, 2) @ k.transpose(2, 3) * case.width**-0.5 + bias
        return (torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype) @ v).transpose(1, 2)

    return run


def _flash(cu: Tensor, longest: int, window: tuple[int, int], packed: bool) -> Implementation:
    import flash_attn

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if not packed:
            return flash_attn.flash_attn_func(q, k, v, causal=True, window_size=window)  # type: ignore[no-any-return]
        flat = (x.flatten(0, 1) for x in (q, k, v))
        out = flash_attn.flash_attn_varlen_func(
            *flat, cu, cu, longest, longest, causal=True, window_size=window
        )  # fmt: skip
        return out.view(q.shape)  # type: ignore[no-any-return]

    return run


def make_inputs(case: Case, device: str, backward: bool) -> Inputs:
    generator = torch.Generator(device).manual_seed(0)

    def one(heads: int) -> Tensor:
        x = torch.randn(case.batch, case.length, heads, case.width, generator=generator, device=device)
        return x.to(case.dtype).requires_grad_(backward)

    return one(case.heads), one(case.kv_heads), one(case.kv_heads)


def step(implementation: Implementation, inputs: Inputs, backward: bool, dout: Tensor) -> None:
    if not backward:
        with torch.no_grad():
            implementation(*inputs)
        return
    torch.autograd.grad(implementation(*inputs), inputs, dout)


def seconds(work: Callable[[], None], device: str) -> float:
    """Of one call: between events on a GPU; on a CPU the process's CPU time, over enough calls to be 20 ms, after one
    that isn't counted: it finds caches and memory as the implementation before it left them."""
    if device == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(10):
            work()
        end.record()
        torch.cuda.synchronize()
        return float(begin.elapsed_time(end)) / 1e4
    work()
    calls, begin_at = 0, time.process_time()
    while calls == 0 or time.process_time() - begin_at < 0.02:
        work()
        calls += 1
    return (time.process_time() - begin_at) / calls


def matrix_peak(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, the ceiling of the same table."""
    size = 8192 if device == "cuda" else 1024
    a = torch.randn(size, size, device=device).to(dtype)
    seconds(lambda: _discard(a @ a), device)
    return 2 * size**3 / min(seconds(lambda: _discard(a @ a), device) for _ in range(5))


def _discard(_: Any) -> None:
    return None


def measure(case: Case, device: str, backward: bool, rounds: int, skip: str = "^$") -> Iterator[Row]:
    """A row for each implementation whose name doesn't match `skip`, and one for the matrix product."""
    inputs = make_inputs(case, device, backward)
    dout = torch.randn(inputs[0].shape, device=device).to(case.dtype)
    found: dict[str, Implementation] = {}
    failed: dict[str, str] = {}
    expected: Tensor | None = None
    for name, implementation in implementations(case, device):
        if re.search(skip, name):
            continue
        try:
            with torch.no_grad():
                out = implementation(*inputs).float()
            step(implementation, inputs, backward, dout)
        except (RuntimeError, NotImplementedError, torch._dynamo.exc.TorchDynamoException) as error:
            failed[name] = str(error).strip().splitlines()[0][:80]
            continue
        expected = out if expected is None else expected
        torch.testing.assert_close(out, expected, rtol=0.02, atol=0.02, msg=f"{name} computes something else")
        found[name] = implementation
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, implementation in found.items():
            times[name].append(seconds(lambda run=implementation: step(run, inputs, backward, dout), device))  # type: ignore[misc]
    peak = matrix_peak(device, case.dtype)
    part = "forward + backward" if backward else "forward"
    work = case.flops(backward)

    def row(name: str, role: str, taken: list[float], **facts: float) -> Row:
        spread = Spread.of(taken)
        times = {"wall": spread} if device == "cuda" else {"cpu": spread}
        return Row(part, case.name, name, role, operations=work, threads=torch.get_num_threads(), rounds=len(taken),
                   facts=facts, **times)  # fmt: skip

    for name, taken in times.items():
        faster = statistics.median(b / a for a, b in zip(times["smolfast"], taken, strict=True))
        role = "ours" if name == "smolfast" else "peer"
        yield row(name, role, taken, size=case.length, ours_is_faster_by=faster)
    yield row("matrix product", "floor", [work / peak])
    for name, reason in failed.items():
        yield Row(part, case.name, name, "peer", failed=reason)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--match", default="", help="only cases whose name matches this regular expression")
    parser.add_argument("--skip", default="^$", help="leave out implementations that match this regular expression")
    parser.add_argument("--quick", action="store_true", help="small cases in fp32, three rounds, nothing compiled")
    parser.add_argument("--json", type=Path, help="also write the rows, with hardware and versions")
    options = parser.parse_args(arguments)
    if options.quick:
        options.match, options.rounds, options.skip = "causal.*fp32", min(options.rounds, 3), "flex"
    about = machine(torch.get_num_threads(), torch.cuda.get_device_name() if options.device == "cuda" else "")
    found = versions(("torch", "triton", "flash-attn"))
    print(*(f"{key}: {value}" for key, value in (about | found).items()), sep="\n")
    columns = f"{'ms':>9} {'least':>9} {'most':>9} {'TFLOP/s':>8} {'of peak':>7} {'ours ×':>7}"
    print(f"{'case':24} {'pass':19} {'implementation':18} {columns}")
    rows: list[Row] = []
    for case in cases(options.device):
        if not re.search(options.match, case.name):
            continue
        for backward in (False, True):
            measured = list(measure(case, options.device, backward, options.rounds, options.skip))
            rows += measured
            show(measured)
    if options.json:
        settings = {"rounds": options.rounds, "match": options.match, "skip": options.skip, "quick": options.quick}
        write_results(options.json, Results("attention", rows, machine=about, versions=found, settings=settings))
    return 0


def show(rows: list[Row]) -> None:
    """The rows of one case and pass, with the share of the matrix product."""
    floor = next(row for row in rows if row.role == "floor").seconds()
    for row in rows:
        head, spread = f"{row.case:24} {row.part:19} {row.name:18}", row.seconds()
        if spread is None:
            print(f"{head} {row.failed}")
        elif row.role != "floor" and floor is not None and row.operations is not None:
            print(
                f"{head} {1e3 * spread.median:9.3f} {1e3 * spread.least:9.3f} {1e3 * spread.most:9.3f} "
                f"{row.operations / spread.median / 1e12:8.3f} {floor.median / spread.median:7.2f} "
                f"{row.facts['ours_is_faster_by']:7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
