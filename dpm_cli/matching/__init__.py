"""Dense matching of two images: flow, its start, its consistency and its error. Knows nothing of cameras or points."""
