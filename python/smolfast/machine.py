"""The machine and the packages that a result was made with, how to get more of them, and what known GPUs can do."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolfast import __version__

# What only some functions need is loaded there: `smolfast --help` needs nothing of it.

_PACKAGES = (
    *("smolfast", "torch", "triton", "numpy", "pyarrow"),
    *("tokenizers", "safetensors", "pydantic", "xxhash"),
)


def versions() -> dict[str, str]:
    """Versions of Python, the system and every package that decides the result."""
    import platform
    from importlib import metadata

    from smolfast import _native

    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    found["smolfast"] = __version__
    found["unicode"] = _native.unicode_version
    return found


def commit() -> str | None:
    """The commit of the checkout that smolfast runs from, with a + where files differ from it; None elsewhere."""
    import subprocess

    folder = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()

    try:
        # An installed copy may lie inside somebody else's repository.
        if not git("ls-files", "--error-unmatch", Path(__file__).name):
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no", ".") else "")
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None


def hardware() -> dict[str, Any]:
    """The CPU's model, the CPUs this process may use, memory in bytes, and the instruction set in use."""
    import platform

    from smolfast import _native

    model = platform.processor() or platform.machine()
    memory = 0
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with contextlib.suppress(OSError, ValueError, AttributeError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "threads": _native.available_threads(),
        "memory_bytes": memory,
        "implementation": _native.implementation(),
    }


def install_command(extra: str) -> str:
    """The shell's command that adds an extra to this installation, from where it came from.

    pip writes down where that was: a clone, a wheel, an address (PEP 610). smolfast is on no index, so its bare name is
    never the answer.
    """
    from importlib import metadata
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    clone = Path(__file__).parents[2]
    try:
        written = metadata.distribution("smolfast").read_text("direct_url.json")
    except metadata.PackageNotFoundError:  # run from its sources
        written = json.dumps({"url": clone.as_uri()}) if (clone / "pyproject.toml").is_file() else None
    origin: dict[str, Any] = json.loads(written or "{}")
    url = str(origin.get("url", ""))
    if url.startswith("file:"):
        path = Path(url2pathname(urlsplit(url).path))
        if path.exists():
            pins = path / "constraints.txt"
            options = ["-c", str(pins)] if pins.is_file() else []
            editable = ["-e"] if origin.get("dir_info", {}).get("editable") else []
            return shlex.join(["pip", "install", *options, *editable, f"{path}[{extra}]"])
    elif url:
        vcs = origin.get("vcs_info", {})
        address = f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else url
        return shlex.join(["pip", "install", f"smolfast[{extra}] @ {address}"])
    return f"pip install '.[{extra}]' (in a clone of smolfast's repository)"


@dataclass(frozen=True)
class Gpu:
    """Peak dense bf16 operations a second without sparsity, and bytes of memory, from the vendors' data sheets."""

    peak: float
    memory: int


GPUS = {
    "a100": Gpu(312e12, 80 * 10**9),
    "h100": Gpu(989.4e12, 80 * 10**9),
    "h200": Gpu(989.4e12, 141 * 10**9),
    "b200": Gpu(2250e12, 180 * 10**9),
    "mi300x": Gpu(1307.4e12, 192 * 10**9),
}
