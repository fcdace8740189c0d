"""Run the test suite against a native module built with sanitizers, in an environment of its own under build/.

    python tests/sanitize.py address,undefined [pytest options]
    python tests/sanitize.py thread [pytest options]

With no pytest options the tests of the native code run. Needs gcc or clang with the sanitizers' shared libraries, and
the packages for an editable build (see CONTRIBUTING.md); every other package is taken from the present environment.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = {
    "address,undefined": [
        "text/test_*.py",
        "classify/test_*.py",
        "dedup/test_*.py",
        "io/test_documents.py",
        "ops/native/test_*.py",
        "ops/test_rms_norm.py",
        "ops/test_swiglu.py",
    ],
    "thread": ["text/test_*.py", "classify/test_*.py", "dedup/test_*.py"],
}
# Python frees little at exit, so that leaks are not to be told from that; every other report ends the run. The search
# for deadlocks gives up where pyarrow's allocator takes all of its locks at once, before a fork.
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:report_signal_unsafe=0:detect_deadlocks=0:"
    f"suppressions={ROOT / 'tests' / 'thread_suppressions.txt'}",
}


def runtime(compiler: str, library: str) -> str:
    found = subprocess.run(
        [compiler, f"-print-file-name={library}.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        sys.exit(f"{compiler} has no {library}.so; install the sanitizers' libraries for it")
    return str(Path(found).resolve())


def build(sanitizers: str) -> Path:
    """An environment with the sanitized module and, by reference, all packages of the present one; its Python."""
    name = sanitizers.replace(",", "-")
    environment = ROOT / "build" / f"sanitize-{name}"
    if not environment.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        inside = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
        # polars dies when it's imported under ThreadSanitizer.
        hidden = "import sys; sys.modules['polars'] = None\n" if sanitizers == "thread" else ""
        (inside / "present.pth").write_text(sysconfig.get_path("purelib") + "\n" + hidden)
    python = environment / "bin" / "python"
    options = {
        "build-dir": f"build/sanitize-{name}-objects",
        "cmake.build-type": "RelWithDebInfo",
        "cmake.define.SMOLFAST_SANITIZE": sanitizers,
    }
    settings = [part for key, value in options.items() for part in ("-C", f"{key}={value}")]
    install = ["install", "--quiet", "--no-build-isolation", "--no-deps", "--force-reinstall"]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install, *settings, ROOT], check=True)
    return python


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in TESTS:
        sys.exit(f"usage: python tests/sanitize.py {'|'.join(TESTS)} [pytest options]")
    sanitizers, options = sys.argv[1], sys.argv[2:]
    python = build(sanitizers)
    compiler = os.environ.get("CXX", "g++")
    # The C++ library too: the sanitizers look for its throw when the program starts, and Python doesn't link it.
    libraries = ["libtsan" if sanitizers == "thread" else "libasan", "libstdc++"]
    environment = {**OPTIONS, **os.environ, "LD_PRELOAD": " ".join(runtime(compiler, name) for name in libraries)}
    command = [str(python), "-P", "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", "--slow"]
    if not options:
        options = [str(path) for pattern in TESTS[sanitizers] for path in sorted((ROOT / "tests").glob(pattern))]
    if sanitizers == "thread" and (setarch := shutil.which("setarch")):
        # Its shadow memory has fixed places, which address randomisation may hit.
        command = [setarch, platform.machine(), "-R", *command]
    return subprocess.run([*command, *options], cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
