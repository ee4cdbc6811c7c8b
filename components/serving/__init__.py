"""The champion at work: an HTTP service that logs every answer before it sends it, and batch scoring of files."""
