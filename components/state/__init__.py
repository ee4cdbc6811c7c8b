"""Our own database: predictions, feedback, promotions, alerts, mail to send, leases."""
