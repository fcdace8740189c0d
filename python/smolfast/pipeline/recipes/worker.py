"""A process that does stages of a recipe: it reads which on standard input, and says what came of them."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn


def main() -> None:
    """Serve until standard input ends; with it ends all that was started here."""
    sink = os.fdopen(os.dup(1), "w")
    source = os.fdopen(os.dup(0), "r")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, _end)
    first = source.readline()
    if not first:  # who asked is gone already
        return
    setup = json.loads(first)
    sys.path[:] = setup["path"]
    tasks: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_listen, args=(source, tasks), daemon=True).start()

    def say(said: Any) -> None:
        print(json.dumps(said), file=sink, flush=True)

    code: Any = 1
    try:
        _serve(setup, tasks, say)
    except SystemExit as end:
        code = end.code
    except BrokenPipeError:
        pass
    finally:
        # Without the interpreter's own end, which would wait for the thread that listens.
        os._exit(code if isinstance(code, int) else 1)


def _listen(source: Any, tasks: queue.Queue[str | None]) -> None:
    for line in source:
        tasks.put(line)
    # Who asked is gone, killed perhaps: a stage must not write on while another run begins.
    os.killpg(0, signal.SIGKILL)


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _serve(setup: dict[str, Any], tasks: queue.Queue[str | None], say: Any) -> None:
    from smolfast.errors import SmolfastError
    from smolfast.files import finite
    from smolfast.pipeline.recipes.flow import Flow
    from smolfast.pipeline.stages import Runner
    from smolfast.progress import Console

    flow = Flow.of_setup(setup)
    terminal = os.dup(2)
    while (line := tasks.get()) is not None:
        task = json.loads(line)
        node = flow.graph.nodes[task["stage"]]
        log = Path(task["log"])
        known = {Path(path): found for path, found in task["known"].items()}
        runner = Runner(flow.manifests, Console(quiet=True), own_folder=True, notes={"by": setup["said"]}, known=known)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        os.close(descriptor)
        try:
            summary = runner.run(flow.stage(node), lambda done, total, note: say({"progress": [done, total, note]}))
            said = {"summary": finite(summary)}
        except SmolfastError as error:
            said = {"error": str(error), "kind": type(error).__name__}
        except Exception as error:
            traceback.print_exc()
            said = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}", "kind": ""}
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for stream in (1, 2):
                os.dup2(terminal, stream)
        if log.stat().st_size == 0:
            log.unlink()
        say(said)


if __name__ == "__main__":
    main()
