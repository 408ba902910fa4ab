"""The paper: what tokens say, what their absence changes, which are redundant, and a codebook of them."""
