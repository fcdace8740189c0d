"""A step on pairs of answers (DPO), forward and backward, on this machine's CPU: ours beside TRL's DPOTrainer.

    python benchmarks/bench_preferences.py
    python benchmarks/bench_preferences.py --threads 1 --rounds 5 --json benchmarks/results/preferences.json

Needs trl and transformers. Both have the same weights and the same pairs, whose lengths differ, and both read what the
reference says from where it was kept: TRL with `precompute_ref_log_probs`, ours from parquet. "whole logits" is the
same loss by transformers' logits and torch's log-softmax. No optimiser steps. Each round runs everybody once, in turn;
medians (least–most). Memory is the peak resident size above what was there before and the gradients (Linux).

The run ends with the largest differences of loss and gradients from TRL's.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from bench_loss import STATUS, resident
from torch import Tensor, nn

from smolfast.bench.results import Results, Row, Spread, machine, versions, write_results
from smolfast.config import AlignConfig
from smolfast.files import write_json
from smolfast.model.pretrained import load_pretrained
from smolfast.tokens.files import TokenFile
from smolfast.train.preferences.objective import pair_losses
from smolfast.train.preferences.pairs import Pairs
from smolfast.train.preferences.reference import Reference, write_reference

PART = "a step on pairs of answers"


def write_pairs(folder: Path, count: int, longest: int, vocabulary: int, seed: int = 0) -> Pairs:
    """Random tokens: prompts and answers of a quarter to a half of the longest document each."""
    draw = np.random.default_rng(seed)
    documents, learned = [], []
    for _ in range(count):
        prompt = draw.integers(2, vocabulary, draw.integers(longest // 4, longest // 2))
        for _ in range(2):
            answer = draw.integers(2, vocabulary, draw.integers(longest // 4, longest // 2))
            documents.append(np.concatenate([prompt, answer, [0]]))
            learned.append(np.arange(len(documents[-1])) >= len(prompt))
    folder.mkdir()
    np.save(folder / "train.tokens.npy", np.concatenate(documents).astype("<u2"))
    np.save(folder / "train.learned.npy", np.concatenate(learned))
    np.save(folder / "train.documents.npy", np.cumsum([0, *map(len, documents)]))
    files = {"train": {"documents": 2 * count, "tokens": sum(map(len, documents)), "utf8_bytes": 0}}
    write_json(
        folder / "tokens.json", {"vocab_size": vocabulary, "end_of_document": 0, "learned": True, "files": files}
    )
    return Pairs(TokenFile.open(folder, "train"))


def padded(pairs: Pairs, said: Tensor) -> dict[str, Tensor]:
    """The pairs as TRL's collator gives them, with what the reference says."""
    places = [pairs.document(2 * number + side) for side in (0, 1) for number in range(len(pairs))]
    rows = [torch.from_numpy(pairs.file.tokens[place].astype(np.int64)) for place in places]
    marks = [torch.from_numpy(pairs.learned[place].astype(np.int64)) for place in places]
    sums = torch.stack([part.sum() for part in said.split([int(mark.sum()) for mark in marks])])
    pad = nn.utils.rnn.pad_sequence
    return {
        "input_ids": pad(rows, batch_first=True),
        "attention_mask": pad([torch.ones_like(row) for row in rows], batch_first=True),
        "completion_mask": pad(marks, batch_first=True),
        "ref_chosen_logps": sums[: len(pairs)],
        "ref_rejected_logps": sums[len(pairs) :],
    }


