"""What can go wrong with the lab itself."""


class LabError(Exception):
    """Something in the lab did not work; the text says what."""


class LabUnavailable(LabError):
    """This machine cannot run the lab; the text says what is needed and how to do without."""
