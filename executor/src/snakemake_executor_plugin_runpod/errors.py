"""What can go wrong, each told in one sentence."""


class RunpodError(Exception):
    """Something the user can act on, said in one sentence."""


class RemoteError(RunpodError):
    """The remote could not be read or written."""
