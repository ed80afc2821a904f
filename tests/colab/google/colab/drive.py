"""Colab's way to Google Drive: here it keeps a list of what was mounted."""

MOUNTED: list[str] = []


def mount(mountpoint: str) -> None:
    """Note what google.colab.drive would mount after a person has agreed."""
    MOUNTED.append(mountpoint)
