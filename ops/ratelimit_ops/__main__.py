"""python3 -m ratelimit_ops"""

import sys

from .cli import main

sys.exit(main())
