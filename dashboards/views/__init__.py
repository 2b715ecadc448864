"""One module a page; adding one here adds it to the dashboard."""
