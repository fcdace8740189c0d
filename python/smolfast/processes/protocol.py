"""What goes between who asks and the workers: frames on pipes, and a few bytes of shared memory."""

from __future__ import annotations

import struct

BEACON = struct.Struct("<qqq")
"""What a worker writes before each record: its place, and how many came before in this stretch, for who waits."""
FRAME = struct.Struct("<cq")
"""Before each message of a worker: B (a batch of rows), D (done), E (an error), R (ready); and its length."""
OUT_OF_MEMORY = 70
"""The status with which a worker ends that has no memory left: what it holds on to must not cost its next task."""
