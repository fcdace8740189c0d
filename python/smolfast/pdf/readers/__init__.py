"""Who reads a page: we from the file, OCR from its picture, or another library; and which of the first two."""
