"""PyTorch, diffusers and transformers behind functions from numpy to numpy: what the engine is compared with."""

import diffusers
import torch
import transformers

# Networks this small are computed before a second thread has woken up.
torch.set_num_threads(1)
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
