"""What is taken away: HTML files that load nothing, tables, a feature in a notebook."""
