"""The one error that users see: bad input, refused at the edge."""


class InputError(Exception):
    """Input that cannot be used: one line that says what, where and what to do. Exit code 2."""
