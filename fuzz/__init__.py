"""Hostile input for every reader of user data: where it goes in, how it is made, and what must hold after it."""
