"""An engine that does all pieces in this process, but lets nothing pass that isn't pickled, as between machines.

Ray pickles what it sends. Here that finds what can't be sent, without Ray. Only what this process made is read back.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from smolfast.processes.pool import Pool

Item = TypeVar("Item")
Result = TypeVar("Result")


class PicklingEngine:
    """Counts pieces by the name of what does them, and bytes of what each gives."""

    spread = True

    def __init__(self, places: int = 3) -> None:
        self.places = places
        self.pieces: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def stream(
        self, work: Callable[[Item], Iterable[Result]], items: Iterable[Item], *, lost: Any = None
    ) -> Iterator[Result]:
        for item in items:
            yield from self.get(self._do(lambda one, work=work: list(work(one)), work, item))

    def ordered(self, work: Callable[..., Result], items: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
        for arguments in items:
            yield self.get(self.submit(work, *arguments))

    def submit(self, work: Callable[..., Any], *arguments: Any, parts: int | None = None) -> Any:
        given = [self.get(one) if isinstance(one, _Stored) else one for one in arguments]
        found = self._do(work, work, *given)
        return found if parts is None else [_Stored(pickle.dumps(one)) for one in self.get(found)]

    def put(self, value: Any) -> Any:
        return _Stored(pickle.dumps(value))

    def get(self, result: Any) -> Any:
        if isinstance(result, list):
            return [self.get(one) for one in result]
        return pickle.loads(result.content)

    def pool(self, count: int, job: Any) -> Pool[Any, Any]:
        return Pool(self.places, pickle.loads(pickle.dumps(job)))

    def _do(self, call: Callable[..., Any], work: Any, *arguments: Any) -> Any:
        name = str(getattr(work, "__name__", None) or getattr(getattr(work, "func", None), "__name__", "?"))
        pickle.dumps(work)
        found = pickle.dumps(call(*pickle.loads(pickle.dumps(arguments))))
        self.pieces[name] += 1
        self.bytes[name] += len(found)
        return _Stored(found)


class _Stored:
    def __init__(self, content: bytes) -> None:
        self.content = content
