"""Before any test: shapes stated in docstrings are checked from here on."""

import shape_checks

COUNTS = shape_checks.install()
