"""An offline site: lessons with their output, exercises, bugs, commands and the API."""
