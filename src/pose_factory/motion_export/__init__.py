"""Fitted bodies as motions that other programs open."""
