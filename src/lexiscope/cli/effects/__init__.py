"""The verbs of ``lexiscope effects``: what turning features does, on text that had no part in choosing them."""
