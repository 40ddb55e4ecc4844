"""File formats: pure readers and writers of arrays, one format a file; they know nothing of runs or predictors."""
