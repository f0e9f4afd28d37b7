"""From typed views to HTML: templates, where the marks of plots go, how tokens are shown."""
