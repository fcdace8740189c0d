"""Names that docs/integrations/patch.md takes for granted: a SmolLM3, a Qwen3, and 2 × 12 tokens."""

import torch
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

model = AutoModelForCausalLM.from_pretrained("export")
sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64, "head_dim": 8}
qwen = Qwen3ForCausalLM(Qwen3Config(**sizes, num_attention_heads=4, num_key_value_heads=2))
ids = torch.randint(64, (2, 12))
