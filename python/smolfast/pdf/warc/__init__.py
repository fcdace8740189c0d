"""PDFs in files of a crawl: the records that hold them, found by worker processes."""
