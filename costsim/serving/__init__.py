"""Request-level serving: a discrete-event simulator that takes step times and knows no model and no chip."""
