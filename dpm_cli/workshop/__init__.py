"""The workshop: rendered scenes, training, data sets, metrics, evaluation, benchmarks; the product needs none of it."""
