"""One thread for every test: two threads gain little on an idle machine and lose much on a busy one."""

import torch

torch.set_num_threads(1)
