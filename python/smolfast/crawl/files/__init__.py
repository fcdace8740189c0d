"""The job on files: from WARC to kept documents, stage by stage, each of which a killed run goes on after."""
