"""Who somebody is and what they may do: keys, tokens, and the rights that tokens carry."""
