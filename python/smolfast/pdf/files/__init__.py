"""The job on files: what is read, what is written, and what a killed run goes on from."""
