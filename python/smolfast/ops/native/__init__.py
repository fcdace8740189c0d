"""Where a CPU's tensors go to C++: which it can read, and the attention and losses that it computes."""
