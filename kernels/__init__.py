"""Triton kernels, one idea per file. Each file needs torch and triton only, and can be copied out on its own
(with those whose names continue its own: ``gqa_attention.py`` and ``gqa_attention_kernels.py`` go together).

The folder ships as ``smolfast.kernels``; ``smolfast.ops`` chooses between these and the plain-torch references.
"""
