"""Every defect that the original elastiq had, each with a test by name that shows it absent."""
