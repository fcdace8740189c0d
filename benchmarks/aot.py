"""Compile every Triton kernel to machine code for four devices, with no GPU, and print what came out.

    python benchmarks/aot.py                    # the whole table
    python benchmarks/aot.py --check            # also compare with tests/golden/aot.txt; a difference exits 1 as a diff
    python benchmarks/aot.py --update           # rewrite the golden file's rows (with --match, those that match)
    python benchmarks/aot.py --target sm_90 --match 'gqa_attention/forward'

A kernel file takes part by defining ``aot_launches()``: pairs of a label and a function without arguments that runs the
file's host code on ``torch.device("meta")`` tensors, and ``device_family(device)``, which the host code asks for the
block shapes to use. Launches are recorded instead of run, so what is compiled is what a device would be handed.

Spilling, a missing matrix instruction or more shared memory than the device has exits 1 whatever the golden file says.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import pkgutil
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

import smolfast.kernels

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "aot.txt"
HEADER = (
    f"{'device':8} {'kernel':56} {'warps':>5} {'stages':>6} {'registers':>9} {'spilled':>7} {'shared':>7} "
    f"{'loads':>5}  matrix instructions"
)


@dataclass(frozen=True)
class Device:
    target: GPUTarget
    shared_limit: int
    """Bytes of shared memory (LDS) one program can have."""
    matrix: str
    """What its matrix instructions are called in its assembly."""
    loads: str


DEVICES = {
    # 99 KiB, not the A100's 163: the same blocks serve sm_86, sm_89 and sm_120.
    "sm_80": Device(GPUTarget("cuda", 80, 32), 101_376, r"\bHMMA\b", r"\b(LDG|LDGSTS)\b"),
    "sm_90": Device(GPUTarget("cuda", 90, 32), 232_448, r"\bHG?MMA\b", r"\b(LDG|LDGSTS|UTMALDG)\b"),
    "sm_100": Device(GPUTarget("cuda", 100, 32), 232_448, r"\bUTC\w*MMA\b|\bHMMA\b", r"\b(LDG|LDGSTS|UTMALDG)\b"),
    "gfx942": Device(GPUTarget("hip", "gfx942", 64), 65_536, r"\bv_mfma", r"\b(buffer|global)_load_\w+"),
}


@dataclass(frozen=True)
class Launch:
    """One recorded ``kernel[grid](...)``."""

    label: str
    kernel: JITFunction[Any]
    arguments: dict[str, Any]
    options: dict[str, int]


@dataclass(frozen=True)
class Figures:
    registers: int
    spilled: int
    shared: int
    matrix: dict[str, int]
    """Matrix instructions by name."""
    loads: int


def record(device: str, match: str = "") -> Iterator[Launch]:
    """Every launch that the kernel files make for a device; of those that compile alike, the first."""
    seen: set[str] = set()
    for module in kernel_modules():
        own_family = module.device_family
        module.device_family = lambda _device: device  # type: ignore[attr-defined]
        try:
            for label, launch in module.aot_launches():
                name = f"{module.__name__.rsplit('.', 1)[-1]}/{label}"
                for recorded in _recorded(name, launch):
                    compiled = repr((recorded.kernel.__name__, specialise(recorded, DEVICES[device].target).hash()))
                    compiled += repr(recorded.options)
                    if compiled not in seen and re.search(match, recorded.label):
                        yield recorded
                    seen.add(compiled)
        finally:
            module.device_family = own_family  # type: ignore[attr-defined]


def kernel_modules() -> list[ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(smolfast.kernels.__path__))
    modules = [importlib.import_module(f"smolfast.kernels.{name}") for name in names]
    return [module for module in modules if hasattr(module, "aot_launches")]


def _recorded(label: str, launch: Callable[[], object]) -> list[Launch]:
    recorded: dict[str, Launch] = {}
    own_run = JITFunction.run

    def run(self: JITFunction[Any], *values: Any, grid: Any, warmup: bool, **keywords: Any) -> None:
        names = [parameter.name for parameter in self.params]
        arguments = dict(zip(names, values, strict=False))
        options = {name: value for name, value in keywords.items() if name not in names}
        arguments |= {name: value for name, value in keywords.items() if name in names}
        kernel = self.__name__.removesuffix("_kernel").strip("_")
        recorded.setdefault(kernel, Launch(f"{label} {kernel}", self, arguments, options))

    JITFunction.run = run  # type: ignore[method-assign, assignment]
    try:
        launch()
    finally:
        JITFunction.run = own_run  # type: ignore[method-assign]
    return list(recorded.values())


_TYPES = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.bool: "i1",
    torch.uint8: "u8",
}


def specialise(launch: Launch, target: GPUTarget) -> ASTSource:
    """The source as Triton's launcher would specialise it: 1 and None are constants, multiples of 16 are marked."""
    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}
    for index, parameter in enumerate(launch.kernel.params):
        value = launch.arguments.get(parameter.name, parameter.default)
        if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1):
            signature[parameter.name] = "constexpr"
            constants[parameter.name] = value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = "*" + _TYPES[value.dtype]
            attributes[(index,)] = [["tt.divisibility", 16]]
            if target.backend == "hip":  # tensors below 2 GiB, which may use buffer loads
                attributes[(index,)].append(["tt.pointer_range", 32])
        elif isinstance(value, float):
            signature[parameter.name] = "fp32"
        else:
            signature[parameter.name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            if value % 16 == 0:
                attributes[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(launch.kernel, signature, constants, attributes)


def measure(launch: Launch, device: Device) -> Figures:
    """Compile one launch and read the machine code."""
    compiled = triton.compile(specialise(launch, device.target), target=device.target, options=launch.options)
    if device.target.backend == "hip":
        assembly = compiled.asm["amdgcn"]
        registers = _figure(assembly, r"\.vgpr_count:\s+(\d+)")  # on gfx942 this holds the accumulation registers too
        spilled = 4 * _figure(assembly, r"\.vgpr_spill_count:\s+(\d+)")
    else:
        with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
            cubin.write(compiled.asm["cubin"])
            cubin.flush()
            usage = _cuobjdump("--dump-resource-usage", cubin.name)
            assembly = _cuobjdump("--dump-sass", cubin.name)
        registers = _figure(usage, r"REG:(\d+)")
        spilled = _figure(usage, r"STACK:(\d+)") + _figure(usage, r"LOCAL:(\d+)")
    return Figures(
        registers,
        spilled,
        compiled.metadata.shared,
        dict(sorted(Counter(re.findall(device.matrix, assembly)).items())),
        len(re.findall(device.loads, assembly)),
    )


def _figure(text: str, pattern: str) -> int:
    return max(int(value) for value in re.findall(pattern, text))


def _cuobjdump(*arguments: str) -> str:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    return subprocess.run([str(tool), *arguments], check=True, capture_output=True, text=True).stdout


def row(name: str, launch: Launch, figures: Figures) -> str:
    matrix = " + ".join(f"{count} {kind}" for kind, count in figures.matrix.items()) or "none"
    return (
        f"{name:8} {launch.label:56} {launch.options.get('num_warps', 4):5} {launch.options.get('num_stages', 3):6} "
        f"{figures.registers:9} {figures.spilled:7} {figures.shared:7} {figures.loads:5}  {matrix}"
    )


def faults(name: str, launch: Launch, figures: Figures) -> Iterator[str]:
    """What no default configuration may do."""
    where = f"{name} {launch.label}"
    if figures.spilled:
        yield f"{where}: spills {figures.spilled} bytes a thread"
    if figures.shared > DEVICES[name].shared_limit:
        yield f"{where}: needs {figures.shared} bytes of shared memory, the device has {DEVICES[name].shared_limit}"
    if "float32" not in launch.label and not figures.matrix and "tl.dot" in _source_of(launch.kernel):
        yield f"{where}: no matrix instruction ({DEVICES[name].matrix})"


def _source_of(kernel: JITFunction[Any]) -> str:
    """Its source, with `_dot` helpers counted as the dot they hold."""
    return re.sub(r"\b_dot\(", "tl.dot(", kernel.src)


def table(devices: Iterable[str], match: str = "") -> tuple[list[str], list[str]]:
    """Rows and faults; rows are printed as they come."""
    rows, wrong = [HEADER], []
    print(HEADER)
    for name in devices:
        for launch in record(name, match):
            figures = measure(launch, DEVICES[name])
            rows.append(row(name, launch, figures))
            wrong += faults(name, launch, figures)
            print(rows[-1], flush=True)
    return rows, wrong


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", choices=list(DEVICES), help="only this device (repeatable)")
    parser.add_argument("--match", default="", help="only kernels whose label matches this regular expression")
    parser.add_argument("--check", action="store_true", help="compare with the golden file")
    parser.add_argument("--update", action="store_true", help="rewrite the golden file")
    options = parser.parse_args(arguments)
    rows, wrong = table(options.target or DEVICES, options.match)
    text = [f"triton {triton.__version__}", *rows]
    if options.update:
        GOLDEN.write_text("\n".join([*text[:2], *_merged(rows[1:], options)]) + "\n")
    if options.check:
        golden = GOLDEN.read_text().splitlines()
        if golden[0] != text[0]:
            print(f"the golden file is of {golden[0]}, this is {text[0]}: rows aren't compared", file=sys.stderr)
        else:
            kept = [line for line in golden if line in (golden[0], HEADER) or _wanted(line, options)]
            wrong += difflib.unified_diff(kept, text, "golden", "now", lineterm="", n=0)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def _merged(rows: list[str], options: argparse.Namespace) -> list[str]:
    """The golden file's rows with those of this run in place of the ones asked for, in the order of a whole run."""
    old = GOLDEN.read_text().splitlines()[2:] if GOLDEN.exists() else []
    kept = {line[:65].rstrip(): line for line in [*(x for x in old if not _wanted(x, options)), *rows]}
    order = [f"{device:8} {launch.label}" for device in DEVICES for launch in record(device)]
    return [kept[name] for name in order if name in kept]


def _wanted(line: str, options: argparse.Namespace) -> bool:
    name, label = line.split(" ", 1)[0], line[9:65].rstrip()
    return name in (options.target or DEVICES) and re.search(options.match, label) is not None


if __name__ == "__main__":
    sys.exit(main())
