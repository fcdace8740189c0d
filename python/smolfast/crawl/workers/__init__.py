"""Processes that read and extract, so that a page which hangs or crashes one costs that page alone."""
