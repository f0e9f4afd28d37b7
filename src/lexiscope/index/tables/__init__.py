"""What an index says of every feature, document and token: its tables, written, and asked again."""
