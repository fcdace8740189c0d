"""Write the saved corpus: small inputs, one a rule or an edge, that every fuzz target runs before it looks for its own.

    python csrc/fuzz/make_corpus.py

Each is an option byte or two and a text, as the targets read it; inputs that once were findings belong here too, under
a name that says what they found.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).with_name("corpus")
TEXTS: dict[str, bytes] = {
    "ascii": b"Plain text, of two lines.\nAnd 3 words more: a_b c-d e.f",
    "truncated-two": b"caf\xc3",
    "truncated-three": b"a\xe2\x82",
    "truncated-four": b"a\xf0\x9f\x98",
    "overlong": b"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf",
    "surrogates": b"\xed\xa0\x80\xed\xbf\xbf",
    "beyond-unicode": b"\xf4\x90\x80\x80\xf8\x88\x80\x80\x80\xff",
    "invalid-after-a-vector": b"a" * 63 + b"\x80" + b"b" * 63,
    "marks-in-disorder": "a\u0315\u0300\u05ae\u0300\u0062".encode(),
    "forty-marks": ("e" + "\u0301\u0323" * 20).encode(),
    "jamo": "\u1112\u1161\u11ab\u1100\u1161\uac00\u11a8".encode(),
    "jamo-for-two-vectors": ("\u1112\u1161\u11ab" * 15).encode(),
    "compatibility": "\ufb01\u2460\u3392\ufdfa\u1e9b\u0323".encode(),
    "singletons": "\u212b\u2126\u0340\u0374\u037e".encode(),
    "exclusions": "\u0958\ufb1d\U0001d15e".encode(),
    "sigma": "\u039f\u0394\u039f\u03a3 \u03a3\u0391\u03a3. \u03a3\u0301\u0391".encode(),
    "casing": "\u0130\u0131\u00df\u1e9e\u01c5\ufb03\u10a0\u13a0".encode(),
    "line-endings": "a\r\nb\rc\u0085d\u2028e\u2029f \t\n\n\n\n".encode(),
    "invisible": "a\u00ad\u200b\u200d\u2060\ufeff\x00\x1f\x7fb\u00a0\u3000".encode(),
    "mojibake": "Ã©tÃ© â€œquotesâ€\u009d Ã\u0083Â©".encode(),
    "addresses": b"mail me@example.org, a.b+c@d-e.co.uk; 8.8.4.4, 192.168.0.1, 256.1.1.1, 1.2.3.4.5",
    "numbers-and-names": "Monday 12,5 January \u0661\u0662 1st 2nd \u216b \u00bd".encode(),
    "no-spaces": "\u6f22\u5b57\u304b\u306a\u30ab\u30ca\u0e44\u0e17\u0e22\u0e01\u0e3a\u1780\u17d2".encode(),
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7 #\ufe0f\u20e3".encode(),
    "rows": b"\x03one\x00\xff\x05tw\xc3\xa9o\x10sixteen bytes ab\xff",
    "rows-beyond-twelve": b"\x0cexactly12byt\x0dexactly 13 by\x20a row that lies out of line, long",
    "offsets-that-decrease": bytes(16) + b"\0\0\0\0\x08\0\0\0\x04\0\0\0\x0c\0\0\0" * 2,
    "offsets-negative": bytes(16) + b"\xff\xff\xff\xff\0\0\0\0\x04\0\0\0\x80\0\0\0" * 2,
    "views-that-lie": bytes(16) + b"\x20\0\0\0abcd\x01\0\0\0\0\0\0\0" + b"\xff\xff\xff\x7fabcd\0\0\0\0\xff\xff\xff\x7f",
    "one-long-word": b"x" * 200,
    "equal-lines": b"same line of text\n" * 6,
}
OPTIONS = {"": b"\0", "-options": b"\xff", "-fail": b"\x01"}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in TEXTS.items():
        for suffix, option in OPTIONS.items():
            (FOLDER / f"{name}{suffix}").write_bytes(option + text)


if __name__ == "__main__":
    main()