def trl_step(network: Any, inputs: dict[str, Tensor], work: Path) -> Callable[[], Tensor]:
    """DPOTrainer's own loss of a batch."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    words = Tokenizer(models.WordLevel({"<end>": 0, "a": 1}, unk_token="<end>"))
    rows = Dataset.from_list([{"prompt": "a", "chosen": "a", "rejected": "a"}])
    arguments = DPOConfig(
        str(work / "trl"), report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True,
        per_device_train_batch_size=1,
    )  # fmt: skip
    trainer = DPOTrainer(
        network,
        copy.deepcopy(network),  # it wants one, and doesn't use it
        args=arguments,
        train_dataset=rows,
        processing_class=PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<end>", eos_token="<end>"),
    )
    trainer.precompute_ref_logps = True
    network.train()
    return lambda: trainer.compute_loss(network, dict(inputs))


def whole_logits_step(network: Any, inputs: dict[str, Tensor], beta: float) -> Callable[[], Tensor]:
    def step() -> Tensor:
        logits = network(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False).logits
        values = torch.log_softmax(logits[:, :-1].float(), -1)
        values = values.gather(-1, inputs["input_ids"][:, 1:, None])[..., 0] * inputs["completion_mask"][:, 1:]
        chosen, rejected = values.sum(1).chunk(2)
        ratio = chosen - inputs["ref_chosen_logps"] - (rejected - inputs["ref_rejected_logps"])
        return -F.logsigmoid(beta * ratio).mean()

    return step


def once(step: Callable[[], Tensor], model: nn.Module) -> dict[str, float]:
    """Wall and CPU seconds, and peak MB above the model and its gradients."""
    model.zero_grad(set_to_none=True)
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")
    _, before = resident()
    wall, cpu = time.perf_counter(), time.process_time()
    step().backward()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    gradients = sum(x.grad.nbytes for x in model.parameters() if x.grad is not None) / 1e6
    return {"wall": wall, "cpu": cpu, "megabytes": max(0.0, resident()[0] - before - gradients)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=49_152)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--longest", type=int, default=256, help="tokens of a prompt with its answer, at most")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a small vocabulary, three rounds")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if options.quick:
        options.vocabulary, options.rounds = 4096, min(options.rounds, 3)
    missing = [name for name in ("transformers", "trl", "datasets") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"bench_preferences: {', '.join(missing)} isn't installed; pip install trl")
        return 2
    from transformers import LlamaConfig, LlamaForCausalLM

    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    about, found = machine(options.threads), versions(("torch", "transformers", "trl"))
    about["torch instructions"] = torch.backends.cpu.get_cpu_capability()
    print(", ".join(f"{name} {version}" for name, version in (about | found).items()))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=options.vocabulary, hidden_size=options.width, intermediate_size=3 * options.width,
            num_hidden_layers=options.layers, num_attention_heads=options.width // 64, num_key_value_heads=1,
            max_position_embeddings=options.longest + 2, tie_word_embeddings=True, pad_token_id=0, bos_token_id=0,
            eos_token_id=0,
        )  # fmt: skip
        network = LlamaForCausalLM(config)
        network.save_pretrained(work / "model")
        pairs = write_pairs(work / "pairs", options.pairs, options.longest, options.vocabulary)
        write_reference(work / "model", {"train": pairs}, work / "reference")
        said = torch.from_numpy(Reference(work / "reference", "train", pairs).at(np.arange(len(pairs))))
        align, model = AlignConfig(), load_pretrained(work / "model")
        inputs = padded(pairs, said)

        def ours() -> Tensor:
            batch = pairs.batch(np.arange(len(pairs)))
            return pair_losses(model, batch, said, align)[0].mean()

        steps: dict[str, tuple[Callable[[], Tensor], nn.Module]] = {
            "ours": (ours, model),
            "TRL": (trl_step(network, inputs, work), network),
            "whole logits": (whole_logits_step(network, inputs, align.beta), network),
        }
        for step, module in steps.values():  # what is loaded once
            once(step, module)
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in steps}
        for _ in range(options.rounds):
            for name, (step, module) in steps.items():
                measured[name].append(once(step, module))
        rows = report(measured, options, inputs)
        differences = compare(steps)
    print(
        f"differences from TRL: loss {differences['loss']:.1e}, gradients {differences['gradient']:.1e} of the largest"
    )
    if options.json:
        names = ("vocabulary", "pairs", "longest", "width", "layers", "rounds", "quick")
        settings = {name: getattr(options, name) for name in names}
        write_results(
            options.json, Results("preferences", rows, machine=about, versions=found, settings=settings | differences)
        )
    return 0


def compare(steps: dict[str, tuple[Callable[[], Tensor], nn.Module]]) -> dict[str, float]:
    """Ours less TRL's: the loss, and the largest of all gradients' differences over the largest gradient."""
    losses, gradients = [], []
    for name in ("ours", "TRL"):
        step, module = steps[name]
        module.zero_grad(set_to_none=True)
        loss = step()
        loss.backward()
        losses.append(loss.item())
        gradients.append({name: x.grad for name, x in module.named_parameters() if x.grad is not None})
    one, other = gradients
    largest = max(float(x.abs().max()) for x in other.values())
    worst = max(float((one[name] - other[name]).abs().max()) for name in other)
    return {"loss": abs(losses[0] - losses[1]), "gradient": worst / largest}


def report(
    measured: dict[str, list[dict[str, float]]], options: argparse.Namespace, inputs: dict[str, Tensor]
) -> list[Row]:
    tokens, answers = int(inputs["attention_mask"].sum()), int(inputs["completion_mask"].sum())
    case = f"V = {options.vocabulary:,}, {options.pairs} pairs of {tokens:,} tokens, {answers:,} of them answers"
    print(case)
    rows = []
    base = {kind: float(np.median([each[kind] for each in measured["TRL"]])) for kind in ("wall", "cpu", "megabytes")}
    for name, each in measured.items():
        line = f"  {name:14}"
        for kind in ("wall", "cpu"):
            spread = Spread.of(one[kind] for one in each)
            line += f" {kind} {spread.median:6.2f} s ({spread.least:.2f}–{spread.most:.2f}), "
            line += f"TRL's / this {base[kind] / spread.median:.2f};"
        megabytes = float(np.median([one["megabytes"] for one in each]))
        print(f"{line} memory {megabytes:6.0f} MB, {megabytes / max(base['megabytes'], 1):.3f} × TRL's", flush=True)
        spreads = {kind: Spread.of(one[kind] for one in each) for kind in ("wall", "cpu")}
        role = "ours" if name == "ours" else "peer"
        rows.append(
            Row(PART, case, name, role, threads=torch.get_num_threads(), rounds=len(each),
                peak_bytes=int(1e6 * megabytes) or None, facts={"tokens": tokens, "answer_tokens": answers}, **spreads)
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    sys.exit(main())
