"""Is the world still the one the champion was tested in? Windows, the drift decision, alerts, mail, when to retrain."""
