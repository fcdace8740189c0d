"""Adapters that let other libraries call `smolfast.ops`; each imports its library only when it is imported itself."""
