"""The web app: every page is one typed read, shown as HTML and as its JSON twin."""
