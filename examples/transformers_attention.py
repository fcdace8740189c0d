"""transformers with attn_implementation="smolfast": the logits and gradients of "sdpa", on a padded batch."""

import torch
from transformers import SmolLM3Config, SmolLM3ForCausalLM

from smolfast.integrations.transformers import register

register()


def run(attention: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    config = SmolLM3Config(
        vocab_size=256, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation=attention, pad_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    model = SmolLM3ForCausalLM(config)
    ids = torch.randint(1, 256, (2, 40))
    mask = torch.ones_like(ids)
    mask[0, :9] = 0  # padding on the left
    output = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100))
    output.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"logits": output.logits[mask.bool()].detach(), **gradients}


def main() -> dict[str, float]:
    theirs, ours = run("sdpa"), run("smolfast")
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-5, msg=name)
    return {
        "largest logit": theirs["logits"].abs().max().item(),
        "largest difference of a logit": (ours["logits"] - theirs["logits"]).abs().max().item(),
        "largest difference of a gradient": max((ours[n] - g).abs().max().item() for n, g in theirs.items()),
    }


if __name__ == "__main__":
    for name, figure in main().items():
        print(f"{name}: {figure:.3g}")
