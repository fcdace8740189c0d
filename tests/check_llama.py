"""Compare exported files with llama.cpp at length: tokens, logits, greedy text, perplexity and speed by type.

python tests/check_llama.py EXPORT FILE.parquet… [--types f16,q8_0] [--compressed] [--prompts 50] [--windows 60]

EXPORT is a folder of `smolfast export`; the files hold texts, of which the first megabytes are for perplexity. Needs
llama-cpp-python; `--compressed` needs compressed-tensors and accelerate, and measures int8 and int4 folders too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(Path(__file__).parent / "shared"))

from llama_file import LlamaFile
from smolfast.edge.compressed import BITS, export_compressed
from smolfast.edge.gguf_export import TYPES, export_gguf
from smolfast.model.generate import generate_tokens
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.model.pretrained import load_pretrained
from smolfast.tokens.tokenizer_folder import encode, open_tokenizer

WINDOW = 256
Logits = Callable[[Sequence[int]], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--compressed", action="store_true")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--windows", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    texts = [text for path in arguments.texts for text in pq.read_table(path)["text"].to_pylist()]
    with tempfile.TemporaryDirectory() as name:
        files = {kind: Path(name) / f"{kind}.gguf" for kind in arguments.types.split(",")}
        for kind, path in files.items():
            export_gguf(arguments.export, arguments.export, path, quantize_to=kind)
        check_tokens(arguments.export, next(iter(files.values())), texts)
        check_logits(arguments.export, files, texts, arguments.prompts)
        folders = {kind: Path(name) / kind for kind in (BITS if arguments.compressed else ())}
        for kind, folder in folders.items():
            export_compressed(arguments.export, arguments.export, folder, kind)
        compare_losses(arguments.export, {**files, **folders}, texts, arguments.windows)
        compare_speed(arguments.export, files)


def check_tokens(export: Path, path: Path, texts: list[str]) -> None:
    """Every text's tokens, ours and llama.cpp's."""
    file, tokenizer = LlamaFile(path, vocabulary_only=True), open_tokenizer(export).tokenizer
    different = [text for text in texts if file.tokens(text) != encode(tokenizer, [text])[0]]
    size = sum(len(text.encode()) for text in texts)
    print(f"tokens: {size:,} bytes in {len(texts):,} texts, {len(different)} differ")
    file.close()


@torch.no_grad()
def check_logits(export: Path, files: dict[str, Path], texts: list[str], count: int) -> None:
    """The largest difference of logits to ours, with weights as they are and rounded to 16 bits, and greedy text."""
    model, rounded = load_pretrained(export), load_pretrained(export)
    for parameter in rounded.parameters():
        if parameter.ndim > 1:
            parameter.copy_(parameter.half().float())
    tokenizer = open_tokenizer(export).tokenizer
    prompts = [ids[:48] for ids in encode(tokenizer, [text[200:700] for text in texts if len(text) > 700][:count])]
    report_rounding(model, rounded, prompts)
    for kind in ("f32", "f16"):
        if kind not in files:
            continue
        file = LlamaFile(files[kind])
        ends = {token for token in range(file.rows) if file.ends(token)}
        whole = half = 0.0
        same = 0
        for ids in prompts:
            batch, theirs = PackedBatch.from_documents([np.array(ids)]), file.logits(ids)
            whole = max(whole, float(np.abs(model.logits(batch).numpy() - theirs).max()))
            half = max(half, float(np.abs(rounded.logits(batch).numpy() - theirs).max()))
            ours = generate_tokens(model, ids, max_new_tokens=16, temperature=0, seed=0, ends=ends)
            same += ours == file.greedy(ids, 16)
        print(f"{kind}: logits within {whole:.1e} of ours, {half:.1e} of ours with 16-bit weights; ", end="")
        print(f"greedy text equal on {same} of {len(prompts)}")
        file.close()


def report_rounding(model: SmolLM, rounded: SmolLM, prompts: list[list[int]]) -> None:
    """What 16-bit weights alone do to our logits: no `f16` file can be closer."""
    batches = [PackedBatch.from_documents([np.array(ids)]) for ids in prompts]
    ours, theirs = (torch.cat([network.logits(batch) for batch in batches]) for network in (model, rounded))
    moved, odds = (ours - theirs).abs(), (ours.softmax(-1) - theirs.softmax(-1)).abs()
    root, near = float(moved.square().mean().sqrt()), float((moved < 2e-3).double().mean())
    same = float((ours.argmax(-1) == theirs.argmax(-1)).double().mean())
    print(f"16-bit weights move our logits by {float(moved.max()):.1e} at most, {root:.1e} in the mean (of squares)")
    print(f"  {near:.3%} by less than 2e-3; probabilities by {float(odds.max()):.1e} at most; {same:.2%} predict alike")


def compare_losses(export: Path, paths: dict[str, Path], texts: list[str], windows: int) -> None:
    """Perplexity by type, its rise over ours, and the size of the file."""
    opened = open_tokenizer(export)
    ids: list[int] = []
    for text in texts:
        ids += [*encode(opened.tokenizer, [text])[0], opened.end_of_document]
        if len(ids) > 2 * WINDOW * windows:
            break
    cut = [ids[start : start + WINDOW] for start in range(0, len(ids) - WINDOW, 2 * WINDOW)][:windows]
    ours = load_pretrained(export)

    def in_torch(window: Sequence[int]) -> Any:
        return ours.logits(PackedBatch.from_documents([np.array(window)]))

    base = perplexity(in_torch, cut)
    print(f"{'ours':<10} perplexity {base:.3f}")
    for kind, path in paths.items():
        for logits in opened_logits(path):
            found = perplexity(logits, cut)
        size = path.stat().st_size if path.is_file() else (path / "model.safetensors").stat().st_size
        print(f"{kind:<10} perplexity {found:.3f}, {100 * (found / base - 1):+.3f} %, {size / 1e6:.2f} MB", flush=True)


def opened_logits(path: Path) -> Iterator[Logits]:
    if path.is_file():
        file = LlamaFile(path)
        yield file.logits
        file.close()
        return
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    yield lambda window: model(torch.tensor([list(window)])).logits[0]


@torch.no_grad()
def perplexity(logits: Logits, windows: Sequence[Sequence[int]]) -> float:
    total = count = 0.0
    for window in windows:
        log = torch.as_tensor(logits(window)).double().log_softmax(-1)
        total -= float(log[torch.arange(len(window) - 1), torch.tensor(window[1:])].sum())
        count += len(window) - 1
    return float(np.exp(total / count))


def compare_speed(export: Path, files: dict[str, Path], count: int = 64) -> None:
    """Tokens per CPU second of greedy text on one thread, each in turn, five rounds: median, least and most."""
    import transformers

    ours = load_pretrained(export)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32)
    prompt = np.random.default_rng(0).integers(4, 250, 16).tolist()
    runs: dict[str, Callable[[], Any]] = {
        "smolfast generate": lambda: generate_tokens(ours, prompt, max_new_tokens=count, temperature=0, seed=0),
        "transformers": lambda: theirs.generate(
            torch.tensor([prompt]), max_new_tokens=count, min_new_tokens=count, do_sample=False
        ),
    }
    for kind in ("f32", "f16", "q8_0", "q4_k_m", "q4_0"):
        if kind in files:
            runs[f"llama.cpp {kind}"] = partial(LlamaFile(files[kind]).continued, prompt, count)
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(6):
        for name, run in runs.items():
            began = time.process_time()
            run()
            if turn:  # the first warms up
                rates[name].append(count / (time.process_time() - began))
    for name, found in rates.items():
        print(
            f"{name:<20} {statistics.median(found):>8,.1f} tokens/CPU second ({min(found):,.1f} to {max(found):,.1f})"
        )


if __name__ == "__main__":
    main()
