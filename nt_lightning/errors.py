"""The one error that a user is meant to read."""


class UserError(ValueError):
    """Bad input that the user can mend; the command line prints it without a stack trace, exit 2.

    The message names the thing, the value it had and the values it may have.
    """
