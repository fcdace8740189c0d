"""Deduplication on many machines: text stays where it is read, numbers of 12 bytes travel, and the output is the same.

Documents that share the key of a band, or the hash of their text, are linked. What is linked, directly or through
others, is a component. Whether two documents are alike is decided inside a component alone. So each component, with
its documents numbered anew in their order, goes through `find_clusters` as all documents do on one machine.
"""
