"""What lies under the folder that is shown, and what was made from what."""
