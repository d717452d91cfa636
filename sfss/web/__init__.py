"""HTTP: knows status codes and headers, and no store."""
