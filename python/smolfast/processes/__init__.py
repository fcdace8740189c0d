"""Processes that do tasks, so that what hangs or crashes one costs that piece of its task alone; and the guard of
servers for the person at this machine (`loopback`)."""
