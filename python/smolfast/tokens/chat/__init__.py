"""Conversations: their forms, the template that writes them, and their tokens."""
