"""PDFs fetched over HTTP: politely, within limits, and never from the fetcher's own network unless that is allowed.

The standard library's http.client does the talking. What a library above it would add is retries, redirects and pools,
and here each of these has to ask first: for robots.txt, for a host's turn, for the address that is connected to.
"""
