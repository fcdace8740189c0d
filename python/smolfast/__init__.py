"""smolfast: the fast native core for pre-training small language models.

`smolfast.text` and `smolfast.dedup` need no torch. `smolfast.ops`, `smolfast.kernels`, `smolfast.model`,
`smolfast.optim` and `smolfast.train` need the `train` extra.
"""

from __future__ import annotations

from smolfast._native import unicode_version
from smolfast.errors import SmolfastError

__version__ = "0.1.0"

__all__ = ["SmolfastError", "__version__", "unicode_version"]
