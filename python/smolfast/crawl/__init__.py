"""From the crawl: pages of WARC and WET files, their text, and the whole way to documents that are kept."""

from __future__ import annotations
