import sys

from puvae_rt.bench.command import main

sys.exit(main())
