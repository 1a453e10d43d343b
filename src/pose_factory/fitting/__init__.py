"""The free body: an Anny body fitted to what a tracker saw of a person."""
