"""Tokens a second of greedy text on this machine's CPU: `smolfast generate` beside transformers and llama.cpp.

    python benchmarks/bench_edge.py
    python benchmarks/bench_edge.py --presets compact 135m --rounds 5 --json benchmarks/results/edge.json

A preset's model with weights as they begin is exported once for each engine; each round writes the same number of
tokens with every engine, in turn. Figures are medians over the rounds (least to most). Each token reads all weights
once, so their bytes stand beside the rates.

Peers: transformers with its cache, and llama.cpp by llama-cpp-python, with as many threads, no flash attention, and
without its code for AMX, which crashes on small matrices.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "shared"))

from smolfast.bench.results import Results, Row, Spread, machine, versions, write_results
from smolfast.config import TokenizerConfig, load_config
from smolfast.model.export import export
from smolfast.model.generate import generate_tokens
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import load_pretrained, save_pretrained
from smolfast.tokens.tokenizer import train_tokenizer
from smolfast.workers import Workers

PART = "greedy text"
TYPES = ("f32", "f16", "q8_0", "q4_k_m")
PROMPT = 16
Run = Callable[[], Any]


def exported(preset: str, folder: Path) -> Path:
    """A folder of `smolfast export` with a preset's model; its vocabulary is larger than its tokenizer."""
    words = ["the quick brown fox", "jumps over", "a lazy dog", "12 345", "naïve", "東京"]
    pq.write_table(pa.table({"text": [" ".join(words[i % 5 :]) for i in range(400)]}), folder / "text.parquet")
    train_tokenizer([folder / "text.parquet"], folder / "tokenizer", TokenizerConfig(vocab_size=280, chat=True))
    config = load_config(preset)
    save_pretrained(SmolLM(config.model, config.tokenizer.vocab_size, seed=0), folder / "model", end_of_document=0)
    export(folder / "model", folder / "tokenizer", folder / "export")
    return folder / "export"


def runs_of(model: Path, count: int, types: list[str], threads: int, failed: dict[str, str]) -> dict[str, Run]:
    """What writes `count` tokens, by engine; who isn't installed goes to `failed`."""
    prompt = np.random.default_rng(0).integers(4, 250, PROMPT).tolist()
    ours = load_pretrained(model)

    def generate() -> None:
        with Workers(threads=threads):
            generate_tokens(ours, prompt, max_new_tokens=count, temperature=0, seed=0)

    runs: dict[str, Run] = {"ours": generate}
    if importlib.util.find_spec("transformers") is None:
        failed["transformers"] = "not installed"
    else:
        import transformers

        transformers.utils.logging.disable_progress_bar()
        theirs = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        given = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "pad_token_id": 0}
        inputs = torch.tensor([prompt])
        runs["transformers"] = lambda: theirs.generate(inputs, attention_mask=torch.ones_like(inputs), **given)
    missing = [name for name in ("gguf", "llama_cpp") if importlib.util.find_spec(name) is None]
    for kind in types:
        if missing:
            failed[f"llama.cpp {kind}"] = f"{' and '.join(missing)} not installed"
            continue
        from llama_file import LlamaFile
        from smolfast.edge.gguf_export import export_gguf

        path = model.parent / f"{kind}.gguf"
        export_gguf(model, model, path, quantize_to=kind)
        runs[f"llama.cpp {kind}"] = partial(LlamaFile(path, threads=threads).continued, prompt, count)
    return runs


def measure(preset: str, options: argparse.Namespace) -> list[Row]:
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        model = exported(preset, Path(name))
        runs = runs_of(model, options.tokens, options.types, options.threads, failed)
        sizes = {f"llama.cpp {path.stem}": path.stat().st_size for path in Path(name).glob("*.gguf")}
        seconds: dict[str, dict[str, list[float]]] = {who: {"wall": [], "cpu": []} for who in runs}
        for turn in range(options.rounds + 1):
            for who, run in runs.items():
                wall, cpu = time.perf_counter(), time.process_time()
                run()
                if turn:  # the first warms up
                    seconds[who]["wall"].append(time.perf_counter() - wall)
                    seconds[who]["cpu"].append(time.process_time() - cpu)
    network = SmolLM(load_config(preset).model, load_config(preset).tokenizer.vocab_size, seed=0)
    parameters = sum(parameter.numel() for parameter in network.model.parameters())
    case = f"{preset}, {parameters / 1e6:,.1f} M parameters"
    rows = []
    for who, kinds in seconds.items():
        rates = {kind: options.tokens / statistics.median(values) for kind, values in kinds.items()}
        role = "ours" if who == "ours" else "peer"
        facts: dict[str, Any] = {f"tokens_per_{kind}_second": round(rate, 1) for kind, rate in rates.items()}
        facts["weights_bytes"] = sizes.get(who, 4 * parameters)
        spreads = {kind: Spread.of(values) for kind, values in kinds.items()}
        work = 2.0 * parameters * options.tokens
        rows.append(
            Row(PART, case, who, role, operations=work, threads=options.threads, rounds=options.rounds, facts=facts,
                **spreads)
        )  # fmt: skip
        print(f"  {case:<32} {who:<20} {rates['wall']:>9,.1f} tokens/s, {rates['cpu']:>9,.1f} a CPU second", flush=True)
    return [*rows, *(Row(PART, case, who, "peer", failed=reason) for who, reason in failed.items())]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["compact", "135m"])
    parser.add_argument("--types", nargs="*", default=list(TYPES), help="of the GGUF files")
    parser.add_argument("--tokens", type=int, default=32, help="written in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    about = machine(options.threads)
    about["torch instructions"] = torch.backends.cpu.get_cpu_capability()
    found = versions(("torch", "transformers", "gguf"))
    if importlib.util.find_spec("llama_cpp"):
        import llama_cpp

        found["llama-cpp-python"] = llama_cpp.__version__
    print(", ".join(f"{name} {version}" for name, version in (about | found).items()))
    rows: list[Row] = []
    for preset in options.presets:
        rows += measure(preset, options)
        if options.json:  # after every case: a run that is stopped leaves what it has
            settings = {name: getattr(options, name) for name in ("presets", "types", "tokens", "rounds")}
            write_results(options.json, Results("edge", rows, machine=about, versions=found, settings=settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
