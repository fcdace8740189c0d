"""MinHash signatures of documents."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from smolfast import _native
from smolfast.errors import SmolfastError
from smolfast.strings import importable

Tokens = Literal["unicode", "whitespace", "char", "spacy"]
Scheme = Literal["fast", "classic", "datasketch", "datatrove"]

SCHEMES: tuple[str, ...] = ("fast", "classic", "datasketch", "datatrove")
TOKENS: tuple[str, ...] = ("unicode", "whitespace", "char", "spacy")

VERSION = 2
"""Rises when some scheme's signatures change, which makes stored ones useless."""

_HASHES: dict[str, dict[str, str]] = {
    "datasketch": {"sha1_hash32": "sha1", "xxh32": "xxh32"},
    "datatrove": {"xxhash64": "xxh64", "sha1": "sha1"},
}


class MinHasher:
    """Signs documents: text in, `num_perm` hash values out, whose share of equal values estimates Jaccard similarity.

    A document is the set of its n-grams of tokens. One with fewer tokens than `ngram` is one shingle of all its tokens
    (under "datatrove", as there, it has none). A document without shingles gets the greatest value everywhere, and
    no other document is its near-duplicate.

    Args:
        num_perm: hash values per signature (K).
        ngram: tokens per shingle, 1 to 64.
        tokens: "unicode" for words, "whitespace" for what `str.split()` gives, "char" for code points, "spacy" for the
            tokens of spaCy's rules for a language (`smolfast.text.words` with rules="spacy").
        scheme: "fast" is Fast Similarity Sketching (Dahlgaard, Knudsen and Thorup, FOCS 2017, arXiv 1704.04370),
            unbiased, with a lower error than classic MinHash and time independent of K for all but short documents;
            "classic" is one affine permutation per value (Broder 1997); "datasketch" gives the `hashvalues` of
            datasketch 2.0's MinHash(num_perm, seed) updated with the shingles; "datatrove" the values of datatrove's
            64-bit MinHash, with tokens="spacy" of its default tokenizer.
            The last two hash the tokens joined by one space (code points by nothing), in UTF-8.
        hash: the shingle's digest under "datasketch" ("sha1_hash32", the default, or "xxh32") and "datatrove"
            ("xxhash64", the default, or "sha1"). The other schemes have none.
        simplify: compare what `smolfast.text.simplify` makes of the text: lower case, no punctuation, numbers as 0, no
            marks on letters; FineWeb's rule.
        language: of tokens="spacy": one of `smolfast.text.spacy_languages()`, "en" by default.
        seed: 0 to 2⁶⁴ − 1 (2³² − 1 under the last two schemes). Signatures of different seeds can't be compared.

    Raises:
        SmolfastError: an option out of range.
    """

    def __init__(
        self,
        num_perm: int = 112,
        ngram: int = 5,
        tokens: Tokens = "unicode",
        scheme: Scheme = "fast",
        hash: str | None = None,
        seed: int = 1,
        *,
        simplify: bool = False,
        language: str | None = None,
    ) -> None:
        _check_choice("scheme", scheme, SCHEMES)
        _check_choice("tokens", tokens, TOKENS)
        for name, value, least, most in (("num_perm", num_perm, 1, 1 << 16), ("ngram", ngram, 1, 64)):
            if not least <= value <= most:
                raise SmolfastError(f"{name} = {value}: expected {least} to {most}")
        compatible = _HASHES.get(scheme)
        if language is not None and tokens != "spacy":
            raise SmolfastError(f"tokens = {tokens!r} know no language; leave out language, or use tokens = 'spacy'")
        most_seed = (1 << 32) - 1 if compatible else (1 << 64) - 1
        if not 0 <= seed <= most_seed:
            raise SmolfastError(f"seed = {seed}: expected 0 to {most_seed} under scheme {scheme!r}")
        if compatible is None:
            if hash is not None:
                raise SmolfastError(f"scheme {scheme!r} has a hash of its own; leave out hash = {hash!r}")
            digest = "sha1"
        else:
            hash = next(iter(compatible)) if hash is None else hash
            _check_choice(f"hash of scheme {scheme!r}", hash, tuple(compatible))
            digest = compatible[hash]
        self.num_perm = num_perm
        self.ngram = ngram
        self.tokens = tokens
        self.language = (language or "en") if tokens == "spacy" else None
        self.scheme = scheme
        self.hash = hash
        self.seed = seed
        self.simplify = simplify
        a, b = _permutations(scheme, num_perm, seed)
        self._native = _native.MinHasher(
            num_perm, ngram, tokens, self.language or "", scheme, digest, simplify, seed, a, b
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes make it anew."""
        names = ("num_perm", "ngram", "tokens", "scheme", "hash", "seed", "simplify", "language")
        return _made_again, ({name: getattr(self, name) for name in names},)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a signature's values: uint64 under "datatrove", uint32 otherwise."""
        return np.dtype(np.uint64 if self.scheme == "datatrove" else np.uint32)

    def parameters(self) -> dict[str, Any]:
        """What two sets of signatures must share to be comparable."""
        return {
            "num_perm": self.num_perm,
            "ngram": self.ngram,
            "tokens": self.tokens,
            "scheme": self.scheme,
            "hash": self.hash,
            "seed": self.seed,
            "simplify": self.simplify,
            "version": VERSION,
            **({} if self.language is None else {"language": self.language}),
        }

    def signatures(self, strings: object, *, threads: int = 0) -> npt.NDArray[Any]:
        """Sign documents.

        Args:
            strings: N rows, in any form that `smolfast.text` takes: an Arrow string column (anything with
                `__arrow_c_stream__` or `__arrow_c_array__`), a list of str, …. A null signs as the empty text.
            threads: 0 for every CPU this process may use; the result does not depend on it.

        Returns:
            [N, num_perm] of `dtype`.

        Raises:
            SmolfastError: not a string column, a lone surrogate (names the index), or a document over 4 GiB.
        """
        return self._native.sign(importable(strings), threads)

    def shingles(self, strings: object, *, threads: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
        """The shingle sets that the signatures sketch.

        Returns:
            offsets [N + 1] and values: document i's shingle hashes are values[offsets[i]:offsets[i + 1]], sorted, each
            once. Their Jaccard similarity is what signatures estimate.
        """
        return self._native.shingles(importable(strings), threads)


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SmolfastError(f"{name} = {value!r}: choose one of {', '.join(allowed)}")


def _permutations(scheme: str, size: int, seed: int) -> tuple[list[int], list[int]]:
    """The parameters a and b that datasketch 2.0 and datatrove 0.10 draw for a seed."""
    a: npt.NDArray[Any]
    b: npt.NDArray[Any]
    generator = np.random.RandomState(seed if scheme in _HASHES else 0)
    if scheme == "datasketch":
        # MinHash._init_permutations under affine32: an odd 32-bit multiplier and any 32-bit summand.
        a = generator.randint(0, 1 << 31, size, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
        b = generator.randint(0, 1 << 32, size, dtype=np.uint32)
    elif scheme == "datatrove":
        # MinhashDedupSignature.parameters.
        prime = np.uint64((1 << 61) - 1)
        a = generator.randint(1, prime, dtype=np.uint64, size=size)
        b = generator.randint(0, prime, dtype=np.uint64, size=size)
    else:
        return [], []
    return a.tolist(), b.tolist()


def _made_again(options: dict[str, Any]) -> MinHasher:
    return MinHasher(**options)
