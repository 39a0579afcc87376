"""Files of weights, a foreign format each, to our names; `models.pretrained` is the door."""
