"""Triton kernels, one idea per file. Each file needs torch and triton only, and can be copied out on its own.

The folder ships as ``smolfast.kernels``; ``smolfast.ops`` chooses between these and the plain-torch references.
"""
