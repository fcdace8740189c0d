"""transformers' own common tests of SmolLM3, Llama and Qwen3, with our attention in the place of its "sdpa".

    pip download transformers==5.23.0 --no-binary :all: --no-deps && tar xzf transformers-5.23.0.tar.gz
    python tests/check_transformers.py transformers-5.23.0 [pytest's options, such as -k compile]

The tests come from the unpacked source distribution, whose version has to be the installed one. Its two other mixins
(generation, exporters) aren't in there, so empty classes stand for them. Under the name "sdpa" our attention is what
every model gets by default and what `test_eager_matches_sdpa_inference` compares with "eager". The test of
`torch.compile` in training wants an accelerator; here it runs on a CPU too.

Beside the package: `pip install parameterized accelerate`.
"""

from __future__ import annotations

import inspect
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

KINDS = ("SmolLM3", "Llama", "Qwen3")
SHAPE = {
    "vocab_size": 99, "hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


class Tester:
    """What transformers' mixin asks of a model's tester."""

    batch_size, seq_length, is_training = 13, 7, True
    hidden_size, num_hidden_layers, num_attention_heads = 32, 2, 4

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def get_config(self) -> Any:
        import transformers

        extra = (
            {"head_dim": 8} if self.kind == "Qwen3" else {"no_rope_layers": [1, 0]} if self.kind == "SmolLM3" else {}
        )
        return getattr(transformers, f"{self.kind}Config")(**SHAPE, **extra)

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
        import torch
        from transformers.testing_utils import torch_device

        ids = torch.randint(3, SHAPE["vocab_size"], (self.batch_size, self.seq_length), device=torch_device)
        return self.get_config(), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def suite(common: Any) -> dict[str, type]:
    """A test case of transformers' mixin for each model; what its package imports by this file's name."""
    import unittest

    import transformers

    from smolfast.integrations.transformers import register

    register()
    register("sdpa")
    compiles = inspect.unwrap(common.ModelTesterMixin.test_torch_compile_for_training)

    def case(kind: str) -> type:
        heads = ("Model", "ForCausalLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
        return type(
            f"Test{kind}",
            (common.ModelTesterMixin, unittest.TestCase),
            {
                "all_model_classes": tuple(getattr(transformers, kind + head) for head in heads),
                "setUp": lambda self: setattr(self, "model_tester", Tester(kind)),
                "test_torch_compile_for_training": lambda self: compiles(self),
                "test_generation_tester_mixin_inheritance": lambda self: self.skipTest(
                    "generation's tests aren't there"
                ),
                "_torch_compile_train_cls": getattr(transformers, f"{kind}ForCausalLM"),
                "_torch_compile_train_attn_implementation": "smolfast",
            },
        )

    return {f"Test{kind}": case(kind) for kind in KINDS}


def main() -> int:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    source = Path(sys.argv[1]).resolve() / "tests" / "test_modeling_common.py"
    os.environ.update(HF_HUB_OFFLINE="1", RUN_SLOW="1")
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "their_tests")
        for name, mixin in (
            ("exporters/test_export", "ExportTesterMixin"),
            ("generation/test_utils", "GenerationTesterMixin"),
        ):
            stand_in = package / f"{name}.py"
            stand_in.parent.mkdir(parents=True)
            stand_in.parent.joinpath("__init__.py").touch()
            stand_in.write_text(f"class {mixin}: pass\n")
        package.joinpath("__init__.py").touch()
        package.joinpath("common.py").symlink_to(source)
        test = package / "test_ours.py"
        test.write_text(
            f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom check_transformers import suite\n"
            "from . import common\nglobals().update(suite(common))\n"
        )
        return pytest.main([str(test), "-q", "-rfE", "-p", "no:cacheprovider", "--rootdir", folder, *sys.argv[2:]])


if __name__ == "__main__":
    sys.exit(main())
