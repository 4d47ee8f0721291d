"""ShortGPT."""
