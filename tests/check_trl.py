"""Compare what is learned of conversations with TRL: the labels that its SFTTrainer makes with assistant_only_loss.

python tests/check_trl.py TOKENIZER [--count 400]

TOKENIZER is a folder with turns (`smolfast tokenize --set tokenizer.chat=true`). Runs where smolfast and TRL are
installed (`pip install '.[integrations]'`). Every conversation goes through TRL's own preparation; its ids and labels
have to be ours. Conversations in which nothing is learned are left out: TRL refuses those.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "shared"))

from conversations import made
from smolfast.tokens.chat.chat_tokens import ChatTokens, Conversation, encode_pieces
from smolfast.tokens.tokenizer_folder import open_tokenizer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--count", type=int, default=400)
    arguments = parser.parse_args()
    chat = ChatTokens(open_tokenizer(arguments.tokenizer))
    rows, ours = [], []
    for messages, options in made(arguments.count, seed=3):
        variables = {key: value for key, value in options.items() if key != "tools"}
        tokens, learned = encode_pieces(
            chat.pieces(Conversation(messages, options.get("tools"), variables)), chat.folder
        )
        if any(learned):
            rows.append({"messages": messages, "tools": options.get("tools"), "chat_template_kwargs": variables})
            ours.append((tokens, [token if marked else -100 for token, marked in zip(tokens, learned, strict=True)]))
    found: Counter[str] = Counter()
    for expected, theirs in zip(ours, labels(arguments.tokenizer, rows), strict=True):
        ids_equal, labels_equal = expected[0] == theirs["input_ids"], expected[1] == theirs["labels"]
        found["equal" if ids_equal and labels_equal else "other labels" if ids_equal else "other ids"] += 1
    print(f"TRL's ids and labels: {dict(found)}")
    return 0 if set(found) == {"equal"} else 1


def labels(tokenizer: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as SFTTrainer prepares them."""
    import datasets
    import transformers
    import trl

    config = transformers.LlamaConfig(
        vocab_size=8192, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl.SFTTrainer(
            transformers.LlamaForCausalLM(config),
            trl.SFTConfig(folder, assistant_only_loss=True, max_length=None, max_steps=1, use_cpu=True, report_to=[]),
            train_dataset=datasets.IterableDataset.from_generator(lambda: iter(rows)),
            processing_class=transformers.AutoTokenizer.from_pretrained(tokenizer),
        )
        return list(trainer.train_dataset)


if __name__ == "__main__":
    sys.exit(main())
