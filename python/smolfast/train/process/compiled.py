"""`torch.compile` of a model's layers, for the training step alone.

One graph serves all layers of a kind (with and without rotary embedding), so a deep model compiles no longer than a
shallow one. What looks into layers as they run (evaluation's few batches aside, the feature monitor and the search for
the first NaN) runs them as they are: a compiled layer calls no hooks.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from smolfast.model.network import DecoderLayer, SmolLM

# Kinds of layers, times steps and evaluation, times shapes that torch first takes as fixed. Above its limit of eight
# torch ends the run.
GRAPHS_OF_A_RUN = 64


class CompiledLayers:
    """The layers of a model, compiled if wanted.

    On a CPU "auto" leaves them alone: fused norms and activations save 8 % of the layers' time (hidden size 128, one
    AVX-512 core: 0.39 s for 0.43 s of 4,160 tokens, forward and backward) and compiling costs 13 CPU seconds, which a
    run of minutes doesn't earn back. On an accelerator the pieces between products cost far more.
    """

    def __init__(self, model: SmolLM, wanted: Literal["auto"] | bool, device: torch.device) -> None:
        self.on = device.type != "cpu" if wanted == "auto" else wanted
        if self.on:
            # Graphs are counted by code, not by model: a process's second run would meet the count of the first.
            torch._dynamo.reset()
            torch._dynamo.config.recompile_limit = max(GRAPHS_OF_A_RUN, torch._dynamo.config.recompile_limit)
            for module in model.modules():
                if isinstance(module, DecoderLayer):
                    module.compile(fullgraph=True)

    def eager(self) -> AbstractContextManager[object]:
        """A block in which every thread runs the layers as they are; enter it in the main thread."""
        return torch.compiler.set_stance("force_eager") if self.on else nullcontext()
