"""What is measured of a document's text."""
