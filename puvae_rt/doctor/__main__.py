import sys

from puvae_rt.doctor.command import main

sys.exit(main())
