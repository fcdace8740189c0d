"""PDF files to documents: pages read in worker processes, put in reading order, and written as parquet."""

from smolfast.pdf.fetch.limits import Limits
from smolfast.pdf.files.job import extract_pdfs
from smolfast.pdf.files.summary import PdfSummary

__all__ = ["Limits", "PdfSummary", "extract_pdfs"]
