"""From the crawl: pages of WARC and WET files, their text, and the whole way to documents that are kept."""

from __future__ import annotations

from importlib.util import find_spec

from smolfast.errors import SmolfastError
from smolfast.machine import install_command

if find_spec("fastwarc") is None or find_spec("resiliparse") is None:
    raise SmolfastError(f"crawls are read by FastWARC and Resiliparse; install them with: {install_command('web')}")

from smolfast.crawl.files.job import crawl_files
from smolfast.crawl.files.summary import CrawlSummary
from smolfast.crawl.urls import UrlFilter, read_url_filter

__all__ = ["CrawlSummary", "UrlFilter", "crawl_files", "read_url_filter"]
