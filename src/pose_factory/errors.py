"""The one exception that is meant for the user's eyes."""


class PoseFactoryError(Exception):
    """Bad input or a failed step, told in one sentence: what, where, and what to do about it."""
