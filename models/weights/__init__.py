"""Files of weights, a foreign format each, to our names; `models.pretrained` is the door."""

from torch import Tensor

State = dict[str, Tensor]  # by parameter name
