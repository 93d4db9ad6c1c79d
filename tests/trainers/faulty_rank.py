"""Rank 0 says that it has finished; rank 1 ends as its argument says."""

import os
import sys
import time

rank = int(os.environ["RANK"])
if rank == 0:
    print('{"event": "finished"}', flush=True)
elif sys.argv[1] == "dies":
    os.kill(os.getpid(), 9)
elif sys.argv[1] == "refused":
    import torch

    # More than there are addresses: the allocator's own message.
    torch.empty(1 << 48, dtype=torch.uint8)
time.sleep(0.5)
