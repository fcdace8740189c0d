"""Signatures against independent references written in plain Python and numpy."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from smolfast import SmolfastError, _native
from smolfast.dedup import MinHasher
from smolfast.text import words as find_words

MASK = (1 << 64) - 1
WORDS = "the of and Straße naïve 東京 данные код x1 snake_case 12345 مرحبا internationalization seventeen-letters"


@pytest.fixture(params=_native.implementations())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _native.implementation()
    _native.force_implementation(request.param)
    yield request.param
    _native.force_implementation(before)


def documents(count: int, seed: int = 0, longest: int = 400) -> list[str]:
    """Texts of mixed scripts and spaces, from empty to `longest` words."""
    generator = random.Random(seed)
    vocabulary = WORDS.split() + [f"w{i}" for i in range(200)]
    spaces = [" ", " ", " ", "\n", "\t", "  ", "\u00a0", "\u3000", "\u2003", "\x1f"]
    texts = []
    for _ in range(count):
        words = generator.choices(vocabulary, k=generator.randrange(longest + 1))
        texts.append("".join(word + generator.choice(spaces) for word in words))
    return texts


def ngrams(tokens: list[str], n: int, joint: str = " ", *, short: bool = True) -> list[bytes]:
    if len(tokens) < n:
        return [joint.join(tokens).encode()] if tokens and short else []
    return [joint.join(tokens[i : i + n]).encode() for i in range(len(tokens) - n + 1)]


# -- the digests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [*range(70), 119, 120, 127, 128, 1000])
def test_digests_match_the_published_ones(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert _native.digest("sha1", data) == int.from_bytes(hashlib.sha1(data).digest()[:8], "little")
    assert _native.digest("xxh32", data) == xxhash.xxh32_intdigest(data)
    assert _native.digest("xxh64", data) == xxhash.xxh64_intdigest(data)


# -- tokens ------------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.text(alphabet=st.sampled_from(list("ab \t\x1c\x85\xa0\u1680\u2000\u2028\u202f\u3000é東😀")), max_size=150)
    )
)
def test_whitespace_tokens_are_those_of_str_split(texts: list[str]) -> None:
    hasher = MinHasher(4, 1, tokens="whitespace", scheme="datatrove")
    offsets, values = hasher.shingles(texts)
    for index, text in enumerate(texts):
        expected = sorted({xxhash.xxh64_intdigest(token.encode()) for token in text.split()})
        assert values[offsets[index] : offsets[index + 1]].tolist() == expected


def test_every_space_splits_at_every_place(isa: str) -> None:
    spaces = [chr(code) for code in range(0x3001) if chr(code).isspace()]
    lookalikes = ["\x08", "\x1b", "!", "\x86", "\xa1", "\u1681", "\u167f", "\u200b", "\u2027", "\u205e", "\u3001", "あ"]
    texts = ["x" * before + mark + "y" * (130 - before) for mark in spaces + lookalikes for before in range(56, 131)]
    texts += [mark * count for mark in ["a", " ", "\u3000", "a ", "é\xa0"] for count in (0, 1, 63, 64, 65, 5000)]
    offsets, values = MinHasher(4, 1, tokens="whitespace", scheme="datatrove").shingles(texts)
    for index, text in enumerate(texts):
        expected = sorted({xxhash.xxh64_intdigest(token.encode()) for token in text.split()})
        assert values[offsets[index] : offsets[index + 1]].tolist() == expected, ascii(text[50:])


@given(st.text(alphabet=st.sampled_from(list("ab1 _.,:'\"é東ア\u0308😀")), max_size=300))
def test_unicode_tokens_are_the_words_of_the_text_core(string: str) -> None:
    data = string.encode()
    words = [data[begin:end] for begin, end in find_words([string])[0].as_py()]
    _, values = MinHasher(4, 1, scheme="datatrove").shingles([string])
    assert values.tolist() == sorted({xxhash.xxh64_intdigest(word) for word in words})


@given(st.text(max_size=200), st.integers(1, 6))
def test_char_tokens_are_code_points(string: str, n: int) -> None:
    hasher = MinHasher(4, n, tokens="char", scheme="datatrove")
    _, values = hasher.shingles([string])
    assert values.tolist() == sorted(
        {xxhash.xxh64_intdigest(gram) for gram in ngrams(list(string), n, "", short=False)}
    )


# -- schemes made to agree with others ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hash_name", ["sha1_hash32", "xxh32"])
def test_datasketch_gives_the_same_hashvalues(isa: str, hash_name: str) -> None:
    datasketch = pytest.importorskip("datasketch")
    if not hasattr(datasketch.MinHash(), "scheme"):
        pytest.skip("datasketch before 2.0 has another permutation scheme")
    texts = [text for text in documents(60) if text.split()]
    function = datasketch.hashfunc.sha1_hash32 if hash_name == "sha1_hash32" else xxhash.xxh32_intdigest
    ours = MinHasher(100, 3, tokens="whitespace", scheme="datasketch", hash=hash_name, seed=7).signatures(texts)
    for text, signature in zip(texts, ours, strict=True):
        theirs = datasketch.MinHash(num_perm=100, seed=7, hashfunc=function)
        theirs.update_batch(ngrams(text.split(), 3))
        assert np.array_equal(theirs.hashvalues, signature)
    assert ours.dtype == np.uint32


@pytest.mark.parametrize("hash_name", ["xxhash64", "sha1"])
def test_datatrove_gives_the_same_signatures(isa: str, hash_name: str) -> None:
    # MinhashDedupSignature.get_signature: numpy's uint64 product and sum wrap before the modulus.
    prime = np.uint64((1 << 61) - 1)
    generator = np.random.RandomState(1)
    a = generator.randint(1, prime, dtype=np.uint64, size=(1, 112))
    b = generator.randint(0, prime, dtype=np.uint64, size=(1, 112))
    texts = documents(60)
    ours = MinHasher(tokens="whitespace", scheme="datatrove", hash=hash_name).signatures(texts)
    for text, signature in zip(texts, ours, strict=True):
        grams = ngrams(text.split(), 5, short=False)
        if not grams:
            assert (signature == MASK).all()
            continue
        if hash_name == "sha1":
            hashes = [int.from_bytes(hashlib.sha1(gram).digest()[:8], "little") for gram in grams]
        else:
            hashes = [xxhash.xxh64_intdigest(gram) for gram in grams]
        shingles = np.array(hashes, np.uint64).reshape(-1, 1)
        assert np.array_equal(((shingles * a + b) % prime).min(axis=0), signature)


# -- native schemes ----------------------------------------------------------------------------------------------------


def fold(a: int, b: int) -> int:
    product = a * b
    return (product & MASK) ^ (product >> 64)


def mix(h: int) -> int:
    for first, second, then in ((0x9E3779B1, 0x85EBCA77, 0x27D4EB2F165667C5), (0xC2B2AE3D, 0xD35A2D97, 0)):
        p, q = (h & 0xFFFFFFFF) * first, (h >> 32) * second
        h = p ^ (q << 32 & MASK | q >> 32) ^ then
    return h


def splitmix64(state: int) -> Iterator[int]:
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        yield z ^ z >> 31


def fast_sketch(shingles: list[int], size: int, seed: int = 1) -> list[int]:
    """Algorithm 1 of arXiv 1704.04370 with one random round, then a permutation for each bucket still empty."""
    parameters = splitmix64(seed ^ 0x636C6173736963)
    factors = [(next(parameters) & 0xFFFFFFFF, next(parameters))[0] for _ in range(size)]
    buckets = [0xFFFFFFFF] * size
    for h in shingles:
        place = (h >> 32) * size >> 32
        buckets[place] = min(buckets[place], h & 0xFFFFFFFF)

    def permuted(h: int, bucket: int) -> int:
        half = h >> 32 if bucket % 2 else h & 0xFFFFFFFF
        upper, lower = factors[bucket] >> 16 | 1, factors[bucket] & 0xFFFF | 1
        return (upper * (half >> 16) & 0xFFFF) << 16 | lower * (half & 0xFFFF) & 0xFFFF

    return [
        min((permuted(h, k) for h in shingles), default=bucket) if bucket == 0xFFFFFFFF else bucket
        for k, bucket in enumerate(buckets)
    ]


@pytest.mark.parametrize("size", [1, 7, 16, 33, 64, 112, 300])
def test_fast_is_fast_similarity_sketching(isa: str, size: int) -> None:
    texts = [*documents(25, longest=60), "", "one", "a b c d", "x " * 30, " ".join(documents(40))]
    hasher = MinHasher(size)
    offsets, values = hasher.shingles(texts)
    signatures = hasher.signatures(texts)
    for index in range(len(texts)):
        shingles = values[offsets[index] : offsets[index + 1]].tolist()
        assert signatures[index].tolist() == fast_sketch(shingles, size)


def test_long_repetitive_documents_take_every_bucket() -> None:
    # Two distinct shingles, 40,000 times: the buffer of shingles is thinned out on the way.
    text = "a b " * 40_000
    signature = MinHasher(112, 2, tokens="whitespace").signatures([text, "a b a"])
    assert np.array_equal(signature[0], signature[1])
    assert len(np.unique(signature[0])) > 50


def test_mixing_spreads_every_input_bit() -> None:
    generator = random.Random(1)
    flips = np.zeros((64, 64))
    for _ in range(300):
        h = generator.getrandbits(64)
        base = mix(h)
        for bit in range(64):
            changed = base ^ mix(h ^ 1 << bit)
            flips[bit] += [changed >> i & 1 for i in range(64)]
    assert abs(flips.mean() / 300 - 0.5) < 0.01
    assert (flips.sum(axis=1) / 300).min() > 28


@pytest.mark.parametrize("scheme", ["fast", "classic"])
def test_estimates_are_unbiased_and_as_exact_as_claimed(scheme: str) -> None:
    generator = random.Random(2)
    pairs, exact = [], []
    for _ in range(400):
        shared, other = generator.randrange(200, 1000), generator.randrange(0, 300)
        common = [f"c{generator.random()}" for _ in range(shared)]
        left = [f"l{generator.random()}" for _ in range(other)]
        right = [f"r{generator.random()}" for _ in range(other)]
        pairs += [" ".join(common + left), " ".join(common + right)]
        exact.append(shared / (shared + 2 * other))
    errors = []
    for seed in range(5):
        signatures = MinHasher(112, 1, tokens="whitespace", scheme=scheme, seed=seed).signatures(pairs)
        errors.append((signatures[::2] == signatures[1::2]).mean(axis=1) - exact)
    error = np.concatenate(errors)
    assert abs(error.mean()) < 0.003
    # Classic MinHash at 112 hashes: E|error| = sqrt(2/π · J(1 − J)/112).
    bound = np.sqrt(2 / np.pi * np.array(exact) * (1 - np.array(exact)) / 112).mean()
    assert np.abs(error).mean() < (1.0 if scheme == "fast" else 1.06) * bound


def test_implementations_threads_and_containers_agree() -> None:
    texts = documents(200)
    polars = pytest.importorskip("polars")
    containers = [
        texts,
        pa.array(texts),
        pa.array(texts, pa.large_string()),
        pa.array(["x", *texts]).slice(1),
        pa.chunked_array([texts[:50], texts[50:51], [], texts[51:]]),
        polars.Series(texts),
    ]
    for scheme in ("fast", "classic", "datasketch", "datatrove"):
        for tokens in ("unicode", "whitespace", "char"):
            hasher = MinHasher(40, 3, tokens=tokens, scheme=scheme)  # type: ignore[arg-type]
            expected = None
            before = _native.implementation()
            for name in _native.implementations():
                _native.force_implementation(name)
                for threads in (1, 3):
                    got = hasher.signatures(texts, threads=threads)
                    expected = got if expected is None else expected
                    assert np.array_equal(expected, got)
            _native.force_implementation(before)
            for container in containers:
                assert np.array_equal(expected, hasher.signatures(container))


def test_tokens_at_block_edges_do_not_depend_on_what_surrounds_them() -> None:
    hasher = MinHasher(16, 2, tokens="whitespace")
    for length in range(50, 80):
        text = "a" * length + " bb ccc\u3000dddd"
        signature = hasher.signatures(["zz" * 40 + " " + text])
        assert np.array_equal(signature, hasher.signatures(["\n" + "zz" * 40 + "\t\t" + text + "  "]))


def test_nulls_and_empty_texts_have_the_empty_signature() -> None:
    signatures = MinHasher(8).signatures(pa.array([None, "", " \n"]))
    assert (signatures == 0xFFFFFFFF).all()
    assert MinHasher(8).signatures([]).shape == (0, 8)


def test_short_documents_are_one_shingle_of_all_their_words() -> None:
    offsets, _ = MinHasher(8, 5).shingles(["one", "one two", "one two three four five", "one two three four five six"])
    assert np.diff(offsets).tolist() == [1, 1, 1, 2]


def test_seeds_give_unrelated_signatures() -> None:
    first, second = (MinHasher(64, seed=seed).signatures(["a b c d e f g h"]) for seed in (1, 2))
    assert (first == second).mean() < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_perm": 0}, "num_perm = 0: expected 1 to 65536"),
        ({"ngram": 65}, "ngram = 65: expected 1 to 64"),
        ({"tokens": "word"}, "choose one of unicode, whitespace, char, spacy"),
        ({"scheme": "rho"}, "choose one of fast, classic, datasketch, datatrove"),
        ({"hash": "sha1"}, "has a hash of its own"),
        ({"scheme": "datatrove", "hash": "md5"}, "choose one of xxhash64, sha1"),
        ({"scheme": "datasketch", "seed": 1 << 32}, "expected 0 to 4294967295"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(SmolfastError, match=message):
        MinHasher(**options)  # type: ignore[arg-type]


def test_bad_strings_are_named() -> None:
    with pytest.raises(SmolfastError, match=r"strings\[1\] holds a lone surrogate"):
        MinHasher().signatures(["a", "\ud800"])
    with pytest.raises(SmolfastError, match="expected a string column"):
        MinHasher().signatures(pa.array([1, 2]))
    torn = pa.array([b"whole", b"word \xe4\xb8"], pa.binary()).view(pa.string())
    with pytest.raises(SmolfastError, match="row 1 is not UTF-8 at byte 5"):
        MinHasher().signatures(torn)
