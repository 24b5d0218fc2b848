"""``python -m deploy.dev.reference [--check]``."""

import sys

from deploy.dev.reference.pages import main

sys.exit(main())
