"""Networks over images: the one supervised loop."""
