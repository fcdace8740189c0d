"""Functions of the user's, by names under which a worker process finds them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from smolfast.errors import SmolfastError

_SCRIPT = "__smolfast_script__"


def is_name(name: str) -> bool:
    """Whether it has the form MODULE:FUNCTION."""
    return ":" in name and all(name.rsplit(":", 1))


def function_name(function: Callable[..., Any], option: str) -> str:
    """MODULE:FUNCTION, or FILE.py:FUNCTION where it stands in the script that is run.

    Raises:
        SmolfastError: a function that another process can't find by a name.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module == "__main__":
        module = getattr(sys.modules["__main__"], "__file__", None)
    if not module or not name.isidentifier():
        raise SmolfastError(
            f"{option} = {function!r}: workers are processes of their own and find a function by its name; define it "
            "with def at the top of a module or script"
        )
    return f"{module}:{name}"


def load_function(name: str, option: str, what: str) -> Callable[..., Any]:
    """The function of a name; `what` says what one should do.

    Raises:
        SmolfastError: a module or function that isn't there.
    """
    place, _, function = name.rpartition(":")
    try:
        found: Any = getattr(_module(place), function)
    except (ImportError, AttributeError, OSError) as error:
        raise SmolfastError(f"{option} = {name!r}: {' '.join(str(error).split())}; correct the name") from error
    if not callable(found):
        raise SmolfastError(f"{option} = {name!r}: {function} is no function; name one that {what}")
    return found  # type: ignore[no-any-return]


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location(_SCRIPT, Path(place))
    if spec is None or spec.loader is None:
        raise ImportError(f"can't load {place}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_SCRIPT] = module
    spec.loader.exec_module(module)
    return module
