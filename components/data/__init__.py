"""Images and labels: read, checked, versioned, split, and made into batches."""
