"""What a part of the product takes here: times, each with a digest of the answer that took them."""
