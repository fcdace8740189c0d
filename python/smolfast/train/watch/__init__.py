"""What there is to watch in a run: metrics, events, speed, features of the layers, the largest attention logits."""
