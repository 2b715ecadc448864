"""Chinese for the words of the page; what is missing here stays English."""

CHINESE: dict[str, str] = {}
