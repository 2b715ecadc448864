"""What a prediction looks like to a reader: terminal tables, HTML, Markdown, CSV and JSON. Nothing here prints."""
