"""What docs/integrations/trainer.md takes for granted: `rows`."""

import torch

rows = [{"input_ids": torch.arange(1, 13), "labels": torch.arange(1, 13)} for _ in range(8)]
