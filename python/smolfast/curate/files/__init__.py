"""The job on files: documents judged in parts, written with the reasons, and gone on with after a kill."""
