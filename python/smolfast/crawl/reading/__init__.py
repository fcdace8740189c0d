"""WARC and WET files: their compressed members, the records in these, and the pages that records hold."""
