"""datatrove's own tests of its formatters, with ours doing the formatting.

    pip install datatrove==0.10.1 ftfy regex && git clone https://github.com/huggingface/datatrove
    python tests/check_datatrove.py datatrove [pytest's options]

Its source distribution has no tests of formatters, so they come from its repository; the formatters are those of the
installed package. `redact` stands in for PIIFormatter, `fix_mojibake` and `clean` for FTFYFormatter.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from smolfast import text

TESTS = ("test_pii_removal.py", "test_formatters.py")


def _redact(self: Any, document: str) -> str:
    redacted = text.redact(
        [document],
        emails=self.remove_emails,
        ips=self.remove_ips,
        email_replacements=self.emails_replacer.replacements,
        ip_replacements=self.ip_replacer.replacements,
    )
    return str(redacted[0].as_py())


def _fix(self: Any, document: str) -> str:
    return str(text.clean(text.fix_mojibake([document])).strings[0].as_py())


def main() -> int:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.formatters.ftfy import FTFYFormatter

    PIIFormatter.format = _redact
    FTFYFormatter.format = _fix
    folder = Path(sys.argv[1]).resolve() / "tests" / "pipeline" / "filters"
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "--import-mode=importlib", *sys.argv[2:]]
    return pytest.main([*(str(folder / test) for test in TESTS), *options])


if __name__ == "__main__":
    sys.exit(main())
